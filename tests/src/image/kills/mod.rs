//! The kill table: an update is ended before and after each of its phases, by SIGKILL of the process that is at it, by
//! the reset button and by QEMU's end. Afterwards the box balances, its slots are as they should be, and it says what
//! to do or does an update.
//!
//! One box lives through all phases. At each point the machine is kept, memory, devices and disk, and every cell of the
//! table goes on from there.

mod cell;
mod line;

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, ensure};
use bascule_core::release::Version;
use bascule_image::board::Board;
use bascule_image::qemu::{self, Boot, Machine, Setup, login};
use bascule_image::{disk, host};

use crate::runner::{Case, Context, Outcome};

use super::boot::{ANSWER, BOOT, log_in_to};
use super::disk::copy;
use super::web::Web;
use super::{life, spy};
use cell::Cell;
use line::Line;

/// A life and 54 cells, two at a time, under emulation on a busy machine.
const LIMIT: Duration = Duration::from_secs(4_500);

/// The cases.
pub fn cases() -> Vec<Case> {
    vec![Case {
        name: "kill table: an update is killed, reset and switched off before and after each of its phases",
        limit: LIMIT,
        run,
    }]
}

/// What an update does, in the order of the table.
pub const PHASES: [&str; 9] =
    ["download", "write", "verify", "mark", "activate", "first-boot", "gate", "commit", "rollback"];
/// Before it and after it.
pub const MOMENTS: [&str; 2] = ["before", "after"];
/// Of an install, in the order in which a box comes to them.
const INSTALL: [&str; 8] = [
    "download before",
    "write before",
    "download after",
    "write after",
    "verify before",
    "verify after",
    "mark before",
    "mark after",
];
/// Of a trial. The agent and the gate start at the same time.
const TRIAL: [&str; 6] =
    ["first-boot before", "first-boot after", "gate before", "gate after", "commit before", "commit after"];

/// How it is ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kill {
    /// The process that stands there.
    Process,
    /// The machine, by its reset button.
    Reset,
    /// The machine and all around it.
    Quit,
}

impl Kill {
    const ALL: [Self; 3] = [Self::Process, Self::Reset, Self::Quit];

    fn word(self) -> &'static str {
        match self {
            Self::Process => "SIGKILL",
            Self::Reset => "QEMU reset",
            Self::Quit => "QEMU quit",
        }
    }
}

/// What all cells have in common.
pub struct Ground<'a> {
    context: &'a Context,
    web: Web,
    /// The version that is flashed, and the one that is installed.
    versions: [Version; 2],
}

impl Ground<'_> {
    /// The machine, whoever starts it: a kept one can only be resumed in one that is made alike.
    fn setup(&self, name: &str, disk: &Path) -> Setup {
        let setup = Setup::new(name, Board::X86_64, Boot::disk(Board::X86_64, disk)).memory(320);
        spy::wired(setup.user_network().monitored(), name).log(self.context.log(&format!("{name}.log")))
    }

    fn disk(&self, point: &str) -> PathBuf {
        self.context.log(&format!("{}.img", point.replace(' ', "-")))
    }

    fn memory(&self, point: &str) -> PathBuf {
        self.context.log(&format!("{}.memory", point.replace(' ', "-")))
    }

    /// Keeps a machine as it is, with its disk; it stands at this point.
    fn keep(&self, machine: &Machine, disk: &Path, point: &str) -> Result<()> {
        let mut monitor = machine.monitor()?;
        monitor.keep(&self.memory(point))?;
        copy(disk, &self.disk(point))?;
        monitor.go_on()?;
        println!("kept at {point} after {:.0} s", machine.started().elapsed().as_secs_f64());
        Ok(())
    }
}

fn run(context: &mut Context) -> Result<Outcome> {
    host::need(qemu::packages(Board::X86_64))?;
    let stop = "bascule.stop=ttyS1";
    let (n, n1) = (life::version(0, 1, stop)?, life::version(1, 1, stop)?);
    let web = Web::serve(vec![("/n1".to_owned(), life::bundle(context, "n1", &n1)?)])?;
    let image = context.log("disk.img");
    disk::make(&n, &image, &login::seed(&life::config(web.port())))?;
    let versions = [n.edition.version, n1.edition.version];
    let ground = Ground { context, web, versions };
    let begin = Instant::now();
    live(&ground, &image)?;
    println!("lived in {:.0} s", begin.elapsed().as_secs_f64());
    let begin = Instant::now();
    let cells = cells(context.whole);
    let results = work(&ground, &cells)?;
    let failed = results.iter().filter(|result| result.is_err()).count();
    let table = table(&cells, &results);
    let took = begin.elapsed().as_secs_f64();
    println!("{table}");
    for (cell, error) in
        cells.iter().zip(&results).filter_map(|(cell, result)| Some((cell, result.as_ref().err()?)))
    {
        println!("{} by {}: {error}", cell.point, cell.kill.word());
    }
    ensure!(failed == 0, "{failed} of {} cells failed\n{table}", cells.len());
    let text = format!("{} cells in {took:.0} s, nothing lost and none stuck\n{table}", cells.len());
    Ok(Outcome::Passed(text))
}

