//! Requests at a steady rate, each on a connection of its own, and the figures of an outage.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::Result;

use super::{STACK, read_line};
use crate::net::Netns;

/// What became of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Answered by this server.
    Answered(String),
    /// Not answered, and why.
    Failed(String),
}

/// One request.
#[derive(Clone, Debug)]
pub struct Sample {
    /// When it was due and began.
    pub start: Instant,
    /// When it was answered or given up.
    pub end: Instant,
    /// How it ended.
    pub outcome: Outcome,
}

impl Sample {
    fn answered(&self) -> bool {
        matches!(self.outcome, Outcome::Answered(_))
    }
}

/// A client that is at work until dropped or stopped.
#[derive(Debug)]
pub struct Client {
    samples: Arc<Mutex<Vec<Sample>>>,
    stop: Arc<AtomicBool>,
    patience: Duration,
    thread: Option<JoinHandle<Result<()>>>,
}

impl Client {
    /// Starts `rate` requests a second to `target` from inside `netns`; each is given up after `patience`.
    ///
    /// # Errors
    /// No thread can be started.
    ///
    /// # Panics
    /// The rate is 0.
    pub fn start(netns: &Netns, target: SocketAddr, rate: u32, patience: Duration) -> Result<Self> {
        assert!(rate > 0, "a client without requests");
        let samples = Arc::new(Mutex::new(Vec::new()));
        let stop = Arc::new(AtomicBool::new(false));
        let (kept, stopped) = (samples.clone(), stop.clone());
        let period = Duration::from_secs(1) / rate;
        let body = move || keep_time(target, period, patience, &kept, &stopped);
        let thread = netns.thread("client", body)?;
        Ok(Self { samples, stop, patience, thread: Some(thread) })
    }

    /// Starts no more requests, and waits for those under way.
    pub fn stop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
            // Each request under way holds a reference.
            let end = Instant::now() + self.patience;
            while Arc::strong_count(&self.samples) > 1 && Instant::now() < end {
                thread::sleep(Duration::from_millis(10));
            }
        }
    }

    /// The requests that have ended so far.
    #[must_use]
    pub fn record(&self) -> Record {
        let mut samples = lock(&self.samples).clone();
        samples.sort_by_key(|sample| sample.start);
        Record { samples }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn lock(samples: &Mutex<Vec<Sample>>) -> MutexGuard<'_, Vec<Sample>> {
    samples.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Starts each request at its own time on a thread of its own.
fn keep_time(
    target: SocketAddr,
    period: Duration,
    patience: Duration,
    samples: &Arc<Mutex<Vec<Sample>>>,
    stop: &AtomicBool,
) {
    let mut due = Instant::now();
    while !stop.load(Ordering::Relaxed) {
        let kept = samples.clone();
        let start = due;
        let one = move || {
            let outcome = match ask(target, start + patience) {
                Ok(server) => Outcome::Answered(server),
                Err(error) => Outcome::Failed(error.to_string()),
            };
            lock(&kept).push(Sample { start, end: Instant::now(), outcome });
        };
        if let Err(error) = thread::Builder::new().stack_size(STACK).spawn(one) {
            let outcome = Outcome::Failed(format!("no thread: {error}"));
            lock(samples).push(Sample { start, end: start, outcome });
        }
        due += period;
        thread::sleep(due.saturating_duration_since(Instant::now()));
    }
}

/// Asks for `/` and returns the name of the server that answered.
///
/// # Errors
/// No connection, no answer by `end`, or not the answer of one of our servers.
pub fn ask(target: SocketAddr, end: Instant) -> io::Result<String> {
    let left = end.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
    let mut stream = TcpStream::connect_timeout(&target, left)?;
    stream.set_nodelay(true)?;
    stream.write_all(format!("GET / HTTP/1.1\r\nhost: {target}\r\nconnection: close\r\n\r\n").as_bytes())?;
    let early = || io::Error::from(io::ErrorKind::UnexpectedEof);
    let status = read_line(&mut stream, Some(end))?.ok_or_else(early)?;
    if status != "HTTP/1.1 200 OK" {
        return Err(io::Error::other(format!("answered {status:?}")));
    }
    while !read_line(&mut stream, Some(end))?.ok_or_else(early)?.is_empty() {}
    read_line(&mut stream, Some(end))?.ok_or_else(early)
}

/// What became of the requests.
#[derive(Clone, Debug, Default)]
pub struct Record {
    /// In the order of their starts.
    pub samples: Vec<Sample>,
}

/// A time without an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    /// The last answer before.
    pub from: Instant,
    /// The first answer after.
    pub until: Instant,
}

