//! `cargo image bench boot`: how soon after process 1 starts a box takes part in VRRP and balances, how large it
//! is, and what memory it takes; beside a minimal system of busybox and Debian's keepalived on the same kernel.
//!
//! Both are started directly from the kernel and do the same job: one card, one virtual router, one service. Ours
//! mounts its data partition, reads its configuration there and runs its consoles, too; the other has everything
//! in its archive and nothing but a script before keepalived. Times are those of the kernel's log, counted from
//! its line "Run /init", so firmware, boot loader and kernel are left out: they are the same for both. What the kernel
//! took until then is given beside it, since a driver that is built in starts there and a module behind it.

mod peer;

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use serde::Serialize;

use super::failover::middle_and_worst;
use super::{Machine, keep};
use crate::board::{Board, Flavour};
use crate::build::{self, Slot};
use crate::kernel::{self, Kernel, Origin};
use crate::qemu::{self, Accelerator, Boot, Setup, login};
use crate::toolchain::Profile;
use crate::{disk, host};

/// From power-on to the last line that is waited for, under emulation on a busy machine.
const BOOT: Duration = Duration::from_secs(600);
/// How long both are left alone before their memory is looked at.
const REST: Duration = Duration::from_secs(12);
/// Memory of the machines, in MiB.
const MEMORY: u32 = 512;
/// What the kernel says when it starts process 1.
const BEGIN: &str = "Run /init as init process";
/// Alike for both: lines of programs are not held back, and everything goes to the console.
const LOGGING: &str = "loglevel=7 printk.devkmsg=on";

/// What the box of this project does.
const OURS: &str = r#"[system]
hostname = "bench"

[interface.eth0]
addresses = ["192.0.2.2/24"]

[vrrp.front]
interface = "eth0"
vrid = 51
priority = 100
addresses = ["192.0.2.100/24"]

[virtual-server.web]
address = "192.0.2.100"
port = 80
scheduler = "rr"
real-server."192.0.2.21:80" = {}
"#;

/// Arguments of `cargo image bench boot`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Starts of each system
    #[arg(long, default_value_t = 5)]
    pub runs: u32,
    /// Where the kernel of both comes from
    #[arg(long, value_enum, default_value_t)]
    pub kernel: Origin,
    /// Kernel package
    #[arg(long, value_enum, default_value = "generic")]
    pub flavour: Flavour,
    /// Cargo profile of our binary
    #[arg(long, value_enum, default_value = "release")]
    pub profile: Profile,
    /// What the guests' clocks follow under emulation; with hardware virtualisation always real time
    #[arg(long, value_enum, default_value_t)]
    pub clock: Clock,
}

/// What the guest's time is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Clock {
    /// One nanosecond for every instruction: what else this machine does has no influence
    #[default]
    Instructions,
    /// The time of this machine
    Real,
}

/// What is started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum System {
    /// This project's.
    Bascule,
    /// busybox and keepalived.
    Keepalived,
}

impl fmt::Display for System {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Bascule => "bascule",
            Self::Keepalived => "keepalived",
        })
    }
}

impl System {
    /// The lines that say: a virtual router is Backup; the first service is in the kernel.
    fn lines(self) -> (&'static str, &'static str) {
        match self {
            Self::Bascule => ("virtual router front is Backup", "IPVS has all virtual services"),
            Self::Keepalived => ("(front) Entering BACKUP STATE", "Gained quorum"),
        }
    }
}

/// One start.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Run {
    /// Of the kernel itself: from its start to that of process 1. What is built in starts here, modules behind it.
    pub kernel_ms: f64,
    /// From the start of process 1 to VRRP's state Backup.
    pub backup_ms: f64,
    /// From the start of process 1 to the first service in IPVS.
    pub service_ms: f64,
    /// `MemTotal` without `MemAvailable`: programs and what they hold; the root file system; the kernel's data.
    pub used_mib: f64,
    /// The machine's memory without `MemAvailable`: the same and the kernel itself.
    pub with_kernel_mib: f64,
}

/// Bytes of what a system consists of.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Sizes {
    /// Kernel as a boot loader takes it.
    pub kernel: u64,
    /// Root file system, compressed.
    pub initramfs: u64,
    /// The program that does the work; keepalived with the libraries it needs.
    pub binary: u64,
}

