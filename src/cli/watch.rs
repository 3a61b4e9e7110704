//! `x0-relay watch`: a session's receiver on a terminal.

use std::{path::PathBuf, sync::Arc, time::Duration};

use clap::ArgMatches;
use hyper::Method;
use serde_json::value::RawValue;
use tokio::time::{Instant, sleep};

use super::{Done, Failure, http::Relay, send, show, text};
use crate::{
    edge::{
        gateway::Link,
        post::{Mode, Outcome},
    },
    id::SessionId,
    lifecycle::Lifecycle,
    mailbox::Max,
    wire::{control, json},
};

/// The first and the longest pause before a relay that was there is sought again.
const RETRY_FIRST: Duration = Duration::from_millis(200);
const RETRY_LAST: Duration = Duration::from_secs(10);
/// One message an answer: what is settled is what was printed.
const ONE: Max = Max { messages: 1, bytes: 0 };

/// Prints messages until told to stop.
pub async fn run(matches: &ArgMatches) -> Done {
    let session = send::session(text(matches, "session"))?;
    let mut printer = Printer { json: matches.get_flag("json"), left: matches.get_one::<u64>("count").copied() };
    match matches.get_one::<PathBuf>("socket") {
        Some(path) => over_socket(path.clone(), session, &mut printer).await,
        None => over_http(Relay::named(matches)?, &session, &mut printer).await,
    }
}

struct Printer {
    json: bool,
    left: Option<u64>,
}

impl Printer {
    /// Prints the messages of an array; false once there is nobody or nothing to print for.
    fn print(&mut self, array: &str) -> Result<bool, Failure> {
        let messages: Vec<&RawValue> = serde_json::from_str(array)
            .map_err(|error| Failure::failed(format!("this is no relay's answer: {error}")))?;
        for message in messages {
            // A line break can only stand between tokens: no JSON string holds one.
            let message = message.get().replace(['\n', '\r'], " ");
            let line = if self.json { message } else { readable(&message) };
            if !show::line(&line)? {
                return Ok(false);
            }
            self.left = self.left.map(|left| left.saturating_sub(1));
        }
        Ok(self.left != Some(0))
    }
}

/// The sender, then the message without it.
fn readable(message: &str) -> String {
    let Ok(object) = json::object(message) else { return show::tame(message) };
    let from = object.get("session_src").and_then(json::string).unwrap_or_default().into_owned();
    format!("{}  {}", show::tame(&from), show::tame(&object.without("session_src")))
}

async fn over_http(mut relay: Relay, session: &SessionId, printer: &mut Printer) -> Done {
    let (mut seen, mut pause) = (false, RETRY_FIRST);
    loop {
        let answer = relay.ask(Method::POST, "/get", control::ask("GET", session)).await;
        let body = match answer {
            Ok((_, body)) => body,
            Err(failure) if !seen => return Err(failure),
            Err(failure) => {
                show::complain(&format!("{}; trying again", failure.text));
                sleep(pause).await;
                pause = (pause * 2).min(RETRY_LAST);
                continue;
            }
        };
        (seen, pause) = (true, RETRY_FIRST);
        let answer = send::accepted(&body)?;
        let object = json::object(&answer).map_err(Failure::failed)?;
        if let Some(array) = object.get("messages").filter(|messages| messages.starts_with('['))
            && !printer.print(array)?
        {
            return Ok(());
        }
    }
}

async fn over_socket(path: PathBuf, session: SessionId, printer: &mut Printer) -> Done {
    if !path.exists() {
        return Err(Failure::unreachable(format!("no relay at {}", path.display())));
    }
    let (link, _task) = Link::open(path, &Lifecycle::start(), Arc::default());
    let mut receiver = link.receive(session, Mode::Take);
    loop {
        let outcome = receiver.next(ONE, Instant::now() + Duration::from_secs(3_600)).await;
        if let Outcome::Mail(array, lease) = outcome.map_err(|error| send::refusal(&error))? {
            let more = printer.print(&String::from_utf8_lossy(&array))?;
            if let Some(lease) = lease {
                lease.settle().await.map_err(|error| send::refusal(&error))?;
            }
            if !more {
                // The settlement is on its way to the socket.
                link.flushed().await;
                return Ok(());
            }
        }
    }
}
