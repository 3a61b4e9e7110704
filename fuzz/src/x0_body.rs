//! `wire::x0::body`: a POST to any of the addresses means what its JSON says, or is refused for a fault that it has.

use x0_relay::wire::x0;

use super::{
    dialect::{Asked, MESSAGE_BYTES, PATHS},
    judge::{Verdict, judge},
    outcome,
};

/// Checks one body at every address.
pub fn check(bytes: &[u8]) -> bool {
    let verdict = judge(bytes);
    let mut taken = false;
    for path in PATHS {
        match (x0::body(path, bytes, MESSAGE_BYTES), &verdict) {
            (Ok(request), Verdict::Object(object)) => {
                Asked { path, object }.is(&request);
                taken = true;
            }
            (Ok(request), verdict) => panic!("{path:?}: {request:?} out of {verdict:?}"),
            (Err(error), verdict) => {
                assert!(verdict.allows(error.kind), "{path:?}: {error:?}");
                if let Verdict::Object(object) = verdict {
                    assert!(Asked { path, object }.has_fault(error.kind), "{path:?}: {error:?}");
                }
                outcome::is_told(&error);
            }
        }
    }
    taken
}
