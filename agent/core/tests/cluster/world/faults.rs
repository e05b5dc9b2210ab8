//! What befalls a cluster: storms of faults, and the calm after each.

use core::time::Duration;

use bascule_core::net::Priority;
use bascule_core::router::{Event, Snapshot};
use bascule_core::vrrp::{LINGER, Rules, Stance};

use super::{Weather, World, interface, link};
use crate::watch::{Cause, Seen, Told};

impl<R: Rules> World<R> {
    pub(super) fn storm(&mut self) {
        (self.settled, self.planned, self.covered) = (None, None, false);
        let unit = self.nodes[0].watch.interval;
        self.weather = Weather {
            loss: self.rng.pick(&[0, 0, 5, 30, 60]),
            duplicates: self.rng.pick(&[0, 10, 50]),
            delay: self.rng.pick(&[Duration::ZERO, unit / 50, unit / 4, self.delay]).min(self.delay),
        };
        self.phase_end = self.now + self.rng.times(self.interval, 5_000, 60_000);
        self.next_fault = Some(self.now);
    }

    /// Everything is repaired and everybody runs.
    pub(super) fn calm(&mut self) -> Result<(), String> {
        self.tally.calms += 1;
        self.next_fault = None;
        self.cut = Default::default();
        self.weather = Weather { loss: 0, duplicates: 0, delay: self.nodes[0].watch.interval / 50 };
        for at in 0..self.nodes.len() {
            self.impair(at);
            if self.nodes[at].router.is_none() {
                self.nodes[at].restart = None;
                self.boot(at)?;
            }
            if self.nodes[at].stalled.is_some() {
                self.wake(at)?;
            }
            self.set_link(at, true)?;
            // Somebody must be willing.
            if matches!(self.nodes[at].settings.stance, Stance::Aside { .. }) || self.rng.percent(50) {
                self.tell(at, Stance::Normal)?;
            }
        }
        let settle = self.settle();
        self.settled = Some(self.now + settle);
        let lasts = settle + self.rng.times(self.interval, 1_000, 100_000);
        self.phase_end = self.now + lasts;
        self.planned = self.rng.percent(50).then(|| self.now + lasts);
        if self.planned.is_some() {
            self.phase_end += settle + self.rng.times(self.interval, 1_000, 20_000);
        }
        Ok(())
    }

    /// How long it may take until one Master holds, when nothing happens any more.
    fn settle(&self) -> Duration {
        // What was on its way may restart a master-down timer (4 intervals at most); then someone takes over; a
        // higher priority hears it, waits its delay, and lets it time out; then one interval for the loser.
        let wait = self.nodes.iter().map(|n| n.watch.preempt_delay).max().unwrap_or_default();
        // Who yields and finds nobody is Master again after four intervals.
        self.delay + self.interval * 16 + wait + 4 * self.jitter + LINGER
    }

    /// An operator commands something while all is well: nobody may notice but the routers.
    pub(super) fn command(&mut self) -> Result<(), String> {
        self.planned = None;
        self.settled = Some(self.now + self.settle());
        let master = self.nodes.iter().position(|node| node.watch.is_master()).unwrap_or_default();
        let told = self.now;
        match self.rng.below(4) {
            0 => self.tell(master, Stance::Yield { told }),
            1 => self.tell(master, Stance::Aside { told }),
            2 => {
                let other = (master + 1) % self.nodes.len();
                self.tell(other, Stance::Takeover { told })
            }
            _ => {
                // And thinks better of it.
                self.tell(master, Stance::Yield { told })?;
                self.tell(master, Stance::Normal)
            }
        }
    }

    /// Tells a router that runs how to stand, as the configuration of a box would have it then.
    pub(super) fn tell(&mut self, at: usize, stance: Stance) -> Result<(), String> {
        let node = &mut self.nodes[at];
        if !node.runs() || node.base.priority.is_owner() || node.settings.stance == stance {
            return Ok(());
        }
        self.tally.commands += 1;
        let mut settings = node.base.clone();
        settings.stance = stance;
        match stance {
            Stance::Normal => {}
            Stance::Yield { .. } | Stance::Aside { .. } => settings.preempt = false,
            Stance::Takeover { .. } => {
                (settings.priority, settings.preempt) = (Priority::HIGHEST, true);
                settings.preempt_delay = Duration::ZERO;
            }
        }
        node.settings = settings.clone();
        let told = Told {
            stance,
            priority: settings.priority.get(),
            preempt: settings.preempt,
            preempt_delay: settings.preempt_delay,
        };
        self.impair(at);
        self.feed(at, Event::Configure(vec![settings]), Cause::Told(told))
    }

