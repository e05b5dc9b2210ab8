//! A box from the inside: what its processes may do, what its kernel lets nobody do, what is on its disk; that a full
//! disk and a clock in 1970 are no harm; and that it goes down in order.

use std::fs::OpenOptions;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use bascule_image::board::{Board, Flavour};
use bascule_image::build;
use bascule_image::disk;
use bascule_image::host;
use bascule_image::qemu::{self, Boot, Machine, Setup, login};
use bascule_image::toolchain::Profile;

use crate::runner::{Case, Context, Outcome};

use super::boot::{ALONE, ANSWER, BOOT, log_in_to};
use super::spy::{self, Spy};

/// The cases.
pub fn cases() -> Vec<Case> {
    vec![Case {
        name: "a box from inside: rights given away, kernel closed, disk grown, nothing but what belongs there",
        limit: Duration::from_secs(900),
        run: inside,
    }]
}

/// The disk is grown to this before the first start.
const DISK: u64 = 1 << 30;

/// Asks the shell inside, and answers what it said.
fn ask(spy: &mut Spy, command: &str) -> Result<String> {
    Ok(spy.run(command)?.0.trim().to_owned())
}

/// What must not work there, and why it does not.
fn refused(spy: &mut Spy, command: &str, reason: &str) -> Result<()> {
    let (text, status) = spy.run(command)?;
    ensure!(status != 0 && text.contains(reason), "{command:?} ended with {status}: {text}");
    Ok(())
}

fn inside(context: &mut Context) -> Result<Outcome> {
    host::need(qemu::packages(Board::X86_64))?;
    let slot = spy::bugged(context, &build::slot(Board::X86_64, Profile::Lab, Flavour::Generic)?)?;
    let image = context.log("disk.img");
    disk::make(&slot, &image, &login::seed(ALONE))?;
    OpenOptions::new().write(true).open(&image)?.set_len(DISK)?;
    let setup = Setup::new("inside", Board::X86_64, Boot::disk(Board::X86_64, image)).arguments(&[
        "-device",
        "i6300esb",
        "-rtc",
        "base=1970-01-01T00:00:00",
    ]);
    let setup = spy::wired(setup.user_network().log(context.log("console.log")), "inside");
    let machine = setup.start()?;
    log_in_to(&machine, "alone(MASTER)> ", BOOT)?;
    let mut spy = Spy::connect("inside", BOOT)?;
    rights(&mut spy)?;
    kernel(&mut spy)?;
    contents(&mut spy)?;
    let disk = grown(&mut spy)?;
    full(&machine, &mut spy)?;
    let clock: u64 = ask(&mut spy, "date +%s")?.parse().context("the clock")?;
    ensure!(clock > 1_700_000_000, "the clock is at {clock}");
    let armed = ask(&mut spy, "dmesg | grep 'watchdog.*is armed'")?;
    ensure!(armed.contains("i6300ESB timer"), "armed: {armed:?}");
    let alarms = ask(&mut spy, "cat /run/bascule/alarms")?;
    ensure!(alarms.is_empty(), "init has alarms:\n{alarms}");
    orderly(&machine, spy)?;
    Ok(Outcome::Passed(format!("data partition {disk} MiB; restarted in order, nothing to recover")))
}

/// Capabilities of a process, user, and the limits that it cannot leave.
fn rights(spy: &mut Spy) -> Result<()> {
    // Numbers of capabilities.
    const SYS_MODULE: u32 = 16;
    const SYS_PTRACE: u32 = 19;
    const SYS_ADMIN: u32 = 21;
    const SYS_BOOT: u32 = 22;
    const DAC_OVERRIDE: u32 = 1;
    for (process, user, never) in [
        ("agent", "0", vec![SYS_MODULE, SYS_PTRACE, SYS_ADMIN, SYS_BOOT, DAC_OVERRIDE]),
        ("prober", "65534", (0..41).collect()),
        ("shell", "0", vec![SYS_MODULE, SYS_PTRACE, SYS_BOOT, DAC_OVERRIDE]),
    ] {
        let processes = ask(spy, "ps -o pid,args")?;
        // Before its arguments stands the name of a process that gave itself one: `{prober} /proc/self/exe prober`.
        let runs = |line: &&str| line.split_whitespace().skip(2).take(2).any(|word| word == process);
        let line = processes.lines().find(runs).with_context(|| format!("no process {process}"))?;
        let pid = line.split_whitespace().next().unwrap_or_default();
        let status = ask(spy, &format!("cat /proc/{pid}/status"))?;
        let field = |name: &str| -> Result<String> {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
            Ok(line.with_context(|| format!("{process} has no {name}"))?.to_owned())
        };
        for set in ["CapEff:", "CapPrm:"] {
            let mask = u64::from_str_radix(&field(set)?, 16)?;
            let kept: Vec<&u32> = never.iter().filter(|number| mask >> **number & 1 == 1).collect();
            ensure!(kept.is_empty(), "{process} has capabilities {kept:?} in {set}");
        }
        let bounding = u64::from_str_radix(&field("CapBnd:")?, 16)?;
        ensure!(bounding >> SYS_MODULE & 1 == 0, "{process} could get CAP_SYS_MODULE again");
        let words = [field("NoNewPrivs:")?, field("Seccomp:")?];
        ensure!(words == ["1", "2"], "{process}: no_new_privs and seccomp are {words:?}");
        ensure!(field("Uid:")?.split_whitespace().all(|id| id == user), "{process}: {}", field("Uid:")?);
        let group = ask(spy, &format!("cat /proc/{pid}/cgroup"))?;
        ensure!(group == format!("0::/{process}"), "{process} is in {group}");
        let limits = ask(spy, &format!("cd /sys/fs/cgroup/{process} && cat memory.max pids.max"))?;
        ensure!(limits.lines().count() == 2 && !limits.contains("max"), "{process}: {limits}");
    }
    Ok(())
}

