//! What one router may and must do, given what it has received: the law it is watched by, written from RFC 9568
//! without the code under test.

use core::net::IpAddr;
use core::time::Duration;

use bascule_core::router::Role;
use bascule_core::time::Instant;
use bascule_core::vrrp::Stance;

/// An advert as a receiver sees it.
#[derive(Clone, Copy, Debug)]
pub struct Heard {
    pub priority: u8,
    pub interval: Duration,
    pub source: IpAddr,
}

/// What was done to the router in this step.
#[derive(Clone, Copy, Debug)]
pub enum Cause {
    Up,
    Resumed,
    Down,
    Leave,
    Heard(Heard),
    Timer,
    Priority(u8),
    Told(Told),
}

/// What an operator told it, and what that makes of its settings.
#[derive(Clone, Copy, Debug)]
pub struct Told {
    pub stance: Stance,
    pub priority: u8,
    pub preempt: bool,
    pub preempt_delay: Duration,
}

#[derive(Clone, Copy, Debug)]
pub enum Seen {
    Off,
    Backup {
        /// Nobody may see it Master before.
        earliest: Instant,
        interval: Duration,
        preempt_at: Option<Instant>,
    },
    Master {
        due: Instant,
        sent: Instant,
        answered: Option<Instant>,
    },
    /// Holds the addresses and says farewell.
    Yielding {
        due: Instant,
        sent: Instant,
        until: Instant,
    },
    /// Holds the addresses for a moment more.
    Lingering {
        until: Instant,
        heard: Instant,
        interval: Duration,
    },
    Aside,
}

/// How long a router that has yielded keeps its addresses.
const LINGER: Duration = Duration::from_millis(200);

/// One router under watch.
#[derive(Clone, Debug)]
pub struct Watch {
    pub address: IpAddr,
    pub priority: u8,
    pub interval: Duration,
    pub preempt: bool,
    pub preempt_delay: Duration,
    pub stance: Stance,
    pub seen: Seen,
}

fn skew(priority: u8, interval: Duration) -> Duration {
    let nanos = interval.as_nanos() as u64 * (256 - u64::from(priority)) / 256;
    Duration::from_nanos(nanos)
}

fn down(priority: u8, interval: Duration) -> Duration {
    interval + interval + interval + skew(priority, interval)
}

/// What was seen of it in this step.
struct Sight<'a> {
    now: Instant,
    role: &'a Role,
    /// Priorities of the adverts it sent.
    sent: &'a [u8],
}

impl Sight<'_> {
    fn must_send(&self, adverts: &[u8], why: &str) -> Result<(), String> {
        if self.sent == adverts {
            return Ok(());
        }
        Err(format!("packets: sent adverts {:?} where {adverts:?} is lawful ({why})", self.sent))
    }
}

impl Watch {
    pub const fn is_master(&self) -> bool {
        matches!(self.seen, Seen::Master { .. })
    }

    /// Whether it answers for the addresses.
    pub const fn holds(&self) -> bool {
        matches!(self.seen, Seen::Master { .. } | Seen::Yielding { .. } | Seen::Lingering { .. })
    }

    const fn aside(&self) -> bool {
        matches!(self.stance, Stance::Aside { .. })
    }

    pub fn rank(&self) -> (u8, IpAddr) {
        (self.priority, self.address)
    }

    /// Checks one step and remembers it.
    pub fn observe(&mut self, now: Instant, cause: Cause, role: &Role, sent: &[u8]) -> Result<(), String> {
        let sight = Sight { now, role, sent };
        self.seen = match self.seen {
            Seen::Off => self.off(&sight, cause)?,
            Seen::Backup { .. }
            | Seen::Master { .. }
            | Seen::Yielding { .. }
            | Seen::Lingering { .. }
            | Seen::Aside
                if matches!(cause, Cause::Resumed) =>
            {
                self.resumed(&sight)?
            }
            Seen::Backup { earliest, interval, preempt_at } => {
                self.backup(&sight, cause, earliest, interval, preempt_at)?
            }
            Seen::Master { due, sent, answered } => self.master(&sight, cause, due, sent, answered)?,
            Seen::Yielding { due, sent, until } => self.yielding(&sight, cause, due, sent, until)?,
            Seen::Lingering { until, heard, interval } => {
                self.lingering(&sight, cause, until, heard, interval)?
            }
            Seen::Aside => self.stood_aside(&sight, cause)?,
        };
        Ok(())
    }

