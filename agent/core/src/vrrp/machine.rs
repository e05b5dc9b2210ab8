//! The state machine of one virtual router (RFC 9568 section 6.4).
//!
//! It decides when adverts leave, when a Backup takes over and to whom a Master yields. Some things go beyond
//! the RFC: a wait before preempting; a burst of announcements some seconds after taking over and whenever another
//! Master was heard; and a Master that was silent so long that its peers took over yields when preemption is off.
//! What an operator commands is in `handover`.

use core::marker::PhantomData;
use core::net::IpAddr;

use super::state::{
    ANNOUNCE_AGAIN, ANNOUNCE_GAP, ANNOUNCE_ROUNDS, Aside, Backup, Lingering, Master, State, Yielding,
};
use super::{Counters, MISSED_ADVERTS, Peer, Rfc9568, Rules, Settings, Stance, Survival};
use crate::notice::Notice;
use crate::time::Instant;
use crate::wire::vrrp::{Advert, LEAVING};

/// What happens to a virtual router.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Its interface can carry adverts; they come from this primary address.
    Up(IpAddr),
    /// Its interface cannot.
    Down,
    /// An advert for it was heard from a primary address that is not its own.
    Advert(Advert, IpAddr),
    /// A deadline may have passed.
    Timer,
    /// New settings of the same identity.
    Configure(Settings),
    /// It ends.
    Leave,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Send an advert with this priority.
    Advertise(u8),
    /// Announce all its addresses once.
    Announce,
    /// Tell an operator.
    Tell(Notice),
}

/// What one event leads to, in order.
pub type Outputs = heapless::Vec<Output, 8>;

/// One virtual router.
#[derive(Clone, Debug)]
pub struct VirtualRouter<R = Rfc9568> {
    settings: Settings,
    state: State,
    counters: Counters,
    rules: PhantomData<fn() -> R>,
}

