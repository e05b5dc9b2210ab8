//! VRRP as a running service: the real-time thread that drives `Router`, and its two helpers.
//!
//! | thread | scheduling | does |
//! |---|---|---|
//! | `vrrp` | `SCHED_FIFO` 50 | packets, timers, adverts, snapshot |
//! | `vrrp-out` | `SCHED_FIFO` 40 | hands roles, announcements and notices to the other threads |
//! | `vrrp-links` | `SCHED_FIFO` 30 | netlink: state of the interfaces, opens and closes the sockets |

pub mod mailbox;
pub mod realtime;
pub mod statistics;

use std::io;
use std::net::IpAddr;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::Builder;
use std::time::Duration;

use bascule_core::net::IfName;
use bascule_core::notice::Notice;
use bascule_core::router::{Change, Roles, Router};
use bascule_core::vrrp::Settings;
use thiserror::Error;
use tokio::sync::{mpsc, watch};

use self::mailbox::{Inbox, OutboxReader, Telling, outbox};
use self::realtime::RealTime;
use self::statistics::Statistics;
use crate::snapshot::{self, SnapshotFile};
use crate::{link, sys};

/// Priority of the thread that must send adverts in time.
const PRIORITY: i32 = 50;
/// Priority of the threads that carry a takeover further: below the adverts, above everything ordinary.
pub const TAKEOVER_PRIORITY: i32 = 40;
/// Priority of the thread that tells which interfaces there are: a restarted agent can be Master again only once
/// it knows, however busy the box is.
const LINKS_PRIORITY: i32 = 30;
/// Stack of a thread: all of it is locked in memory.
pub const STACK: usize = 512 * 1024;
/// Name of the snapshot file in the run directory.
const STATE: &str = "vrrp.state";