/// The starts of one system.
#[derive(Clone, Debug, Serialize)]
pub struct Series {
    /// Which.
    pub system: System,
    /// Its parts.
    pub sizes: Sizes,
    /// Each start.
    pub runs: Vec<Run>,
}

#[derive(Serialize)]
struct Results {
    machine: Machine,
    /// What the guests' clocks followed.
    clock: Clock,
    accelerator: String,
    kernel: String,
    versions: Vec<String>,
    series: Vec<Series>,
    /// Median and worst of each figure of each system.
    summary: BTreeMap<System, BTreeMap<&'static str, (f64, f64)>>,
}

/// Runs `cargo image bench boot`.
///
/// # Errors
/// A system cannot be built or started, or does not say in time that it is up.
pub fn command(args: &Args) -> Result<()> {
    let board = Board::X86_64;
    host::need(qemu::packages(board))?;
    let kernel = kernel::get(board, args.kernel, args.flavour, false)?;
    let name = args.kernel.name(args.flavour);
    let slot = build::slot_with(board, args.profile, &kernel, name)?;
    let peer = peer::build(board, &kernel)?;
    let clock = match Accelerator::of(board) {
        Accelerator::Kvm => Clock::Real,
        Accelerator::Tcg => args.clock,
    };
    let size = |path: &Path| Ok::<u64, anyhow::Error>(fs::metadata(path)?.len());
    let initramfs = size(&slot.initramfs)?;
    let sizes = Sizes { kernel: size(&slot.kernel)?, initramfs, binary: size(&slot.binary)? };
    let theirs = Sizes { kernel: sizes.kernel, initramfs: size(&peer.initramfs)?, binary: peer.program };
    let bench = Bench { slot, peer, kernel, clock };
    let mut series = [(System::Bascule, sizes), (System::Keepalived, theirs)].map(|(system, sizes)| Series {
        system,
        sizes,
        runs: Vec::new(),
    });
    // In turn, so that what else this machine does meets both alike.
    for number in 0..args.runs {
        for one in &mut series {
            let run = bench.once(one.system).with_context(|| format!("{}, start {number}", one.system))?;
            println!("    {:10} start {}: {run}", one.system, number + 1);
            one.runs.push(run);
        }
    }
    let results = Results {
        machine: Machine::here(),
        clock,
        accelerator: format!("{:?}", Accelerator::of(board)),
        kernel: bench.kernel.release.clone(),
        versions: vec![format!("bascule {}", env!("CARGO_PKG_VERSION")), bench.peer.version.clone()],
        summary: series.iter().map(|one| (one.system, one.summary())).collect(),
        series: series.to_vec(),
    };
    print(&results);
    println!("kept in {}", keep("boot", &results)?.display());
    Ok(())
}

impl fmt::Display for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kernel_ms, backup_ms, service_ms, used_mib, with_kernel_mib } = self;
        write!(
            f,
            "kernel {kernel_ms:7.1} ms, Backup {backup_ms:7.1} ms, service {service_ms:7.1} ms, {used_mib:5.1} MiB used, {with_kernel_mib:5.1} with the kernel"
        )
    }
}

impl Series {
    fn summary(&self) -> BTreeMap<&'static str, (f64, f64)> {
        let of = |get: fn(&Run) -> f64| middle_and_worst(self.runs.iter().map(get));
        BTreeMap::from([
            ("kernel_ms", of(|run| run.kernel_ms)),
            ("from_kernel_ms", of(|run| run.kernel_ms + run.service_ms)),
            ("backup_ms", of(|run| run.backup_ms)),
            ("service_ms", of(|run| run.service_ms)),
            ("used_mib", of(|run| run.used_mib)),
            ("with_kernel_mib", of(|run| run.with_kernel_mib)),
        ])
    }
}

struct Bench {
    slot: Slot,
    peer: peer::Peer,
    kernel: Kernel,
    clock: Clock,
}

