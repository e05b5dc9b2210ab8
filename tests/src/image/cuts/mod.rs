//! Power cuts for real: everything that a disk is told in the life of a box is recorded, and played back up to every
//! moment at which the power could go. What the loader and the running system make of the disk then is worked out for
//! all of them, and seen in QEMU for some.
//!
//! The life: an update that is kept and raises the floor, then one over the older slot that panics and is given up.

mod boots;
mod log;
mod points;
mod world;

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use bascule_image::board::Board;
use bascule_image::disk::layout::Layout;
use bascule_image::qemu::{self, Boot, Setup, login};
use bascule_image::{disk, host};

use crate::runner::{Case, Context, Outcome};

use super::boot::{BOOT, log_in_to};
use super::disk::copy;
use super::life;
use super::web::Web;
use log::Log;
use points::{Kind, Points};
use world::{Payload, World};

/// Fewer points, and the log is not that of a whole life.
const POINTS: usize = 2_000;
/// Points that are started, at least, when somebody asks for the case by its name.
const BOOTS: usize = 40;
/// Else.
const SOME_BOOTS: usize = 8;
/// A whole life and the starts, under emulation on a busy machine.
const LIMIT: Duration = Duration::from_secs(1_500 + boots::limit(BOOTS as u64 + 20).as_secs());

/// The cases.
pub fn cases() -> Vec<Case> {
    vec![Case {
        name: "power cuts: every write of a box's life, torn or lost, leaves a verified slot that starts",
        limit: LIMIT,
        run,
    }]
}

/// A recorded life.
struct Life {
    /// The disk before it.
    image: PathBuf,
    log: Log,
    payloads: Vec<Payload>,
}

fn run(context: &mut Context) -> Result<Outcome> {
    host::need(qemu::packages(Board::X86_64))?;
    let begin = Instant::now();
    let life = record(context)?;
    println!("recorded in {:.0} s", begin.elapsed().as_secs_f64());
    let begin = Instant::now();
    let layout = Layout::of(Board::X86_64)?;
    let mut world = World::of(&life.image, &layout, &life.payloads)?;
    let points = points::replay(&life.log, &mut world)?;
    let counts = counts(&points, &world);
    println!("{counts}\nlooked at in {:.1} s", begin.elapsed().as_secs_f64());
    ensure!(points.all.len() >= POINTS, "only {} points", points.all.len());
    every_phase(&points)?;

    let begin = Instant::now();
    let wanted = if context.whole { BOOTS } else { SOME_BOOTS };
    let chosen = boots::choose(&points.all, wanted + wanted / 10, context.whole);
    let started = boots::start(context, &life.log, &life.image, &chosen)?;
    ensure!(started.len() >= wanted, "only {} were started", started.len());
    let trials = started.iter().filter(|at| !at.contains("bascule.try=0")).count();
    let took = begin.elapsed().as_secs_f64();
    println!("{} started in {took:.0} s, {trials} on trial", started.len());
    for big in [&life.image, &context.log("disk.img"), &context.log("writes.log")] {
        let _ = fs::remove_file(big);
    }
    Ok(Outcome::Passed(format!(
        "{counts}; {} points started in QEMU, {trials} of them on trial, in {took:.0} s: each as told, none stuck",
        started.len()
    )))
}

fn counts(points: &Points, world: &World<'_>) -> String {
    let count = |kind| points.count(kind);
    format!(
        "{} writes, {} flushes: {} points ({} after a write, {} after a flush, {} torn, {} with writes lost), \
         {} kinds of disks started {} times until an update could begin",
        points.writes,
        points.flushes,
        points.all.len(),
        count(Kind::Write),
        count(Kind::Flush),
        count(Kind::Torn),
        count(Kind::Lost),
        world.kinds,
        world.rehearsed
    )
}

/// The log shows the whole life: every state of the record, a counted try, a fall-back, and the floor raised.
fn every_phase(points: &Points) -> Result<()> {
    let seen = |what: &str| {
        points.all.iter().any(|point| format!("{} {}", point.verdict.words, point.verdict.at).contains(what))
    };
    for what in
        ["b empty", "b installed", "b testing", "b good", "a empty", "a installed", "a testing", "a bad"]
    {
        ensure!(seen(what), "no point is within {what}");
    }
    for what in ["bascule.try=1", "bascule.try=2", "bascule.fallback=tries"] {
        ensure!(seen(what), "no point starts with {what}");
    }
    let floors = points.all.iter().map(|point| point.verdict.floor);
    ensure!(floors.clone().min() < floors.max(), "the floor was not raised");
    Ok(())
}

/// Lives a life and records it.
fn record(context: &Context) -> Result<Life> {
    let n = life::version(0, 1, "")?;
    let n1 = life::version(1, 2, "bascule.gate=60")?;
    let n2 = life::version(2, 2, "bascule.fail=panic")?;
    let files = [("n1", &n1), ("n2", &n2)]
        .map(|(name, slot)| Ok((format!("/{name}"), life::bundle(context, name, slot)?)));
    let web = Web::serve(files.into_iter().collect::<Result<_>>()?)?;
    let image = context.log("disk.img");
    disk::make(&n, &image, &login::seed(&life::config(web.port())))?;
    let start = context.log("start.img");
    copy(&image, &start)?;

    let log = context.log("writes.log");
    let boot = Boot::disk(Board::X86_64, image);
    let setup = Setup::new("cuts", Board::X86_64, boot).user_network().record_writes(&log);
    let mut machine = setup.log(context.log("console.log")).start()?;
    log_in_to(&machine, "box(MASTER)> ", BOOT)?;
    life::balances(&machine)?;
    let version = n1.edition.version;
    life::install(&machine, &web.url("/n1"))?;
    life::activate(&machine, version)?;
    log_in_to(&machine, &format!("[testing {version}]> "), BOOT)?;
    life::until(&machine, "show slots", life::VERDICT, |text| life::good(text, version))?;
    life::install(&machine, &web.url("/n2"))?;
    life::activate(&machine, n2.edition.version)?;
    // Two tries end in a panic.
    log_in_to(&machine, "box(MASTER)> ", BOOT * 3)?;
    life::until(&machine, "show slots", BOOT, |text| text.contains("bad") && life::good(text, version))?;
    machine.end()?;
    let payloads = [&n, &n1, &n2].map(|slot| Ok(Payload::new(&disk::archive(slot)?)));
    Ok(Life { image: start, log: Log::read(&log)?, payloads: payloads.into_iter().collect::<Result<_>>()? })
}
