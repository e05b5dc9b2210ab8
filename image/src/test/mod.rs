//! `cargo image test`: every tier, its progress as it runs, and one count at the end.
//!
//! The count is alone on the last line, `N passed, N failed, N skipped`; what was skipped stands before it, with
//! the reason. Whole outputs are in `out/log/`.

mod cargo;
mod cases;
mod stream;

use std::time::Instant;

use anyhow::Result;
use nix::sys::statvfs::statvfs;

use crate::board::{Board, Flavour};
use crate::toolchain::{self, Profile};
use crate::{build, host, net, qemu};

/// Bytes that all tiers take from a fresh clone: a good half is built, the rest are disks and memories of guests. With
/// incremental builds; without, a third less.
const ROOM: u64 = 15_000_000_000;

/// Arguments of `cargo image test`.
#[derive(clap::Args)]
pub struct Args {
    /// Tiers to run [default: all]
    #[arg(value_enum)]
    pub tiers: Vec<Tier>,
    /// Run only tests whose name contains one of these
    #[arg(last = true)]
    pub filters: Vec<String>,
}

/// A group of tests that need the same things.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub enum Tier {
    /// Beside the code: no root, no QEMU, no network
    Fast,
    /// Real kernels: namespaces, real peers, guests
    Lab,
    /// Disk images in QEMU
    Image,
}

/// What a tier came to.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    passed: u64,
    failed: u64,
    /// Name and reason of each.
    skipped: Vec<String>,
}

impl Tally {
    fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped.extend(other.skipped);
    }

    fn ran_nothing(&self) -> bool {
        self.passed == 0 && self.failed == 0
    }
}

/// Runs `cargo image test`.
///
/// Ends the process with status 1 when a test failed, a tier ran nothing or could not be started.
///
/// # Errors
/// None so far.
pub fn command(args: Args) -> Result<()> {
    let mut tiers = args.tiers.clone();
    if tiers.is_empty() {
        tiers = vec![Tier::Fast, Tier::Lab, Tier::Image];
    }
    tiers.sort_unstable();
    tiers.dedup();
    let free = statvfs(&host::root()).map(|stat| stat.blocks_available() * stat.fragment_size());
    if let Some(note) = free.ok().and_then(short_of_room) {
        println!("{note}");
    }
    let started = Instant::now();
    let mut total = Tally::default();
    let mut empty = Vec::new();
    for tier in tiers {
        println!("=== {} tier", name(tier));
        let tally = run(tier, &args.filters).unwrap_or_else(|error| {
            println!("FAILED  the {} tier could not be run: {error:#}", name(tier));
            Tally { failed: 1, ..Tally::default() }
        });
        if tally.ran_nothing() {
            empty.push(name(tier));
        }
        total.add(tally);
    }
    println!("=== all tiers took {} s", started.elapsed().as_secs());
    for reason in &total.skipped {
        println!("skipped {reason}");
    }
    for tier in &empty {
        println!("the {tier} tier ran nothing");
    }
    println!("{} passed, {} failed, {} skipped", total.passed, total.failed, total.skipped.len());
    if total.failed > 0 || !empty.is_empty() {
        // The count stays the last line; an error would print another.
        std::process::exit(1);
    }
    Ok(())
}

/// What to say when so many bytes are free: a disk that is full in the end fails cases that have nothing to do with it.
fn short_of_room(free: u64) -> Option<String> {
    let gigabytes = |bytes: u64| bytes as f64 / 1e9;
    (free < ROOM).then(|| {
        format!(
            "note: {:.1} GB are free at {}; all tiers of a fresh clone fill up to {:.0} GB in target/ and out/",
            gigabytes(free),
            host::root().display(),
            gigabytes(ROOM)
        )
    })
}

fn name(tier: Tier) -> &'static str {
    match tier {
        Tier::Fast => "fast",
        Tier::Lab => "lab",
        Tier::Image => "image",
    }
}

fn run(tier: Tier, filters: &[String]) -> Result<Tally> {
    match tier {
        Tier::Fast => fast(filters),
        Tier::Lab | Tier::Image => {
            host::need(&packages())?;
            // Built before the first case, whose limit a first build would break.
            for &(board, flavour) in slots(tier) {
                if let Err(error) = build::slot(board, Profile::Lab, flavour) {
                    println!("cases that need a box for {board} will fail: {error:#}");
                }
            }
            cases::run(name(tier), filters)
        }
    }
}

/// The whole workspace with this machine's toolchain, then the deciding half with the compiler and the C library
/// that are shipped, on both processors.
fn fast(filters: &[String]) -> Result<Tally> {
    let mut tests = std::process::Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    tests.args(["test", "--workspace", "--no-fail-fast"]).current_dir(host::root());
    let mut tally = cargo::run("the whole workspace", "test-fast", tests, filters)?;
    for board in [Board::X86_64, Board::Aarch64] {
        let mut tests = toolchain::cargo_command(board)?;
        tests.args(["test", "--target", board.target(), "--package", "bascule-core", "--no-fail-fast"]);
        tests.current_dir(host::root());
        let what = format!("bascule-core as musl on {board}");
        tally.add(cargo::run(&what, &format!("test-musl-{board}"), tests, filters)?);
    }
    Ok(tally)
}

/// What the cases of a tier boot.
fn slots(tier: Tier) -> &'static [(Board, Flavour)] {
    match tier {
        Tier::Fast => &[],
        Tier::Lab => &[(Board::X86_64, Flavour::Cloud)],
        Tier::Image => &[
            (Board::X86_64, Flavour::Generic),
            (Board::X86_64, Flavour::Cloud),
            (Board::Aarch64, Flavour::Cloud),
        ],
    }
}

/// What the lab and image tiers run beside our own programs.
fn packages() -> Vec<&'static str> {
    let mut all = vec!["busybox-static", "frr", "ipvsadm", "keepalived", "nginx-light", "tshark"];
    all.extend(net::PACKAGES);
    for board in [Board::X86_64, Board::Aarch64] {
        all.extend(qemu::packages(board));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_that_is_nearly_full_is_named_with_what_is_needed() {
        assert_eq!(short_of_room(ROOM), None);
        let note = short_of_room(9_040_000_000).expect("a note");
        assert!(note.contains("9.0 GB are free at /") && note.contains("15 GB"), "{note}");
    }
}
