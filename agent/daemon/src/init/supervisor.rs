//! The main loop of init: reaps, respawns, feeds the watchdog, and takes the box down when told to.

use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use super::alarms::Alarms;
use super::console::{Answer, Offer};
use super::fault::{self, Fault};
use super::leave::{self, Leave, STEPS, Step};
use super::modules::Loader;
use super::mounts::{self, Data};
use super::service::Service;
use super::spare::{self, Keeper};
use super::trial::{self, Trial};
use super::uevent::Uevents;
use super::watchdog::Watchdog;
use super::{
    RUN_DIR, STATE_DIR, console, disk, harden, heartbeat, load_drivers, on_trial, signals, want_failsafe,
};
use crate::peer;
use crate::people::power::{self, Pending};
use crate::sys::monotonic;
use crate::update::record;

/// The agent with the configuration of a box, and what runs while there is none.
const AGENT: &[&str] = &[
    "agent",
    "--config",
    "/data/config/bascule.toml",
    "--factory",
    "/etc/bascule/factory.toml",
    "--run-dir",
    RUN_DIR,
    "--state-dir",
    STATE_DIR,
    "--supervised",
];
/// The judge of a system on trial.
const GATE: &[&str] = &["gate", "--run-dir", RUN_DIR, "--state-dir", STATE_DIR];
/// The listener for the other box of a pair.
const PEER: &[&str] = &["peer", "--run-dir", RUN_DIR, "--state-dir", STATE_DIR];
/// How often the heartbeat is looked at and the watchdog fed.
const TICK: Duration = Duration::from_secs(2);
/// How often the consoles are looked at while the key for failsafe is offered.
const KEY: Duration = Duration::from_millis(100);
/// An agent may take this long until its first beat.
const GRACE: Duration = Duration::from_secs(30);
/// An agent that is silent for this long is killed.
const SILENT: Duration = Duration::from_secs(15);

/// What the start of the box leaves to the main loop.
#[derive(Debug)]
pub struct Parts {
    /// Loads drivers until the kernel is closed to modules.
    pub loader: Loader,
    /// Devices that arrive.
    pub uevents: Option<Uevents>,
    /// Armed already, if there is one.
    pub watchdog: Watchdog,
    /// What is wrong so far.
    pub alarms: Alarms,
    /// Set in a trial boot.
    pub trial: Option<Trial>,
    /// Whether failsafe was asked for already.
    pub failsafe: bool,
    /// The data partition.
    pub data: Data,
}

/// Init once the system is up.
#[derive(Debug)]
pub struct Supervisor {
    parts: Parts,
    agent: Service,
    /// In a trial boot, until it has judged.
    gate: Option<Service>,
    /// While there is a key for the other box of the pair.
    peer: Option<Service>,
    shells: Vec<Service>,
    /// While the key for failsafe is offered.
    offer: Option<Offer>,
    /// What became of the growth of the data partition.
    growth: Option<Receiver<Result<(u64, u64), String>>>,
    /// While the data partition is mounted.
    spare: Option<Keeper>,
    /// Whether modules can still be loaded.
    open: bool,
    started: Instant,
    looked: Instant,
    /// When the last device arrived.
    arrived: Instant,
    /// When the plan to go down was last looked at.
    planned: bascule_core::time::Instant,
}

impl Supervisor {
    /// With an agent and a shell on every console.
    #[must_use]
    pub fn new(mut parts: Parts) -> Self {
        let now = Instant::now();
        let consoles = console::names();
        let offer = (!parts.failsafe).then(|| Offer::make(&consoles, now));
        let begin = if offer.is_some() { now + console::PATIENCE } else { now };
        let shell = |console: String| {
            let arguments = ["shell", "--console", &console, "--run-dir", RUN_DIR, "--state-dir", STATE_DIR];
            Service::new(&format!("shell on {console}"), &arguments, begin)
        };
        let spare = parts.data.device.is_some().then(|| Keeper::new(now));
        let growth = parts.data.device.take().filter(|_| parts.data.ours).map(grow);
        let gate = parts.trial.is_some().then(|| Service::new("gate", GATE, now));
        Self {
            parts,
            agent: Service::new("agent", AGENT, now),
            gate,
            peer: None,
            shells: consoles.into_iter().map(shell).collect(),
            offer,
            growth,
            spare,
            open: true,
            started: now,
            looked: now,
            arrived: now,
            planned: monotonic(),
        }
    }

