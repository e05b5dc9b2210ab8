//! Some of the points in QEMU: the box starts what it should, and comes up with its configuration.

use std::fs::{self, File, OpenOptions};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, ensure};
use bascule_core::slot::Evidence;
use bascule_image::board::Board;
use bascule_image::qemu::{Boot, Setup};

use crate::runner::Context;

use super::super::boot::{ANSWER, BOOT};
use super::super::disk::copy;
use super::log::Log;
use super::points::{Part, Point, put};

/// A disk to start from.
struct Job {
    number: usize,
    disk: PathBuf,
    point: Point,
}

/// Chooses points: the first with every choice of the loader and every record and, if there is time for all, the last
/// and others spread over the rest.
#[must_use]
pub fn choose(points: &[Point], wanted: usize, whole: bool) -> Vec<&Point> {
    let key = |point: &Point| format!("{} {}", point.verdict.words, point.verdict.at);
    let mut chosen: Vec<usize> = Vec::new();
    let mut keys: Vec<String> = points.iter().map(key).collect();
    keys.sort();
    keys.dedup();
    for wanted in &keys {
        chosen.extend(points.iter().position(|point| key(point) == *wanted));
        chosen.extend(points.iter().rposition(|point| key(point) == *wanted).filter(|_| whole));
    }
    let close: Vec<usize> = (0..points.len()).filter(|at| points[*at].close).collect();
    let spread = if whole { wanted / 3 } else { 0 };
    let missing = wanted.saturating_sub(chosen.len()).max(spread);
    chosen.extend((0..missing).filter_map(|n| close.get(n * close.len() / missing)));
    chosen.sort_unstable();
    chosen.dedup();
    chosen.into_iter().map(|at| &points[at]).collect()
}

/// Starts a box at each of these points; what each started, in their order.
///
/// # Errors
/// The first that is not as it should be.
pub fn start(context: &Context, log: &Log, image: &Path, points: &[&Point]) -> Result<Vec<String>> {
    let (queue, jobs) = sync_channel::<Job>(0);
    let jobs = Mutex::new(Some(jobs));
    let done = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        let workers: Vec<_> =
            (0..context.guests()).map(|_| scope.spawn(|| work(context, &jobs, &done))).collect();
        let prepared = prepare(context, log, image, points, |job| queue.send(job).is_ok());
        drop(queue);
        for worker in workers {
            worker.join().map_err(|_| anyhow!("a worker panicked"))??;
        }
        prepared
    })?;
    let mut done = done.into_inner().unwrap_or_default();
    ensure!(done.len() == points.len(), "{} of {} points were started", done.len(), points.len());
    done.sort();
    Ok(done.into_iter().map(|(_, line)| line).collect())
}

/// Makes the disks, in the order of the log, from one that goes on.
fn prepare(
    context: &Context,
    log: &Log,
    image: &Path,
    points: &[&Point],
    mut send: impl FnMut(Job) -> bool,
) -> Result<()> {
    let master_path = context.log("master.img");
    copy(image, &master_path)?;
    let master = OpenOptions::new().write(true).open(&master_path)?;
    let mut order: Vec<usize> = (0..points.len()).collect();
    order.sort_by_key(|number| points[*number].upto);
    let mut at = 0;
    for number in order {
        let point = points[number];
        while at < point.upto {
            put(log, &master, at, Part::Whole)?;
            at += 1;
        }
        let disk = context.log(&format!("point-{number}.img"));
        copy(&master_path, &disk)?;
        let file: File = OpenOptions::new().write(true).open(&disk)?;
        point.extra.iter().try_for_each(|(at, part)| put(log, &file, *at, *part))?;
        if !send(Job { number, disk, point: point.clone() }) {
            break;
        }
    }
    fs::remove_file(master_path)?;
    Ok(())
}

fn work(
    context: &Context,
    jobs: &Mutex<Option<Receiver<Job>>>,
    done: &Mutex<Vec<(usize, String)>>,
) -> Result<()> {
    let next = || jobs.lock().ok()?.as_ref()?.recv().ok();
    while let Some(job) = next() {
        let line = run(context, &job).with_context(|| {
            let Point { kind, upto, extra, verdict, .. } = &job.point;
            format!("{kind:?}: entries before {upto}, and {extra:?} ({})", verdict.words)
        });
        if line.is_err()
            && let Ok(mut jobs) = jobs.lock()
        {
            // Nobody takes any more.
            *jobs = None;
        }
        let line = line?;
        fs::remove_file(&job.disk)?;
        done.lock().map_err(|_| anyhow!("a worker panicked"))?.push((job.number, line));
    }
    Ok(())
}

fn run(context: &Context, job: &Job) -> Result<String> {
    let name = format!("point-{}", job.number);
    let boot = Boot::disk(Board::X86_64, &job.disk);
    let setup = Setup::new(&name, Board::X86_64, boot).user_network();
    let machine = setup.log(context.log(&format!("{name}.log"))).start()?;
    machine.expect("Kernel command line: ", BOOT)?;
    let line = machine.console.expect_that("a command line", ANSWER, |text| text.find('\n'))?;
    let at = Evidence::of(line.text.split_whitespace())?;
    let wanted = &job.point.verdict.at;
    ensure!(at == *wanted, "the box starts with {at}, and not with {wanted}");
    // What the operator configured is there: the prompt has the name of the box. A system that panics goes back
    // before it lets anybody in.
    machine.log_in(BOOT * 2)?;
    machine.console.expect_that("prompt of the box", BOOT, prompt)?;
    let up = machine.started().elapsed();
    println!(
        "{name}: {} ({:?}): {at}, up after {:.1} s",
        job.point.verdict.words,
        job.point.kind,
        up.as_secs_f64()
    );
    Ok(at.to_string())
}

/// The end of a prompt of the box `box`, whatever its role.
fn prompt(text: &str) -> Option<usize> {
    ["box(", "box[", "box> "].iter().filter_map(|start| text.find(start).map(|at| at + start.len())).min()
}

/// How long the boots of `count` points may take on a busy machine.
#[must_use]
pub const fn limit(count: u64) -> Duration {
    Duration::from_secs(count * 45)
}
