//! The kernel built from source in a box: nothing can be loaded later, so all that a box may meet has to be in it.

use std::fmt::Write as _;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use bascule_image::board::Board;
use bascule_image::build::{self, Slot};
use bascule_image::disk;
use bascule_image::disk::layout::Layout;
use bascule_image::kernel::source;
use bascule_image::qemu::{Boot, Firmware, Machine, Setup, login};
use bascule_image::toolchain::Profile;

use super::boot::{self, ANSWER, BOOT};
use super::spy::{self, Spy};
use crate::runner::{Case, Context, Outcome};

const BOARD: Board = Board::X86_64;
/// All that board/linux.config has.
const SCHEDULERS: [&str; 13] =
    ["rr", "wrr", "lc", "wlc", "fo", "ovf", "lblc", "lblcr", "dh", "sh", "mh", "sed", "nq"];
/// The card as QEMU names it, and its driver.
const CARDS: [(&str, &str); 4] =
    [("virtio-net-pci", "virtio_net"), ("e1000", "e1000"), ("e1000e", "e1000e"), ("vmxnet3", "vmxnet3")];

/// The cases.
pub fn cases() -> Vec<Case> {
    let limit = Duration::from_secs(600);
    vec![
        Case {
            name: "the kernel built from source boots under BIOS",
            limit,
            run: |context| boots(context, Board::X86_64, Firmware::Bios),
        },
        Case {
            name: "the kernel built from source boots under UEFI",
            limit,
            run: |context| boots(context, Board::X86_64, Firmware::Uefi),
        },
        Case {
            name: "the kernel built from source for aarch64 boots under UEFI",
            limit,
            run: |context| boots(context, Board::Aarch64, Firmware::Uefi),
        },
        Case {
            name: "the kernel built from source drives the cards, disks, sticks and watchdog of a box and all schedulers",
            limit,
            run: hardware,
        },
    ]
}

/// The slot, or why there is none. It is not built here: that takes a quarter of an hour.
fn slot(board: Board) -> Result<Result<Slot, Outcome>> {
    let Some(kernel) = source::built(board)? else {
        let why = format!(
            "it has not been built; `cargo image build --board {board} --kernel source` does (a quarter of an hour)"
        );
        return Ok(Err(Outcome::Skipped(why)));
    };
    build::slot_with(board, Profile::Lab, &kernel, "source").map(Ok)
}

fn boots(context: &Context, board: Board, firmware: Firmware) -> Result<Outcome> {
    match slot(board)? {
        Ok(slot) => boot::boots_slot(context, &slot, firmware),
        Err(skipped) => Ok(skipped),
    }
}

/// A service with each scheduler, behind the address of the only card.
fn config() -> String {
    let mut text =
        "[system]\nhostname = \"full\"\n\n[interface.eth0]\naddresses = [\"192.0.2.1/24\"]\n".to_owned();
    for (scheduler, port) in SCHEDULERS.iter().zip(8000..) {
        let _ = write!(
            text,
            "\n[virtual-server.{scheduler}]\naddress = \"192.0.2.1\"\nport = {port}\nscheduler = \"{scheduler}\"\n\
             real-server.\"192.0.2.21:80\" = {{}}\n"
        );
    }
    text
}

fn hardware(context: &mut Context) -> Result<Outcome> {
    let slot = match slot(BOARD)? {
        Ok(slot) => spy::bugged(context, &slot)?,
        Err(skipped) => return Ok(skipped),
    };
    let machine = switch_on(context, &slot)?;
    machine.log_in(BOOT)?;
    machine.expect("full> ", BOOT)?;
    let mut spy = Spy::connect("full", BOOT)?;
    let cards = cards(&mut spy)?;
    disks(&mut spy)?;
    closed(&mut spy)?;
    confined(&mut spy)?;
    stick(&machine)?;
    schedulers(&machine)?;
    complaints(&machine)?;
    Ok(Outcome::Passed(format!("{cards}; sata, nvme, virtio, usb; {} schedulers", SCHEDULERS.len())))
}

