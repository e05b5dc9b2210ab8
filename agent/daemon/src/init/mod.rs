//! PID 1 of a box: brings the system up, keeps its processes alive, takes it down.
//!
//! Order: kernel's file systems, settings (sysrq off first), watchdog, modules and drivers, data partition, root
//! read-only, services; once the hardware has settled, no more modules. What fails is said and passed over: a box that
//! balances without its disk is better than one that does not start. Only the end of this process itself restarts the
//! box (`panic=10`), and the watchdog when this process stands still.

mod alarms;
pub mod cmdline;
mod console;
mod disk;
pub mod fault;
mod gpt;
mod harden;
mod heartbeat;
mod last_reset;
mod leave;
mod modules;
mod mounts;
mod service;
mod spare;
mod supervisor;
mod sysctl;
mod trial;
mod uevent;
mod watchdog;

use std::fs;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bascule_core::slot::Record;
use bascule_core::time::utc;
use nix::sys::signal::{SigSet, Signal};

use self::alarms::Alarms;
use self::fault::Fault;
use self::last_reset::Cause;
use self::modules::Loader;
use self::mounts::{Data, DataError};
use self::spare::SpareError;
use self::supervisor::{Parts, Supervisor};
use self::trial::Trial;
use self::uevent::Uevents;
use self::watchdog::Watchdog;
use crate::confine::groups;
use crate::look::version;
use crate::people::reset;
use crate::update::record;

pub use self::alarms::ALARMS;
pub use self::disk::partitions;
pub use self::heartbeat::beat;
pub use self::last_reset::LEFT as LAST_RESET;

/// Longest wait for the disk with the data partition.
const DISK_PATIENCE: Duration = Duration::from_secs(10);
/// A system that was up for so long is stable: crashes before are not in a row with those after.
const CALM: Duration = Duration::from_secs(600);
/// In the run directory: there while a system is on trial, and says which version.
pub const TRIAL: &str = "trial";
/// Where the agent keeps what lasts until the next boot, and what lasts longer.
const RUN_DIR: &str = "/run/bascule";
const STATE_DIR: &str = "/data/state";
/// Name in the run directory of the file that says that failsafe is wanted, and why.
const FAILSAFE: &str = "failsafe";

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
    let _ = fs::DirBuilder::new().mode(0o700).create(RUN_DIR);
    let mut alarms = Alarms::default();
    failures.into_iter().chain(sysctl::apply()).for_each(|text| alarms.raise(text));
    // Ctrl-Alt-Del becomes SIGINT.
    let _ = nix::sys::reboot::set_cad_enabled(false);
    let _ = nix::unistd::sethostname("bascule");
    let kernel = nix::sys::utsname::uname().map(|n| n.release().to_string_lossy().into_owned());
    tracing::info!(kernel = kernel.unwrap_or_default(), "Bascule {} starts", version::running());

    let uevents =
        Uevents::open().inspect_err(|error| tracing::warn!("late devices are not heard: {error}")).ok();
    let mut loader = Loader::new();
    let mut watchdog = Watchdog::default();
    load_watchdogs(&mut loader);
    watchdog.arm();
    clock_floor();
    load_modules(&mut loader);
    watchdog.arm();
    watchdog.feed();
    fail_early();

    let cmdline = fs::read_to_string("/proc/cmdline").unwrap_or_default();
    let data = data(&cmdline, &mut loader, &mut watchdog, &mut alarms);
    let bit = watchdog.bit().map(str::to_owned);
    let cause = last_reset::find(bit.as_deref(), Path::new(STATE_DIR));
    tracing::info!("last restart: {}", cause.text());
    settle_record(&cause, &mut alarms);
    let failsafe = failsafe(&cmdline);
    loopback_up();
    harden_files(&mut alarms);
    alarms.leave();
    let trial = Trial::begun(&cmdline);
    if trial.is_some() {
        begin_trial(&mut alarms);
    }
    let parts = Parts { loader, uevents, watchdog, alarms, trial, failsafe, data };
    Supervisor::new(parts).run()
}

/// Mounts the data partition, and wipes it when it is marked for that.
fn data(cmdline: &str, loader: &mut Loader, watchdog: &mut Watchdog, alarms: &mut Alarms) -> Data {
    let name = cmdline::parse(cmdline).data;
    let state = cmdline::value(cmdline, "bascule.state");
    let mut data = mounts::data(name.as_deref(), state.as_deref(), DISK_PATIENCE, || {
        load_drivers(loader);
        watchdog.arm();
        watchdog.feed();
    });
    data.problems.drain(..).for_each(|problem| alarms.raise(problem));
    if let Some(lost) = &data.lost {
        alarms.raise(without_data(lost, spare::restore()));
    }
    if reset::marked(Path::new(mounts::DATA))
        && let Err(error) = spare::wipe()
    {
        // The data partition is new then, and one that is new has the copy wiped before another is written.
        alarms.raise(format!("the spare copy of the old configuration and users is not wiped yet: {error}"));
    }
    match reset::finish(Path::new(mounts::DATA)) {
        Ok(false) => {}
        Ok(true) => tracing::warn!("factory reset: configuration, users and keys are wiped"),
        Err(error) => {
            alarms.raise(format!("the factory reset is not complete: {error}; the next start tries again"));
        }
    }
    watchdog.feed();
    data
}