    /// Runs until the box goes down.
    ///
    /// # Errors
    /// When the kernel gives init no way to hear signals.
    pub fn run(mut self) -> Result<(), String> {
        let flags = SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC;
        let fd = SignalFd::with_flags(&signals(), flags).map_err(|e| format!("no signals: {}", e.desc()))?;
        loop {
            let wait = self.tick();
            self.wait(&fd, wait);
            self.welcome_devices();
            while let Ok(Some(signal)) = fd.read_signal() {
                if let Some((leave, reason)) = leave::meaning(signal.ssi_signo) {
                    self.leave(leave, reason);
                }
            }
            self.reap();
        }
    }

    fn wait(&self, signals: &SignalFd, longest: Duration) {
        let mut fds = vec![PollFd::new(signals.as_fd(), PollFlags::POLLIN)];
        let mut add = |fd| fds.push(PollFd::new(fd, PollFlags::POLLIN));
        self.parts.uevents.iter().for_each(|socket| add(socket.as_fd()));
        self.offer.iter().flat_map(Offer::terminals).for_each(&mut add);
        let millis = u16::try_from(longest.as_millis()).unwrap_or(u16::MAX);
        // Interrupted or not, a look does no harm.
        let _ = poll(&mut fds, PollTimeout::from(millis.saturating_add(1)));
    }

    fn services(&mut self) -> impl Iterator<Item = &mut Service> {
        std::iter::once(&mut self.agent).chain(&mut self.gate).chain(&mut self.peer).chain(&mut self.shells)
    }

    /// Starts what waits to be started, looks after the agent; how long nothing else is to be done.
    fn tick(&mut self) -> Duration {
        let now = Instant::now();
        self.look_at_keys(now);
        let wait = self.services().filter_map(|service| service.tick(now)).min().unwrap_or(TICK);
        if now.saturating_duration_since(self.looked) >= TICK {
            self.looked = now;
            self.look_after_agent(now);
            self.look_at_hardware(now);
            self.look_at_growth();
            if let Some(alarm) = self.spare.as_mut().and_then(|spare| spare.tick(now)) {
                self.parts.alarms.raise(alarm);
            }
            self.look_at_trial(now);
            if self.peer.is_none() && peer::wanted(Path::new(STATE_DIR)) {
                self.peer = Some(Service::new("peer", PEER, now));
            }
        }
        self.look_at_plan();
        let longest = if self.offer.is_some() { KEY } else { TICK };
        wait.min(longest)
    }

    /// The key for failsafe: the agent starts again without the operator's configuration.
    fn look_at_keys(&mut self, now: Instant) {
        let Some(offer) = &mut self.offer else { return };
        match offer.look(now) {
            Answer::Waiting => return,
            Answer::Passed => {}
            Answer::Pressed(console) => {
                tracing::warn!("failsafe was asked for on {console}");
                want_failsafe(&format!("asked for on {console} at the start"));
                self.agent.signal(Signal::SIGTERM);
            }
        }
        self.offer = None;
        self.shells.iter_mut().for_each(|shell| shell.hurry(now));
    }

    /// `reboot in` and `poweroff in`: warns, and goes down when it is time.
    fn look_at_plan(&mut self) {
        let (before, now) = (std::mem::replace(&mut self.planned, monotonic()), monotonic());
        let Some(pending) = Pending::load(Path::new(RUN_DIR)) else { return };
        if now >= pending.at {
            let reason = format!("it is time: {} wanted the box to go down", pending.user);
            // A box that cannot go down shall not try again and again.
            let _ = Pending::cancel(Path::new(RUN_DIR));
            let leave = match pending.leave {
                power::Leave::Reboot => Leave::Reboot,
                power::Leave::Poweroff => Leave::Poweroff,
            };
            self.leave(leave, &reason);
        } else if pending.warns(before, now) {
            tracing::warn!("{}", pending.line(now));
        }
    }

