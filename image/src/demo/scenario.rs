//! The timeline: steady traffic, a power cut, the takeover, the return.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::report::{Report, Return};
use super::stage::{PREEMPT_DELAY, Stage, master_down};
use crate::disk::Seed;
use crate::host;
use crate::load::client::Client;
use crate::load::held::{Held, recovery_limit};
use crate::qemu::login;

/// A request that is not answered within this has failed.
const PATIENCE: Duration = Duration::from_secs(3);
/// A request that is answered later than this was slow.
pub const SLOW: Duration = Duration::from_millis(500);
/// How often each long-lived connection exchanges a line.
const TICK: Duration = Duration::from_millis(200);
/// From power-on to VRRP adverts.
const BOOT: Duration = Duration::from_secs(240);

/// What is played.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Requests per second.
    pub rate: u32,
    /// Long-lived connections.
    pub connections: usize,
    /// Real servers.
    pub servers: usize,
    /// VRRP's advert interval.
    pub advert: Duration,
    /// Whether the first box takes the address back when it returns.
    pub preempt: bool,
    /// Steady traffic before the cut and after it. Longer than the interval at which a box repeats what it knows of
    /// a connection (10 s), so that one whose first copy was lost is known to the other box all the same.
    pub steady: Duration,
    /// What a box of this configuration finds on its data partition.
    pub seed: fn(&str) -> Seed,
    /// Where the consoles' logs go.
    pub log_dir: PathBuf,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            rate: 20,
            connections: 12,
            servers: 3,
            advert: Duration::from_millis(250),
            preempt: true,
            steady: Duration::from_secs(12),
            seed: login::seed,
            log_dir: host::out().join("log"),
        }
    }
}

/// The traffic and its clock.
struct Play<'a> {
    stage: &'a mut Stage,
    plan: &'a Plan,
    client: Client,
    held: Held,
    start: Instant,
    told: Instant,
    say: &'a dyn Fn(&str),
}

/// Traffic that goes on after the scenario until it is dropped.
#[derive(Debug)]
pub struct Traffic {
    /// The requests.
    pub client: Client,
    /// The long-lived connections.
    pub held: Held,
}

/// Boots the boxes, plays the timeline and returns all figures.
///
/// # Errors
/// The boxes do not come up, or traffic cannot be started: there is nothing to report. What goes wrong later is in
/// the report.
pub fn play(plan: &Plan, stage: &mut Stage, say: &dyn Fn(&str)) -> Result<(Report, Traffic)> {
    stage.boot()?;
    let target = stage.target();
    let held = Held::open(&stage.client.netns, target, plan.connections, TICK)?;
    let client = Client::start(&stage.client.netns, target, plan.rate, PATIENCE)?;
    let now = Instant::now();
    say(&format!("==> {} requests/s and {} long-lived connections to {target}", plan.rate, plan.connections));
    let mut play = Play { stage, plan, client, held, start: now, told: now, say };
    let report = play.run()?;
    Ok((report, Traffic { client: play.client, held: play.held }))
}