    /// Whether a deadline was slept through; a router that runs is never later than `jitter`.
    pub fn overslept(&self, now: Instant, jitter: Duration) -> Result<(), String> {
        match self.seen {
            Seen::Off | Seen::Aside => Ok(()),
            Seen::Yielding { due, until, .. } if now <= due.min(until) + jitter => Ok(()),
            Seen::Lingering { until, .. } if now <= until + jitter => Ok(()),
            Seen::Yielding { .. } => Err("late: it yields and neither says so nor gives up".into()),
            Seen::Lingering { .. } => Err("late: it has handed over and does not step back".into()),
            Seen::Backup { earliest, .. } if now <= earliest + jitter => Ok(()),
            Seen::Master { due, .. } if now <= due + jitter => Ok(()),
            Seen::Backup { .. } => Err("late: the Master is down and it does not take over".into()),
            Seen::Master { .. } => Err("late: a Master that does not advert".into()),
        }
    }

    fn new_master(&self, now: Instant) -> Seen {
        Seen::Master { due: now + self.interval, sent: now, answered: None }
    }

    fn cold(&self, sight: &Sight) -> Result<Seen, String> {
        let owner = self.priority == 255;
        match sight.role {
            Role::Master if owner => {
                sight.must_send(&[255], "the owner starts")?;
                Ok(self.new_master(sight.now))
            }
            Role::Backup if self.aside() => {
                sight.must_send(&[], "a start aside")?;
                Ok(Seen::Aside)
            }
            Role::Backup if !owner => {
                sight.must_send(&[], "a start as Backup")?;
                let earliest = sight.now + down(self.priority, self.interval);
                Ok(Seen::Backup { earliest, interval: self.interval, preempt_at: None })
            }
            role @ (Role::Fault(_) | Role::Backup | Role::Master) => {
                Err(format!("early: {role:?} after a start with priority {}", self.priority))
            }
        }
    }

    fn off(&mut self, sight: &Sight, cause: Cause) -> Result<Seen, String> {
        match cause {
            Cause::Up | Cause::Resumed => self.cold(sight),
            Cause::Told(told) => {
                self.obey(told);
                sight.must_send(&[], "no part in it")?;
                Ok(Seen::Off)
            }
            Cause::Down | Cause::Leave | Cause::Heard(_) | Cause::Timer | Cause::Priority(_) => {
                sight.must_send(&[], "no part in it")?;
                match sight.role {
                    Role::Fault(_) => Ok(Seen::Off),
                    Role::Backup | Role::Master => Err(format!("{:?} without an interface", sight.role)),
                }
            }
        }
    }

