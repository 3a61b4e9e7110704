//! One relay over HTTP or HTTPS, for `send`, `watch` and `health`: a connection that is opened when it is needed.

use std::time::Duration;

use bytes::Bytes;
use clap::ArgMatches;
use http_body_util::{BodyExt, Full};
use hyper::{
    Method, Request, StatusCode, Uri,
    client::conn::http1::{SendRequest, handshake},
    header::{self, HeaderValue},
};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    time::timeout,
};

use super::{Failure, trust::Trust};
use crate::lifecycle::{Lifecycle, Task};

/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(5);

/// A relay's address, and the connection to it.
pub struct Relay {
    url: String,
    authority: String,
    /// Over TLS, if the URL says so.
    trust: Option<Trust>,
    /// The value of `Authorization`.
    authorization: Option<HeaderValue>,
    life: Lifecycle,
    connection: Option<(SendRequest<Full<Bytes>>, Task)>,
}

impl Relay {
    /// The relay that `--url` or `X0_RELAY_URL` names.
    ///
    /// # Errors
    /// The URL is none that is understood.
    pub fn named(matches: &ArgMatches) -> Result<Self, Failure> {
        let relay =
            Self::at(matches.get_one::<String>("url").map_or("http://127.0.0.1:8080", String::as_str), matches)?;
        let authorization = super::token::shown(matches)?.map(|token| {
            let mut value = HeaderValue::from_str(&format!("Bearer {token}"))
                .map_err(|_| Failure::usage("the token has characters that none can have"))?;
            value.set_sensitive(true);
            Ok(value)
        });
        Ok(Self { authorization: authorization.transpose()?, ..relay })
    }

    /// The relay at a URL without a path.
    ///
    /// # Errors
    /// The URL is none that is understood.
    pub fn at(url: &str, matches: &ArgMatches) -> Result<Self, Failure> {
        let wrong = || Failure::usage(format!("{url:?} is no URL such as http://127.0.0.1:8080"));
        let uri: Uri = url.parse().map_err(|_| wrong())?;
        let (secure, usual_port) = match uri.scheme_str() {
            Some("http") => (false, 80),
            Some("https") => (true, 443),
            _ => return Err(wrong()),
        };
        if !matches!(uri.path(), "" | "/") || uri.query().is_some() {
            return Err(Failure::usage(format!("{url:?} has a path; x0's addresses are at the root of a relay")));
        }
        let authority = uri.authority().ok_or_else(wrong)?;
        let trust = secure.then(|| Trust::named(matches, authority.host())).transpose()?;
        let host = authority.host();
        let authority = if authority.port().is_some() { authority.to_string() } else { format!("{host}:{usual_port}") };
        let url = format!("{}://{authority}", if secure { "https" } else { "http" });
        Ok(Self { url, authority, trust, authorization: None, life: Lifecycle::start(), connection: None })
    }

    /// Sends a request and reads its answer whole.
    ///
    /// # Errors
    /// The relay cannot be reached, or broke off.
    pub async fn ask(&mut self, method: Method, path: &str, body: String) -> Result<(StatusCode, Bytes), Failure> {
        let away = |error: &dyn std::fmt::Display| Failure::unreachable(format!("no relay at {}: {error}", self.url));
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
                let tcp = tcp.map_err(|error| away(&error))?;
                match &self.trust {
                    None => self.open(tcp).await.map_err(|error| away(&error))?,
                    Some(trust) => {
                        let tls = timeout(CONNECT, trust.secure(tcp)).await.map_err(|error| away(&error))?;
                        self.open(tls.map_err(|error| away(&error))?).await.map_err(|error| away(&error))?
                    }
                }
            }
        };
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, &self.authority)
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from(body)))
            .map_err(Failure::failed)?;
        if let Some(authorization) = &self.authorization {
            request.headers_mut().insert(header::AUTHORIZATION, authorization.clone());
        }
        let answer = sender.send_request(request).await.map_err(|error| away(&error))?;
        let status = answer.status();
        let body = answer.into_body().collect().await.map_err(|error| away(&error))?.to_bytes();
        self.connection = Some((sender, task));
        Ok((status, body))
    }

    async fn open<C>(&self, connection: C) -> hyper::Result<(SendRequest<Full<Bytes>>, Task)>
    where
        C: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (sender, connection) = handshake(TokioIo::new(connection)).await?;
        let task = self.life.spawn(async move {
            // Whoever waits for an answer is told.
            let _ = connection.await;
        });
        Ok((sender, task))
    }
}
