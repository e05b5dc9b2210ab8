//! `ping`: ICMP echo requests, a second apart, and what became of them.

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use super::icmp::{Answer, DATA, Echo, Meaning};
use super::resolve::{GLANCE, resolve, tell};
use crate::shell::console::Console;

/// Between two requests.
const INTERVAL: Duration = Duration::from_secs(1);
/// How long the last request waits for its answer.
const LINGER: Duration = Duration::from_secs(2);
/// Requests that are remembered without an answer.
const OPEN: usize = 128;

/// Sends ICMP echo requests and tells of the answers, until `count` or Ctrl-C. Whether there was an answer.
///
/// # Errors
/// When the terminal is gone.
pub fn ping(host: &str, count: Option<u32>, console: &mut dyn Console) -> io::Result<bool> {
    let Some(target) = resolve(host, console)? else { return Ok(false) };
    let echo = match Echo::open(target) {
        Ok(echo) => echo,
        Err(error) => {
            tell(console, &format!("no ICMP socket: {error}: ping needs CAP_NET_RAW"))?;
            return Ok(false);
        }
    };
    tell(console, &format!("PING {host} ({}): {DATA} data bytes", target.ip()))?;
    let mut run = Run { echo, target, statistics: Statistics::default(), open: VecDeque::new() };
    let start = Instant::now();
    run.requests(count, console)?;
    console.say("")?;
    tell(console, &format!("--- {host} ping statistics ---"))?;
    let lines = run.statistics.lines(start.elapsed());
    lines.iter().try_for_each(|line| tell(console, line))?;
    Ok(run.statistics.received > 0)
}

struct Run {
    echo: Echo,
    target: SocketAddr,
    statistics: Statistics,
    /// Requests without an answer: sequence and departure.
    open: VecDeque<(u16, Instant)>,
}

impl Run {
    /// Until the count is reached and answered, or Ctrl-C.
    fn requests(&mut self, count: Option<u32>, console: &mut dyn Console) -> io::Result<()> {
        let mut sent = 0_u32;
        let mut due = Instant::now();
        loop {
            let now = Instant::now();
            let done = count.is_some_and(|count| sent >= count);
            if done && (self.open.is_empty() || now >= due + LINGER - INTERVAL) {
                return Ok(());
            }
            if !done && now >= due {
                sent = sent.wrapping_add(1);
                self.send(sent, console)?;
                due = now + INTERVAL;
            }
            match self.echo.receive(
                GLANCE.min(due.saturating_duration_since(Instant::now()).max(Duration::from_millis(1))),
            ) {
                Ok(Some((from, answer))) => self.answered(from, answer, console)?,
                Ok(None) => {}
                Err(error) => tell(console, &format!("{}: {error}", self.target.ip()))?,
            }
            if console.pause(Duration::ZERO)? {
                return Ok(());
            }
        }
    }

    fn send(&mut self, number: u32, console: &mut dyn Console) -> io::Result<()> {
        let sequence = u16::try_from(number & 0xffff).unwrap_or(0);
        self.statistics.sent += 1;
        match self.echo.send(sequence) {
            Ok(()) => {
                if self.open.len() == OPEN {
                    self.open.pop_front();
                }
                self.open.push_back((sequence, Instant::now()));
                Ok(())
            }
            Err(error) => {
                self.statistics.errors += 1;
                tell(console, &format!("icmp_seq={sequence} cannot be sent to {}: {error}", self.target.ip()))
            }
        }
    }

    fn answered(&mut self, from: IpAddr, answer: Answer, console: &mut dyn Console) -> io::Result<()> {
        let sequence = answer.sequence;
        let place = self.open.iter().position(|(open, _)| *open == sequence);
        let departure = place.and_then(|place| self.open.remove(place)).map(|(_, departure)| departure);
        match answer.meaning {
            Meaning::Reply => {
                let Some(departure) = departure else {
                    self.statistics.duplicates += 1;
                    return tell(
                        console,
                        &format!("{} bytes from {from}: icmp_seq={sequence} (DUP!)", answer.length),
                    );
                };
                let took = departure.elapsed();
                self.statistics.reply(took);
                let ttl = answer.ttl.map(|ttl| format!(" ttl={ttl}")).unwrap_or_default();
                let text = format!(
                    "{} bytes from {from}: icmp_seq={sequence}{ttl} time={} ms",
                    answer.length,
                    millis(took)
                );
                tell(console, &text)
            }
            Meaning::Expired => {
                self.statistics.errors += 1;
                tell(console, &format!("From {from} icmp_seq={sequence} Time to live exceeded"))
            }
            Meaning::Unreachable(reason, _) => {
                self.statistics.errors += 1;
                tell(console, &format!("From {from} icmp_seq={sequence} {reason}"))
            }
        }
    }
}

