//! What crosses between the real-time thread and the others: levels in slots, and one bounded queue.
//!
//! The real-time thread never waits for a lock: when a slot is busy (another thread is in the few instructions
//! that exchange its content) it comes back a millisecond later.

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};

use bascule_core::net::{Family, IfName};
use bascule_core::notice::Notice;
use bascule_core::router::{Change, Link, Roles};
use bascule_core::vrrp::Settings;
use nix::sys::eventfd::{EfdFlags, EventFd};

use crate::link::socket::VrrpSocket;

/// The sockets by interface and family. Shared, so that only the thread that opened one closes it: joining and
/// leaving groups waits for the kernel's lock of all network configuration.
pub type Sockets = BTreeMap<(IfName, Family), Arc<VrrpSocket>>;

/// Tellings that wait for a slow reader before they are dropped and counted.
const QUEUE: usize = 4_096;

/// Locks, whatever a panicking thread left: every slot holds whole values.
fn lock<T>(slot: &Mutex<T>) -> MutexGuard<'_, T> {
    slot.lock().unwrap_or_else(PoisonError::into_inner)
}

fn try_lock<T>(slot: &Mutex<T>) -> Option<MutexGuard<'_, T>> {
    match slot.try_lock() {
        Ok(guard) => Some(guard),
        Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
        Err(TryLockError::WouldBlock) => None,
    }
}

/// The latest inputs that the real-time thread has not taken yet.
#[derive(Debug, Default)]
pub struct Inputs {
    /// The whole set of sockets.
    pub sockets: Option<Sockets>,
    /// Interfaces whose state changed.
    pub links: BTreeMap<IfName, Option<Link>>,
    /// The whole set of virtual routers.
    pub settings: Option<Vec<Settings>>,
    /// Leave.
    pub shutdown: bool,
}

/// Inputs to the real-time thread.
#[derive(Debug)]
pub struct Inbox {
    slot: Mutex<Inputs>,
    /// Readable when there is something to take.
    pub wake: EventFd,
}

impl Inbox {
    /// An empty one.
    ///
    /// # Errors
    /// When the process has no file descriptor left.
    pub fn new() -> io::Result<Self> {
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        Ok(Self { slot: Mutex::default(), wake: EventFd::from_flags(flags)? })
    }

    /// Changes the inputs and wakes the real-time thread.
    pub fn put(&self, change: impl FnOnce(&mut Inputs)) {
        change(&mut lock(&self.slot));
        // A full counter is readable, which is all that is wanted.
        let _ = self.wake.write(1);
    }

    /// Takes the inputs; `None` when another thread is just changing them.
    pub fn try_take(&self) -> Option<Inputs> {
        let inputs = std::mem::take(&mut *try_lock(&self.slot)?);
        Some(inputs)
    }
}

/// What the real-time thread has to say that is not a level.
#[derive(Debug)]
pub enum Telling {
    /// Announce an address that is already there.
    Announce(IfName, IpAddr),
    /// For the operator.
    Notice(Notice),
    /// For the history.
    Changed(Change),
    /// Sockets that the real-time thread no longer uses.
    Retired(Sockets),
    /// The last thing it says.
    Stopped,
}

/// Outputs of the real-time thread.
#[derive(Debug)]
pub struct Outbox {
    roles: Arc<Mutex<Option<Roles>>>,
    tellings: SyncSender<Telling>,
    wake: Arc<EventFd>,
}

/// The other end of the outbox.
#[derive(Debug)]
pub struct OutboxReader {
    roles: Arc<Mutex<Option<Roles>>>,
    tellings: Receiver<Telling>,
    wake: Arc<EventFd>,
}

/// An outbox and its reader.
///
/// # Errors
/// When the process has no file descriptor left.
pub fn outbox() -> io::Result<(Outbox, OutboxReader)> {
    let (sender, receiver) = sync_channel(QUEUE);
    let roles = Arc::default();
    let wake = Arc::new(EventFd::from_flags(EfdFlags::EFD_CLOEXEC)?);
    let reader = OutboxReader { roles: Arc::clone(&roles), tellings: receiver, wake: Arc::clone(&wake) };
    Ok((Outbox { roles, tellings: sender, wake }, reader))
}

impl Outbox {
    /// Publishes the latest roles; hands them back when the reader is just taking the ones before.
    ///
    /// # Errors
    /// With the roles, to be published a little later.
    pub fn publish(&self, roles: Roles) -> Result<(), Roles> {
        match try_lock(&self.roles) {
            Some(mut slot) => {
                *slot = Some(roles);
                Ok(())
            }
            None => Err(roles),
        }
    }

    /// Queues a telling; `false` when the queue is full and it is lost.
    #[must_use]
    pub fn tell(&self, telling: Telling) -> bool {
        // The reader looks into the queue without waiting in it, so nobody holds the queue's lock.
        self.tellings.try_send(telling).is_ok()
    }

    /// Wakes the reader.
    pub fn wake(&self) {
        let _ = self.wake.write(1);
    }
}

impl OutboxReader {
    /// Waits until there is something: the latest roles if they changed, and all tellings.
    pub fn wait(&self) -> (Option<Roles>, Vec<Telling>) {
        // Interrupted or not, a look does no harm.
        let _ = self.wake.read();
        // Tellings first: the last one then never comes without the roles that were published before it.
        let tellings = self.tellings.try_iter().collect();
        (lock(&self.roles).take(), tellings)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_real_time_side_never_waits_for_a_busy_slot() {
        let inbox = Inbox::new().expect("an eventfd");
        inbox.put(|inputs| inputs.shutdown = true);
        let busy = inbox.slot.lock().expect("a lock");
        assert!(inbox.try_take().is_none());
        drop(busy);
        assert!(inbox.try_take().is_some_and(|inputs| inputs.shutdown));
        assert!(inbox.try_take().is_some_and(|inputs| !inputs.shutdown));
    }

    #[test]
    fn roles_that_could_not_be_published_come_back() {
        let (outbox, reader) = outbox().expect("an eventfd");
        let busy = reader.roles.lock().expect("a lock");
        assert_eq!(outbox.publish(Roles::default()), Err(Roles::default()));
        drop(busy);
        assert_eq!(outbox.publish(Roles::default()), Ok(()));
        outbox.wake();
        assert_eq!(reader.wait().0, Some(Roles::default()));
    }

    #[test]
    fn a_full_queue_loses_the_newest_and_says_so() {
        let (outbox, reader) = outbox().expect("an eventfd");
        let sent = (0..QUEUE + 3).filter(|_| outbox.tell(Telling::Stopped)).count();
        assert_eq!(sent, QUEUE);
        outbox.wake();
        assert_eq!(reader.wait().1.len(), QUEUE);
    }
}
