//! How many connections there may be: in total, and of one address. One over the limit is refused at once.
//!
//! Unlike on the gateway, a newcomer does not take the place of another connection: who waits here may be a person whose
//! request waits for an approval.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use parking_lot::Mutex;

/// The places.
pub struct Places {
    most: usize,
    per_address: usize,
    open: Mutex<(usize, HashMap<IpAddr, usize>)>,
}

/// The place of one connection, which is free again when this is dropped.
pub struct Place {
    address: IpAddr,
    of: Arc<Places>,
}

impl Places {
    /// So many places in total, and for one address.
    #[must_use]
    pub fn new(most: usize, per_address: usize) -> Arc<Self> {
        Arc::new(Self { most, per_address, open: Mutex::default() })
    }

    /// A place, if there is one.
    #[must_use]
    pub fn enter(self: &Arc<Self>, peer: IpAddr) -> Option<Place> {
        let address = network(peer);
        let mut open = self.open.lock();
        let (all, addresses) = &mut *open;
        let own = addresses.get(&address).copied().unwrap_or(0);
        if *all >= self.most || own >= self.per_address {
            return None;
        }
        *all += 1;
        addresses.insert(address, own + 1);
        drop(open);
        Some(Place { address, of: Arc::clone(self) })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.of.open.lock();
        open.0 = open.0.saturating_sub(1);
        match open.1.get_mut(&self.address) {
            Some(own) if *own > 1 => *own -= 1,
            _ => _ = open.1.remove(&self.address),
        }
    }
}

/// What one host has: an address of IPv4, or the 64 bits before its own of IPv6 (RFC 4291, section 2.5.4).
#[must_use]
pub fn network(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)).into(),
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_limited_in_total_and_for_one_address() {
        let places = Places::new(3, 2);
        let enter = |address: &str| places.enter(address.parse().unwrap());
        let (one, _two) = (enter("2001:db8::1").unwrap(), enter("2001:db8::2").unwrap());
        assert!(enter("2001:db8::3").is_none(), "one host has many addresses");
        let _three = enter("192.0.2.1").unwrap();
        assert!(enter("192.0.2.2").is_none(), "all are taken");
        drop(one);
        assert!(enter("::ffff:192.0.2.1").is_some(), "a place is free again");
    }
}
