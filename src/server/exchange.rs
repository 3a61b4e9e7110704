//! What of the HTTP side can be exchanged while it runs: certificates, the list of pages, and limits.

use std::path::PathBuf;

use super::reload::{Commit, Part, Settings};
use crate::{
    edge::{cors::Pages, tls::Identity},
    gate::{Origins, limits::Limits},
};

/// All of it.
pub fn parts(pages: &Pages, identity: Option<&Identity>, limits: &Limits) -> Vec<Box<dyn Part>> {
    let mut parts: Vec<Box<dyn Part>> = vec![Box::new(pages.clone()), Box::new(limits.clone())];
    parts.extend(identity.map(|identity| Box::new(identity.clone()) as Box<dyn Part>));
    parts
}

impl Part for Identity {
    fn files(&self, settings: &Settings) -> Vec<PathBuf> {
        settings.http().tls.iter().flat_map(|files| [files.cert.clone(), files.key.clone()]).collect()
    }

    fn prepare(&self, settings: &Settings) -> Result<Commit, Vec<String>> {
        // Without files it is the addresses that were taken away too, and that counts from the next start.
        let Some(files) = &settings.http().tls else { return Ok(Box::new(|| {})) };
        let config = Identity::prepare(self, files).map_err(|error| vec![format!("TLS: {error}")])?;
        let identity = self.clone();
        Ok(Box::new(move || identity.show(config)))
    }
}

impl Part for Limits {
    fn prepare(&self, settings: &Settings) -> Result<Commit, Vec<String>> {
        let (limits, new) = (self.clone(), settings.http().limits.clone());
        Ok(Box::new(move || limits.exchange(new)))
    }
}

impl Part for Pages {
    fn prepare(&self, settings: &Settings) -> Result<Commit, Vec<String>> {
        let (pages, origins) = (self.clone(), Origins::new(&settings.http().origins));
        Ok(Box::new(move || pages.set(origins)))
    }
}
