//! The other end of a WebSocket in tests, framing by hand: tungstenite is what is tested.

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream},
    time::timeout,
};

use super::pipe::Peer;

impl Peer for DuplexStream {
    fn on_its_way(&self) -> Option<i32> {
        None
    }
}

pub const CONTINUATION: u8 = 0;
pub const TEXT: u8 = 1;
pub const BINARY: u8 = 2;
pub const CLOSE: u8 = 8;
pub const PING: u8 = 9;
pub const PONG: u8 = 10;

/// A client's frame.
pub fn frame(is_final: bool, opcode: u8, payload: &[u8]) -> Vec<u8> {
    const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];
    let mut bytes = vec![(u8::from(is_final) << 7) | opcode];
    match payload.len() {
        n @ 0..126 => bytes.push(0x80 | n as u8),
        n @ 126..0x1_0000 => {
            bytes.push(0x80 | 126);
            bytes.extend((n as u16).to_be_bytes());
        }
        n => {
            bytes.push(0x80 | 127);
            bytes.extend((n as u64).to_be_bytes());
        }
    }
    bytes.extend(MASK);
    bytes.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    bytes
}

/// A client's text message.
pub fn text(text: &str) -> Vec<u8> {
    frame(true, TEXT, text.as_bytes())
}

/// One client.
pub struct Client {
    pub line: DuplexStream,
}

impl Client {
    pub async fn send(&mut self, bytes: &[u8]) {
        self.line.write_all(bytes).await.expect("the other end is there");
    }

    pub async fn say(&mut self, said: &str) {
        self.send(&text(said)).await;
    }

    /// The head of the answer to the handshake.
    pub async fn head(&mut self) -> String {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(self.line.read_u8().await.expect("a head"));
        }
        String::from_utf8(head).expect("ASCII")
    }

    /// The next frame, which must be as a server's has to be.
    pub async fn frame(&mut self) -> (u8, Vec<u8>) {
        self.try_frame().await.expect("a frame")
    }

    pub async fn try_frame(&mut self) -> std::io::Result<(u8, Vec<u8>)> {
        let first = self.line.read_u8().await?;
        assert_eq!(first & 0xf0, 0x80, "a fragment, or a reserved bit");
        let length = match self.line.read_u8().await? {
            126 => u64::from(self.line.read_u16().await?),
            127 => self.line.read_u64().await?,
            short => u64::from(short),
        };
        let mut payload = vec![0; length as usize];
        self.line.read_exact(&mut payload).await?;
        Ok((first & 0xf, payload))
    }

    /// The next thing that is said. Pings are passed over.
    pub async fn heard(&mut self) -> String {
        loop {
            let (opcode, payload) = self.frame().await;
            let said = || String::from_utf8(payload.clone()).expect("UTF-8");
            match opcode {
                PING => {}
                TEXT => return said(),
                CLOSE => return format!("close {}", u16::from_be_bytes([payload[0], payload[1]])),
                other => panic!("opcode {other}: {payload:?}"),
            }
        }
    }

    /// Fails if something is said within the time.
    pub async fn hears_nothing(&mut self, during: Duration) {
        if let Ok(said) = timeout(during, self.heard()).await {
            panic!("it was to be silent: {said}");
        }
    }

    /// Fails unless the connection ends without another word.
    pub async fn ends(&mut self) {
        let mut rest = Vec::new();
        self.line.read_to_end(&mut rest).await.expect("an end in order");
        assert!(rest.is_empty(), "{rest:?}");
    }
}
