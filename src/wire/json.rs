//! JSON (RFC 8259) seen as text: what comes in is checked whole, taken apart one level deep, and otherwise left as it is.

use std::{borrow::Cow, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor},
};
use serde_json::value::RawValue;

use crate::error::{Error, Kind};

/// The deepest nesting that is passed on; x0's own front gives up at a thousand.
pub const DEPTH_MAX: usize = 500;

/// An object's members in their order, keys and values as they stood in the text.
#[derive(Debug)]
pub struct Object<'a>(Vec<(&'a str, &'a RawValue)>);

impl<'a> Object<'a> {
    /// The members, keys with their quotes.
    pub fn members(&self) -> impl Iterator<Item = (&'a str, &'a str)> + '_ {
        self.0.iter().map(|(key, value)| (*key, value.get()))
    }

    /// The value of the last member of this name, as text; escapes in keys are understood.
    pub fn get(&self, name: &str) -> Option<&'a str> {
        self.0.iter().rev().find(|(key, _)| is_key(key, name)).map(|(_, value)| value.get())
    }

    /// Whether there is a member of this name.
    pub fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// The object's text without any member of this name.
    pub fn without(&self, name: &str) -> String {
        let kept: Vec<String> =
            self.members().filter(|(key, _)| !is_key(key, name)).map(|(key, value)| format!("{key}:{value}")).collect();
        format!("{{{}}}", kept.join(","))
    }
}

/// Whether a key, as it stands in the text, spells `name`.
fn is_key(key: &str, name: &str) -> bool {
    let spelled = key.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    // An escape makes a character longer.
    spelled == Some(name)
        || (key.len() > name.len() + 2 && key.contains('\\') && string(key).is_some_and(|key| key == name))
}

impl<'de: 'a, 'a> Deserialize<'de> for Object<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = Vec<(&'de str, &'de RawValue)>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::with_capacity(4);
                while let Some(key) = map.next_key::<&'de RawValue>()? {
                    members.push((key.get(), map.next_value()?));
                }
                Ok(members)
            }
        }
        deserializer.deserialize_map(Members).map(Object)
    }
}

/// The bytes as text, if they are UTF-8 and nested no deeper than [`DEPTH_MAX`].
///
/// # Errors
/// [`Kind::NotJson`], [`Kind::TooDeep`].
pub fn text(bytes: &[u8]) -> Result<&str, Error> {
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let detail = format!("the body is not UTF-8: byte {} is out of place", error.valid_up_to());
        Error::new(Kind::NotJson, detail)
    })?;
    // What has few brackets, as nearly everything has, needs no closer look.
    if brackets(bytes) > DEPTH_MAX && depth(bytes) > DEPTH_MAX {
        let detail = format!("JSON may be nested {DEPTH_MAX} deep, this is deeper");
        return Err(Error::new(Kind::TooDeep, detail));
    }
    Ok(text)
}

/// How many brackets open, in strings too.
fn brackets(bytes: &[u8]) -> usize {
    let in_part = |part: &[u8]| part.iter().map(|byte| u8::from(matches!(byte, b'{' | b'['))).sum::<u8>();
    // Sums of single bytes are taken many at a time.
    bytes.chunks(128).map(|part| usize::from(in_part(part))).sum()
}

