//! The listening sockets: bound here, inherited, or taken over. The server keeps them; what accepts has copies, so that
//! the sockets can be given to another relay, and be accepted from again if nothing came of that.

use std::{
    io,
    net::{SocketAddr, TcpListener as StdListener},
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
    path::{Path, PathBuf},
};

use nix::sys::socket::{UnixAddr, getsockname};
use tokio::net::TcpListener;

use super::StartError;
use crate::{
    config::{self, SocketPlace},
    edge::{
        listen,
        seqpacket::{Listener, SocketFile, bind_at},
    },
    inherit::Inherited,
};

/// The listening sockets of this process.
pub struct Sockets {
    tcp: Vec<StdListener>,
    /// What of `tls-listen` they are looked for in.
    tls: Vec<SocketAddr>,
    control: Option<Control>,
}

struct Control {
    fd: OwnedFd,
    path: Option<PathBuf>,
    /// `None` if somebody else has made it.
    file: Option<SocketFile>,
}

impl Sockets {
    /// Those for HTTP alone.
    ///
    /// # Errors
    /// An address that cannot be had.
    pub fn http(http: &config::Http, inherited: Vec<StdListener>) -> Result<Self, StartError> {
        if inherited.is_empty() {
            let bind = |addresses: &[SocketAddr]| {
                addresses.iter().map(|address| listen::bind(*address)).collect::<io::Result<Vec<_>>>()
            };
            let mut tcp = bind(&http.listen)?;
            let mut secure = bind(&http.tls_listen)?;
            // Port 0 is another one by now.
            let tls = secure.iter().map(StdListener::local_addr).collect::<io::Result<_>>()?;
            tcp.append(&mut secure);
            return Ok(Self { tcp, tls, control: None });
        }
        let sockets = Self { tcp: inherited, tls: http.tls_listen.clone(), control: None };
        sockets.may_be_reached(http)?;
        sockets.has_secure_ones()?;
        Ok(sockets)
    }

    /// Those of a relay; what is inherited stands for what is set.
    ///
    /// # Errors
    /// An address or socket that cannot be had.
    pub fn relay(config: &config::Serve, inherited: Inherited) -> Result<Self, StartError> {
        let mut sockets = Self::http(&config.http, inherited.tcp)?;
        sockets.control = match inherited.control {
            Some(fd) => {
                let address = getsockname::<UnixAddr>(fd.as_raw_fd()).ok();
                let path = address.and_then(|address| address.path().map(PathBuf::from));
                Some(Control { fd, path, file: None })
            }
            None => control(config)?,
        };
        if sockets.tcp.is_empty() && sockets.control.is_none() {
            let why = "there is neither an address to listen on nor a control socket";
            return Err(StartError::Refused(why.to_owned()));
        }
        Ok(sockets)
    }

    /// Those of a relay that was running at `path`, instead of all that is set. The file is not this relay's yet.
    ///
    /// # Errors
    /// They may not be had with these settings.
    pub fn taken(http: &config::Http, given: Inherited, path: &Path, file: bool) -> Result<Self, StartError> {
        let mut sockets = Self { tcp: given.tcp, tls: http.tls_listen.clone(), control: None };
        sockets.may_be_reached(http)?;
        sockets.has_secure_ones()?;
        if let Some(fd) = given.control {
            // What a link leads to, not the link.
            let real = path.canonicalize()?;
            let mut file = if file { Some(SocketFile::of(&real)?) } else { None };
            file.iter_mut().for_each(|file| file.ours = false);
            sockets.control = Some(Control { fd, path: Some(path.to_owned()), file });
        }
        Ok(sockets)
    }

    /// Sockets that were made elsewhere say nothing of who is meant to reach them.
    fn may_be_reached(&self, http: &config::Http) -> Result<(), StartError> {
        for address in self.addresses()? {
            if !address.ip().is_loopback() && !http.open_by_name {
                return Err(StartError::Refused(format!(
                    "the inherited socket {address} can be reached from other machines, and everybody who reaches it may \
                     send and receive: say auth = \"open\" if that is meant"
                )));
            }
        }
        Ok(())
    }

