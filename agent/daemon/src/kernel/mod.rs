//! The kernel's state: addresses and routes, IPVS, settings. Each part compares wanted with found and removes the
//! difference, and each runs on a thread of its own.

pub mod addresses;
mod repeats;
mod rtnl;
pub mod sysctl;

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::thread::Builder;
use std::time::Duration;

use bascule_core::config::Config;
use bascule_core::net::IfName;
use bascule_core::router::Roles;
use thiserror::Error;
use tokio::sync::{mpsc, watch};

use self::addresses::AddressesFound;
use crate::sys;
use crate::vrrpd::{STACK, TAKEOVER_PRIORITY};

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
    addresses: watch::Receiver<AddressesFound>,
    settings: Vec<String>,
}

/// Starts the kernel threads: `roles` and `announcements` come straight from `vrrpd::start`.
///
/// # Errors
/// When a thread or runtime cannot be made.
pub fn start(
    config: Arc<Config>,
    roles: watch::Receiver<Roles>,
    announcements: mpsc::UnboundedReceiver<(IfName, IpAddr)>,
) -> Result<KernelHandle, KernelError> {
    let settings = sysctl::write_all(sysctl::BOX);
    let (config, config_receiver) = watch::channel(config);
    let (found_sender, addresses) = watch::channel(AddressesFound::default());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let failed = found_sender.clone();
    let inputs = addresses::Inputs { config: config_receiver, roles, announcements, found: found_sender };
    Builder::new().name("addresses".into()).stack_size(STACK).spawn(move || {
        // Not permitted here is not permitted for VRRP, and told there.
        let _ = sys::set_fifo(TAKEOVER_PRIORITY);
        if let Err(error) = runtime.block_on(addresses::run(inputs)) {
            failed.send_modify(|found| found.problems = vec![format!("addresses are not managed: {error}")]);
        }
    })?;
    Ok(KernelHandle { config, addresses, settings })
}

impl KernelHandle {
    /// Replaces the configuration that addresses and routes follow.
    pub fn configure(&self, config: Arc<Config>) {
        self.config.send_replace(config);
    }

    /// What the address thread found.
    #[must_use]
    pub fn addresses(&self) -> watch::Receiver<AddressesFound> {
        self.addresses.clone()
    }

    /// Everything that could not be brought about, with reasons; empty when wanted equals found.
    #[must_use]
    pub fn problems(&self) -> Vec<String> {
        let mut problems = self.settings.clone();
        problems.extend(self.addresses.borrow().problems.iter().cloned());
        problems
    }

    /// How often the kernel was found different from wanted without our doing, and repaired.
    #[must_use]
    pub fn repairs(&self) -> u64 {
        self.addresses.borrow().repairs
    }

    /// Waits until the addresses are those of `roles`, at most for `limit`; whether they are. For an orderly end:
    /// first VRRP leaves, then its addresses.
    pub async fn settle(&self, roles: &Roles, limit: Duration) -> bool {
        let mut addresses = self.addresses.clone();
        let wait = addresses.wait_for(|found| found.roles.routers == roles.routers);
        matches!(tokio::time::timeout(limit, wait).await, Ok(Ok(_)))
    }
}