/// The whole table, or its first column: what a killed process leaves takes seconds, a restart of the box a while.
fn cells(whole: bool) -> Vec<Cell> {
    let kills = if whole { &Kill::ALL[..] } else { &[Kill::Process] };
    let mut cells = Vec::new();
    for phase in PHASES {
        for moment in MOMENTS {
            cells.extend(kills.iter().map(|kill| Cell { point: format!("{phase} {moment}"), kill: *kill }));
        }
    }
    cells
}

/// The box that comes to all points.
fn live(ground: &Ground<'_>, image: &Path) -> Result<()> {
    let machine = ground.setup("kills", image).start()?;
    let mut line = Line::connect(&spy::socket("kills"))?;
    log_in_to(&machine, "box(MASTER)> ", BOOT)?;
    life::balances(&machine)?;
    let mut at = |wanted: &[&str]| -> Result<()> {
        let mut left = wanted.to_vec();
        while !left.is_empty() {
            let point = line.next(life::VERDICT)?;
            let place = left.iter().position(|one| *one == point);
            left.remove(place.with_context(|| format!("it is at {point}, and not at one of {left:?}"))?);
            ground.keep(&machine, image, &point)?;
            line.go()?;
        }
        Ok(())
    };
    machine.console.send(&format!("update install {}", ground.web.url("/n1")))?;
    at(&INSTALL)?;
    machine.expect("read back and verified", life::INSTALL)?;
    machine.console.send("update activate")?;
    machine.expect("(y/N) ", ANSWER)?;
    machine.console.send("y")?;
    at(&["activate before", "activate after"])?;
    at(&TRIAL)?;
    machine.console.skip();
    machine.console.send("")?;
    log_in_to(&machine, "box(MASTER)> ", BOOT)?;
    machine.console.send("update rollback")?;
    machine.expect("(y/N) ", ANSWER)?;
    machine.console.send("y")?;
    at(&["rollback before", "rollback after"])
}

/// All cells, some at a time; what became of each.
fn work(ground: &Ground<'_>, cells: &[Cell]) -> Result<Vec<Result<String, String>>> {
    let next = Mutex::new(cells.iter().enumerate());
    let done = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..ground.context.guests() {
            scope.spawn(|| {
                while let Some((number, cell)) = next.lock().ok().and_then(|mut cells| cells.next()) {
                    let begin = Instant::now();
                    let result = cell::run(ground, number, cell).map_err(|error| format!("{error:#}"));
                    let took = begin.elapsed().as_secs_f64();
                    println!("{} by {}: {result:?} in {took:.0} s", cell.point, cell.kill.word());
                    if let Ok(mut done) = done.lock() {
                        done.push((number, result));
                    }
                }
            });
        }
    });
    let mut done = done.into_inner().map_err(|_| anyhow!("a worker panicked"))?;
    ensure!(done.len() == cells.len(), "{} of {} cells ran", done.len(), cells.len());
    done.sort_by_key(|(number, _)| *number);
    Ok(done.into_iter().map(|(_, result)| result).collect())
}

/// The table, at most 79 columns wide.
fn table(cells: &[Cell], results: &[Result<String, String>]) -> String {
    let columns = cells.iter().take_while(|cell| cell.point == cells[0].point).count();
    let mut text = format!("{:18}", "ENDED");
    cells[..columns].iter().for_each(|cell| text += &format!(" {:19}", cell.kill.word()));
    text = format!("{}\n", text.trim_end());
    for (cells, results) in cells.chunks(columns).zip(results.chunks(columns)) {
        text += &format!("{:18}", cells[0].point);
        for result in results {
            text += &format!(" {:19}", result.as_deref().unwrap_or("FAILED"));
        }
        text = format!("{}\n", text.trim_end());
    }
    text.trim_end().to_owned()
}
