//! Keys that change while the relay runs.

use std::path::PathBuf;

use super::reload::{Commit, Part, Settings};
use crate::{
    gate::{Gate, Keys},
    settings::{Auth, KeyPlace},
};

/// The keys of a gate.
pub struct Exchange {
    /// Whose keys.
    pub gate: Gate,
    /// What the relay was started with: which credentials it takes does not change.
    pub auth: Auth,
}

impl Exchange {
    /// The settings of keys for what is taken, if they are meant for that.
    fn meant<'s>(&self, settings: &'s Settings) -> Option<&'s Auth> {
        let Settings::Relay(serve) = settings else { return None };
        let same = serve.auth.jwt.is_some() == self.auth.jwt.is_some()
            && serve.auth.signed.is_some() == self.auth.signed.is_some();
        same.then_some(&serve.auth)
    }
}

impl Part for Exchange {
    fn files(&self, settings: &Settings) -> Vec<PathBuf> {
        let Some(auth) = self.meant(settings) else { return Vec::new() };
        let places = auth.jwt.iter().map(|jwt| &jwt.keys).chain(&auth.signed);
        let file = |place: &KeyPlace| match place {
            KeyPlace::File(path) => Some(path.clone()),
            KeyPlace::Environment(_) => None,
        };
        places.filter_map(file).collect()
    }

    fn prepare(&self, settings: &Settings) -> Result<Commit, Vec<String>> {
        // If auth itself has changed, these are the keys of the next start.
        let Some(auth) = self.meant(settings) else { return Ok(Box::new(|| ())) };
        let keys = Keys::load(auth).map_err(|error| vec![error.detail.into_owned()])?;
        let gate = self.gate.clone();
        Ok(Box::new(move || gate.exchange(keys)))
    }
}
