//! The door as a whole, over a connection in memory and with a clock that can be moved.

use std::sync::atomic::Ordering::SeqCst;

use tokio::time::{Duration, Instant, sleep, timeout};

use super::{
    client::{BINARY, CLOSE, Client, PING, PONG, TEXT, frame, text},
    session::SENDS_MAX,
    *,
};
use crate::{cursor::Epoch, hub::Event, mailbox::Max, message::Seq};

mod world;

use world::{KEEPALIVE, WRITE_TIMEOUT, World};

/// The payloads of a `messages` frame.
fn payloads(said: &str) -> Vec<String> {
    assert!(said.starts_with(r#"{"type":"messages","#), "{said}");
    let parts = said.split(r#","payload":"#).skip(1);
    parts.map(|part| part.split_once('}').expect("an end").0.to_owned()).collect()
}

fn ack(cursor: Cursor) -> String {
    format!(r#"{{"type":"ack","cursor":"{cursor}"}}"#)
}

fn send(reference: usize) -> String {
    format!(r#"{{"type":"send","ref":{reference},"to":"c","payload":{reference}}}"#)
}

async fn pong(client: &mut Client) {
    client.say(r#"{"type":"ping"}"#).await;
    assert_eq!(client.heard().await, r#"{"type":"pong"}"#);
}

#[tokio::test(start_paused = true)]
async fn mail_comes_at_once_up_to_the_window_and_on_acknowledgement() {
    let world = World::new();
    world.accept(1..=2).await;
    let (mut client, _ended) = world.client(1 << 16).await;
    let start = Instant::now();
    assert_eq!(payloads(&client.heard().await), ["1", "2"]);
    world.accept(3..=9).await;
    assert_eq!(payloads(&client.heard().await), ["3", "4"]);
    client.hears_nothing(Duration::from_secs(5)).await;
    pong(&mut client).await;
    client.say(&ack(world.cursor(1).await)).await;
    assert_eq!(payloads(&client.heard().await), ["5"]);
    client.say(&ack(world.cursor(4).await)).await;
    assert_eq!(payloads(&client.heard().await), ["6", "7", "8"], "as much as one frame may hold");
    client.hears_nothing(Duration::from_secs(1)).await;
    assert_eq!(start.elapsed(), Duration::from_secs(6));
    assert_eq!(world.waiting().await, 5);
}

#[tokio::test(start_paused = true)]
async fn a_full_window_hears_acknowledgements_by_another_way_and_gaps() {
    let world = World::new();
    let (mut client, _ended) = world.client(1 << 16).await;
    world.accept(1..=4).await;
    while payloads(&client.heard().await).last().map(String::as_str) != Some("4") {}
    world.accept(5..=6).await;
    client.hears_nothing(Duration::from_secs(1)).await;
    world.hub.acknowledge(&world.receive(), world.cursor(3).await, Haste::Soon).await.expect("known");
    assert_eq!(payloads(&client.heard().await), ["5", "6"]);
    world.accept([7]).await;
    assert_eq!(payloads(&client.heard().await), ["7"]);
    world.accept([8]).await;
    client.hears_nothing(Duration::from_secs(1)).await;
    world.hub.remove_all(&world.receive(), Haste::Soon).await.expect("memory");
    // Nobody rings for what is removed; the next message does.
    world.accept([9]).await;
    let said = client.heard().await;
    assert!(said.contains(r#""gap":{"from":8,"to":8,"reason":"purged"}"#) && payloads(&said).is_empty(), "{said}");
    client.say(&ack(world.cursor(8).await)).await;
    assert_eq!(payloads(&client.heard().await), ["9"]);
}

#[tokio::test(start_paused = true)]
async fn mail_that_comes_while_other_mail_is_being_written_follows_it() {
    let world = World::new();
    let (mut client, _ended) = world.client(300).await;
    world.accept_text(&format!("\"{}\"", "x".repeat(900))).await;
    sleep(Duration::from_secs(1)).await;
    // It rings, and nobody may look yet.
    world.accept([2]).await;
    sleep(Duration::from_secs(1)).await;
    let start = Instant::now();
    assert_eq!(payloads(&client.heard().await)[0].len(), 902);
    assert_eq!(payloads(&client.heard().await), ["2"]);
    assert_eq!(start.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn the_stream_begins_where_the_client_says() {
    let world = World::new();
    world.accept(1..=3).await;
    let epoch = world.cursor(0).await.epoch;
    let after = world.cursor(2).await;
    let (mut client, _ended) = world.connect(&format!("session=b&after={after}"), 1 << 16);
    client.head().await;
    assert!(client.heard().await.contains(&format!(r#""cursor":"{after}""#)));
    assert_eq!((payloads(&client.heard().await), world.waiting().await), (vec!["3".to_owned()], 1));

    let other = Cursor { epoch: Epoch(epoch.0 ^ 1), seq: Seq(7) };
    let (mut client, _ended) = world.connect(&format!("session=b&after={other}"), 1 << 16);
    client.head().await;
    assert!(client.heard().await.contains(&format!(r#""cursor":"{other}""#)), "nothing is told before the gap");
    let said = client.heard().await;
    assert!(said.contains(r#""gap":{"from":null,"to":null,"reason":"epoch"}"#), "{said}");
    assert_eq!(payloads(&said), ["3"]);

    let ahead = world.cursor(9).await;
    let (_client, ended) = world.connect(&format!("session=b&after={ahead}"), 1 << 16);
    assert!(ended.result().await.expect_err("ahead").to_string().contains("ahead"));
}

#[tokio::test(start_paused = true)]
async fn sends_are_accepted_in_order_and_no_more_than_a_few_at_once() {
    let world = World::new();
    let (mut client, _ended) = world.client(1 << 16).await;
    world.store.slow.store(true, SeqCst);
    for reference in 0..SENDS_MAX + 6 {
        client.say(&send(reference)).await;
    }
    client.say(r#"{"type":"ping"}"#).await;
    // Far longer than a client may be silent, but it is not asked.
    client.hears_nothing(KEEPALIVE * 5).await;
    assert_eq!(world.store.sent.load(SeqCst), SENDS_MAX);
    world.store.answers.add_permits(1);
    assert!(client.heard().await.starts_with(r#"{"type":"sent","ref":0,"#));
    client.hears_nothing(Duration::from_secs(1)).await;
    assert_eq!(world.store.sent.load(SeqCst), SENDS_MAX + 1);
    world.store.answers.add_permits(100);
    let mut references: Vec<usize> = Vec::new();
    let mut pongs = 0;
    while references.len() < SENDS_MAX + 5 || pongs == 0 {
        let said = client.heard().await;
        match said.strip_prefix(r#"{"type":"sent","ref":"#) {
            Some(rest) => references.push(rest.split(',').next().and_then(|n| n.parse().ok()).expect("a number")),
            None => pongs += usize::from(said.contains("pong")),
        }
    }
    assert_eq!(references, (1..SENDS_MAX + 6).collect::<Vec<usize>>());
    let kept = world.texts("c").await;
    assert_eq!(kept, (0..SENDS_MAX + 6).map(|n| n.to_string()).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn a_goodbye_comes_behind_the_answers_and_the_close_is_waited_for() {
    let world = World::new();
    let (mut client, ended) = world.client(1 << 16).await;
    world.store.slow.store(true, SeqCst);
    client.say(&send(1)).await;
    client.hears_nothing(Duration::from_secs(1)).await;
    let start = Instant::now();
    world.drain();
    client.hears_nothing(Duration::from_secs(1)).await;
    world.store.answers.add_permits(1);
    assert!(client.heard().await.starts_with(r#"{"type":"sent","ref":1,"#));
    let said = client.heard().await;
    let retry_after = said.strip_prefix(r#"{"type":"goodbye","reason":"drain","retry_after":"#).expect("a goodbye");
    assert!(retry_after.trim_end_matches('}').parse::<f64>().is_ok_and(|s| (0.1..3.0).contains(&s)), "{said}");
    assert_eq!(client.heard().await, "close 1012");
    ended.result().await.expect("an end in order");
    assert_eq!(start.elapsed(), Duration::from_secs(3), "two of them for the close that did not come");
}

#[tokio::test(start_paused = true)]
async fn a_goodbye_does_not_wait_for_ever_and_an_answered_close_ends_at_once() {
    let world = World::new();
    let (mut client, ended) = world.client(1 << 16).await;
    world.store.slow.store(true, SeqCst);
    client.say(&send(1)).await;
    client.hears_nothing(Duration::from_secs(1)).await;
    let start = Instant::now();
    world.drain();
    assert!(client.heard().await.contains("goodbye"));
    assert_eq!((client.heard().await.as_str(), start.elapsed()), ("close 1012", WRITE_TIMEOUT));
    client.say(r#"{"type":"ping"}"#).await;
    client.send(&frame(true, CLOSE, &1012_u16.to_be_bytes())).await;
    ended.result().await.expect("an end in order");
    assert_eq!(start.elapsed(), WRITE_TIMEOUT);
    client.ends().await;
}

#[tokio::test(start_paused = true)]
async fn the_newest_sends_the_others_away() {
    let world = World::new();
    let (mut first, _) = world.client(1 << 16).await;
    world.accept(1..=9).await;
    while payloads(&first.heard().await).last().map(String::as_str) != Some("4") {}
    // The window of the first is full; it hears of the second all the same.
    let (mut second, _) = world.client(1 << 16).await;
    assert_eq!(first.heard().await, r#"{"type":"goodbye","reason":"superseded"}"#);
    assert_eq!(first.heard().await, "close 4001");
    assert_eq!(payloads(&second.heard().await), ["1", "2", "3"], "what was not acknowledged");
    let (mut third, _) = world.client(1 << 16).await;
    let start = Instant::now();
    let mut fourth = world.hub.stream(&world.receive());
    // A quarrel: the loser hears of it later, and can still say what it has.
    third.say(&ack(world.cursor(3).await)).await;
    third.say(&send(1)).await;
    let mut said = third.heard().await;
    while said.starts_with(r#"{"type":"messages""#) {
        said = third.heard().await;
    }
    assert!(said.starts_with(r#"{"type":"sent""#), "{said}");
    assert_eq!(world.waiting().await, 6);
    assert!(third.heard().await.contains("superseded"));
    assert_eq!(start.elapsed(), Duration::from_secs(1));
    let event = fourth.next(None, Max { messages: 1, bytes: 1 }, Instant::now()).await.expect("memory");
    assert!(matches!(event, Event::Batch(batch) if batch.letters[0].seq == Seq(4)));
}

#[tokio::test(start_paused = true)]
async fn a_silent_client_is_pinged_and_closed_and_one_that_answers_is_not() {
    let world = World::new();
    let (mut client, ended) = world.client(1 << 16).await;
    let start = Instant::now();
    for _ in 0..3 {
        assert_eq!(client.frame().await, (PING, Vec::new()));
        client.send(&frame(true, PONG, b"")).await;
    }
    assert_eq!(start.elapsed(), KEEPALIVE * 3);
    assert_eq!(client.frame().await.0, PING);
    assert_eq!((client.heard().await.as_str(), start.elapsed()), ("close 1008", KEEPALIVE * 5));
    ended.result().await.expect("an end in order");
}

#[tokio::test(start_paused = true)]
async fn a_client_that_reads_nothing_is_given_up_and_its_mail_stays() {
    let world = World::new();
    let (client, ended) = world.client(300).await;
    let start = Instant::now();
    world.accept_text(&format!("\"{}\"", "x".repeat(900))).await;
    assert_eq!(ended.result().await.expect_err("stalled").kind(), io::ErrorKind::TimedOut);
    assert_eq!((start.elapsed(), world.waiting().await), (WRITE_TIMEOUT, 1));
    drop(client);
}

#[tokio::test(start_paused = true)]
async fn a_flood_that_is_not_read_is_not_listened_to() {
    for said in [frame(true, PING, &[b'p'; 125]), text(r#"{"type":"ping"}"#), text("no"), send(1).into_bytes()] {
        let said = if said[0] == b'{' { text(&String::from_utf8(said).expect("UTF-8")) } else { said };
        let world = World::new();
        let (mut client, ended) = world.client(1_000).await;
        let flood = async {
            let mut sent = 0;
            // No longer than until it is given up.
            while timeout(WRITE_TIMEOUT / 2, client.send(&said)).await.is_ok() {
                sent += said.len();
            }
            sent
        };
        let sent = flood.await;
        assert!(sent > 1_000 && sent < 200_000, "{sent} bytes were taken");
        assert_eq!(ended.result().await.expect_err("it takes nothing").kind(), io::ErrorKind::TimedOut);
    }
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_understood_ends_the_socket_with_its_reason() {
    for (said, told, waits) in [
        (frame(true, BINARY, b"{}"), vec!["close 1003"], true),
        (frame(true, TEXT, b"\xff"), vec!["close 1007"], false),
        (vec![0x81, 2, b'{', b'}'], vec!["close 1002"], false),
        (frame(true, TEXT, &[b' '; 1_001 + (64 << 10)]), vec!["too_large", "close 1009"], false),
    ] {
        let world = World::new();
        let (mut client, ended) = world.client(1 << 20).await;
        let start = Instant::now();
        client.send(&said).await;
        for told in told {
            let heard = client.heard().await;
            assert!(heard.contains(told), "{heard}");
        }
        ended.result().await.expect("an end in order");
        assert_eq!(start.elapsed(), Duration::from_secs(if waits { 2 } else { 0 }));
    }
}

#[tokio::test(start_paused = true)]
async fn a_mailbox_that_cannot_be_served_closes_the_socket() {
    let world = World::new();
    let (mut client, _ended) = world.client(1 << 16).await;
    client.hears_nothing(Duration::from_secs(1)).await;
    world.store.broken.store(true, SeqCst);
    world.hub.wake_all();
    let said = client.heard().await;
    assert!(said.starts_with(r#"{"type":"error","#) && said.contains("memory_full"), "{said}");
    assert_eq!(client.heard().await, "close 1013");
}

#[tokio::test(start_paused = true)]
async fn no_more_is_fetched_than_the_frame_that_is_being_written() {
    let world = World::new();
    let (mut client, _ended) = world.client(300).await;
    for n in 1..=4 {
        world.accept_text(&format!("\"{n}{}\"", "x".repeat(900))).await;
    }
    sleep(Duration::from_secs(1)).await;
    // What was not fetched is gone now, though the window had room for it.
    world.hub.remove_all(&world.receive(), Haste::Soon).await.expect("memory");
    let mut fetched = 0;
    let gap = loop {
        let said = client.heard().await;
        fetched += payloads(&said).len();
        if said.contains(r#""gap""#) {
            break said;
        }
        assert!(fetched < 4, "all was fetched");
    };
    assert!(gap.contains(r#""to":4,"reason":"purged"}"#), "{gap}");
}

#[tokio::test]
async fn a_socket_under_way_is_small() {
    let world = World::new();
    let park = world.park("session=b");
    let (stream, start) = open(&park, &world.doors).await.expect("a mailbox");
    let (ours, _theirs) = tokio::io::duplex(1);
    let under_way = talk(&park, stream, start, ours, &world.doors);
    assert!(size_of_val(&under_way) < 2_048, "{}", size_of_val(&under_way));
}
