//! Who imports whom, and on which floor of the house each stands.

use std::collections::BTreeSet;

use super::reading::Source;

/// Rooms of the house, and how high they stand: an import may only go to a lower floor, or stay in its room.
/// `gate` and `hub` stand above `wire` and `storage`; those two do not know each other.
pub const FLOORS: &[(&str, u8)] = &[
    ("main", 9),
    ("cli", 9),
    ("server", 8),
    ("config", 8),
    ("takeover", 8),
    ("inherit", 8),
    ("edge", 7),
    ("hub", 6),
    ("gate", 5),
    ("wire", 4),
    ("storage", 4),
    ("mailbox", 3),
    ("id", 2),
    ("cursor", 2),
    ("error", 2),
    ("message", 2),
    ("lifecycle", 2),
    ("live", 2),
    ("metrics", 2),
    ("rate", 2),
    ("settings", 2),
];

/// The rooms that a file imports from or names by path.
pub fn imports(source: &Source) -> BTreeSet<String> {
    let mut rooms = BTreeSet::new();
    for prefix in ["crate::", "x0_relay::"] {
        for (at, _) in source.code.match_indices(prefix) {
            let rest = &source.code[at + prefix.len()..];
            if let Some(group) = rest.strip_prefix('{') {
                rooms.extend(heads_of_group(group));
            } else {
                rooms.insert(first_name(rest));
            }
        }
    }
    rooms.retain(|room| FLOORS.iter().any(|(name, _)| name == room));
    rooms
}

fn first_name(text: &str) -> String {
    text.trim_start().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}

/// The first names of a `use` group's members: `a` and `b` of `a::{x, y}, b::z}`.
fn heads_of_group(group: &str) -> Vec<String> {
    let (mut depth, mut heads, mut at_head) = (1, Vec::new(), true);
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 1 => {
                at_head = true;
                continue;
            }
            _ => {}
        }
        if depth == 0 {
            break;
        }
        if at_head && !c.is_whitespace() {
            heads.push(first_name(&group[at..]));
            at_head = false;
        }
    }
    heads
}

/// Each import that goes up, or sideways to another room.
pub fn upward(sources: &[Source]) -> (usize, Vec<String>) {
    let floor = |room: &str| FLOORS.iter().find(|(name, _)| *name == room).map(|(_, floor)| *floor);
    let mut seen = 0;
    let mut broken = Vec::new();
    for source in sources.iter().filter(|s| s.name != "lib.rs") {
        let room = source.room();
        let Some(mine) = floor(room) else {
            broken.push(format!("src/{}: the room {room} has no floor in tests/tidy.rs", source.name));
            continue;
        };
        for other in imports(source) {
            seen += 1;
            let theirs = floor(&other).expect("imports keeps only these");
            // The ground's files may know each other, and so may the top's and the assembly's.
            let level = mine == theirs && (mine <= 2 || mine >= 8);
            if other != room && theirs >= mine && !level {
                broken.push(format!("src/{} imports {other}", source.name));
            }
        }
    }
    (seen, broken)
}
