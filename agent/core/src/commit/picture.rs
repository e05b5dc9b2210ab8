//! The health of a box in few words, and when one is worse than another.

use core::time::Duration;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::config::Config;
use crate::net::Name;
use crate::router::{Role, RouterStatus};
use crate::status::{HealthWord, ServiceLine, Status};

/// Shortest and longest settle time.
const SETTLE: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(60));
/// Part of the healthy servers that may be lost without alarm, as in the gate of an update: one in five.
const LOSS: usize = 5;

/// What a guard compares.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Picture {
    /// Virtual routers.
    pub routers: BTreeMap<Name, RouterView>,
    /// Services.
    pub services: BTreeMap<Name, ServiceView>,
}

/// A virtual router.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RouterView {
    /// Takes no part; why.
    Fault(String),
    /// Holds the addresses.
    Master,
    /// Waits while another box holds them.
    Backup,
    /// Waits and hears nobody.
    Alone,
}

/// A service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceView {
    /// Real servers in use.
    pub healthy: usize,
    /// Real servers configured.
    pub configured: usize,
}

impl Picture {
    /// From the picture of the whole box.
    #[must_use]
    pub fn of(status: &Status) -> Self {
        let routers = status.routers.iter().map(|line| (line.name.clone(), RouterView::of(&line.status)));
        let services = status.services.iter().map(|line| (line.name.clone(), ServiceView::of(line)));
        Self { routers: routers.collect(), services: services.collect() }
    }

    /// The first thing that is worse in `after` than here. What is not in both was added or taken away on purpose.
    #[must_use]
    pub fn worse(&self, after: &Self) -> Option<String> {
        let routers = self.routers.iter().filter_map(|(name, before)| {
            let what = before.worse(after.routers.get(name)?)?;
            Some(format!("virtual router {name} {what}"))
        });
        let services = self.services.iter().filter_map(|(name, before)| {
            let what = before.worse(*after.services.get(name)?)?;
            Some(format!("virtual server {name} {what}"))
        });
        routers.chain(services).next()
    }
}

impl RouterView {
    fn of(status: &RouterStatus) -> Self {
        match (&status.role, status.master) {
            (Role::Fault(reason), _) => Self::Fault(reason.clone()),
            (Role::Master, _) => Self::Master,
            (Role::Backup, Some(_)) => Self::Backup,
            (Role::Backup, None) => Self::Alone,
        }
    }

    fn worse(&self, after: &Self) -> Option<String> {
        match (self, after) {
            (Self::Fault(_), _) => None,
            (Self::Master | Self::Backup | Self::Alone, Self::Fault(reason)) => {
                Some(format!("is in Fault: {reason}"))
            }
            (Self::Master, Self::Alone) => Some("is Master no more, and no other box is".to_owned()),
            (Self::Master, Self::Master | Self::Backup)
            | (Self::Backup | Self::Alone, Self::Master | Self::Backup | Self::Alone) => None,
        }
    }
}

impl ServiceView {
    fn of(line: &ServiceLine) -> Self {
        let real = line.servers.iter().filter(|server| !server.sorry);
        let healthy =
            real.clone().filter(|server| matches!(server.health, HealthWord::Unchecked | HealthWord::Up));
        Self { healthy: healthy.count(), configured: real.count() }
    }

    /// One server less, or one in five, is no reason: servers come and go by themselves. Servers that the
    /// configuration no longer has do not count as lost.
    fn worse(self, after: Self) -> Option<String> {
        let before = self.healthy.min(after.configured);
        let enough = before.saturating_sub(1).min(before - before / LOSS);
        let told = format!("has {} healthy real servers, {} before", after.healthy, self.healthy);
        let lost_all = before > 0 && after.healthy == 0;
        (lost_all || after.healthy < enough).then_some(told)
    }
}

/// How long a box may look worse after a commit of `config` before that means something: a full series of checks, and
/// an election; 5 s to 60 s.
#[must_use]
pub fn settle(config: &Config) -> Duration {
    let checks = config.virtual_server.values().filter_map(|server| server.check.as_ref()).map(|check| {
        let probes = u32::from(check.rise.max(check.fall)) + 1;
        check.interval.get().saturating_mul(probes).saturating_add(check.timeout.get())
    });
    let elections = config.vrrp.values().map(|vrrp| vrrp.advert_interval.get().saturating_mul(4));
    checks.chain(elections).max().unwrap_or_default().clamp(SETTLE.0, SETTLE.1)
}
