//! One relay over HTTP, for `send`, `watch` and `health`: a connection that is opened when it is needed.

use std::time::Duration;

use bytes::Bytes;
use clap::ArgMatches;
use http_body_util::{BodyExt, Full};
use hyper::{
    Method, Request, StatusCode, Uri,
    client::conn::http1::{SendRequest, handshake},
    header,
};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, time::timeout};

use super::Failure;
use crate::lifecycle::{Lifecycle, Task};

/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(5);

/// A relay's address, and the connection to it.
pub struct Relay {
    authority: String,
    life: Lifecycle,
    connection: Option<(SendRequest<Full<Bytes>>, Task)>,
}

impl Relay {
    /// The relay that `--url` or `X0_RELAY_URL` names.
    ///
    /// # Errors
    /// The URL is none that is understood.
    pub fn named(matches: &ArgMatches) -> Result<Self, Failure> {
        Self::at(matches.get_one::<String>("url").map_or("http://127.0.0.1:8080", String::as_str))
    }

    /// The relay at a URL without a path.
    ///
    /// # Errors
    /// The URL is none that is understood.
    pub fn at(url: &str) -> Result<Self, Failure> {
        let wrong = || Failure::usage(format!("{url:?} is no URL such as http://127.0.0.1:8080"));
        let uri: Uri = url.parse().map_err(|_| wrong())?;
        match uri.scheme_str() {
            Some("http") => {}
            Some("https") => return Err(Failure::usage("TLS is not spoken here; name an http:// address")),
            _ => return Err(wrong()),
        }
        if !matches!(uri.path(), "" | "/") || uri.query().is_some() {
            return Err(Failure::usage(format!("{url:?} has a path; x0's addresses are at the root of a relay")));
        }
        let authority = uri.authority().ok_or_else(wrong)?;
        let authority =
            if authority.port().is_some() { authority.to_string() } else { format!("{}:80", authority.host()) };
        Ok(Self { authority, life: Lifecycle::start(), connection: None })
    }

    /// Sends a request and reads its answer whole.
    ///
    /// # Errors
    /// The relay cannot be reached, or broke off.
    pub async fn ask(&mut self, method: Method, path: &str, body: String) -> Result<(StatusCode, Bytes), Failure> {
        let away = |error: &dyn std::fmt::Display| {
            Failure::unreachable(format!("no relay at http://{}: {error}", self.authority))
        };
        let mut open = self.connection.take();
        if let Some((sender, _)) = &mut open
            && sender.ready().await.is_err()
        {
            open = None;
        }
        let (mut sender, task) = match open {
            Some(open) => open,
            None => {
                let tcp = timeout(CONNECT, TcpStream::connect(&self.authority)).await.map_err(|error| away(&error))?;
                let (sender, connection) =
                    handshake(TokioIo::new(tcp.map_err(|error| away(&error))?)).await.map_err(|error| away(&error))?;
                let task = self.life.spawn(async move {
                    // Whoever waits for an answer is told.
                    let _ = connection.await;
                });
                (sender, task)
            }
        };
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, &self.authority)
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from(body)))
            .map_err(Failure::failed)?;
        let answer = sender.send_request(request).await.map_err(|error| away(&error))?;
        let status = answer.status();
        let body = answer.into_body().collect().await.map_err(|error| away(&error))?.to_bytes();
        self.connection = Some((sender, task));
        Ok((status, body))
    }
}
