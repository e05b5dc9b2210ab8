//! Which slot the loader starts, by every firmware: the record, the trial, the fall-back, a torn copy.
//!
//! A slot is a kernel without a root file system: it prints its command line, panics and
//! restarts, which is a failed trial and takes a few seconds. The state partition is written between the starts.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use bascule_core::release::{RollbackIndex, Sha256, Version};
use bascule_core::slot::{
    Block, Evidence, Fallback, Image, LOADERS, RECORDS, Record, SlotName, Tries, empty_block,
};
use bascule_image::board::{Board, Flavour};
use bascule_image::disk::layout::Layout;
use bascule_image::disk::{self, Seed};
use bascule_image::host;
use bascule_image::qemu::{self, Boot, Firmware, Machine, Setup};
use bascule_image::slot::{self, Slot};
use bascule_image::toolchain::Profile;

use crate::runner::{Case, Context, Outcome};

use super::boot::{ANSWER, BOOT};

/// Every firmware, from power-on through all choices of the loader.
const LIMIT: Duration = Duration::from_secs(900);

/// The cases.
pub fn cases() -> Vec<Case> {
    vec![
        Case { name: "slots: x86_64 starts the right one under BIOS", limit: LIMIT, run: bios },
        Case { name: "slots: x86_64 starts the right one under UEFI", limit: LIMIT, run: uefi },
        Case { name: "slots: aarch64 starts the right one under UEFI", limit: LIMIT, run: arm },
        Case { name: "slots: aarch64 starts the right one under U-Boot", limit: LIMIT, run: u_boot },
    ]
}

fn bios(context: &mut Context) -> Result<Outcome> {
    chooses(context, Board::X86_64, Firmware::Bios)
}

fn uefi(context: &mut Context) -> Result<Outcome> {
    chooses(context, Board::X86_64, Firmware::Uefi)
}

fn arm(context: &mut Context) -> Result<Outcome> {
    chooses(context, Board::Aarch64, Firmware::Uefi)
}

fn u_boot(context: &mut Context) -> Result<Outcome> {
    chooses(context, Board::Aarch64, Firmware::UBoot)
}

/// The slot without a root file system: its kernel says how it was started, panics and restarts.
fn bare(context: &Context, slot: &Slot) -> Result<Slot> {
    let initramfs = context.log("nothing");
    // The kernel wants something to unpack.
    fs::write(&initramfs, [0; 512])?;
    let cmdline = slot.cmdline.replace("quiet loglevel=4", "loglevel=6").replace("panic=10", "panic=1");
    ensure!(cmdline.contains("loglevel=6 panic=1 "), "the command line is another one: {cmdline}");
    Ok(Slot { initramfs, cmdline, ..slot.clone() })
}

/// Writes into partitions of a disk image that no machine runs from.
struct Disk {
    path: PathBuf,
    layout: Layout,
}

impl Disk {
    fn put(&self, partition: &str, offset: u64, bytes: &[u8]) -> Result<()> {
        let partition = self.layout.partition(partition)?;
        ensure!(offset + bytes.len() as u64 <= partition.len, "{} is too small", partition.name);
        let file = OpenOptions::new().write(true).open(&self.path)?;
        file.write_all_at(bytes, partition.start + offset)
            .with_context(|| format!("cannot write {}", self.path.display()))
    }

    /// Both copies of the record; the loader has counted nothing.
    fn records(&self, copies: [&Block; 2]) -> Result<()> {
        for (offset, block) in RECORDS.into_iter().zip(copies) {
            self.put("state", offset, block)?;
        }
        LOADERS.into_iter().try_for_each(|offset| self.put("state", offset, &empty_block()))
    }
}

/// A disk with `slot` in slot A.
fn flash(context: &Context, slot: &Slot, seed: &Seed) -> Result<Disk> {
    let path = context.log("disk.img");
    disk::make(slot, &path, seed)?;
    Ok(Disk { path, layout: Layout::of(slot.board)? })
}

fn image(minor: u16, payload: &[u8]) -> Image {
    let version = Version::new(0, minor, 0);
    Image { version, index: RollbackIndex(1), sha256: Sha256::of(payload) }
}

