//! What the relay shows of itself in a TLS handshake: certificate and key, from their files, and anew when those change.

use std::{
    fmt, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use tokio_rustls::rustls::{
    self, ServerConfig,
    crypto::{CryptoProvider, ring},
    pki_types::{CertificateDer, PrivateKeyDer, pem, pem::PemObject},
    server::ProducesTickets,
};

use crate::{live::Live, settings};

/// HTTP/2 (RFC 9113 section 3.2).
pub const H2: &[u8] = b"h2";
/// What is spoken within; clients choose the first that they know.
const PROTOCOLS: [&[u8]; 2] = [H2, b"http/1.1"];

/// Why there is no TLS with these files.
#[derive(Debug)]
pub enum Unfit {
    /// A file cannot be read.
    Unreadable(PathBuf, io::Error),
    /// A file holds nothing of the kind, or not in order.
    Empty(PathBuf, &'static str),
    /// What they hold does not do.
    Useless(PathBuf, rustls::Error),
}

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unfit::Unreadable(path, error) => write!(f, "{}: {error}", path.display()),
            Unfit::Empty(path, what) => write!(f, "{}: there is no {what} in PEM in it", path.display()),
            Unfit::Useless(path, rustls::Error::InconsistentKeys(_)) => {
                write!(f, "{}: this is not the key of the first certificate in tls-cert", path.display())
            }
            Unfit::Useless(path, error) => write!(f, "{}: {error}", path.display()),
        }
    }
}

impl std::error::Error for Unfit {}

/// Certificate and key as they are now. Cheap to clone; all clones are the same.
#[derive(Clone)]
pub struct Identity {
    now: Live<ServerConfig>,
    provider: Arc<CryptoProvider>,
    /// The same for all: who comes back after a change resumes where it was.
    tickets: Arc<dyn ProducesTickets>,
}

impl Identity {
    /// Reads the files.
    ///
    /// # Errors
    /// There is no TLS with them.
    pub fn read(files: &settings::Tls) -> Result<Self, Unfit> {
        let provider = Arc::new(ring::default_provider());
        let tickets = ring::Ticketer::new().map_err(|error| Unfit::Useless(files.key.clone(), error))?;
        let now = Live::new(configure(files, &provider, &tickets)?);
        Ok(Self { now, provider, tickets })
    }

    /// What a handshake that begins now is made with.
    pub fn now(&self) -> Arc<ServerConfig> {
        self.now.now()
    }

    /// Reads files anew, and changes nothing.
    ///
    /// # Errors
    /// There is no TLS with them.
    pub fn prepare(&self, files: &settings::Tls) -> Result<ServerConfig, Unfit> {
        configure(files, &self.provider, &self.tickets)
    }

    /// Shows this from now on. Connections that are there go on with what they were made with.
    pub fn show(&self, config: ServerConfig) {
        self.now.set(config);
    }
}

fn configure(
    files: &settings::Tls,
    provider: &Arc<CryptoProvider>,
    tickets: &Arc<dyn ProducesTickets>,
) -> Result<ServerConfig, Unfit> {
    let (chain, key) = (certificates(&files.cert)?, key(&files.key)?);
    let useless = |error| match error {
        rustls::Error::InconsistentKeys(_) => Unfit::Useless(files.key.clone(), error),
        _ => Unfit::Useless(files.cert.clone(), error),
    };
    let mut config = ServerConfig::builder_with_provider(Arc::clone(provider))
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key))
        .map_err(useless)?;
    config.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).to_vec();
    config.ticketer = Arc::clone(tickets);
    Ok(config)
}

/// The certificates of a file in PEM.
///
/// # Errors
/// There is none, or the file cannot be read.
pub fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Unfit> {
    let unfit = |error| unfit(path, error, "certificate");
    let all = CertificateDer::pem_file_iter(path).map_err(unfit)?.collect::<Result<Vec<_>, _>>().map_err(unfit)?;
    if all.is_empty() { Err(Unfit::Empty(path.to_owned(), "certificate")) } else { Ok(all) }
}

fn key(path: &Path) -> Result<PrivateKeyDer<'static>, Unfit> {
    PrivateKeyDer::from_pem_file(path).map_err(|error| unfit(path, error, "private key"))
}

fn unfit(path: &Path, error: pem::Error, what: &'static str) -> Unfit {
    match error {
        pem::Error::Io(error) => Unfit::Unreadable(path.to_owned(), error),
        _ => Unfit::Empty(path.to_owned(), what),
    }
}
