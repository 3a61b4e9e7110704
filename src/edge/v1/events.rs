//! Server-sent events.

use crate::{
    edge::{Doors, socket::Socket},
    id::RequestId,
    wire::v1,
};

/// A request for events that is to be served outside of hyper.
#[derive(Debug)]
pub struct Park {
    events: v1::Events,
    id: RequestId,
}

impl Park {
    /// A request that is read.
    pub fn new(events: v1::Events, id: RequestId) -> Self {
        Self { events, id }
    }
}

/// Streams until the client, or a newer one, or the relay's end ends it.
pub async fn stream(_park: Park, _socket: &mut Socket, _doors: &Doors) {}
