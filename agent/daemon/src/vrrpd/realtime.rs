//! The real-time thread: drives `Router` with packets, time and inputs.
//!
//! No lock is waited for, no disk, log or netlink touched. The receive queues are drained before a timer fires,
//! at most `BURST` packets a turn: a flood cannot stop our adverts, and packets that waited while we were
//! late are seen before we act as if they had not come. After `FLOOD` full turns in a row the thread pauses, so
//! that a flood cannot keep a processor from everything else either.

use std::sync::Arc;
use std::time::Duration;

use bascule_core::net::Family;
use bascule_core::router::{Action, Event, Roles, Router};
use bascule_core::time::Instant;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};

use super::mailbox::{Inbox, Outbox, Sockets, Telling};
use super::statistics::Statistics;
use crate::link::socket::{Arrival, BUFFER, VrrpSocket};
use crate::snapshot::SnapshotFile;
use crate::sys::monotonic;

/// Packets taken in one turn.
const BURST: usize = 64;
/// Full turns in a row before a pause. Together with the receive buffer it decides which flood is read whole: what
/// overflows is lost blindly, a living Master's adverts among it, and three of those are a false takeover.
const FLOOD: u32 = 32;
/// The thread shows that it is alive at least this often.
const HEARTBEAT_MILLIS: u16 = 1_000;
/// The router's counters are published at most this often.
const COUNTED_EVERY: Duration = Duration::from_secs(1);
/// When a slot was busy, or after a flood's full turns, the thread comes back after this time.
const BUSY: Duration = Duration::from_millis(1);

/// Everything the thread owns.
pub struct RealTime {
    router: Router,
    sockets: Sockets,
    inbox: Arc<Inbox>,
    outbox: Outbox,
    snapshot: Option<SnapshotFile>,
    statistics: Arc<Statistics>,
    epoll: Epoll,
    timer: TimerFd,
    /// Roles that are not published yet.
    roles: Option<Roles>,
    /// An input or output slot was busy.
    busy: bool,
    /// How many turns in a row took as many packets as a turn may.
    full: u32,
    /// Shortest interval between own adverts: a deadline met later than this is missed.
    shortest: Duration,
    /// The socket to begin with, so that a flood on one cannot starve the others.
    first: usize,
    /// When the router's counters were last published.
    counted: Instant,
    buffer: Box<[u8; BUFFER]>,
}

