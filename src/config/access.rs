//! The settings of access: who may send and receive.

use super::{Auth, Jwt, KeyPlace, resolve::Settings, value::Value};

impl Settings {
    /// The words of a list.
    pub(super) fn words(&self, key: &str) -> Vec<&'static str> {
        let mut words = Vec::new();
        for value in self.list(key) {
            match value {
                Value::Words(some) => words.extend(some),
                other => unreachable!("{key} is no list of words: {other:?}"),
            }
        }
        words
    }

    /// Whether everybody who reaches the relay may use it.
    pub(super) fn is_open(&self) -> bool {
        self.words("auth").contains(&"open")
    }

    pub(super) fn text(&self, key: &str) -> Option<String> {
        match self.value(key) {
            Value::Text(text) => text,
            other => unreachable!("{key} is no text: {other:?}"),
        }
    }

    pub(super) fn keys(&self, key: &str) -> Option<KeyPlace> {
        match self.value(key) {
            Value::Keys(place) => place,
            other => unreachable!("{key} is no place of keys: {other:?}"),
        }
    }

    pub(super) fn auth(&self) -> Auth {
        let words = self.words("auth");
        let place = |word: &str, key: &str| words.contains(&word).then(|| self.keys(key)).flatten();
        let jwt = place("jwt", "jwt-keys").map(|keys| Jwt {
            keys,
            audience: self.text("jwt-audience").unwrap_or_default(),
            issuer: self.text("jwt-issuer"),
        });
        Auth { jwt, signed: place("signed", "signed-keys") }
    }
}
