//! Event streams, read as the HTML standard's parser reads them.

use super::*;

/// An event as it is dispatched: its name, its data, and the stream's last id then.
type Event = (String, String, String);

/// The HTML standard, section 9.2.6, and what `retry` was set to.
fn read(stream: &[u8]) -> (Vec<Event>, Option<String>) {
    let text = std::str::from_utf8(stream).expect("UTF-8").replace("\r\n", "\n").replace('\r', "\n");
    assert!(text.is_empty() || text.ends_with("\n\n"), "an event is cut: {text:?}");
    let (mut events, mut retry) = (Vec::new(), None);
    let (mut name, mut data, mut id): (String, Vec<&str>, String) = Default::default();
    for line in text.lines() {
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "" if line.is_empty() => {
                let data = std::mem::take(&mut data);
                let name = std::mem::take(&mut name);
                if !data.is_empty() {
                    events.push((if name.is_empty() { "message".into() } else { name }, data.join("\n"), id.clone()));
                }
            }
            "" => {}
            "event" => name = value.into(),
            "data" => data.push(value),
            "id" => id = value.into(),
            "retry" => retry = Some(value.to_owned()),
            other => panic!("a field {other:?} in {text:?}"),
        }
    }
    (events, retry)
}

fn batch(gap: Option<Gap>, letters: Vec<Letter>, cursor: Cursor) -> Batch {
    Batch { gap, letters, cursor, more: false }
}

#[test]
fn a_stream_from_its_beginning_to_its_end() {
    let mut stream = events_head(&id("s\n"), at(2));
    stream.extend_from_slice(COMMENT);
    let gap = Gap { range: Some((Seq(3), Seq(4))), reason: Reason::Purged };
    let letters = vec![letter(5, "a", "", "{\r\n\"a\":\n1}\r"), letter(6, "", "chat", "\"\u{2028}\"")];
    write_events(&batch(Some(gap), letters, at(6)), &mut stream);
    write_events(&batch(Some(Gap { range: Some((Seq(7), Seq(9))), ..gap }), Vec::new(), at(9)), &mut stream);
    write_events(&batch(None, Vec::new(), at(9)), &mut stream);
    stream.extend(events_goodbye(Goodbye::Drain, Some(Duration::from_millis(1500))));

    let (events, retry) = read(&stream);
    assert_eq!(retry.as_deref(), Some("1000"));
    let message = |seq: u64, from: &str, kind: &str, payload: &str| {
        let id = Uuid::from_u128(seq.into());
        format!(r#"{{"id":"{id}","seq":{seq},"from":"{from}","type":"{kind}","ts":1780000000123,"payload":{payload}}}"#)
    };
    let expected = [
        ("relay:welcome", r#"{"session":"s\n","cursor":"000000000000c3f1.2"}"#.to_owned(), at(2)),
        ("relay:gap", r#"{"from":3,"to":4,"reason":"purged"}"#.to_owned(), at(4)),
        ("message", message(5, "a", "message", "{  \"a\": 1} "), at(5)),
        ("chat", message(6, "", "chat", "\"\u{2028}\""), at(6)),
        ("relay:gap", r#"{"from":7,"to":9,"reason":"purged"}"#.to_owned(), at(9)),
        ("relay:goodbye", r#"{"reason":"drain","retry_after":1.5}"#.to_owned(), at(9)),
    ];
    let expected = expected.map(|(name, data, id)| (name.to_owned(), data, id.to_string()));
    assert_eq!(events, expected);
}

#[test]
fn an_unknown_gap_is_behind_the_client_where_the_messages_begin() {
    let gap = Some(Gap { range: None, reason: Reason::Epoch });
    for (letters, cursor, behind) in [
        (vec![letter(12, "", "", "1")], at(12), at(11)),
        (Vec::new(), at(30), at(30)),
        (vec![letter(1, "", "", "1")], at(1), at(0)),
    ] {
        let mut stream = Vec::new();
        write_events(&batch(gap, letters, cursor), &mut stream);
        let first = read(&stream).0.swap_remove(0);
        assert_eq!(
            first,
            ("relay:gap".into(), r#"{"from":null,"to":null,"reason":"epoch"}"#.into(), behind.to_string())
        );
    }
}

proptest! {
    #[test]
    fn every_event_is_one_event(value in super::properties::json_value(), pretty: bool, from in ".{0,20}", seq in 1_u64..9) {
        let payload = if pretty { format!("{value:#}").replace('\n', "\r\n") } else { value.to_string() };
        let mut stream = Vec::new();
        write_events(&batch(None, vec![letter(seq, &from, "", &payload), letter(seq + 1, "", "", "0")], at(seq + 1)), &mut stream);
        let (events, _) = read(&stream);
        prop_assert_eq!(events.len(), 2);
        let (name, data, last) = &events[0];
        prop_assert_eq!((name.as_str(), last), ("message", &at(seq).to_string()));
        let message: Value = serde_json::from_str(data).expect("JSON");
        prop_assert_eq!((&message["payload"], message["from"].as_str()), (&value, Some(from.as_str())));
    }
}