    fn resumed(&self, sight: &Sight) -> Result<Seen, String> {
        let until = match self.stance {
            Stance::Normal | Stance::Takeover { .. } => Instant::ZERO,
            Stance::Yield { told } | Stance::Aside { told } => told + down(self.priority, self.interval),
        };
        match (self.seen, sight.role) {
            (Seen::Master { sent, .. } | Seen::Yielding { sent, .. }, Role::Master)
                if sight.now < sent + 3 * self.interval && sight.now < until =>
            {
                sight.must_send(&[0], "it goes on yielding")?;
                Ok(Seen::Yielding { due: sight.now + self.interval, sent: sight.now, until })
            }
            (Seen::Yielding { sent, .. }, Role::Master)
                if sight.now < sent + 3 * self.interval && !self.aside() =>
            {
                sight.must_send(&[self.priority], "a Master resumes")?;
                Ok(self.new_master(sight.now))
            }
            (Seen::Lingering { .. } | Seen::Backup { .. } | Seen::Aside, Role::Backup) if self.aside() => {
                sight.must_send(&[], "it resumes aside")?;
                Ok(Seen::Aside)
            }
            (Seen::Lingering { heard, interval, .. }, Role::Backup) => {
                sight.must_send(&[], "a Backup resumes")?;
                let room = sight.now + interval + skew(self.priority, interval);
                let earliest = room.max(heard + down(self.priority, interval));
                Ok(Seen::Backup { earliest, interval, preempt_at: None })
            }
            (Seen::Master { sent, .. }, Role::Master) if sight.now < sent + 3 * self.interval => {
                sight.must_send(&[self.priority], "a Master resumes")?;
                Ok(self.new_master(sight.now))
            }
            (Seen::Backup { earliest, interval, .. }, Role::Backup) if self.priority != 255 => {
                sight.must_send(&[], "a Backup resumes")?;
                let room = sight.now + interval + skew(self.priority, interval);
                Ok(Seen::Backup { earliest: earliest.max(room), interval, preempt_at: None })
            }
            _ => self.cold(sight),
        }
    }

    fn backup(
        &mut self,
        sight: &Sight,
        cause: Cause,
        mut earliest: Instant,
        mut interval: Duration,
        mut preempt_at: Option<Instant>,
    ) -> Result<Seen, String> {
        let now = sight.now;
        match cause {
            Cause::Down | Cause::Leave => {
                sight.must_send(&[], "a Backup goes")?;
                return Ok(Seen::Off);
            }
            Cause::Up | Cause::Resumed | Cause::Timer => {}
            Cause::Priority(priority) => {
                let base = earliest - skew(self.priority, interval);
                // It may lie in the past now: then it is lawful, and due, from this moment.
                earliest = (base + skew(priority, interval)).max(now);
                self.priority = priority;
            }
            Cause::Told(told) => {
                let base = earliest - skew(self.priority, interval);
                self.obey(told);
                earliest = (base + skew(self.priority, interval)).max(now);
                match told.stance {
                    Stance::Normal => {}
                    Stance::Yield { .. } => {
                        earliest = earliest.max(now + interval + skew(self.priority, interval));
                        preempt_at = None;
                    }
                    Stance::Takeover { .. } if *sight.role == Role::Master => {
                        sight.must_send(&[self.priority], "told to take over")?;
                        return Ok(self.new_master(now));
                    }
                    Stance::Takeover { .. } => return Err("late: told to take over".into()),
                    Stance::Aside { .. } => {
                        sight.must_send(&[], "told to stand aside")?;
                        return self.cold(sight);
                    }
                }
            }
            Cause::Heard(heard) if heard.priority == 0 => {
                earliest = earliest.min(now + skew(self.priority, interval));
            }
            Cause::Heard(heard) => {
                let lower = heard.priority < self.priority;
                if !lower {
                    preempt_at = None;
                } else if self.preempt && preempt_at.is_none() {
                    preempt_at = Some(now + self.preempt_delay);
                }
                if !lower || !self.preempt || preempt_at.is_some_and(|at| now < at) {
                    interval = heard.interval;
                    earliest = now + down(self.priority, interval);
                }
            }
        }
        match sight.role {
            Role::Fault(reason) => Err(format!("Fault with its interface up: {reason}")),
            Role::Master if !matches!(cause, Cause::Timer) => Err(format!("early: Master by {cause:?}")),
            Role::Master if now < earliest => {
                Err(format!("early: Master {:?} before the lawful moment", earliest.since(now)))
            }
            Role::Master => {
                sight.must_send(&[self.priority], "a takeover")?;
                Ok(self.new_master(now))
            }
            Role::Backup if matches!(cause, Cause::Timer) && now >= earliest => {
                Err("late: the Master is down and the timer does not make it Master".into())
            }
            Role::Backup => {
                sight.must_send(&[], "a Backup")?;
                Ok(Seen::Backup { earliest, interval, preempt_at })
            }
        }
    }

