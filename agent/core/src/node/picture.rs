//! The picture of the box that `show status` prints.

use crate::config::Config;
use crate::config::model::VirtualServer;
use crate::desired::{AddressKey, DestinationKey, SyncRole, service_key};
use crate::health::{Standing, Target, View};
use crate::net::Endpoint;
use crate::node::Node;
use crate::router::Role;
use crate::status::{HealthWord, KernelView, RouterLine, ServerLine, ServiceLine, Status, Surroundings};
use crate::time::Instant;

impl Node {
    /// The picture at `now`, with what only the other threads know.
    #[must_use]
    pub fn status(&self, now: Instant, around: &Surroundings) -> Status {
        let empty = Config::default();
        let config = self.config.as_deref().unwrap_or(&empty);
        let hostname =
            config.system.hostname.as_ref().map_or_else(|| around.hostname.clone(), ToString::to_string);
        Status {
            hostname,
            version: around.version.clone(),
            agent_uptime: around.agent_uptime,
            box_uptime: around.box_uptime,
            configuration: self.configuration(),
            routers: self.router_lines(now, config, &around.kernel),
            services: config
                .virtual_server
                .iter()
                .map(|(name, server)| self.service_line(now, name, server, &around.kernel))
                .collect(),
            sync: sync_lines(&around.kernel),
            lateness: around.lateness,
            problems: around.kernel.problems.clone(),
            repairs: around.kernel.repairs,
            adverts: around.adverts.clone(),
            maintenance: self.overrides.maintenance(),
        }
    }

    fn configuration(&self) -> String {
        let running = if self.config.is_some() { &self.source } else { "none" };
        match &self.refused {
            None => running.to_owned(),
            Some(reason) => format!("{running}; a newer one was refused: {reason}"),
        }
    }

    /// A router whose role is not known yet has no line.
    fn router_lines(&self, now: Instant, config: &Config, kernel: &KernelView) -> Vec<RouterLine> {
        let line = |(name, vrrp): (&crate::net::Name, &crate::config::model::Vrrp)| {
            let status = self.roles.routers.get(name)?.clone();
            let present = |address: &crate::config::model::VirtualAddress| {
                let interface = address.interface(&vrrp.interface).clone();
                kernel.addresses.contains(&AddressKey { interface, prefix: *address.prefix() })
            };
            Some(RouterLine {
                name: name.clone(),
                interface: vrrp.interface.clone(),
                vrid: vrrp.vrid.get(),
                for_: now.since(status.since),
                addresses: vrrp.addresses.iter().map(|a| (*a.prefix(), present(a))).collect(),
                overridden: self.overrides.router_words(now, name, status.role == Role::Master),
                status,
            })
        };
        config.vrrp.iter().filter_map(line).collect()
    }

    fn service_line(
        &self,
        now: Instant,
        name: &crate::net::Name,
        server: &VirtualServer,
        kernel: &KernelView,
    ) -> ServiceLine {
        let key = service_key(server);
        let wanted = self.ipvs.as_ref().and_then(|ipvs| ipvs.services.get(&key));
        let found = kernel.ipvs.services.get(&key);
        let line = |endpoint: &Endpoint, weight: u16, sorry: bool| {
            let view = if sorry { None } else { self.health_view(server, endpoint) };
            let (since, latency) = view.as_ref().map(|view| (now.since(view.since), view.latency)).unzip();
            let (health, detail) = view.map_or((HealthWord::Unchecked, String::new()), health_words);
            let connections = kernel.connections.get(&(key, endpoint.into())).copied().unwrap_or_default();
            let counted = connections.active.saturating_add(connections.inactive);
            ServerLine {
                endpoint: *endpoint,
                weight,
                health,
                detail,
                sorry,
                active: connections.active,
                inactive: connections.inactive,
                overridden: self.overrides.server_words(now, name, endpoint, counted).filter(|_| !sorry),
                since,
                latency: latency.flatten(),
            }
        };
        let mut servers: Vec<ServerLine> =
            server.real_server.iter().map(|(e, real)| line(e, real.weight.get(), false)).collect();
        if let Some(sorry) = &server.sorry_server {
            let in_use =
                |s: &crate::desired::Service| s.destinations.contains_key(&DestinationKey::from(sorry));
            if wanted.is_some_and(in_use) {
                servers.push(line(sorry, crate::desired::SORRY_WEIGHT, true));
            }
        }
        ServiceLine {
            name: name.clone(),
            protocol: server.protocol,
            address: server.address,
            port: server.port.get(),
            scheduler: server.scheduler.to_string(),
            in_kernel: self.ipvs.is_some() && wanted == found,
            servers,
            overridden: self.overrides.service_words(name, server.sorry_server.as_ref()),
        }
    }

    fn health_view(&self, server: &VirtualServer, endpoint: &Endpoint) -> Option<View> {
        self.monitor.view(&Target::of(server, endpoint)?)
    }
}

fn health_words(view: View) -> (HealthWord, String) {
    match view.standing {
        Standing::Pending { .. } => (HealthWord::Pending, view.detail),
        Standing::Up { .. } => (HealthWord::Up, view.detail),
        Standing::Down { reason, .. } if view.detail.is_empty() => (HealthWord::Down, reason),
        Standing::Down { .. } => (HealthWord::Down, view.detail),
    }
}

fn sync_lines(kernel: &KernelView) -> Vec<String> {
    [(SyncRole::Master, "master"), (SyncRole::Backup, "backup")]
        .into_iter()
        .filter_map(|(role, word)| {
            let daemon = kernel.ipvs.sync.get(&role)?;
            Some(format!("{word} {} id {}", daemon.interface, daemon.id))
        })
        .collect()
}
