//! The schedule of the probes and the state of every target.
//!
//! The first round runs at once, 10 ms apart, but spread over one interval at most; the phases it gives stay.
//! A probe that is never answered (the prober was restarted) says nothing about the server.

use core::net::SocketAddr;
use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde::{Deserialize, Serialize};

use super::{Probe, ProbeId, ProbeKind, ProbeOutcome, Target, Verdict};
use crate::config::model::Start;
use crate::time::Instant;

/// Distance of two probes in the first round, unless that would take longer than one interval.
const STAGGER: Duration = Duration::from_millis(10);
/// How long after its timeout the answer to a probe may still come.
const GRACE: Duration = Duration::from_secs(1);
/// The interval is divided by this while a target is about to change.
const HURRY: u32 = 5;
/// But probes do not follow each other faster than this, unless the interval does.
const HURRY_MIN: Duration = Duration::from_millis(100);
/// Shortest interval that is scheduled; the configuration check asks for more.
const INTERVAL_MIN: Duration = Duration::from_millis(10);

/// What is known of a target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Not decided yet.
    Pending {
        /// Successes in a row.
        good: u8,
        /// Failures in a row.
        bad: u8,
    },
    /// In.
    Up {
        /// Failures in a row, fewer than `fall`.
        bad: u8,
    },
    /// Out.
    Down {
        /// Successes in a row, fewer than `rise`.
        good: u8,
        /// Why it went out.
        reason: String,
    },
}

impl Standing {
    const NEW: Self = Self::Pending { good: 0, bad: 0 };

    /// Whether probes disagree with the state, so that the next one should come soon.
    const fn undecided(&self) -> bool {
        match self {
            Self::Pending { .. } => true,
            Self::Up { bad } => *bad > 0,
            Self::Down { good, .. } => *good > 0,
        }
    }
}

/// A target has gone in or out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Which.
    pub target: Target,
    /// Why it is out now; `None` when it is in.
    pub down: Option<String>,
}

/// A target for the status picture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    /// What is known.
    pub standing: Standing,
    /// Last failure or latency, in words; empty before the first answer.
    pub detail: String,
    /// When it entered this state, as far as this agent knows.
    pub since: Instant,
    /// How long the last answer took; `None` when the last probe failed, or none was answered yet.
    pub latency: Option<Duration>,
}

/// What of the health survives the agent: with it a successor leaves the kernel's table as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// The decided targets.
    pub known: Vec<Known>,
}

/// One decided target. Only the backend and the kind of check identify it, so that changed intervals or
/// thresholds do not make it unknown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Known {
    /// Where the probes went.
    pub address: SocketAddr,
    /// What they did.
    pub kind: ProbeKind,
    /// Why it was out; `None` when it was in.
    pub down: Option<String>,
}

#[derive(Clone, Debug)]
struct Flight {
    id: ProbeId,
    started: Instant,
    expires: Instant,
}

#[derive(Clone, Debug)]
struct Watch {
    standing: Standing,
    /// Start of the next probe, in the phase of the target.
    next: Instant,
    flight: Option<Flight>,
    /// Probes in a row that were never answered.
    lost: u32,
    detail: String,
    since: Instant,
    latency: Option<Duration>,
}

impl Watch {
    fn deadline(&self) -> Instant {
        self.flight.as_ref().map_or(self.next, |flight| flight.expires)
    }
}

/// All targets of the box.
#[derive(Clone, Debug, Default)]
pub struct Monitor {
    watches: BTreeMap<Target, Watch>,
    /// Deadline of each watch.
    queue: BTreeSet<(Instant, Target)>,
    in_flight: HashMap<ProbeId, Target>,
    remembered: HashMap<(SocketAddr, ProbeKind), Standing>,
    last_id: u64,
}

impl Monitor {
    /// A monitor that knows what its predecessor knew. An empty snapshot is a fresh boot.
    #[must_use]
    pub fn resume(snapshot: Snapshot) -> Self {
        let standing = |known: Known| {
            let standing = match known.down {
                None => Standing::Up { bad: 0 },
                Some(reason) => Standing::Down { good: 0, reason },
            };
            ((known.address, known.kind), standing)
        };
        Self { remembered: snapshot.known.into_iter().map(standing).collect(), ..Self::default() }
    }

