//! Commands of operators, and what becomes of real servers that drain.

use super::{Count, Draining, Effect, Node};
use crate::config::Config;
use crate::desired::{self, service_key};
use crate::net::{Endpoint, Name};
use crate::notice::Notice;
use crate::overrides::{Operation, Overrides};
use crate::time::Instant;
use crate::vrrp::Settings;

impl Node {
    /// Carries out a command of `user`: what was done, in words, and what is to be done for it.
    ///
    /// # Errors
    /// Why not, and what there is instead. Nothing has changed then.
    pub fn operate(
        &mut self,
        now: Instant,
        user: &Name,
        operation: &Operation,
    ) -> Result<(String, Vec<Effect>), Vec<String>> {
        let empty = Config::default();
        let config = self.config.as_deref().unwrap_or(&empty);
        let done = self.overrides.operate(now, config, operation)?;
        let mut effects = Vec::new();
        let told = Notice::Operated { user: user.clone(), what: done.clone() };
        self.overridden(vec![told], &mut effects);
        Ok((done, effects))
    }

    /// What operators told the box and did not take back.
    #[must_use]
    pub const fn overrides(&self) -> &Overrides {
        &self.overrides
    }

    /// Maintenance as the box remembers it over reboots; to be told before the first configuration.
    pub const fn set_maintenance(&mut self, now: Instant, inside: bool) {
        self.overrides.set_maintenance(now, inside);
    }

    /// Whether a system on trial runs; to be told before the first configuration.
    pub const fn set_trial(&mut self, now: Instant, on: bool) {
        self.overrides.set_trial(now, on);
    }

    /// The virtual routers that `config` will run at `now`, for who starts them before the first configuration is
    /// given.
    #[must_use]
    pub fn routers(&self, now: Instant, config: &Config) -> Vec<Settings> {
        let mut overrides = self.overrides.clone();
        overrides.retain(config);
        overrides.expire(now);
        desired::routers(config, &overrides)
    }

    /// The real servers whose connections are to be counted for `Event::Counted`; none most of the time.
    #[must_use]
    pub fn draining(&self) -> Vec<Draining> {
        let drains = |(service, server): (&Name, &Endpoint)| {
            let found = self.config.as_ref()?.virtual_server.get(service)?;
            let key = (service_key(found), server.into());
            Some(Draining { service: service.clone(), server: *server, key })
        };
        self.overrides.draining().filter_map(drains).collect()
    }

    /// Who has no connection left is halted. The kernel must have been seen with weight 0: a count from before
    /// says nothing. A server that health has taken out of the table has lost its connections there.
    pub(super) fn drained(&mut self, counts: &[(Draining, Option<Count>)], effects: &mut Vec<Effect>) {
        let mut told = Vec::new();
        for (drains, count) in counts {
            let services = self.ipvs.as_ref().and_then(|ipvs| ipvs.services.get(&drains.key.0));
            let wanted = services.is_some_and(|service| service.destinations.contains_key(&drains.key.1));
            let empty = match count {
                Some(count) => count.weight == 0 && count.connections == 0,
                None => !wanted,
            };
            if empty {
                told.extend(self.overrides.drained(&drains.service, &drains.server));
            }
        }
        if !told.is_empty() {
            self.overridden(told, effects);
        }
    }

    /// The overrides have changed: everything that follows from them.
    pub(super) fn overridden(&mut self, told: Vec<Notice>, effects: &mut Vec<Effect>) {
        self.want_routers(effects);
        self.want_ipvs(effects);
        effects.extend(told.into_iter().map(Effect::Tell));
        self.tell_services(effects);
        self.save(effects);
    }
}
