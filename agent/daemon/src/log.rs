//! Logs: every tracing event becomes one line, for the kernel's log (`/dev/kmsg`) or for standard error.
//!
//! Nobody who logs ever waits: lines go through a bounded queue to a writer thread, and what does not fit is
//! counted and said later. What repeats is limited by its key: the field `key` of the event when it has one
//! (a notice's), else the place in the code.

use std::collections::{HashMap, VecDeque};
use std::fmt::{self, Write as _};
use std::fs::OpenOptions;
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};

/// Where lines go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// The kernel's log: kept over a restart of the agent, shown on the console by severity.
    Kmsg,
    /// Standard error.
    Stderr,
}

/// Lines that may wait for the writer.
const QUEUE: usize = 512;
/// Lines kept for `show log` when they are not in the kernel's log.
const KEPT: usize = 1_000;
/// Longest line; the kernel's own limit is 1,024 bytes with its prefix (`LOG_LINE_MAX`).
const LINE_MAX: usize = 900;
/// Marks our lines in the kernel's log.
const TAG: &str = "bascule: ";

static LOG: OnceLock<Log> = OnceLock::new();

struct Log {
    target: Target,
    queue: SyncSender<Work>,
    dropped: AtomicU64,
    kept: Mutex<VecDeque<String>>,
    limiter: Mutex<Limiter>,
}

enum Work {
    Line { severity: u8, text: String },
    Flush(SyncSender<()>),
}

/// Starts the writer and installs the subscriber, once per process. `name` opens each line.
pub fn start(target: Target, name: &'static str) {
    let (queue, work) = sync_channel(QUEUE);
    let log = Log {
        target,
        queue,
        dropped: AtomicU64::new(0),
        kept: Mutex::new(VecDeque::new()),
        limiter: Mutex::new(Limiter::default()),
    };
    if LOG.set(log).is_err() {
        return;
    }
    let writer = std::thread::Builder::new().name("log".into()).spawn(move || write_lines(target, &work));
    let subscriber = tracing_subscriber::registry().with(Lines { name });
    if writer.is_err() || tracing::subscriber::set_global_default(subscriber).is_err() {
        eprintln!("bascule: no log: the writer thread could not be started");
    }
}

/// Waits until what was logged so far is written, at most half a second.
pub fn flush() {
    if let Some(log) = LOG.get() {
        let (done, wait) = sync_channel(1);
        if log.queue.send(Work::Flush(done)).is_ok() {
            let _ = wait.recv_timeout(Duration::from_millis(500));
        }
    }
}

