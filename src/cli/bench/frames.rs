//! WebSocket frames (RFC 6455), as far as a measurement needs them.

use std::io;

use super::{
    client::{Conn, Target},
    wires::{get, shown, wrong},
};

/// Opens a WebSocket of protocol v1.
///
/// # Errors
/// The connection's, or what was answered instead.
pub async fn upgrade(target: &Target, session: &str, after: Option<&str>) -> io::Result<Conn> {
    let mut conn = Conn::open(target).await?;
    let mut request = String::new();
    let path = match after {
        Some(after) => format!("/v1/ws?session={session}&after={after}"),
        None => format!("/v1/ws?session={session}"),
    };
    let more = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: x0-relay.v1\r\n";
    get(target, &path, more, &mut request);
    conn.write(request.as_bytes()).await?;
    match conn.open_ended().await? {
        101 => Ok(conn),
        status => Err(shown(status, conn.unused())),
    }
}

/// A client's text frame. The mask is zero: it costs the relay the same and this client nothing.
pub fn frame(opcode: u8, payload: &[u8], out: &mut Vec<u8>) {
    out.push(0x80 | opcode);
    match payload.len() {
        short @ 0..126 => out.push(0x80 | u8::try_from(short).unwrap_or(125)),
        long => {
            out.push(0x80 | 126);
            out.extend_from_slice(&u16::try_from(long).unwrap_or(u16::MAX).to_be_bytes());
        }
    }
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(payload);
}

/// The opcode, and where the payload of the first whole frame lies.
fn unframe(bytes: &[u8]) -> Option<(u8, std::ops::Range<usize>)> {
    let (opcode, length) = (bytes.first()? & 0x0f, bytes.get(1)? & 0x7f);
    let (start, length) = match length {
        126 => (4, usize::from(u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?))),
        127 => (10, usize::try_from(u64::from_be_bytes(bytes.get(2..10)?.try_into().ok()?)).ok()?),
        short => (2, usize::from(short)),
    };
    let range = start..start + length;
    (bytes.len() >= range.end).then_some((opcode, range))
}

/// Reads the next text frame, answers pings on the way, and hands the text to `each`.
///
/// # Errors
/// The connection's, or that the relay closed it.
pub async fn next_text<T>(conn: &mut Conn, mut each: impl FnMut(&[u8]) -> T) -> io::Result<T> {
    loop {
        let Some((opcode, range)) = unframe(conn.unused()) else {
            conn.more().await?;
            continue;
        };
        let end = range.end;
        let text = &conn.unused()[range];
        match opcode {
            1 => {
                let result = each(text);
                conn.consume(end);
                return Ok(result);
            }
            9 => {
                let mut pong = Vec::new();
                frame(10, text, &mut pong);
                conn.consume(end);
                conn.write(&pong).await?;
            }
            8 => return Err(wrong("the relay closed the WebSocket".to_owned())),
            _ => conn.consume(end),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_read_as_they_were_written() {
        for length in [0, 125, 126, 70] {
            let mut bytes = Vec::new();
            frame(1, &vec![b'a'; length], &mut bytes);
            // A server's frame has no mask.
            bytes[1] &= 0x7f;
            let (opcode, range) = unframe(&bytes).expect("whole");
            assert_eq!((opcode, range.len()), (1, length));
            assert!(unframe(&bytes[..bytes.len() - 5]).is_none());
        }
    }
}
