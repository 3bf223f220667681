//! Connections whose caller is not known yet: all that somebody without a certificate of a live grant can use up.
//!
//! ```text
//!  accepted ─► a place, or that of the one that is dropped ─► handshake, live grant ─► the place is free again
//! ```
//! When all places are taken, a new connection takes the place of the oldest one of the address that has the most. On a
//! bastion everybody comes from loopback, so a limit for each address would let one member keep out all others. The oldest
//! of one address is no loss there: a handshake takes milliseconds, so whoever has waited longest is the least likely to
//! come to an end, and to push others out somebody has to open all places anew within the time of one handshake.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

/// The places for such connections.
pub(crate) struct Newcomers {
    places: usize,
    waiting: Mutex<Waiting>,
}

#[derive(Default)]
struct Waiting {
    next: u64,
    /// In the order in which they came.
    all: BTreeMap<u64, (IpAddr, CancellationToken)>,
}

/// A place, which is free again when this is dropped.
pub(crate) struct Newcomer {
    number: u64,
    lost: CancellationToken,
    of: Arc<Newcomers>,
}

impl Newcomers {
    /// So many places.
    pub(crate) fn new(places: usize) -> Arc<Self> {
        Arc::new(Self { places, waiting: Mutex::default() })
    }

    /// Takes a place, from another connection if there is no free one.
    pub(crate) fn enter(self: &Arc<Self>, peer: IpAddr) -> Newcomer {
        let (mut waiting, lost) = (self.waiting.lock(), CancellationToken::new());
        while waiting.all.len() >= self.places
            && let Some(oldest) = waiting.oldest_of_most()
            && let Some((_, lost)) = waiting.all.remove(&oldest)
        {
            lost.cancel();
        }
        let number = waiting.next;
        waiting.next += 1;
        waiting.all.insert(number, (network(peer), lost.clone()));
        Newcomer { number, lost, of: Arc::clone(self) }
    }
}

impl Waiting {
    fn oldest_of_most(&self) -> Option<u64> {
        let mut counts = HashMap::<IpAddr, usize>::new();
        for (address, _) in self.all.values() {
            *counts.entry(*address).or_default() += 1;
        }
        let most = counts.values().max().copied();
        let mut oldest = self.all.iter().filter(|(_, (address, _))| counts.get(address).copied() == most);
        oldest.next().map(|(number, _)| *number)
    }
}

impl Newcomer {
    /// Until another connection takes the place.
    pub(crate) async fn lost(&self) {
        self.lost.cancelled().await;
    }
}

impl Drop for Newcomer {
    fn drop(&mut self) {
        self.of.waiting.lock().all.remove(&self.number);
    }
}

/// What one host has: an address of IPv4, or the 64 bits before its own of IPv6 (RFC 4291, section 2.5.4).
fn network(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)).into(),
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn the_oldest_of_the_address_that_has_most_gives_way() {
        let places = Newcomers::new(4);
        let one = places.enter(address("192.0.2.1"));
        let many: Vec<_> = (0..3).map(|_| places.enter(address("192.0.2.2"))).collect();
        let lost = |all: &[Newcomer]| all.iter().map(|one| one.lost.is_cancelled()).collect::<Vec<_>>();
        let another = places.enter(address("192.0.2.1"));
        assert_eq!(lost(&many), [true, false, false]);
        assert_eq!(lost(&[one, another]), [false, false]);
    }

    #[test]
    fn a_place_is_free_again_when_its_connection_is_known() {
        let places = Newcomers::new(2);
        let (one, two) = (places.enter(address("127.0.0.1")), places.enter(address("127.0.0.1")));
        drop(one);
        let three = places.enter(address("127.0.0.1"));
        assert!(!two.lost.is_cancelled());
        let four = places.enter(address("127.0.0.1"));
        assert!(two.lost.is_cancelled() && !three.lost.is_cancelled() && !four.lost.is_cancelled());
    }

    #[test]
    fn a_host_is_one_address_however_many_it_has() {
        assert_eq!(network(address("2001:db8::1")), network(address("2001:db8::ffff:1")));
        assert_ne!(network(address("2001:db8::1")), network(address("2001:db8:0:1::1")));
        assert_eq!(network(address("::ffff:192.0.2.1")), address("192.0.2.1"));
    }
}
