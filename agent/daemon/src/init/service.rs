//! The processes that init keeps alive.

use std::io;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::backoff::Backoff;

/// A process of the box: this binary with some arguments.
#[derive(Debug)]
pub struct Service {
    /// For the log.
    pub name: String,
    arguments: Vec<String>,
    state: State,
    backoff: Backoff,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Running { pid: Pid, since: Instant },
    Waiting { until: Instant },
}

impl Service {
    /// A service that starts at the next `tick`.
    pub fn new(name: &str, arguments: &[&str], now: Instant) -> Self {
        Self {
            name: name.to_owned(),
            arguments: arguments.iter().map(|&argument| argument.to_owned()).collect(),
            state: State::Waiting { until: now },
            backoff: Backoff::default(),
        }
    }

    /// Its process, when it runs.
    #[must_use]
    pub const fn pid(&self) -> Option<Pid> {
        match self.state {
            State::Running { pid, .. } => Some(pid),
            State::Waiting { .. } => None,
        }
    }

    /// When it started, when it runs.
    #[must_use]
    pub const fn since(&self) -> Option<Instant> {
        match self.state {
            State::Running { since, .. } => Some(since),
            State::Waiting { .. } => None,
        }
    }

    /// Starts it when it is time to. Returns how long to wait otherwise.
    pub fn tick(&mut self, now: Instant) -> Option<Duration> {
        let State::Waiting { until } = self.state else { return None };
        if until > now {
            return Some(until - now);
        }
        match self.spawn() {
            Ok(pid) => {
                self.state = State::Running { pid, since: now };
                None
            }
            Err(error) => {
                let wait = self.backoff.ended(now, now).max(Duration::from_millis(200));
                tracing::error!(key = self.name, "{} cannot be started: {error}", self.name);
                self.state = State::Waiting { until: now + wait };
                Some(wait)
            }
        }
    }

    fn spawn(&self) -> io::Result<Pid> {
        let child = Command::new("/proc/self/exe")
            .args(&self.arguments)
            .env_clear()
            .env("PATH", "/sbin")
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        // Init waits for every process itself, so the handle is not needed.
        i32::try_from(child.id()).map(Pid::from_raw).map_err(io::Error::other)
    }

    /// Its process ended, in words and whether as it should: it starts again, at once the first time and when the
    /// end was meant (`restart agent`).
    pub fn ended(&mut self, how: &str, meant: bool, now: Instant) {
        let State::Running { since, .. } = self.state else { return };
        let mut wait = self.backoff.ended(since, now);
        if meant && !self.backoff.alarming() {
            wait = Duration::ZERO;
        }
        let wait_ms = wait.as_millis();
        if self.backoff.alarming() {
            tracing::error!(
                key = self.name,
                wait_ms,
                "{} {how}: five times or more in two minutes",
                self.name
            );
        } else {
            tracing::warn!(key = self.name, wait_ms, "{} {how}; it is started again", self.name);
        }
        self.state = State::Waiting { until: now + wait };
    }

    /// Does not wait any longer to be started.
    pub fn hurry(&mut self, now: Instant) {
        if let State::Waiting { until } = &mut self.state {
            *until = (*until).min(now);
        }
    }

    /// Whether it ended five times or more in the two minutes before its last end.
    #[must_use]
    pub fn alarming(&self) -> bool {
        self.backoff.alarming()
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        if let Some(pid) = self.pid() {
            // It may just have ended.
            let _ = kill(pid, signal);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A service whose process is said to run since `now`.
    fn running(now: Instant) -> Service {
        let mut service = Service::new("test", &[], now);
        service.state = State::Running { pid: Pid::from_raw(1), since: now };
        service
    }

    fn wait(service: &Service, now: Instant) -> Duration {
        match service.state {
            State::Waiting { until } => until - now,
            State::Running { .. } => panic!("it runs"),
        }
    }

    #[test]
    fn a_crash_is_followed_by_a_start_at_once_and_a_second_one_by_a_wait() {
        let now = Instant::now();
        let mut service = running(now);
        service.ended("crashed", false, now);
        assert_eq!(wait(&service, now), Duration::ZERO);
        service.state = State::Running { pid: Pid::from_raw(1), since: now };
        service.ended("crashed", false, now);
        assert_eq!(wait(&service, now), Duration::from_millis(200));
        assert_eq!((service.pid(), service.since()), (None, None));
    }

    #[test]
    fn an_end_that_was_meant_never_waits_unless_it_repeats_without_end() {
        let now = Instant::now();
        let mut service = running(now);
        let mut waits = Vec::new();
        for _ in 0..6 {
            service.state = State::Running { pid: Pid::from_raw(1), since: now };
            service.ended("ended", true, now);
            waits.push(wait(&service, now));
        }
        assert!(waits[..4].iter().all(Duration::is_zero), "{waits:?}");
        assert!(waits[4..].iter().all(|wait| !wait.is_zero()), "{waits:?}");
    }

    #[test]
    fn an_end_that_nobody_waits_for_changes_nothing() {
        let now = Instant::now();
        let mut service = Service::new("test", &[], now + Duration::from_secs(5));
        service.ended("ended", false, now);
        assert_eq!(wait(&service, now), Duration::from_secs(5));
        assert_eq!(service.tick(now), Some(Duration::from_secs(5)));
    }
}
