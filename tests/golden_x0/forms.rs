//! The requests that are not the page's poll: network events, the app's button, x0's documented forms.

use crate::common::{
    Relay, request,
    x0::{Answer, HANDLER, assert_carried, post},
};

/// A GET without any header of note.
fn get(target: &str) -> Vec<u8> {
    request("GET", target, &[], b"")
}

#[test]
fn a_network_event_is_a_set_in_the_query() {
    let relay = Relay::start(&[]);
    let event = "/python/MsgHandler.py?a__=1234567890&SYS_SESSION=src&Type=SET&DestinationSession=dst\
                 &Payload=%7B%22msg-type%22%3A%22net-message%22%2C%22a%22%3A1e400%7D";
    assert_eq!(relay.ask(get(event)).x0(), Answer::Accepted);
    let mail = relay.poll("dst");
    assert_eq!(mail.len(), 1);
    assert_carried(&mail[0], r#"{"msg-type":"net-message","a":1e400}"#, "src");
}

#[test]
fn in_a_query_plus_is_a_space_and_percent_is_a_byte() {
    let relay = Relay::start(&[]);
    let event = "/python/MsgHandler.py?SYS_SESSION=s+r%20c&Type=SET&DestinationSession=d%C3%A4%2Bt&Payload=%7b%22a+b%22:%22%2B%26%3D%C3%BC%22%7d";
    assert_eq!(relay.ask(get(event)).x0(), Answer::Accepted);
    assert_carried(&relay.poll("dä+t")[0], r#"{"a b":"+&=ü"}"#, "s r c");
}

#[test]
fn a_network_event_that_is_no_json_queues_nothing() {
    let relay = Relay::start(&[]);
    let event = |payload: &str| {
        get(&format!("{HANDLER}?a__=1&SYS_SESSION=src&Type=SET&DestinationSession=dst&Payload={payload}"))
    };
    for payload in ["SYS__NET_EVENT-OpenChat", "%5B1%5D", "17", "%22text%22", "null", "", "%7B%22a%22", "%7B%7D%7B%7D"]
    {
        let (answer, took) = crate::common::timed(|| relay.ask(event(payload)));
        let Answer::Error(_) = answer.x0() else { panic!("{payload} was answered {answer:?}") };
        crate::common::assert_held(payload, took, crate::common::HOLD);
    }
    relay.assert_empty("dst");
}

#[test]
fn the_button_sends_a_form() {
    let relay = Relay::start(&[]);
    let data = r#"{ "TextField" : "hé\u0041", "n":1e400,"List":[ ] }"#;
    let form = format!(
        r#"{{"RequestData":{{"FormlistSelectDstUser":{{"DstUserSession":"dst"}},"FormlistExchangeData":{data}}},"SessionData":{{"ID":"SYS_SESSION","Value":"src"}}}}"#
    );
    assert_eq!(relay.ask(post("/python/MsgHandler.py?a__=1234567890", form)).x0(), Answer::Accepted);
    let mail = relay.poll("dst");
    let message = format!(
        r#"{{"msg-type":"net-message","method-id":"set-data","dst-object":"FormlistExchangeData","payload":{data}}}"#
    );
    assert_carried(&mail[0], &message, "src");
}

#[test]
fn a_form_without_a_receiver_or_data_queues_nothing() {
    let relay = Relay::start(&[]);
    let session = r#""SessionData":{"ID":"SYS_SESSION","Value":"src"}"#;
    let no_receiver = [
        r##"{"RequestData":{"FormlistSelectDstUser":{},"FormlistExchangeData":{}},#S}"##,
        r##"{"RequestData":{"FormlistSelectDstUser":{"DstUserSession":null},"FormlistExchangeData":{}},#S}"##,
        r##"{"RequestData":{"FormlistSelectDstUser":{"DstUserSession":""},"FormlistExchangeData":{}},#S}"##,
        r##"{"RequestData":{"FormlistExchangeData":{}},#S}"##,
        r##"{"RequestData":{"FormlistSelectDstUser":{"DstUserSession":"dst"}},#S}"##,
        r##"{"RequestData":7,#S}"##,
    ];
    for body in no_receiver {
        let answer = relay.ask(post(HANDLER, body.replace("#S", session))).x0();
        assert!(matches!(answer, Answer::Error(_)), "{body}: {answer}");
    }
    relay.assert_empty("dst");
}

#[test]
fn the_documented_set_takes_the_sender_from_session_data() {
    let relay = Relay::start(&[]);
    let body = r#"{"session_dst":"b","payload":{"x":1},"SessionData":{"ID":"SYS_SESSION","Value":"a"}}"#;
    assert_eq!(relay.ask(post("/set", body)).x0(), Answer::Accepted);
    let both =
        r#"{"session_dst":"b","session_src":"c","payload":{"x":2},"SessionData":{"ID":"SYS_SESSION","Value":"a"}}"#;
    assert_eq!(relay.ask(post("/set", both)).x0(), Answer::Accepted);
    let mail = relay.poll("b");
    assert_carried(&mail[0], r#"{"x":1}"#, "a");
    assert_carried(&mail[1], r#"{"x":2}"#, "c");
}

#[test]
fn the_set_and_del_addresses_need_no_type() {
    let relay = Relay::start(&[]);
    let set = r#"{"session_src":"a","session_dst":"b","payload":{}}"#;
    assert_eq!(relay.ask(post("/set", set)).x0(), Answer::Accepted);
    assert_eq!(relay.ask(post("/del", r#"{"session_src":"b"}"#)).x0(), Answer::Nothing);
    relay.assert_empty("b");
}

#[test]
fn the_documented_get_has_its_members_in_the_query() {
    let relay = Relay::start(&[]);
    relay.set("a", "b c", r#"{"x":1}"#);
    for target in ["/get?session_src=b+c&type=GET", "/get?type=GET&session_src=b%20c&a__=1"] {
        let mail = relay.ask(get(target)).mail();
        assert_carried(&mail[0], r#"{"x":1}"#, "a");
        relay.set("a", "b c", r#"{"x":1}"#);
    }
    let answer = relay.ask(get("/get?session_src=&type=GET"));
    answer.error("InvalidSessionID");
}

#[test]
fn the_oldest_clients_poll_with_type_and_session_in_the_query() {
    let relay = Relay::start(&[]);
    relay.set("a", "b", r#"{"x":1}"#);
    let mail = relay.ask(get("/python/MsgHandler.py?Type=GET&Session=b")).mail();
    assert_carried(&mail[0], r#"{"x":1}"#, "a");
    let (answer, took) = crate::common::timed(|| relay.ask(get("/python/MsgHandler.py?Type=GET&Session=c")));
    assert_eq!(answer.x0(), Answer::Nothing);
    crate::common::assert_held("an empty answer", took, crate::common::WAIT);
}
