//! Bad disks: the box is up with each of them, and says what to do.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Result, ensure};
use bascule_core::spare;
use bascule_image::board::{Board, Flavour};
use bascule_image::build::{self, Slot};
use bascule_image::disk;
use bascule_image::disk::layout::Layout;
use bascule_image::host;
use bascule_image::qemu::{self, Boot, Machine, Setup, login};
use bascule_image::toolchain::Profile;

use crate::runner::{Case, Context, Outcome, eventually};

use super::boot::{ALONE, ANSWER, BOOT, log_in_to};
use super::spy::{self, Spy};

/// The cases.
pub fn cases() -> Vec<Case> {
    vec![Case {
        name: "bad disks: a twin, a disk too small, a damaged data partition: the box is up and says what to do",
        limit: Duration::from_secs(1_500),
        run,
    }]
}

fn run(context: &mut Context) -> Result<Outcome> {
    host::need(qemu::packages(Board::X86_64))?;
    let slot = spy::bugged(context, &build::slot(Board::X86_64, Profile::Lab, Flavour::Cloud)?)?;
    let image = context.log("disk.img");
    disk::make(&slot, &image, &login::seed(ALONE))?;
    let twin = context.log("twin.img");
    copy(&image, &twin)?;
    OpenOptions::new().write(true).open(&twin)?.set_len(1 << 30)?;
    let drive = format!("if=none,id=twin,format=raw,file={}", twin.display());
    let machine =
        start(context, &image, "twin", &["-drive", &drive, "-device", "virtio-blk-pci,drive=twin"])?;
    log_in_to(&machine, "alone(MASTER)> ", BOOT)?;
    told("twin", "carry the same partitions")?;
    ensure!(backup_of(&twin)? == [0; 8], "the twin was written to");
    drop(machine);

    let small = shortened(context, &slot, &image)?;
    let machine = start(context, &small, "small", &[])?;
    told("small", "put the image on a larger disk")?;
    drop(machine);

    damaged(context, &image)?;
    Ok(Outcome::Passed(
        "all three are up and tell it; without its data partition the box balances".to_owned(),
    ))
}

/// A data partition without its superblock: the spare copy of configuration and users takes its place, until a
/// factory reset.
fn damaged(context: &Context, image: &Path) -> Result<()> {
    ensure!(spare_is_zero(image)?, "a disk that never started alone has a spare copy");
    let machine = start(context, image, "whole", &[])?;
    copied("whole")?;
    drop(machine);
    ensure!(!spare_is_zero(image)?, "the box says that it wrote a spare copy, and the disk has none");
    let data = Layout::of(Board::X86_64)?.partition("data")?.start;
    OpenOptions::new().write(true).open(image)?.write_all_at(&[0xff; 1_024], data + 1_024)?;

    let machine = start(context, image, "damaged", &[])?;
    log_in_to(&machine, "alone(MASTER)> ", BOOT)?;
    machine.console.send("show status")?;
    machine.expect("192.0.2.100/24 held", ANSWER)?;
    machine.console.send("ipvsadm -Sn")?;
    machine.expect("-a -t 192.0.2.100:80 -r 192.0.2.21:80 -m -w 1", ANSWER)?;
    told("damaged", "write the image to the disk again")?;
    told("damaged", "the box runs from the spare copy of 20")?;
    let (modes, _) =
        Spy::connect("damaged", BOOT)?.run("stat -c %a:%u /data/state /data/state/users.toml")?;
    ensure!(modes.split_whitespace().eq(["700:0", "600:0"]), "unpacked with modes {modes}");

    machine.console.send("factory-reset")?;
    machine.expect("(y/N) ", ANSWER)?;
    machine.console.send("y")?;
    machine.expect(" 1/10 Host name", BOOT)?;
    ensure!(spare_is_zero(image)?, "a factory reset left a spare copy");
    Ok(())
}

/// Waits until the box says that both copies are written.
fn copied(name: &str) -> Result<()> {
    let mut spy = Spy::connect(name, BOOT)?;
    eventually("a spare copy is written", BOOT, || {
        let (log, _) = spy.run("dmesg | grep 'spare copy'")?;
        Ok(log.contains("the spare copy of configuration and users is written"))
    })
    .map(drop)
}

/// Whether the state partition of a disk of ours holds nothing in both places of the spare copy.
pub fn spare_is_zero(image: &Path) -> Result<bool> {
    let state = Layout::of(Board::X86_64)?.partition("state")?.start;
    let file = fs::File::open(image)?;
    let mut bytes = vec![0; spare::PLACE_LEN];
    for place in spare::PLACES {
        file.read_exact_at(&mut bytes, state + place)?;
        if bytes.iter().any(|byte| *byte != 0) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Copies a disk image; what was never written takes no room.
pub fn copy(from: &Path, to: &Path) -> Result<()> {
    let mut command = Command::new("cp");
    host::output(command.args(["--reflink=auto", "--sparse=always"]).arg(from).arg(to)).map(drop)
}

/// The image on a disk that ends within the data partition.
fn shortened(context: &Context, slot: &Slot, image: &Path) -> Result<std::path::PathBuf> {
    let small = context.log("small.img");
    copy(image, &small)?;
    let data = Layout::of(slot.board)?.partition("data")?.start;
    OpenOptions::new().write(true).open(&small)?.set_len(data + (16 << 20))?;
    Ok(small)
}

/// The first bytes of the last sector: a copy of the partition table, if there is one.
fn backup_of(image: &Path) -> Result<[u8; 8]> {
    let file = fs::File::open(image)?;
    let mut bytes = [0; 8];
    file.read_exact_at(&mut bytes, file.metadata()?.len() - 512)?;
    Ok(bytes)
}

fn start(context: &Context, image: &Path, name: &str, arguments: &[&str]) -> Result<Machine> {
    let setup = Setup::new(name, Board::X86_64, Boot::disk(Board::X86_64, image)).arguments(arguments);
    let setup = setup.user_network().log(context.log(&format!("{name}.log")));
    spy::wired(setup, name).start()
}

/// Waits until the agent runs, and for the alarm.
fn told(name: &str, alarm: &str) -> Result<()> {
    let mut spy = Spy::connect(name, BOOT)?;
    spy.other_agent(None, BOOT)?;
    let (alarms, _) = spy.run("cat /run/bascule/alarms")?;
    ensure!(alarms.contains(alarm), "{name}: the alarms are\n{alarms}");
    println!("{name}: {}", alarms.trim());
    Ok(())
}
