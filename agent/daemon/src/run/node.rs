//! The main loop: what happens to the box goes into `Node`, what it decides is carried out.

use std::io;
use std::os::unix::net::UnixListener as BlockingListener;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bascule_core::control::{Reply, Request};
use bascule_core::node::{Effect, Event, Node, Snapshot};
use bascule_core::notice::{Notice, Severity};
use bascule_core::router::{Change, Role, Roles};
use bascule_core::status::{Connections, KernelView, Status, Surroundings};
use tokio::net::UnixListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;

use super::commit::Commits;
use super::operate::Maintenance;
use super::source::Loaded;
use super::survivor::Survivor;
use crate::control::{self, Call, RunDir};
use crate::kernel::KernelHandle;
use crate::look::version;
use crate::people::power::Pending;
use crate::prober::parent::{FromProber, Prober};
use crate::sys::monotonic;
use crate::system::System;
use crate::vrrpd::VrrpHandle;
use crate::{init, log};

/// How often a sign of life is left for init.
const BEAT: Duration = Duration::from_secs(1);
/// The real-time thread beats every second: without a beat for this long it is dead, and so is the agent.
const REAL_TIME_SILENT: Duration = Duration::from_secs(4);
/// How long snapshots are gathered: when a rack dies, a thousand changes come at once.
const SAVE: Duration = Duration::from_millis(50);
/// Longest wait for the addresses to go at an orderly end.
const SETTLE: Duration = Duration::from_secs(2);
/// Longest wait for another box to take over at an orderly end.
const HANDOVER_MAX: Duration = Duration::from_secs(1);
/// Longest answer to `show log`, in lines.
const LOG_MAX: usize = 2_000;

/// Everything that the main thread holds.
#[derive(Debug)]
pub struct Agent {
    pub(super) node: Node,
    pub(super) vrrp: VrrpHandle,
    pub(super) kernel: KernelHandle,
    prober: Prober,
    system: System,
    pub(super) commits: Commits,
    survivor: Survivor,
    pub(super) run_dir: RunDir,
    pub(super) maintenance: Maintenance,
    supervised: bool,
    /// The newest snapshot and when it is to be kept.
    unsaved: Option<(Snapshot, bascule_core::time::Instant)>,
    /// Text of the running configuration.
    text: String,
    started: Instant,
}

/// The signals that mean something to the agent.
#[derive(Debug)]
pub struct Signals {
    /// Read the configuration again.
    hang_up: Signal,
    /// Leave.
    terminate: Signal,
    /// Leave.
    interrupt: Signal,
}

impl Signals {
    /// Hears them from now on: until then SIGHUP would end the process. Needs the main thread's runtime.
    ///
    /// # Errors
    /// When the kernel refuses a handler.
    pub fn hear() -> io::Result<Self> {
        Ok(Self {
            hang_up: signal(SignalKind::hangup())?,
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }
}

/// What the real-time thread tells: for the log, and for the history.
type Told = (mpsc::UnboundedReceiver<Notice>, mpsc::UnboundedReceiver<Change>);

/// Why the main loop ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// Roles are handed over.
    Leave,
    /// A successor takes them on.
    Restart,
}

impl Agent {
    /// An agent whose threads run. Needs the main thread's runtime.
    #[expect(clippy::too_many_arguments, reason = "the parts of an agent, each of its own type")]
    pub fn new(
        node: Node,
        vrrp: VrrpHandle,
        kernel: KernelHandle,
        commits: Commits,
        survivor: Survivor,
        run_dir: RunDir,
        maintenance: Maintenance,
        supervised: bool,
    ) -> Self {
        let (prober, started) = (Prober::start(), Instant::now());
        let (unsaved, text) = (None, String::new());
        let system = System::start(run_dir.path(), supervised);
        Self {
            node,
            vrrp,
            kernel,
            prober,
            system,
            commits,
            survivor,
            run_dir,
            maintenance,
            supervised,
            unsaved,
            text,
            started,
        }
    }

