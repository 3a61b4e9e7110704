//! What the relay counts. docs/metrics.md has a line for each; a test compares the two.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::{Registry, Unit},
};

use crate::{cursor::Reason, error::Kind};

/// Why messages left without being delivered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Loss {
    /// Their time was up.
    Expired,
    /// Somebody removed them.
    Purged,
    /// They made room for newer ones.
    Overflow,
}

impl Loss {
    const fn label(self) -> &'static str {
        match self {
            Loss::Expired => "expired",
            Loss::Purged => "purged",
            Loss::Overflow => "overflow",
        }
    }
}

/// Label of messages that left undelivered.
#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
pub struct LossLabel {
    reason: &'static str,
}

/// Label of gaps.
#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
pub struct GapLabel {
    reason: &'static str,
}

/// Label of refusals.
#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
pub struct KindLabel {
    kind: &'static str,
}

/// Label of requests.
#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
pub struct RequestLabel {
    door: &'static str,
    verb: &'static str,
}

/// Requests that are asked most: their counters are at hand.
const USUAL: [(&str, &str); 3] = [("x0", "get"), ("x0", "set"), ("http", "options")];

/// One of what a gauge counts, until it is dropped.
#[derive(Debug)]
pub struct Counted(Gauge);

impl Counted {
    /// Counts one more.
    pub fn new(gauge: &Gauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// What the journal has done since the start; all 0 without one.
#[derive(Clone, Copy, Debug, Default)]
pub struct JournalLevels {
    /// Commits that reached the disk.
    pub commits: u64,
    /// Time spent in them, in microseconds.
    pub commit_us: u64,
    /// Commits that failed.
    pub failures: u64,
    /// Length of the file in bytes.
    pub file_bytes: u64,
}

/// Figures that are read off when somebody asks.
#[derive(Clone, Copy, Debug, Default)]
pub struct Levels {
    /// Mailboxes, empty ones too.
    pub mailboxes: usize,
    /// Messages waiting.
    pub messages: usize,
    /// Bytes waiting.
    pub bytes: usize,
    /// Idempotency keys remembered.
    pub keys: usize,
    /// What the journal has done.
    pub journal: JournalLevels,
    /// Since the start.
    pub uptime: std::time::Duration,
}

/// Everything that is counted.
#[derive(Debug)]
#[allow(missing_docs, reason = "the registry's help texts below say what each counts")]
pub struct Metrics {
    registry: Registry,
    pub accepted: Counter,
    pub duplicates: Counter,
    pub settled: Counter,
    pub returned: Counter,
    lost: Family<LossLabel, Counter>,
    gaps: Family<GapLabel, Counter>,
    pub superseded: Counter,
    pub repeats: Counter,
    pub keys_early: Counter,
    pub unfit: Counter,
    requests: Family<RequestLabel, Counter>,
    usual: [(&'static str, &'static str, Counter); 3],
    errors: Family<KindLabel, Counter>,
    pub delivery: Histogram,
    pub receivers: Gauge,
    pub connections: Gauge,
    pub connections_total: Counter,
    pub control_connections: Gauge,
    pub displaced: Counter,
    pub turned_away: Counter,
    pub paced: Counter,
    pub deferred: Counter,
    pub reloads: Counter,
    pub reload_failures: Counter,
    pub settings_faulty: Gauge,
    mailboxes: Gauge,
    messages: Gauge,
    bytes: Gauge,
    keys: Gauge,
    journal_commits: Counter,
    journal_commit_time: Counter<f64, AtomicU64>,
    journal_failures: Counter,
    journal_file: Gauge,
    uptime: Gauge<f64, AtomicU64>,
}

impl Default for Metrics {
    fn default() -> Self {
        let requests = Family::<RequestLabel, Counter>::default();
        let mut metrics = Self {
            registry: Registry::with_prefix("x0_relay"),
            accepted: Counter::default(),
            duplicates: Counter::default(),
            settled: Counter::default(),
            returned: Counter::default(),
            lost: Family::default(),
            gaps: Family::default(),
            superseded: Counter::default(),
            repeats: Counter::default(),
            keys_early: Counter::default(),
            unfit: Counter::default(),
            usual: USUAL.map(|(door, verb)| (door, verb, requests.get_or_create(&RequestLabel { door, verb }).clone())),
            requests,
            errors: Family::default(),
            delivery: Histogram::new(exponential_buckets(0.000_25, 4.0, 12)),
            receivers: Gauge::default(),
            connections: Gauge::default(),
            connections_total: Counter::default(),
            control_connections: Gauge::default(),
            displaced: Counter::default(),
            turned_away: Counter::default(),
            paced: Counter::default(),
            deferred: Counter::default(),
            reloads: Counter::default(),
            reload_failures: Counter::default(),
            settings_faulty: Gauge::default(),
            mailboxes: Gauge::default(),
            messages: Gauge::default(),
            bytes: Gauge::default(),
            keys: Gauge::default(),
            journal_commits: Counter::default(),
            journal_commit_time: Counter::default(),
            journal_failures: Counter::default(),
            journal_file: Gauge::default(),
            uptime: Gauge::default(),
        };
        metrics.register();
        // So that a rate can be taken from the start.
        for reason in [Loss::Expired, Loss::Purged, Loss::Overflow] {
            drop(metrics.lost.get_or_create(&LossLabel { reason: reason.label() }));
        }
        for reason in Reason::ALL {
            drop(metrics.gaps.get_or_create(&GapLabel { reason: reason.name() }));
        }
        metrics
    }
}

impl Metrics {
    fn register(&mut self) {
        let r = &mut self.registry;
        r.register("messages_accepted", "Messages put into a mailbox", self.accepted.clone());
        r.register("messages_duplicate", "Sends that were accepted before, by their key", self.duplicates.clone());
        r.register("messages_settled", "Messages that their receiver has", self.settled.clone());
        r.register(
            "messages_returned",
            "Messages back in their mailbox because a delivery failed",
            self.returned.clone(),
        );
        r.register("messages_lost", "Messages that left undelivered, by reason", self.lost.clone());
        r.register("gaps", "Gaps told to receivers, by reason", self.gaps.clone());
        r.register("receivers_superseded", "Receivers sent away by a newer one", self.superseded.clone());
        r.register("repeats_held_back", "Answers held back because the client had them before", self.repeats.clone());
        r.register("keys_forgotten_early", "Idempotency keys that made room for newer ones", self.keys_early.clone());
        r.register(
            "messages_unfit",
            "Times that a message alone exceeded what x0's front can read",
            self.unfit.clone(),
        );
        r.register("requests", "Requests understood, by door and verb", self.requests.clone());
        r.register("errors", "Requests refused, by kind", self.errors.clone());
        r.register_with_unit(
            "delivery",
            "From acceptance of a message until it is handed to a receiver",
            Unit::Seconds,
            self.delivery.clone(),
        );
        r.register("receivers_waiting", "Receivers waiting for mail", self.receivers.clone());
        r.register("http_connections", "Open HTTP connections", self.connections.clone());
        r.register("http_connections_accepted", "HTTP connections accepted", self.connections_total.clone());
        r.register("control_connections", "Open connections on the control socket", self.control_connections.clone());
        r.register("connections_displaced", "Idle HTTP connections that made room", self.displaced.clone());
        r.register(
            "connections_turned_away",
            "Connections of addresses that have too many, or come too often",
            self.turned_away.clone(),
        );
        r.register("requests_paced", "Requests at x0's addresses that waited for their turn", self.paced.clone());
        r.register(
            "receivers_deferred",
            "Receivers that came all at once, and were let in later",
            self.deferred.clone(),
        );
        r.register("reloads", "Times that the settings were taken anew", self.reloads.clone());
        r.register(
            "reload_failures",
            "Times that the settings were faulty, and the old ones stayed",
            self.reload_failures.clone(),
        );
        r.register(
            "settings_faulty",
            "1 while the sources say what is not in force because it is faulty",
            self.settings_faulty.clone(),
        );
        r.register("mailboxes", "Mailboxes, empty ones too", self.mailboxes.clone());
        r.register("messages_waiting", "Messages in all mailboxes", self.messages.clone());
        r.register_with_unit("waiting", "Memory charged for all mailboxes", Unit::Bytes, self.bytes.clone());
        r.register("keys", "Idempotency keys remembered", self.keys.clone());
        r.register("journal_commits", "Commits of the journal that reached the disk", self.journal_commits.clone());
        r.register_with_unit(
            "journal_commit",
            "Time spent in commits of the journal",
            Unit::Seconds,
            self.journal_commit_time.clone(),
        );
        r.register("journal_failures", "Commits of the journal that failed", self.journal_failures.clone());
        r.register_with_unit("journal_file", "Length of the journal's file", Unit::Bytes, self.journal_file.clone());
        r.register_with_unit("uptime", "Since the relay started", Unit::Seconds, self.uptime.clone());
    }

    /// Counts messages that left undelivered.
    pub fn lose(&self, reason: Loss, messages: usize) {
        if messages > 0 {
            self.lost.get_or_create(&LossLabel { reason: reason.label() }).inc_by(messages as u64);
        }
    }

    /// Counts a gap that is told.
    pub fn gap(&self, reason: Reason) {
        self.gaps.get_or_create(&GapLabel { reason: reason.name() }).inc();
    }

    /// Counts a request.
    pub fn request(&self, door: &'static str, verb: &'static str) {
        match self.usual.iter().find(|usual| (usual.0, usual.1) == (door, verb)) {
            Some((_, _, counter)) => counter.inc(),
            None => self.requests.get_or_create(&RequestLabel { door, verb }).inc(),
        };
    }

    /// Counts a refusal.
    pub fn error(&self, kind: Kind) {
        self.errors.get_or_create(&KindLabel { kind: kind.label() }).inc();
    }

    /// All figures in the OpenMetrics 1.0 text format.
    ///
    /// # Errors
    /// Only if memory for the text cannot be had.
    pub fn text(&self, levels: Levels) -> Result<String, std::fmt::Error> {
        self.mailboxes.set(levels.mailboxes as i64);
        self.messages.set(levels.messages as i64);
        self.bytes.set(levels.bytes as i64);
        self.keys.set(levels.keys as i64);
        let JournalLevels { commits, commit_us, failures, file_bytes } = levels.journal;
        self.journal_commits.inner().store(commits, Relaxed);
        self.journal_failures.inner().store(failures, Relaxed);
        self.journal_commit_time.inner().store((commit_us as f64 / 1e6).to_bits(), Relaxed);
        self.journal_file.set(file_bytes as i64);
        self.uptime.set(levels.uptime.as_secs_f64());
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }
}
