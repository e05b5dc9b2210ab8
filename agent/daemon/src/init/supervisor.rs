//! The main loop of init: reaps, respawns, feeds the watchdog, and takes the box down when told to.

use std::fs::{self, OpenOptions};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::reboot::{RebootMode, reboot};
use nix::sys::signal::{Signal, kill};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use super::modules::Loader;
use super::service::Service;
use super::uevent::Uevents;
use super::watchdog::Watchdog;
use super::{heartbeat, load_drivers, mounts, signals};
use crate::people::power::{self, Pending};
use crate::sys::monotonic;

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
/// Where the agent keeps what lasts until the next boot, and what lasts longer.
const RUN_DIR: &str = "/run/bascule";
const STATE_DIR: &str = "/data/state";
/// How often the heartbeat is looked at and the watchdog fed.
const TICK: Duration = Duration::from_secs(2);
/// An agent may take this long until its first beat.
const GRACE: Duration = Duration::from_secs(30);
/// An agent that is silent for this long is killed.
const SILENT: Duration = Duration::from_secs(15);
/// A watchdog's driver may come this late.
const WATCHDOG_PATIENCE: Duration = Duration::from_secs(60);
/// The agent may take this long to hand its addresses over.
const FAREWELL: Duration = Duration::from_secs(5);

/// How the box goes down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Leave {
    Reboot,
    Poweroff,
}

/// Init once the system is up.
#[derive(Debug)]
pub struct Supervisor {
    loader: Loader,
    uevents: Option<Uevents>,
    agent: Service,
    shells: Vec<Service>,
    watchdog: Option<Watchdog>,
    started: Instant,
    looked: Instant,
    /// When the plan to go down was last looked at.
    planned: bascule_core::time::Instant,
}

