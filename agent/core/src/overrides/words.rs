//! What operators read of overrides: answers to commands, refusals that name what exists, and states.

use core::fmt::Display;
use core::time::Duration;

use super::{Overrides, ServerOverride, ServerState, ServiceOverride, ServiceState};
use crate::config::Config;
use crate::config::model::VirtualServer;
use crate::net::{Endpoint, Name};
use crate::time::Instant;
use crate::vrrp::Stance;

/// Names that a refusal lists before it only counts.
const LISTED: usize = 8;

/// A time that runs down: `0:09`, `4:10`, `1:02:03`, rounded up to whole seconds.
#[must_use]
pub fn clock(left: Duration) -> String {
    let seconds = left.as_secs() + u64::from(left.subsec_nanos() > 0);
    let (hours, minutes, seconds) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
    match hours {
        0 => format!("{minutes}:{seconds:02}"),
        hours => format!("{hours}:{minutes:02}:{seconds:02}"),
    }
}

/// The service of that name, or what there is.
pub(super) fn find_service<'a>(config: &'a Config, service: &Name) -> Result<&'a VirtualServer, Vec<String>> {
    config.virtual_server.get(service).ok_or_else(|| {
        let mut lines = vec![format!("there is no virtual server {service}")];
        lines.extend(listed("virtual servers", config.virtual_server.keys()));
        lines
    })
}

/// Whether the service has this real server, or which it has.
pub(super) fn find_server(config: &Config, service: &Name, server: &Endpoint) -> Result<(), Vec<String>> {
    let found = find_service(config, service)?;
    if found.real_server.contains_key(server) {
        return Ok(());
    }
    let mut lines = vec![format!("virtual server {service} has no real server {server}")];
    lines.extend(listed("real servers", found.real_server.keys()));
    Err(lines)
}

/// The virtual routers that a command is about.
pub(super) fn find_routers(config: &Config, router: Option<&Name>) -> Result<Vec<Name>, Vec<String>> {
    let owns = |name: &Name| {
        vec![format!(
            "virtual router {name} owns its addresses (priority 255): it is Master wherever it runs"
        )]
    };
    match router {
        Some(name) => match config.vrrp.get(name) {
            Some(found) if found.priority.is_owner() => Err(owns(name)),
            Some(_) => Ok(vec![name.clone()]),
            None => {
                let mut lines = vec![format!("there is no virtual router {name}")];
                lines.extend(listed("virtual routers", config.vrrp.keys()));
                Err(lines)
            }
        },
        None => {
            let movable = config.vrrp.iter().filter(|(_, found)| !found.priority.is_owner());
            let names: Vec<Name> = movable.map(|(name, _)| name.clone()).collect();
            match (names.is_empty(), config.vrrp.keys().next()) {
                (false, _) => Ok(names),
                (true, Some(owner)) => Err(owns(owner)),
                (true, None) => Err(vec!["this box has no virtual router".to_owned()]),
            }
        }
    }
}

/// Lines with the names of what exists, within 79 columns each.
fn listed<T: Display>(what: &str, names: impl ExactSizeIterator<Item = T>) -> Vec<String> {
    let count = names.len();
    if count == 0 {
        return vec![format!("there are no {what}")];
    }
    let mut lines = vec![format!("the {what} are:")];
    lines.extend(names.take(LISTED).map(|name| format!("  {name}")));
    if count > LISTED {
        lines.push(format!("  and {} more", count - LISTED));
    }
    lines
}

pub(super) fn server_done(service: &Name, server: &Endpoint, to: ServerOverride) -> String {
    let what = format!("Real server {server} of {service}");
    match to {
        ServerOverride::Enable => format!("{what}:\nas configured."),
        ServerOverride::Drain { deadline: None } => {
            format!("{what}:\ndrains, takes no new connections and is halted when the last has ended.")
        }
        ServerOverride::Drain { deadline: Some(after) } => {
            let after = clock(after);
            format!(
                "{what}:\ndrains, takes no new connections and is halted when the last has ended,\nafter {after} at \
                 most."
            )
        }
        ServerOverride::Halt => format!("{what}:\nhalted, its connections end."),
    }
}

