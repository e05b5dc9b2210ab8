//! `cargo image bench failover`: how long an address is away when its master's power is cut.
//!
//! Two routers, a host that probes the virtual address every millisecond and one that listens, on one segment.
//! The master's cable is pulled and the master killed. VRRP counts from the last advert, so the moment of the cut
//! within an advert interval decides up to one interval of the outage; the cuts of a series are spread evenly over
//! the interval, alike for both programs.

use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde::Serialize;

use super::ping::Ping;
use super::routers::{Program, Role, Router};
use super::{Machine, keep};
use crate::host;
use crate::net::sniff::{Sniffer, What};
use crate::net::{self, Segment};

const HIGH: u8 = 200;
const LOW: u8 = 100;
const MASTER: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
const BACKUP: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 2));
const VIRTUAL: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 100);
/// Answers around an outage that are looked at.
const CALM: Duration = Duration::from_millis(50);
/// A run that was disturbed before its cut is made again, at most so often.
const TRIES: u32 = 3;

/// Arguments of `cargo image bench failover`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Runs of each program at each interval
    #[arg(long, default_value_t = 10)]
    pub runs: u32,
    /// Advert intervals in milliseconds
    #[arg(long, value_delimiter = ',', default_values_t = [1000, 100, 10])]
    pub adverts: Vec<u64>,
    /// Programs to measure
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [Program::Bascule, Program::Keepalived])]
    pub programs: Vec<Program>,
}

/// One cut.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Run {
    /// From the last answered probe to the first that was answered by the other router.
    pub outage_ms: f64,
    /// From the master's last advert to that first answer; VRRP's formula is its lower bound.
    pub after_advert_ms: f64,
    /// From the master's last advert to the cut.
    pub phase_ms: f64,
}

/// The runs of a program at one interval.
#[derive(Clone, Debug, Serialize)]
pub struct Series {
    /// Program.
    pub program: Program,
    /// Interval between adverts.
    pub advert_ms: u64,
    /// 3 x interval + (256 - priority) / 256 x interval, from the last advert.
    pub formula_ms: f64,
    /// Median of the outages.
    pub median_ms: f64,
    /// The longest outage.
    pub worst_ms: f64,
    /// Median of the times from the last advert.
    pub median_after_advert_ms: f64,
    /// The longest time from the last advert.
    pub worst_after_advert_ms: f64,
    /// Runs that had to be made again because the backup took over before the cut.
    pub disturbed: u32,
    /// All runs.
    pub runs: Vec<Run>,
}

#[derive(Serialize)]
struct Results {
    machine: Machine,
    versions: Vec<String>,
    series: Vec<Series>,
}

/// Runs `cargo image bench failover`.
///
/// # Errors
/// A program cannot be had or started, or an address did not come back.
pub fn command(args: &Args) -> Result<()> {
    host::need(net::PACKAGES)?;
    net::available()?;
    let mut binaries = Vec::new();
    for program in &args.programs {
        binaries.push((*program, program.prepare()?));
    }
    let versions = binaries.iter().map(|(program, binary)| program.version(binary)).collect::<Result<_>>()?;
    let mut results = Results { machine: Machine::here(), versions, series: Vec::new() };
    for &advert in &args.adverts {
        for (program, binary) in &binaries {
            results.series.push(series(*program, binary, Duration::from_millis(advert), args.runs)?);
        }
    }
    print(&results);
    println!("kept in {}", keep("failover", &results)?.display());
    Ok(())
}

/// VRRP's time from the last advert to the takeover, RFC 9568 section 6.1.
fn formula(advert: Duration, priority: u8) -> Duration {
    advert * 3 + advert * (256 - u32::from(priority)) / 256
}

