//! `x0-relay send`.

use std::{io::Read, path::PathBuf, sync::Arc};

use bytes::Bytes;
use clap::ArgMatches;
use hyper::Method;

use super::{Done, Failure, http::Relay, show, text};
use crate::{
    edge::gateway::Link,
    id::SessionId,
    lifecycle::Lifecycle,
    message::Shape,
    wire::{
        control, json,
        x0::{self, Payload},
    },
};

/// Sends one message.
pub async fn run(matches: &ArgMatches) -> Done {
    let to = session(text(matches, "session"))?;
    let from = session(text(matches, "from"))?;
    let payload = payload(matches)?;
    let answer = match matches.get_one::<PathBuf>("socket") {
        Some(path) => over_socket(path, &from, &to, &payload).await?,
        None => {
            let packet = control::set(&from, &to, &payload);
            let (_, body) = Relay::named(matches)?.ask(Method::POST, "/set", packet).await?;
            accepted(&body)?
        }
    };
    if matches.get_flag("json") {
        show::line(&answer)?;
    } else {
        show::line(&format!("sent to \"{to}\""))?;
    }
    Ok(())
}

/// A session id that somebody typed.
///
/// # Errors
/// It is none.
pub fn session(text: &str) -> Result<SessionId, Failure> {
    SessionId::new(text).map_err(Failure::usage)
}

fn payload(matches: &ArgMatches) -> Result<String, Failure> {
    let payload = match matches.get_one::<String>("payload").map(String::as_str) {
        Some("-") | None => {
            let mut all = String::new();
            std::io::stdin()
                .read_to_string(&mut all)
                .map_err(|error| Failure::failed(format!("standard input: {error}")))?;
            all
        }
        Some(payload) => payload.to_owned(),
    };
    let payload = payload.trim().to_owned();
    json::object(&payload).map_err(|error| Failure::usage(format!("the message: {error}")))?;
    Ok(payload)
}

async fn over_socket(
    path: &std::path::Path,
    from: &SessionId,
    to: &SessionId,
    payload: &str,
) -> Result<String, Failure> {
    if !path.exists() {
        return Err(Failure::unreachable(format!("no relay at {}", path.display())));
    }
    let (link, _task) = Link::open(path.to_owned(), &Lifecycle::start(), Arc::default());
    let payload = Payload { json: Bytes::copy_from_slice(payload.as_bytes()), shape: Shape::Object };
    link.send(from, to, &payload).await.map_err(|error| refusal(&error))?;
    Ok(x0::ACCEPTED.to_owned())
}

/// A refusal as an exit code: nobody there is another matter than a no.
pub fn refusal(error: &crate::error::Error) -> Failure {
    if error.kind == crate::error::Kind::Refused { Failure::unreachable(error) } else { Failure::failed(error) }
}

/// The x0 answer as text, if it is no error.
///
/// # Errors
/// What the relay said.
pub fn accepted(body: &[u8]) -> Result<String, Failure> {
    let text = String::from_utf8_lossy(body).into_owned();
    let object = json::object(&text)
        .map_err(|_| Failure::failed(format!("this is no relay's answer: {}", show::tame(&text))))?;
    if object.get("error") == Some("true") {
        let member = |name: &str| object.get(name).and_then(json::string).unwrap_or_default().into_owned();
        return Err(Failure::failed(show::tame(&format!("{}: {}", member("exception"), member("detail")))));
    }
    Ok(text)
}
