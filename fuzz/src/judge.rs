//! RFC 8259 once more, to compare the relay's reader with: strict, slow, and sharing nothing with it.

use x0_relay::{
    error::Kind,
    wire::json::{self, DEPTH_MAX},
};

/// A JSON value and its text.
#[derive(PartialEq, Debug)]
pub struct Node<'a> {
    /// As it stood there.
    pub raw: &'a str,
    /// What it is.
    pub shape: Shape<'a>,
}

/// What a value is.
#[derive(PartialEq, Debug)]
pub enum Shape<'a> {
    /// An object's members in their order, doubles and all.
    Object(Vec<Member<'a>>),
    /// An array's items.
    Array(Vec<Node<'a>>),
    /// A string's UTF-16, which alone can hold a lone surrogate.
    String(Vec<u16>),
    /// A number, or one of JSON's three words.
    Other,
}

/// A member of an object.
#[derive(PartialEq, Debug)]
pub struct Member<'a> {
    /// The key as it stood there, with its quotes.
    pub key: &'a str,
    name: Vec<u16>,
    /// Its value.
    pub value: Node<'a>,
}

impl Member<'_> {
    /// Whether the key spells `name`.
    pub fn is(&self, name: &str) -> bool {
        self.name.iter().copied().eq(name.encode_utf16())
    }

    /// The key, if it is Unicode.
    pub fn name(&self) -> Option<String> {
        String::from_utf16(&self.name).ok()
    }
}

impl<'a> Node<'a> {
    /// The members, if it is an object.
    pub fn members(&self) -> Option<&[Member<'a>]> {
        match &self.shape {
            Shape::Object(members) => Some(members),
            _ => None,
        }
    }

    /// Whether it is an object.
    pub fn is_object(&self) -> bool {
        self.members().is_some()
    }

    /// The value of the last member of this name.
    pub fn last(&self, name: &str) -> Option<&Node<'a>> {
        self.members()?.iter().rev().find(|member| member.is(name)).map(|member| &member.value)
    }

    /// The same if that value is an object.
    pub fn object(&self, name: &str) -> Option<&Node<'a>> {
        self.last(name).filter(|value| value.is_object())
    }

    /// A string's content, if it is a string of Unicode characters.
    pub fn text(&self) -> Option<String> {
        match &self.shape {
            Shape::String(units) => String::from_utf16(units).ok(),
            _ => None,
        }
    }

    /// A whole number that fits.
    pub fn number(&self) -> Option<usize> {
        let digits = self.raw.bytes().all(|byte| byte.is_ascii_digit());
        digits.then(|| self.raw.parse::<u128>().ok().and_then(|number| usize::try_from(number).ok())).flatten()
    }
}

/// What some bytes are.
#[derive(PartialEq, Debug)]
pub enum Verdict<'a> {
    /// A JSON object, not too deep.
    Object(Node<'a>),
    /// Any other JSON value, not too deep.
    Value(Node<'a>),
    /// No JSON, or too deep, or both.
    Neither {
        /// [`DEPTH_MAX`] is exceeded before anything else is wrong.
        deep_first: bool,
        /// It is not even UTF-8.
        not_utf8: bool,
    },
}

impl Verdict<'_> {
    /// Whether `kind` is a right answer to somebody who was to send an object.
    pub fn allows(&self, kind: Kind) -> bool {
        match self {
            Verdict::Object(_) => !matches!(kind, Kind::NotJson | Kind::TooDeep),
            Verdict::Value(_) => kind == Kind::BadRequest,
            Verdict::Neither { not_utf8: true, .. } => kind == Kind::NotJson,
            Verdict::Neither { deep_first: true, .. } => kind == Kind::TooDeep,
            // Too deep only behind what is wrong.
            Verdict::Neither { .. } => matches!(kind, Kind::NotJson | Kind::TooDeep),
        }
    }
}

/// Judges some bytes.
pub fn judge(bytes: &[u8]) -> Verdict<'_> {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return Verdict::Neither { deep_first: false, not_utf8: true };
    };
    let mut reader = Reader { text, at: 0, depth: 0, too_deep: false };
    let value = reader.value();
    match value.filter(|_| reader.spaces() && reader.at == text.len()) {
        Some(value) if value.is_object() => Verdict::Object(value),
        Some(value) => Verdict::Value(value),
        None => Verdict::Neither { deep_first: reader.too_deep, not_utf8: false },
    }
}

/// What the relay itself wrote, which is JSON.
pub fn written(bytes: &[u8]) -> Node<'_> {
    match judge(bytes) {
        Verdict::Object(node) | Verdict::Value(node) => node,
        Verdict::Neither { .. } => panic!("the relay wrote what is no JSON: {}", String::from_utf8_lossy(bytes)),
    }
}