impl Play<'_> {
    fn run(&mut self) -> Result<Report> {
        let before = self.steady(self.plan.steady);
        let mut report = self.cut(before)?;
        report.after = self.steady(self.plan.steady);
        report.back = Some(self.come_back()?);
        self.steady(Duration::from_secs(3));
        let record = self.client.record();
        report.requests = record.samples.len();
        report.failed = record.failed();
        report.slow = record.slow(SLOW);
        report.reasons =
            record.reasons().into_iter().map(|(reason, count)| (reason.to_owned(), count)).collect();
        report.median_latency = record.median_latency();
        Ok(report)
    }

    /// Lets the traffic run for a while; returns the answers of that time by server.
    fn steady(&mut self, time: Duration) -> BTreeMap<String, u32> {
        let from = Instant::now();
        while from.elapsed() < time {
            self.pass();
        }
        self.client.record().answers(from, Instant::now())
    }

    /// Waits a little, and tells the state once a second.
    fn pass(&mut self) {
        thread::sleep(Duration::from_millis(10));
        if self.told.elapsed() < Duration::from_secs(1) {
            return;
        }
        let record = self.client.record();
        let answers = record.answers(self.told, Instant::now());
        self.told = Instant::now();
        let total: u32 = answers.values().sum();
        let by: Vec<String> = self
            .stage
            .server_names
            .iter()
            .map(|name| format!("{name} {:2}", answers.get(name).unwrap_or(&0)))
            .collect();
        let masters = self.stage.masters(self.plan.advert);
        let master = if masters.is_empty() { "nobody".to_owned() } else { masters.join(" and ") };
        let lively = self.held.lively(TICK * 3);
        self.tell(&format!(
            "master {master:7} {total:3} answers/s ({})  failed {}  long-lived {lively}/{}",
            by.join(" "),
            record.failed(),
            self.held.count()
        ));
    }

    fn tell(&self, line: &str) {
        (self.say)(&format!("{:7.1} s  {line}", self.start.elapsed().as_secs_f64()));
    }

    /// Passes until `seen` has an answer, at most for `limit`.
    fn until<T>(&mut self, limit: Duration, seen: impl Fn(&Stage, &Client) -> Option<T>) -> Option<T> {
        let end = Instant::now() + limit;
        loop {
            let found = seen(self.stage, &self.client);
            if found.is_some() || Instant::now() >= end {
                return found;
            }
            self.pass();
        }
    }

    /// Cuts the power of the active box and watches the other.
    fn cut(&mut self, before: BTreeMap<String, u32>) -> Result<Report> {
        let active = self.stage.active().context("nobody has announced the address")?;
        let other = 1 - active;
        let (first, second) = (self.stage.boxes[active].name.clone(), self.stage.boxes[other].name.clone());
        let cut = self.stage.power_cut(active)?;
        self.tell(&format!(">>> power of {first} cut (QEMU killed)"));
        let (address, mac) = (self.stage.address, self.stage.boxes[other].mac);
        let formula = master_down(self.plan.advert, self.stage.boxes[other].priority);
        let limit = formula * 4 + Duration::from_secs(5);
        let moved = self.until(limit, |stage, _| stage.sniffer.announced(address, mac, cut));
        let last_advert = self.stage.last_advert_of(&self.stage.boxes[active], cut);
        let takeover = moved.map(|at| at - cut);
        let after_advert = moved.zip(last_advert).map(|(at, last)| at - last);
        match takeover {
            Some(time) => self.tell(&format!(
                ">>> {second} announces {address} by gratuitous ARP, {} ms after the cut",
                time.as_millis()
            )),
            None => {
                self.tell(&format!(">>> {second} has not announced {address} within {} s", limit.as_secs()))
            }
        }
        // Not of the cut: an answer that was under way then comes after it, and the outage begins behind that.
        let moment = moved.unwrap_or(cut);
        let gap = self.until(limit, |_, client| client.record().gap_at(moment));
        let gap = gap.map(|gap| gap.length());
        if let Some(gap) = gap {
            self.tell(&format!(
                ">>> the client is answered again: gap {} ms (VRRP's formula: {} ms)",
                gap.as_millis(),
                formula.as_millis()
            ));
        }
        let end = Instant::now() + recovery_limit(gap.unwrap_or(limit));
        while self.held.survival(moment).silent > 0 && Instant::now() < end {
            self.pass();
        }
        let survival = self.held.survival(moment);
        self.tell(&format!(">>> {} of {} long-lived connections go on", survival.survived, survival.before));
        Ok(Report {
            address,
            first,
            second,
            rate: self.plan.rate,
            before,
            after: BTreeMap::new(),
            advert: self.plan.advert,
            formula,
            takeover,
            after_advert,
            gap,
            failed_by_cut: self.client.record().between(self.start, Instant::now()).failed(),
            longest_stall: self.held.longest_stall(cut),
            survival,
            requests: 0,
            failed: 0,
            slow: 0,
            reasons: BTreeMap::new(),
            median_latency: None,
            back: None,
        })
    }

    /// Switches the first box on again and watches what it does.
    fn come_back(&mut self) -> Result<Return> {
        let absent =
            self.stage.boxes.iter().position(|unit| unit.machine.is_none()).context("no box is off")?;
        let name = self.stage.boxes[absent].name.clone();
        let failed_before = self.client.record().failed();
        self.tell(&format!(">>> {name} is switched on again"));
        let since = Instant::now();
        self.stage.power_on(absent)?;
        let own = self.stage.boxes[absent].own;
        // It is up when its kernel speaks on the network: any answer, also a refusal, will do.
        let mut up = None;
        while up.is_none() && since.elapsed() < BOOT {
            self.pass();
            up = self.stage.reachable(own)?.then(|| since.elapsed());
        }
        let Some(up) = up else {
            bail!("{name} did not return\n{}", self.stage.boxes[absent].console_tail())
        };
        self.tell(&format!(">>> {name} is back after {:.1} s", up.as_secs_f64()));
        let (address, mac) = (self.stage.address, self.stage.boxes[absent].mac);
        let limit =
            if self.plan.preempt { PREEMPT_DELAY + Duration::from_secs(10) } else { Duration::from_secs(5) };
        let preempted = self.until(limit, |stage, _| stage.sniffer.announced(address, mac, since));
        match preempted {
            Some(_) => self.tell(&format!(">>> {name} has taken {address} back (its priority is higher)")),
            None => self.tell(&format!(">>> {name} stays backup")),
        }
        let moment = preempted.unwrap_or_else(Instant::now);
        self.steady(Duration::from_secs(2));
        let survival = self.held.survival(moment);
        let record = self.client.record();
        Ok(Return {
            name,
            up,
            preempted: preempted.is_some(),
            gap: record.longest_gap(since).map(|gap| gap.length()),
            failed: record.failed() - failed_before,
            survival,
        })
    }
}
