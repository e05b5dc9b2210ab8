//! The overrides in force, and what a command, the configuration, time and the kernel's counts make of them.

use core::time::Duration;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Operation, ServerOverride, ServiceOverride, words};
use crate::config::Config;
use crate::net::{Endpoint, Name};
use crate::notice::Notice;
use crate::time::Instant;
use crate::vrrp::Stance;

/// A real server that an operator took out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ServerState {
    /// Weight 0 until its connections are gone.
    Draining {
        /// When it is halted with what is left.
        deadline: Option<Instant>,
    },
    /// Not in the table.
    Halted,
}

/// A service that an operator changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ServiceState {
    /// Not in the table.
    Disabled,
    /// Every real server has weight 0.
    Sorry,
}

/// A virtual router that an operator moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouterState {
    /// Which way.
    pub stance: Stance,
    /// When it is over.
    pub until: Option<Instant>,
}

/// Everything that operators have told this box and not taken back.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Overrides {
    servers: BTreeMap<Name, BTreeMap<Endpoint, ServerState>>,
    services: BTreeMap<Name, ServiceState>,
    routers: BTreeMap<Name, RouterState>,
    /// Since when.
    maintenance: Option<Instant>,
    /// Since when a system on trial runs.
    trial: Option<Instant>,
}

impl Overrides {
    /// The real servers of a service that are overridden.
    #[must_use]
    pub fn servers(&self, service: &Name) -> Option<&BTreeMap<Endpoint, ServerState>> {
        self.servers.get(service)
    }

    /// What became of a service.
    #[must_use]
    pub fn service(&self, service: &Name) -> Option<ServiceState> {
        self.services.get(service).copied()
    }

    /// What a virtual router was told, maintenance apart.
    #[must_use]
    pub fn router(&self, router: &Name) -> Option<RouterState> {
        self.routers.get(router).copied()
    }

    /// How a virtual router stands: maintenance comes before all else, and what nobody told anything stays behind
    /// while a system is on trial: a bad one must not take the addresses of a box that serves.
    #[must_use]
    pub fn stance(&self, router: &Name) -> Stance {
        match (self.maintenance, self.router(router), self.trial) {
            (Some(told), _, _) => Stance::Aside { told },
            (None, Some(state), _) => state.stance,
            (None, None, Some(told)) => Stance::Yield { told },
            (None, None, None) => Stance::Normal,
        }
    }

    /// Begins a trial at `now` or ends it. One that goes on does so as it was.
    pub const fn set_trial(&mut self, now: Instant, on: bool) {
        self.trial = since(self.trial, now, on);
    }

    /// Whether a system is on trial.
    #[must_use]
    pub const fn trial(&self) -> bool {
        self.trial.is_some()
    }

    /// Whether the box is in maintenance.
    #[must_use]
    pub const fn maintenance(&self) -> bool {
        self.maintenance.is_some()
    }

    /// Enters maintenance at `now` or leaves it. One that it is in goes on as it was.
    pub const fn set_maintenance(&mut self, now: Instant, inside: bool) {
        self.maintenance = since(self.maintenance, now, inside);
    }

    /// The real servers whose connections somebody must count.
    pub fn draining(&self) -> impl Iterator<Item = (&Name, &Endpoint)> {
        self.servers.iter().flat_map(|(service, servers)| {
            let drains = |state: &ServerState| matches!(state, ServerState::Draining { .. });
            servers.iter().filter(move |(_, state)| drains(state)).map(move |(server, _)| (service, server))
        })
    }

