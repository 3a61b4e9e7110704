//! TLS (RFC 8446) on listening addresses.

mod tcp;

pub use tcp::Tcp;
