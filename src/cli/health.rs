//! `x0-relay health`: for `HEALTHCHECK` in an image without a shell.

use std::time::Duration;

use clap::ArgMatches;
use hyper::{Method, StatusCode};
use tokio::time::timeout;

use super::{Done, Failure, control, http::Relay, show};
use crate::{lifecycle::Phase, wire::control::Word};

/// How long a relay that is well may take to say so.
const ANSWER: Duration = Duration::from_secs(3);

/// Asks `/readyz` of the relay that `--url` names, or else the one that `X0_RELAY_LISTEN` starts here; one that serves
/// no HTTP is asked over its control socket.
pub async fn run(matches: &ArgMatches) -> Done {
    let listen = std::env::var("X0_RELAY_LISTEN").ok().filter(|_| !matches.contains_id("url"));
    let mut relay = match listen.as_deref().map(str::trim) {
        Some("none") => return over_socket(matches).await,
        Some(listen) => Relay::at(&format!("http://{}", local(listen)), matches)?,
        None => Relay::named(matches)?,
    };
    let answer = timeout(ANSWER, relay.ask(Method::GET, "/readyz", String::new())).await;
    let (status, body) = answer.map_err(|_| Failure::failed(format!("no answer within {ANSWER:?}")))??;
    verdict(status == StatusCode::OK, &String::from_utf8_lossy(&body))
}

async fn over_socket(matches: &ArgMatches) -> Done {
    let stats = control::ask(&control::socket_path(matches), &Word::Stats).await?;
    let phase = stats.first().and_then(|stats| stats["phase"].as_str()).unwrap_or_default();
    verdict(phase == Phase::Ready.name(), phase)
}

fn verdict(ready: bool, said: &str) -> Done {
    if ready {
        show::lines(["ready".to_owned()])
    } else {
        Err(Failure::failed(format!("not ready: {}", show::tame(said))))
    }
}

/// An address to listen on as an address to connect to.
fn local(listen: &str) -> String {
    let first = listen.split(',').next().unwrap_or_default().trim();
    first.replace("0.0.0.0:", "127.0.0.1:").replace("[::]:", "[::1]:")
}

#[cfg(test)]
mod tests {
    #[test]
    fn an_unspecified_address_is_this_machine() {
        assert_eq!(super::local("0.0.0.0:8080"), "127.0.0.1:8080");
        assert_eq!(super::local("[::]:80, 127.0.0.1:81"), "[::1]:80");
        assert_eq!(super::local("10.0.0.7:8080"), "10.0.0.7:8080");
    }
}