    /// When `expire` has something to do.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        let drains = self.servers.values().flat_map(BTreeMap::values).filter_map(|state| match state {
            ServerState::Draining { deadline } => *deadline,
            ServerState::Halted => None,
        });
        drains.chain(self.routers.values().filter_map(|state| state.until)).min()
    }

    /// Carries out a command; what was done, in words.
    ///
    /// # Errors
    /// Why not, and what there is instead. Nothing is changed then.
    pub fn operate(
        &mut self,
        now: Instant,
        config: &Config,
        operation: &Operation,
    ) -> Result<String, Vec<String>> {
        match operation {
            Operation::RealServer { service, server, to } => {
                words::find_server(config, service, server)?;
                Ok(self.set_server(now, service, server, *to))
            }
            Operation::Service { service, to } => {
                let found = words::find_service(config, service)?;
                if *to == ServiceOverride::Sorry && found.sorry_server.is_none() {
                    return Err(vec![
                        format!("virtual server {service} has no sorry server"),
                        format!(
                            "set one (set virtual-server {service} sorry-server ADDRESS:PORT), or disable it"
                        ),
                    ]);
                }
                Ok(self.set_service(service, *to))
            }
            Operation::Yield { router, lasting } => {
                let told = Stance::Yield { told: now };
                self.set_routers(config, router.as_ref(), told, until(now, *lasting))
            }
            Operation::Takeover { router, lasting } => {
                let told = Stance::Takeover { told: now };
                self.set_routers(config, router.as_ref(), told, until(now, *lasting))
            }
            Operation::Normal { router } => self.set_routers(config, router.as_ref(), Stance::Normal, None),
            Operation::Maintenance(inside) => {
                self.set_maintenance(now, *inside);
                Ok(words::maintenance(config, *inside))
            }
        }
    }

    fn set_server(&mut self, now: Instant, service: &Name, server: &Endpoint, to: ServerOverride) -> String {
        let servers = self.servers.entry(service.clone()).or_default();
        match to {
            ServerOverride::Enable => drop(servers.remove(server)),
            ServerOverride::Drain { deadline } => {
                let state = ServerState::Draining { deadline: until(now, deadline) };
                servers.insert(*server, state);
            }
            ServerOverride::Halt => drop(servers.insert(*server, ServerState::Halted)),
        }
        if servers.is_empty() {
            self.servers.remove(service);
        }
        words::server_done(service, server, to)
    }

    fn set_service(&mut self, service: &Name, to: ServiceOverride) -> String {
        match to {
            ServiceOverride::Enable => drop(self.services.remove(service)),
            ServiceOverride::Disable => drop(self.services.insert(service.clone(), ServiceState::Disabled)),
            ServiceOverride::Sorry => drop(self.services.insert(service.clone(), ServiceState::Sorry)),
        }
        words::service_done(service, to)
    }

    /// All virtual routers without a name. An owner of its addresses cannot be moved: it is left out of all, and
    /// refused by name.
    fn set_routers(
        &mut self,
        config: &Config,
        router: Option<&Name>,
        stance: Stance,
        until: Option<Instant>,
    ) -> Result<String, Vec<String>> {
        let names = words::find_routers(config, router)?;
        if self.maintenance() && stance != Stance::Normal {
            return Err(vec![
                "this box is in maintenance: it holds no virtual address".to_owned(),
                "leave it first: maintenance leave".to_owned(),
            ]);
        }
        for name in &names {
            match stance {
                Stance::Normal => drop(self.routers.remove(name)),
                Stance::Yield { .. } | Stance::Takeover { .. } | Stance::Aside { .. } => {
                    self.routers.insert(name.clone(), RouterState { stance, until });
                }
            }
        }
        Ok(words::routers_done(&names, stance))
    }

    /// Forgets what concerns nothing in `config`; what that was, to be told.
    pub fn retain(&mut self, config: &Config) -> Vec<Notice> {
        let mut gone = Vec::new();
        self.servers.retain(|service, servers| {
            let found = config.virtual_server.get(service);
            servers.retain(|server, _| {
                let stays = found.is_some_and(|found| found.real_server.contains_key(server));
                if !stays {
                    gone.push(format!("real server {server} of {service}"));
                }
                stays
            });
            !servers.is_empty()
        });
        self.services.retain(|service, _| {
            let stays = config.virtual_server.contains_key(service);
            if !stays {
                gone.push(format!("virtual server {service}"));
            }
            stays
        });
        self.routers.retain(|router, _| {
            let stays = config.vrrp.get(router).is_some_and(|found| !found.priority.is_owner());
            if !stays {
                gone.push(format!("virtual router {router}"));
            }
            stays
        });
        gone.into_iter().map(|what| Notice::OverrideDropped { what }).collect()
    }

    /// Ends what has lasted long enough.
    pub fn expire(&mut self, now: Instant) -> Vec<Notice> {
        let mut told = Vec::new();
        for (service, servers) in &mut self.servers {
            for (server, state) in servers {
                if let ServerState::Draining { deadline: Some(at) } = state
                    && *at <= now
                {
                    *state = ServerState::Halted;
                    let (service, server) = (service.clone(), *server);
                    told.push(Notice::Halted { service, server, drained: false });
                }
            }
        }
        self.routers.retain(|router, state| {
            let over = state.until.is_some_and(|at| at <= now);
            if over {
                told.push(Notice::RouterNormal { router: router.clone() });
            }
            !over
        });
        told
    }

    /// A real server that drains has no connection left: it is halted. Nothing happens to any other.
    pub fn drained(&mut self, service: &Name, server: &Endpoint) -> Option<Notice> {
        let state = self.servers.get_mut(service)?.get_mut(server)?;
        match state {
            ServerState::Draining { .. } => {
                *state = ServerState::Halted;
                Some(Notice::Halted { service: service.clone(), server: *server, drained: true })
            }
            ServerState::Halted => None,
        }
    }
}

/// Since when something is so that is `on` at `now` and was so since `before`.
const fn since(before: Option<Instant>, now: Instant, on: bool) -> Option<Instant> {
    match (on, before) {
        (false, _) => None,
        (true, Some(since)) => Some(since),
        (true, None) => Some(now),
    }
}

fn until(now: Instant, lasting: Option<Duration>) -> Option<Instant> {
    lasting.map(|lasting| now + lasting)
}
