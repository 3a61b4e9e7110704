//! Server-sent events (the HTML standard's `text/event-stream`).
//!
//! Our own events have names with a colon, which the type of a message cannot have.

use std::time::Duration;

use super::{
    super::json,
    tell::{self, Goodbye, write_message},
};
use crate::{cursor::Cursor, id::SessionId, mailbox::Batch, message::Seq};

/// What keeps a silent stream alive.
pub const COMMENT: &[u8] = b":\n\n";

/// The beginning of a stream: how soon to come back, whose it is, and where it begins.
pub fn events_head(session: &SessionId, cursor: Cursor) -> Vec<u8> {
    let session = json::quote(session.bare());
    format!(
        "retry: 1000\n\nid: {cursor}\nevent: relay:welcome\ndata: {{\"session\":{session},\"cursor\":\"{cursor}\"}}\n\n"
    )
    .into_bytes()
}

/// Appends what a batch has to tell: what is missing, then each message, each with the cursor behind it.
pub fn write_events(batch: &Batch, out: &mut Vec<u8>) {
    let at = |seq| Cursor { epoch: batch.cursor.epoch, seq };
    if let Some(gap) = &batch.gap {
        let behind = batch.letters.first().map_or(batch.cursor, |letter| at(Seq(letter.seq.0.saturating_sub(1))));
        let event = format!("id: {behind}\nevent: relay:gap\ndata: {}\n\n", tell::missing(gap));
        out.extend_from_slice(event.as_bytes());
    }
    for letter in &batch.letters {
        let head = format!("id: {}\nevent: {}\ndata: ", at(letter.seq), letter.message.kind());
        out.extend_from_slice(head.as_bytes());
        let from = out.len();
        write_message(letter, out);
        // In a string of JSON a line break is always escaped: this one stands between two tokens.
        for byte in out[from..].iter_mut().filter(|byte| matches!(byte, b'\n' | b'\r')) {
            *byte = b' ';
        }
        out.extend_from_slice(b"\n\n");
    }
}

/// The credentials end in so long. It has no id, as the end has none.
pub fn events_expiring(left: Duration) -> Vec<u8> {
    format!("event: relay:expiring\ndata: {{\"in\":{}}}\n\n", left.as_secs()).into_bytes()
}

/// The end of a stream. It has no id: the client's cursor stays where it is.
pub fn events_goodbye(reason: Goodbye, retry_after: Option<Duration>) -> Vec<u8> {
    format!("event: relay:goodbye\ndata: {{{}}}\n\n", tell::farewell(reason, retry_after)).into_bytes()
}