    /// What to keep for a successor.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let mut known = BTreeMap::new();
        for (target, watch) in &self.watches {
            let down = match &watch.standing {
                Standing::Pending { .. } => continue,
                Standing::Up { .. } => None,
                Standing::Down { reason, .. } => Some(reason.clone()),
            };
            known.insert((target.address, target.kind.clone()), down);
        }
        Snapshot {
            known: known.into_iter().map(|((address, kind), down)| Known { address, kind, down }).collect(),
        }
    }

    /// Watches exactly `targets` from now on. Unchanged targets keep everything; one whose check was only
    /// retuned keeps its state.
    pub fn configure(&mut self, now: Instant, targets: BTreeSet<Target>) {
        let mut remembered = core::mem::take(&mut self.remembered);
        let mut since = HashMap::new();
        for (target, watch) in &self.watches {
            let key = (target.address, target.kind.clone());
            since.insert(key.clone(), watch.since);
            remembered.insert(key, watch.standing.clone());
        }
        self.watches.retain(|target, _| targets.contains(target));
        self.in_flight.retain(|_, target| targets.contains(target));
        let fresh: Vec<Target> = targets.into_iter().filter(|t| !self.watches.contains_key(t)).collect();
        let count = u32::try_from(fresh.len()).unwrap_or(u32::MAX).max(1);
        for (place, target) in (0u32..).zip(fresh) {
            let step = STAGGER.min(target.interval / count);
            let key = (target.address, target.kind.clone());
            let standing = match remembered.get(&key) {
                Some(Standing::Up { .. }) => Standing::Up { bad: 0 },
                Some(Standing::Down { reason, .. }) => Standing::Down { good: 0, reason: reason.clone() },
                Some(Standing::Pending { .. }) | None => Standing::NEW,
            };
            let next = now + step * place;
            let since = since.get(&key).copied().unwrap_or(now);
            let detail = String::new();
            let watch = Watch { standing, next, flight: None, lost: 0, detail, since, latency: None };
            self.watches.insert(target, watch);
        }
        self.queue = self.watches.iter().map(|(target, watch)| (watch.deadline(), target.clone())).collect();
    }

    /// When `poll` has something to do.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        self.queue.first().map(|(at, _)| *at)
    }

    /// The probes to start now.
    pub fn poll(&mut self, now: Instant) -> Vec<Probe> {
        let mut probes = Vec::new();
        while self.queue.first().is_some_and(|(at, _)| *at <= now) {
            let Some((_, target)) = self.queue.pop_first() else { break };
            let Some(watch) = self.watches.get_mut(&target) else { continue };
            if let Some(lost) = watch.flight.take() {
                self.in_flight.remove(&lost.id);
                watch.lost = watch.lost.saturating_add(1);
            }
            if watch.next <= now {
                self.last_id += 1;
                let id = ProbeId(self.last_id);
                watch.next = following(watch.next, target.interval, now);
                watch.flight = Some(Flight { id, started: now, expires: now + target.timeout + GRACE });
                self.in_flight.insert(id, target.clone());
                probes.push(Probe {
                    id,
                    target: target.address,
                    kind: target.kind.clone(),
                    timeout: target.timeout,
                });
            }
            self.queue.insert((watch.deadline(), target));
        }
        probes
    }

    /// Takes the answer to a probe. Answers to forgotten probes do nothing.
    pub fn outcome(&mut self, now: Instant, outcome: ProbeOutcome) -> Option<Change> {
        let target = self.in_flight.remove(&outcome.id)?;
        let watch = self.watches.get_mut(&target)?;
        self.queue.remove(&(watch.deadline(), target.clone()));
        watch.lost = 0;
        let started = watch.flight.take().map_or(now, |flight| flight.started);
        watch.detail = match &outcome.verdict {
            Verdict::Up => format!("answered in {}", millis(outcome.took)),
            Verdict::Down(reason) => reason.clone(),
        };
        watch.latency = (outcome.verdict == Verdict::Up).then_some(outcome.took);
        let change = advance(&target, &mut watch.standing, outcome.verdict);
        if change.is_some() {
            watch.since = now;
        }
        if watch.standing.undecided() {
            let hurried = started + (target.interval / HURRY).max(HURRY_MIN).min(target.interval);
            watch.next = watch.next.min(hurried.max(now));
        }
        self.queue.insert((watch.deadline(), target.clone()));
        change.map(|down| Change { target, down })
    }

    /// The prober was lost: what is in flight will never be answered and is started again.
    pub fn prober_restarted(&mut self, now: Instant) {
        let mut place = 0;
        for watch in self.watches.values_mut() {
            if watch.flight.take().is_some() {
                watch.next = watch.next.min(now + STAGGER * place);
                place += 1;
            }
        }
        self.in_flight.clear();
        self.queue = self.watches.iter().map(|(target, watch)| (watch.deadline(), target.clone())).collect();
    }

    /// Whether a service may use this target now. One that is not watched may be used.
    #[must_use]
    pub fn usable(&self, target: &Target) -> bool {
        self.watches.get(target).is_none_or(|watch| match watch.standing {
            Standing::Pending { .. } => target.start == Start::Optimistic,
            Standing::Up { .. } => true,
            Standing::Down { .. } => false,
        })
    }

    /// Whether a target is known to be out, rather than not yet known to be in.
    #[must_use]
    pub fn is_down(&self, target: &Target) -> bool {
        self.watches.get(target).is_some_and(|watch| matches!(watch.standing, Standing::Down { .. }))
    }

    /// What is known of a target.
    #[must_use]
    pub fn view(&self, target: &Target) -> Option<View> {
        self.watches.get(target).map(|watch| View {
            standing: watch.standing.clone(),
            detail: match watch.lost {
                0 => watch.detail.clone(),
                lost => format!("the last {lost} probes were not carried out: the prober does not answer"),
            },
            since: watch.since,
            latency: watch.latency,
        })
    }
}