/// Compares the relay's reading of single values, everywhere in a tree.
pub fn same_values(node: &Node<'_>) {
    assert_eq!(json::is_object(node.raw), node.is_object(), "{}", node.raw);
    let text = node.text();
    assert_eq!(json::string(node.raw).as_deref(), text.as_deref(), "{}", node.raw);
    if let Some(text) = text {
        assert_eq!(written(json::quote(&text).as_bytes()).text(), Some(text));
    }
    match &node.shape {
        Shape::Object(members) => members.iter().for_each(|member| same_values(&member.value)),
        Shape::Array(items) => items.iter().for_each(same_values),
        Shape::String(_) | Shape::Other => {}
    }
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
    depth: usize,
    too_deep: bool,
}

impl<'a> Reader<'a> {
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn next(&mut self) -> Option<u8> {
        let byte = self.peek()?;
        self.at += 1;
        Some(byte)
    }

    fn take(&mut self, byte: u8) -> bool {
        let there = self.peek() == Some(byte);
        self.at += usize::from(there);
        there
    }

    fn spaces(&mut self) -> bool {
        while self.peek().is_some_and(|byte| b" \t\r\n".contains(&byte)) {
            self.at += 1;
        }
        true
    }

    fn value(&mut self) -> Option<Node<'a>> {
        self.spaces();
        let from = self.at;
        let shape = match self.peek()? {
            b'{' => self.nested(Self::members)?,
            b'[' => self.nested(Self::items)?,
            b'"' => Shape::String(self.string()?),
            b'-' | b'0'..=b'9' => self.number()?,
            _ => self.word()?,
        };
        Some(Node { raw: &self.text[from..self.at], shape })
    }

    fn nested(&mut self, read: impl FnOnce(&mut Self) -> Option<Shape<'a>>) -> Option<Shape<'a>> {
        self.at += 1;
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            self.too_deep = true;
            return None;
        }
        let shape = read(self);
        self.depth -= 1;
        shape
    }

    fn members(&mut self) -> Option<Shape<'a>> {
        let mut members = Vec::new();
        self.spaces();
        while !(members.is_empty() && self.take(b'}')) {
            self.spaces();
            let from = self.at;
            let name = self.string()?;
            let key = &self.text[from..self.at];
            self.spaces();
            if !self.take(b':') {
                return None;
            }
            members.push(Member { key, name, value: self.value()? });
            self.spaces();
            match self.next()? {
                b',' => {}
                b'}' => break,
                _ => return None,
            }
        }
        Some(Shape::Object(members))
    }

    fn items(&mut self) -> Option<Shape<'a>> {
        let mut items = Vec::new();
        self.spaces();
        while !(items.is_empty() && self.take(b']')) {
            items.push(self.value()?);
            self.spaces();
            match self.next()? {
                b',' => {}
                b']' => break,
                _ => return None,
            }
        }
        Some(Shape::Array(items))
    }

    fn string(&mut self) -> Option<Vec<u16>> {
        if !self.take(b'"') {
            return None;
        }
        let mut units = Vec::new();
        loop {
            let character = self.text[self.at..].chars().next()?;
            self.at += character.len_utf8();
            match character {
                '"' => return Some(units),
                '\\' => units.push(self.escape()?),
                '\0'..='\u{1f}' => return None,
                _ => units.extend_from_slice(character.encode_utf16(&mut [0; 2])),
            }
        }
    }

    fn escape(&mut self) -> Option<u16> {
        Some(match self.next()? {
            byte @ (b'"' | b'\\' | b'/') => u16::from(byte),
            b'b' => 8,
            b'f' => 12,
            b'n' => 10,
            b'r' => 13,
            b't' => 9,
            b'u' => {
                let mut unit = 0;
                for _ in 0..4 {
                    unit = unit * 16 + char::from(self.next()?).to_digit(16)?;
                }
                u16::try_from(unit).ok()?
            }
            _ => return None,
        })
    }

    fn digits(&mut self) -> Option<()> {
        let from = self.at;
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        (self.at > from).then_some(())
    }

    fn number(&mut self) -> Option<Shape<'a>> {
        self.take(b'-');
        if !self.take(b'0') {
            self.digits()?;
        }
        if self.take(b'.') {
            self.digits()?;
        }
        if self.take(b'e') || self.take(b'E') {
            _ = self.take(b'+') || self.take(b'-');
            self.digits()?;
        }
        Some(Shape::Other)
    }

    fn word(&mut self) -> Option<Shape<'a>> {
        let rest = &self.text[self.at..];
        let word = ["true", "false", "null"].into_iter().find(|word| rest.starts_with(word))?;
        self.at += word.len();
        Some(Shape::Other)
    }
}