/// Measures one program at one interval.
///
/// # Errors
/// As [`command`].
pub fn series(program: Program, binary: &Path, advert: Duration, runs: u32) -> Result<Series> {
    let name = program.name();
    println!("==> {name}, an advert every {} ms, {runs} runs", advert.as_millis());
    let mut done: Vec<Run> = Vec::new();
    let mut disturbed = 0;
    for number in 0..runs {
        let phase = advert * (2 * number + 1) / (2 * runs);
        let mut tries = 0;
        let run = loop {
            match once(program, binary, advert, phase).with_context(|| format!("{name}, run {number}"))? {
                Some(run) => break run,
                None if tries == TRIES => {
                    bail!("{name}: the backup took over before the cut in {tries} runs one after another")
                }
                None => {
                    tries += 1;
                    disturbed += 1;
                }
            }
        };
        println!(
            "    run {:2}: outage {:7.1} ms, {:7.1} ms after the last advert",
            number + 1,
            run.outage_ms,
            run.after_advert_ms
        );
        done.push(run);
    }
    let (median_ms, worst_ms) = middle_and_worst(done.iter().map(|run| run.outage_ms));
    let (median_after_advert_ms, worst_after_advert_ms) =
        middle_and_worst(done.iter().map(|run| run.after_advert_ms));
    Ok(Series {
        program,
        advert_ms: u64::try_from(advert.as_millis())?,
        formula_ms: ms(formula(advert, LOW)),
        median_ms,
        worst_ms,
        median_after_advert_ms,
        worst_after_advert_ms,
        disturbed,
        runs: done,
    })
}

/// One cut, `phase` after an advert; `None` if the pair was not in order when it should have come.
fn once(program: Program, binary: &Path, advert: Duration, phase: Duration) -> Result<Option<Run>> {
    let segment = Segment::new("sw")?;
    let master = segment.host("master", &["192.0.2.1/24"])?;
    let backup = segment.host("backup", &["192.0.2.2/24"])?;
    let client = segment.host("client", &["192.0.2.10/24"])?;
    let observer = segment.host("observer", &[])?;
    let sniffer = Sniffer::start(&observer.netns)?;
    let ping = Ping::start(&client.netns, VIRTUAL)?;
    let dir = scratch(program);
    let role = |priority| Role { advert, priority, address: "192.0.2.100/24" };
    let mut high = Router::start(program, binary, &master, &dir.join("master"), role(HIGH))?;
    let low = Router::start(program, binary, &backup, &dir.join("backup"), role(LOW))?;
    let settled = settle(&sniffer, &ping, advert);
    settled.with_context(|| format!("master:\n{}\nbackup:\n{}", high.tail(), low.tail()))?;

    let cable = segment.grip(&master.port)?;
    let last = next_advert(&sniffer, advert)?;
    thread::sleep((last + phase).saturating_duration_since(Instant::now()));
    let quiet = sniffer.first(last, |seen| advert_of(seen.what) == Some(BACKUP)).is_none();
    let cut = Instant::now();
    cable.pull()?;
    high.kill()?;
    if !quiet {
        return Ok(None);
    }
    let limit = cut + formula(advert, LOW) * 3 + Duration::from_secs(3);
    let taken = loop {
        match sniffer.first(cut, |seen| advert_of(seen.what) == Some(BACKUP)) {
            Some(at) => break at,
            None if Instant::now() > limit => bail!("the backup did not take over\n{}", low.tail()),
            None => thread::sleep(Duration::from_millis(5)),
        }
    };
    while !ping.alive(CALM) || taken.elapsed() < CALM {
        if Instant::now() > limit {
            bail!("the address does not answer after the takeover\n{}", low.tail());
        }
        thread::sleep(Duration::from_millis(5));
    }
    let since = cut.checked_sub(CALM).context("no time before the cut")?;
    let (before, answered) = ping.longest_gap(since).context("the address never answered")?;
    let last = last_advert(&sniffer, taken).context("no advert of the master")?;
    let phase = cut.saturating_duration_since(last);
    Ok(Some(Run {
        outage_ms: ms(answered - before),
        after_advert_ms: ms(answered - last),
        phase_ms: ms(phase),
    }))
}

fn scratch(program: Program) -> PathBuf {
    host::out().join("log/bench").join(program.name())
}

/// Waits until the higher router alone advertises and the address answers, and a little longer.
fn settle(sniffer: &Sniffer, ping: &Ping, advert: Duration) -> Result<()> {
    let limit = Instant::now() + advert * 8 + Duration::from_secs(10);
    let calm = advert * 3 + Duration::from_millis(300);
    let mut since = Instant::now();
    while since.elapsed() < calm {
        if Instant::now() > limit {
            bail!("the pair did not settle; seen: {:?}", sniffer.all().last());
        }
        thread::sleep(Duration::from_millis(10));
        let by = |who: IpAddr| sniffer.first(since, |seen| advert_of(seen.what) == Some(who)).is_some();
        if by(BACKUP) || (since.elapsed() >= calm && !(by(MASTER) && ping.alive(Duration::from_millis(200))))
        {
            since = Instant::now();
        }
    }
    Ok(())
}

