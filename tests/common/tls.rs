//! Certificates made for a test, and the client's side of TLS over a blocking socket.

use std::{
    fs,
    io::{self, ErrorKind, Read, Write},
    net::TcpStream,
    path::{Path, PathBuf},
    sync::Arc,
};

use tempfile::TempDir;
use tokio_rustls::rustls::{
    ClientConfig, ClientConnection, RootCertStore, SupportedProtocolVersion,
    crypto::ring,
    pki_types::ServerName,
    version::{TLS12, TLS13},
};

/// A certificate for 127.0.0.1 and localhost with its key, in files.
pub struct Certificate {
    dir: TempDir,
    der: rcgen::Certificate,
}

impl Certificate {
    pub fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("x0t").tempdir().expect("a temporary directory");
        let der = write(dir.path());
        Self { dir, der }
    }

    /// Exchanges the files for another certificate and key.
    pub fn renew(&mut self) {
        self.der = write(self.dir.path());
    }

    pub fn cert(&self) -> PathBuf {
        self.dir.path().join("cert.pem")
    }

    pub fn key(&self) -> PathBuf {
        self.dir.path().join("key.pem")
    }

    /// The flags with which a relay serves HTTPS on a free port too.
    pub fn and_https(&self) -> Vec<String> {
        let path = |path: PathBuf| path.to_str().expect("UTF-8").to_owned();
        ["--tls-listen", "127.0.0.1:0", "--tls-cert", &path(self.cert()), "--tls-key", &path(self.key())]
            .map(str::to_owned)
            .to_vec()
    }

    /// Trust in this certificate alone; it speaks HTTP/1.1.
    pub fn trust(&self) -> Trust {
        self.trust_with(&[&TLS12, &TLS13], &[b"http/1.1"])
    }

    pub fn trust_with(&self, versions: &[&'static SupportedProtocolVersion], protocols: &[&[u8]]) -> Trust {
        let mut roots = RootCertStore::empty();
        roots.add(self.der.der().clone()).expect("a certificate");
        let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(versions)
            .expect("versions")
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
        Trust(Arc::new(config))
    }
}

fn write(dir: &Path) -> rcgen::Certificate {
    let names = ["127.0.0.1".to_owned(), "localhost".to_owned()];
    let made = rcgen::generate_simple_self_signed(names).expect("a certificate");
    // As tools do: each file is there whole or not at all.
    for (name, text) in [("cert.pem", made.cert.pem()), ("key.pem", made.signing_key.serialize_pem())] {
        fs::write(dir.join("new"), text).expect("writable");
        fs::rename(dir.join("new"), dir.join(name)).expect("writable");
    }
    made.cert
}

/// Whom a client trusts.
#[derive(Clone)]
pub struct Trust(pub Arc<ClientConfig>);

/// One connection's TLS.
pub struct Tls(pub ClientConnection);

impl Tls {
    pub fn shake(trust: &Trust, stream: &mut TcpStream) -> io::Result<Self> {
        let name = ServerName::try_from("127.0.0.1").expect("an address");
        let mut tls = ClientConnection::new(Arc::clone(&trust.0), name).map_err(io::Error::other)?;
        while tls.is_handshaking() {
            tls.complete_io(stream)?;
        }
        Ok(Self(tls))
    }

    pub fn write(&mut self, stream: &mut TcpStream, bytes: &[u8]) -> io::Result<()> {
        for chunk in bytes.chunks(16 << 10) {
            self.0.writer().write_all(chunk)?;
            while self.0.wants_write() {
                self.0.write_tls(stream)?;
            }
        }
        Ok(())
    }

    /// Takes bytes of the stream's, and puts what they mean behind `unread`.
    pub fn feed(&mut self, mut bytes: &[u8], unread: &mut Vec<u8>) {
        while !bytes.is_empty() {
            self.0.read_tls(&mut bytes).expect("from memory");
            self.0.process_new_packets().expect("TLS");
        }
        // There may be no more of it yet.
        let _ = self.0.reader().read_to_end(unread);
    }

    pub fn read(&mut self, stream: &mut TcpStream, bytes: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.0.reader().read(bytes) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                done => return done,
            }
            if self.0.read_tls(stream)? == 0 {
                // Without TLS's own end it is a cut.
                self.0.process_new_packets().map_err(io::Error::other)?;
                return self.0.reader().read(bytes);
            }
            self.0.process_new_packets().map_err(io::Error::other)?;
        }
    }
}
