//! `wire::control::Frame`: a packet that is a frame is written again as it came, and a body of any length comes back.

use x0_relay::{
    error::Kind,
    wire::control::{Frame, FrameKind, PACKET_BYTES_MAX},
};

use super::outcome;

/// Checks one packet as a frame, and as the body of another.
pub fn check(bytes: &[u8]) -> bool {
    let frame = Frame::read(bytes);
    match &frame {
        Ok(frame) => {
            assert_eq!(frame.write(), bytes);
            assert!(is_frame(bytes));
            assert_eq!((frame.kind as u8, u8::from(frame.more)), (bytes[0], bytes[1]));
            assert_eq!(frame.id.to_le_bytes(), bytes[8..16]);
            assert_eq!(frame.body, bytes[16..]);
        }
        Err(error) => {
            assert!(error.kind == Kind::BadRequest && !is_frame(bytes), "{error:?}");
            outcome::is_told(error);
        }
    }
    comes_back(bytes);
    frame.is_ok()
}

/// A frame's head: its kind, 1 if more follows, six zeros, the number.
fn is_frame(bytes: &[u8]) -> bool {
    bytes.len() >= 16
        && matches!(bytes[0], 1..=7 | 33..=36)
        && matches!(bytes[1], 0 | 1)
        && bytes[2..8].iter().all(|byte| *byte == 0)
}

/// A body made of `bytes`, as long as its first two say times three, so that it may need several frames.
fn comes_back(bytes: &[u8]) {
    let length = bytes.first_chunk().map_or(0, |length| usize::from(u16::from_be_bytes(*length)) * 3);
    let mut body = bytes.repeat(length.div_ceil(bytes.len().max(1)));
    body.truncate(length);
    let frames = Frame::pieces(FrameKind::Mail, 7, &body);
    let Some((last, before)) = frames.split_last() else { panic!("no frame") };
    assert!(!last.more && before.iter().all(|frame| frame.more));
    let mut got = Vec::new();
    for frame in &frames {
        let packet = frame.write();
        assert!(packet.len() <= PACKET_BYTES_MAX);
        assert_eq!(Frame::read(&packet).as_ref(), Ok(frame));
        assert_eq!((frame.kind, frame.id), (FrameKind::Mail, 7));
        got.extend_from_slice(&frame.body);
    }
    assert!(got == body, "{} bytes came back as {}", body.len(), got.len());
}
