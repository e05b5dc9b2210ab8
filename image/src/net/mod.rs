//! Layer-2 networks of our own: network namespaces, a bridge as the switch, taps for QEMU.
//!
//! Everything lives in namespaces that this process makes, whose names carry its pid, so two runs never meet
//! and no frame leaves them. Dropping a value removes what it made; what a killed run left behind is removed
//! by the next one.

mod process;
mod segment;
pub mod sniff;

pub use process::Process;
pub use segment::{Grip, Host, Mac, Segment, Tap};

use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Once;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::{self, JoinHandle};

use anyhow::{Context, Result, anyhow, bail};
use nix::sched::{CloneFlags, setns};

/// Debian packages with the programs used here.
pub const PACKAGES: &[&str] = &["iproute2", "util-linux"];

/// Where `ip netns` keeps its names.
const NETNS_DIR: &str = "/run/netns";
const PREFIX: &str = "bascule-";

/// Why namespaces cannot be used here, in words for a "skipped" line; `Ok` if they can.
///
/// # Errors
/// Not root, no `ip`, or the kernel refuses a namespace.
pub fn available() -> Result<()> {
    if !nix::unistd::geteuid().is_root() {
        bail!("network namespaces need root");
    }
    if !Path::new("/dev/net/tun").exists() {
        bail!("/dev/net/tun is missing: the kernel has no tap devices");
    }
    Netns::new("probe").map(drop).context("cannot make a network namespace")
}

/// A command that the kernel kills when the thread that started it ends, however it ends.
///
/// Without it a killed run would leave QEMUs and agents behind. Start it on a thread that outlives it.
#[must_use]
pub fn leashed(program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--"]).arg(program);
    command
}

/// A network namespace that is removed when dropped.
#[derive(Debug)]
pub struct Netns {
    name: String,
    file: File,
}

impl Netns {
    /// Makes a namespace `bascule-PID-N-ROLE` with its loopback up.
    ///
    /// # Errors
    /// `ip` failed; its own words are in the error.
    pub fn new(role: &str) -> Result<Self> {
        static SWEPT: Once = Once::new();
        static NEXT: AtomicU32 = AtomicU32::new(0);
        SWEPT.call_once(sweep);
        let name = format!("{PREFIX}{}-{}-{role}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        ip(&["netns", "add", &name])?;
        let opened = File::open(Path::new(NETNS_DIR).join(&name))
            .with_context(|| format!("cannot open namespace {name}"));
        let file = match opened {
            Ok(file) => file,
            Err(error) => {
                let _ = ip(&["netns", "del", &name]);
                return Err(error);
            }
        };
        let netns = Self { name, file };
        // Duplicate address detection would keep IPv6 addresses unusable for a second.
        for scope in ["all", "default"] {
            let _ = netns.sysctl(&format!("ipv6/conf/{scope}/accept_dad"), "0");
        }
        netns.ip("link set lo up")?;
        Ok(netns)
    }

    /// The name, as `ip netns` knows it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Runs `ip` inside with arguments separated by blanks.
    ///
    /// # Errors
    /// `ip` failed; its own words are in the error.
    pub fn ip(&self, arguments: &str) -> Result<()> {
        let mut all = vec!["-n", self.name.as_str()];
        all.extend(arguments.split_whitespace());
        ip(&all)
    }

    /// Writes `/proc/sys/net/KEY` of this namespace; the key is written with slashes.
    ///
    /// # Errors
    /// No such key, or the kernel refuses the value.
    pub fn sysctl(&self, key: &str, value: &str) -> Result<()> {
        let path = Path::new("/proc/sys/net").join(key);
        self.enter(|| fs::write(&path, value))?
            .with_context(|| format!("cannot set {key}={value} in {}", self.name))
    }

    /// Runs `f` on a thread inside the namespace and waits for it. A socket opened there stays there.
    ///
    /// # Errors
    /// The namespace cannot be entered, or `f` panicked.
    pub fn enter<T: Send>(&self, f: impl FnOnce() -> T + Send) -> Result<T> {
        thread::scope(|scope| {
            let inside = scope.spawn(|| setns(&self.file, CloneFlags::CLONE_NEWNET).map(|()| f()));
            let entered = inside.join().map_err(|_| anyhow!("a thread in {} panicked", self.name))?;
            entered.with_context(|| format!("cannot enter namespace {}", self.name))
        })
    }

    /// Starts a named thread inside the namespace.
    ///
    /// # Errors
    /// The thread cannot be started. A failure to enter the namespace is the thread's own result.
    pub fn thread<T: Send + 'static>(
        &self,
        name: &str,
        f: impl FnOnce() -> T + Send + 'static,
    ) -> Result<JoinHandle<Result<T>>> {
        let file = self.file.try_clone()?;
        let inside = self.name.clone();
        let body = move || {
            setns(&file, CloneFlags::CLONE_NEWNET)
                .with_context(|| format!("cannot enter namespace {inside}"))?;
            Ok(f())
        };
        Ok(thread::Builder::new().name(name.to_owned()).spawn(body)?)
    }

    /// A command that will run inside (with its `/sys` too) and dies with the calling thread, see [`leashed`].
    #[must_use]
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = leashed("ip");
        command.args(["netns", "exec", &self.name]).arg(program);
        command
    }
}

impl Drop for Netns {
    fn drop(&mut self) {
        let _ = ip(&["netns", "del", &self.name]);
    }
}

/// Removes the namespaces of this process, for an exit that runs no destructors (Ctrl-C).
pub fn remove_ours() {
    let ours = format!("{PREFIX}{}-", std::process::id());
    for name in names().iter().filter(|name| name.starts_with(&ours)) {
        let _ = ip(&["netns", "del", name]);
    }
}

/// Removes the namespaces of processes that are gone.
fn sweep() {
    for name in names() {
        let pid = name
            .strip_prefix(PREFIX)
            .and_then(|rest| rest.split('-').next())
            .and_then(|pid| pid.parse::<u32>().ok());
        if pid.is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists()) {
            let _ = ip(&["netns", "del", &name]);
        }
    }
}

fn names() -> Vec<String> {
    let Ok(entries) = fs::read_dir(NETNS_DIR) else { return Vec::new() };
    entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect()
}

/// Runs `ip` from iproute2.
fn ip(arguments: &[&str]) -> Result<()> {
    run("ip", arguments)
}

fn run(program: &str, arguments: &[&str]) -> Result<()> {
    let output = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot run `{program}` (Debian package iproute2)"))?;
    if !output.status.success() {
        bail!(
            "`{program} {}` failed: {}",
            arguments.join(" "),
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(())
}
