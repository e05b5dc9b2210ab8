//! Commands of operators beside the configuration: what the node makes of them is carried out, and what must
//! survive a reboot is kept in the state directory.

use std::path::{Path, PathBuf};

use bascule_core::control::{Reply, SessionId, Standing};
use bascule_core::net::Name;
use bascule_core::node::{Count, Event, Recorded};
use bascule_core::overrides::Operation;
use bascule_core::router::{Change, Roles};
use bascule_core::time::utc;

use super::node::{Agent, hostname};
use crate::init;
use crate::look::status::role_word;
use crate::store;
use crate::sys::{monotonic, wall};

/// Name of the file in the state directory that says that the box is in maintenance.
pub const MAINTENANCE: &str = "maintenance";

/// Whether the box is in maintenance, kept over reboots: a file that exists.
#[derive(Clone, Debug)]
pub struct Maintenance {
    path: PathBuf,
}

impl Maintenance {
    /// In `state_dir`.
    #[must_use]
    pub fn new(state_dir: &Path) -> Self {
        Self { path: state_dir.join(MAINTENANCE) }
    }

    /// Whether the box was told to be, in this boot or an earlier one.
    #[must_use]
    pub fn is_kept(&self) -> bool {
        self.path.exists()
    }

    /// Keeps it or forgets it.
    ///
    /// # Errors
    /// Why it is as it was, in words.
    fn keep(&self, inside: bool, user: &Name) -> Result<(), String> {
        if inside {
            let text = format!("entered by {user}\n");
            return store::replace_if_changed(&self.path, text.as_bytes()).map_err(|error| error.to_string());
        }
        store::remove(&self.path).map_err(|error| error.to_string())
    }
}

impl Agent {
    /// Carries out a command. Maintenance is kept first: a box that says it is in maintenance is so after a reboot.
    pub(super) fn operate(&mut self, user: &Name, operation: &Operation) -> Reply {
        if let Operation::Maintenance(inside) = operation
            && let Err(error) = self.maintenance.keep(*inside, user)
        {
            let lines = vec![error, "maintenance is as it was: it would not survive a reboot".to_owned()];
            return Reply::Refused(lines);
        }
        match self.node.operate(monotonic(), user, operation) {
            Ok((done, effects)) => {
                self.carry_out(effects);
                Reply::Done(done)
            }
            Err(lines) => Reply::Refused(lines),
        }
    }

    /// Tells the node what the kernel counts for the real servers that drain, if any do.
    pub(super) fn count_drains(&mut self) {
        let draining = self.node.draining();
        if draining.is_empty() {
            return;
        }
        let found = self.kernel.found();
        let count = |(service, server): &(_, _)| {
            let weight = found.table.services.get(service)?.destinations.get(server)?.weight;
            let counted = found.connections.get(&(*service, *server))?;
            Some(Count { weight, connections: counted.active.saturating_add(counted.inactive) })
        };
        let counts = draining.into_iter().map(|drains| {
            let count = count(&drains.key);
            (drains, count)
        });
        let counts = counts.collect();
        if found.available {
            self.handle(Event::Counted(counts));
        }
    }

    /// Keeps a change of state with the time of day it happened at.
    pub(super) fn record(&mut self, change: Change) {
        let ago = monotonic().since(change.at).as_secs();
        self.handle(Event::Changed(change, wall().saturating_sub(ago)));
    }

    /// The changes of state of one virtual router or all, a line each.
    pub(super) fn history(&self, router: Option<&Name>) -> Reply {
        if let Some(name) = router
            && self.node.history().of(router).next().is_none()
            && self.node.config().is_none_or(|config| !config.vrrp.contains_key(name))
        {
            return Reply::Refused(vec![format!("there is no virtual router {name}")]);
        }
        Reply::Lines(self.node.history().of(router).map(line).collect())
    }

    /// What a prompt tells of the box and of a candidate.
    pub(super) fn standing(&self, session: Option<SessionId>) -> Standing {
        let configured = self.node.config().and_then(|config| config.system.hostname.as_ref());
        let role = role(&self.vrrp.roles().borrow()).to_owned();
        Standing {
            hostname: configured.map_or_else(hostname, ToString::to_string),
            role,
            maintenance: self.node.overrides().maintenance(),
            uncommitted: session.is_some_and(|session| self.commits.sessions.uncommitted(session)),
            confirm: self.commits.confirm_in(),
            failsafe: self.commits.failsafe(),
            generation: self.commits.generation(),
            testing: self.node.overrides().trial().then(|| self.version_on_trial()).flatten(),
        }
    }
}

impl Agent {
    /// None when the trial is over, and the box only stays behind.
    fn version_on_trial(&self) -> Option<String> {
        let noted = std::fs::read_to_string(self.run_dir.path().join(init::TRIAL)).ok()?;
        Some(noted.trim().to_owned())
    }
}

/// A change of state as operators read it.
fn line(kept: &Recorded) -> String {
    let Recorded { time, router, from, to, why } = kept;
    format!("{} UTC {router}: {} to {}, {why}", utc(*time), from.word(), to.word())
}

/// The role of the box in one word; empty without virtual routers.
fn role(roles: &Roles) -> &'static str {
    let mut words = roles.routers.values().map(|router| role_word(&router.role));
    let first = words.next().unwrap_or_default();
    if words.all(|word| word == first) { first } else { "MIXED" }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::Scratch;
    use bascule_core::router::{Role, RouterStatus};
    use bascule_core::time::Instant;
    use std::time::Duration;

    fn roles(words: &[Role]) -> Roles {
        let status = |role: &Role| RouterStatus {
            role: role.clone(),
            since: Instant::ZERO,
            master: None,
            master_priority: None,
            priority: 100,
            interval: Duration::from_secs(1),
        };
        let named = words.iter().enumerate();
        Roles { routers: named.map(|(i, role)| (format!("v{i}").parse().unwrap(), status(role))).collect() }
    }

    #[test]
    fn a_box_with_several_roles_is_mixed_and_one_without_virtual_routers_has_no_role() {
        assert_eq!(role(&roles(&[])), "");
        assert_eq!(role(&roles(&[Role::Master, Role::Master])), "MASTER");
        assert_eq!(role(&roles(&[Role::Backup, Role::Backup])), "BACKUP");
        assert_eq!(role(&roles(&[Role::Fault("no link".into())])), "FAULT");
        assert_eq!(role(&roles(&[Role::Master, Role::Backup])), "MIXED");
        assert_eq!(role(&roles(&[Role::Backup, Role::Backup, Role::Fault("no link".into())])), "MIXED");
    }

    #[test]
    fn maintenance_is_kept_until_it_is_left_and_leaving_twice_is_no_error() {
        let dir = Scratch::new("maintenance");
        let user: Name = "admin".parse().unwrap();
        let kept = Maintenance::new(dir.path());
        assert!(!kept.is_kept());
        kept.keep(true, &user).unwrap();
        assert!(Maintenance::new(dir.path()).is_kept());
        kept.keep(false, &user).unwrap();
        kept.keep(false, &user).unwrap();
        assert!(!Maintenance::new(dir.path()).is_kept());
    }

    #[test]
    fn maintenance_that_cannot_be_kept_is_told_with_the_file() {
        let dir = Scratch::new("maintenance");
        let file = dir.path().join("state");
        std::fs::write(&file, "in the way").unwrap();
        let error = Maintenance::new(&file).keep(true, &"admin".parse().unwrap()).unwrap_err();
        assert!(error.contains("state"), "{error}");
    }
}
