//! How often something may happen, in words: `50/s, burst 100` or `200 per day; 50 per hour`. Pure.

use std::{fmt, str::FromStr, time::Duration};

/// The most quotas that one rule has.
pub const QUOTAS_MAX: usize = 3;
/// The longest rule, in bytes.
const RULE_BYTES_MAX: usize = 200;
/// The longest period, and the longest time in which a whole burst is earned again.
const PERIOD_MAX: Duration = Duration::from_secs(366 * 24 * 3600);
/// The most at once.
const COUNT_MAX: u32 = 1_000_000_000;

/// So many in such a time, evenly, and so many at once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Quota {
    /// How many, at least 1.
    pub count: u32,
    /// In which time; at least a nanosecond for each.
    pub per: Duration,
    /// How many at once, if none has happened for long; at least 1.
    pub burst: u32,
}

/// All quotas that something has to keep; none if it may happen as often as it likes.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Rule(Vec<Quota>);

impl Rule {
    /// No limit.
    pub const NONE: Self = Self(Vec::new());

    /// The quotas, at most [`QUOTAS_MAX`].
    pub fn quotas(&self) -> &[Quota] {
        &self.0
    }

    /// Whether there is no limit.
    pub fn is_none(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromStr for Rule {
    type Err = String;

    /// # Errors
    /// What is wrong, for people.
    fn from_str(text: &str) -> Result<Self, String> {
        if text.trim() == "none" {
            return Ok(Self::NONE);
        }
        if text.len() > RULE_BYTES_MAX {
            return Err(format!("longer than {RULE_BYTES_MAX} bytes"));
        }
        let quotas: Vec<Quota> = text.split(';').map(quota).collect::<Result<_, _>>()?;
        if quotas.len() > QUOTAS_MAX {
            return Err(format!("{} quotas, and {QUOTAS_MAX} are allowed", quotas.len()));
        }
        Ok(Self(quotas))
    }
}

fn quota(text: &str) -> Result<Quota, String> {
    let text = text.trim();
    let (rate, burst) = match text.split_once(',') {
        Some((rate, burst)) => (rate, Some(burst.trim())),
        None => (text, None),
    };
    let (count, per) = rate.split_once('/').or_else(|| rate.split_once(" per ")).ok_or("no rate such as \"50/s\"")?;
    let count = number(count)?;
    let per = period(per)?;
    let burst = match burst {
        None => count,
        Some(burst) => {
            number(burst.strip_prefix("burst").ok_or("after a comma, \"burst\" and a number are expected")?)?
        }
    };
    let each = per / count;
    if each.is_zero() {
        return Err("more often than once in a nanosecond".to_owned());
    }
    if each.checked_mul(burst).is_none_or(|whole| whole > PERIOD_MAX) {
        return Err("a burst that is not earned again within a year".to_owned());
    }
    Ok(Quota { count, per, burst })
}

fn number(text: &str) -> Result<u32, String> {
    let text = text.trim();
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    match text.parse() {
        Ok(number) if digits && (1..=COUNT_MAX).contains(&number) => Ok(number),
        _ if digits => Err(format!("a number beyond 1 to {COUNT_MAX}")),
        _ => Err("a whole number is missing".to_owned()),
    }
}

/// `s`, `minute`, `5 min`, `10s`.
fn period(text: &str) -> Result<Duration, String> {
    let text = text.trim();
    let unit_at = text.find(|c: char| !c.is_ascii_digit()).ok_or("no unit of time; s, min, h or day is expected")?;
    let (times, unit) = text.split_at(unit_at);
    let times = if times.is_empty() { 1 } else { number(times)? };
    let seconds = match unit.trim() {
        "s" | "sec" | "second" | "seconds" => 1,
        "m" | "min" | "minute" | "minutes" => 60,
        "h" | "hour" | "hours" => 3_600,
        "d" | "day" | "days" => 86_400,
        _ => return Err("no such unit of time; s, min, h or day is expected".to_owned()),
    };
    match Duration::from_secs(seconds).checked_mul(times) {
        Some(period) if period <= PERIOD_MAX => Ok(period),
        _ => Err("a period of more than a year".to_owned()),
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_none() {
            return f.write_str("none");
        }
        for (index, quota) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { "; " };
            write!(f, "{separator}{quota}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Quota {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { count, per, burst } = self;
        match per.as_secs() {
            1 => write!(f, "{count} per second")?,
            60 => write!(f, "{count} per minute")?,
            3_600 => write!(f, "{count} per hour")?,
            86_400 => write!(f, "{count} per day")?,
            seconds => write!(f, "{count} per {seconds} s")?,
        }
        if burst == count { Ok(()) } else { write!(f, ", burst {burst}") }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rule(text: &str) -> Result<Vec<(u32, u64, u32)>, String> {
        let rule: Rule = text.parse()?;
        Ok(rule.quotas().iter().map(|quota| (quota.count, quota.per.as_secs(), quota.burst)).collect())
    }

    #[test]
    fn rules_are_read_as_people_write_them() {
        for (text, quotas) in [
            ("none", vec![]),
            ("50/s, burst 100", vec![(50, 1, 100)]),
            ("50/s,burst 100", vec![(50, 1, 100)]),
            ("50 per second", vec![(50, 1, 50)]),
            ("200 per day; 50 per hour", vec![(200, 86_400, 200), (50, 3_600, 50)]),
            ("10/5min", vec![(10, 300, 10)]),
            ("10 per 5 minutes, burst 1", vec![(10, 300, 1)]),
            (" 1 / h ", vec![(1, 3_600, 1)]),
        ] {
            assert_eq!(rule(text).as_deref(), Ok(&quotas[..]), "{text}");
        }
    }

    #[test]
    fn what_is_no_rule_says_why() {
        for (text, why) in [
            ("", "no rate"),
            ("50", "no rate"),
            ("none; 1/s", "no rate"),
            ("/s", "a whole number is missing"),
            ("-1/s", "a whole number is missing"),
            ("1.5/s", "a whole number is missing"),
            ("0/s", "beyond 1 to"),
            ("99999999999999999999/s", "beyond 1 to"),
            ("1/", "no unit"),
            ("1/5", "no unit"),
            ("1/fortnight", "no such unit"),
            ("1/400days", "more than a year"),
            ("1/s, 5", "\"burst\""),
            ("1/s, burst", "a whole number is missing"),
            ("1/s;", "no rate"),
            ("1 per day, burst 1000000", "within a year"),
            ("1/s;1/s;1/s;1/s", "4 quotas"),
        ] {
            let told = rule(text).expect_err(text);
            assert!(told.contains(why), "{text}: {told}");
        }
        assert!(rule(&"1/s;".repeat(100)).expect_err("long").contains("longer"));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(quotas in proptest::collection::vec((1..10_000u32, 1..100_000u64, 1..1_000u32), 1..=3)) {
            let quotas = quotas.into_iter().map(|(count, per, burst)| Quota { count, per: Duration::from_secs(per), burst });
            let rule = Rule(quotas.filter(|q| (q.per / q.count) * q.burst < PERIOD_MAX).collect());
            prop_assert_eq!(rule.to_string().parse::<Rule>(), Ok(rule));
        }

        #[test]
        fn no_text_panics(text in "[0-9a-z/;, ]{0,40}|\\PC{0,40}") {
            if let Ok(rule) = text.parse::<Rule>() {
                prop_assert_eq!(rule.to_string().parse::<Rule>(), Ok(rule));
            }
        }
    }
}
