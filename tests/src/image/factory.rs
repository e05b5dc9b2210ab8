//! Two boxes as they leave the factory become a pair, by what a person types on their consoles: setup, configuration,
//! commit. Then traffic flows, and it still does when the configured box has lost its power and come back.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, ensure};
use bascule_core::config::document::Document;
use bascule_image::board::{Board, Flavour};
use bascule_image::build;
use bascule_image::demo::scenario::Plan;
use bascule_image::demo::stage::{self, Stage};
use bascule_image::disk::Seed;
use bascule_image::host;
use bascule_image::load::client::Client;
use bascule_image::qemu::{self, Machine};
use bascule_image::toolchain::Profile;

use crate::runner::{Case, Context, Outcome};

use super::boot::{ANSWER, BOOT};

/// The password that the person chooses.
const PASSWORD: &str = "a Bascule on every shore";
/// Requests per second.
const RATE: u32 = 20;

/// The cases.
pub fn cases() -> Vec<Case> {
    vec![Case {
        name: "two factory boxes become a pair on their consoles: setup, configure, commit, traffic, power cut",
        limit: Duration::from_secs(900),
        run,
    }]
}

fn run(context: &mut Context) -> Result<Outcome> {
    host::need(qemu::packages(Board::X86_64))?;
    let advert = Duration::from_secs(1);
    let seed = |_: &str| Seed::factory();
    let plan = Plan { rate: RATE, advert, seed, log_dir: context.log_dir.clone(), ..Plan::default() };
    let slot = build::slot(Board::X86_64, Profile::Lab, Flavour::Cloud)?;
    let mut stage = Stage::set(&plan, &slot, &|line| println!("{line}"))?;
    stage.power_on(0)?;
    stage.power_on(1)?;
    let mut typed = 0;
    for unit in &stage.boxes {
        let machine = unit.machine()?;
        let begin = Instant::now();
        set_up(machine, &unit.name, &format!("{}/24", unit.own)).context("setup")?;
        typed += configure(machine, &plan, unit).with_context(|| format!("configuring {}", unit.name))?;
        println!(
            "{} is configured {:.0} s after its factory prompt",
            unit.name,
            begin.elapsed().as_secs_f64()
        );
    }
    stage.settle()?;
    let client = Client::start(&stage.client.netns, stage.target(), RATE, Duration::from_secs(3))?;
    std::thread::sleep(Duration::from_secs(10));
    let steady = client.record();
    ensure!(steady.failed() == 0, "requests failed: {:?}", steady.reasons());
    ensure!(steady.samples.len() > 50, "only {} requests", steady.samples.len());
    let cut = stage.power_cut(0)?;
    let taken = crate::lab::process::wait_for("an advert of the other box", BOOT, || {
        stage.advert_of(&stage.boxes[1], cut)
    })?;
    // What was committed is there after the power cut, and so is the user.
    stage.power_on(0)?;
    let machine = stage.boxes[0].machine()?;
    machine.log_in_as("admin", PASSWORD, BOOT)?;
    machine.expect("lb1(", ANSWER)?;
    stage.settle()?;
    Ok(Outcome::Passed(format!(
        "{typed} lines typed, {} requests before the cut and none failed, the other box took over {} ms after it",
        steady.samples.len(),
        (taken - cut).as_millis()
    )))
}

/// Answers the ten questions as a person does, with a mistake here and there.
fn set_up(machine: &Machine, name: &str, own: &str) -> Result<()> {
    let answer = |question: &str, typed: &str, limit: Duration| -> Result<String> {
        let text = machine.expect(question, limit)?.text + &machine.expect(": ", ANSWER)?.text;
        machine.console.send(typed)?;
        Ok(text)
    };
    answer("1/10", "not a name", BOOT)?;
    answer("1/10", name, ANSWER)?;
    answer("2/10", "short", ANSWER)?;
    answer("2/10", PASSWORD, ANSWER)?;
    answer("3/10", PASSWORD, ANSWER)?;
    answer("4/10", "eth0", BOOT)?;
    answer("5/10", "none", ANSWER)?;
    answer("6/10", "192.0.2.1", ANSWER)?;
    let refused = answer("6/10", own, ANSWER)?;
    ensure!(refused.contains("prefix length"), "an address without prefix length is answered by {refused}");
    answer("7/10", "none", ANSWER)?;
    answer("8/10", "none", ANSWER)?;
    answer("9/10", "none", ANSWER)?;
    answer("10/10", "none", ANSWER)?;
    machine.expect("This box is set up.", BOOT)?;
    machine.expect(&format!("{name}> "), ANSWER)?;
    Ok(())
}

/// Types the configuration as `set` commands; how many.
fn configure(machine: &Machine, plan: &Plan, unit: &stage::Unit) -> Result<usize> {
    let text = stage::config(plan, &unit.name, unit.own, unit.priority);
    let wanted = Document::parse(&text, "plan").map_err(|problems| anyhow!("{problems:?}"))?;
    let console = &machine.console;
    let (clean, dirty) = (format!("{}# ", unit.name), format!("{}*# ", unit.name));
    console.send("configure")?;
    machine.expect(&clean, ANSWER)?;
    console.send("set vrrp front vrid 300")?;
    let refused = machine.expect(&clean, ANSWER)?.text;
    ensure!(refused.contains('^') && refused.contains("255"), "vrid 300 is answered by {refused}");
    let mut typed = 0;
    let lines = wanted.set_lines();
    // The setup has done these.
    let done = |line: &str| line.starts_with("set system hostname") || line.starts_with("set interface eth0");
    for line in lines.iter().filter(|line| !done(line)) {
        console.send(line)?;
        let echo = machine.expect(&dirty, ANSWER)?.text;
        ensure!(!echo.contains('^'), "{line:?} is answered by {echo}");
        typed += 1;
    }
    console.send("commit comment \"a pair\"")?;
    machine.expect(&clean, BOOT)?;
    console.send("exit")?;
    machine.expect(&format!("{}(", unit.name), ANSWER)?;
    console.send("show system commits")?;
    machine.expect("a pair", ANSWER)?;
    Ok(typed + 4)
}
