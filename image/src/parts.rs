//! `cargo image parts`: the contents of a disk, a file for each partition, and the description by which genimage
//! puts them together. For builds that bring their own kernel, boot loader and binary (`buildroot-ext/`).
//!
//! The disk is made as `cargo image build` makes it and then cut at the borders of `board/layout.toml`. So there is
//! one place that knows the layout, the table, the slot and the records.

use crate::board::Board;
use crate::disk::layout::{Layout, MIB};
use crate::disk::{self, Identity, Seed};
use crate::edition::{self, Edition};
use crate::host::Step;
use crate::kernel::source;
use crate::toolchain::Profile;
use crate::{build, bundle};
use anyhow::{Context, Result, ensure};
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

/// Arguments of `cargo image parts`.
#[derive(clap::Args)]
pub struct Args {
    /// Board of the disk
    #[arg(long, value_enum)]
    board: Board,
    /// Directory that a kernel was built in (its `O=`), with the options of board/linux.config
    #[arg(long)]
    kernel_build: PathBuf,
    /// The static binary
    #[arg(long)]
    binary: PathBuf,
    /// Directory for the parts
    #[arg(long)]
    into: PathBuf,
    /// Same GUIDs in every build of the same inputs. Two such disks must not meet in one box.
    #[arg(long)]
    reproducible: bool,
    /// Private key that signs the update bundle; the development key when not given
    #[arg(long = "key", value_name = "FILE")]
    keys: Vec<PathBuf>,
    /// What the image says it is
    #[command(flatten)]
    edition: edition::Args,
}

/// Runs `cargo image parts`.
///
/// # Errors
/// When the kernel lacks an option of `board/`, the binary is not static musl, or a file cannot be read or written.
pub fn command(args: &Args) -> Result<()> {
    let board = args.board;
    crate::artifact::check(&args.binary, board)?;
    let kernel = source::adopt(board, &args.kernel_build, &args.into.join("kernel"))?;
    let work = args.into.join("slot");
    let edition = Edition::asked(&args.edition)?;
    let keys = build::signers(&args.keys, &edition)?;
    let slot = build::assemble(board, &kernel, &args.binary, Profile::Release, &edition, &work)?;
    bundle::make(&slot, &keys, &args.into.join(bundle::file_name(&slot)))?;
    let identity = if args.reproducible { Identity::Fixed } else { Identity::Fresh };
    let whole = args.into.join("whole.img");
    disk::make_with(&slot, &whole, &Seed::factory(), identity)?;
    let step = Step::begin(format!("cut the disk of {board} into its parts"));
    let description = cut(board, &whole, &args.into)?;
    fs::remove_file(&whole).with_context(|| format!("cannot remove {}", whole.display()))?;
    step.done();
    println!("{}", description.display());
    Ok(())
}

/// A stretch of the disk: a partition, or what stands before or behind them all.
struct Stretch {
    name: String,
    start: u64,
    len: u64,
}

/// The table at both ends, and the partitions between.
fn stretches(layout: &Layout) -> Vec<Stretch> {
    let end = layout.disk_len();
    let first = Stretch { name: "table".to_owned(), start: 0, len: MIB };
    let last = Stretch { name: "table-copy".to_owned(), start: end - MIB, len: MIB };
    let partitions = layout.partitions.iter();
    let partitions =
        partitions.map(|part| Stretch { name: part.name.clone(), start: part.start, len: part.len });
    [first].into_iter().chain(partitions).chain([last]).collect()
}

/// Cuts the disk image `whole` into files below `into` and writes `genimage.cfg` there; returns its path.
///
/// # Errors
/// When the image is not of the board's layout, or a file cannot be written.
pub fn cut(board: Board, whole: &Path, into: &Path) -> Result<PathBuf> {
    let layout = Layout::of(board)?;
    let mut image = File::open(whole).with_context(|| format!("cannot read {}", whole.display()))?;
    let (len, wanted) = (image.metadata()?.len(), layout.disk_len());
    ensure!(len == wanted, "{} has {len} bytes, the layout of {board} {wanted}", whole.display());
    for stretch in stretches(&layout) {
        let mut bytes = vec![0; usize::try_from(stretch.len)?];
        image.seek(SeekFrom::Start(stretch.start))?;
        image.read_exact(&mut bytes)?;
        // What is left out is zero anyway; but the end of the last file is the end of the disk.
        let last = stretch.start + stretch.len == wanted;
        let used = if last { None } else { bytes.iter().rposition(|byte| *byte != 0) };
        let used = used.map_or(if last { bytes.len() } else { 1 }, |at| at + 1);
        let path = into.join(file(board, &stretch.name));
        fs::write(&path, &bytes[..used]).with_context(|| format!("cannot write {}", path.display()))?;
    }
    let description = into.join("genimage.cfg");
    fs::write(&description, genimage(board, &layout))
        .with_context(|| format!("cannot write {}", description.display()))?;
    Ok(description)
}

fn file(board: Board, part: &str) -> String {
    format!("bascule-{board}-{part}.img")
}

/// The description for genimage. The table is among the files, since genimage numbers partitions without a gap
/// and ARM has no number 1.
fn genimage(board: Board, layout: &Layout) -> String {
    let mut text = format!(
        "# From board/layout.toml.\nimage bascule-{board}.img {{\n\thdimage {{\n\t\tpartition-table-type = \"none\"\n\t\talign = 512\n\t}}\n\tsize = {}\n",
        layout.disk_len()
    );
    for stretch in stretches(layout) {
        let Stretch { name, start, len } = &stretch;
        let image = file(board, name);
        let _ = writeln!(
            text,
            "\n\tpartition {name} {{\n\t\toffset = {start}\n\t\tsize = {len}\n\t\timage = \"{image}\"\n\t}}"
        );
    }
    text.push_str("}\n");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_description_has_every_partition_of_the_layout_where_the_layout_has_it() {
        for board in [Board::X86_64, Board::Aarch64] {
            let layout = Layout::of(board).unwrap();
            let text = genimage(board, &layout);
            for part in &layout.partitions {
                let entry = format!(
                    "\tpartition {} {{\n\t\toffset = {}\n\t\tsize = {}\n\t\timage = \"bascule-{board}-{}.img\"\n\t}}\n",
                    part.name, part.start, part.len, part.name
                );
                assert!(text.contains(&entry), "{board} {}:\n{text}", part.name);
            }
            assert!(text.contains(&format!("\tsize = {}\n", layout.disk_len())));
            assert_eq!(text.matches("\tpartition ").count(), layout.partitions.len() + 2);
        }
    }

    #[test]
    fn the_stretches_cover_the_disk_without_gap_or_overlap() {
        for board in [Board::X86_64, Board::Aarch64] {
            let layout = Layout::of(board).unwrap();
            let mut end = 0;
            for stretch in stretches(&layout) {
                assert_eq!(stretch.start, end, "{board} {}", stretch.name);
                end += stretch.len;
            }
            assert_eq!(end, layout.disk_len());
        }
    }

    #[test]
    fn a_disk_of_another_size_is_not_cut() {
        let path = std::env::temp_dir().join(format!("bascule-cut-{}", std::process::id()));
        fs::write(&path, [0; 512]).unwrap();
        let error = cut(Board::X86_64, &path, &std::env::temp_dir()).unwrap_err().to_string();
        fs::remove_file(&path).unwrap();
        assert!(error.contains("512 bytes"), "{error}");
    }
}