/// The latest `count` lines, oldest first, each with its time since boot in seconds.
#[must_use]
pub fn recent(count: usize) -> Vec<String> {
    let Some(log) = LOG.get() else { return Vec::new() };
    let lines: Vec<String> = match log.target {
        Target::Kmsg => read_kmsg(),
        Target::Stderr => locked(&log.kept).iter().cloned().collect(),
    };
    let skip = lines.len().saturating_sub(count);
    lines.into_iter().skip(skip).collect()
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn write_lines(target: Target, work: &Receiver<Work>) {
    let mut kmsg = match target {
        Target::Kmsg => OpenOptions::new().write(true).open("/dev/kmsg").ok(),
        Target::Stderr => None,
    };
    while let Ok(work) = work.recv() {
        let Some(log) = LOG.get() else { continue };
        match work {
            Work::Line { severity, text } => write_line(kmsg.as_mut(), severity, &text),
            Work::Flush(done) => drop(done.try_send(())),
        }
        let dropped = log.dropped.swap(0, Ordering::Relaxed);
        if dropped > 0 {
            write_line(
                kmsg.as_mut(),
                4,
                &format!("{TAG}{dropped} log lines were dropped: the log was too slow"),
            );
        }
    }
}

fn write_line(kmsg: Option<&mut std::fs::File>, severity: u8, text: &str) {
    // A log that cannot be written has no place to say so.
    let _ = match kmsg {
        // Without the end of the line the kernel waits for more and shows the record to nobody.
        Some(kmsg) => kmsg.write_all(format!("<{}>{text}\n", 3 * 8 + severity).as_bytes()),
        None => std::io::stderr().write_all(format!("{}: {text}\n", word(severity)).as_bytes()),
    };
}

/// Our lines in the kernel's log. A record is `priority,sequence,microseconds,flags;text`
/// (`Documentation/ABI/testing/dev-kmsg`).
#[must_use]
pub fn read_kmsg() -> Vec<String> {
    let mut lines = Vec::new();
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open("/dev/kmsg");
    let Ok(mut file) = file else { return lines };
    let mut record = [0_u8; 8192];
    // Each read is one record; EPIPE says that the reader was overtaken, and the next read goes on.
    for _ in 0..100_000 {
        match file.read(&mut record) {
            Ok(0) => break,
            Ok(length) => lines.extend(kmsg_line(&record[..length])),
            Err(error) if error.raw_os_error() == Some(libc::EPIPE) => {}
            Err(_) => break,
        }
    }
    lines
}

fn kmsg_line(record: &[u8]) -> Option<String> {
    let record = String::from_utf8_lossy(record);
    let (head, text) = record.split_once(';')?;
    let text = text.lines().next()?.strip_prefix(TAG)?;
    let mut head = head.split(',');
    let priority: u8 = head.next()?.parse().ok()?;
    let micros: u64 = head.nth(1)?.parse().ok()?;
    Some(stamped(Duration::from_micros(micros), priority % 8, text))
}

fn stamped(time: Duration, severity: u8, text: &str) -> String {
    format!("[{:>5}.{:06}] {:<7} {text}", time.as_secs(), time.subsec_micros(), word(severity))
}

struct Lines {
    name: &'static str,
}

impl<S: Subscriber> Layer<S> for Lines {
    fn enabled(&self, metadata: &tracing::Metadata<'_>, _: Context<'_, S>) -> bool {
        // Of the libraries only what somebody must act on.
        *metadata.level() <= Level::INFO
            && (metadata.target().starts_with("bascule") || *metadata.level() == Level::ERROR)
    }

    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let Some(log) = LOG.get() else { return };
        let mut line = Line::default();
        event.record(&mut line);
        let key = line.key.take().unwrap_or_else(|| event.metadata().name().to_owned());
        let suppressed = match locked(&log.limiter).allow(&key, Instant::now()) {
            Verdict::Write { suppressed } => suppressed,
            Verdict::Suppress => return,
        };
        let mut text = format!("{TAG}{}: {}{}", self.name, line.message, line.fields);
        if suppressed > 0 {
            let _ = write!(text, " ({suppressed} lines before it were left out)");
        }
        log.send(severity(*event.metadata().level()), clean(&text));
    }
}

impl Log {
    fn send(&self, severity: u8, text: String) {
        if self.target == Target::Stderr {
            let mut kept = locked(&self.kept);
            if kept.len() == KEPT {
                kept.pop_front();
            }
            let now = nix::time::clock_gettime(nix::time::ClockId::CLOCK_BOOTTIME);
            let now = now.map(Duration::from).unwrap_or_default();
            kept.push_back(stamped(now, severity, text.strip_prefix(TAG).unwrap_or(&text)));
        }
        match self.queue.try_send(Work::Line { severity, text }) {
            Ok(()) => {}
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                self.dropped.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

/// What an operator calls it.
const fn word(severity: u8) -> &'static str {
    match severity {
        0..=3 => "error",
        4 => "warning",
        5 | 6 => "info",
        _ => "debug",
    }
}

/// The severity as syslog and the kernel number it.
fn severity(level: Level) -> u8 {
    match level {
        Level::ERROR => 3,
        Level::WARN => 4,
        Level::INFO => 6,
        _ => 7,
    }
}

/// One line whatever was in it, cut at `LINE_MAX`.
fn clean(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for c in text.chars() {
        if line.len() >= LINE_MAX {
            line.push_str("...");
            break;
        }
        match c {
            '\n' => line.push_str("; "),
            c if c.is_control() => line.push('?'),
            c => line.push(c),
        }
    }
    line
}

/// An event's parts.
#[derive(Default)]
struct Line {
    key: Option<String>,
    message: String,
    fields: String,
}

impl Visit for Line {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // Writing to a String does not fail.
        let _ = match field.name() {
            "message" => write!(self.message, "{value:?}"),
            "key" => {
                self.key = Some(format!("{value:?}"));
                Ok(())
            }
            name => write!(self.fields, " {name}={value:?}"),
        };
    }
}

/// Lets `burst` lines through at once and then one per `refill`.
#[derive(Clone, Copy, Debug)]
struct Rate {
    burst: u32,
    refill: Duration,
}

/// Of one key.
const PER_KEY: Rate = Rate { burst: 10, refill: Duration::from_secs(5) };
/// Of everything: a rack that dies is a thousand keys at once, and the kernel's log holds only so much.
const ALL: Rate = Rate { burst: 500, refill: Duration::from_millis(100) };

#[derive(Debug)]
struct Bucket {
    tokens: u32,
    refilled: Instant,
    suppressed: u64,
}

impl Bucket {
    const fn new(rate: Rate, now: Instant) -> Self {
        Self { tokens: rate.burst, refilled: now, suppressed: 0 }
    }

