//! `wire::control::read_refusal`: every error crosses the gateway's socket as it is, and a strange one is a fault of ours.

use x0_relay::{
    error::{Error, Kind},
    wire::control::{read_refusal, write_refusal},
};

/// Checks one frame's body.
pub fn check(bytes: &[u8]) -> bool {
    let text = String::from_utf8_lossy(bytes);
    let (label, detail) = text.split_once('\n').unwrap_or((&text, ""));
    let known = Kind::ALL.iter().find(|kind| kind.label() == label);

    let error = read_refusal(bytes);
    assert_eq!((error.kind, &*error.detail), (known.copied().unwrap_or(Kind::Internal), detail));
    assert_eq!(read_refusal(write_refusal(&error).as_bytes()), error);
    for kind in Kind::ALL {
        let error = Error::new(*kind, text.clone().into_owned());
        assert_eq!(read_refusal(write_refusal(&error).as_bytes()), error);
    }
    known.is_some()
}
