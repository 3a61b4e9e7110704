//! Tokens, signed sessions and tickets: what is taken was signed by the key, and nothing else ever is.

use std::{
    net::{IpAddr, Ipv4Addr},
    sync::OnceLock,
};

use x0_relay::{
    error::Kind,
    gate::{Gate, Keys, Origin, Who, signed},
    id::SessionId,
    lifecycle::Clock,
    settings::{Auth, Jwt, KeyPlace},
};

use super::outcome;

const SECRET: &str = "a-secret-for-fuzzing-alone-0123456789";
const HERE: Origin = Origin::Remote(IpAddr::V4(Ipv4Addr::LOCALHOST));

fn gate() -> &'static Gate {
    static GATE: OnceLock<Gate> = OnceLock::new();
    GATE.get_or_init(|| {
        let path = std::env::temp_dir().join(format!("x0-relay-fuzz-{}", std::process::id()));
        std::fs::write(&path, SECRET).expect("a place for a file");
        let place = KeyPlace::File(path.clone());
        let jwt = Jwt { keys: place.clone(), audience: "x0-relay".to_owned(), issuer: None };
        let auth = Auth { jwt: Some(jwt), signed: Some(place) };
        let keys = Keys::load(&auth).expect("a secret");
        std::fs::remove_file(path).expect("it was there");
        Gate::new(0, &auth, keys, Clock::start())
    })
}

/// Checks one value of `Authorization`, and the credentials in it everywhere else.
pub fn check(bytes: &[u8]) -> bool {
    let identified = gate().identify(HERE, Some(bytes));
    let text = String::from_utf8_lossy(bytes);
    let credentials = text.trim().split_once(' ').map_or(&*text, |(_, credentials)| credentials.trim());
    if let Err(error) = &identified {
        assert!(matches!(error.kind, Kind::InvalidToken | Kind::Expired), "{error:?}");
        outcome::is_told_to_v1(error);
    }
    let taken = identified.as_ref().is_ok_and(|who| who.principal().is_some());
    if taken {
        match signed::parse(credentials) {
            Some(said) => is_signed(credentials, said.id, said.expiry),
            None => assert_eq!(credentials.split('.').count(), 3, "a token in compact form"),
        }
    }
    claims(credentials);
    assert_eq!(gate().redeem(HERE, credentials).expect_err("never given out").kind, Kind::TicketSpent);
    taken
}

fn is_signed(text: &str, id: &str, expiry: u64) {
    let again = signed::sign(SECRET.as_bytes(), &SessionId::new(id).expect("it was taken"), expiry);
    assert_eq!(again.as_deref(), Ok(text), "one spelling alone");
}

/// As a session in the x0 dialect.
fn claims(text: &str) {
    let Ok(said) = SessionId::new(text) else { return };
    match gate().claim(Who::nobody(HERE), said.clone()) {
        Ok((who, session)) => match who.principal() {
            Some(principal) => {
                let parsed = signed::parse(text).expect("it looks like one");
                assert_eq!((session.bare(), principal.expires.0), (parsed.id, parsed.expiry * 1000));
                is_signed(text, parsed.id, parsed.expiry);
                assert!(gate().receive(&who, session).is_ok());
            }
            None => {
                assert_eq!(session, said, "a name is left as it is");
                assert!(gate().receive(&who, session).is_err(), "a name opens nothing");
            }
        },
        Err(error) => assert!(matches!(error.kind, Kind::InvalidToken | Kind::Expired), "{error:?}"),
    }
}