/// The records of an update from slot A to slot B, each after the one before: good A, installed B, B on trial.
fn update(factory: Record, image: Image) -> Result<[Record; 3]> {
    let at = Evidence {
        slot: SlotName::A,
        generation: Some(factory.generation()),
        tried: 0,
        fallback: None,
        failsafe: false,
    };
    let installed = factory.begin_install(&at, &image)?.installed(&at, image)?;
    let trial = installed.activate(&at, Tries::USUAL)?;
    Ok([factory, installed, trial])
}

fn switch_on(context: &Context, disk: &Path, board: Board, firmware: Firmware, log: &str) -> Result<Machine> {
    let boot = Boot::Disk { image: disk.to_owned(), firmware };
    Setup::new("slots", board, boot).user_network().log(context.log(log)).start()
}

/// The evidence of the next start of a kernel.
fn started(machine: &Machine) -> Result<Evidence> {
    let line = "Kernel command line: ";
    machine.expect(line, BOOT)?;
    let seen = machine.console.expect_that("a command line", ANSWER, |text| text.find('\n'))?;
    Ok(Evidence::of(seen.text.split_whitespace())?)
}

/// The evidence in short: slot, generation, try, fallback.
fn short(at: &Evidence) -> (SlotName, u32, u8, Option<Fallback>) {
    (at.slot, at.generation.map_or(0, |generation| generation.get()), at.tried, at.fallback)
}

fn chooses(context: &mut Context, board: Board, firmware: Firmware) -> Result<Outcome> {
    host::need(qemu::packages(board))?;
    let flavour = match board {
        Board::X86_64 => Flavour::Cloud,
        Board::Aarch64 => Flavour::Generic,
    };
    let slot = bare(context, &slot::slot(board, Profile::Lab, flavour)?)?;
    let payload = disk::archive(&slot)?;
    let disk = flash(context, &slot, &Seed::factory())?;
    let [good, installed, trial] = update(Record::factory(image(1, &payload)), image(2, &payload))?;
    let (a, b) = (SlotName::A, SlotName::B);
    let begin = std::time::Instant::now();
    let check =
        |what: &str, machine: &Machine, wanted: &[(SlotName, u32, u8, Option<Fallback>)]| -> Result<()> {
            for wanted in wanted {
                let at = started(machine).with_context(|| what.to_owned())?;
                ensure!(short(&at) == *wanted, "{what}: started by {at}, not {wanted:?}");
                println!("{what}: {at} after {:.1} s", machine.started().elapsed().as_secs_f64());
            }
            Ok(())
        };

    // As flashed. Its record is that of the image builder.
    let machine = switch_on(context, &disk.path, board, firmware, "factory.log")?;
    check("factory", &machine, &[(a, 1, 0, None)])?;
    drop(machine);

    // On trial is what no kernel is: the same start takes the other.
    disk.put("slot-b", 0, &noise(1 << 20))?;
    disk.records([&installed.print(), &trial.print()])?;
    let machine = switch_on(context, &disk.path, board, firmware, "garbage.log")?;
    check("garbage on trial", &machine, &[(a, 4, 0, Some(Fallback::Load))])?;
    drop(machine);

    // A trial that panics, without anybody's help.
    disk.put("slot-b", 0, &payload)?;
    disk.records([&installed.print(), &trial.print()])?;
    let machine = switch_on(context, &disk.path, board, firmware, "panic.log")?;
    check("panic on trial", &machine, &[(b, 4, 1, None), (b, 4, 2, None), (a, 4, 0, Some(Fallback::Tries))])?;
    drop(machine);

    // The newest record is torn after its first lines: the older one counts.
    let mut torn = empty_block();
    torn[..45].copy_from_slice(&trial.print()[..45]);
    disk.records([&torn, &installed.print()])?;
    let machine = switch_on(context, &disk.path, board, firmware, "torn.log")?;
    check("torn record", &machine, &[(a, 3, 0, None)])?;
    drop(machine);

    // Neither copy is whole, and slot A was just being written.
    disk.records([&torn, &torn])?;
    disk.put("slot-a", 0, &[0; 4096])?;
    let machine = switch_on(context, &disk.path, board, firmware, "lost.log")?;
    check("lost records", &machine, &[(b, 0, 0, None)])?;
    drop(machine);
    ensure!(good.generation() < installed.generation());
    Ok(Outcome::Passed(format!("7 starts in {:.0} s", begin.elapsed().as_secs_f64())))
}

/// Bytes without meaning.
fn noise(length: u32) -> Vec<u8> {
    (0..length).map(|n| n.wrapping_mul(2_654_435_761).to_be_bytes()[0]).collect()
}
