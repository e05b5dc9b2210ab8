//! Control groups (cgroup v2): how much memory and how many processes each part of the box may take. Init makes them,
//! each process joins its own.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Where the hierarchy is mounted.
pub const ROOT: &str = "/sys/fs/cgroup";

const MEBI: u64 = 1 << 20;

/// A group of processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// The agent.
    Agent,
    /// The prober.
    Prober,
    /// The shells of all consoles together.
    Shell,
}

/// What a group may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Limits {
    /// Bytes.
    memory: u64,
    /// Processes and threads.
    processes: u32,
}

impl Group {
    const ALL: [Self; 3] = [Self::Agent, Self::Prober, Self::Shell];

    const fn name(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::Prober => "prober",
            Self::Shell => "shell",
        }
    }

    /// The limits on a box with so many bytes of memory: several times what was measured with ten thousand real
    /// servers, and never all of it, so that one part that leaks does not take the others along.
    fn limits(self, total: u64) -> Limits {
        let part = |divisor: u64, least: u64| (total / divisor).max(least * MEBI);
        match self {
            Self::Agent => Limits { memory: part(2, 128), processes: 128 },
            Self::Prober => Limits { memory: part(4, 96), processes: 16 },
            Self::Shell => Limits { memory: part(3, 160), processes: 256 },
        }
    }
}

/// The memory of the box in bytes, from the text of `/proc/meminfo`.
fn total(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.split_ascii_whitespace().next()?.parse::<u64>().ok()?.checked_mul(1_024)
}

/// Makes the groups below `root`, a mounted hierarchy. What could not be made, a line each.
#[must_use]
pub fn make(root: &Path) -> Vec<String> {
    let total = fs::read_to_string("/proc/meminfo").ok().and_then(|text| total(&text)).unwrap_or(512 * MEBI);
    let mut problems = Vec::new();
    let mut check = |path: PathBuf, result: io::Result<()>| {
        if let Err(error) = result {
            problems.push(format!("control group {}: {error}", path.display()));
        }
    };
    let write = |path: PathBuf, text: String| {
        let result = fs::write(&path, text);
        (path, result)
    };
    let (path, result) = write(root.join("cgroup.subtree_control"), "+memory +pids\n".to_owned());
    check(path, result);
    for group in Group::ALL {
        let place = root.join(group.name());
        let limits = group.limits(total);
        check(place.clone(), fs::create_dir_all(&place));
        for (file, value) in [("memory.max", limits.memory), ("pids.max", limits.processes.into())] {
            let (path, result) = write(place.join(file), format!("{value}\n"));
            check(path, result);
        }
    }
    problems
}

/// Puts this process into its group.
///
/// # Errors
/// When there are no groups.
pub fn join(group: Group) -> io::Result<()> {
    fs::write(Path::new(ROOT).join(group.name()).join("cgroup.procs"), "0\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::Scratch;

    #[test]
    fn limits_grow_with_the_box_and_leave_room_for_the_others() {
        for total in [256 * MEBI, 512 * MEBI, 64 << 30] {
            for group in Group::ALL {
                let limits = group.limits(total);
                assert!(
                    limits.memory >= 96 * MEBI && limits.memory < total,
                    "{group:?} of {total}: {limits:?}"
                );
            }
        }
        assert_eq!(Group::Agent.limits(8 << 30).memory, 4 << 30);
    }

    #[test]
    fn the_memory_of_the_box_is_found() {
        assert_eq!(total("MemTotal:  500000 kB\nMemFree: 1 kB\n"), Some(512_000_000));
        assert_eq!(total("MemFree: 1 kB\n"), None);
    }

    #[test]
    fn groups_are_made_with_their_limits_and_what_fails_is_said() {
        let dir = Scratch::new("groups");
        assert_eq!(make(dir.path()), [""; 0]);
        assert_eq!(fs::read_to_string(dir.path().join("prober/pids.max")).unwrap(), "16\n");
        let problems = make(Path::new("/proc/nonexistent"));
        assert!(problems.iter().any(|line| line.contains("memory.max")), "{problems:?}");
    }
}
