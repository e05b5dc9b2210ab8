//! Bad disks: the box is up with each of them, and says what to do.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::time::Duration;

use anyhow::{Result, ensure};
use bascule_image::board::{Board, Flavour};
use bascule_image::build::{self, Slot};
use bascule_image::disk;
use bascule_image::disk::layout::Layout;
use bascule_image::host;
use bascule_image::qemu::{self, Boot, Machine, Setup, login};
use bascule_image::toolchain::Profile;

use crate::runner::{Case, Context, Outcome};

use super::boot::{ALONE, BOOT, log_in_to};
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
    fs::copy(&image, &twin)?;
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

    let data = Layout::of(Board::X86_64)?.partition("data")?.start;
    // The superblock.
    OpenOptions::new().write(true).open(&image)?.write_all_at(&[0xff; 1_024], data + 1_024)?;
    let machine = start(context, &image, "damaged", &[])?;
    told("damaged", "write the image to the disk again")?;
    drop(machine);
    Ok(Outcome::Passed("all three are up and tell it".to_owned()))
}

/// The image on a disk that ends within the data partition.
fn shortened(context: &Context, slot: &Slot, image: &Path) -> Result<std::path::PathBuf> {
    let small = context.log("small.img");
    fs::copy(image, &small)?;
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
