//! Whether a system on trial is kept: the box must balance as well as it did before the update.
//!
//! `Sight` is what is seen of a box at one moment; one is kept from before the restart. After it `Gate` compares one
//! sight after the other with that. What cannot become better by waiting refuses at once; everything else has until
//! the deadline, and must then hold for a while without a break. A fault that was there before the update is no reason
//! to refuse it: the update may be the way out of it.

use core::net::IpAddr;
use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::net::Name;
use crate::router::Role;
use crate::status::{HealthWord, ServiceLine, Status};
use crate::time::Instant;

/// Everything must hold for this long without a break.
pub const STABLE: Duration = Duration::from_secs(30);
/// A trial that is not kept within this time since the start of the gate is refused.
pub const DEADLINE: Duration = Duration::from_secs(180);

/// A box at one moment, as far as it matters for keeping an update.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sight {
    /// Version of the running system.
    pub version: String,
    /// Generation of the configuration that runs; none in failsafe.
    pub generation: Option<u64>,
    /// Time since the agent started.
    pub agent_uptime: Duration,
    /// Virtual routers, each with its fault.
    pub routers: BTreeMap<Name, Option<String>>,
    /// Services with their real servers.
    pub services: BTreeMap<Name, Pool>,
    /// Kernel state that could not be brought about, with reasons.
    pub problems: BTreeSet<String>,
    /// Gateways of the configuration, and whether each answers.
    pub gateways: BTreeMap<IpAddr, bool>,
    /// The kernel had an oops since it started (`TAINT_DIE` in Documentation/admin-guide/tainted-kernels.rst).
    pub oops: bool,
}

/// The real servers of a service.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pool {
    /// Up, or without a check.
    pub usable: usize,
    /// Not probed enough yet.
    pub pending: usize,
    /// Whether the kernel has the service as wanted.
    pub in_kernel: bool,
}

impl Sight {
    /// From what the agent says; generation, gateways and oops are for the caller to fill in.
    #[must_use]
    pub fn of(status: &Status) -> Self {
        let fault = |role: &Role| match role {
            Role::Fault(reason) => Some(reason.to_string()),
            Role::Master | Role::Backup => None,
        };
        Self {
            version: status.version.clone(),
            generation: None,
            agent_uptime: status.agent_uptime,
            routers: status
                .routers
                .iter()
                .map(|router| (router.name.clone(), fault(&router.status.role)))
                .collect(),
            services: status.services.iter().map(|line| (line.name.clone(), Pool::of(line))).collect(),
            problems: status.problems.iter().cloned().collect(),
            gateways: BTreeMap::new(),
            oops: false,
        }
    }
}

impl Pool {
    fn of(line: &ServiceLine) -> Self {
        let count = |words: &[HealthWord]| {
            line.servers.iter().filter(|server| !server.sorry && words.contains(&server.health)).count()
        };
        Self {
            usable: count(&[HealthWord::Up, HealthWord::Unchecked]),
            pending: count(&[HealthWord::Pending]),
            in_kernel: line.in_kernel,
        }
    }

    /// Whether it serves as well as `before`: one server less or a fifth less is within what a day brings, none at
    /// all is not.
    fn serves_as(&self, before: &Self) -> bool {
        let enough = self.usable + 1 >= before.usable || self.usable * 5 >= before.usable * 4;
        enough && (self.usable > 0 || before.usable == 0)
    }
}

/// What the gate says of a system on trial.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Verdict {
    /// Not yet; what is still wanting, empty while everything holds but not for long enough.
    Wait(Vec<String>),
    /// The system is kept.
    Keep,
    /// The system is given up, for these reasons.
    Refuse(Vec<String>),
}

/// The gate of one trial.
#[derive(Clone, Debug)]
pub struct Gate {
    before: Sight,
    started: Instant,
    deadline: Duration,
    /// Since when everything holds.
    holds: Option<Instant>,
}

impl Gate {
    /// A gate that opens at `now`; `before` is the box before the restart. With an empty one (it was lost) only what
    /// the box says of itself counts.
    #[must_use]
    pub fn new(before: Sight, now: Instant) -> Self {
        Self { before, started: now, deadline: DEADLINE, holds: None }
    }

