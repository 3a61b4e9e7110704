//! What is served outside of hyper: receivers, which hold nothing but a socket, a bell and a timer while they wait.

use std::pin::Pin;

use super::{Doors, line::Line, socket::Socket, v1, x0};
use crate::id::SessionId;

/// A request whose head and body are read, and which is to be answered on the bare socket.
#[derive(Debug)]
pub enum Outside {
    /// A poll in the x0 dialect.
    X0(x0::Park),
    /// A long poll of protocol v1.
    Poll(v1::poll::Park),
    /// An event stream.
    Events(v1::events::Park),
    /// A WebSocket.
    Socket(v1::ws::Park),
}

impl Outside {
    /// Whose request it is, if it is one that is answered whole.
    pub fn session(&self) -> Option<&SessionId> {
        match self {
            Outside::X0(park) => Some(park.session()),
            Outside::Poll(park) => Some(park.session()),
            Outside::Events(_) | Outside::Socket(_) => None,
        }
    }
}

/// Serves it on a stream of an HTTP/2 connection, where no WebSocket is opened: clients open those over HTTP/1.1.
pub async fn serve_stream(outside: Outside, mut line: impl Line, doors: &Doors) {
    match outside {
        Outside::X0(park) => {
            x0::wait(&park, &mut line, doors).await;
        }
        Outside::Poll(park) => {
            v1::poll::wait(&park, &mut line, doors).await;
        }
        Outside::Events(park) => v1::events::stream(park, &mut line, doors).await,
        Outside::Socket(_) => {}
    }
}

/// Serves it. Returns whether the connection can serve another request. Each kind has its own box, so that a wait costs
/// what it needs, and not what the largest of them does.
pub fn serve<'a>(
    outside: Outside,
    socket: &'a mut Socket,
    doors: &'a Doors,
) -> Pin<Box<dyn Future<Output = bool> + Send + 'a>> {
    match outside {
        Outside::X0(park) => Box::pin(async move { x0::wait(&park, socket, doors).await }),
        Outside::Poll(park) => Box::pin(async move { v1::poll::wait(&park, socket, doors).await }),
        Outside::Events(park) => Box::pin(async move {
            v1::events::stream(park, socket, doors).await;
            false
        }),
        Outside::Socket(park) => Box::pin(async move {
            v1::ws::serve(park, socket, doors).await;
            false
        }),
    }
}
