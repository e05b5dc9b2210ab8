//! The rest of the box: configuration, roles, health and what is wanted of the kernel.
//!
//! `handle(now, Event) -> Vec<Effect>`; the main thread drives it and calls it again at `deadline`. Effects that
//! carry a level (wanted state, snapshot) come only when the level has changed.

mod command;
mod history;
mod picture;

use core::time::Duration;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::config::Config;
use crate::desired::{self, DestinationKey, Ipvs, ServiceKey};
use crate::health::{self, Change, Monitor, Probe, ProbeOutcome, Target};
use crate::net::{Endpoint, Name};
use crate::notice::Notice;
use crate::overrides::{Overrides, ServiceState};
use crate::router::{self, Roles};
use crate::time::Instant;

pub use history::{History, Recorded};

/// After a change of health is carried out, later ones wait this long to be carried out together: when a whole
/// farm dies at once, the table is computed a few times and not once per server.
const PACE: Duration = Duration::from_millis(20);

/// What happens to the box.
#[derive(Clone, Debug)]
pub enum Event {
    /// A checked configuration to run from now on, and where it came from.
    Config(Arc<Config>, String),
    /// A configuration could not be used; the text says which and why. What runs goes on.
    ConfigRefused(String),
    /// The latest roles, for the picture of the box. What a role wants of the kernel the address thread computes
    /// from the same level (`desired::addressing`), so that a takeover never waits for the main thread.
    Roles(Roles),
    /// A probe ended.
    Probed(ProbeOutcome),
    /// The prober process was lost or came back: everything in flight will never be answered.
    ProberRestarted,
    /// The connections of real servers that drain (`Node::draining`), as the kernel has just counted them.
    Counted(Vec<(Draining, Option<Count>)>),
    /// A virtual router is in another state, and when that was: seconds since 1970.
    Changed(router::Change, u64),
    /// The system on trial is kept: what it held back is over.
    TrialOver,
    /// The deadline may have passed.
    Timer,
}

/// What the main thread carries out, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Run a probe.
    Probe(Probe),
    /// The latest wanted IPVS table; the newest replaces any that is still waiting.
    Apply(Ipvs),
    /// The virtual routers to run.
    Routers(Vec<crate::vrrp::Settings>),
    /// Something an operator should know.
    Tell(Notice),
    /// Keep this for a successor (`Node::resume`), where it lasts until the next boot; the newest replaces all
    /// before it.
    Save(Snapshot),
}

/// A real server that drains.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Draining {
    /// Of which service.
    pub service: Name,
    /// Which.
    pub server: Endpoint,
    /// The same for the kernel.
    pub key: (ServiceKey, DestinationKey),
}

/// What the kernel has of a real server; none when it does not have it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Count {
    /// Its weight: with any other than 0 the count says nothing.
    pub weight: u16,
    /// All its connections.
    pub connections: u32,
}

/// What survives a crash of the agent beside the roles (`router::Snapshot`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// Health of the real servers.
    pub health: health::Snapshot,
    /// What operators told the box.
    pub overrides: Overrides,
    /// Changes of state of the virtual routers.
    pub history: History,
}

/// The box apart from its virtual routers.
#[derive(Clone, Debug, Default)]
pub struct Node {
    config: Option<Arc<Config>>,
    source: String,
    refused: Option<String>,
    roles: Roles,
    monitor: Monitor,
    overrides: Overrides,
    history: History,
    /// The services that use each target.
    users: HashMap<Target, Vec<Name>>,
    /// When health that has changed is carried out.
    due: Option<Instant>,
    /// When it was carried out last.
    paced: Option<Instant>,
    /// Services without a real server that takes connections.
    starved: BTreeSet<Name>,
    ipvs: Option<Ipvs>,
    routers: Option<Vec<crate::vrrp::Settings>>,
    saved: Snapshot,
}

impl Node {
    /// A node that goes on where its predecessor stopped. An empty snapshot is a fresh boot, where real servers
    /// are pending until their first probes.
    #[must_use]
    pub fn resume(snapshot: Snapshot) -> Self {
        let monitor = Monitor::resume(snapshot.health.clone());
        Self {
            monitor,
            overrides: snapshot.overrides.clone(),
            history: snapshot.history.clone(),
            saved: snapshot,
            ..Self::default()
        }
    }

    /// The running configuration.
    #[must_use]
    pub const fn config(&self) -> Option<&Arc<Config>> {
        self.config.as_ref()
    }