    /// The same with another deadline than [`DEADLINE`]; never a later one.
    #[must_use]
    pub fn within(self, deadline: Duration) -> Self {
        Self { deadline: deadline.min(DEADLINE), ..self }
    }

    /// A look at the box; `None` when its agent does not answer.
    pub fn look(&mut self, now: Instant, sight: Option<&Sight>) -> Verdict {
        let (hopeless, wanting) = match sight {
            Some(sight) => (self.hopeless(sight), self.wanting(now, sight)),
            None => (Vec::new(), vec!["the agent does not answer".to_owned()]),
        };
        if !hopeless.is_empty() {
            return Verdict::Refuse(hopeless);
        }
        if wanting.is_empty() {
            let since = *self.holds.get_or_insert(now);
            if now.since(since) >= STABLE {
                return Verdict::Keep;
            }
        } else {
            self.holds = None;
        }
        if now.since(self.started) < self.deadline {
            return Verdict::Wait(wanting);
        }
        let seconds = self.deadline.as_secs();
        if wanting.is_empty() {
            return Verdict::Refuse(vec![format!("within {seconds} s it did not hold for long enough")]);
        }
        Verdict::Refuse(wanting.into_iter().map(|text| format!("{text}, after {seconds} s")).collect())
    }

    /// Time until the deadline.
    #[must_use]
    pub fn left(&self, now: Instant) -> Duration {
        self.deadline.saturating_sub(now.since(self.started))
    }

    /// What waiting does not mend.
    fn hopeless(&self, now: &Sight) -> Vec<String> {
        let mut reasons = Vec::new();
        if now.oops && !self.before.oops {
            reasons.push("the kernel had an oops".to_owned());
        }
        // A later one is an operator's commit.
        if let Some(before) = self.before.generation
            && now.generation.is_none_or(|runs| runs < before)
        {
            let runs = now.generation.map_or("none of the operator's".to_owned(), |other| other.to_string());
            reasons.push(format!("configuration generation {before} ran before, now {runs}"));
        }
        reasons
    }

    /// What is not as it was, and may become so.
    fn wanting(&self, at: Instant, now: &Sight) -> Vec<String> {
        let mut texts = Vec::new();
        if self.holds.is_some_and(|since| now.agent_uptime < at.since(since)) {
            texts.push("the agent was started again".to_owned());
        }
        texts.extend(now.wanting(&self.before));
        texts
    }
}

impl Sight {
    /// What is not as it was `before`, on this box or on the other one of a pair, and may become so.
    #[must_use]
    pub fn wanting(&self, before: &Self) -> Vec<String> {
        let now = self;
        let mut texts: Vec<String> = now.problems.difference(&before.problems).cloned().collect();
        for (name, fault) in &now.routers {
            let old = before.routers.get(name).is_some_and(Option::is_some);
            if let Some(reason) = fault.as_ref().filter(|_| !old) {
                texts.push(format!("virtual router {name} has a fault: {reason}"));
            }
        }
        for name in before.routers.keys().filter(|name| !now.routers.contains_key(*name)) {
            texts.push(format!("virtual router {name} is gone"));
        }
        for (name, pool) in &before.services {
            texts.extend(service_wanting(name, pool, now.services.get(name)));
        }
        for (gateway, _) in before.gateways.iter().filter(|(_, answered)| **answered) {
            if now.gateways.get(gateway) != Some(&true) {
                texts.push(format!("gateway {gateway} answered before and does not answer"));
            }
        }
        texts
    }
}

fn service_wanting(name: &Name, before: &Pool, now: Option<&Pool>) -> Option<String> {
    let Some(now) = now else { return Some(format!("service {name} is gone")) };
    if !now.in_kernel && before.in_kernel {
        return Some(format!("service {name} is not in the kernel as it should be"));
    }
    if now.pending > 0 {
        return Some(format!("service {name}: {} real servers are not checked yet", now.pending));
    }
    (!now.serves_as(before)).then(|| {
        format!("service {name} has {} usable real servers, before it had {}", now.usable, before.usable)
    })
}

#[cfg(test)]
#[path = "gate_tests.rs"]
mod tests;
