//! The figures of a failover, the table that shows them, and whether they are good enough.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use serde::Serialize;

use super::scenario::SLOW;
use crate::load::held::Survival;

/// What happened.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The virtual address.
    pub address: IpAddr,
    /// The box whose power was cut.
    pub first: String,
    /// The box that took over.
    pub second: String,
    /// Requests per second.
    pub rate: u32,
    /// Answers by server before the cut.
    pub before: BTreeMap<String, u32>,
    /// Answers by server after the takeover.
    pub after: BTreeMap<String, u32>,
    /// Advert interval.
    pub advert: Duration,
    /// VRRP's time from the last advert to the takeover.
    pub formula: Duration,
    /// From the cut to the first gratuitous ARP of the other box; `None` if there was none.
    pub takeover: Option<Duration>,
    /// From the last advert of the first box to that ARP.
    pub after_advert: Option<Duration>,
    /// From the last answer before the cut to the first after it; `None` if there was none.
    pub gap: Option<Duration>,
    /// Requests that had failed when the long-lived connections had been judged.
    pub failed_by_cut: usize,
    /// The longest time that a line on a long-lived connection took.
    pub longest_stall: Option<Duration>,
    /// The long-lived connections after the takeover.
    pub survival: Survival,
    /// All requests.
    pub requests: usize,
    /// Those not answered.
    pub failed: usize,
    /// Those answered late.
    pub slow: usize,
    /// Why requests failed.
    pub reasons: BTreeMap<String, u32>,
    /// Median time to an answer.
    pub median_latency: Option<Duration>,
    /// The return of the first box.
    pub back: Option<Return>,
}

/// The return of the box whose power was cut.
#[derive(Clone, Debug, Serialize)]
pub struct Return {
    /// Its name.
    pub name: String,
    /// From power-on to its first answer on the network.
    pub up: Duration,
    /// Whether it took the address back.
    pub preempted: bool,
    /// The longest time without an answer since it was switched on.
    pub gap: Option<Duration>,
    /// Requests that failed since it was switched on.
    pub failed: usize,
    /// The long-lived connections after it took the address back, or at the end.
    pub survival: Survival,
}

impl Report {
    /// Whether the address moved, all established connections survived and the service came back.
    #[must_use]
    pub fn passed(&self) -> bool {
        self.faults().is_empty()
    }

    /// What is not as it must be, in words.
    #[must_use]
    pub fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        if self.takeover.is_none() {
            faults.push(format!("{} did not take {} over", self.second, self.address));
        }
        if self.gap.is_none() || self.after.values().sum::<u32>() == 0 {
            faults.push("the service did not come back".to_owned());
        }
        if self.after.len() < self.before.len() {
            faults.push(format!(
                "only {} of {} real servers answer after the takeover",
                self.after.len(),
                self.before.len()
            ));
        }
        let Survival { before, survived, .. } = self.survival;
        if survived < before || before == 0 {
            faults.push(format!("{} of {before} long-lived connections were lost", before - survived));
        }
        if self.back.is_none() {
            faults.push(format!("{} did not return", self.first));
        }
        faults
    }
}

fn ms(time: Option<Duration>) -> String {
    time.map_or_else(|| "never".to_owned(), |time| format!("{} ms", time.as_millis()))
}

fn shares(answers: &BTreeMap<String, u32>) -> String {
    let total: u32 = answers.values().sum::<u32>().max(1);
    let parts = answers.iter().map(|(name, count)| format!("{name} {} %", (count * 100 + total / 2) / total));
    parts.collect::<Vec<_>>().join(", ")
}

fn survivors(survival: &Survival) -> String {
    let Survival { before, survived, broken, silent, reason } = survival;
    match (broken + silent, reason) {
        (0, _) => format!("{survived} of {before} survived"),
        (_, Some(reason)) => {
            format!("{survived} of {before} survived, {broken} broken ({reason}), {silent} silent")
        }
        (_, None) => format!("{survived} of {before} survived, {silent} silent"),
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let advert = self.advert.as_millis();
        let skew = (self.formula - self.advert * 3).as_millis();
        let mut row = |what: &str, value: String| writeln!(f, "  {what:26} {value}");
        row("", format!("power of {} cut under {} requests/s to {}", self.first, self.rate, self.address))?;
        row(
            "takeover",
            format!(
                "{} announced by ARP {} after the cut, {} after the last advert",
                self.second,
                ms(self.takeover),
                ms(self.after_advert)
            ),
        )?;
        row("gap the client saw", ms(self.gap))?;
        row(
            "VRRP's formula",
            format!("{} ms after the last advert (3 x {advert} + skew {skew})", self.formula.as_millis()),
        )?;
        row(
            "requests",
            format!(
                "{}: {} failed, {} slower than {} ms, median {}",
                self.requests,
                self.failed,
                self.slow,
                SLOW.as_millis(),
                ms(self.median_latency)
            ),
        )?;
        for (reason, count) in &self.reasons {
            row("", format!("{count} x {reason}"))?;
        }
        row(
            "long-lived connections",
            format!("{}; longest stall {}", survivors(&self.survival), ms(self.longest_stall)),
        )?;
        row("answers before", shares(&self.before))?;
        row("answers after", shares(&self.after))?;
        if let Some(back) = &self.back {
            let did = if back.preempted { "took the address back" } else { "stays backup" };
            row(
                &format!("return of {}", back.name),
                format!(
                    "up after {:.1} s, {did}; longest gap {}, {} failed",
                    back.up.as_secs_f64(),
                    ms(back.gap),
                    back.failed
                ),
            )?;
            row("  long-lived connections", survivors(&back.survival))?;
        }
        let faults = self.faults();
        if faults.is_empty() {
            row(
                "result",
                "the address moved, established connections survived, the service came back".to_owned(),
            )
        } else {
            row("RESULT: FAILED", faults.join("; "))
        }
    }
}