    /// When `handle` wants to be called with `Event::Timer`.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        self.monitor.deadline().into_iter().chain(self.due).chain(self.overrides.deadline()).min()
    }

    /// Takes one event and tells what to do.
    pub fn handle(&mut self, now: Instant, event: Event) -> Vec<Effect> {
        let mut effects = Vec::new();
        match event {
            Event::Config(config, source) => self.configure(now, config, source, &mut effects),
            Event::ConfigRefused(reason) => {
                self.refused = Some(reason.clone());
                effects.push(Effect::Tell(Notice::ConfigRefused { reason }));
            }
            Event::Roles(roles) => self.roles = roles,
            Event::Probed(outcome) => {
                if let Some(change) = self.monitor.outcome(now, outcome) {
                    self.tell_server(change, &mut effects);
                    let earliest = self.paced.map_or(now, |paced| paced + PACE);
                    self.due = Some(self.due.unwrap_or(earliest.max(now)));
                }
            }
            Event::ProberRestarted => self.monitor.prober_restarted(now),
            Event::Counted(counts) => self.drained(&counts, &mut effects),
            Event::Changed(change, time) => {
                self.history.add(change, time);
                self.save(&mut effects);
            }
            Event::TrialOver => {
                self.overrides.set_trial(now, false);
                self.overridden(Vec::new(), &mut effects);
            }
            Event::Timer => {}
        }
        if self.overrides.deadline().is_some_and(|at| at <= now) {
            let told = self.overrides.expire(now);
            self.overridden(told, &mut effects);
        }
        if self.due.is_some_and(|due| due <= now) {
            self.due = None;
            self.paced = Some(now);
            self.want_ipvs(&mut effects);
            self.tell_services(&mut effects);
            self.save(&mut effects);
        }
        effects.extend(self.monitor.poll(now).into_iter().map(Effect::Probe));
        effects
    }

    fn configure(&mut self, now: Instant, config: Arc<Config>, source: String, effects: &mut Vec<Effect>) {
        self.users = users(&config);
        self.monitor.configure(now, self.users.keys().cloned().collect());
        let dropped = self.overrides.retain(&config);
        self.config = Some(config);
        self.refused = None;
        self.source.clone_from(&source);
        self.want_routers(effects);
        self.want_ipvs(effects);
        effects.push(Effect::Tell(Notice::ConfigApplied { source }));
        effects.extend(dropped.into_iter().map(Effect::Tell));
        self.starved = self.starving();
        self.save(effects);
    }

    fn want_ipvs(&mut self, effects: &mut Vec<Effect>) {
        let Some(config) = &self.config else { return };
        let wanted = desired::ipvs(config, &self.overrides, |target| self.monitor.usable(target));
        if self.ipvs.as_ref() != Some(&wanted) {
            self.ipvs = Some(wanted.clone());
            effects.push(Effect::Apply(wanted));
        }
    }

    fn want_routers(&mut self, effects: &mut Vec<Effect>) {
        let Some(config) = &self.config else { return };
        let routers = desired::routers(config, &self.overrides);
        if self.routers.as_ref() != Some(&routers) {
            self.routers = Some(routers.clone());
            effects.push(Effect::Routers(routers));
        }
    }

    fn tell_server(&self, change: Change, effects: &mut Vec<Effect>) {
        let services = self.users.get(&change.target).cloned().unwrap_or_default();
        let server = change.target.address;
        effects.push(Effect::Tell(match change.down {
            None => Notice::ServerUp { server, services },
            Some(reason) => Notice::ServerDown { server, services, reason },
        }));
    }

    /// Only services whose real servers are all decided count: one that waits for its first probes is not down, nor
    /// is one that an operator disabled.
    fn starving(&self) -> BTreeSet<Name> {
        let Some(config) = &self.config else { return BTreeSet::new() };
        config
            .virtual_server
            .iter()
            .filter(|(name, _)| self.overrides.service(name) != Some(ServiceState::Disabled))
            .filter(|(name, server)| {
                let sorry = self.overrides.service(name) == Some(ServiceState::Sorry);
                let told = self.overrides.servers(name);
                server.real_server.iter().all(|(endpoint, real)| {
                    sorry
                        || real.weight.get() == 0
                        || told.is_some_and(|told| told.contains_key(endpoint))
                        || Target::of(server, endpoint).is_some_and(|target| self.monitor.is_down(&target))
                })
            })
            .map(|(name, _)| name.clone())
            .collect()
    }

    fn tell_services(&mut self, effects: &mut Vec<Effect>) {
        let Some(config) = &self.config else { return };
        let starving = self.starving();
        for name in starving.difference(&self.starved) {
            let sorry = config.virtual_server.get(name).and_then(|server| server.sorry_server);
            effects.push(Effect::Tell(Notice::ServiceDown { service: name.clone(), sorry }));
        }
        let disabled = |name: &&Name| self.overrides.service(name) == Some(ServiceState::Disabled);
        for name in self.starved.difference(&starving).filter(|name| !disabled(name)) {
            effects.push(Effect::Tell(Notice::ServiceUp { service: name.clone() }));
        }
        self.starved = starving;
    }

    fn save(&mut self, effects: &mut Vec<Effect>) {
        let snapshot = Snapshot {
            health: self.monitor.snapshot(),
            overrides: self.overrides.clone(),
            history: self.history.clone(),
        };
        if self.saved != snapshot {
            self.saved = snapshot.clone();
            effects.push(Effect::Save(snapshot));
        }
    }
}

fn users(config: &Config) -> HashMap<Target, Vec<Name>> {
    let mut users: HashMap<Target, Vec<Name>> = HashMap::new();
    for (name, server) in &config.virtual_server {
        for target in server.real_server.keys().filter_map(|endpoint| Target::of(server, endpoint)) {
            users.entry(target).or_default().push(name.clone());
        }
    }
    users
}

#[cfg(test)]
mod override_tests;
#[cfg(test)]
mod tests;
