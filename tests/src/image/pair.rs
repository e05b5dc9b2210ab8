//! A pair of boxes from disk images under steady traffic, and what an operator or a fault does to the active one.
//!
//! One boot serves all these cases, in this order.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use bascule_image::board::{Board, Flavour};
use bascule_image::build;
use bascule_image::demo::scenario::{self, Plan};
use bascule_image::demo::stage::Stage;
use bascule_image::host;
use bascule_image::load::client::{Client, Record};
use bascule_image::net::sniff::What;
use bascule_image::qemu;
use bascule_image::toolchain::Profile;

use crate::runner::{Case, Context, Outcome};
use crate::shared::{self, Report};

use super::boot::{ANSWER, BOOT};
use super::spy::{self, Spy};

/// A request that takes longer has failed.
const PATIENCE: Duration = Duration::from_secs(3);
/// Requests per second: an emulated box does some hundred.
const RATE: u32 = 20;

const RESTART: &str = "`restart agent` on the console under traffic fails no request";
const KILL: &str = "kill -9 of the agent in the active box under traffic fails no request, no takeover";
const CLEAR: &str = "`ipvsadm -C` on the console is repaired and traffic goes on";
const REBOOT: &str = "`reboot` on the console resigns with priority 0 first, and the box returns";

/// The cases.
pub fn cases() -> Vec<Case> {
    let limit = Duration::from_secs(900);
    let mut all = vec![Case {
        name: "the demo's failover: the address moves, connections survive, service returns",
        limit,
        run: demo,
    }];
    all.extend([KILL, RESTART, CLEAR, REBOOT].map(|name| Case { name, limit, run: from_pair }));
    all
}

fn demo(context: &mut Context) -> Result<Outcome> {
    host::need(qemu::packages(Board::X86_64))?;
    let plan = Plan {
        rate: RATE,
        steady: Duration::from_secs(4),
        log_dir: context.log_dir.clone(),
        ..Plan::default()
    };
    let slot = build::slot(Board::X86_64, Profile::Lab, Flavour::Generic)?;
    let say = |line: &str| println!("{line}");
    let mut stage = Stage::set(&plan, &slot, &say)?;
    let (report, _traffic) = scenario::play(&plan, &mut stage, &say)?;
    println!("{report}");
    ensure!(report.passed(), "{}\n{report}", report.faults().join("; "));
    let gap = report.gap.context("no gap was measured")?;
    let after = report.after_advert.context("no announcement of the second box")?;
    // An emulated guest on a busy machine: its timers are late by tens of milliseconds, its forwarding by more.
    ensure!(
        after >= report.formula - Duration::from_millis(20),
        "it took over {after:?} after the last advert"
    );
    ensure!(
        after < report.formula + Duration::from_millis(500),
        "it took over {after:?} after the last advert"
    );
    ensure!(gap < report.formula + Duration::from_secs(3), "the client saw a gap of {gap:?}");
    let takeover = report.takeover.context("the second box did not take over")?;
    ensure!(
        gap * 2 > takeover,
        "the client saw a gap of {gap:?}, and nobody had the address for {takeover:?}"
    );
    Ok(Outcome::Passed(format!(
        "formula {} ms, announced {} ms after the last advert, gap {} ms, {} of {} requests failed, {} of {} \
         connections survived",
        report.formula.as_millis(),
        after.as_millis(),
        gap.as_millis(),
        report.failed,
        report.requests,
        report.survival.survived,
        report.survival.before
    )))
}

fn from_pair(context: &mut Context) -> Result<Outcome> {
    shared::verdict(context, "pair of boxes", run)
}

/// The pair and its traffic.
struct Scene {
    stage: Stage,
    client: Client,
}

fn run(context: &mut Context) -> Result<Vec<Report>> {
    host::need(qemu::packages(Board::X86_64))?;
    // An agent resumes within three intervals. Under emulation on a busy machine it needs most of a second to be
    // there again, so the intervals are the ordinary ones of one second.
    let advert = Duration::from_secs(1);
    let plan = Plan { rate: RATE, advert, log_dir: context.log_dir.clone(), ..Plan::default() };
    let slot = spy::bugged(context, &build::slot(Board::X86_64, Profile::Lab, Flavour::Cloud)?)?;
    let mut stage = Stage::set(&plan, &slot, &|line| println!("{line}"))?;
    for unit in &mut stage.boxes {
        unit.setup = spy::wired(unit.setup.clone(), &unit.name);
    }
    stage.boot()?;
    for (unit, prompt) in stage.boxes.iter().zip(["lb1(MASTER)> ", "lb2(BACKUP)> "]) {
        unit.machine()?.log_in(BOOT)?;
        unit.machine()?.expect(prompt, BOOT)?;
    }
    let client = Client::start(&stage.client.netns, stage.target(), RATE, PATIENCE)?;
    let mut scene = Scene { stage, client };
    std::thread::sleep(Duration::from_secs(2));
    Ok(vec![
        shared::report(KILL, || scene.kill()),
        shared::report(RESTART, || scene.restart()),
        shared::report(CLEAR, || scene.clear()),
        shared::report(REBOOT, || scene.reboot()),
    ])
}

impl Scene {
    fn since(&self, begin: Instant) -> Record {
        // Requests under way come to their end.
        std::thread::sleep(Duration::from_secs(1));
        self.client.record().between(begin, Instant::now())
    }

