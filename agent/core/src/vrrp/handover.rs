//! Handing over by command: a Master that yields, one that lingers after it did, and a router that stands aside.
//!
//! The other box is Master before this one stops answering, so there is no moment at which nobody does. Everything
//! that others see of it is RFC 9568: a farewell, and a Backup that takes over after its skew.

use core::net::IpAddr;
use core::time::Duration;

use super::machine::{Output, Outputs, VirtualRouter, push, tell};
use super::state::{ANNOUNCE_GAP, ANNOUNCE_ROUNDS, Aside, Backup, Lingering, Master, State, Yielding};
use super::{Peer, Rules, Settings, Stance};
use crate::notice::Notice;
use crate::time::Instant;
use crate::wire::vrrp::{Advert, LEAVING};

/// How long the addresses stay after another Master was first heard: its advert leaves before it has set them.
/// Some hundred addresses take a few milliseconds.
pub const LINGER: Duration = Duration::from_millis(200);

impl<R: Rules> VirtualRouter<R> {
    /// How long a Master that yields waits for another, from the command: three intervals and its own skew, in
    /// which every Backup that lives has heard a farewell and waited its skew.
    pub(super) fn patience(&self) -> Duration {
        R::master_down(self.settings().priority.get(), self.settings().interval.get())
    }

    /// The command that a Master has to follow, if its settings hold one that it has not begun to follow.
    pub(super) fn told_to_yield(&self, settings: &Settings) -> bool {
        let new = settings.stance != self.settings().stance && !settings.priority.is_owner();
        new && match settings.stance {
            Stance::Yield { .. } | Stance::Aside { .. } => true,
            Stance::Normal | Stance::Takeover { .. } => false,
        }
    }

    /// Whether settings hold a new command to take over.
    pub(super) fn told_to_take_over(&self, settings: &Settings) -> bool {
        settings.stance != self.settings().stance && matches!(settings.stance, Stance::Takeover { .. })
    }

    /// Whether it is to stand aside.
    pub(super) fn stands_aside(&self) -> bool {
        matches!(self.settings().stance, Stance::Aside { .. }) && !self.settings().priority.is_owner()
    }

    /// Begins to hand over, until `until` at the latest.
    pub(super) fn begin_yielding(
        &mut self,
        now: Instant,
        address: IpAddr,
        until: Instant,
        outputs: &mut Outputs,
    ) -> State {
        self.advertise(LEAVING, outputs);
        let router = self.settings().name.clone();
        tell(outputs, Notice::Yielding { router });
        State::Yielding(Yielding { address, advert: now + self.settings().interval.get(), sent: now, until })
    }

    /// Another Master was heard: whatever its priority, it has the addresses from now on.
    pub(super) fn hear_while_yielding(
        &mut self,
        now: Instant,
        yielding: Yielding,
        advert: Advert,
        source: IpAddr,
        outputs: &mut Outputs,
    ) -> State {
        self.count_received(&advert, source, outputs);
        if advert.priority == LEAVING {
            return State::Yielding(yielding);
        }
        State::Lingering(Lingering {
            address: yielding.address,
            until: now + LINGER,
            heard: now,
            interval: advert.interval,
            master: Peer { priority: advert.priority, address: source },
        })
    }

    pub(super) fn fire_while_yielding(
        &mut self,
        now: Instant,
        mut yielding: Yielding,
        outputs: &mut Outputs,
    ) -> State {
        if now >= yielding.until {
            let (router, stays) = (self.settings().name.clone(), !self.stands_aside());
            tell(outputs, Notice::NobodyTookOver { router, stays });
            if !stays {
                return State::Aside(Aside { address: yielding.address, master: None });
            }
            return self.stay_master(now, yielding.address, outputs);
        }
        if now >= yielding.advert {
            self.advertise(LEAVING, outputs);
            yielding.sent = now;
            yielding.advert = now + self.settings().interval.get();
        }
        State::Yielding(yielding)
    }

