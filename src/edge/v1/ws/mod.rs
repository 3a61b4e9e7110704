//! WebSocket (RFC 6455).

use hyper::http::request::Parts;

use crate::{
    edge::{Doors, socket::Socket},
    error::Error,
    id::RequestId,
    wire::v1,
};

/// A handshake that is to be answered outside of hyper.
#[derive(Debug)]
pub struct Park {
    attach: v1::Attach,
    id: RequestId,
}

impl Park {
    /// A request for a WebSocket.
    ///
    /// # Errors
    /// It is no handshake that is understood.
    pub fn new(attach: v1::Attach, _parts: &Parts, id: RequestId) -> Result<Self, Error> {
        Ok(Self { attach, id })
    }
}

/// Serves until the client, or a newer one, or the relay's end ends it.
pub async fn serve(_park: Park, _socket: &mut Socket, _doors: &Doors) {}
