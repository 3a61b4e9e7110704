//! `AF_UNIX` sockets of type `SOCK_SEQPACKET` (unix(7)): one packet in, one packet out, with the peer's credentials.

use std::{
    fs::{self, TryLockError},
    io,
    os::{
        fd::{AsRawFd, FromRawFd, OwnedFd},
        unix::fs::{FileTypeExt, MetadataExt, lchown},
    },
    path::{Path, PathBuf},
};

use nix::{
    errno::Errno,
    sys::socket::{
        AddressFamily, Backlog, MsgFlags, SockFlag, SockType, UnixAddr, accept4, bind, connect, getsockopt, listen,
        recv, send, setsockopt, socket, sockopt,
    },
    sys::stat::{Mode, fchmod, umask},
};
use tokio::io::{Interest, unix::AsyncFd};

use crate::settings::ControlSocket;

/// Connections that the kernel queues.
const BACKLOG: i32 = 1024;
/// Room for a packet of the largest kind and some behind it.
const SEND_BUFFER_BYTES: usize = 1 << 20;

/// One connection.
#[derive(Debug)]
pub struct Seqpacket {
    fd: AsyncFd<OwnedFd>,
}

/// What was received.
#[derive(Debug)]
pub enum Received {
    /// A packet.
    Packet(Vec<u8>),
    /// A packet of this many bytes, which were too many, and are gone.
    TooLarge(usize),
    /// The peer has ended.
    End,
}

fn watch(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an `OwnedFd` is open, names one descriptor, and the `AsyncFd` owns it until both are dropped.
    Ok(unsafe { AsyncFd::register(fd) }?)
}

fn new_socket() -> io::Result<OwnedFd> {
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    Ok(socket(AddressFamily::Unix, SockType::SeqPacket, flags, None)?)
}

impl Seqpacket {
    fn new(fd: OwnedFd) -> io::Result<Self> {
        // Less room only means more waiting.
        let _ = setsockopt(&fd, sockopt::SndBuf, &SEND_BUFFER_BYTES);
        Ok(Self { fd: watch(fd)? })
    }

    /// Connects to a listening socket.
    ///
    /// # Errors
    /// The system's, such as `NotFound` and `ConnectionRefused`.
    pub fn connect(path: &Path) -> io::Result<Self> {
        let fd = new_socket()?;
        connect(fd.as_raw_fd(), &UnixAddr::new(path)?)?;
        Self::new(fd)
    }

    /// The peer's effective user when it connected.
    ///
    /// # Errors
    /// The system's.
    pub fn peer_uid(&self) -> io::Result<u32> {
        Ok(getsockopt(self.fd.get_ref(), sockopt::PeerCredentials)?.uid())
    }

    /// Waits for a packet of at most `max` bytes. May be dropped.
    ///
    /// # Errors
    /// The system's.
    pub async fn receive(&self, max: usize) -> io::Result<Received> {
        let one = |fd: &OwnedFd| {
            let fd = fd.as_raw_fd();
            // The length first: memory is had for what is there, not for what could be.
            let length = recv(fd, &mut [], MsgFlags::MSG_PEEK | MsgFlags::MSG_TRUNC)?;
            let mut packet = vec![0; length.min(max)];
            recv(fd, &mut packet, MsgFlags::empty())?;
            Ok(match length {
                0 => Received::End,
                _ if length > max => Received::TooLarge(length),
                _ => Received::Packet(packet),
            })
        };
        match self.fd.async_io(Interest::READABLE, one).await {
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => Ok(Received::End),
            result => result,
        }
    }

    /// Sends a packet, whole or not at all. May be dropped.
    ///
    /// # Errors
    /// The system's, such as `BrokenPipe`.
    pub async fn send(&self, packet: &[u8]) -> io::Result<()> {
        let one = |fd: &OwnedFd| Ok(send(fd.as_raw_fd(), packet, MsgFlags::MSG_NOSIGNAL)?);
        self.fd.async_io(Interest::WRITABLE, one).await.map(drop)
    }
}

