use std::{future::Future, net::SocketAddr, sync::Arc};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{
    Method, Request, Response,
    body::Incoming,
    client::conn::http2::{Builder, SendRequest},
};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, sync::watch};
use tokio_rustls::{
    TlsConnector,
    client::TlsStream,
    rustls::{
        pki_types::ServerName,
        version::{TLS12, TLS13},
    },
};

use crate::common::tls::Certificate;

pub fn block_on<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = Box::leak(Box::new(runtime.expect("a runtime")));
    runtime.block_on(test)
}

/// TLS on which HTTP/2 is agreed upon.
pub async fn connect(to: SocketAddr, certificate: &Certificate) -> TlsStream<TcpStream> {
    let trust = certificate.trust_with(&[&TLS12, &TLS13], &[b"h2", b"http/1.1"]);
    let tcp = TcpStream::connect(to).await.expect("it listens");
    tcp.set_nodelay(true).expect("a TCP socket");
    let name = ServerName::try_from("127.0.0.1").expect("an address");
    let tls = TlsConnector::from(Arc::clone(&trust.0)).connect(name, tcp).await.expect("TLS");
    assert_eq!(tls.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    tls
}

#[derive(Clone)]
struct Spawn;

impl<F: Future<Output = ()> + Send + 'static> hyper::rt::Executor<F> for Spawn {
    fn execute(&self, task: F) {
        tokio::spawn(task);
    }
}

/// A connection, as a browser has one.
#[derive(Clone)]
pub struct Client {
    send: SendRequest<Full<Bytes>>,
    over: watch::Receiver<bool>,
    connection: tokio::task::AbortHandle,
}

impl Client {
    pub async fn open(to: SocketAddr, certificate: &Certificate) -> Self {
        Self::with_window(to, certificate, 1 << 20).await
    }

    /// One that takes this much of each answer ahead of its reader.
    pub async fn with_window(to: SocketAddr, certificate: &Certificate, window: u32) -> Self {
        Self::over(connect(to, certificate).await, window).await
    }

    pub async fn over(tls: TlsStream<TcpStream>, window: u32) -> Self {
        let mut builder = Builder::new(Spawn);
        builder.initial_stream_window_size(window).initial_connection_window_size(16 << 20);
        let (send, connection) = builder.handshake(TokioIo::new(tls)).await.expect("HTTP/2");
        let (end, over) = watch::channel(false);
        let task = tokio::spawn(async move {
            // Whoever waits for an answer is told.
            let _ = connection.await;
            end.send_replace(true);
        });
        Self { send, over, connection: task.abort_handle() }
    }

    pub async fn try_start(&mut self, request: Request<Full<Bytes>>) -> hyper::Result<Response<Incoming>> {
        self.send.ready().await?;
        self.send.send_request(request).await
    }

    pub async fn try_ask(&mut self, request: Request<Full<Bytes>>) -> hyper::Result<Response<String>> {
        let (parts, body) = self.try_start(request).await?.into_parts();
        let body = body.collect().await?.to_bytes();
        Ok(Response::from_parts(parts, String::from_utf8(body.to_vec()).expect("UTF-8")))
    }

    pub async fn ask(&mut self, request: Request<Full<Bytes>>) -> Response<String> {
        self.try_ask(request).await.expect("an answer")
    }

    pub async fn events(&mut self, session: &str) -> Events {
        let answer = self.try_start(get(&format!("/v1/events?session={session}"))).await.expect("an answer");
        assert_eq!(answer.headers()["content-type"], "text/event-stream");
        Events { body: answer.into_body(), text: String::new() }
    }

    /// Lets go of the connection as it is, without a word of HTTP/2 or TLS.
    pub fn cut(&self) {
        self.connection.abort();
    }

    /// Waits until the connection is over.
    pub async fn closed(&mut self) {
        self.over.wait_for(|over| *over).await.expect("it says so");
    }
}

/// An event stream.
pub struct Events {
    body: Incoming,
    text: String,
}

impl Events {
    /// Reads until this has come, and takes everything up to it.
    pub async fn until(&mut self, marker: &str) -> String {
        while !self.text.contains(marker) {
            assert!(self.more().await, "it ended before {marker}: {}", self.text);
        }
        let at = self.text.find(marker).expect("there") + marker.len();
        self.text.drain(..at).collect()
    }

    pub async fn rest(mut self) -> String {
        while self.more().await {}
        self.text
    }

    async fn more(&mut self) -> bool {
        match self.body.frame().await {
            Some(Ok(frame)) => {
                self.text += std::str::from_utf8(frame.data_ref().expect("data")).expect("UTF-8");
                true
            }
            Some(Err(_)) | None => false,
        }
    }
}

pub fn post(path: &str, body: impl Into<String>) -> Request<Full<Bytes>> {
    request(Method::POST, path, body.into())
}

pub fn get(path: &str) -> Request<Full<Bytes>> {
    request(Method::GET, path, String::new())
}

fn request(method: Method, path: &str, body: String) -> Request<Full<Bytes>> {
    let request = Request::builder().method(method).uri(format!("https://relay{path}"));
    request.body(Full::<Bytes>::new(body.into())).map_err(|error| error.to_string()).expect("a request")
}