    fn master(
        &mut self,
        sight: &Sight,
        cause: Cause,
        due: Instant,
        last: Instant,
        answered: Option<Instant>,
    ) -> Result<Seen, String> {
        let now = sight.now;
        let stay = Seen::Master { due, sent: last, answered };
        match cause {
            Cause::Down => {
                sight.must_send(&[], "no interface to send on")?;
                Ok(Seen::Off)
            }
            Cause::Leave => {
                sight.must_send(&[0], "a Master leaves")?;
                Ok(Seen::Off)
            }
            Cause::Heard(heard) => self.master_heard(sight, heard, due, last, answered),
            Cause::Up | Cause::Resumed => self.stays_master(sight, stay, &[]),
            Cause::Priority(priority) => {
                self.priority = priority;
                self.stays_master(sight, stay, &[])
            }
            Cause::Told(told) => {
                self.obey(told);
                match told.stance {
                    Stance::Normal | Stance::Takeover { .. } => self.stays_master(sight, stay, &[]),
                    Stance::Yield { .. } | Stance::Aside { .. } => self.begins_to_yield(sight),
                }
            }
            Cause::Timer if now < due => self.stays_master(sight, stay, &[]),
            Cause::Timer => {
                let next = due + self.interval;
                let due = if next > now { next } else { now + self.interval };
                self.stays_master(sight, Seen::Master { due, sent: now, answered }, &[self.priority])
            }
        }
    }

    fn obey(&mut self, told: Told) {
        let Told { stance, priority, preempt, preempt_delay } = told;
        (self.stance, self.priority) = (stance, priority);
        (self.preempt, self.preempt_delay) = (preempt, preempt_delay);
    }

    fn begins_to_yield(&self, sight: &Sight) -> Result<Seen, String> {
        let until = sight.now + down(self.priority, self.interval);
        let seen = Seen::Yielding { due: sight.now + self.interval, sent: sight.now, until };
        self.stays_master(sight, seen, &[0])
    }

    fn yielding(
        &mut self,
        sight: &Sight,
        cause: Cause,
        due: Instant,
        sent: Instant,
        until: Instant,
    ) -> Result<Seen, String> {
        let now = sight.now;
        let stay = Seen::Yielding { due, sent, until };
        match cause {
            Cause::Down => self.goes(sight, &[]),
            Cause::Leave => self.goes(sight, &[0]),
            Cause::Up | Cause::Resumed => self.stays_master(sight, stay, &[]),
            Cause::Priority(priority) => {
                self.priority = priority;
                self.stays_master(sight, stay, &[])
            }
            Cause::Heard(heard) if heard.priority == 0 => self.stays_master(sight, stay, &[]),
            Cause::Heard(heard) => {
                let seen = Seen::Lingering { until: now + LINGER, heard: now, interval: heard.interval };
                self.stays_master(sight, seen, &[])
            }
            Cause::Timer if now >= until && self.aside() => self.cold(sight),
            Cause::Timer if now >= until => self.stays_master(sight, self.new_master(now), &[self.priority]),
            Cause::Timer if now < due => self.stays_master(sight, stay, &[]),
            Cause::Timer => {
                let seen = Seen::Yielding { due: now + self.interval, sent: now, until };
                self.stays_master(sight, seen, &[0])
            }
            Cause::Told(told) => {
                self.obey(told);
                match told.stance {
                    Stance::Normal | Stance::Takeover { .. } => {
                        self.stays_master(sight, self.new_master(now), &[self.priority])
                    }
                    Stance::Yield { .. } | Stance::Aside { .. } => self.begins_to_yield(sight),
                }
            }
        }
    }

