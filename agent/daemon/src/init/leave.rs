//! The box goes down: addresses handed over, processes ended, the disk left whole.

use std::time::Duration;

use nix::errno::Errno;
use nix::sys::reboot::{RebootMode, reboot};
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;

use super::{last_reset, mounts};

/// How the box goes down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leave {
    /// And up again.
    Reboot,
    /// And stays off.
    Poweroff,
}

impl Leave {
    /// On the console.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Reboot => "Restart",
            Self::Poweroff => "Poweroff",
        }
    }
}

/// What a signal means: as with other small inits, SIGTERM and Ctrl-Alt-Del restart, SIGUSR1 and 2 switch off.
#[must_use]
pub fn meaning(signal: u32) -> Option<(Leave, &'static str)> {
    match i32::try_from(signal).ok().and_then(|number| Signal::try_from(number).ok()) {
        Some(Signal::SIGTERM) => Some((Leave::Reboot, "a restart was asked for")),
        Some(Signal::SIGINT) => Some((Leave::Reboot, "a restart was asked for (Ctrl-Alt-Del)")),
        Some(Signal::SIGUSR1 | Signal::SIGUSR2) => Some((Leave::Poweroff, "the box was switched off")),
        Some(_) | None => None,
    }
}

/// One after the other, each with the longest time it may take. What a process does with its signal: the agent sends
/// priority 0, waits until the other box has taken over, and removes its virtual addresses; a shell puts its terminal
/// back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// SIGTERM to the agent alone, until it has ended.
    Agent,
    /// SIGTERM to all that is left, until all have ended.
    Ask,
    /// SIGKILL to all that is left.
    Kill,
    /// The reason is noted, caches are written, the data partition is unmounted.
    Disk,
    /// The kernel restarts or switches off.
    Kernel,
}

/// The order.
pub const STEPS: [(Step, Duration); 5] = [
    (Step::Agent, Duration::from_secs(5)),
    (Step::Ask, Duration::from_secs(5)),
    (Step::Kill, Duration::from_secs(2)),
    (Step::Disk, Duration::ZERO),
    (Step::Kernel, Duration::ZERO),
];

/// Whether a process other than this one is left that this one started or inherited.
#[must_use]
pub fn any_left() -> bool {
    !matches!(waitpid(None::<Pid>, Some(WaitPidFlag::WNOHANG)), Err(Errno::ECHILD))
}

/// Writes everything to the disk and takes it away.
pub fn leave_disk(state_dir: &std::path::Path, reason: &str) {
    // Without a data partition nobody will read it.
    let _ = last_reset::note(state_dir, reason);
    nix::unistd::sync();
    mounts::leave_data();
    nix::unistd::sync();
}

/// The end. Returns only when the kernel refuses; the watchdog stays armed and ends that.
pub fn kernel(leave: Leave) {
    let mode = match leave {
        Leave::Reboot => RebootMode::RB_AUTOBOOT,
        Leave::Poweroff => RebootMode::RB_POWER_OFF,
    };
    let Err(errno) = reboot(mode);
    tracing::error!("the kernel does not go down: {}", errno.desc());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_restart_or_switch_off_as_with_other_inits() {
        let meant = |signal: Signal| meaning(u32::try_from(signal as i32).unwrap()).map(|(leave, _)| leave);
        assert_eq!(meant(Signal::SIGTERM), Some(Leave::Reboot));
        assert_eq!(meant(Signal::SIGINT), Some(Leave::Reboot));
        assert_eq!(meant(Signal::SIGUSR2), Some(Leave::Poweroff));
        assert_eq!(meant(Signal::SIGCHLD), None);
        assert_eq!(meaning(99_999), None);
    }

    #[test]
    fn addresses_go_before_processes_and_processes_before_the_disk_within_what_the_watchdog_allows() {
        let order: Vec<Step> = STEPS.iter().map(|(step, _)| *step).collect();
        assert_eq!(order, [Step::Agent, Step::Ask, Step::Kill, Step::Disk, Step::Kernel]);
        let all: Duration = STEPS.iter().map(|(_, longest)| *longest).sum();
        assert!(all < Duration::from_secs(30), "{all:?}");
    }
}