/// Why VRRP could not start.
#[derive(Debug, Error)]
pub enum VrrpError {
    /// A thread, an eventfd or a timer could not be made.
    #[error("cannot start the VRRP threads: {0}")]
    Start(#[from] io::Error),
}

/// The running service. Dropping it leaves the threads running until the process ends.
#[derive(Debug)]
pub struct VrrpHandle {
    inbox: Arc<Inbox>,
    settings: watch::Sender<Vec<Settings>>,
    roles: watch::Receiver<Roles>,
    problems: watch::Receiver<Vec<String>>,
    statistics: Arc<Statistics>,
    warnings: Vec<String>,
    stopped: Arc<Stopped>,
}

/// What flows out of the service and is not a level. Each end is taken once.
#[derive(Debug)]
pub struct Outflow {
    /// Addresses to announce once more; for the address thread.
    pub announcements: mpsc::UnboundedReceiver<(IfName, IpAddr)>,
    /// For the operator.
    pub notices: mpsc::UnboundedReceiver<Notice>,
    /// For the history.
    pub changes: mpsc::UnboundedReceiver<Change>,
}

#[derive(Debug, Default)]
struct Stopped {
    flag: Mutex<bool>,
    changed: Condvar,
}

/// Starts VRRP with `settings`. When `run_dir` holds the state of an agent that died within this boot, its roles
/// are resumed.
///
/// Must be called before other threads rely on memory being locked; needs no runtime.
///
/// # Errors
/// When threads cannot be made. Missing privileges are not errors but `VrrpHandle::warnings`.
pub fn start(settings: Vec<Settings>, run_dir: &Path) -> Result<(VrrpHandle, Outflow), VrrpError> {
    let mut warnings = Vec::new();
    if let Err(error) = sys::lock_memory() {
        warnings.push(format!("memory is not locked, a page fault may delay adverts: {error}"));
    }
    let boot = snapshot::boot_id()?;
    let path = run_dir.join(STATE);
    let survivors = snapshot::load(&path, &boot);
    let file = SnapshotFile::open(&path, boot)
        .inspect_err(|error| {
            warnings.push(format!("a restart will not be hitless: cannot open {}: {error}", path.display()));
        })
        .ok();
    let router: Router = survivors.map_or_else(Router::new, Router::resume);
    let inbox = Arc::new(Inbox::new()?);
    let (outbox, reader) = outbox()?;
    let statistics = Arc::new(Statistics::default());
    let real_time = RealTime::new(router, Arc::clone(&inbox), outbox, file, Arc::clone(&statistics))?;

    let (scheduled, scheduling) = std::sync::mpsc::channel();
    Builder::new().name("vrrp".into()).stack_size(STACK).spawn(move || {
        let _ = scheduled.send(sys::set_fifo(PRIORITY));
        real_time.run();
    })?;
    if let Ok(Err(error)) = scheduling.recv() {
        warnings.push(format!("the VRRP thread has no real-time priority, load may delay adverts: {error}"));
    }
    let (roles_sender, roles) = watch::channel(Roles::default());
    let (announce, announcements) = mpsc::unbounded_channel();
    let (notify, notices) = mpsc::unbounded_channel();
    let (record, changes) = mpsc::unbounded_channel();
    let stopped = Arc::<Stopped>::default();
    let stopping = Arc::clone(&stopped);
    Builder::new().name("vrrp-out".into()).stack_size(STACK).spawn(move || {
        // Not permitted here is not permitted above, and told there.
        let _ = sys::set_fifo(TAKEOVER_PRIORITY);
        hand_out(&reader, &roles_sender, &announce, &notify, &record, &stopping);
    })?;
    let (settings, problems) = watch_links(&inbox, settings, Arc::clone(&statistics))?;
    let handle = VrrpHandle { inbox, settings, roles, problems, statistics, warnings, stopped };
    Ok((handle, Outflow { announcements, notices, changes }))
}

type LinkWatch = (watch::Sender<Vec<Settings>>, watch::Receiver<Vec<String>>);

fn watch_links(
    inbox: &Arc<Inbox>,
    settings: Vec<Settings>,
    statistics: Arc<Statistics>,
) -> io::Result<LinkWatch> {
    let (settings_sender, settings) = watch::channel(settings);
    let (problems_sender, problems) = watch::channel(Vec::new());
    let inbox = Arc::clone(inbox);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    Builder::new().name("vrrp-links".into()).stack_size(STACK).spawn(move || {
        // Not permitted here is not permitted above, and told there.
        let _ = sys::set_fifo(LINKS_PRIORITY);
        let failed = problems_sender.clone();
        if let Err(error) = runtime.block_on(link::watch::run(inbox, settings, problems_sender, statistics)) {
            failed.send_replace(vec![format!("cannot watch the network interfaces: {error}")]);
        }
    })?;
    Ok((settings_sender, problems))
}

/// Hands the outputs of the real-time thread to the others, until its last word.
fn hand_out(
    reader: &OutboxReader,
    roles: &watch::Sender<Roles>,
    announce: &mpsc::UnboundedSender<(IfName, IpAddr)>,
    notify: &mpsc::UnboundedSender<Notice>,
    record: &mpsc::UnboundedSender<Change>,
    stopped: &Stopped,
) {
    loop {
        let (latest, tellings) = reader.wait();
        if let Some(latest) = latest {
            roles.send_replace(latest);
        }
        for telling in tellings {
            // A receiver that is gone wants nothing.
            match telling {
                Telling::Announce(interface, address) => {
                    let _ = announce.send((interface, address));
                }
                Telling::Notice(notice) => {
                    let _ = notify.send(notice);
                }
                Telling::Changed(change) => {
                    let _ = record.send(change);
                }
                Telling::Retired(sockets) => drop(sockets),
                Telling::Stopped => {
                    *stopped.flag.lock().unwrap_or_else(PoisonError::into_inner) = true;
                    stopped.changed.notify_all();
                    return;
                }
            }
        }
    }
}

impl VrrpHandle {
    /// Replaces the set of virtual routers; unchanged ones keep their state.
    pub fn configure(&self, settings: Vec<Settings>) {
        self.settings.send_if_modified(|old| {
            let changed = *old != settings;
            *old = settings;
            changed
        });
    }

    /// The latest roles.
    #[must_use]
    pub fn roles(&self) -> watch::Receiver<Roles> {
        self.roles.clone()
    }

    /// Interfaces that cannot be used as configured, with reasons; empty when all is well.
    #[must_use]
    pub fn problems(&self) -> watch::Receiver<Vec<String>> {
        self.problems.clone()
    }

    /// Counters, lateness and heartbeat.
    #[must_use]
    pub fn statistics(&self) -> Arc<Statistics> {
        Arc::clone(&self.statistics)
    }

    /// What was not granted at start (real-time priority, locked memory), in words.
    #[must_use]
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Leaves: every Master sends priority 0, roles become what they are afterwards, the real-time thread ends.
    /// Returns when that has happened; `false` when it has not within two seconds.
    pub fn shutdown(&self) -> bool {
        self.inbox.put(|inputs| inputs.shutdown = true);
        let flag = self.stopped.flag.lock().unwrap_or_else(PoisonError::into_inner);
        let wait = self.stopped.changed.wait_timeout_while(flag, Duration::from_secs(2), |stopped| !*stopped);
        *wait.unwrap_or_else(PoisonError::into_inner).0
    }
}