    fn look_after_agent(&mut self, now: Instant) {
        let age = heartbeat::age(Path::new(RUN_DIR));
        let up = now.saturating_duration_since(self.started);
        let runs = self.agent.since().map(|since| now.saturating_duration_since(since));
        let verdict = judge(up, runs, age);
        if age.is_some() {
            fail_late();
        }
        if verdict.alive {
            self.parts.watchdog.feed();
        } else {
            tracing::error!(key = "silent", "the agent gives no sign of life: the watchdog is not fed");
        }
        if verdict.hangs {
            tracing::error!("the agent hangs: it is killed");
            self.agent.signal(Signal::SIGKILL);
        }
    }

    /// Drivers of devices that have just arrived.
    fn welcome_devices(&mut self) {
        let Some(uevents) = &self.parts.uevents else { return };
        for alias in uevents.arrivals() {
            self.arrived = Instant::now();
            if self.open {
                self.parts.loader.load_for(&alias).iter().for_each(|error| tracing::warn!("{error}"));
            }
        }
    }

    /// A watchdog that came late is armed; once no more drivers are to be expected, no module is loaded any more.
    fn look_at_hardware(&mut self, now: Instant) {
        if !self.open {
            return;
        }
        if !self.parts.watchdog.armed() {
            load_drivers(&mut self.parts.loader);
            self.parts.watchdog.arm();
        }
        let (up, quiet) = (now - self.started, now.saturating_duration_since(self.arrived));
        if !harden::settled(up, quiet) {
            return;
        }
        self.open = false;
        match harden::close_modules(&mut self.parts.loader, self.parts.watchdog.armed()) {
            Ok(()) => tracing::info!("no kernel module can be loaded until the next start"),
            Err(problem) => self.parts.alarms.raise(problem),
        }
        self.parts.watchdog.arm();
        if !self.parts.watchdog.armed() {
            self.parts.alarms.raise("this box has no watchdog: a kernel that hangs stays hung");
        }
    }

    fn look_at_growth(&mut self) {
        let Some(done) = self.growth.as_ref().and_then(|growth| growth.try_recv().ok()) else { return };
        self.growth = None;
        match done {
            Ok((before, after)) if before == after => {}
            Ok((before, after)) => {
                tracing::info!(before, after, "the data partition's file system has grown");
            }
            Err(error) => {
                let text =
                    format!("the data partition's file system is not grown: {error}; a restart tries again");
                self.parts.alarms.raise(text);
            }
        }
    }

    /// A trial boot that does not end well by itself ends here.
    fn look_at_trial(&mut self, now: Instant) {
        let Some(trial) = &self.parts.trial else { return };
        if !on_trial() {
            self.parts.trial = None;
            return;
        }
        let failing = self.agent.alarming().then(|| "the agent ended five times in two minutes".to_owned());
        let overdue = || trial.overdue(now.saturating_duration_since(self.started));
        if let Some(reason) = failing.or_else(overdue) {
            tracing::error!("this system is not kept: {reason}");
            // If the other system cannot be made the first one, the loader's count leads there.
            if let Err(error) = record::change(|record, at| record.roll_back(at, &reason)) {
                tracing::error!("the boot record stays as it is: {error}");
            }
            self.leave(Leave::Reboot, &reason);
        }
    }