    /// What is to speak TLS has to be among sockets that were made elsewhere.
    fn has_secure_ones(&self) -> Result<(), StartError> {
        let there = self.addresses()?;
        match self.tls.iter().find(|wanted| !there.iter().any(|address| is_at(wanted, address))) {
            None => Ok(()),
            Some(missing) => Err(StartError::Refused(format!(
                "tls-listen has {missing}, and no socket that this relay was given listens there"
            ))),
        }
    }

    /// Whether TLS is spoken at one of [`Sockets::addresses`].
    pub fn is_secure(&self, address: &SocketAddr) -> bool {
        self.tls.iter().any(|secure| is_at(secure, address))
    }

    /// Where HTTP is served, with TLS or without.
    ///
    /// # Errors
    /// The system's.
    pub fn addresses(&self) -> io::Result<Vec<SocketAddr>> {
        self.tcp.iter().map(StdListener::local_addr).collect()
    }

    /// Where the control socket is.
    pub fn path(&self) -> Option<PathBuf> {
        self.control.as_ref().and_then(|control| control.path.clone())
    }

    /// Copies of the TCP sockets, to accept from, and whether TLS is spoken there.
    ///
    /// # Errors
    /// The system's.
    pub fn http_listeners(&self) -> io::Result<Vec<(TcpListener, bool)>> {
        let copy =
            |tcp: &StdListener| Ok((TcpListener::from_std(tcp.try_clone()?)?, self.is_secure(&tcp.local_addr()?)));
        self.tcp.iter().map(copy).collect()
    }

    /// A copy of the control socket, to accept from.
    ///
    /// # Errors
    /// The system's.
    pub fn control_listener(&self) -> io::Result<Option<Listener>> {
        self.control.as_ref().map(|control| Listener::new(control.fd.try_clone()?)).transpose()
    }

    /// Closes the TCP sockets. Those that still accept have to be closed by whoever has them.
    pub fn close_http(&mut self) {
        self.tcp.clear();
    }

    /// All of them: TCP, then the control socket.
    pub fn all(&self) -> Vec<BorrowedFd<'_>> {
        self.tcp.iter().map(AsFd::as_fd).chain(self.control.iter().map(|control| control.fd.as_fd())).collect()
    }

    /// How many of them are TCP.
    pub fn tcp(&self) -> usize {
        self.tcp.len()
    }

    /// Whether the control socket's file was made by this relay, or one before it.
    pub fn has_file(&self) -> bool {
        self.control.as_ref().is_some_and(|control| control.file.is_some())
    }

    /// Whether the control socket's file is this process's to remove at its end.
    pub fn own_file(&mut self, ours: bool) {
        let file = self.control.as_mut().and_then(|control| control.file.as_mut());
        file.into_iter().for_each(|file| file.ours = ours);
    }
}

/// Whether a socket listens where it was meant to: systemd's stand for all addresses of one port as they please.
fn is_at(wanted: &SocketAddr, there: &SocketAddr) -> bool {
    let everywhere = wanted.ip().is_unspecified() && there.ip().is_unspecified();
    wanted == there || (wanted.port() == there.port() && everywhere)
}

fn control(config: &config::Serve) -> Result<Option<Control>, StartError> {
    let settings = config::ControlSocket {
        owner: config.socket.owner.or(config.process.user),
        group: config.socket.group.or(config.process.group),
        ..config.socket.clone()
    };
    let bound = |path: &Path| {
        bind_at(path, &settings).map(|(fd, file)| Control { fd, path: Some(path.to_owned()), file: Some(file) })
    };
    match &settings.place {
        SocketPlace::Nowhere => Ok(None),
        SocketPlace::At(path) => Ok(Some(bound(path)?)),
        SocketPlace::Default(path) => match bound(path) {
            Ok(control) => Ok(Some(control)),
            Err(error) => {
                tracing::warn!(%error, "no control socket: set one with --socket");
                Ok(None)
            }
        },
    }
}