/// Milliseconds with three digits, as iputils prints them.
#[must_use]
pub fn millis(span: Duration) -> String {
    let micros = span.as_micros();
    format!("{}.{:03}", micros / 1_000, micros % 1_000)
}

/// What became of the requests.
#[derive(Clone, Copy, Debug, Default)]
struct Statistics {
    sent: u64,
    received: u64,
    duplicates: u64,
    errors: u64,
    least: Option<Duration>,
    most: Duration,
    sum: Duration,
    /// Of the squares, in microseconds squared.
    squares: u128,
}

impl Statistics {
    fn reply(&mut self, took: Duration) {
        self.received += 1;
        self.least = Some(self.least.map_or(took, |least| least.min(took)));
        self.most = self.most.max(took);
        self.sum += took;
        self.squares = self.squares.saturating_add(took.as_micros().saturating_pow(2));
    }

    fn lines(&self, time: Duration) -> Vec<String> {
        let lost = self.sent.saturating_sub(self.received);
        let loss = (lost * 100).checked_div(self.sent).unwrap_or(0);
        let mut line = format!("{} packets transmitted, {} received", self.sent, self.received);
        for (number, what) in [(self.duplicates, "duplicates"), (self.errors, "errors")] {
            if number > 0 {
                line.push_str(&format!(", +{number} {what}"));
            }
        }
        line.push_str(&format!(", {loss}% packet loss, time {}ms", time.as_millis()));
        let mut lines = vec![line];
        if let Some(least) = self.least {
            let count = u128::from(self.received);
            let mean = self.sum.as_micros() / count;
            let variance = (self.squares / count).saturating_sub(mean.saturating_mul(mean));
            let deviation = Duration::from_micros(u64::try_from(variance.isqrt()).unwrap_or(u64::MAX));
            let mean = Duration::from_micros(u64::try_from(mean).unwrap_or(u64::MAX));
            let [least, mean, most, deviation] = [least, mean, self.most, deviation].map(millis);
            lines.push(format!("rtt min/avg/max/mdev = {least}/{mean}/{most}/{deviation} ms"));
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::look::testing::Memory;

    #[test]
    fn statistics_are_those_of_iputils() {
        let mut statistics = Statistics { sent: 4, errors: 1, ..Statistics::default() };
        for micros in [1_000, 2_000, 3_000] {
            statistics.reply(Duration::from_micros(micros));
        }
        assert_eq!(
            statistics.lines(Duration::from_millis(3_004)),
            [
                "4 packets transmitted, 3 received, +1 errors, 25% packet loss, time 3004ms",
                "rtt min/avg/max/mdev = 1.000/2.000/3.000/0.816 ms",
            ]
        );
        let none = Statistics { sent: 2, ..Statistics::default() };
        let lines = none.lines(Duration::ZERO);
        assert_eq!(lines, ["2 packets transmitted, 0 received, 100% packet loss, time 0ms"]);
    }

    #[test]
    fn the_loopback_answers_in_both_families() {
        for host in ["127.0.0.1", "::1"] {
            let mut console = Memory { pauses: 100_000, ..Memory::default() };
            let answered = ping(host, Some(1), &mut console).unwrap();
            let said = console.said.borrow().join("\n");
            assert!(answered && said.contains("icmp_seq=1 ttl=64 time="), "{said}");
            assert!(said.contains("1 packets transmitted, 1 received, 0% packet loss"), "{said}");
        }
    }

    #[test]
    fn ctrl_c_ends_an_endless_ping_with_its_statistics() {
        let mut console = Memory { pauses: 3, ..Memory::default() };
        ping("127.0.0.1", None, &mut console).unwrap();
        assert!(console.said.borrow().join("\n").contains("packet loss"));
    }
}