impl Gap {
    /// Its length.
    #[must_use]
    pub fn length(self) -> Duration {
        self.until - self.from
    }
}

impl Record {
    /// The requests that began at or after `from` and before `until`.
    #[must_use]
    pub fn between(&self, from: Instant, until: Instant) -> Self {
        let within = self.samples.iter().filter(|sample| sample.start >= from && sample.start < until);
        Self { samples: within.cloned().collect() }
    }

    /// The requests answered at or after `from` and before `until`, by server.
    #[must_use]
    pub fn answers(&self, from: Instant, until: Instant) -> BTreeMap<String, u32> {
        let mut servers = BTreeMap::new();
        for sample in self.samples.iter().filter(|sample| sample.end >= from && sample.end < until) {
            if let Outcome::Answered(server) = &sample.outcome {
                *servers.entry(server.clone()).or_insert(0) += 1;
            }
        }
        servers
    }

    /// How many were not answered.
    #[must_use]
    pub fn failed(&self) -> usize {
        self.samples.iter().filter(|sample| !sample.answered()).count()
    }

    /// How many were answered, but later than `after`.
    #[must_use]
    pub fn slow(&self, after: Duration) -> usize {
        self.samples.iter().filter(|sample| sample.answered() && sample.end - sample.start > after).count()
    }

    /// Why requests failed, each reason with its number.
    #[must_use]
    pub fn reasons(&self) -> BTreeMap<&str, u32> {
        let mut reasons = BTreeMap::new();
        for sample in &self.samples {
            if let Outcome::Failed(reason) = &sample.outcome {
                *reasons.entry(reason.as_str()).or_insert(0) += 1;
            }
        }
        reasons
    }

    /// From the last answer at or before `moment` to the first after it; `None` if there is none on one side.
    #[must_use]
    pub fn gap_at(&self, moment: Instant) -> Option<Gap> {
        let answers = || self.samples.iter().filter(|sample| sample.answered()).map(|sample| sample.end);
        let from = answers().filter(|at| *at <= moment).max()?;
        let until = answers().filter(|at| *at > moment).min()?;
        Some(Gap { from, until })
    }

    /// The longest time without an answer between two answers that lie at or after `from`.
    #[must_use]
    pub fn longest_gap(&self, from: Instant) -> Option<Gap> {
        let answered = self.samples.iter().filter(|sample| sample.answered() && sample.end >= from);
        let mut ends: Vec<Instant> = answered.map(|sample| sample.end).collect();
        ends.sort_unstable();
        let gaps = ends.windows(2).map(|pair| Gap { from: pair[0], until: pair[1] });
        gaps.max_by_key(|gap| gap.length())
    }

    /// The median time to an answer.
    #[must_use]
    pub fn median_latency(&self) -> Option<Duration> {
        let answered = self.samples.iter().filter(|sample| sample.answered());
        let mut latencies: Vec<Duration> = answered.map(|sample| sample.end - sample.start).collect();
        latencies.sort_unstable();
        latencies.get(latencies.len() / 2).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Requests at these milliseconds, each answered 2 ms later unless it is negative.
    fn record(base: Instant, times: &[i64]) -> Record {
        let sample = |&time: &i64| {
            let start = base + Duration::from_millis(time.unsigned_abs());
            let outcome =
                if time < 0 { Outcome::Failed("timed out".into()) } else { Outcome::Answered("a".into()) };
            Sample { start, end: start + Duration::from_millis(2), outcome }
        };
        Record { samples: times.iter().map(sample).collect() }
    }

    #[test]
    fn an_outage_lasts_from_the_last_answer_before_to_the_first_after_whatever_failed_in_between() {
        let base = Instant::now();
        let record = record(base, &[0, 50, -100, -150, -200, 250, 300]);
        let gap = record.gap_at(base + Duration::from_millis(110)).unwrap();
        assert_eq!(gap.length(), Duration::from_millis(200));
        assert_eq!(record.longest_gap(base), Some(gap));
        assert_eq!(record.failed(), 3);
    }

    #[test]
    fn an_outage_that_never_ended_is_no_gap() {
        let base = Instant::now();
        assert_eq!(record(base, &[0, 50, -100, -150]).gap_at(base + Duration::from_millis(110)), None);
    }
}
