//! `update pair` under traffic: two boxes from disk images, requests and long-lived connections through all restarts.
//!
//! One boot serves both cases, in this order: a bundle whose trial fails, then one that is kept.

use std::fmt::Write as _;
use std::net::TcpListener;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use bascule_core::release::Version;
use bascule_image::board::{Board, Flavour};
use bascule_image::demo::scenario::Plan;
use bascule_image::demo::stage::Stage;
use bascule_image::disk::Seed;
use bascule_image::edition::Edition;
use bascule_image::host;
use bascule_image::load::client::Client;
use bascule_image::load::held::Held;
use bascule_image::qemu::{self, login};
use bascule_image::slot::{self, Slot};
use bascule_image::toolchain::Profile;

use crate::runner::{Case, Context, Outcome};
use crate::shared::{self, Report};

use super::boot::{ANSWER, BOOT};
use super::life::{self, good, successor, until};
use super::web::Web;

const BAD: &str = "`update pair` with a bundle whose trial fails stops, and the Master serves on as before";
const GOOD: &str = "`update pair` under traffic fails no request and keeps every established connection";

/// Two installs, a restart and a gate of the other box, or the end of its tries, on a busy machine.
const PAIR: Duration = Duration::from_secs(900);
/// A request that takes longer has failed: less than a client's patience, more than an emulated box needs.
const PATIENCE: Duration = Duration::from_secs(5);
/// Requests per second.
const RATE: u32 = 10;
/// Each long-lived connection exchanges a line this often.
const TICK: Duration = Duration::from_millis(500);
/// Long-lived connections.
const HELD: usize = 12;
/// The client, which also serves the bundles.
const WEB: &str = "192.0.2.10:8080";
/// The key of this pair; no other pair has it, and no pair but this one should.
const KEY: &str = "aaaqe-ayeau-daoca-jbifq-ydiob-4ibce-qtcqk-rmfyy-denbw-ha5dy-pwgdi\n";

/// The cases.
pub fn cases() -> Vec<Case> {
    [BAD, GOOD].map(|name| Case { name, limit: Duration::from_secs(2_400), run }).into()
}

fn run(context: &mut Context) -> Result<Outcome> {
    shared::verdict(context, "update of a pair", scenes)
}

/// What a box of the pair finds: who the other one is, and their key.
fn seed(config: &str) -> Seed {
    let other = if config.contains("\"lb1\"") { 2 } else { 1 };
    let config = format!("{config}\n[peer]\naddress = \"192.0.2.{other}\"\ninterface = \"eth0\"\n");
    login::seed(&config).file("state/peer.key", KEY)
}

/// The pair and its traffic.
struct Scene {
    stage: Stage,
    client: Client,
    held: Held,
    begin: Instant,
    old: Version,
    new: Version,
}

fn scenes(context: &mut Context) -> Result<Vec<Report>> {
    host::need(qemu::packages(Board::X86_64))?;
    let (board, flavour) = (Board::X86_64, Flavour::Cloud);
    let edition = Edition::of_this_tree()?;
    let old = edition.version;
    let (new, worse) = (successor(old, 1)?, successor(old, 2)?);
    let slot = |version| slot::slot_as(board, Profile::Lab, flavour, &edition.clone().with_version(version));
    let worse = slot(worse)?;
    let doomed = Slot { cmdline: format!("{} bascule.fail=panic", worse.cmdline), ..worse };
    let (good, bad) = (life::bundle(context, "good", &slot(new)?)?, life::bundle(context, "bad", &doomed)?);
    // Under emulation on a busy machine adverts come late by more than a quarter of a second.
    let advert = Duration::from_secs(1);
    let plan = Plan { seed, advert, log_dir: context.log_dir.clone(), ..Plan::default() };
    let mut stage = Stage::set(&plan, &slot(old)?, &|line| println!("{line}"))?;
    let listener = stage.client.netns.enter(|| TcpListener::bind(WEB))??;
    let _web = Web::on(listener, vec![("/good".to_owned(), good), ("/bad".to_owned(), bad)])?;
    stage.boot()?;
    for (unit, prompt) in stage.boxes.iter().zip(["lb1(MASTER)> ", "lb2(BACKUP)> "]) {
        unit.machine()?.log_in(BOOT)?;
        unit.machine()?.expect(prompt, BOOT)?;
    }
    let held = Held::open(&stage.client.netns, stage.target(), HELD, TICK)?;
    let client = Client::start(&stage.client.netns, stage.target(), RATE, PATIENCE)?;
    let mut scene = Scene { stage, client, held, begin: Instant::now(), old, new };
    std::thread::sleep(Duration::from_secs(2));
    Ok(vec![shared::report(BAD, || scene.bad()), shared::report(GOOD, || scene.good())])
}

impl Scene {
    /// Types `update pair` on the first box and says yes.
    fn order(&self, path: &str) -> Result<()> {
        let machine = self.stage.boxes[0].machine()?;
        machine.console.skip();
        machine.console.send(&format!("update pair http://{WEB}{path}"))?;
        machine.expect("(y/N) ", ANSWER)?;
        machine.console.send("y")
    }

