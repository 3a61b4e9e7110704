//! Whom `send`, `watch` and `health` take for the relay over HTTPS: who is vouched for by `--ca`, or by what the system
//! trusts.

use std::{path::PathBuf, sync::Arc};

use clap::ArgMatches;
use tokio::net::TcpStream;
use tokio_rustls::{
    TlsConnector,
    client::TlsStream,
    rustls::{ClientConfig, RootCertStore, crypto::ring, pki_types::ServerName},
};

use super::Failure;
use crate::edge::tls::identity;

/// What is needed to speak TLS with a relay.
pub struct Trust {
    connector: TlsConnector,
    name: ServerName<'static>,
}

impl Trust {
    /// In those that `--ca` or `X0_RELAY_CA` names, or the system, to know `host`.
    ///
    /// # Errors
    /// There is nobody to trust, or `host` is none.
    pub fn named(matches: &ArgMatches, host: &str) -> Result<Self, Failure> {
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let name = ServerName::try_from(host.clone())
            .map_err(|_| Failure::usage(format!("{host:?} is no host that a certificate could be for")))?;
        let mut roots = RootCertStore::empty();
        match matches.get_one::<PathBuf>("ca") {
            Some(path) => {
                let certificates = identity::certificates(path).map_err(Failure::usage)?;
                for certificate in certificates {
                    roots.add(certificate).map_err(|error| Failure::usage(format!("{}: {error}", path.display())))?;
                }
            }
            None => {
                roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
                if roots.is_empty() {
                    return Err(Failure::usage(
                        "this system trusts nobody (no ca-certificates): name who vouches for the relay with --ca FILE",
                    ));
                }
            }
        }
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(Failure::failed)?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self { connector: TlsConnector::from(Arc::new(config)), name })
    }

    /// Makes sure that it is the relay that is spoken with.
    ///
    /// # Errors
    /// It is not, or it speaks no TLS.
    pub async fn secure(&self, tcp: TcpStream) -> std::io::Result<TlsStream<TcpStream>> {
        self.connector.connect(self.name.clone(), tcp).await
    }
}