/// A listening socket.
#[derive(Debug)]
pub struct Listener {
    fd: AsyncFd<OwnedFd>,
    /// The file that is ours to remove, with its device and inode.
    file: Option<(PathBuf, (u64, u64))>,
}

impl Listener {
    /// Takes over a listening socket that the process was started with.
    ///
    /// # Errors
    /// The system's.
    pub fn inherited(fd: OwnedFd) -> io::Result<Self> {
        Ok(Self { fd: watch(fd)?, file: None })
    }

    /// Listens at `path`. A socket file that nobody listens on any more is replaced.
    ///
    /// # Errors
    /// `AddrInUse` if somebody listens there, or if the file is no socket; else the system's, with the path.
    pub fn bind(path: &Path, settings: &ControlSocket) -> io::Result<Self> {
        let named = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
        // One starter at a time: between `bind` and `listen` a socket looks as if nobody listened on it.
        let folder =
            fs::File::open(path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new(".")));
        let folder = folder.map_err(named)?;
        folder.try_lock().map_err(|error| {
            let what = match error {
                TryLockError::WouldBlock => "another server is starting here; try again".to_owned(),
                TryLockError::Error(error) => error.to_string(),
            };
            named(io::Error::new(io::ErrorKind::AddrInUse, what))
        })?;
        remove_stale(path).map_err(named)?;
        let fd = new_socket()?;
        // Linux gives the file the mode of the unbound socket, less the mask; a mode set by path could hit another file.
        fchmod(&fd, Mode::from_bits_truncate(settings.mode))?;
        let mask = umask(Mode::empty());
        let bound = bind(fd.as_raw_fd(), &UnixAddr::new(path)?);
        umask(mask);
        bound.map_err(|error| named(error.into()))?;
        if settings.owner.is_some() || settings.group.is_some() {
            // At least this follows no link that somebody may have put there meanwhile.
            lchown(path, settings.owner, settings.group).map_err(named)?;
        }
        // Nobody can connect before this, so nobody gets in before mode and owner are right.
        listen(&fd, Backlog::new(BACKLOG)?)?;
        let inode = inode(path).map_err(named)?;
        Ok(Self { fd: watch(fd)?, file: Some((path.to_owned(), inode)) })
    }

    /// Waits for a connection. May be dropped.
    ///
    /// # Errors
    /// The system's.
    pub async fn accept(&self) -> io::Result<Seqpacket> {
        let one = |fd: &OwnedFd| Ok(accept4(fd.as_raw_fd(), SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC)?);
        let raw = self.fd.async_io(Interest::READABLE, one).await?;
        // SAFETY: accept4 has just returned this descriptor, and nobody else knows it.
        let fd = unsafe { OwnedFd::from_raw_fd(raw) };
        Seqpacket::new(fd)
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Some((path, ours)) = &self.file
            // Another relay may have taken the place since.
            && inode(path).is_ok_and(|there| there == *ours)
        {
            // A file left behind is replaced at the next start.
            let _ = fs::remove_file(path);
        }
    }
}

fn inode(path: &Path) -> io::Result<(u64, u64)> {
    fs::symlink_metadata(path).map(|file| (file.dev(), file.ino()))
}

/// Removes the socket file that a relay which is no more has left.
fn remove_stale(path: &Path) -> io::Result<()> {
    let kind = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        result => result?.file_type(),
    };
    if !kind.is_socket() {
        return Err(io::Error::new(
            io::ErrorKind::AddrInUse,
            "there is a file here that is no socket; it is left alone",
        ));
    }
    match connect(new_socket()?.as_raw_fd(), &UnixAddr::new(path)?) {
        Err(Errno::ECONNREFUSED) => fs::remove_file(path),
        Ok(()) | Err(Errno::EAGAIN | Errno::EPROTOTYPE) => Err(io::Error::new(
            io::ErrorKind::AddrInUse,
            "another server listens here; stop it first, or set another socket",
        )),
        Err(error) => Err(error.into()),
    }
}