/// Waits for the master's next advert and returns when it came.
fn next_advert(sniffer: &Sniffer, advert: Duration) -> Result<Instant> {
    let since = Instant::now();
    while since.elapsed() < advert * 3 + Duration::from_secs(1) {
        if let Some(at) = sniffer.first(since, |seen| advert_of(seen.what) == Some(MASTER)) {
            return Ok(at);
        }
        thread::sleep(Duration::from_micros(200));
    }
    bail!("the master is silent")
}

/// The master's last advert before `moment`.
fn last_advert(sniffer: &Sniffer, moment: Instant) -> Option<Instant> {
    let all = sniffer.all();
    all.iter().rev().find(|seen| seen.at < moment && advert_of(seen.what) == Some(MASTER)).map(|seen| seen.at)
}

fn advert_of(what: What) -> Option<IpAddr> {
    match what {
        What::Advert { source, .. } => Some(source),
        What::Announcement(_) => None,
    }
}

fn ms(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e6).round() / 1e3
}

/// The median (of an even number the mean of the two in the middle) and the largest.
pub(super) fn middle_and_worst(values: impl Iterator<Item = f64>) -> (f64, f64) {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    let Some(worst) = values.last().copied() else { return (f64::NAN, f64::NAN) };
    let (low, high) = (values[(values.len() - 1) / 2], values[values.len() / 2]);
    ((low + high) / 2.0, worst)
}

fn print(results: &Results) {
    let Machine { kernel, processor, processors, load } = &results.machine;
    println!("\nOutage when the master's power is cut, 1 ms probes; all times in ms");
    println!("{processors} x {processor}, Linux {kernel}, load {load}; {}", results.versions.join("; "));
    print_ratios(&results.series);
    println!(
        "
{:26}{:^19}   {:^29}",
        "", "outage", "from the last advert"
    );
    println!(
        "{:>7} {:11} {:>5} {:>9} {:>9}   {:>9} {:>9} {:>9}",
        "advert", "", "runs", "median", "worst", "formula", "median", "worst"
    );
    for series in &results.series {
        let Series {
            program,
            advert_ms,
            formula_ms,
            median_ms,
            worst_ms,
            median_after_advert_ms,
            worst_after_advert_ms,
            disturbed,
            runs,
        } = series;
        let note = if *disturbed == 0 {
            String::new()
        } else {
            format!("  ({disturbed} disturbed before the cut, made again)")
        };
        println!(
            "{advert_ms:>7} {:11} {:>5} {median_ms:9.1} {worst_ms:9.1}   {formula_ms:9.1} {median_after_advert_ms:9.1} {worst_after_advert_ms:9.1}{note}",
            program.name(),
            runs.len()
        );
    }
}

fn print_ratios(series: &[Series]) {
    let of = |program: Program| series.iter().filter(move |series| series.program == program);
    for ours in of(Program::Bascule) {
        let Some(theirs) = of(Program::Keepalived).find(|theirs| theirs.advert_ms == ours.advert_ms) else {
            continue;
        };
        println!(
            "advert {:>4}: bascule / keepalived: median x {:.2}, worst x {:.2}",
            ours.advert_ms,
            ours.median_ms / theirs.median_ms,
            ours.worst_ms / theirs.worst_ms
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_formula_is_three_intervals_and_the_skew_of_the_backup() {
        let tenth = Duration::from_millis(100);
        assert_eq!(formula(tenth, 100), Duration::from_nanos(360_937_500));
        assert_eq!(formula(tenth, 254), Duration::from_nanos(300_781_250));
    }

    #[test]
    fn the_median_of_an_even_number_is_the_mean_of_the_middle_two() {
        assert_eq!(middle_and_worst([4.0, 1.0, 2.0, 9.0].into_iter()), (3.0, 9.0));
        assert_eq!(middle_and_worst([5.0, 1.0, 2.0].into_iter()), (2.0, 5.0));
    }
}