    /// No request failed, the traffic was there, and only the first box sent adverts.
    fn unnoticed(&self, begin: Instant) -> Result<String> {
        let record = self.since(begin);
        let (all, failed) = (record.samples.len(), record.failed());
        ensure!(failed == 0, "{failed} of {all} requests failed: {:?}", record.reasons());
        ensure!(all as u64 > begin.elapsed().as_secs() * u64::from(RATE) / 2, "only {all} requests in all");
        let second = &self.stage.boxes[1];
        ensure!(self.stage.advert_of(second, begin).is_none(), "{} sent adverts", second.name);
        let gap = record.longest_gap(begin).map(|gap| gap.length()).unwrap_or_default();
        Ok(format!("{all} requests, none failed, longest time without an answer {} ms", gap.as_millis()))
    }

    fn restart(&mut self) -> Result<String> {
        let begin = Instant::now();
        for _ in 0..2 {
            let machine = self.stage.boxes[0].machine()?;
            machine.console.skip();
            machine.console.send("restart agent")?;
            machine.expect("restarts", ANSWER)?;
            std::thread::sleep(Duration::from_secs(3));
            machine.console.send("show status")?;
            let text = machine.expect("repairs:", BOOT)?.text;
            ensure!(text.contains("192.0.2.100/24 held"), "after the restart:\n{text}");
        }
        self.unnoticed(begin)
    }

    fn kill(&mut self) -> Result<String> {
        let mut spy = Spy::connect(&self.stage.boxes[0].name, BOOT)?;
        // Once: init starts an agent that keeps dying later and later, which is another rule.
        let begin = Instant::now();
        let old = spy.kill_agent()?;
        spy.other_agent(Some(old), Duration::from_secs(30))?;
        let back = begin.elapsed();
        std::thread::sleep(Duration::from_secs(3));
        let figures = self.unnoticed(begin)?;
        Ok(format!("another agent after {} ms, {figures}", back.as_millis()))
    }

    /// The number of repairs that `show status` of the first box tells.
    fn repairs(&self) -> Result<u64> {
        let machine = self.stage.boxes[0].machine()?;
        machine.console.skip();
        machine.console.send("show status")?;
        machine.expect("repairs: ", ANSWER)?;
        let text = machine.expect(" after", ANSWER)?.text;
        text.trim_end_matches(" after").trim().parse().with_context(|| format!("repairs: {text}"))
    }

    fn clear(&mut self) -> Result<String> {
        let mut outages = Vec::new();
        let before = self.repairs()?;
        for _ in 0..2 {
            let begin = Instant::now();
            let machine = self.stage.boxes[0].machine()?;
            machine.console.skip();
            machine.console.send("ipvsadm -C")?;
            std::thread::sleep(Duration::from_secs(6));
            machine.console.skip();
            machine.console.send("ipvsadm -Sn")?;
            let text = machine.expect("192.0.2.23:80", ANSWER)?.text;
            ensure!(text.contains("-A -t 192.0.2.100:80"), "the table was not repaired:\n{text}");
            let record = self.since(begin);
            let late = record.between(begin + Duration::from_secs(4), Instant::now());
            ensure!(late.failed() == 0, "requests fail 4 s after `ipvsadm -C`: {:?}", late.reasons());
            let gap = record.longest_gap(begin).map(|gap| gap.length()).unwrap_or_default();
            ensure!(gap < Duration::from_secs(3), "no answer for {gap:?} after `ipvsadm -C`");
            outages.push(format!("{} failed, gap {} ms", record.failed(), gap.as_millis()));
        }
        let after = self.repairs()?;
        ensure!(after >= before + 2, "the status tells {before} repairs, and {after} after two clears");
        Ok(outages.join("; "))
    }

    fn reboot(&mut self) -> Result<String> {
        let begin = Instant::now();
        let first = &self.stage.boxes[0];
        let machine = first.machine()?;
        machine.console.skip();
        machine.console.send("reboot")?;
        machine.expect("(y/N) ", ANSWER)?;
        machine.console.send("y")?;
        let own = std::net::IpAddr::V4(first.own);
        let resigned = crate::lab::process::wait_for("priority 0 of the box that reboots", BOOT, || {
            self.stage.sniffer.first(
                begin,
                |seen| matches!(seen.what, What::Advert { source, priority: 0, .. } if source == own),
            )
        })?;
        let second = &self.stage.boxes[1];
        let taken = crate::lab::process::wait_for("an advert of the other box", BOOT, || {
            self.stage.advert_of(second, resigned)
        })?;
        let after = taken - resigned;
        ensure!(after < Duration::from_millis(2500), "the other box took over {after:?} after priority 0");
        // It boots by itself and, being the higher one, takes the address back.
        let back = crate::lab::process::wait_for("the box is back and has the address again", BOOT, || {
            let again = taken + Duration::from_secs(3);
            self.stage.advert_of(&self.stage.boxes[0], again)
        })?;
        std::thread::sleep(Duration::from_secs(5));
        let late = self.client.record().between(back + Duration::from_secs(1), Instant::now());
        ensure!(late.failed() == 0, "requests fail after the return: {:?}", late.reasons());
        let gap = self.client.record().between(begin, taken + Duration::from_secs(2)).longest_gap(begin);
        Ok(format!(
            "taken over {} ms after priority 0, longest time without an answer {} ms, back after {:.0} s",
            after.as_millis(),
            gap.map(|gap| gap.length()).unwrap_or_default().as_millis(),
            (back - begin).as_secs_f64()
        ))
    }
}
