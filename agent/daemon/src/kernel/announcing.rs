//! Tells the network where virtual addresses are: at once when one appears, again soon after, and anew when a link
//! comes back, since behind it may be another switch.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

use bascule_core::desired::{AddressKey, AddressKind};
use bascule_core::net::IfName;
use bascule_core::time::Instant;

use super::repeats::Repeats;
use crate::link::announce::Announcer;
use crate::link::picture::Picture;
use crate::sys::monotonic;

/// The addresses that are wanted, by their keys.
type Wanted = HashMap<AddressKey, AddressKind>;

/// What was announced and what is to be repeated.
pub struct Announcing {
    announcer: Announcer,
    repeats: Repeats,
    /// Virtual addresses that were announced since they became wanted.
    announced: HashSet<AddressKey>,
}

impl Announcing {
    pub fn new(announcer: Announcer) -> Self {
        Self { announcer, repeats: Repeats::default(), announced: HashSet::new() }
    }

    /// Other addresses are wanted: what comes back later is announced anew.
    pub fn want(&mut self, wanted: &Wanted) {
        self.announced.retain(|key| wanted.get(key).is_some_and(|kind| kind.is_announced()));
    }

    /// The links of these interfaces came back.
    pub fn came_up(&mut self, came_up: impl Fn(&IfName) -> bool) {
        self.announced.retain(|key| !came_up(&key.interface));
    }

    /// An address has just been added.
    pub fn first(&mut self, key: &AddressKey, wanted: &Wanted, picture: &Picture) {
        self.announced.insert(key.clone());
        self.announce(&key.interface, key.prefix.address(), wanted, picture);
        self.repeats.begin(monotonic(), &key.interface, key.prefix.address());
    }

    /// Virtual addresses that became wanted and were in the kernel already: an agent before this one may have died
    /// between adding and announcing.
    pub fn what_was_there(&mut self, present: HashSet<AddressKey>, wanted: &Wanted, picture: &Picture) {
        let silent: Vec<AddressKey> = present
            .into_iter()
            .filter(|key| wanted.get(key).is_some_and(|kind| kind.is_announced()))
            .filter(|key| !self.announced.contains(key))
            .filter(|key| picture.interfaces.get(&key.interface).is_some_and(|i| i.running))
            .collect();
        for key in silent {
            self.first(&key, wanted, picture);
        }
    }

    /// When the next repetition is due.
    pub fn next(&self) -> Option<Instant> {
        self.repeats.next()
    }

    /// Repeats what is due.
    pub fn repeat(&mut self, wanted: &Wanted, picture: &Picture) {
        for (interface, address) in self.repeats.take(monotonic()) {
            self.announce(&interface, address, wanted, picture);
        }
    }

    /// Announces an address, unless it is no longer wanted here.
    pub fn announce(&self, interface: &IfName, address: IpAddr, wanted: &Wanted, picture: &Picture) {
        let holds = wanted.iter().any(|(key, kind)| {
            kind.is_announced() && key.interface == *interface && key.prefix.address() == address
        });
        if let Some(found) = picture.interfaces.get(interface).filter(|_| holds) {
            // A link that is down announces when it comes up; other failures are repeated soon.
            let _ = self.announcer.announce(interface, found.index, found.mac, address);
        }
    }
}
