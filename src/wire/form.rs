//! Query strings: `application/x-www-form-urlencoded`, as browsers write it.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

use crate::error::{Error, Kind};

/// Names and values in their order, as they stand there; what has no `=` is a name alone.
pub fn pairs(query: &str) -> impl Iterator<Item = (&str, &str)> {
    query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")))
}

/// A value's text: `+` is a space, `%` and two hexadecimal digits are a byte, all together UTF-8.
///
/// # Errors
/// [`Kind::BadRequest`] if the bytes are not UTF-8.
pub fn decode<'a>(name: &str, value: &'a str) -> Result<Cow<'a, str>, Error> {
    if value.contains('+') {
        unescape(name, &value.replace('+', " ")).map(|text| text.into_owned().into())
    } else {
        unescape(name, value)
    }
}

/// The text of a part of a path, where `+` is a plus.
///
/// # Errors
/// [`Kind::BadRequest`] if the bytes are not UTF-8.
pub fn unescape<'a>(name: &str, part: &'a str) -> Result<Cow<'a, str>, Error> {
    let text = percent_decode_str(part).decode_utf8();
    text.map_err(|_| Error::new(Kind::BadRequest, format!("{name} is not percent-encoded UTF-8")))
}