/// How deep brackets outside of strings are nested.
fn depth(bytes: &[u8]) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0);
    let mut rest = bytes.iter();
    while let Some(byte) = rest.next() {
        match byte {
            b'{' | b'[' => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            b'"' => {
                while let Some(byte) = rest.next() {
                    match byte {
                        b'\\' => {
                            rest.next();
                        }
                        b'"' => break,
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    deepest
}

/// Reads an object; anything else, or anything behind it, is an error.
///
/// # Errors
/// [`Kind::NotJson`] if it is no JSON, [`Kind::BadRequest`] if it is JSON of another type.
pub fn object(text: &str) -> Result<Object<'_>, Error> {
    // Where the reading stopped says little: what begins like another type may still be no JSON, or be JSON with numbers
    // and escapes that a reader of values does not take.
    serde_json::from_str(text).map_err(|_| match serde_json::from_str::<&RawValue>(text) {
        Ok(_) => Error::new(Kind::BadRequest, "a JSON object is expected"),
        Err(error) => Error::new(Kind::NotJson, error.to_string()),
    })
}

/// The items of an array, as they stood in the text; `None` if it is no array.
pub fn array(text: &str) -> Option<Vec<&str>> {
    let items: Vec<&RawValue> = serde_json::from_str(text).ok()?;
    Some(items.into_iter().map(RawValue::get).collect())
}

/// Whether the text, known to be one JSON value, is an object.
pub fn is_object(value: &str) -> bool {
    value.trim_start().starts_with('{')
}

/// A JSON string's content; `None` if the text is another value, or holds a lone surrogate, which no UTF-8 can hold.
pub fn string(value: &str) -> Option<Cow<'_, str>> {
    #[derive(Deserialize)]
    struct Text<'a>(#[serde(borrow)] Cow<'a, str>);
    // Most strings have no escapes, and are what they say.
    if let Some(text) = value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'))
        && is_all_plain(text)
    {
        return Some(Cow::Borrowed(text));
    }
    serde_json::from_str::<Text<'_>>(value).ok().map(|text| text.0)
}

/// Whether every character stands for itself within a JSON string.
fn is_all_plain(text: &str) -> bool {
    // To the end in any case: then many bytes are looked at together.
    text.bytes().fold(true, |plain, byte| plain & (byte >= 0x20) & (byte != b'"') & (byte != b'\\'))
}

/// A text as a JSON string, with its quotes.
pub fn quote(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len() + 2);
    write_quoted(text, &mut out);
    String::from_utf8(out).unwrap_or_default()
}

/// Appends a text as a JSON string, with its quotes.
pub fn write_quoted(text: &str, out: &mut Vec<u8>) {
    if is_all_plain(text) {
        out.push(b'"');
        out.extend_from_slice(text.as_bytes());
        out.push(b'"');
    } else {
        // Writing to memory does not fail, and neither does a string's serialization.
        let _ = serde_json::to_writer(out, text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_of_double_members_counts_however_it_is_escaped() {
        let text = r#"{"a":1,"\u0061":2,"b":[1,2] , "a\ud800":3}"#;
        let object = object(text).expect("JSON");
        assert_eq!(object.get("a"), Some("2"));
        assert_eq!(object.get("b"), Some("[1,2]"));
        assert_eq!(object.without("a"), r#"{"b":[1,2],"a\ud800":3}"#);
    }

    #[test]
    fn what_is_no_json_is_refused() {
        for text in [
            "",
            " ",
            "{",
            "{]",
            "{\"a\":NaN}",
            "{\"a\":1}x",
            "{a:1}",
            "{1:2}",
            "{null:1}",
            "{[1]:1}",
            "{\"a\":01}",
            "{\"a\" 1}",
            "\u{feff}{}",
            "{\"a\":\"\n\"}",
            "{\"a\":1,}",
            "{\"a\":\"\\x\"}",
            "[-Infinity]",
            "1 2",
            "nullx",
        ] {
            assert_eq!(object(text).expect_err(text).kind, Kind::NotJson, "{text}");
        }
        for text in ["[]", "1", "null", "\"{}\"", "1e400", "\"\\ud800\""] {
            assert_eq!(object(text).expect_err(text).kind, Kind::BadRequest, "{text}");
        }
    }

    #[test]
    fn depth_counts_brackets_outside_of_strings() {
        assert_eq!(depth(br#"{"a":[[]],"[[[[\"[":"{{{{"}"#), 3);
        assert!(text("[".repeat(DEPTH_MAX).as_bytes()).is_ok());
        assert_eq!(text("[".repeat(DEPTH_MAX + 1).as_bytes()).expect_err("deep").kind, Kind::TooDeep);
    }
}