impl Supervisor {
    /// With an agent and a shell on every console.
    #[must_use]
    pub fn new(loader: Loader, uevents: Option<Uevents>) -> Self {
        let now = Instant::now();
        let shell = |console: String| {
            let arguments = ["shell", "--console", &console, "--run-dir", RUN_DIR, "--state-dir", STATE_DIR];
            Service::new(&format!("shell on {console}"), &arguments, now)
        };
        Self {
            loader,
            uevents,
            agent: Service::new("agent", AGENT, now),
            shells: consoles().into_iter().map(shell).collect(),
            watchdog: None,
            started: now,
            looked: now,
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
        self.open_watchdog();
        loop {
            let wait = self.tick();
            self.wait(&fd, wait);
            if let Some(uevents) = &self.uevents {
                for alias in uevents.arrivals() {
                    self.loader.load_for(&alias).iter().for_each(|error| tracing::warn!("{error}"));
                }
            }
            while let Ok(Some(signal)) = fd.read_signal() {
                if let Some(leave) = meaning(signal.ssi_signo) {
                    self.leave(leave);
                }
            }
            self.reap();
        }
    }

    fn wait(&self, signals: &SignalFd, longest: Duration) {
        let mut fds = vec![PollFd::new(signals.as_fd(), PollFlags::POLLIN)];
        fds.extend(self.uevents.as_ref().map(|socket| PollFd::new(socket.as_fd(), PollFlags::POLLIN)));
        let millis = u16::try_from(longest.as_millis()).unwrap_or(u16::MAX);
        // Interrupted or not, a look does no harm.
        let _ = poll(&mut fds, PollTimeout::from(millis.saturating_add(1)));
    }

    /// Starts what waits to be started, looks after the agent; how long nothing else is to be done.
    fn tick(&mut self) -> Duration {
        let now = Instant::now();
        let services = std::iter::once(&mut self.agent).chain(&mut self.shells);
        let wait = services.filter_map(|service| service.tick(now)).min().unwrap_or(TICK);
        if now.saturating_duration_since(self.looked) >= TICK {
            self.looked = now;
            self.look_after_agent(now);
        }
        self.look_at_plan();
        wait.min(TICK)
    }

    /// `reboot in` and `poweroff in`: warns, and goes down when it is time.
    fn look_at_plan(&mut self) {
        let (before, now) = (std::mem::replace(&mut self.planned, monotonic()), monotonic());
        let Some(pending) = Pending::load(Path::new(RUN_DIR)) else { return };
        if now >= pending.at {
            tracing::warn!("it is time: {} wanted the box to go down", pending.user);
            // A box that cannot go down shall not try again and again.
            let _ = Pending::cancel(Path::new(RUN_DIR));
            self.leave(match pending.leave {
                power::Leave::Reboot => Leave::Reboot,
                power::Leave::Poweroff => Leave::Poweroff,
            });
        } else if pending.warns(before, now) {
            tracing::warn!("{}", pending.line(now));
        }
    }

    fn look_after_agent(&mut self, now: Instant) {
        if self.watchdog.is_none() && now.saturating_duration_since(self.started) < WATCHDOG_PATIENCE {
            load_drivers(&mut self.loader);
            self.open_watchdog();
        }
        let age = heartbeat::age(Path::new(RUN_DIR));
        let runs = self.agent.since().map(|since| now.saturating_duration_since(since));
        let verdict = judge(now.saturating_duration_since(self.started), runs, age);
        if verdict.alive {
            self.feed();
        } else {
            tracing::error!(key = "silent", "the agent gives no sign of life: the watchdog is not fed");
        }
        if verdict.hangs {
            tracing::error!("the agent hangs: it is killed");
            self.agent.signal(Signal::SIGKILL);
        }
    }

    fn open_watchdog(&mut self) {
        match Watchdog::open() {
            Ok(Some(watchdog)) => self.watchdog = Some(watchdog),
            Ok(None) if self.started.elapsed() + TICK >= WATCHDOG_PATIENCE => {
                tracing::warn!("this box has no watchdog: a kernel that hangs stays hung");
            }
            Ok(None) => {}
            Err(error) => tracing::warn!(key = "watchdog-open", "the watchdog cannot be opened: {error}"),
        }
    }

    fn feed(&mut self) {
        if let Some(watchdog) = &mut self.watchdog {
            watchdog.feed();
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
            for service in std::iter::once(&mut self.agent).chain(&mut self.shells) {
                if service.pid() == Some(pid) {
                    service.ended(&how, meant, now);
                }
            }
        }
    }

    /// Takes the box down: addresses handed over first, then everything else, then the disk.
    fn leave(&mut self, leave: Leave) {
        tracing::warn!("the box goes down ({leave:?})");
        self.agent.signal(Signal::SIGTERM);
        let start = Instant::now();
        while self.agent.pid().is_some() && start.elapsed() < FAREWELL {
            self.pause();
        }
        self.agent.signal(Signal::SIGKILL);
        for signal in [Signal::SIGTERM, Signal::SIGKILL] {
            // All but this process.
            let _ = kill(Pid::from_raw(-1), signal);
            let start = Instant::now();
            while start.elapsed() < Duration::from_secs(1) && self.has_children() {
                self.pause();
            }
        }
        crate::log::flush();
        nix::unistd::sync();
        mounts::leave_data();
        // The watchdog stays armed: a reboot that hangs is ended by it.
        let mode = match leave {
            Leave::Reboot => RebootMode::RB_AUTOBOOT,
            Leave::Poweroff => RebootMode::RB_POWER_OFF,
        };
        let Err(errno) = reboot(mode);
        tracing::error!("the kernel does not go down: {}", errno.desc());
    }

    fn has_children(&mut self) -> bool {
        self.reap();
        !matches!(waitpid(None::<Pid>, Some(WaitPidFlag::WNOHANG)), Err(nix::errno::Errno::ECHILD))
    }

    fn pause(&mut self) {
        self.feed();
        self.reap();
        std::thread::sleep(Duration::from_millis(20));
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

/// What a signal means: as with other small inits, SIGTERM and Ctrl-Alt-Del restart, SIGUSR1 and 2 switch off.
fn meaning(signal: u32) -> Option<Leave> {
    match i32::try_from(signal).ok().and_then(|number| Signal::try_from(number).ok()) {
        Some(Signal::SIGTERM | Signal::SIGINT) => Some(Leave::Reboot),
        Some(Signal::SIGUSR1 | Signal::SIGUSR2) => Some(Leave::Poweroff),
        Some(_) | None => None,
    }
}

/// The consoles that the kernel writes to and that can be opened. `tty0` is whichever virtual terminal is in
/// front; the first one is a fixed place.
fn consoles() -> Vec<String> {
    let active = fs::read_to_string("/sys/class/tty/console/active").unwrap_or_default();
    let names = active.split_ascii_whitespace().map(|name| if name == "tty0" { "tty1" } else { name });
    let flags = nix::libc::O_NOCTTY | nix::libc::O_NONBLOCK;
    names
        .filter(|name| {
            let path = Path::new("/dev").join(name);
            let opened = OpenOptions::new().read(true).write(true).custom_flags(flags).open(&path);
            if let Err(error) = &opened {
                tracing::warn!("no shell on {}: {error}", path.display());
            }
            opened.is_ok()
        })
        .map(str::to_owned)
        .collect()
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

    #[test]
    fn signals_restart_or_switch_off_as_with_other_inits() {
        let number = |signal: Signal| u32::try_from(signal as i32).unwrap();
        assert_eq!(meaning(number(Signal::SIGTERM)), Some(Leave::Reboot));
        assert_eq!(meaning(number(Signal::SIGINT)), Some(Leave::Reboot));
        assert_eq!(meaning(number(Signal::SIGUSR2)), Some(Leave::Poweroff));
        assert_eq!(meaning(number(Signal::SIGCHLD)), None);
        assert_eq!(meaning(99_999), None);
    }
}