/// What the operator is told of a data partition that is not mounted, and of what runs in its stead.
fn without_data(lost: &DataError, restored: Result<Option<u64>, SpareError>) -> String {
    match restored {
        Ok(Some(taken)) => {
            let time = if taken == 0 { String::new() } else { format!(" of {} UTC", utc(taken)) };
            format!(
                "{lost}; until then the box runs from the spare copy{time} of its configuration and users, and changes \
                 are not kept over a restart"
            )
        }
        Ok(None) => format!("{lost}; until then nothing is kept over a restart"),
        Err(error) => {
            format!("{lost}; until then nothing is kept over a restart (the spare copy is not used: {error})")
        }
    }
}

/// Writes down how the loader started this system, and counts crashes in a row: the record knows what follows.
fn settle_record(cause: &Cause, alarms: &mut Alarms) {
    let settled = record::settle();
    match &settled {
        record::Settled::Agreed { record, .. } => tracing::info!("slots: {}", record.reason()),
        record::Settled::NoSlots | record::Settled::Off(_) => {}
    }
    if let Some(text) = settled.alarm() {
        alarms.raise(text);
    }
    if matches!(settled, record::Settled::NoSlots | record::Settled::Off(_)) {
        return;
    }
    if let Some(reason) = cause.crash() {
        match record::amend(|record, at| record.crashed(at, &reason)) {
            Ok(record) => tracing::warn!("{} crashes in a row; {}", record.crashes(), record.reason()),
            Err(error) => alarms.raise(format!("the crash is not counted: {error}")),
        }
    }
    std::thread::spawn(|| {
        std::thread::sleep(CALM);
        if let Err(error) = record::amend(Record::stable) {
            tracing::warn!("crashes are not forgotten: {error}");
        }
    });
}

/// Closes what nobody may write any more, and looks at whether all is as it must be.
fn harden_files(alarms: &mut Alarms) {
    let root = mounts::root_read_only().err();
    let root = root.map(|errno| format!("the root file system stays writable: {}", errno.desc()));
    let groups = groups::make(Path::new(groups::ROOT));
    let records = last_reset::mount_records().err();
    let records = records.map(|errno| format!("crash records of the kernel are not shown: {}", errno.desc()));
    let problems = root.into_iter().chain(groups).chain(records).chain(harden::close_files());
    problems.chain(harden::mounts()).for_each(|text| alarms.raise(text));
}

/// Tells the agent that this system is on trial, and which version it is.
fn begin_trial(alarms: &mut Alarms) {
    let file = Path::new(RUN_DIR).join(TRIAL);
    if let Err(error) = crate::store::replace_volatile(&file, version::running().as_bytes()) {
        alarms.raise(format!("the trial is not told to the agent: {error}"));
    }
}

/// Whether this system is still on trial: whoever confirms it removes the file.
fn on_trial() -> bool {
    Path::new(RUN_DIR).join(TRIAL).exists()
}

/// `bascule.failsafe` on the command line, as the reason for the agent.
fn failsafe(cmdline: &str) -> bool {
    let Some(value) = cmdline::value(cmdline, "bascule.failsafe") else { return false };
    let why = match value.as_str() {
        "tries" => "no slot has a try left, and this one was never confirmed".to_owned(),
        "" => "asked for on the command line".to_owned(),
        other => format!("asked for on the command line ({other})"),
    };
    want_failsafe(&why);
    true
}

/// Leaves the wish for the agent's next start.
fn want_failsafe(why: &str) {
    let file = Path::new(RUN_DIR).join(FAILSAFE);
    if let Err(error) = crate::store::replace_volatile(&file, format!("{why}\n").as_bytes()) {
        tracing::error!("failsafe cannot be asked for: {error}");
    }
}

/// Why failsafe is wanted in this boot, when it is. For the agent.
#[must_use]
pub fn failsafe_wanted(run_dir: &Path) -> Option<String> {
    let text = fs::read_to_string(run_dir.join(FAILSAFE)).ok()?;
    Some(text.lines().next().unwrap_or_default().to_owned())
}

/// An operator's configuration runs again: the next start of the agent is an ordinary one.
pub fn failsafe_over(run_dir: &Path) {
    // There is none in nearly every boot.
    let _ = fs::remove_file(run_dir.join(FAILSAFE));
}

/// The fault of a test that comes before everything else.
fn fail_early() {
    if fault::wanted() == Some(Fault::Panic) {
        tracing::error!("bascule.fail=panic: process 1 ends");
        crate::log::flush();
        std::process::exit(1);
    }
}

/// The names that init loads at start, from the image.
fn list() -> Vec<String> {
    let list = fs::read_to_string("/etc/bascule/modules-load").unwrap_or_default();
    let names = list.lines().map(str::trim).filter(|name| !name.is_empty() && !name.starts_with('#'));
    names.map(str::to_owned).collect()
}

/// The drivers of watchdogs, before all others: what hangs from here on is restarted.
fn load_watchdogs(loader: &mut Loader) {
    let named = list().into_iter().filter(|name| loader.drives_watchdog(name)).collect::<Vec<_>>();
    for error in named.iter().filter_map(|name| loader.load(name).err()) {
        tracing::warn!("{error}");
    }
    for error in modules::present().iter().flat_map(|alias| loader.load_watchdog_for(alias)) {
        tracing::warn!("{error}");
    }
}

/// The fixed list, then what the hardware asks for.
fn load_modules(loader: &mut Loader) {
    for name in list() {
        if let Err(error) = loader.load(&name) {
            tracing::warn!("{error}");
        }
    }
    if Path::new("/sys/firmware/efi").exists()
        && let Err(error) = loader.load("efi_pstore")
    {
        tracing::info!("{error}");
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
