//! The options of the kernel of our own configuration, and the parts of a disk that other builds put together.

use std::fs;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use bascule_image::board::Board;
use bascule_image::build::{self, Slot};
use bascule_image::disk::{self, Identity, Seed};
use bascule_image::edition::Edition;
use bascule_image::kernel::source;
use bascule_image::source::Source;
use bascule_image::{host, parts};

use crate::runner::{Case, Context, Outcome};

/// The cases.
pub fn cases() -> Vec<Case> {
    let limit = Duration::from_secs(600);
    vec![
        Case {
            name: "the kernel's own configuration takes every option of board/linux.config",
            limit,
            run: every_option,
        },
        Case {
            name: "genimage makes of the parts of a disk the very disk of the image builder",
            limit,
            run: genimage,
        },
    ]
}

/// Kconfig drops silently what it does not know or what depends on something that is off.
fn every_option(_: &mut Context) -> Result<Outcome> {
    for board in [Board::X86_64, Board::Aarch64] {
        let Some(dropped) = source::dropped(board)? else {
            return Ok(Outcome::Skipped(
                "the kernel's source is not in the cache; `cargo image build --kernel source` fetches it"
                    .into(),
            ));
        };
        ensure!(dropped.is_empty(), "{board}: {}", dropped.join("; "));
    }
    Ok(Outcome::Passed("x86_64 and aarch64".into()))
}

fn genimage(context: &mut Context) -> Result<Outcome> {
    host::need(&["genimage"])?;
    let mut told = Vec::new();
    for board in [Board::X86_64, Board::Aarch64] {
        let dir = context.log(board.name());
        fs::create_dir_all(&dir)?;
        let file = |name: &str, bytes: Vec<u8>| -> Result<_> {
            let path = dir.join(name);
            fs::write(&path, bytes)?;
            Ok(path)
        };
        // Nothing is booted: any bytes will do.
        let slot = Slot {
            board,
            kernel: file("kernel", vec![b'k'; 3_000_001])?,
            vmlinux: None,
            initramfs: file("initramfs", vec![b'i'; 2_000_003])?,
            cmdline: build::cmdline(board)?,
            binary: file("binary", vec![b'b'; 10])?,
            edition: Edition::of_this_tree()?,
            source: Source::of_this_tree()?,
        };
        let whole = dir.join("whole.img");
        disk::make_with(&slot, &whole, &Seed::factory(), Identity::Fixed)?;
        let description = parts::cut(board, &whole, &dir)?;
        let made = dir.join("made");
        let empty = dir.join("empty");
        fs::create_dir_all(&empty)?;
        let mut genimage = Command::new("genimage");
        genimage.arg("--config").arg(&description);
        for (option, path) in [
            ("--rootpath", &empty),
            ("--tmppath", &dir.join("tmp")),
            ("--inputpath", &dir),
            ("--outputpath", &made),
        ] {
            genimage.arg(option).arg(path);
        }
        host::output(&mut genimage)?;
        let (ours, theirs) = (fs::read(&whole)?, fs::read(made.join(format!("bascule-{board}.img")))?);
        ensure!(ours.len() == theirs.len(), "{board}: {} bytes, genimage {}", ours.len(), theirs.len());
        let differs = ours.iter().zip(&theirs).position(|(one, other)| one != other);
        ensure!(differs.is_none(), "{board}: the disks differ at byte {}", differs.unwrap_or_default());
        told.push(format!("{board} {} MiB", ours.len() >> 20));
        fs::remove_dir_all(&dir).with_context(|| format!("cannot remove {}", dir.display()))?;
    }
    Ok(Outcome::Passed(told.join(", ")))
}
