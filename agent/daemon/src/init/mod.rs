//! PID 1 of a box: brings the system up, keeps its processes alive, takes it down.
//!
//! Order: consoles' file systems, settings (sysrq off first), modules and drivers, watchdog, data partition,
//! root read-only, services. What fails is said and passed over: a box that balances without its disk is better
//! than one that does not start. Only the end of this process itself restarts the box (`panic=10`).

pub mod cmdline;
mod gpt;
mod heartbeat;
mod modules;
mod mounts;
mod service;
mod supervisor;
mod sysctl;
mod uevent;
mod watchdog;

use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::sys::signal::{SigSet, Signal};

use self::modules::Loader;
use self::supervisor::Supervisor;
use self::uevent::Uevents;

pub use self::heartbeat::beat;

/// Longest wait for the disk with the data partition.
const DISK_PATIENCE: Duration = Duration::from_secs(10);
/// Where alarms of init are left for the agent's status, a line each.
pub const ALARMS: &str = "/run/bascule/alarms";
/// In the run directory: there while a system is on trial, and says which version.
pub const TRIAL: &str = "trial";

/// The signals that mean something to init.
fn signals() -> SigSet {
    [Signal::SIGCHLD, Signal::SIGTERM, Signal::SIGINT, Signal::SIGUSR1, Signal::SIGUSR2].into_iter().collect()
}

/// Runs the box. Does not return while the box is up.
///
/// # Errors
/// When this process is not PID 1.
pub fn run() -> Result<(), String> {
    if std::process::id() != 1 {
        return Err("init runs only as process 1 of a box: try `bascule agent`".to_owned());
    }
    let failures = mounts::kernel_file_systems();
    // Before the first thread: a signal must find no thread that lets it through.
    let _ = signals().thread_block();
    crate::log::start(crate::log::Target::Kmsg, "init");
    let unset = sysctl::apply();
    failures.iter().chain(&unset).for_each(|text| tracing::warn!("{text}"));
    // Ctrl-Alt-Del becomes SIGINT.
    let _ = nix::sys::reboot::set_cad_enabled(false);
    let _ = nix::unistd::sethostname("bascule");
    let kernel = nix::sys::utsname::uname().map(|n| n.release().to_string_lossy().into_owned());
    tracing::info!(kernel = kernel.unwrap_or_default(), "Bascule {} starts", env!("CARGO_PKG_VERSION"));

    clock_floor();

    let line = cmdline::parse(&fs::read_to_string("/proc/cmdline").unwrap_or_default());
    let uevents =
        Uevents::open().inspect_err(|error| tracing::warn!("late devices are not heard: {error}")).ok();
    let mut loader = Loader::new();
    load_modules(&mut loader);

    let mut alarms = Vec::new();
    let mounted = mounts::data(line.data.as_deref(), DISK_PATIENCE, || load_drivers(&mut loader));
    if let Err(error) = mounted {
        let text = format!("{error}: nothing is kept over a reboot");
        tracing::error!("{text}");
        alarms.push(text);
    }
    match crate::people::reset::finish(Path::new(mounts::DATA)) {
        Ok(false) => {}
        Ok(true) => tracing::warn!("factory reset: configuration, users and keys are wiped"),
        Err(error) => {
            let text = format!("the factory reset is not complete: {error}; the next start tries again");
            tracing::error!("{text}");
            alarms.push(text);
        }
    }
    loopback_up();
    if let Err(errno) = mounts::root_read_only() {
        tracing::warn!("the root file system stays writable: {}", errno.desc());
    }
    leave_alarms(&alarms);
    Supervisor::new(loader, uevents).run()
}

/// The fixed list, then what the hardware asks for.
fn load_modules(loader: &mut Loader) {
    let list = fs::read_to_string("/etc/bascule/modules-load").unwrap_or_default();
    for name in list.lines().map(str::trim).filter(|name| !name.is_empty() && !name.starts_with('#')) {
        if let Err(error) = loader.load(name) {
            tracing::warn!("{error}");
        }
    }
    load_drivers(loader);
}

/// Drivers of all devices that are there. A driver may bring further devices (a bus), so this is repeated while
/// it finds something new.
fn load_drivers(loader: &mut Loader) {
    let mut known = std::collections::BTreeSet::new();
    for _ in 0..8 {
        let present = modules::present();
        let fresh: Vec<&String> = present.difference(&known).collect();
        if fresh.is_empty() {
            return;
        }
        for error in fresh.into_iter().flat_map(|alias| loader.load_for(alias)) {
            tracing::warn!("{error}");
        }
        known = present;
    }
}

/// A box whose battery is empty starts in 1970: what is certain is better, until a time server is asked.
fn clock_floor() {
    let floor = crate::system::floor();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    if now >= floor {
        return;
    }
    let late = i128::from(floor - now) * 1_000_000_000;
    match crate::sys::step_clock(late) {
        Ok(()) => tracing::warn!("the clock was before this release was made: it is set to that"),
        Err(error) => tracing::warn!("the clock is before this release was made: {error}"),
    }
}

fn loopback_up() {
    let up = || -> std::io::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let (connection, handle, _) = rtnetlink::new_connection()?;
            tokio::spawn(connection);
            let message = rtnetlink::LinkUnspec::new_with_index(1).up().build();
            handle.link().change(message).execute().await.map_err(std::io::Error::other)
        })
    };
    if let Err(error) = up() {
        tracing::warn!("loopback is not up: {error}");
    }
}

fn leave_alarms(alarms: &[String]) {
    let text: String = alarms.iter().map(|alarm| format!("{alarm}\n")).collect();
    if let Err(error) = crate::store::replace(Path::new(ALARMS), text.as_bytes()) {
        tracing::warn!("{error}");
    }
}
