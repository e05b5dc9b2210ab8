//! What one router may and must do, given what it has received: the law it is watched by, written from RFC 9568
//! without the code under test.

use core::net::IpAddr;
use core::time::Duration;

use bascule_core::router::Role;
use bascule_core::time::Instant;

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
}

/// One router under watch.
#[derive(Clone, Debug)]
pub struct Watch {
    pub address: IpAddr,
    pub priority: u8,
    pub interval: Duration,
    pub preempt: bool,
    pub preempt_delay: Duration,
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

    pub fn rank(&self) -> (u8, IpAddr) {
        (self.priority, self.address)
    }

    /// Checks one step and remembers it.
    pub fn observe(&mut self, now: Instant, cause: Cause, role: &Role, sent: &[u8]) -> Result<(), String> {
        let sight = Sight { now, role, sent };
        self.seen = match self.seen {
            Seen::Off => self.off(&sight, cause)?,
            Seen::Backup { .. } | Seen::Master { .. } if matches!(cause, Cause::Resumed) => {
                self.resumed(&sight)?
            }
            Seen::Backup { earliest, interval, preempt_at } => {
                self.backup(&sight, cause, earliest, interval, preempt_at)?
            }
            Seen::Master { due, sent, answered } => self.master(&sight, cause, due, sent, answered)?,
        };
        Ok(())
    }

    /// Whether a deadline was slept through; a router that runs is never later than `jitter`.
    pub fn overslept(&self, now: Instant, jitter: Duration) -> Result<(), String> {
        match self.seen {
            Seen::Off => Ok(()),
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

    fn off(&self, sight: &Sight, cause: Cause) -> Result<Seen, String> {
        match cause {
            Cause::Up | Cause::Resumed => self.cold(sight),
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
        match (self.seen, sight.role) {
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
            Cause::Timer if now < due => self.stays_master(sight, stay, &[]),
            Cause::Timer => {
                let next = due + self.interval;
                let due = if next > now { next } else { now + self.interval };
                self.stays_master(sight, Seen::Master { due, sent: now, answered }, &[self.priority])
            }
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