pub(super) fn service_done(service: &Name, to: ServiceOverride) -> String {
    match to {
        ServiceOverride::Enable => format!("Virtual server {service} is as configured."),
        ServiceOverride::Disable => format!("Virtual server {service}:\ndisabled, nothing answers."),
        ServiceOverride::Sorry => {
            format!("Virtual server {service}:\nnew connections go to the sorry server.")
        }
    }
}

pub(super) fn routers_done(names: &[Name], stance: Stance) -> String {
    let names = names.iter().map(Name::as_str).collect::<Vec<_>>().join(", ");
    match stance {
        Stance::Normal => format!("As priorities say: {names}."),
        Stance::Yield { .. } => format!("Yields to the other box: {names}."),
        Stance::Takeover { .. } => format!("Takes over: {names}."),
        Stance::Aside { .. } => format!("Stands aside: {names}."),
    }
}

pub(super) fn maintenance(config: &Config, inside: bool) -> String {
    let text = if inside {
        "In maintenance: the other box takes over, and this one stays out until\nmaintenance leave, also over a reboot."
    } else {
        "Maintenance is over: priorities decide."
    };
    let owners: Vec<&str> = config
        .vrrp
        .iter()
        .filter(|(_, found)| found.priority.is_owner())
        .map(|(name, _)| name.as_str())
        .collect();
    if inside && !owners.is_empty() {
        return format!("{text}\nThese own their addresses and keep them: {}.", owners.join(", "));
    }
    text.to_owned()
}

impl Overrides {
    /// How a real server is overridden, for a table: `draining 12 connections, 4:10 left`, `halted`. The kernel
    /// counts `connections` of it.
    #[must_use]
    pub fn server_words(
        &self,
        now: Instant,
        service: &Name,
        server: &Endpoint,
        connections: u32,
    ) -> Option<String> {
        match self.servers(service)?.get(server)? {
            ServerState::Halted => Some("halted".to_owned()),
            ServerState::Draining { deadline } => {
                let noun = if connections == 1 { "connection" } else { "connections" };
                let left = deadline.map(|at| format!(", {} left", clock(at.since(now)))).unwrap_or_default();
                Some(format!("draining {connections} {noun}{left}"))
            }
        }
    }

    /// How a service is overridden, for a table.
    #[must_use]
    pub fn service_words(&self, service: &Name, sorry_server: Option<&Endpoint>) -> Option<String> {
        match (self.service(service)?, sorry_server) {
            (ServiceState::Disabled, _) => Some("disabled".to_owned()),
            (ServiceState::Sorry, Some(_)) => Some("sorry".to_owned()),
            (ServiceState::Sorry, None) => Some("sorry, but it has no sorry server".to_owned()),
        }
    }

    /// How a virtual router is overridden, for a table: `yielded, 4:10 left`, `maintenance`. `master` is whether
    /// it is Master now.
    #[must_use]
    pub fn router_words(&self, now: Instant, router: &Name, master: bool) -> Option<String> {
        if self.maintenance() {
            return Some("maintenance".to_owned());
        }
        let Some(state) = self.router(router) else {
            return self.trial().then(|| "behind while on trial".to_owned());
        };
        let word = match (state.stance, master) {
            (Stance::Normal, _) => return None,
            (Stance::Yield { .. }, false) => "yielded",
            (Stance::Yield { .. }, true) => "told to yield",
            (Stance::Takeover { .. }, true) => "taken over",
            (Stance::Takeover { .. }, false) => "told to take over",
            (Stance::Aside { .. }, _) => "aside",
        };
        let left = state.until.map(|at| format!(", {} left", clock(at.since(now)))).unwrap_or_default();
        Some(format!("{word}{left}"))
    }
}