fn switch_on(context: &Context, slot: &Slot) -> Result<Machine> {
    let image = context.log("disk.img");
    disk::make(slot, &image, &login::seed(&config()))?;
    let blank = |name: &str| -> Result<String> {
        let path = context.log(name);
        std::fs::File::create(&path)?.set_len(8 << 20)?;
        Ok(format!("if=none,id={name},format=raw,file={}", path.display()))
    };
    let (nvme, virtio) = (blank("nvme")?, blank("virtio")?);
    let files = context.log("stick");
    std::fs::create_dir_all(&files)?;
    std::fs::write(files.join("lb1.toml"), "[system]\nhostname = \"from-usb\"\n")?;
    // QEMU makes a disk with a DOS partition and a FAT of the directory.
    let stick = format!("if=none,id=stick,format=raw,readonly=on,file=fat:{}", files.display());
    let disk = format!("if=none,id=disk,format=raw,cache=unsafe,file={}", image.display());
    let number = |name: &str| -> Result<u32> { Ok(Layout::of(BOARD)?.partition(name)?.number) };
    // The disk of the chipset's own controller is found before sticks are, which take a second to answer.
    let words =
        format!("bascule.data=/dev/sda{} bascule.state=/dev/sda{}", number("data")?, number("state")?);
    // Counted: on a busy machine the kernel would find that timer interrupts come too seldom, and stop.
    let mut setup = Setup::new("full", BOARD, Boot::slot(slot, &[], &words))
        .counted()
        .log(context.log("console.log"))
        .arguments(&["-drive", &disk, "-device", "ide-hd,drive=disk"])
        .arguments(&["-drive", &nvme, "-device", "nvme,drive=nvme,serial=bascule"])
        .arguments(&["-drive", &virtio, "-device", "virtio-blk-pci,drive=virtio"])
        .arguments(&["-device", "qemu-xhci", "-drive", &stick, "-device", "usb-storage,drive=stick"])
        .arguments(&["-device", "i6300esb", "-watchdog-action", "reset"]);
    for (number, (card, _)) in CARDS.iter().enumerate() {
        let (netdev, device) =
            (format!("user,id=net{number}"), format!("{card},netdev=net{number},romfile="));
        setup = setup.arguments(&["-netdev", &netdev, "-device", &device]);
    }
    spy::wired(setup, "full").start()
}

fn ask(spy: &mut Spy, command: &str) -> Result<String> {
    Ok(spy.run(command)?.0.trim().to_owned())
}

fn cards(spy: &mut Spy) -> Result<String> {
    let found = ask(spy, "for c in /sys/class/net/*/device/driver; do readlink $c; done")?;
    let mut drivers: Vec<&str> = found.lines().filter_map(|line| line.trim().rsplit('/').next()).collect();
    drivers.sort_unstable();
    let mut wanted = CARDS.map(|(_, driver)| driver);
    wanted.sort_unstable();
    ensure!(drivers == wanted, "cards with a driver: {drivers:?}, not {wanted:?}");
    // One that was built in and nobody configured would be a device that `show interfaces` lists.
    let all = ask(spy, "ls -d /sys/class/net/*/")?;
    let mut names: Vec<&str> =
        all.split_whitespace().filter_map(|path| path.trim_end_matches('/').rsplit('/').next()).collect();
    names.sort_unstable();
    ensure!(names == ["eth0", "eth1", "eth2", "eth3", "lo"], "interfaces: {names:?}");
    Ok(drivers.join(", "))
}

fn disks(spy: &mut Spy) -> Result<()> {
    let disks = ask(spy, "ls /sys/block")?;
    for wanted in ["sda", "nvme0n1", "vda"] {
        ensure!(disks.split_whitespace().any(|name| name == wanted), "no {wanted} among the disks: {disks}");
    }
    let data = ask(spy, "grep ' /data ' /proc/mounts")?;
    ensure!(data.starts_with("/dev/sda") && data.contains(" ext4 "), "/data is {data:?}");
    let watchdogs = ask(spy, "cat /sys/class/watchdog/*/identity")?;
    ensure!(watchdogs.contains("i6300ESB"), "watchdogs: {watchdogs}");
    let states = ask(spy, "cat /sys/class/watchdog/*/state")?;
    ensure!(states.lines().any(|state| state.trim() == "active"), "no watchdog is armed: {states}");
    Ok(())
}

