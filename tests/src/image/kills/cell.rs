//! One cell of the table: a box that was kept at a point is ended there, and has to be all right.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use bascule_image::qemu::{Machine, login};

use super::super::boot::{ANSWER, BOOT};
use super::super::disk::copy;
use super::super::{life, spy};
use super::line::Line;
use super::{Ground, Kill};

/// Between two looks at a console that says nothing.
const LOOK: Duration = Duration::from_secs(5);

/// Where and how.
#[derive(Clone, Debug)]
pub struct Cell {
    /// Phase and moment.
    pub point: String,
    /// What is ended.
    pub kill: Kill,
}

/// What the box must be afterwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum After {
    /// This version runs, is good and will start again; an update can begin.
    Steady(usize),
    /// As this, and the new version waits in the other slot.
    Installed,
    /// The old version runs, and the new one starts next.
    Activated,
    /// The new version runs on trial.
    Trial,
    /// The new version runs, and the old one starts next.
    Leaving,
}

fn after(point: &str, kill: Kill) -> Result<After> {
    let process = kill == Kill::Process;
    Ok(match point {
        "download before" | "write before" | "download after" | "write after" | "verify before"
        | "verify after" | "mark before" => After::Steady(0),
        "mark after" | "activate before" => After::Installed,
        // Whoever wrote the record was killed before it could restart the box.
        "activate after" if process => After::Activated,
        "activate after" | "first-boot before" | "first-boot after" | "gate before" | "gate after"
        | "commit before" => After::Trial,
        "commit after" | "rollback before" => After::Steady(1),
        "rollback after" if process => After::Leaving,
        "rollback after" => After::Steady(0),
        other => bail!("there is no point {other:?}"),
    })
}

/// Ends the box and looks after it; what became of it, in a word or two.
///
/// # Errors
/// What is not as it should be.
pub fn run(ground: &Ground<'_>, number: usize, cell: &Cell) -> Result<String> {
    let name = format!("cell-{number}");
    let disk = ground.context.log(&format!("{name}.img"));
    copy(&ground.disk(&cell.point), &disk)?;
    let setup = ground.setup(&name, &disk);
    let mut machine = setup.clone().resume(&ground.memory(&cell.point)).start()?;
    let mut monitor = machine.monitor()?;
    let mut line = Line::connect(&spy::socket(&name))?;
    monitor.resumed()?;
    monitor.go_on()?;
    match cell.kill {
        Kill::Process => {
            line.kill()?;
            line.let_go();
        }
        Kill::Reset => {
            line.let_go();
            monitor.reset()?;
            machine.expect("Kernel command line: ", BOOT)?;
        }
        Kill::Quit => {
            monitor.quit()?;
            machine.wait_exit(BOOT)?;
            machine = setup.start()?;
            Line::connect(&spy::socket(&name))?.let_go();
            machine.expect("Kernel command line: ", BOOT)?;
        }
    }
    let verdict = verdict(ground, cell, &machine);
    drop(machine);
    fs::remove_file(&disk)?;
    verdict
}

/// Looks at a box that was ended.
fn verdict(ground: &Ground<'_>, cell: &Cell, machine: &Machine) -> Result<String> {
    enter(machine)?;
    life::balances(machine).context("it does not balance")?;
    let slots = ask(machine, "show slots")?;
    let expected = after(&cell.point, cell.kill)?;
    let [old, new] = ground.versions.map(|version| version.to_string());
    let running = |version: &str, state: &str| {
        slots.lines().any(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            matches!(words[..], [_, "now", found, number, ..] if found == state && number == version)
        })
    };
    let other = |version: &str, state: &str| {
        slots.lines().any(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            matches!(words[..], [_, "-", found, number, ..] if found == state && number == version)
        })
    };
    let right = match expected {
        After::Steady(0) => running(&old, "good"),
        After::Steady(_) => running(&new, "good") && other(&old, "good"),
        After::Installed => running(&old, "good") && other(&new, "installed"),
        After::Activated => running(&old, "good") && other(&new, "testing"),
        After::Trial => running(&new, "testing") && other(&old, "good"),
        After::Leaving => running(&new, "good") && other(&old, "good"),
    };
    ensure!(right, "it should be {expected:?}:\n{slots}");
    // The costly ends once for every phase.
    let whole = cell.kill == Kill::Quit && cell.point.ends_with("before");
    let url = ground.web.url(if whole { "/n1" } else { "/nothing" });
    let refused = |says: &str| -> Result<()> {
        let text = ask(machine, &format!("update install {url}"))?;
        let flat = text.split_whitespace().collect::<Vec<_>>().join(" ");
        ensure!(flat.contains("Nothing was changed") && flat.contains(says), "no word of {says:?}: {flat}");
        Ok(())
    };
    match expected {
        After::Steady(_) | After::Installed if whole => {
            life::install(machine, &url).context("an update cannot be done again")?;
            machine.expect("> ", ANSWER)?;
            let slots = ask(machine, "show slots")?;
            ensure!(slots.contains("installed") && slots.contains(&new), "not installed:\n{slots}");
            Ok("ok, updated".to_owned())
        }
        After::Steady(_) | After::Installed => {
            let text = ask(machine, &format!("update install {url}"))?;
            let begun = text.contains("404") || text.contains("Not installed");
            ensure!(begun, "an update is not begun: {text}");
            Ok(if expected == After::Installed { "ok, installed" } else { "ok" }.to_owned())
        }
        After::Trial => {
            refused("runs on trial")?;
            if whole {
                let version = ground.versions[1];
                life::until(machine, "show slots", life::VERDICT, |text| life::good(text, version))?;
                return Ok("ok, trial, kept".to_owned());
            }
            Ok("ok, on trial".to_owned())
        }
        After::Activated => {
            refused("is activated: reboot")?;
            machine.console.send("update cancel")?;
            machine.expect("is empty", ANSWER).context("it cannot be cancelled")?;
            Ok("ok, cancelled".to_owned())
        }
        After::Leaving => {
            refused("starts next")?;
            Ok("ok, says: reboot".to_owned())
        }
    }
}

/// Logs in, whatever the console shows now.
fn enter(machine: &Machine) -> Result<()> {
    let end = Instant::now() + BOOT;
    while machine.expect("login: ", LOOK).is_err() {
        ensure!(Instant::now() < end, "nobody is asked to log in\n{}", machine.console.tail());
        machine.console.send("")?;
    }
    // What was asked for above may still come.
    std::thread::sleep(Duration::from_millis(300));
    machine.console.skip();
    machine.console.send(login::USER)?;
    machine.expect("Password: ", BOOT)?;
    machine.console.send(login::PASSWORD)?;
    let prompt = |text: &str| text.find("box").and_then(|at| Some(at + text[at..].find("> ")? + 2));
    machine.console.expect_that("prompt of the box", BOOT, prompt)?;
    std::thread::sleep(Duration::from_millis(300));
    machine.console.skip();
    Ok(())
}

/// The answer to a command, up to the next prompt.
fn ask(machine: &Machine, command: &str) -> Result<String> {
    machine.console.skip();
    machine.console.send(command)?;
    let prompt = |text: &str| {
        let (at, line) = text.rmatch_indices("\nbox").next().map(|(at, _)| (at, &text[at..]))?;
        line.ends_with("> ").then_some(at + line.len())
    };
    Ok(machine.console.expect_that("prompt of the box", ANSWER * 2, prompt)?.text)
}