impl Bench {
    fn once(&self, system: System) -> Result<Run> {
        let (backup, service) = system.lines();
        let setup = self.setup(system)?.user_network().memory(MEMORY).log(log(system)?);
        let machine = match self.clock {
            Clock::Instructions => setup.counted(),
            Clock::Real => setup,
        }
        .start()?;
        // Either may be first.
        let both = |text: &str| Some(text.find(backup)?.max(text.find(service)?));
        let wait = || machine.console.expect_that(&format!("{backup:?} and {service:?}"), BOOT, both);
        let available = match system {
            System::Bascule => {
                machine.log_in(BOOT)?;
                thread::sleep(REST);
                // A console that somebody may be working at is kept free of the kernel's lines.
                machine.console.send("show log | no-more")?;
                wait()?;
                machine.console.send("show system | json")?;
                machine.expect("\"memory_total_bytes\"", BOOT)?;
                machine.console.expect("\n", BOOT)?;
                let text = machine.console.text();
                memory(&text, "\"memory_total_bytes\":", "\"memory_available_bytes\":", 1)
            }
            System::Keepalived => {
                wait()?;
                machine.expect("MemAvailable:", BOOT)?;
                machine.expect("kB", BOOT)?;
                memory(&machine.console.text(), "MemTotal:", "MemAvailable:", 1_024)
            }
        };
        let (total, available) = available.context("the guest does not tell its memory")?;
        let text = machine.console.text();
        let at = |needle: &str| stamp(&text, needle).with_context(|| format!("no time at {needle:?}"));
        let begin = at(BEGIN)?;
        let mib = |bytes: f64| bytes / f64::from(1 << 20);
        Ok(Run {
            kernel_ms: begin * 1e3,
            backup_ms: (at(backup)? - begin) * 1e3,
            service_ms: (at(service)? - begin) * 1e3,
            used_mib: mib(total - available),
            with_kernel_mib: f64::from(MEMORY) - mib(available),
        })
    }

    fn setup(&self, system: System) -> Result<Setup> {
        let board = self.slot.board;
        let name = format!("boot-{system}");
        match system {
            System::Bascule => {
                let image = log(system)?.with_file_name("disk.img");
                disk::make(&self.slot, &image, &login::seed(OURS))?;
                let partition = |name: &str| -> Result<String> {
                    let layout = disk::layout::Layout::of(board)?;
                    Ok(format!("bascule.{name}=/dev/vda{}", layout.partition(name)?.number))
                };
                let words = format!("{} {} {LOGGING}", partition("data")?, partition("state")?);
                let drive = format!("if=none,id=disk,format=raw,cache=unsafe,file={}", image.display());
                let setup = Setup::new(&name, board, Boot::slot(&self.slot, &[], &words));
                Ok(setup.arguments(&["-drive", &drive, "-device", "virtio-blk-pci,drive=disk"]))
            }
            System::Keepalived => {
                let kernel = self.slot.vmlinux.as_ref().unwrap_or(&self.slot.kernel).clone();
                let cmdline = format!("{} {LOGGING}", self.slot.cmdline);
                let boot = Boot::Kernel { kernel, initrds: vec![self.peer.initramfs.clone()], cmdline };
                Ok(Setup::new(&name, board, boot))
            }
        }
    }
}

fn log(system: System) -> Result<PathBuf> {
    let dir = host::out().join("log/bench/boot").join(system.to_string());
    fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
    Ok(dir.join("console.log"))
}

/// The kernel's time, in seconds, of the first line with `needle`: `[   17.445754] TEXT`.
fn stamp(text: &str, needle: &str) -> Option<f64> {
    let line = text.lines().find(|line| line.contains(needle))?;
    let (_, behind) = line.split_once('[')?;
    behind.split_once(']')?.0.trim().parse().ok()
}

/// Total and available memory in bytes, from the numbers behind the two names; each counts `unit` bytes.
fn memory(text: &str, total: &str, available: &str, unit: u32) -> Option<(f64, f64)> {
    let number = |name: &str| -> Option<f64> {
        let (_, behind) = text.rsplit_once(name)?;
        let digits: String = behind.trim_start().chars().take_while(char::is_ascii_digit).collect();
        Some(digits.parse::<f64>().ok()? * f64::from(unit))
    };
    Some((number(total)?, number(available)?))
}

