//! What operators and their tools ask over HTTP: `/healthz`, `/readyz`, `/metrics`, and the pages: `/` for a first look,
//! `/doctor`, `/docs`.

use hyper::{
    Method, StatusCode,
    header::{self, HeaderValue},
    http::request::Parts,
};

use super::{
    Doors,
    cors::Access,
    doctor, pages,
    reply::{self, Reply},
};
use crate::{
    error::{Error, Kind},
    lifecycle::Phase,
};

/// prometheus-client writes this format.
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Answers whatever is not mail. `access`: who may read it; the pages are the relay's own.
///
/// # Errors
/// [`Kind::NotFound`], [`Kind::BadMethod`].
pub async fn route(parts: &Parts, access: &Access, doors: &Doors) -> Result<Reply, Error> {
    let path = parts.uri.path();
    let shown = doors.config.pages;
    let page = pages::find(path, &parts.headers, shown);
    let echo = shown && path == doctor::ECHO;
    if page.is_none() && !echo && !matches!(path, "/" | "/healthz" | "/readyz" | "/metrics") {
        let list = if shown { "/docs" } else { "/openapi.json" };
        let detail = format!(
            "nothing lives here; {list} has all addresses. x0's are /get, /set, /del and /python/MsgHandler.py"
        );
        return Err(Error::new(Kind::NotFound, detail));
    }
    if parts.method != Method::GET && parts.method != Method::HEAD {
        return Err(Error::new(Kind::BadMethod, format!("{} is not served here; use GET", parts.method)));
    }
    doors.metrics.request("http", "admin");
    if let Some(page) = page {
        return Ok(page);
    }
    let mut reply = match path {
        doctor::ECHO => doctor::echo(&parts.headers),
        "/readyz" => ready(doors).await,
        "/metrics" => reply::reply(StatusCode::OK, OPENMETRICS, doors.post.metrics_text().await?),
        _ => health(doors),
    };
    if path == "/" {
        reply.headers_mut().insert(header::VARY, HeaderValue::from_static("Accept"));
    }
    access.add_to(reply.headers_mut());
    Ok(reply)
}

/// The process is alive; says nothing of whether it should get work.
fn health(doors: &Doors) -> Reply {
    let uptime_s = doors.life.clock.uptime().as_secs();
    let version = env!("CARGO_PKG_VERSION");
    reply::json(format!(
        r#"{{"status": "ok", "name": "x0-relay", "version": "{version}", "uptime_seconds": {uptime_s}}}"#
    ))
}

/// Whether a load balancer should send work here.
async fn ready(doors: &Doors) -> Reply {
    let phase = doors.life.phase();
    let trouble = doors.post.trouble().await;
    if phase == Phase::Ready && trouble.is_none() {
        return reply::json(r#"{"ready": true, "phase": "ready"}"#);
    }
    let why = trouble.unwrap_or("the relay is not serving, or about to end");
    let body = format!(r#"{{"ready": false, "phase": "{}", "why": "{why}"}}"#, phase.name());
    reply::reply(StatusCode::SERVICE_UNAVAILABLE, reply::JSON, body)
}