/// What the kernel's own configuration leaves out, because nobody shall have it.
fn closed(spy: &mut Spy) -> Result<()> {
    for path in [
        "/proc/modules",
        "/proc/sys/kernel/modprobe",
        "/proc/sysrq-trigger",
        "/proc/kcore",
        "/dev/mem",
        "/dev/port",
        "/sys/kernel/debug/x86",
    ] {
        ensure!(ask(spy, &format!("ls {path} 2>/dev/null"))?.is_empty(), "{path} is there");
    }
    let lockdown = ask(spy, "mount -t securityfs s /sys/kernel/security; cat /sys/kernel/security/lockdown")?;
    ensure!(lockdown.contains("[integrity]"), "lockdown is {lockdown:?}");
    Ok(())
}

/// Memory limits and seccomp of the processes of a box.
fn confined(spy: &mut Spy) -> Result<()> {
    for group in ["agent", "prober", "shell"] {
        let max =
            ask(spy, &format!("cat /sys/fs/cgroup/{group}/memory.max /sys/fs/cgroup/{group}/pids.max"))?;
        let limits: Vec<u64> = max.lines().filter_map(|line| line.trim().parse().ok()).collect();
        ensure!(limits.len() == 2, "limits of {group}: {max:?}");
    }
    let agent = spy.agent()?.context("no agent runs")?;
    let seccomp = ask(spy, &format!("grep Seccomp: /proc/{agent}/status"))?;
    ensure!(seccomp.split_whitespace().next_back() == Some("2"), "the agent has {seccomp:?}");
    Ok(())
}

fn stick(machine: &Machine) -> Result<()> {
    machine.console.send("configure")?;
    machine.expect("full# ", ANSWER)?;
    machine.console.send("load merge usb:lb1.toml")?;
    let told = machine.expect("# ", ANSWER)?.text;
    ensure!(told.contains("full*"), "the stick is not read: {told}");
    machine.console.send("discard")?;
    machine.expect("full# ", ANSWER)?;
    machine.console.send("exit")?;
    machine.expect("full> ", ANSWER)?;
    Ok(())
}

fn schedulers(machine: &Machine) -> Result<()> {
    machine.console.send("ipvsadm -Sn | no-more")?;
    let told = machine.expect("full> ", ANSWER)?.text;
    for (scheduler, port) in SCHEDULERS.iter().zip(8000..) {
        let line = format!("-A -t 192.0.2.1:{port} -s {scheduler}");
        ensure!(told.contains(&line), "IPVS has no {line:?}:\n{told}");
    }
    Ok(())
}

/// What the box says is wrong: nothing, but for a clock that nobody sets and cards that nobody uses.
fn complaints(machine: &Machine) -> Result<()> {
    machine.console.send("show log | no-more")?;
    let log = machine.expect("full> ", ANSWER)?.text;
    for severity in ["] warning ", "] error "] {
        let complaint = log.lines().find(|line| line.contains(severity));
        ensure!(complaint.is_none(), "the log has {complaint:?}:\n{log}");
    }
    // What the kernel itself says at this level is an error.
    let text = machine.console.text();
    let spoken =
        text.lines().find(|line| line.contains("Failed to") || line.contains("Unknown kernel command"));
    ensure!(spoken.is_none(), "the kernel says {spoken:?} on the console");
    machine.console.send("show alarms")?;
    let alarms = machine.expect("full> ", ANSWER)?.text;
    for word in ["CRITICAL", "kernel ", "watchdog", "module", "control group"] {
        ensure!(!alarms.contains(word), "the alarms have {word:?}:\n{alarms}");
    }
    Ok(())
}