    /// Runs `first` and whatever comes later, until it is told to end.
    ///
    /// # Errors
    /// When the control socket cannot be heard.
    pub async fn run(
        mut self,
        mut signals: Signals,
        listener: BlockingListener,
        (mut notices, mut changes): Told,
        first: Loaded,
        refused: Option<Vec<String>>,
    ) -> io::Result<()> {
        let (calls, mut inbox) = mpsc::channel::<Call>(16);
        listener.set_nonblocking(true)?;
        tokio::spawn(control::serve(UnixListener::from_std(listener)?, calls));
        let mut roles = self.vrrp.roles();
        let mut found = self.kernel.ipvs_changes();
        let mut beat = tokio::time::interval(BEAT);

        self.configure(first);
        if let Some(lines) = refused {
            self.refuse(&lines);
        }
        let end = loop {
            tokio::select! {
                Ok(()) = roles.changed() => {
                    let latest = roles.borrow_and_update().clone();
                    self.handle(Event::Roles(latest));
                }
                Ok(()) = found.changed() => self.count_drains(),
                Some(message) = self.prober.inbox.recv() => match message {
                    FromProber::Outcome(outcome) => self.handle(Event::Probed(outcome)),
                    FromProber::Restarted => self.handle(Event::ProberRestarted),
                },
                Some(notice) = notices.recv() => tell(&notice),
                Some(change) = changes.recv() => self.record(change),
                Some(call) = inbox.recv() => {
                    let (reply, end) = self.answer(&call.request);
                    // The client may have gone.
                    let _ = call.reply.send(reply);
                    if let Some(end) = end {
                        // Its reply is on the way to the client.
                        tokio::time::sleep(Duration::from_millis(100)).await;
                        break end;
                    }
                }
                () = sleep_until(self.node.deadline()) => self.handle(Event::Timer),
                () = sleep_until(self.unsaved.as_ref().map(|(_, due)| *due)) => self.save(),
                () = wait(self.commits.wait()) => self.look_after_commit(),
                _ = beat.tick() => {
                    self.beat();
                    self.look_after_commit();
                }
                _ = signals.hang_up.recv() => drop(self.reload()),
                _ = signals.terminate.recv() => break End::Leave,
                _ = signals.interrupt.recv() => break End::Leave,
            }
        };
        self.save();
        match end {
            End::Leave => self.leave().await,
            End::Restart => tracing::info!("the agent ends for a restart; its roles stay"),
        }
        Ok(())
    }

    pub(super) fn handle(&mut self, event: Event) {
        let effects = self.node.handle(monotonic(), event);
        self.carry_out(effects);
    }

    pub(super) fn carry_out(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Probe(probe) => self.prober.run(probe),
                Effect::Apply(ipvs) => self.kernel.apply(ipvs),
                Effect::Routers(settings) => self.vrrp.configure(settings),
                Effect::Tell(notice) => tell(&notice),
                Effect::Save(snapshot) => {
                    let due = self.unsaved.take().map_or_else(|| monotonic() + SAVE, |(_, due)| due);
                    self.unsaved = Some((snapshot, due));
                }
            }
        }
    }

    fn save(&mut self) {
        if let Some((snapshot, _)) = self.unsaved.take() {
            self.survivor.save(&snapshot);
        }
    }

    pub(super) fn configure(&mut self, loaded: Loaded) {
        loaded.warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
        self.commits.runs(&loaded.text);
        if self.supervised && !self.commits.failsafe() {
            init::failsafe_over(self.run_dir.path());
        }
        self.text = loaded.text;
        self.kernel.configure(Arc::clone(&loaded.config));
        self.system.configure(&loaded.config);
        if self.supervised
            && let Some(hostname) = &loaded.config.system.hostname
            // sethostname(2) would need CAP_SYS_ADMIN; the file belongs to user 0.
            && let Err(error) = std::fs::write("/proc/sys/kernel/hostname", hostname.as_str())
        {
            tracing::warn!("host name is not set: {error}");
        }
        self.handle(Event::Config(loaded.config, loaded.origin));
    }

    pub(super) fn refuse(&mut self, lines: &[String]) {
        lines.iter().for_each(|line| tracing::error!("{line}"));
        let more = match lines.len().saturating_sub(1) {
            0 => String::new(),
            more => format!(" (and {more} more)"),
        };
        let first = lines.first().map_or("", String::as_str);
        self.handle(Event::ConfigRefused(format!("{first}{more}")));
    }

    fn answer(&mut self, request: &Request) -> (Reply, Option<End>) {
        let reply = match request {
            Request::Status => Reply::Status(Box::new(self.status())),
            Request::Reload => self.reload(),
            Request::Log(count) => {
                Reply::Lines(log::recent(usize::try_from(*count).unwrap_or(LOG_MAX).min(LOG_MAX)))
            }
            Request::Configuration => Reply::Lines(self.text.lines().map(str::to_owned).collect()),
            Request::Restart if self.supervised => {
                return (Reply::Done("The agent restarts; traffic goes on.".to_owned()), Some(End::Restart));
            }
            Request::Restart => {
                Reply::Refused(vec!["Nothing would start the agent again: no init runs here.".to_owned()])
            }
            Request::Operate { user, operation } => self.operate(user, operation),
            Request::History(router) => self.history(router.as_ref()),
            Request::TrialOver => {
                self.handle(Event::TrialOver);
                Reply::Done("The system is kept.".to_owned())
            }
            Request::Standing(session) => Reply::Standing(self.standing(*session)),
            other => self.answer_configuration(other),
        };
        (reply, None)
    }

    pub(super) fn status(&self) -> Status {
        let found = self.kernel.found();
        let mut kernel = KernelView {
            addresses: self.kernel.present(),
            ipvs: found.table.clone(),
            connections: found
                .connections
                .iter()
                .map(|(key, c)| (*key, Connections { active: c.active, inactive: c.inactive }))
                .collect(),
            problems: self.kernel.problems(),
            repairs: self.kernel.repairs(),
        };
        kernel.problems.extend(self.vrrp.problems().borrow().iter().cloned());
        kernel.problems.extend(self.commits.alarms().iter().cloned());
        if self.supervised {
            let alarms = std::fs::read_to_string(init::ALARMS).unwrap_or_default();
            kernel.problems.extend(alarms.lines().map(str::to_owned));
            let plan = Pending::load(self.run_dir.path());
            kernel.problems.extend(plan.map(|plan| plan.line(monotonic())));
        }
        let boottime = nix::time::clock_gettime(nix::time::ClockId::CLOCK_BOOTTIME);
        let around = Surroundings {
            hostname: hostname(),
            version: version::running().to_owned(),
            agent_uptime: self.started.elapsed(),
            box_uptime: boottime.map(Duration::from).unwrap_or_default(),
            lateness: self.vrrp.statistics().lateness(),
            adverts: self.vrrp.statistics().adverts(),
            kernel,
        };
        self.node.status(monotonic(), &around)
    }

    /// A sign of life, as long as the real-time thread gives one too.
    fn beat(&self) {
        let beat = self.vrrp.statistics().heartbeat();
        // Before its first beat it counts from the start of the agent.
        let silent = monotonic().since(beat).min(self.started.elapsed());
        if silent > REAL_TIME_SILENT {
            tracing::error!(key = "real-time", "the VRRP thread has been silent for {silent:?}");
            return;
        }
        if let Err(error) = init::beat(self.run_dir.path()) {
            tracing::warn!(key = "beat", "no sign of life can be left: {error}");
        }
    }

    /// The orderly end: every Master sends priority 0, and once the other box has taken over the virtual addresses
    /// go. The box's own addresses and the IPVS table stay: clients that have not heard of the new Master yet are
    /// still served, and a later start finds what it wants.
    async fn leave(self) {
        tracing::info!("the agent leaves: priority 0, then its virtual addresses go");
        let roles = self.vrrp.roles();
        let handover = handover(&roles.borrow());
        self.kernel.hold(true);
        if !self.vrrp.shutdown() {
            tracing::error!("the VRRP thread does not answer: no priority 0 was sent");
        }
        tokio::time::sleep(handover).await;
        self.kernel.hold(false);
        let last = roles.borrow().clone();
        if !self.kernel.settle(&last, SETTLE).await {
            tracing::warn!("virtual addresses may have stayed");
        }
    }
}