    /// No request failed since the beginning, and every connection that was opened exchanged a line just now.
    fn traffic(&self, what: &str) -> Result<String> {
        std::thread::sleep(Duration::from_secs(2));
        let now = Instant::now();
        let survival = self.held.wait_survival(now, Duration::from_secs(30));
        let record = self.client.record().between(self.begin, now);
        let (all, failed) = (record.samples.len(), record.failed());
        let gap = record.longest_gap(self.begin).map(|gap| gap.length()).unwrap_or_default();
        let mut table = String::new();
        let row = |table: &mut String, name: &str, value: String| writeln!(table, "  {name:<38} {value:>12}");
        writeln!(table, "{what}")?;
        row(&mut table, "requests", all.to_string())?;
        row(&mut table, "requests failed", failed.to_string())?;
        row(&mut table, "longest time without an answer", format!("{} ms", gap.as_millis()))?;
        row(&mut table, "established connections", survival.before.to_string())?;
        row(&mut table, "established connections kept", survival.survived.to_string())?;
        println!("{table}");
        ensure!(failed == 0, "{failed} of {all} requests failed: {:?}\n{table}", record.reasons());
        ensure!(all as u64 >= self.begin.elapsed().as_secs() * u64::from(RATE) / 2, "only {all} requests");
        ensure!(survival.survived == HELD, "of {HELD} connections: {survival:?}\n{table}");
        Ok(format!(
            "{all} requests, {failed} failed, {} of {} established connections kept, longest time without an answer \
             {} ms",
            survival.survived,
            survival.before,
            gap.as_millis()
        ))
    }

    /// An update that cannot begin, and one that the operator ends: both are told, and nothing is changed.
    fn ended(&self) -> Result<()> {
        let machine = self.stage.boxes[0].machine()?;
        self.order("/nothing json")?;
        let told = machine.expect("MASTER)> ", ANSWER)?.text;
        ensure!(told.contains("\"restarts\":false") && told.contains("404"), "no JSON of it: {told}");
        self.order("/bad")?;
        machine.expect("the bundle goes into its other slot", ANSWER)?;
        machine.console.send_bytes(b"\x03")?;
        machine.expect("Stopped: stopped by the operator", life::INSTALL)?;
        machine.expect("MASTER)> ", ANSWER)?;
        machine.console.send("show audit")?;
        // Long lines are folded.
        let audit: String = machine.expect("MASTER)> ", ANSWER)?.text.split_whitespace().collect();
        ensure!(audit.contains("/bad\"stopped:stoppedbytheoperator"), "the audit does not tell it: {audit}");
        Ok(())
    }

    fn bad(&mut self) -> Result<String> {
        self.ended().context("an update that is ended")?;
        self.order("/bad")?;
        let machine = self.stage.boxes[0].machine()?;
        let text = machine.expect("Stopped: ", PAIR)?.text;
        let why = machine.expect("MASTER)> ", ANSWER)?.text;
        println!("{text}{why}");
        ensure!(
            why.contains(&format!("lb2 went back to {}", self.old)),
            "it stopped for another reason:\n{why}"
        );
        let lone = self.stage.advert_of(&self.stage.boxes[1], self.begin);
        ensure!(lone.is_none(), "the other box sent adverts");
        let slots = until(machine, "show slots", ANSWER, |text| text.contains("good"))?;
        ensure!(good(&slots, self.old), "{slots}");
        self.traffic("a bundle whose trial fails")
    }

    fn good(&mut self) -> Result<String> {
        self.order("/good")?;
        let (first, second) = (&self.stage.boxes[0], &self.stage.boxes[1]);
        let machine = first.machine()?;
        let text = machine.expect("This box restarts", PAIR)?.text;
        println!("{text}");
        let restart = Instant::now();
        machine.log_in(BOOT * 2)?;
        let done = format!("both boxes run {}", self.new);
        let status = until(machine, "show update", PAIR, |text| text.replace('\n', " ").contains(&done))?;
        println!("{status}");
        // It takes the addresses back by its priority, and has to know the connections by then.
        let back = crate::lab::process::wait_for("the first box has the address again", BOOT, || {
            self.stage.advert_of(first, restart + Duration::from_secs(2))
        })?;
        let slots = until(machine, "show slots", ANSWER, |text| good(text, self.new))?;
        ensure!(!slots.contains("testing"), "{slots}");
        let other = second.machine()?;
        other.log_in(BOOT).context("the other box")?;
        until(other, "show slots", ANSWER, |text| good(text, self.new))?;
        until(other, "show update", ANSWER, |text| text.replace('\n', " ").contains(&done))?;
        let figures = self.traffic("both boxes updated, one after the other")?;
        let back = back.duration_since(restart).as_secs();
        Ok(format!("{figures}; the first box serves again {back} s after its restart began"))
    }
}