/// The first start after `now` in the phase of `last`.
fn following(last: Instant, interval: Duration, now: Instant) -> Instant {
    let interval = interval.max(INTERVAL_MIN);
    let periods = now.since(last).as_nanos() / interval.as_nanos() + 1;
    last + interval.saturating_mul(u32::try_from(periods).unwrap_or(u32::MAX))
}

/// One step of rise and fall. Answers with the new state when it has changed: `Some(None)` is in.
fn advance(target: &Target, standing: &mut Standing, verdict: Verdict) -> Option<Option<String>> {
    match (standing.clone(), verdict) {
        (Standing::Pending { good, .. } | Standing::Down { good, .. }, Verdict::Up)
            if good.saturating_add(1) >= target.rise =>
        {
            *standing = Standing::Up { bad: 0 };
            Some(None)
        }
        (Standing::Pending { bad, .. } | Standing::Up { bad }, Verdict::Down(reason))
            if bad.saturating_add(1) >= target.fall =>
        {
            *standing = Standing::Down { good: 0, reason: reason.clone() };
            Some(Some(reason))
        }
        (Standing::Pending { good, .. }, Verdict::Up) => {
            *standing = Standing::Pending { good: good.saturating_add(1), bad: 0 };
            None
        }
        (Standing::Pending { bad, .. }, Verdict::Down(_)) => {
            *standing = Standing::Pending { good: 0, bad: bad.saturating_add(1) };
            None
        }
        (Standing::Up { .. }, Verdict::Up) => {
            *standing = Standing::Up { bad: 0 };
            None
        }
        (Standing::Up { bad }, Verdict::Down(_)) => {
            *standing = Standing::Up { bad: bad.saturating_add(1) };
            None
        }
        (Standing::Down { good, reason }, Verdict::Up) => {
            *standing = Standing::Down { good: good.saturating_add(1), reason };
            None
        }
        (Standing::Down { .. }, Verdict::Down(reason)) => {
            *standing = Standing::Down { good: 0, reason };
            None
        }
    }
}

fn millis(took: Duration) -> String {
    let tenths = took.as_micros() / 100;
    format!("{}.{} ms", tenths / 10, tenths % 10)
}

#[cfg(test)]
#[path = "monitor_tests.rs"]
mod tests;
