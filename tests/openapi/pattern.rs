//! Regular expressions, as far as the description uses them: sets, groups, repetition; always for a whole text.

use std::{iter::Peekable, str::Chars};

enum Node {
    Set { negated: bool, ranges: Vec<(char, char)> },
    Group(Vec<Vec<Piece>>),
}

struct Piece {
    node: Node,
    least: usize,
    most: usize,
}

/// Whether the text matches `^…$`.
pub fn matches(pattern: &str, text: &str) -> bool {
    let inner = pattern.strip_prefix('^').and_then(|rest| rest.strip_suffix('$'));
    let inner = inner.unwrap_or_else(|| panic!("{pattern}: only whole texts are described"));
    let mut reader = inner.chars().peekable();
    let branches = group(&mut reader);
    assert!(reader.next().is_none(), "{pattern}: not understood to its end");
    let text: Vec<char> = text.chars().collect();
    branches.iter().any(|branch| run(branch, &text, &|rest| rest.is_empty()))
}

fn group(reader: &mut Peekable<Chars<'_>>) -> Vec<Vec<Piece>> {
    let mut branches = vec![Vec::new()];
    while let Some(&next) = reader.peek() {
        match next {
            ')' => break,
            '|' => {
                reader.next();
                branches.push(Vec::new());
            }
            _ => {
                let node = node(reader);
                let (least, most) = repetition(reader);
                branches.last_mut().expect("one at least").push(Piece { node, least, most });
            }
        }
    }
    branches
}

fn node(reader: &mut Peekable<Chars<'_>>) -> Node {
    match reader.next().expect("peeked") {
        '(' => {
            let branches = group(reader);
            assert_eq!(reader.next(), Some(')'));
            Node::Group(branches)
        }
        '[' => set(reader),
        '\\' => Node::Set { negated: false, ranges: escaped(reader) },
        plain => {
            assert!(!".*+?{}]^$".contains(plain), "{plain} is not understood");
            Node::Set { negated: false, ranges: vec![(plain, plain)] }
        }
    }
}

fn escaped(reader: &mut Peekable<Chars<'_>>) -> Vec<(char, char)> {
    match reader.next().expect("something escaped") {
        's' => vec![('\t', '\r'), (' ', ' ')],
        'S' => vec![('\0', '\u{8}'), ('\u{e}', '\u{1f}'), ('!', char::MAX)],
        other => {
            assert!(!other.is_ascii_alphanumeric(), "\\{other} is not understood");
            vec![(other, other)]
        }
    }
}

fn set(reader: &mut Peekable<Chars<'_>>) -> Node {
    let negated = reader.next_if_eq(&'^').is_some();
    let mut ranges = Vec::new();
    loop {
        match reader.next().expect("the end of a set") {
            ']' => return Node::Set { negated, ranges },
            '\\' => ranges.extend(escaped(reader)),
            first => {
                let mut ahead = reader.clone();
                let is_range = ahead.next() == Some('-') && ahead.next().is_some_and(|end| end != ']');
                if is_range {
                    reader.next();
                }
                let last = if is_range { reader.next().expect("seen") } else { first };
                ranges.push((first, last));
            }
        }
    }
}

fn repetition(reader: &mut Peekable<Chars<'_>>) -> (usize, usize) {
    match reader.peek() {
        Some('+') => {
            reader.next();
            (1, usize::MAX)
        }
        Some('{') => {
            reader.next();
            let said: String = reader.by_ref().take_while(|c| *c != '}').collect();
            let (least, most) = said.split_once(',').unwrap_or((&said, &said));
            (least.parse().expect("a number"), most.parse().expect("a number"))
        }
        _ => (1, 1),
    }
}

fn run(pieces: &[Piece], text: &[char], then: &dyn Fn(&[char]) -> bool) -> bool {
    match pieces.split_first() {
        None => then(text),
        Some((piece, rest)) => repeat(piece, 0, text, &|text| run(rest, text, then)),
    }
}

fn repeat(piece: &Piece, done: usize, text: &[char], then: &dyn Fn(&[char]) -> bool) -> bool {
    let again = |rest: &[char]| rest.len() < text.len() && repeat(piece, done + 1, rest, then);
    let one_more = done < piece.most
        && match &piece.node {
            Node::Set { negated, ranges } => text.split_first().is_some_and(|(first, rest)| {
                ranges.iter().any(|(from, to)| (from..=to).contains(&first)) != *negated && again(rest)
            }),
            Node::Group(branches) => branches.iter().any(|branch| run(branch, text, &again)),
        };
    one_more || (done >= piece.least && then(text))
}

#[test]
fn patterns_match_what_they_say() {
    for (pattern, yes, no) in [
        ("^[0-9a-f]{2}\\.[0-9]+$", &["0f.7", "aa.0123"][..], &["", "0f.", "0F.7", "f.7", "0f.7 ", "0f77"][..]),
        ("^(session:[\\s\\S]+|[^:]+)$", &["session:a:\n", "b c"], &["", "session:", "user:a", ":"]),
        ("^[A-Za-z0-9._-]{1,3}$", &["a", "A.-"], &["", "abcd", "a b", ":"]),
    ] {
        yes.iter().for_each(|text| assert!(matches(pattern, text), "{pattern} {text:?}"));
        no.iter().for_each(|text| assert!(!matches(pattern, text), "{pattern} {text:?}"));
    }
}
