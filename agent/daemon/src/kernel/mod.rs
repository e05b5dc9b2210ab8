//! The kernel's state: addresses and routes, IPVS, settings. Each part compares wanted with found and removes the
//! difference, and each runs on a thread of its own.

pub mod addresses;
mod announcing;
mod genl;
pub mod ipvs;
pub mod ipvs_wire;
pub mod ipvsadm;
mod repeats;
mod rtnl;
pub mod sysctl;

use std::collections::HashSet;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::thread::Builder;
use std::time::Duration;

use bascule_core::config::Config;
use bascule_core::desired::{AddressKey, Ipvs};
use bascule_core::net::IfName;
use bascule_core::router::Roles;
use thiserror::Error;
use tokio::sync::{mpsc, watch};

use self::addresses::AddressesFound;
use self::ipvs::{IpvsFound, Wanted};
use crate::sys;
use crate::vrrpd::{STACK, TAKEOVER_PRIORITY};

/// How often the IPVS table is compared when nothing else happens.
pub const POLL: Duration = Duration::from_secs(1);

/// Why the kernel threads could not start.
#[derive(Debug, Error)]
pub enum KernelError {
    /// A thread could not be made.
    #[error("cannot start the kernel threads: {0}")]
    Start(#[from] io::Error),
}

/// The running kernel threads. They end with the process.
#[derive(Debug)]
pub struct KernelHandle {
    config: watch::Sender<Arc<Config>>,
    hold: watch::Sender<bool>,
    addresses: watch::Receiver<AddressesFound>,
    wanted: Arc<Wanted>,
    ipvs: watch::Receiver<Arc<IpvsFound>>,
    settings: Vec<String>,
}

/// Starts the kernel threads: `roles` and `announcements` come straight from `vrrpd::start`. The IPVS table is
/// compared at least every `poll`; nothing in it is changed before the first `apply`.
///
/// # Errors
/// When a thread or runtime cannot be made.
pub fn start(
    config: Arc<Config>,
    roles: watch::Receiver<Roles>,
    announcements: mpsc::UnboundedReceiver<(IfName, IpAddr)>,
    poll: Duration,
) -> Result<KernelHandle, KernelError> {
    let settings = sysctl::write_all(sysctl::BOX);
    let (config, config_receiver) = watch::channel(config);
    let (hold, hold_receiver) = watch::channel(false);
    let (found_sender, addresses) = watch::channel(AddressesFound::default());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let failed = found_sender.clone();
    let inputs = addresses::Inputs {
        config: config_receiver,
        roles,
        hold: hold_receiver,
        announcements,
        found: found_sender,
    };
    Builder::new().name("addresses".into()).stack_size(STACK).spawn(move || {
        // Not permitted here is not permitted for VRRP, and told there.
        let _ = sys::set_fifo(TAKEOVER_PRIORITY);
        if let Err(error) = runtime.block_on(addresses::run(inputs)) {
            failed.send_modify(|found| found.problems = vec![format!("addresses are not managed: {error}")]);
        }
    })?;
    let wanted = Arc::<Wanted>::default();
    let latest = Arc::clone(&wanted);
    let (ipvs_sender, ipvs) = watch::channel(Arc::default());
    Builder::new()
        .name("ipvs".into())
        .stack_size(STACK)
        .spawn(move || ipvs::run(&latest, &ipvs_sender, poll))?;
    Ok(KernelHandle { config, hold, addresses, wanted, ipvs, settings })
}

impl KernelHandle {
    /// Replaces the configuration that addresses and routes follow.
    pub fn configure(&self, config: Arc<Config>) {
        self.config.send_replace(config);
    }

    /// Keeps the addresses as they are whatever the roles become, until told otherwise. For an orderly end: who
    /// leaves answers until another has taken over.
    pub fn hold(&self, hold: bool) {
        self.hold.send_replace(hold);
    }

    /// Replaces the wanted IPVS table; the newest counts.
    pub fn apply(&self, wanted: Ipvs) {
        self.wanted.put(wanted);
    }

    /// Tells when the IPVS thread has found something else.
    #[must_use]
    pub fn ipvs_changes(&self) -> watch::Receiver<Arc<IpvsFound>> {
        self.ipvs.clone()
    }

    // Copies and no guards: two guards of one channel in one expression, with a writer that waits between them, lock
    // reader and writer out for good.

    /// What the IPVS thread found last.
    #[must_use]
    pub fn found(&self) -> Arc<IpvsFound> {
        Arc::clone(&self.ipvs.borrow())
    }

    /// The wanted addresses that the address thread found last.
    #[must_use]
    pub fn present(&self) -> HashSet<AddressKey> {
        self.addresses.borrow().present.clone()
    }

    /// Everything that could not be brought about, with reasons; empty when wanted equals found.
    #[must_use]
    pub fn problems(&self) -> Vec<String> {
        let mut problems = self.settings.clone();
        problems.extend(self.addresses.borrow().problems.iter().cloned());
        problems.extend(self.ipvs.borrow().problems.iter().cloned());
        problems
    }

    /// How often the kernel was found different from wanted without our doing, and repaired.
    #[must_use]
    pub fn repairs(&self) -> u64 {
        self.addresses.borrow().repairs + self.ipvs.borrow().repairs
    }

    /// Waits until the addresses are those of `roles`, at most for `limit`; whether they are. For an orderly end:
    /// first VRRP leaves, then its addresses.
    pub async fn settle(&self, roles: &Roles, limit: Duration) -> bool {
        let mut addresses = self.addresses.clone();
        let wait = addresses.wait_for(|found| found.roles.routers == roles.routers);
        matches!(tokio::time::timeout(limit, wait).await, Ok(Ok(_)))
    }
}
