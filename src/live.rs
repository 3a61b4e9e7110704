//! What changes while the relay runs: values that are exchanged whole, so that whoever looks sees the old one or the new
//! one, never half of each.

use std::{ops::Deref, sync::Arc};

use tokio::sync::watch;

use crate::message::UnixMs;

/// A value that may be exchanged. Cheap to clone; all clones are the same value.
#[derive(Debug)]
pub struct Live<T>(Arc<watch::Sender<Arc<T>>>);

impl<T> Clone for Live<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T: Default> Default for Live<T> {
    fn default() -> Self {
        Self::new(T::default())
    }
}

impl<T> Live<T> {
    /// Begins with this.
    pub fn new(value: T) -> Self {
        Self(Arc::new(watch::Sender::new(Arc::new(value))))
    }

    /// The value as it is now. Whoever keeps it keeps this one.
    pub fn now(&self) -> Arc<T> {
        Arc::clone(&self.0.borrow())
    }

    /// A look at the value as it is now, cheaper than [`Live::now`]. Not to be kept: whoever exchanges it waits meanwhile.
    pub fn look(&self) -> impl Deref<Target = Arc<T>> + '_ {
        self.0.borrow()
    }

    /// Exchanges the value, and wakes whoever waits for that.
    pub fn set(&self, value: T) {
        self.0.send_replace(Arc::new(value));
    }

    /// To wait for changes after this call.
    pub fn changes(&self) -> watch::Receiver<Arc<T>> {
        self.0.subscribe()
    }
}

/// What became of the settings since the start.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Report {
    /// How often they were taken anew.
    pub taken: u64,
    /// How often they were faulty, and the old ones stayed.
    pub refused: u64,
    /// When they were last read; nothing if they are those of the start.
    pub at: Option<UnixMs>,
    /// What is wrong with what the sources say now; empty if it is in force.
    pub faults: Vec<String>,
    /// Settings that were changed and count from the next start only.
    pub at_restart: Vec<&'static str>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_looks_sees_one_whole_value_and_who_waits_is_woken() {
        let live = Live::new((1, 1));
        let before = live.now();
        let mut changes = live.clone().changes();
        live.set((2, 2));
        assert_eq!((*before, *live.now()), ((1, 1), (2, 2)));
        changes.changed().await.expect("the value lives");
        assert_eq!(**changes.borrow_and_update(), (2, 2));
    }
}