/// How long after priority 0 another box has taken over: a Backup waits its skew, less than one interval
/// (RFC 9568 section 6.1). Without a Master role there is nothing to wait for.
fn handover(roles: &Roles) -> Duration {
    let masters = roles.routers.values().filter(|router| router.role == Role::Master);
    masters.map(|router| router.interval).max().unwrap_or_default().min(HANDOVER_MAX)
}

async fn sleep_until(at: Option<bascule_core::time::Instant>) {
    match at {
        Some(at) => tokio::time::sleep(at.since(monotonic())).await,
        None => std::future::pending().await,
    }
}

/// For so long, or for ever.
async fn wait(time: Option<Duration>) {
    match time {
        Some(time) => tokio::time::sleep(time).await,
        None => std::future::pending().await,
    }
}

pub(super) fn hostname() -> String {
    nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok()).unwrap_or_default()
}

/// Into the log; what is said again and again is limited by its text.
pub(super) fn tell(notice: &Notice) {
    let key = notice.to_string();
    match notice.severity() {
        Severity::Error => tracing::error!(key, "{notice}"),
        Severity::Warning => tracing::warn!(key, "{notice}"),
        Severity::Notice | Severity::Info => tracing::info!(key, "{notice}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bascule_core::router::RouterStatus;

    fn roles(routers: &[(Role, u64)]) -> Roles {
        let status = |(role, millis): &(Role, u64)| RouterStatus {
            role: role.clone(),
            since: bascule_core::time::Instant::ZERO,
            master: None,
            master_priority: None,
            priority: 100,
            interval: Duration::from_millis(*millis),
        };
        let named = routers.iter().enumerate();
        Roles { routers: named.map(|(i, r)| (format!("v{i}").parse().unwrap(), status(r))).collect() }
    }

    #[test]
    fn who_leaves_waits_one_interval_of_its_slowest_master_role_and_a_second_at_most() {
        let fault = Role::Fault("no link".to_owned());
        assert_eq!(handover(&roles(&[(Role::Backup, 1_000), (fault, 1_000)])), Duration::ZERO);
        let mixed = roles(&[(Role::Master, 10), (Role::Master, 100), (Role::Backup, 1_000)]);
        assert_eq!(handover(&mixed), Duration::from_millis(100));
        assert_eq!(handover(&roles(&[(Role::Master, 40_950)])), HANDOVER_MAX);
    }
}
