//! x0's front as the control socket sees it: connect, one packet out, one packet in, close.

use std::{
    os::fd::{AsRawFd, OwnedFd},
    path::Path,
    time::Duration,
};

use nix::{
    errno::Errno,
    sys::{
        socket::{
            AddressFamily, Backlog, MsgFlags, SockFlag, SockType, UnixAddr, bind, connect, listen, recv, send,
            setsockopt, socket, sockopt,
        },
        time::TimeVal,
    },
};

use super::{Relay, x0::Answer};

/// What the original's two sides read of one packet.
pub const ORIGINAL_READS: usize = 4096;

/// One connection to a control socket.
pub struct Packets(OwnedFd);

impl Packets {
    #[track_caller]
    pub fn open(path: &Path) -> Self {
        Self::try_open(path).unwrap_or_else(|e| panic!("cannot connect to {}: {e}", path.display()))
    }

    /// # Errors
    /// As `connect` says.
    pub fn try_open(path: &Path) -> Result<Self, Errno> {
        let fd = socket(AddressFamily::Unix, SockType::SeqPacket, SockFlag::SOCK_CLOEXEC, None)?;
        let long = TimeVal::new(10, 0);
        setsockopt(&fd, sockopt::ReceiveTimeout, &long)?;
        setsockopt(&fd, sockopt::SendTimeout, &long)?;
        connect(fd.as_raw_fd(), &UnixAddr::new(path)?)?;
        Ok(Self(fd))
    }

    #[track_caller]
    pub fn send(&self, packet: impl AsRef<[u8]>) {
        let packet = packet.as_ref();
        assert_eq!(send(self.0.as_raw_fd(), packet, MsgFlags::MSG_NOSIGNAL), Ok(packet.len()));
    }

    /// # Errors
    /// As `send` says.
    pub fn try_send(&self, packet: impl AsRef<[u8]>) -> Result<(), Errno> {
        send(self.0.as_raw_fd(), packet.as_ref(), MsgFlags::MSG_NOSIGNAL).map(drop)
    }

    /// The next packet, whole, however long; empty if the relay has closed.
    #[track_caller]
    pub fn receive(&self) -> Vec<u8> {
        let mut packet = vec![0; 1 << 20];
        let n = recv(self.0.as_raw_fd(), &mut packet, MsgFlags::MSG_TRUNC).expect("a packet within 10 s");
        assert!(n <= packet.len(), "a packet of {n} bytes");
        packet.truncate(n);
        packet
    }

    /// Fails if anything comes within this time.
    #[track_caller]
    pub fn assert_silent(&self, during: Duration) {
        let during = TimeVal::new(0, during.as_micros().try_into().expect("less than a second"));
        setsockopt(&self.0, sockopt::ReceiveTimeout, &during).expect("a socket");
        let mut packet = [0; 64];
        assert_eq!(recv(self.0.as_raw_fd(), &mut packet, MsgFlags::empty()), Err(Errno::EAGAIN));
    }
}

/// A listening control socket, made by somebody else than the relay.
pub fn listening(path: &Path) -> OwnedFd {
    let fd = socket(AddressFamily::Unix, SockType::SeqPacket, SockFlag::SOCK_CLOEXEC, None).expect("a socket");
    bind(fd.as_raw_fd(), &UnixAddr::new(path).expect("a short path")).expect("a free path");
    listen(&fd, Backlog::new(64).expect("small")).expect("bound");
    fd
}

/// x0's exchange: connect, one packet out, one in, close. Fails unless the answer is one that x0's front can read.
#[track_caller]
pub fn front(path: &Path, packet: impl AsRef<[u8]>) -> String {
    let connection = Packets::open(path);
    connection.send(packet);
    let answer = connection.receive();
    assert!(!answer.is_empty(), "closed without an answer");
    assert!(answer.len() <= ORIGINAL_READS, "an answer of {} bytes, which the front would cut", answer.len());
    String::from_utf8(answer).expect("UTF-8")
}

impl Relay {
    /// One exchange on the control socket.
    #[track_caller]
    pub fn packet(&self, packet: impl AsRef<[u8]>) -> Answer {
        Answer::parse(&front(self.control(), packet))
    }
}

/// The packet of a GET.
pub fn get_packet(session: &str) -> String {
    format!(r#"{{"type":"GET","session_src":{}}}"#, super::x0::quoted(session))
}

/// The packet of a DEL.
pub fn del_packet(session: &str) -> String {
    format!(r#"{{"type":"DEL","session_src":{}}}"#, super::x0::quoted(session))
}
