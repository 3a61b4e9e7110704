//! The description of the relay's addresses (`/openapi.json`) and the relay say the same: every operation is served,
//! what is served is described, answers fit their schemas, and the parsers take what the schemas allow.

mod common;

#[path = "openapi/answers.rs"]
mod answers;
#[path = "openapi/frames.rs"]
mod frames;
#[path = "openapi/pattern.rs"]
mod pattern;
#[path = "openapi/routes.rs"]
mod routes;
#[path = "openapi/schema.rs"]
mod schema;

use std::collections::{BTreeMap, BTreeSet};

use schema::{Api, references};
use serde_json::Value;
use x0_relay::error::Kind;

/// Kinds of errors that protocol v1 never answers with, and why.
const NOT_IN_V1: [(Kind, &str); 3] = [
    (Kind::PayloadNotObject, "a payload may be any JSON"),
    (Kind::Refused, "a gateway has no protocol v1"),
    (Kind::TakeoverRefused, "takeovers go over the control socket"),
];

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("{value} is no text"))
}

#[test]
fn every_reference_leads_somewhere_and_every_component_is_used() {
    let api = Api::read();
    assert!(text(&api.0["openapi"]).starts_with("3.1."));
    assert_eq!(api.0["info"]["version"], env!("CARGO_PKG_VERSION"));
    let referenced = references(&api.0);
    for reference in &referenced {
        assert!(api.0.pointer(&reference[1..]).is_some(), "{reference} leads nowhere");
    }
    let mut components = 0;
    for (kind, all) in api.0["components"].as_object().expect("components") {
        for name in all.as_object().expect("named").keys() {
            components += 1;
            let reference = format!("#/components/{kind}/{name}");
            assert!(referenced.contains(reference.as_str()), "nobody uses {reference}");
        }
    }
    assert!(components > 50, "only {components} components seen: this test is blind");
}

#[test]
fn every_operation_is_described_whole() {
    let api = Api::read();
    let tags: BTreeSet<&str> = api.0["tags"].as_array().expect("tags").iter().map(|tag| text(&tag["name"])).collect();
    let mut names = BTreeSet::new();
    for (path, method, operation) in api.operations() {
        let place = format!("{method} {path}");
        assert!(names.insert(text(&operation["operationId"])), "{place}: its operationId is not its own");
        assert!(tags.contains(text(&operation["tags"][0])), "{place}: an unknown tag");
        assert!(!text(&operation["summary"]).is_empty(), "{place}");
        let samples = operation["x-codeSamples"].as_array().unwrap_or_else(|| panic!("{place}: no example"));
        let address = path.replace("{session}", "tab-b");
        let shows = |sample: &Value| {
            sample["lang"] == "curl" && text(&sample["source"]).contains(&format!("http://127.0.0.1:8080{address}"))
        };
        assert!(samples.iter().any(shows), "{place}: no example with curl");
        let good =
            operation["responses"].as_object().expect("responses").keys().any(|status| status < &"400".to_owned());
        // Its answer is an error on purpose.
        assert!(good || path == "/doctor/echo", "{place}: no good answer");
    }
    assert!(names.len() > 25, "{names:?}");
}

#[test]
fn examples_fit_their_schemas() {
    let api = Api::read();
    let mut seen = 0;
    let mut fits = |place: &str, schema: &Value, example: &Value| {
        seen += 1;
        if let Some(misfit) = api.misfit(schema, example) {
            panic!("the example of {place}: {misfit}");
        }
    };
    let components = &api.0["components"];
    for (name, parameter) in components["parameters"].as_object().expect("parameters") {
        parameter.get("example").into_iter().for_each(|example| fits(name, &parameter["schema"], example));
    }
    let bodies = api.operations().into_iter().flat_map(|(path, _, operation)| {
        let responses = operation["responses"].as_object().expect("responses").values();
        responses.chain(operation.get("requestBody")).map(move |body| (path, body))
    });
    for (path, body) in bodies {
        let content = api.resolve(body).get("content").and_then(Value::as_object);
        for media in content.into_iter().flat_map(|content| content.values()) {
            media.get("example").into_iter().for_each(|example| fits(path, &media["schema"], example));
            let named = media.get("examples").and_then(Value::as_object).into_iter().flat_map(|named| named.values());
            named.for_each(|example| fits(path, &media["schema"], &example["value"]));
        }
    }
    assert!(seen > 100, "only {seen} examples seen: this test is blind");
}

#[test]
fn every_kind_of_problem_is_listed_and_stands_with_its_status() {
    let api = Api::read();
    let wanted: BTreeMap<&str, u16> = Kind::ALL
        .iter()
        .filter(|kind| !NOT_IN_V1.iter().any(|(never, _)| never == *kind))
        .map(|kind| (kind.label(), kind.status()))
        .collect();
    let listed = api.0["x-problems"].as_array().expect("a list");
    assert!(listed.iter().all(|problem| text(&problem["description"]).len() > 20));
    let status = |value: &Value| u16::try_from(value.as_u64().expect("a number")).expect("a status");
    let statuses = listed.iter().map(|problem| (text(&problem["kind"]), status(&problem["status"])));
    assert_eq!(statuses.collect::<BTreeMap<_, _>>(), wanted);
    let kinds = api.schema("Problem")["properties"]["kind"]["enum"].as_array().expect("kinds");
    assert_eq!(kinds.iter().map(text).collect::<BTreeSet<_>>(), wanted.keys().copied().collect());
    // Each answer that is a problem has exactly the kinds of its status.
    for (name, response) in api.0["components"]["responses"].as_object().expect("responses") {
        let narrowed = &response["content"]["application/problem+json"]["schema"]["allOf"][1]["properties"];
        let own = status(&narrowed["status"]["const"]);
        let kinds: BTreeSet<&str> = narrowed["kind"]["enum"].as_array().expect("kinds").iter().map(text).collect();
        let of_status = wanted.iter().filter(|(_, status)| **status == own).map(|(kind, _)| *kind);
        assert_eq!(kinds, of_status.collect(), "{name}");
    }
    for (kind, reason) in NOT_IN_V1 {
        assert!(reason.len() > 10, "{kind:?}");
    }
}