    /// A command that is repeated starts again; one that was taken back makes it Master as before.
    pub(super) fn configure_yielding(
        &mut self,
        now: Instant,
        mut yielding: Yielding,
        settings: Settings,
        outputs: &mut Outputs,
    ) -> State {
        let again = self.told_to_yield(&settings);
        self.replace_settings(settings);
        match self.settings().stance {
            Stance::Normal | Stance::Takeover { .. } => self.stay_master(now, yielding.address, outputs),
            Stance::Yield { .. } | Stance::Aside { .. } if self.settings().priority.is_owner() => {
                self.stay_master(now, yielding.address, outputs)
            }
            Stance::Yield { .. } | Stance::Aside { .. } if again => {
                self.begin_yielding(now, yielding.address, now + self.patience(), outputs)
            }
            Stance::Yield { .. } | Stance::Aside { .. } => {
                yielding.advert = yielding.advert.min(now + self.settings().interval.get());
                State::Yielding(yielding)
            }
        }
    }

    /// Goes on as Master: others wait their skew only since the farewell, so they must hear it now.
    fn stay_master(&mut self, now: Instant, address: IpAddr, outputs: &mut Outputs) -> State {
        self.advertise(self.settings().priority.get(), outputs);
        State::Master(Master::new(now, address, self.settings().interval.get()))
    }

    pub(super) fn hear_while_lingering(
        &mut self,
        now: Instant,
        mut lingering: Lingering,
        advert: Advert,
        source: IpAddr,
        outputs: &mut Outputs,
    ) -> State {
        self.count_received(&advert, source, outputs);
        if advert.priority == LEAVING {
            let skew = R::skew(self.settings().priority.get(), lingering.interval);
            return self.step_back(lingering, now + skew, outputs);
        }
        lingering.heard = now;
        lingering.interval = advert.interval;
        lingering.master = Peer { priority: advert.priority, address: source };
        State::Lingering(lingering)
    }

    pub(super) fn fire_while_lingering(
        &mut self,
        now: Instant,
        lingering: Lingering,
        outputs: &mut Outputs,
    ) -> State {
        if now < lingering.until {
            return State::Lingering(lingering);
        }
        let down = self.down_after(&lingering);
        if now >= down && !self.stands_aside() {
            return self.retake(now, lingering.address, outputs);
        }
        self.step_back(lingering, down, outputs)
    }

    /// Master again before the addresses went: neighbours have learnt another place of them, and only here is it
    /// known that they have to unlearn it.
    fn retake(&mut self, now: Instant, address: IpAddr, outputs: &mut Outputs) -> State {
        let state = self.take_over(now, address, outputs);
        push(outputs, Output::Announce);
        match state {
            State::Master(mut master) => {
                master.announce = Some((now + ANNOUNCE_GAP, ANNOUNCE_ROUNDS - 1));
                State::Master(master)
            }
            other @ (State::Initialize
            | State::Backup(_)
            | State::Yielding(_)
            | State::Lingering(_)
            | State::Aside(_)) => other,
        }
    }

    /// When the Master that was heard while lingering counts as down.
    pub(super) fn down_after(&self, lingering: &Lingering) -> Instant {
        lingering.heard + R::master_down(self.settings().priority.get(), lingering.interval)
    }

    /// The addresses go: Backup that takes over at `down`, or aside.
    fn step_back(&self, lingering: Lingering, down: Instant, outputs: &mut Outputs) -> State {
        let Lingering { address, interval, master, .. } = lingering;
        let router = self.settings().name.clone();
        tell(outputs, Notice::BecameBackup { router, master: Some(master.address) });
        let master = Some(master);
        if self.stands_aside() {
            return State::Aside(Aside { address, master });
        }
        State::Backup(Backup { address, down, interval, master, preempt_at: None })
    }

    pub(super) fn configure_lingering(
        &mut self,
        now: Instant,
        lingering: Lingering,
        settings: Settings,
        outputs: &mut Outputs,
    ) -> State {
        let takes = self.told_to_take_over(&settings);
        self.replace_settings(settings);
        if takes || self.settings().priority.is_owner() {
            return self.retake(now, lingering.address, outputs);
        }
        State::Lingering(lingering)
    }

    pub(super) fn hear_aside(
        &mut self,
        mut aside: Aside,
        advert: Advert,
        source: IpAddr,
        outputs: &mut Outputs,
    ) -> State {
        self.count_received(&advert, source, outputs);
        let heard = Peer { priority: advert.priority, address: source };
        aside.master = (advert.priority != LEAVING).then_some(heard);
        State::Aside(aside)
    }

    pub(super) fn configure_aside(
        &mut self,
        now: Instant,
        aside: Aside,
        settings: Settings,
        outputs: &mut Outputs,
    ) -> State {
        self.replace_settings(settings);
        if self.stands_aside() {
            return State::Aside(aside);
        }
        self.start(now, aside.address, outputs)
    }
}
