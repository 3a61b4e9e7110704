//! `rate`: a rule is what a plain reading of it says, or is refused; what is written of it is read as the same.

use std::time::Duration;

use x0_relay::rate::{QUOTAS_MAX, Rule};

/// Checks one rule.
pub fn check(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else { return false };
    let rule = match text.parse::<Rule>() {
        Ok(rule) => rule,
        Err(why) => {
            assert!(!why.is_empty() && !why.contains(char::is_control), "{why:?}");
            return false;
        }
    };
    let quotas = rule.quotas();
    assert_eq!(rule.is_none(), text.trim() == "none", "{text:?}");
    assert!(quotas.len() <= QUOTAS_MAX && (rule.is_none() || quotas.len() == text.split(';').count()), "{text:?}");
    for quota in quotas {
        let each = quota.per / quota.count;
        assert!(!each.is_zero() && quota.burst > 0, "{quota:?}");
        // What the arithmetic of buckets is fed with has to stay far from its end.
        assert!(
            each.checked_mul(quota.burst).is_some_and(|whole| whole <= Duration::from_secs(366 * 86_400)),
            "{quota:?}"
        );
    }
    assert_eq!(rule.to_string().parse::<Rule>().as_ref(), Ok(&rule), "{rule}");
    true
}