impl<R: Rules> VirtualRouter<R> {
    /// A virtual router that waits for its interface.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self { settings, state: State::Initialize, counters: Counters::default(), rules: PhantomData }
    }

    /// Its settings.
    #[must_use]
    pub const fn settings(&self) -> &Settings {
        &self.settings
    }

    pub(super) fn replace_settings(&mut self, settings: Settings) {
        self.settings = settings;
    }

    /// Its state.
    #[must_use]
    pub const fn state(&self) -> &State {
        &self.state
    }

    /// What it has counted.
    #[must_use]
    pub const fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Counts an advert whose addresses are not ours.
    pub const fn count_addresses_differ(&mut self) {
        self.counters.addresses_differ += 1;
    }

    /// When `Event::Timer` is due.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        match &self.state {
            State::Initialize => None,
            State::Backup(backup) => Some(backup.down),
            State::Master(master) => {
                Some(master.announce.map_or(master.advert, |(at, _)| at.min(master.advert)))
            }
            State::Yielding(yielding) => Some(yielding.advert.min(yielding.until)),
            State::Lingering(lingering) => Some(lingering.until),
            State::Aside(_) => None,
        }
    }

    /// Takes an event that happened at `now`. Timers may be early or repeated.
    pub fn handle(&mut self, now: Instant, event: Event) -> Outputs {
        let mut outputs = Outputs::new();
        let state = core::mem::replace(&mut self.state, State::Initialize);
        self.state = match (state, event) {
            (State::Initialize, Event::Up(address)) => self.start(now, address, &mut outputs),
            (State::Initialize, Event::Down | Event::Advert(..) | Event::Timer | Event::Leave) => {
                State::Initialize
            }
            (State::Initialize, Event::Configure(settings)) => {
                self.settings = settings;
                State::Initialize
            }
            (State::Backup(backup), Event::Up(address)) => State::Backup(Backup { address, ..backup }),
            (State::Backup(_), Event::Down | Event::Leave) => State::Initialize,
            (State::Backup(backup), Event::Advert(advert, source)) => {
                self.hear_as_backup(now, backup, advert, source, &mut outputs)
            }
            (State::Backup(backup), Event::Timer) if now < backup.down => State::Backup(backup),
            (State::Backup(backup), Event::Timer) => self.take_over(now, backup.address, &mut outputs),
            (State::Backup(backup), Event::Configure(settings)) => {
                self.configure_backup(now, backup, settings, &mut outputs)
            }
            (State::Master(master), Event::Up(address)) => State::Master(Master { address, ..master }),
            (State::Master(_), Event::Down) => State::Initialize,
            (State::Master(master), Event::Advert(advert, source)) => {
                self.hear_as_master(now, master, advert, source, &mut outputs)
            }
            (State::Master(master), Event::Timer) => self.fire_as_master(now, master, &mut outputs),
            (State::Master(master), Event::Configure(settings)) => {
                self.configure_master(now, master, settings, &mut outputs)
            }
            (State::Master(_) | State::Yielding(_), Event::Leave) => {
                self.advertise(LEAVING, &mut outputs);
                State::Initialize
            }
            (State::Yielding(_) | State::Lingering(_) | State::Aside(_), Event::Down)
            | (State::Lingering(_) | State::Aside(_), Event::Leave) => State::Initialize,
            (State::Yielding(yielding), Event::Up(address)) => {
                State::Yielding(Yielding { address, ..yielding })
            }
            (State::Yielding(yielding), Event::Advert(advert, source)) => {
                self.hear_while_yielding(now, yielding, advert, source, &mut outputs)
            }
            (State::Yielding(yielding), Event::Timer) => {
                self.fire_while_yielding(now, yielding, &mut outputs)
            }
            (State::Yielding(yielding), Event::Configure(settings)) => {
                self.configure_yielding(now, yielding, settings, &mut outputs)
            }
            (State::Lingering(lingering), Event::Up(address)) => {
                State::Lingering(Lingering { address, ..lingering })
            }
            (State::Lingering(lingering), Event::Advert(advert, source)) => {
                self.hear_while_lingering(now, lingering, advert, source, &mut outputs)
            }
            (State::Lingering(lingering), Event::Timer) => {
                self.fire_while_lingering(now, lingering, &mut outputs)
            }
            (State::Lingering(lingering), Event::Configure(settings)) => {
                self.configure_lingering(now, lingering, settings, &mut outputs)
            }
            (State::Aside(aside), Event::Up(address)) => State::Aside(Aside { address, ..aside }),
            (State::Aside(aside), Event::Advert(advert, source)) => {
                self.hear_aside(aside, advert, source, &mut outputs)
            }
            (State::Aside(aside), Event::Timer) => State::Aside(aside),
            (State::Aside(aside), Event::Configure(settings)) => {
                self.configure_aside(now, aside, settings, &mut outputs)
            }
        };
        outputs
    }

    /// Goes on where an agent that died left off, if no peer can have noticed; otherwise starts as `Event::Up`.
    ///
    /// A Master goes on while its last advert is younger than three of its intervals: no peer's master-down
    /// interval is shorter. A Backup keeps its running timer, but leaves room for one advert of a living Master,
    /// because it was deaf while it was dead. One that was handing over goes on with that. Returns whether it resumed.
    pub fn resume(&mut self, now: Instant, address: IpAddr, survival: &Survival) -> (bool, Outputs) {
        let mut outputs = Outputs::new();
        let priority = self.settings.priority;
        let state = match *survival {
            Survival::Master { last_advert, interval }
                if now.since(last_advert) < interval * MISSED_ADVERTS
                    && let Some(until) = self.yields_until().filter(|until| now < *until) =>
            {
                self.begin_yielding(now, address, until, &mut outputs)
            }
            Survival::Backup { master, .. } if self.stands_aside() => State::Aside(Aside { address, master }),
            Survival::Aside { master } if self.stands_aside() => State::Aside(Aside { address, master }),
            Survival::Master { last_advert, interval }
                if now.since(last_advert) < interval * MISSED_ADVERTS && !self.stands_aside() =>
            {
                self.advertise(priority.get(), &mut outputs);
                State::Master(Master::new(now, address, self.settings.interval.get()))
            }
            Survival::Backup { down, interval, master } if !priority.is_owner() => {
                let room = interval + R::skew(priority.get(), interval);
                let down = down.max(now + room);
                State::Backup(Backup { address, down, interval, master, preempt_at: None })
            }
            Survival::Master { .. } | Survival::Backup { .. } | Survival::Aside { .. } => {
                return (false, self.handle(now, Event::Up(address)));
            }
        };
        self.state = state;
        (true, outputs)
    }

    /// What a successor needs to resume; `None` while it takes no part.
    #[must_use]
    pub fn survival(&self) -> Option<Survival> {
        match &self.state {
            State::Initialize => None,
            State::Backup(Backup { down, interval, master, .. }) => {
                Some(Survival::Backup { down: *down, interval: *interval, master: *master })
            }
            State::Master(Master { sent, told, .. }) => {
                Some(Survival::Master { last_advert: *sent, interval: *told })
            }
            State::Yielding(Yielding { sent, .. }) => {
                Some(Survival::Master { last_advert: *sent, interval: self.settings.interval.get() })
            }
            State::Lingering(lingering) => {
                let (down, interval) = (self.down_after(lingering), lingering.interval);
                Some(Survival::Backup { down, interval, master: Some(lingering.master) })
            }
            State::Aside(Aside { master, .. }) => Some(Survival::Aside { master: *master }),
        }
    }

    /// Until when a Master of these settings hands over, unless somebody takes over before.
    fn yields_until(&self) -> Option<Instant> {
        match self.settings.stance {
            Stance::Normal | Stance::Takeover { .. } => None,
            Stance::Yield { .. } | Stance::Aside { .. } if self.settings.priority.is_owner() => None,
            Stance::Yield { told } | Stance::Aside { told } => Some(told + self.patience()),
        }
    }

    /// Leaves Initialize: the owner at once as Master, others as Backup with a whole master-down interval, unless
    /// they are to stand aside.
    pub(super) fn start(&mut self, now: Instant, address: IpAddr, outputs: &mut Outputs) -> State {
        if self.settings.priority.is_owner() {
            return self.take_over(now, address, outputs);
        }
        let interval = self.settings.interval.get();
        tell(outputs, Notice::BecameBackup { router: self.settings.name.clone(), master: None });
        if self.stands_aside() {
            return State::Aside(Aside { address, master: None });
        }
        State::Backup(Backup {
            address,
            down: now + R::master_down(self.settings.priority.get(), interval),
            interval,
            master: None,
            preempt_at: None,
        })
    }

    pub(super) fn take_over(&mut self, now: Instant, address: IpAddr, outputs: &mut Outputs) -> State {
        self.counters.became_master += 1;
        self.advertise(self.settings.priority.get(), outputs);
        let (router, priority) = (self.settings.name.clone(), self.settings.priority.get());
        tell(outputs, Notice::BecameMaster { router, priority });
        State::Master(Master::new(now, address, self.settings.interval.get()))
    }

    fn hear_as_backup(
        &mut self,
        now: Instant,
        mut backup: Backup,
        advert: Advert,
        source: IpAddr,
        outputs: &mut Outputs,
    ) -> State {
        self.count_received(&advert, source, outputs);
        let own = self.settings.priority.get();
        if advert.priority == LEAVING {
            // Never later than before: a repeated farewell must not prolong the wait.
            backup.down = backup.down.min(now + R::skew(own, backup.interval));
            let router = self.settings.name.clone();
            tell(outputs, Notice::MasterLeft { router, master: source });
            return State::Backup(backup);
        }
        if self.heeds(now, &mut backup.preempt_at, advert.priority) {
            backup.interval = advert.interval;
            backup.down = now + R::master_down(own, advert.interval);
        }
        backup.master = Some(Peer { priority: advert.priority, address: source });
        State::Backup(backup)
    }

    /// Whether a Backup accepts an advert of this priority, and so goes on waiting.
    fn heeds(&self, now: Instant, preempt_at: &mut Option<Instant>, priority: u8) -> bool {
        if priority >= self.settings.priority.get() {
            *preempt_at = None;
            return true;
        }
        if !R::may_preempt(self.settings.preempt) {
            return true;
        }
        now < *preempt_at.get_or_insert(now + self.settings.preempt_delay)
    }

    fn hear_as_master(
        &mut self,
        now: Instant,
        mut master: Master,
        advert: Advert,
        source: IpAddr,
        outputs: &mut Outputs,
    ) -> State {
        self.count_received(&advert, source, outputs);
        let own = self.settings.priority.get();
        if advert.priority == LEAVING {
            // Others have shortened their wait to the skew: they must hear us now.
            self.send(now, &mut master, outputs);
            master.advert = now + self.settings.interval.get();
            return State::Master(master);
        }
        let theirs = Peer { priority: advert.priority, address: source };
        let ours = Peer { priority: own, address: master.address };
        let overtaken = master.lapsed(now) && !R::may_preempt(self.settings.preempt);
        if R::outranks(theirs, ours) || overtaken {
            tell(
                outputs,
                Notice::BecameBackup { router: self.settings.name.clone(), master: Some(theirs.address) },
            );
            return State::Backup(Backup {
                address: master.address,
                down: now + R::master_down(own, advert.interval),
                interval: advert.interval,
                master: Some(theirs),
                preempt_at: None,
            });
        }
        self.counters.rivals += 1;
        self.answer_rival(now, &mut master, source, outputs);
        State::Master(master)
    }

    /// Asserts ourselves against a lower rank and repairs what its announcements have spoilt. Both are limited,
    /// so that a rival that does not hear us cannot make us flood; the regular adverts do not move.
    fn answer_rival(&mut self, now: Instant, master: &mut Master, source: IpAddr, outputs: &mut Outputs) {
        let router = self.settings.name.clone();
        tell(outputs, Notice::RivalMaster { router, rival: source });
        let recently = |at: Instant| now.since(at) < self.settings.interval.get();
        if !master.answered.is_some_and(recently) {
            self.send(now, master, outputs);
            master.answered = Some(now);
        }
        if master.repair(now) {
            push(outputs, Output::Announce);
        }
    }

    fn fire_as_master(&mut self, now: Instant, mut master: Master, outputs: &mut Outputs) -> State {
        let interval = self.settings.interval.get();
        if now >= master.advert {
            self.send(now, &mut master, outputs);
            let late = now.since(master.advert);
            if late >= interval {
                self.counters.late += 1;
                tell(outputs, Notice::AdvertLate { router: self.settings.name.clone(), late });
            }
            // From deadline to deadline, so that small delays do not add up; after a long one from now, so
            // that missed adverts are not sent in a burst.
            master.advert = if late < interval { master.advert + interval } else { now + interval };
        }
        if let Some((at, left)) = master.announce
            && now >= at
        {
            push(outputs, Output::Announce);
            master.announce = (left > 1).then_some((now + ANNOUNCE_GAP, left.saturating_sub(1)));
        }
        State::Master(master)
    }

    /// A running timer moves by the change of the master-down interval, which is that of the skew while a
    /// Master's interval is in force. A command to take over is followed at once.
    fn configure_backup(
        &mut self,
        now: Instant,
        mut backup: Backup,
        settings: Settings,
        outputs: &mut Outputs,
    ) -> State {
        let interval = match backup.master {
            Some(_) => backup.interval,
            None => settings.interval.get(),
        };
        let before = R::master_down(self.settings.priority.get(), backup.interval);
        let after = R::master_down(settings.priority.get(), interval);
        backup.down = backup.down + after.saturating_sub(before) - before.saturating_sub(after);
        backup.interval = interval;
        let (takes, yields) = (self.told_to_take_over(&settings), self.told_to_yield(&settings));
        self.settings = settings;
        if takes || self.settings.priority.is_owner() {
            return self.take_over(now, backup.address, outputs);
        }
        if self.stands_aside() {
            return State::Aside(Aside { address: backup.address, master: backup.master });
        }
        if yields {
            // It may have been about to preempt: room for one advert of the Master that it heeds from now on.
            let room = interval + R::skew(self.settings.priority.get(), interval);
            backup.down = backup.down.max(now + room);
            backup.preempt_at = None;
        }
        State::Backup(backup)
    }

    /// The next advert says what has changed. It is never later than peers expect by the one before. A command to
    /// yield is followed at once.
    fn configure_master(
        &mut self,
        now: Instant,
        mut master: Master,
        settings: Settings,
        outputs: &mut Outputs,
    ) -> State {
        if self.told_to_yield(&settings) {
            self.settings = settings;
            return self.begin_yielding(now, master.address, now + self.patience(), outputs);
        }
        master.advert = master.advert.min(now + settings.interval.get());
        if settings.addresses != self.settings.addresses {
            master.announce = Some((now + ANNOUNCE_AGAIN, ANNOUNCE_ROUNDS));
        }
        self.settings = settings;
        State::Master(master)
    }

    pub(super) fn count_received(&mut self, advert: &Advert, source: IpAddr, outputs: &mut Outputs) {
        self.counters.received += 1;
        self.counters.leaving_received += u64::from(advert.priority == LEAVING);
        let ours = self.settings.interval.get();
        if advert.interval != ours {
            self.counters.interval_differs += 1;
            let (router, theirs) = (self.settings.name.clone(), advert.interval);
            tell(outputs, Notice::IntervalDiffers { router, source, theirs, ours });
        }
    }

    /// An advert of a Master that goes on.
    fn send(&mut self, now: Instant, master: &mut Master, outputs: &mut Outputs) {
        self.advertise(self.settings.priority.get(), outputs);
        master.sent = now;
        master.told = self.settings.interval.get();
    }

    pub(super) fn advertise(&mut self, priority: u8, outputs: &mut Outputs) {
        self.counters.sent += 1;
        self.counters.leaving_sent += u64::from(priority == LEAVING);
        push(outputs, Output::Advertise(priority));
    }
}

pub(super) fn tell(outputs: &mut Outputs, notice: Notice) {
    push(outputs, Output::Tell(notice));
}

pub(super) fn push(outputs: &mut Outputs, output: Output) {
    let pushed = outputs.push(output).is_ok();
    debug_assert!(pushed, "no event leads to more than four outputs");
}