    pub(super) fn fault(&mut self) -> Result<(), String> {
        self.next_fault = Some(self.now + self.rng.times(self.interval, 0, 8_000));
        let at = self.rng.below(self.nodes.len());
        let told = self.now;
        match self.rng.below(12) {
            0 => self.partition(),
            1 => self.cut = Default::default(),
            2 => self.crash(at),
            3 => self.stall(at),
            4 => {
                let link = !self.nodes[at].link;
                self.set_link(at, link)?;
            }
            5 => self.shutdown(at)?,
            6 => {
                let to = self.rng.below(self.nodes.len());
                self.cut[at][to] = true;
            }
            7 => self.tell(at, Stance::Yield { told })?,
            8 => self.tell(at, Stance::Takeover { told })?,
            9 => self.tell(at, Stance::Aside { told })?,
            10 => self.tell(at, Stance::Normal)?,
            _ => self.change_priority(at)?,
        }
        Ok(())
    }

    /// Splits the segment in two.
    fn partition(&mut self) {
        let side: Vec<bool> = self.nodes.iter().map(|_| self.rng.percent(50)).collect();
        for (a, left) in side.iter().enumerate() {
            for (b, right) in side.iter().enumerate() {
                self.cut[a][b] = left != right;
            }
        }
    }

    /// The agent dies and comes back: mostly soon and with its state, sometimes the whole box.
    fn crash(&mut self, at: usize) {
        let whole_box = self.rng.percent(30);
        let gone = self.rng.times(self.interval, 0, if whole_box { 20_000 } else { 5_000 });
        let node = &mut self.nodes[at];
        let Some(router) = node.router.take() else { return };
        self.tally.crashes += 1;
        node.snapshot = if whole_box { Snapshot::default() } else { router.snapshot() };
        if node.snapshot.routers.is_empty() {
            node.watch.seen = Seen::Off;
        }
        if whole_box && !matches!(node.settings.stance, Stance::Aside { .. }) {
            // Only maintenance survives a boot.
            node.settings = node.base.clone();
            node.watch.stance = Stance::Normal;
            node.watch.priority = node.base.priority.get();
            (node.watch.preempt, node.watch.preempt_delay) = (node.base.preempt, node.base.preempt_delay);
        }
        node.stalled = None;
        node.waiting.clear();
        node.restart = Some(self.now + gone);
    }

    fn stall(&mut self, at: usize) {
        let until = self.now + self.rng.times(self.interval, 100, 6_000);
        if self.nodes[at].runs() {
            self.nodes[at].stalled = Some(until);
        }
    }

    fn shutdown(&mut self, at: usize) -> Result<(), String> {
        if self.nodes[at].runs() {
            self.feed(at, Event::Shutdown, Cause::Leave)?;
            self.nodes[at].router = None;
            self.nodes[at].restart = Some(self.now + self.rng.times(self.interval, 0, 10_000));
        }
        Ok(())
    }

    fn set_link(&mut self, at: usize, up: bool) -> Result<(), String> {
        let node = &mut self.nodes[at];
        if node.link == up || node.stalled.is_some() {
            return Ok(());
        }
        node.link = up;
        let event = Event::Link(interface(), Some(link(node.watch.address, up)));
        self.impair(at);
        self.feed(at, event, if up { Cause::Up } else { Cause::Down })
    }

    fn change_priority(&mut self, at: usize) -> Result<(), String> {
        let priority: u8 = self.rng.pick(&[100, 100, 150, 1, 254]);
        let node = &mut self.nodes[at];
        if !node.runs() || node.settings.priority.is_owner() {
            return Ok(());
        }
        if matches!(node.settings.stance, Stance::Takeover { .. }) {
            return Ok(());
        }
        node.base.priority = Priority::new(priority.into()).map_err(|e| e.to_string())?;
        node.settings.priority = node.base.priority;
        let settings = node.settings.clone();
        self.impair(at);
        self.feed(at, Event::Configure(vec![settings]), Cause::Priority(priority))?;
        // Also when it is off: what it starts with.
        self.nodes[at].watch.priority = priority;
        Ok(())
    }
}
