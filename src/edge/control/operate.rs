//! The operator's words.

use super::{Control, Heard, say};
use crate::{
    edge::seqpacket::Seqpacket,
    error::Error,
    gate::Who,
    hub::SessionInfo,
    wire::{
        control::{self, Word},
        json,
    },
};

/// Carries out an operator's word.
pub async fn operate(word: Word, who: &Who, peer: &Seqpacket, control: &Control) -> Result<Heard, Error> {
    let admission = control.gate.operate(who)?;
    let hub = &control.hub;
    control.metrics.request("control", "operate");
    let answers = match word {
        Word::Stats => vec![stats(control).await?],
        Word::Sessions(max) => {
            let (list, total) = hub.sessions(&admission, max).await?;
            pages(&list, total)
        }
        Word::Purge(session) => {
            let purged = hub.purge(&admission, &session).await?;
            tracing::info!(%session, purged, "purged by an operator");
            vec![format!(r#"{{"purged":{purged}}}"#)]
        }
        Word::Revoke(what, remember) => {
            control.gate.revoke(&admission, &what, remember).await?;
            tracing::info!(remembered = ?remember, "credentials were revoked by an operator");
            vec![r#"{"revoked":true}"#.to_owned()]
        }
        Word::Drain => {
            let taken = say(peer, br#"{"draining":true}"#).await;
            // After the answer: with nothing to wait for the process may be gone at once.
            control.life.ask_to_end();
            return Ok(Heard::more_if(taken));
        }
        Word::Takeover(ask) => return Ok(Heard::Heir(ask)),
    };
    for answer in answers {
        if !say(peer, answer.as_bytes()).await {
            return Ok(Heard::Over);
        }
    }
    Ok(Heard::More)
}

async fn stats(control: &Control) -> Result<String, Error> {
    let totals = control.hub.totals().await?;
    let metrics = &control.metrics;
    let settings = control.settings.now();
    let stats = serde_json::json!({
        "version": env!("CARGO_PKG_VERSION"),
        "pid": std::process::id(),
        "phase": control.life.phase().name(),
        "uptime_seconds": control.life.clock.uptime().as_secs(),
        "mailboxes": totals.mailboxes,
        "messages_waiting": totals.messages,
        "bytes_waiting": totals.bytes,
        "receivers_waiting": metrics.receivers.get(),
        "http_connections": metrics.connections.get(),
        "control_connections": metrics.control_connections.get(),
        "messages_accepted": metrics.accepted.get(),
        "messages_settled": metrics.settled.get(),
        "messages_returned": metrics.returned.get(),
        "settings_taken": settings.taken,
        "settings_refused": settings.refused,
        "settings_read": settings.at.map(|at| at.0),
        "settings_faults": settings.faults,
        "settings_at_restart": settings.at_restart,
    });
    Ok(stats.to_string())
}

/// The list in packets of bounded size; all but the last say that more follows.
fn pages(list: &[SessionInfo], total: usize) -> Vec<String> {
    let mut pages = vec![String::new()];
    for info in list {
        let line = format!(
            r#"{{"session":{}{},"pending":{},"bytes":{},"oldest":{},"attached":{},"receivers":{},"last_seen":{}}}"#,
            json::quote(info.mailbox.session.bare()),
            control::org_member(info.mailbox.session.org()),
            info.mailbox.messages,
            info.mailbox.bytes,
            info.mailbox.oldest.map_or("null".to_owned(), |time| time.0.to_string()),
            info.receivers > 0,
            info.receivers,
            info.mailbox.touched.0,
        );
        match pages.last_mut() {
            Some(page) if page.is_empty() => page.push_str(&line),
            Some(page) if page.len() + line.len() < control::PACKET_BYTES_MAX - 64 => {
                page.push(',');
                page.push_str(&line);
            }
            _ => pages.push(line),
        }
    }
    let last = pages.len() - 1;
    let packet = |(index, page)| format!(r#"{{"sessions":[{page}],"total":{total},"more":{}}}"#, index < last);
    pages.into_iter().enumerate().map(packet).collect()
}
