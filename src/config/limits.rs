//! The settings of what requests and connections may cost.

use ipnet::IpNet;

use super::{Founded, Limits, Scopes, resolve::Settings, value::Value};
use crate::rate::Rule;

impl Settings {
    pub(super) fn limits(&self) -> Limits {
        let scopes = |what: &str| Scopes {
            principal: self.rate(&format!("{what}-per-principal")),
            session: self.rate(&format!("{what}-per-session")),
            address: self.rate(&format!("{what}-per-address")),
        };
        Limits {
            sends: scopes("sends"),
            polls: scopes("polls"),
            connects: self.rate("connects-per-address"),
            failed_logins: self.rate("failed-logins-per-address"),
            mailboxes: Founded {
                principal: self.rate("mailboxes-per-principal"),
                address: self.rate("mailboxes-per-address"),
            },
            admission: self.rate("admission"),
            connections_per_address: match self.value("connections-per-address") {
                Value::Number(most) => usize::try_from(most).ok(),
                _ => None,
            },
            trusted_proxies: self.networks("trusted-proxies"),
            exempt: self.networks("exempt-addresses"),
        }
    }

    fn rate(&self, key: &str) -> Rule {
        match self.value(key) {
            Value::Rate(rule) => rule,
            other => unreachable!("{key} is no rate: {other:?}"),
        }
    }

    fn networks(&self, key: &str) -> Vec<IpNet> {
        let values = match self.given(key) {
            [] => vec![self.value(key)],
            given => given.iter().map(|given| given.value.clone()).collect(),
        };
        let of_one = |value| match value {
            Value::Networks(networks) => networks,
            other => unreachable!("{key} is no network: {other:?}"),
        };
        values.into_iter().flat_map(of_one).collect()
    }
}
