//! The description, and JSON Schema as far as it uses it. A keyword that is not understood is an error, so that nothing
//! is believed to be checked that is not.

use std::collections::BTreeSet;

use serde_json::Value;

use super::pattern;

/// The description.
pub struct Api(pub Value);

impl Api {
    /// As it stands in the source.
    pub fn read() -> Self {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/edge/pages/openapi.json");
        let text = std::fs::read_to_string(path).expect("it is there");
        Self(serde_json::from_str(&text).expect("JSON"))
    }

    /// What a `$ref` leads to; anything else is itself.
    pub fn resolve<'a>(&'a self, node: &'a Value) -> &'a Value {
        match node.get("$ref").and_then(Value::as_str) {
            None => node,
            Some(reference) => {
                let pointer = reference.strip_prefix('#').unwrap_or_else(|| panic!("{reference} leads elsewhere"));
                self.resolve(self.0.pointer(pointer).unwrap_or_else(|| panic!("{reference} leads nowhere")))
            }
        }
    }

    /// A schema by its name.
    pub fn schema(&self, name: &str) -> &Value {
        &self.0["components"]["schemas"][name]
    }

    /// Path, method and description of every operation.
    pub fn operations(&self) -> Vec<(&str, &str, &Value)> {
        let paths = self.0["paths"].as_object().expect("paths");
        paths
            .iter()
            .flat_map(|(path, item)| {
                let methods = item.as_object().expect("an item").iter().filter(|(name, _)| *name != "parameters");
                methods.map(move |(method, operation)| (path.as_str(), method.as_str(), operation))
            })
            .collect()
    }

    /// Why a value does not fit a schema; nothing if it does.
    pub fn misfit(&self, schema: &Value, value: &Value) -> Option<String> {
        let schema = self.resolve(schema);
        let keywords = schema.as_object().unwrap_or_else(|| panic!("{schema} is no schema"));
        keywords.iter().find_map(|(keyword, said)| {
            let fits = match keyword.as_str() {
                "description" => true,
                "type" => is_of(said, value),
                "const" => said == value,
                "enum" => items(said).contains(value),
                "allOf" => return items(said).iter().find_map(|one| self.misfit(one, value)),
                "oneOf" => {
                    let misfits: Vec<_> = items(said).iter().filter_map(|one| self.misfit(one, value)).collect();
                    if misfits.len() + 1 == items(said).len() {
                        return None;
                    }
                    return Some(format!("{value} is not one of them: {misfits:#?}"));
                }
                "items" => return value.as_array()?.iter().find_map(|item| self.misfit(said, item)),
                "properties" => {
                    return said.as_object()?.iter().find_map(|(name, schema)| {
                        let misfit = self.misfit(schema, value.get(name)?)?;
                        Some(format!("{name}: {misfit}"))
                    });
                }
                "required" => {
                    !value.is_object()
                        || items(said).iter().all(|name| value.get(name.as_str().expect("text")).is_some())
                }
                "additionalProperties" => {
                    assert_eq!(said, false);
                    let known = &schema["properties"];
                    value.as_object().is_none_or(|members| members.keys().all(|name| known.get(name).is_some()))
                }
                "minItems" => value.as_array().is_none_or(|items| Some(items.len() as u64) >= said.as_u64()),
                "minimum" => value.as_f64().is_none_or(|number| Some(number) >= said.as_f64()),
                "maximum" => value.as_f64().is_none_or(|number| Some(number) <= said.as_f64()),
                "minLength" => value.as_str().is_none_or(|text| Some(text.chars().count() as u64) >= said.as_u64()),
                "maxLength" => value.as_str().is_none_or(|text| Some(text.chars().count() as u64) <= said.as_u64()),
                "pattern" => value.as_str().is_none_or(|text| pattern::matches(said.as_str().expect("text"), text)),
                other => panic!("the keyword {other} is not understood: {schema}"),
            };
            (!fits).then(|| format!("{value} does not fit {keyword} {said}"))
        })
    }
}

fn items(value: &Value) -> &[Value] {
    value.as_array().unwrap_or_else(|| panic!("{value} is no array"))
}

fn is_of(said: &Value, value: &Value) -> bool {
    let is = |name: &Value| match name.as_str().expect("text") {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "number" => value.is_number(),
        "integer" => value.as_f64().is_some_and(|number| number.fract() == 0.0),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        other => panic!("the type {other} is not understood"),
    };
    said.as_array().map_or_else(|| is(said), |names| names.iter().any(is))
}

/// Each `$ref` in it.
pub fn references(node: &Value) -> BTreeSet<&str> {
    match node {
        Value::Object(members) => {
            let own = members.get("$ref").and_then(Value::as_str);
            own.into_iter().chain(members.values().flat_map(references)).collect()
        }
        Value::Array(items) => items.iter().flat_map(references).collect(),
        _ => BTreeSet::new(),
    }
}
