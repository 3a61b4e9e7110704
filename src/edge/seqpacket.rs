//! `AF_UNIX` sockets of type `SOCK_SEQPACKET` (unix(7)): one packet in, one packet out, with the peer's credentials, and
//! with descriptors if need be.

use std::{
    fs::{self, TryLockError},
    io::{self, IoSlice, IoSliceMut},
    os::{
        fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd},
        unix::fs::{FileTypeExt, MetadataExt, lchown},
    },
    path::{Path, PathBuf},
};

use nix::{
    cmsg_space,
    errno::Errno,
    sys::socket::{
        AddressFamily, Backlog, ControlMessage, ControlMessageOwned, MsgFlags, Shutdown, SockFlag, SockType, UnixAddr,
        accept4, bind, connect, getsockopt, listen, recv, recvmsg, send, sendmsg, setsockopt, shutdown, socket,
        sockopt,
    },
    sys::stat::{Mode, fchmod, umask},
};
use tokio::io::{Interest, unix::AsyncFd};

use crate::settings::ControlSocket;

/// Connections that the kernel queues.
const BACKLOG: i32 = 1024;
/// Room for a packet of the largest kind and some behind it.
const SEND_BUFFER_BYTES: usize = 1 << 20;
/// The most descriptors in one packet (SCM_MAX_FD in the kernel).
pub const DESCRIPTORS_MAX: usize = 253;

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

    /// The process that the peer was when it connected, if it can be seen from here.
    pub fn peer_pid(&self) -> Option<i32> {
        // 0 for a process of another namespace.
        getsockopt(self.fd.get_ref(), sockopt::PeerCredentials).ok().map(|peer| peer.pid()).filter(|pid| *pid > 0)
    }

    /// Lets the peer send nothing more. What it has sent can still be received, and the end comes after it.
    pub fn end_input(&self) {
        // It fails only if the peer has gone, and then there is nothing to end.
        let _ = shutdown(self.fd.as_raw_fd(), Shutdown::Read);
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

    /// Sends a packet with descriptors, at most [`DESCRIPTORS_MAX`], whole or not at all. May be dropped.
    ///
    /// # Errors
    /// The system's.
    pub async fn send_with(&self, packet: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        let numbers: Vec<RawFd> = descriptors.iter().map(AsRawFd::as_raw_fd).collect();
        let one = |fd: &OwnedFd| {
            let (text, rights) = ([IoSlice::new(packet)], [ControlMessage::ScmRights(&numbers)]);
            Ok(sendmsg::<()>(fd.as_raw_fd(), &text, &rights, MsgFlags::MSG_NOSIGNAL, None)?)
        };
        self.fd.async_io(Interest::WRITABLE, one).await.map(drop)
    }

    /// Waits for a packet of at most `max` bytes and the descriptors that come with it. May be dropped.
    ///
    /// # Errors
    /// The system's; `InvalidData` if the packet is larger.
    pub async fn receive_with(&self, max: usize) -> io::Result<(Vec<u8>, Vec<OwnedFd>)> {
        let one = |fd: &OwnedFd| {
            let mut packet = vec![0; max];
            let mut rights = cmsg_space!([RawFd; DESCRIPTORS_MAX]);
            let mut text = [IoSliceMut::new(&mut packet)];
            let got = recvmsg::<()>(fd.as_raw_fd(), &mut text, Some(&mut rights[..]), MsgFlags::MSG_CMSG_CLOEXEC)?;
            let mut descriptors = Vec::new();
            // It fails if there was no room for all of them, which there is.
            for message in got.cmsgs()? {
                let ControlMessageOwned::ScmRights(numbers) = message else { continue };
                // SAFETY: the kernel has just opened these for this process, and nobody else knows them.
                descriptors.extend(numbers.into_iter().map(|number| unsafe { OwnedFd::from_raw_fd(number) }));
            }
            let (length, whole) = (got.bytes, !got.flags.contains(MsgFlags::MSG_TRUNC));
            if !whole {
                return Err(io::ErrorKind::InvalidData.into());
            }
            packet.truncate(length);
            Ok((packet, descriptors))
        };
        self.fd.async_io(Interest::READABLE, one).await
    }
}

/// A listening socket.
#[derive(Debug)]
pub struct Listener {
    fd: AsyncFd<OwnedFd>,
}

/// The file of a listening socket; dropping this removes it, if it is this relay's to remove.
#[derive(Debug)]
pub struct SocketFile {
    path: PathBuf,
    /// Its device and inode.
    inode: (u64, u64),
    /// Whether it is ours to remove.
    pub ours: bool,
}

/// Listens at `path`. A socket file that nobody listens on any more is replaced.
///
/// # Errors
/// `AddrInUse` if somebody listens there, or if the file is no socket; else the system's, with the path.
pub fn bind_at(path: &Path, settings: &ControlSocket) -> io::Result<(OwnedFd, SocketFile)> {
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
    let file = SocketFile::of(path).map_err(named)?;
    Ok((fd, file))
}

impl Listener {
    /// Accepts from a listening socket.
    ///
    /// # Errors
    /// The system's.
    pub fn new(fd: OwnedFd) -> io::Result<Self> {
        Ok(Self { fd: watch(fd)? })
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

impl SocketFile {
    /// The file at `path`, which is this relay's to remove.
    ///
    /// # Errors
    /// There is none.
    pub fn of(path: &Path) -> io::Result<Self> {
        Ok(Self { path: path.to_owned(), inode: inode(path)?, ours: true })
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        // Another relay may have taken the place since.
        if self.ours && inode(&self.path).is_ok_and(|there| there == self.inode) {
            // A file left behind is replaced at the next start.
            let _ = fs::remove_file(&self.path);
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
