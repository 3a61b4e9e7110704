//! The files that the settings name, looked over as a start would read them, without starting anything.

use crate::{
    config,
    edge::tls::Identity,
    gate::Keys,
    settings::{Auth, KeyPlace},
};

/// What is wrong with them, each with its setting: certificate and key, and keys of tokens and of signed sessions. They are
/// read as the user that asks, who may be allowed more than the relay's own.
#[must_use]
pub fn faults(config: &config::Serve) -> Vec<String> {
    let certificate = config.http.tls.as_ref().map(Identity::read).and_then(Result::err);
    let mut faults: Vec<String> = certificate.map(|error| format!("tls-cert, tls-key: {error}")).into_iter().collect();
    let (jwt, signed) = (config.auth.jwt.clone(), config.auth.signed.clone());
    let in_file = |place: &KeyPlace| matches!(place, KeyPlace::File(_));
    let mut read = |setting: &str, auth: Auth| {
        let wrong = Keys::load(&auth).err().map(|error| format!("{setting}: {}", error.detail));
        faults.extend(wrong);
    };
    if let Some(jwt) = jwt.filter(|jwt| in_file(&jwt.keys)) {
        read("jwt-keys", Auth { jwt: Some(jwt), signed: None });
    }
    if let Some(signed) = signed.filter(in_file) {
        read("signed-keys", Auth { jwt: None, signed: Some(signed) });
    }
    faults
}

/// Settings whose keys are in the environment of the relay, where nobody else sees them.
#[must_use]
pub fn unseen(config: &config::Serve) -> Vec<String> {
    let places =
        [("jwt-keys", config.auth.jwt.as_ref().map(|jwt| &jwt.keys)), ("signed-keys", config.auth.signed.as_ref())];
    let elsewhere = |(setting, place): (&str, Option<&KeyPlace>)| match place {
        Some(place @ KeyPlace::Environment(_)) => Some(format!("{setting} ({place})")),
        _ => None,
    };
    places.into_iter().filter_map(elsewhere).collect()
}