    fn lingering(
        &mut self,
        sight: &Sight,
        cause: Cause,
        until: Instant,
        heard: Instant,
        interval: Duration,
    ) -> Result<Seen, String> {
        let now = sight.now;
        let stay = Seen::Lingering { until, heard, interval };
        match cause {
            Cause::Down | Cause::Leave => self.goes(sight, &[]),
            Cause::Up | Cause::Resumed => self.stays_master(sight, stay, &[]),
            Cause::Priority(priority) => {
                self.priority = priority;
                self.stays_master(sight, stay, &[])
            }
            Cause::Told(told) => {
                self.obey(told);
                match told.stance {
                    Stance::Takeover { .. } => {
                        self.stays_master(sight, self.new_master(now), &[self.priority])
                    }
                    Stance::Normal | Stance::Yield { .. } | Stance::Aside { .. } => {
                        self.stays_master(sight, stay, &[])
                    }
                }
            }
            Cause::Heard(new) if new.priority == 0 => {
                self.steps_back(sight, now + skew(self.priority, interval), interval)
            }
            Cause::Heard(new) => {
                let seen = Seen::Lingering { until, heard: now, interval: new.interval };
                self.stays_master(sight, seen, &[])
            }
            Cause::Timer if now < until => self.stays_master(sight, stay, &[]),
            Cause::Timer => {
                let earliest = heard + down(self.priority, interval);
                if now >= earliest && !self.aside() {
                    return self.stays_master(sight, self.new_master(now), &[self.priority]);
                }
                self.steps_back(sight, earliest, interval)
            }
        }
    }

    fn steps_back(&self, sight: &Sight, earliest: Instant, interval: Duration) -> Result<Seen, String> {
        sight.must_send(&[], "it has handed over")?;
        match sight.role {
            Role::Backup if self.aside() => Ok(Seen::Aside),
            Role::Backup => Ok(Seen::Backup { earliest, interval, preempt_at: None }),
            Role::Master | Role::Fault(_) => Err(format!("two Masters: {:?} after its time", sight.role)),
        }
    }

    fn stood_aside(&mut self, sight: &Sight, cause: Cause) -> Result<Seen, String> {
        match cause {
            Cause::Down | Cause::Leave => return self.goes(sight, &[]),
            Cause::Priority(priority) => self.priority = priority,
            Cause::Told(told) => self.obey(told),
            Cause::Up | Cause::Resumed | Cause::Heard(_) | Cause::Timer => {}
        }
        // Aside as before, or a whole wait as at a start.
        self.cold(sight)
    }

    fn goes(&self, sight: &Sight, adverts: &[u8]) -> Result<Seen, String> {
        sight.must_send(adverts, "it goes")?;
        match sight.role {
            Role::Fault(_) => Ok(Seen::Off),
            Role::Backup | Role::Master => Err(format!("{:?} after it went", sight.role)),
        }
    }

    fn stays_master(&self, sight: &Sight, seen: Seen, adverts: &[u8]) -> Result<Seen, String> {
        if *sight.role != Role::Master {
            return Err(format!("yields without cause: {:?}", sight.role));
        }
        sight.must_send(adverts, "a Master")?;
        Ok(seen)
    }

    fn master_heard(
        &self,
        sight: &Sight,
        heard: Heard,
        due: Instant,
        last: Instant,
        answered: Option<Instant>,
    ) -> Result<Seen, String> {
        let now = sight.now;
        if heard.priority == 0 {
            let seen = Seen::Master { due: now + self.interval, sent: now, answered };
            return self.stays_master(sight, seen, &[self.priority]);
        }
        let outranked = (heard.priority, heard.source) > self.rank();
        // Silent for three intervals without the right to preempt: the other took over lawfully.
        let overtaken = !self.preempt && now >= last + 3 * self.interval;
        if outranked || overtaken {
            if *sight.role != Role::Backup {
                return Err(format!("two Masters: {:?} after it heard {heard:?}", sight.role));
            }
            sight.must_send(&[], "it yields")?;
            let earliest = now + down(self.priority, heard.interval);
            return Ok(Seen::Backup { earliest, interval: heard.interval, preempt_at: None });
        }
        if answered.is_some_and(|at| now < at + self.interval) {
            return self.stays_master(sight, Seen::Master { due, sent: last, answered }, &[]);
        }
        let seen = Seen::Master { due, sent: now, answered: Some(now) };
        self.stays_master(sight, seen, &[self.priority])
    }
}
