//! What HTTP alone costs: the same server, runtime and settings as the relay's, with a handler that reads the request's
//! body and answers the same bytes with no work in between.

use std::{convert::Infallible, net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use clap::ArgMatches;
use http_body_util::{BodyExt, Full};
use hyper::{
    Method, Request, Response, StatusCode, body::Incoming, header, header::HeaderValue, server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use tokio::time::sleep;

use super::{client::find, value, wires};
use crate::{
    cli::{Done, Failure, show, text},
    edge::{cors, listen},
    lifecycle::Lifecycle,
    wire::x0,
};

/// Where it says that it is the floor.
pub const NAME: &str = "/x0-relay-bench-floor";
/// As the relay's own: `header-bytes`.
const HEADER_BYTES: usize = 32 << 10;

/// The answers, made once.
struct Answers {
    x0_mail: Bytes,
    v1_mail: Bytes,
    wait: Duration,
}

/// Serves until the process is ended.
pub fn run(matches: &ArgMatches) -> Done {
    let address: SocketAddr = text(matches, "listen")
        .parse()
        .map_err(|_| Failure::usage("--listen wants an address such as 127.0.0.1:8090"))?;
    super::allow_files(16_384).or_else(|_| super::allow_files(1_024))?;
    let mut message = String::new();
    wires::payload(wires::Mark { number: 1, due_ns: 0 }, value(matches, "bytes"), &mut message);
    let x0_mail =
        format!("{{\"messages\": [{},\"session_src\":\"bench-000000000000-0-s\"}}]}}", &message[..message.len() - 1]);
    let v1_mail = format!(
        "{{\"messages\":[{{\"id\":\"01a20036-cefb-754b-978c-38ad206977f2\",\"seq\":1,\"from\":\"bench-000000000000-0-s\",\
         \"type\":\"message\",\"ts\":1795299921659,\"payload\":{message}}}],\"cursor\":\"0ef4ff99b7532f58.1\",\"more\":false}}"
    );
    let wait = Duration::from_millis(value(matches, "wait") as u64);
    let answers = Arc::new(Answers { x0_mail: x0_mail.into(), v1_mail: v1_mail.into(), wait });
    let runtime = crate::cli::serve::runtime(value(matches, "threads"))?;
    runtime.block_on(serve(address, answers))
}

async fn serve(address: SocketAddr, answers: Arc<Answers>) -> Done {
    let bound = listen::bind(address).and_then(|listener| {
        listener.set_nonblocking(true)?;
        tokio::net::TcpListener::from_std(listener)
    });
    let listener = bound.map_err(Failure::failed)?;
    show::line(&format!("floor at http://{}", listener.local_addr().map_err(Failure::failed)?))?;
    let life = Lifecycle::start();
    loop {
        let Ok((tcp, _)) = listener.accept().await else {
            sleep(Duration::from_millis(100)).await;
            continue;
        };
        // Only costs latency if it fails.
        let _ = tcp.set_nodelay(true);
        let answers = Arc::clone(&answers);
        life.spawn_detached(async move {
            let service = service_fn(|request| Box::pin(handle(request, Arc::clone(&answers))));
            let conn = http1::Builder::new()
                .half_close(true)
                .max_header_size(HEADER_BYTES)
                .max_buf_size(HEADER_BYTES)
                .serve_connection(TokioIo::new(tcp), service);
            // A client may go whenever it likes.
            let _ = conn.await;
        });
    }
}

async fn handle(request: Request<Incoming>, answers: Arc<Answers>) -> Result<Response<Full<Bytes>>, Infallible> {
    let (parts, body) = request.into_parts();
    if parts.method == Method::OPTIONS {
        return Ok(cors::preflight(&cors::Access::Anybody));
    }
    let waits = parts.uri.query().is_some_and(|query| query.contains("parked"));
    let post = parts.method == Method::POST;
    let path = match parts.uri.path() {
        "/set" => Some((StatusCode::OK, Bytes::from_static(x0::ACCEPTED.as_bytes()))),
        "/get" => Some((StatusCode::OK, answers.x0_mail.clone())),
        "/v1/messages" if post => Some((StatusCode::CREATED, Bytes::from_static(V1_ACCEPTED))),
        "/v1/messages" => Some((StatusCode::OK, answers.v1_mail.clone())),
        NAME => Some((StatusCode::NO_CONTENT, Bytes::new())),
        _ => None,
    };
    let receives = parts.uri.path() == "/get" || !post;
    drop(parts);
    let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    let (status, mut text) = path.unwrap_or((StatusCode::NOT_FOUND, Bytes::new()));
    if receives && (waits || find(&body, b"parked").is_some()) {
        drop(body);
        sleep(answers.wait).await;
        text = if waits { Bytes::from_static(V1_NOTHING) } else { Bytes::from_static(x0::NOTHING.as_bytes()) };
    }
    let mut reply = Response::new(Full::new(text));
    *reply.status_mut() = status;
    let headers = reply.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json; charset=UTF-8"));
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(reply)
}

const V1_ACCEPTED: &[u8] = br#"{"id":"01a20036-cefb-754b-978c-38ad206977f2","recipients":1,"duplicate":false}"#;
const V1_NOTHING: &[u8] = br#"{"messages":[],"cursor":"0ef4ff99b7532f58.1","more":false}"#;
