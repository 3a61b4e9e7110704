//! `x0-relay health`: for `HEALTHCHECK` in an image without a shell.

use clap::ArgMatches;
use hyper::{Method, StatusCode};

use super::{Done, Failure, http::Relay, show};

/// Asks `/readyz` of the relay that `--url` names, or else the one that `X0_RELAY_LISTEN` starts here.
pub async fn run(matches: &ArgMatches) -> Done {
    let mut relay = match (matches.get_one::<String>("url"), std::env::var("X0_RELAY_LISTEN")) {
        (None, Ok(listen)) => Relay::at(&format!("http://{}", local(&listen)))?,
        _ => Relay::named(matches)?,
    };
    // Docker knows 0 and 1.
    let (status, body) =
        relay.ask(Method::GET, "/readyz", String::new()).await.map_err(|failure| Failure { code: 1, ..failure })?;
    let said = show::tame(&String::from_utf8_lossy(&body));
    if status == StatusCode::OK {
        show::line("ready")?;
        Ok(())
    } else {
        Err(Failure::failed(format!("not ready: {said}")))
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