/// What the kernel lets nobody do.
fn kernel(spy: &mut Spy) -> Result<()> {
    for (setting, wanted) in [
        ("kernel/sysrq", "0"),
        ("kernel/panic", "10"),
        ("kernel/panic_on_oops", "1"),
        ("kernel/kptr_restrict", "2"),
        ("kernel/dmesg_restrict", "1"),
        ("kernel/kexec_load_disabled", "1"),
        ("kernel/perf_event_paranoid", "3"),
        ("user/max_user_namespaces", "0"),
        ("fs/suid_dumpable", "0"),
    ] {
        let found = ask(spy, &format!("cat /proc/sys/{setting}"))?;
        ensure!(found == wanted, "{setting} is {found:?} instead of {wanted:?}");
    }
    // Even this shell, which has every right.
    refused(spy, "echo x >/proc/sys/kernel/core_pattern", "Read-only")?;
    refused(spy, "echo 1 >/proc/sys/kernel/sysrq", "Read-only")?;
    refused(spy, "echo b >/proc/sysrq-trigger", "Read-only")?;
    refused(spy, "echo 1 >/sys/kernel/profiling", "Read-only")?;
    refused(spy, "touch /x", "Read-only")?;
    refused(
        spy,
        "cp /bin/busybox /run/x; /run/x true; s=$?; rm /run/x; exit_() { return $1; }; exit_ $s",
        "denied",
    )?;
    let begin = Instant::now();
    while ask(spy, "cat /proc/sys/kernel/modules_disabled")? != "1" {
        ensure!(begin.elapsed() < Duration::from_secs(180), "modules can still be loaded");
        std::thread::sleep(Duration::from_secs(2));
    }
    let loaded = ask(spy, "cut -d' ' -f1 /proc/modules")?;
    for module in ["usb_storage", "uas", "8021q", "i6300esb"] {
        ensure!(loaded.lines().any(|line| line == module), "{module} is not loaded, and cannot be any more");
    }
    // Not one port before anybody has configured one.
    let listening = ask(spy, "cat /proc/net/tcp /proc/net/tcp6 | grep -c ' 0A '")?;
    ensure!(listening == "0", "{listening} TCP ports are open");
    Ok(())
}

/// Every file of the root that is no module of the kernel and not the spy's own.
fn contents(spy: &mut Spy) -> Result<()> {
    const KNOWN: &[&str] = &[
        "/etc/bascule/factory.toml",
        "/etc/bascule/keys.toml",
        "/etc/bascule/modules-load",
        "/etc/bascule/release",
        "/etc/group",
        "/etc/passwd",
        "/init",
    ];
    let ours = "! -path '/lab/*' ! -path '/bin/busybox'";
    let files = ask(spy, &format!("find / -xdev -type f {ours} ! -path '/lib/modules/*'"))?;
    let strange: Vec<&str> = files.lines().filter(|file| !KNOWN.contains(file)).collect();
    ensure!(strange.is_empty(), "these do not belong there: {strange:?}");
    let programs = ask(spy, &format!("find / -xdev -type f -perm /111 {ours}"))?;
    ensure!(programs == "/init", "programs: {programs}");
    let modules = ask(spy, "find /lib/modules -type f ! -name '*.ko' ! -name 'modules.*'")?;
    ensure!(modules.is_empty(), "these are no modules: {modules}");
    let rights = ask(spy, "find / -xdev -perm /6000 -type f; find /data /run /tmp -perm /6000 -type f")?;
    ensure!(rights.is_empty(), "these run with another's rights: {rights}");
    Ok(())
}

/// The data partition reaches to the end of the disk; its file system in MiB.
fn grown(spy: &mut Spy) -> Result<u64> {
    let begin = Instant::now();
    loop {
        let blocks: u64 = ask(spy, "df -k /data | tail -1 | awk '{print $2}'")?.parse().context("df")?;
        if blocks * 1024 > DISK / 2 {
            return Ok(blocks / 1024);
        }
        ensure!(begin.elapsed() < Duration::from_secs(60), "the data partition has {blocks} KiB");
        std::thread::sleep(Duration::from_secs(1));
    }
}

/// A full data partition is told, and the box goes on.
fn full(machine: &Machine, spy: &mut Spy) -> Result<()> {
    ask(spy, "dd if=/dev/zero of=/data/fill bs=1M 2>&1 | tail -1")?;
    machine.console.send("show alarms")?;
    machine.expect("data partition is", ANSWER)?;
    machine.console.send("show status")?;
    machine.expect("192.0.2.100/24 held", ANSWER)?;
    ask(spy, "rm /data/fill && sync")?;
    Ok(())
}

/// A restart that was asked for leaves a file system that needs no recovery, and a note of its reason.
fn orderly(machine: &Machine, spy: Spy) -> Result<()> {
    // QEMU's line takes one at a time.
    drop(spy);
    machine.console.send("reboot")?;
    machine.expect("(y/N) ", ANSWER)?;
    machine.console.send("y")?;
    log_in_to(machine, "alone(MASTER)> ", BOOT)?;
    let mut spy = Spy::connect("inside", BOOT)?;
    let recovered = ask(&mut spy, "dmesg | grep -i 'recovery complete'")?;
    ensure!(recovered.is_empty(), "after an orderly restart: {recovered}");
    let told = ask(&mut spy, "cat /run/bascule/last-reset")?;
    ensure!(told.starts_with("order\n"), "the last restart: {told:?}");
    Ok(())
}
