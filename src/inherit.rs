//! Listening sockets that the process was started with (systemd's protocol, sd_listen_fds(3)) or given later.

use std::{
    io,
    net::TcpListener,
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
};

use nix::{
    fcntl::{FcntlArg, FdFlag, fcntl},
    sys::socket::{AddressFamily, SockType, SockaddrLike, SockaddrStorage, getsockname, getsockopt, sockopt},
};

/// What was inherited.
#[derive(Debug, Default)]
pub struct Inherited {
    /// For HTTP, in place of `listen`.
    pub tcp: Vec<TcpListener>,
    /// For the control channel, in place of `socket`.
    pub control: Option<OwnedFd>,
}

impl Inherited {
    /// Whether there is nothing.
    pub fn is_empty(&self) -> bool {
        self.tcp.is_empty() && self.control.is_none()
    }

    /// One more, called `name`.
    ///
    /// # Errors
    /// It is neither a TCP socket nor an `AF_UNIX` one of type `SOCK_SEQPACKET`, or does not listen.
    pub fn add(&mut self, fd: OwnedFd, name: &str) -> io::Result<()> {
        let unfit = |what: &str| {
            let message = format!("{name} {what}; pass a TCP socket, or an AF_UNIX one of type SOCK_SEQPACKET");
            io::Error::new(io::ErrorKind::InvalidInput, message)
        };
        let address: SockaddrStorage = getsockname(fd.as_raw_fd()).map_err(|_| unfit("is no socket"))?;
        let kind = getsockopt(&fd, sockopt::SockType)?;
        if !getsockopt(&fd, sockopt::AcceptConn)? {
            return Err(unfit("does not listen"));
        }
        match (address.family(), kind) {
            (Some(AddressFamily::Inet | AddressFamily::Inet6), SockType::Stream) => {
                let listener = TcpListener::from(fd);
                listener.set_nonblocking(true)?;
                self.tcp.push(listener);
            }
            (Some(AddressFamily::Unix), SockType::SeqPacket) if self.control.is_none() => {
                nonblocking(&fd)?;
                self.control = Some(fd);
            }
            (Some(AddressFamily::Unix), SockType::SeqPacket) => return Err(unfit("is a second control socket")),
            _ => return Err(unfit("is a socket of another kind")),
        }
        Ok(())
    }
}

/// Takes over what `LISTEN_FDS` and `LISTEN_PID` promise. To be called once, before anything else opens a descriptor.
///
/// # Errors
/// A descriptor that is neither a TCP socket nor an `AF_UNIX` one of type `SOCK_SEQPACKET`.
pub fn take() -> io::Result<Inherited> {
    let mut inherited = Inherited::default();
    let promised = sd_notify::listen_fds().map_err(|error| {
        io::Error::new(
            error.kind(),
            format!("LISTEN_FDS and LISTEN_PID are to be numbers, as sd_listen_fds(3) says: {error}"),
        )
    })?;
    for number in promised {
        // Before it is taken over: a descriptor that nobody opened is not ours to close.
        if nix::fcntl::fcntl(borrowed(number), FcntlArg::F_GETFD).is_err() {
            let message =
                format!("LISTEN_FDS promises descriptor {number}, which is not open; pass as many as it says");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
        }
        // SAFETY: the parent opened this descriptor for us, by the protocol; this is called once, so nobody owns it.
        let fd = unsafe { OwnedFd::from_raw_fd(number) };
        fcntl(&fd, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))?;
        inherited.add(fd, &format!("inherited descriptor {number}"))?;
    }
    Ok(inherited)
}

fn borrowed(number: std::os::fd::RawFd) -> std::os::fd::BorrowedFd<'static> {
    // SAFETY: used at once, for a question that a descriptor which is not open answers with an error.
    unsafe { std::os::fd::BorrowedFd::borrow_raw(number) }
}

fn nonblocking(fd: &OwnedFd) -> io::Result<()> {
    let flags = nix::fcntl::OFlag::from_bits_retain(fcntl(fd, FcntlArg::F_GETFL)?);
    fcntl(fd, FcntlArg::F_SETFL(flags | nix::fcntl::OFlag::O_NONBLOCK))?;
    Ok(())
}