    /// Waits for every process that ended, also those that lost their parents.
    fn reap(&mut self) {
        loop {
            let (pid, how, meant) = match waitpid(None::<Pid>, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::Exited(pid, code)) => (pid, format!("ended with status {code}"), code == 0),
                Ok(WaitStatus::Signaled(pid, signal, _)) => (pid, format!("was ended by {signal}"), false),
                Ok(WaitStatus::StillAlive) | Err(_) => return,
                Ok(_) => continue,
            };
            let now = Instant::now();
            // A gate that ends as it should has judged.
            if meant && self.gate.as_ref().is_some_and(|gate| gate.pid() == Some(pid)) {
                self.gate = None;
            }
            // Without a key it has nothing to do.
            if meant && self.peer.as_ref().is_some_and(|peer| peer.pid() == Some(pid)) {
                self.peer = None;
            }
            for service in self.services().filter(|service| service.pid() == Some(pid)) {
                service.ended(&how, meant, now);
            }
        }
    }

    /// Takes the box down in the order of `STEPS`.
    fn leave(&mut self, leave: Leave, reason: &str) {
        tracing::warn!("the box goes down ({leave:?}): {reason}");
        for (step, longest) in STEPS {
            match step {
                Step::Agent => {
                    self.agent.signal(Signal::SIGTERM);
                    self.await_end(longest, |this| this.agent.pid().is_some());
                }
                // All but this process.
                Step::Ask => {
                    let _ = kill(Pid::from_raw(-1), Signal::SIGTERM);
                    self.await_end(longest, |_| leave::any_left());
                }
                Step::Kill => {
                    let _ = kill(Pid::from_raw(-1), Signal::SIGKILL);
                    self.await_end(longest, |_| leave::any_left());
                }
                Step::Disk => {
                    spare::leave(self.spare.as_mut());
                    let reason = trial::verdict().unwrap_or_else(|| reason.to_owned());
                    console::say_last(&console::names(), &format!("{}: {reason}", leave.word()));
                    crate::log::flush();
                    leave::leave_disk(Path::new(STATE_DIR), &reason);
                }
                Step::Kernel => leave::kernel(leave),
            }
        }
    }

    /// Waits while something is left, feeding the watchdog.
    fn await_end(&mut self, longest: Duration, left: impl Fn(&Self) -> bool) {
        let start = Instant::now();
        loop {
            self.reap();
            if !left(self) || start.elapsed() >= longest {
                return;
            }
            self.parts.watchdog.feed();
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// Grows the file system of the data partition beside the main loop: a large disk takes its time.
fn grow(device: PathBuf) -> Receiver<Result<(u64, u64), String>> {
    let (done, growth) = channel();
    let work = move || {
        let result = disk::grow_file_system(&device, Path::new(mounts::DATA));
        // The box may be going down.
        let _ = done.send(result.map_err(|error| error.to_string()));
    };
    if let Err(error) = std::thread::Builder::new().name("growth".into()).spawn(work) {
        tracing::warn!("the data partition is not grown: {error}");
    }
    growth
}

/// The faults of a test that come once the agent lives.
fn fail_late() {
    match fault::wanted() {
        Some(Fault::Hang) => {
            tracing::error!("bascule.fail=hang: process 1 stands still");
            loop {
                std::thread::sleep(Duration::from_secs(3_600));
            }
        }
        Some(Fault::Init) => {
            tracing::error!("bascule.fail=init: process 1 crashes");
            crate::log::flush();
            std::process::abort();
        }
        Some(Fault::Panic | Fault::Crash | Fault::Health | Fault::Migrate) | None => {}
    }
}

/// What the agent's heartbeat says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Verdict {
    /// The watchdog may be fed.
    alive: bool,
    /// The process is there and does nothing.
    hangs: bool,
}

/// Judges a heartbeat of this `age` (`None`: there never was one), when the box has been `up` and the present
/// process has been running so long (`None`: it does not run).
fn judge(up: Duration, runs: Option<Duration>, age: Option<Duration>) -> Verdict {
    let alive = up < GRACE || age.is_some_and(|age| age < heartbeat::FRESH);
    // A beat from before its start is its predecessor's.
    let silent = |runs: Duration| age.map_or(runs, |age| age.min(runs)) >= SILENT;
    Verdict { alive, hangs: runs.is_some_and(silent) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    #[test]
    fn a_beating_agent_is_alive_and_one_that_stopped_is_given_up_and_killed() {
        let day = seconds(86_400);
        let verdict = |age| judge(day, Some(seconds(3_600)), Some(seconds(age)));
        assert_eq!(verdict(1), Verdict { alive: true, hangs: false });
        assert_eq!(verdict(11), Verdict { alive: false, hangs: false });
        assert_eq!(verdict(15), Verdict { alive: false, hangs: true });
        assert_eq!(judge(day, None, Some(seconds(15))), Verdict { alive: false, hangs: false });
    }

    #[test]
    fn a_new_process_is_not_killed_for_its_predecessors_silence() {
        let verdict = judge(seconds(86_400), Some(seconds(3)), Some(seconds(60)));
        assert_eq!(verdict, Verdict { alive: false, hangs: false });
        assert!(judge(seconds(86_400), Some(seconds(15)), Some(seconds(60))).hangs);
        assert!(judge(seconds(86_400), Some(seconds(15)), None).hangs);
    }

    #[test]
    fn a_box_that_starts_has_time_until_the_first_beat() {
        assert!(judge(seconds(29), None, None).alive);
        assert!(!judge(seconds(30), None, None).alive);
    }
}
