//! Who is connected, by address: so that one address takes no other's place, and the one that has most makes room first.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
};

use parking_lot::Mutex;
use tokio::{sync::Notify, time::Instant};

use crate::gate::limits::network;

/// All connections.
#[derive(Debug)]
pub struct Guests {
    start: Instant,
    by_address: Mutex<HashMap<IpAddr, HashMap<u64, Arc<Guest>>>>,
    /// Rung when room is wanted and nobody is idle: the next that is has to leave.
    wanted: Notify,
}

/// One connection.
#[derive(Debug, Default)]
pub struct Guest {
    /// Since when it waits for a request, in milliseconds; 0 while it has one, or is on its way out.
    idle_since: AtomicU64,
    /// Whether a receiver on it was let in.
    entered: AtomicBool,
    leave: Notify,
}

/// A connection's place, until it is dropped.
#[derive(Debug)]
pub struct Stay {
    guests: Arc<Guests>,
    address: IpAddr,
    number: u64,
    guest: Arc<Guest>,
}

/// Something is being asked on the connection no longer; until this is dropped.
pub struct Idle<'a>(&'a Stay);

/// An address has as many connections as it may, and none is idle.
#[derive(Debug, PartialEq, Eq)]
pub struct Full;

impl Default for Guests {
    fn default() -> Self {
        Self { start: Instant::now(), by_address: Mutex::default(), wanted: Notify::new() }
    }
}

impl Guests {
    /// A place for a new connection. If its address has `most` of them, the idlest of these goes.
    ///
    /// # Errors
    /// None of them is idle.
    pub fn arrive(self: &Arc<Self>, peer: IpAddr, number: u64, most: Option<usize>) -> Result<Stay, Full> {
        let address = network(peer);
        let guest = Arc::new(Guest::default());
        let mut by_address = self.by_address.lock();
        let others = by_address.entry(address).or_default();
        if most.is_some_and(|most| others.len() >= most) && !displace(others) {
            return Err(Full);
        }
        others.insert(number, Arc::clone(&guest));
        Ok(Stay { guests: Arc::clone(self), address, number, guest })
    }

    /// Of the addresses that have an idle connection, the one that has most connections lets its idlest go.
    pub fn make_room(&self) {
        let by_address = self.by_address.lock();
        let mut addresses: Vec<_> = by_address.values().collect();
        addresses.sort_unstable_by_key(|connections| std::cmp::Reverse(connections.len()));
        if !addresses.into_iter().any(displace) {
            self.wanted.notify_one();
        }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX).saturating_add(1)
    }
}

/// Sends the idlest away, if one is idle.
fn displace(connections: &HashMap<u64, Arc<Guest>>) -> bool {
    let idle = connections.values().filter_map(|guest| match guest.idle_since.load(Relaxed) {
        0 => None,
        since => Some((since, guest)),
    });
    let Some((_, idlest)) = idle.min_by_key(|(since, _)| *since) else { return false };
    idlest.idle_since.store(0, Relaxed);
    idlest.leave.notify_one();
    true
}

impl Guest {
    /// Whether a receiver on this connection was let in.
    pub fn has_entered(&self) -> bool {
        self.entered.load(Relaxed)
    }

    /// A receiver on this connection is let in.
    pub fn let_in(&self) {
        self.entered.store(true, Relaxed);
    }
}

impl Stay {
    /// Who stays.
    pub fn guest(&self) -> Arc<Guest> {
        Arc::clone(&self.guest)
    }

    /// From now on nothing is asked on it.
    pub fn idle(&self) -> Idle<'_> {
        self.guest.idle_since.store(self.guests.now(), Relaxed);
        Idle(self)
    }

    /// Waits until the connection, which is idle, has to make room. May be dropped.
    pub async fn has_to_leave(&self) {
        tokio::select! {
            () = self.guest.leave.notified() => {}
            () = self.guests.wanted.notified() => {}
        }
    }
}

impl Drop for Idle<'_> {
    fn drop(&mut self) {
        self.0.guest.idle_since.store(0, Relaxed);
    }
}

impl Drop for Stay {
    fn drop(&mut self) {
        let mut by_address = self.guests.by_address.lock();
        if let Some(others) = by_address.get_mut(&self.address) {
            others.remove(&self.number);
            if others.is_empty() {
                by_address.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::{advance, timeout};

    use super::*;

    fn at(address: &str) -> IpAddr {
        address.parse().expect("an address")
    }

    async fn leaves(stay: &Stay) -> bool {
        timeout(Duration::ZERO, stay.has_to_leave()).await.is_ok()
    }

    #[tokio::test(start_paused = true)]
    async fn one_more_of_an_address_takes_the_place_of_its_own_idlest() {
        let guests = Arc::new(Guests::default());
        let stay = |address, number| guests.arrive(at(address), number, Some(2));
        let other = stay("192.0.2.9", 1).expect("room");
        let _older_still = other.idle();
        advance(Duration::from_secs(1)).await;
        let (first, second) = (stay("192.0.2.1", 2).expect("room"), stay("192.0.2.1", 3).expect("room"));
        assert_eq!(stay("192.0.2.1", 4).map(drop), Err(Full), "both are at work");
        let idle_first = first.idle();
        advance(Duration::from_secs(1)).await;
        let _second = second.idle();
        let third = stay("192.0.2.1", 4).expect("the idlest goes");
        assert!(leaves(&first).await && !leaves(&second).await && !leaves(&other).await);
        drop((third, idle_first));
        drop(first);
        assert!(guests.by_address.lock()[&at("192.0.2.1")].len() == 1);
    }

    #[tokio::test(start_paused = true)]
    async fn the_address_that_has_most_makes_room_first() {
        let guests = Arc::new(Guests::default());
        let single = guests.arrive(at("2001:db8::1"), 1, None).expect("room");
        let idle = single.idle();
        advance(Duration::from_secs(60)).await;
        let many: Vec<Stay> = (2..5)
            .map(|number| guests.arrive(at(&format!("2001:db8:0:1::{number}")), number, None).expect("room"))
            .collect();
        guests.make_room();
        assert!(leaves(&single).await, "nobody else is idle");
        drop(idle);
        let idle = single.idle();
        let idle_too: Vec<Idle<'_>> = many.iter().map(Stay::idle).collect();
        guests.make_room();
        assert!(!leaves(&single).await);
        drop(idle_too);
        drop(many);
        drop(idle);
        drop(single);
        assert!(guests.by_address.lock().is_empty());
    }
}