fn print(results: &Results) {
    let Machine { kernel, processor, processors, load } = &results.machine;
    println!("\nFrom the start of process 1; kernel {} in the guests", results.kernel);
    println!("{processors} x {processor}, Linux {kernel}, load {load}; {}", results.versions.join("; "));
    match results.clock {
        Clock::Instructions => println!("{}: 1 instruction is 1 ns in the guests", results.accelerator),
        Clock::Real => println!("{}: real time", results.accelerator),
    }
    let figure = |system: System, name: &str| results.summary[&system][name];
    let (ours, theirs) = (System::Bascule, System::Keepalived);
    for (name, words) in [
        ("backup_ms", "to Backup"),
        ("service_ms", "to the first service"),
        ("from_kernel_ms", "the same with the kernel's own start"),
        ("used_mib", "memory used"),
    ] {
        let (our, their) = (figure(ours, name), figure(theirs, name));
        println!(
            "{words:36}: bascule / keepalived: median x {:.2}, worst x {:.2}",
            our.0 / their.0,
            our.1 / their.1
        );
    }
    println!(
        "\n{:10} {:>5} {:>9} {:>9} {:>9} {:>9} {:>9}   MiB used, with the kernel",
        "", "runs", "kernel", "Backup", "worst", "service", "worst"
    );
    for one in &results.series {
        let (backup, service) = (figure(one.system, "backup_ms"), figure(one.system, "service_ms"));
        let (used, whole) = (figure(one.system, "used_mib"), figure(one.system, "with_kernel_mib"));
        println!(
            "{:10} {:>5} {:>9.1} {:>9.1} {:>9.1} {:>9.1} {:>9.1}   {:.1}, {:.1}",
            one.system,
            one.runs.len(),
            figure(one.system, "kernel_ms").0,
            backup.0,
            backup.1,
            service.0,
            service.1,
            used.1,
            whole.1
        );
    }
    println!("\n{:10} {:>12} {:>12} {:>12} {:>12}   bytes", "", "kernel", "initramfs", "together", "program");
    for Series { system, sizes: Sizes { kernel, initramfs, binary }, .. } in &results.series {
        println!("{system:10} {kernel:>12} {initramfs:>12} {:>12} {binary:>12}", kernel + initramfs);
    }
    let together = results.series[0].sizes.kernel + results.series[0].sizes.initramfs;
    for (goal, seen, limit) in [
        ("first service, worst, ms", figure(ours, "service_ms").1, 1_000.0),
        ("Backup, worst, ms", figure(ours, "backup_ms").1, 1_000.0),
        ("memory used, worst, MiB", figure(ours, "used_mib").1, 64.0),
        ("kernel and initramfs, MB (with --kernel source)", together as f64 / 1e6, 16.0),
    ] {
        let word = if seen <= limit { "met" } else { "MISSED" };
        println!("goal {word:6} {goal}: {seen:.1}, at most {limit:.1}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = "[   17.445754] Run /init as init process\n[   21.30] <6>x: virtual router front is Backup\n\
                       [   26.355918] Mon Nov 23: Gained quorum 1+0=1 <= 1 for VS [192.0.2.100]:tcp:80\n";

    #[test]
    fn times_are_those_of_the_kernels_log() {
        assert_eq!(stamp(LOG, BEGIN), Some(17.445_754));
        assert_eq!(stamp(LOG, System::Bascule.lines().0), Some(21.3));
        assert_eq!(stamp(LOG, System::Keepalived.lines().1), Some(26.355_918));
        assert_eq!(stamp(LOG, "never"), None);
        assert_eq!(stamp("no time: Run /init as init process", BEGIN), None);
    }

    #[test]
    fn memory_is_read_from_both_ways_of_telling_it_and_the_last_answer_counts() {
        let text = "MemTotal:       481296 kB\nMemFree: 1 kB\nMemAvailable:   421376 kB\n";
        assert_eq!(memory(text, "MemTotal:", "MemAvailable:", 1_024), Some((492_847_104.0, 431_489_024.0)));
        let json = "{ \"memory_available_bytes\": 1,\n \"memory_total_bytes\": 2 }\n{ \"memory_available_bytes\": 30,\n \"memory_total_bytes\": 40\n}";
        assert_eq!(
            memory(json, "\"memory_total_bytes\":", "\"memory_available_bytes\":", 1),
            Some((40.0, 30.0))
        );
        assert_eq!(memory(text, "MemTotal:", "Nothing:", 1), None);
    }
}