    fn allow(&mut self, rate: Rate, now: Instant) -> Verdict {
        let periods = now.saturating_duration_since(self.refilled).as_millis() / rate.refill.as_millis();
        if periods > 0 {
            let tokens = u32::try_from(periods).unwrap_or(u32::MAX);
            self.tokens = self.tokens.saturating_add(tokens).min(rate.burst);
            self.refilled = now;
        }
        if self.tokens == 0 {
            self.suppressed += 1;
            return Verdict::Suppress;
        }
        self.tokens -= 1;
        Verdict::Write { suppressed: std::mem::take(&mut self.suppressed) }
    }
}

#[derive(Debug, Default)]
struct Limiter {
    all: Option<Bucket>,
    keys: HashMap<String, Bucket>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Write { suppressed: u64 },
    Suppress,
}

impl Limiter {
    const KEYS: usize = 1_024;

    fn allow(&mut self, key: &str, now: Instant) -> Verdict {
        if self.keys.len() >= Self::KEYS && !self.keys.contains_key(key) {
            let full = PER_KEY.refill * PER_KEY.burst;
            self.keys.retain(|_, bucket| now.saturating_duration_since(bucket.refilled) < full);
            if self.keys.len() >= Self::KEYS {
                self.keys.clear();
            }
        }
        let bucket = self.keys.entry(key.to_owned()).or_insert_with(|| Bucket::new(PER_KEY, now));
        let Verdict::Write { suppressed } = bucket.allow(PER_KEY, now) else { return Verdict::Suppress };
        match self.all.get_or_insert_with(|| Bucket::new(ALL, now)).allow(ALL, now) {
            Verdict::Write { suppressed: others } => Verdict::Write { suppressed: suppressed + others },
            Verdict::Suppress => Verdict::Suppress,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repeating_key_is_suppressed_and_counted_and_another_is_not() {
        let mut limiter = Limiter::default();
        let start = Instant::now();
        for _ in 0..PER_KEY.burst {
            assert_eq!(limiter.allow("a", start), Verdict::Write { suppressed: 0 });
        }
        assert_eq!(limiter.allow("a", start), Verdict::Suppress);
        assert_eq!(limiter.allow("a", start), Verdict::Suppress);
        assert_eq!(limiter.allow("b", start), Verdict::Write { suppressed: 0 });
        assert_eq!(limiter.allow("a", start + PER_KEY.refill), Verdict::Write { suppressed: 2 });
        assert_eq!(limiter.allow("a", start + PER_KEY.refill), Verdict::Suppress);
    }

    #[test]
    fn a_thousand_different_keys_at_once_are_limited_together() {
        let mut limiter = Limiter::default();
        let start = Instant::now();
        let write = |limiter: &mut Limiter, key: &str, at| limiter.allow(key, at);
        let written = (0..1_000)
            .filter(|i: &u32| write(&mut limiter, &i.to_string(), start) != Verdict::Suppress)
            .count();
        assert_eq!(written, ALL.burst as usize);
        let later = write(&mut limiter, "later", start + ALL.refill);
        assert_eq!(later, Verdict::Write { suppressed: 500 });
    }

    #[test]
    fn the_limiter_forgets_keys_rather_than_growing_without_bound() {
        let mut limiter = Limiter::default();
        let start = Instant::now();
        for i in 0..3 * Limiter::KEYS {
            limiter.allow(&i.to_string(), start);
        }
        assert!(limiter.keys.len() <= Limiter::KEYS);
    }

    #[test]
    fn a_line_stays_one_line_without_control_bytes() {
        assert_eq!(clean("a\nb\x1b[2Jc"), "a; b?[2Jc");
        assert!(clean(&"x".repeat(5_000)).len() < LINE_MAX + 4);
    }

    #[test]
    fn kernel_log_records_of_ours_are_recognised_and_others_are_not() {
        assert_eq!(
            kmsg_line(b"30,120,5140900,-;bascule: agent: started\n SUBSYSTEM=x\n").as_deref(),
            Some("[    5.140900] info    agent: started")
        );
        assert_eq!(kmsg_line(b"6,121,5140901,-;eth0: link up\n"), None);
        assert_eq!(kmsg_line(b"bascule: no head"), None);
    }
}