impl RealTime {
    /// Prepares the thread; all of its memory and descriptors are taken here.
    ///
    /// # Errors
    /// When the process has no file descriptor left.
    pub fn new(
        router: Router,
        inbox: Arc<Inbox>,
        outbox: Outbox,
        snapshot: Option<SnapshotFile>,
        statistics: Arc<Statistics>,
    ) -> std::io::Result<Self> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        let timer =
            TimerFd::new(ClockId::CLOCK_MONOTONIC, TimerFlags::TFD_CLOEXEC | TimerFlags::TFD_NONBLOCK)?;
        epoll.add(&inbox.wake, readable())?;
        epoll.add(&timer, readable())?;
        Ok(Self {
            router,
            sockets: Sockets::new(),
            inbox,
            outbox,
            snapshot,
            statistics,
            epoll,
            timer,
            roles: None,
            busy: false,
            full: 0,
            shortest: Duration::MAX,
            first: 0,
            counted: Instant::ZERO,
            buffer: Box::new([0; BUFFER]),
        })
    }

    /// Runs until shutdown.
    pub fn run(mut self) {
        while self.turn() {}
        self.say(Telling::Stopped);
        self.outbox.wake();
    }

    /// One turn; `false` after the last.
    fn turn(&mut self) -> bool {
        self.wait();
        self.busy = false;
        let heard = self.receive();
        let (changed, stay) = self.take_inputs();
        let fired = self.fire();
        if heard || changed || fired {
            self.save();
        }
        self.publish(!stay);
        let now = monotonic();
        if now.since(self.counted) >= COUNTED_EVERY {
            self.counted = now;
            self.statistics.publish(self.router.statistics());
        }
        self.statistics.beat(now);
        stay
    }

    /// Sleeps until the deadline, a packet or an input.
    fn wait(&self) {
        let deadline = if self.busy { Some(monotonic() + BUSY) } else { None };
        let deadline = match (deadline, self.router.deadline()) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        if self.full > 0 {
            if self.full.is_multiple_of(FLOOD) {
                let now = monotonic();
                std::thread::sleep(deadline.map_or(BUSY, |at| at.since(now).min(BUSY)));
            }
            return;
        }
        // A timer that cannot be set is made good by the heartbeat's timeout.
        let _ = match deadline {
            Some(at) => self.timer.set(
                Expiration::OneShot(TimeSpec::from_duration(Duration::from_nanos(at.as_nanos().max(1)))),
                TimerSetTimeFlags::TFD_TIMER_ABSTIME,
            ),
            None => self.timer.unset(),
        };
        let mut events = [EpollEvent::empty(); 8];
        let _ = self.epoll.wait(&mut events, EpollTimeout::from(HEARTBEAT_MILLIS));
    }

    /// Drains the sockets; whether a message was heard.
    fn receive(&mut self) -> bool {
        let sockets: heapless::Vec<Arc<VrrpSocket>, BURST> = self
            .sockets
            .values()
            .cycle()
            .skip(self.first)
            .take(self.sockets.len().min(BURST))
            .cloned()
            .collect();
        self.first = if self.sockets.is_empty() { 0 } else { (self.first + 1) % self.sockets.len() };
        let mut left = BURST;
        let mut heard = false;
        for socket in &sockets {
            while left > 0 {
                left -= 1;
                match socket.receive(&mut self.buffer[..]) {
                    Ok(Arrival::Message(message)) => {
                        heard = true;
                        self.statistics.received();
                        self.handle(Event::Packet(*message), None);
                    }
                    Ok(Arrival::Malformed) => self.statistics.malformed(),
                    // An error is told once (ENETDOWN) and the link watcher learns the same from the kernel.
                    Ok(Arrival::Nothing) | Err(_) => break,
                }
            }
        }
        self.full = if left == 0 { self.full.wrapping_add(1) } else { 0 };
        heard
    }

    /// Takes what other threads put; whether anything changed, and whether to go on.
    fn take_inputs(&mut self) -> (bool, bool) {
        let _ = self.inbox.wake.read();
        let Some(inputs) = self.inbox.try_take() else {
            self.busy = true;
            return (false, true);
        };
        let changed = inputs.settings.is_some() || !inputs.links.is_empty() || inputs.shutdown;
        // A virtual router that leaves says so through a socket that goes with it.
        let before = inputs.sockets.map(|sockets| self.exchange(sockets));
        for (name, link) in inputs.links {
            self.handle(Event::Link(name, link), None);
        }
        if let Some(settings) = inputs.settings {
            self.shortest = settings.iter().map(|s| s.interval.get()).min().unwrap_or(Duration::MAX);
            self.handle(Event::Configure(settings), None);
        }
        if inputs.shutdown {
            self.handle(Event::Shutdown, None);
        }
        if let Some(before) = before {
            self.retire(before);
        }
        (changed, !inputs.shutdown)
    }

    /// Begins to use `sockets`, and keeps those of before that have no successor. Returns those of before.
    fn exchange(&mut self, mut sockets: Sockets) -> (Sockets, Sockets) {
        let wanted = sockets.clone();
        for (key, socket) in &self.sockets {
            // Not in the set only if adding it had failed.
            let _ = self.epoll.delete(socket);
            sockets.entry(key.clone()).or_insert_with(|| Arc::clone(socket));
        }
        for socket in wanted.values() {
            // Without the wake-up, the heartbeat still reads it once a second.
            let _ = self.epoll.add(socket, readable());
        }
        (std::mem::replace(&mut self.sockets, sockets), wanted)
    }

    /// Drops what `exchange` kept.
    fn retire(&mut self, (before, wanted): (Sockets, Sockets)) {
        let kept = std::mem::replace(&mut self.sockets, wanted);
        self.first = 0;
        // The last hold on a socket must not be ours: closing it may wait.
        self.say(Telling::Retired(before));
        self.say(Telling::Retired(kept));
    }

    /// Lets the router act if its deadline has passed; whether it had.
    fn fire(&mut self) -> bool {
        let now = monotonic();
        match self.router.deadline() {
            Some(due) if due <= now => {
                if now.since(due) > self.shortest {
                    self.statistics.missed();
                }
                self.handle(Event::Timer, Some(due));
                true
            }
            Some(_) | None => false,
        }
    }

    /// Gives the router an event and carries out its actions. `due` is the deadline that a timer met.
    fn handle(&mut self, event: Event, due: Option<Instant>) {
        let now = monotonic();
        for action in self.router.handle(now, event) {
            match action {
                Action::Send { interface, source, payload } => {
                    let key = (interface, Family::of(&source));
                    match self.sockets.get(&key).map(|socket| socket.send(source, &payload)) {
                        Some(Ok(())) => self.statistics.sent(due.unwrap_or(now), monotonic()),
                        Some(Err(_)) | None => self.statistics.send_error(),
                    }
                }
                Action::Announce { interface, address } => self.say(Telling::Announce(interface, address)),
                Action::Roles(roles) => self.roles = Some(roles),
                Action::Tell(notice) => self.say(Telling::Notice(notice)),
                Action::Changed(change) => self.say(Telling::Changed(change)),
            }
        }
    }

    fn say(&mut self, telling: Telling) {
        if self.outbox.tell(telling) {
            self.outbox.wake();
        } else {
            self.statistics.dropped_telling();
        }
    }

    fn save(&mut self) {
        if let Some(file) = &mut self.snapshot
            && file.write(&self.router.snapshot()).is_err()
        {
            self.statistics.snapshot_error();
        }
    }

    /// Publishes roles that changed. The last ones, at the end, are worth a wait.
    fn publish(&mut self, last: bool) {
        while let Some(roles) = self.roles.take() {
            match self.outbox.publish(roles) {
                Ok(()) => self.outbox.wake(),
                Err(roles) => {
                    self.roles = Some(roles);
                    self.busy = true;
                    if !last {
                        return;
                    }
                    std::thread::yield_now();
                }
            }
        }
    }
}

fn readable() -> EpollEvent {
    EpollEvent::new(EpollFlags::EPOLLIN, 0)
}
