//! Long-lived connections, and whether they are still alive after a failover.
//!
//! On each, a numbered line goes out every tick and has to come back. A connection has survived a moment when a
//! line that was sent after it came back on the same TCP connection. TCP's own retransmissions decide how soon:
//! after an outage of T the next one comes at most about T later, as their distance doubles each time.

use std::io::{self, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::server::{ECHO, NAME};
use super::{STACK, read_line};
use crate::net::Netns;

/// Time to open a connection at the start.
const OPENING: Duration = Duration::from_secs(5);
/// TCP's shortest retransmission time on Linux, with room for a busy machine.
const SLACK: Duration = Duration::from_secs(2);

/// After an outage of this length, how long a live connection may take to speak again.
#[must_use]
pub fn recovery_limit(outage: Duration) -> Duration {
    outage * 2 + SLACK
}

/// Long-lived connections through one virtual address.
#[derive(Debug)]
pub struct Held {
    lines: Vec<Arc<Mutex<Line>>>,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

/// One connection's history.
#[derive(Debug, Default)]
struct Line {
    server: String,
    /// When each tick was sent.
    sent: Vec<Instant>,
    /// When each tick came back, in the same order.
    echoed: Vec<Instant>,
    broken: Option<String>,
}

/// How the connections are at some moment after another.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Survival {
    /// Connections that exchanged data before.
    pub before: usize,
    /// Those that exchanged a line sent after it.
    pub survived: usize,
    /// Those that were reset or closed, with the reason of one.
    pub broken: usize,
    /// Why one of them broke.
    pub reason: Option<String>,
    /// Those that are open and say nothing.
    pub silent: usize,
}

impl Held {
    /// Opens `count` connections to `target` from inside `netns`; each sends a line every `tick`.
    ///
    /// # Errors
    /// One of them cannot be opened.
    pub fn open(netns: &Netns, target: SocketAddr, count: usize, tick: Duration) -> Result<Self> {
        let mut held =
            Self { lines: Vec::new(), stop: Arc::new(AtomicBool::new(false)), threads: Vec::new() };
        for number in 0..count {
            let opened = netns.enter(|| greet(target))?;
            let (stream, server) =
                opened.with_context(|| format!("cannot open long-lived connection {number}"))?;
            let line = Arc::new(Mutex::new(Line { server, ..Line::default() }));
            let copy = stream.try_clone()?;
            let (talk, hear, stop) = (line.clone(), line.clone(), held.stop.clone());
            let builder = || thread::Builder::new().stack_size(STACK);
            held.threads.push(builder().spawn(move || talker(stream, tick, &talk, &stop))?);
            held.threads.push(builder().spawn(move || listener(copy, &hear))?);
            held.lines.push(line);
        }
        ensure!(held.lines.len() == count, "not all connections were opened");
        Ok(held)
    }

    /// How many connections there were at `moment`, and how many have exchanged a line since.
    #[must_use]
    pub fn survival(&self, moment: Instant) -> Survival {
        let mut result = Survival::default();
        for line in &self.lines {
            let line = lock(line);
            if !line.echoed.iter().any(|at| *at <= moment) {
                continue;
            }
            result.before += 1;
            if line.exchanged_since(moment) {
                result.survived += 1;
            } else if let Some(reason) = &line.broken {
                result.broken += 1;
                result.reason.get_or_insert_with(|| reason.clone());
            } else {
                result.silent += 1;
            }
        }
        result
    }

    /// Waits until all that are not broken have exchanged a line since `moment`, at most for `limit`.
    #[must_use]
    pub fn wait_survival(&self, moment: Instant, limit: Duration) -> Survival {
        let end = Instant::now() + limit;
        loop {
            let survival = self.survival(moment);
            if survival.silent == 0 || Instant::now() >= end {
                return survival;
            }
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Connections that exchanged a line within the last `within`.
    #[must_use]
    pub fn lively(&self, within: Duration) -> usize {
        let Some(since) = Instant::now().checked_sub(within) else { return 0 };
        self.lines.iter().filter(|line| lock(line).echoed.last().is_some_and(|at| *at >= since)).count()
    }

    /// All connections that were opened.
    #[must_use]
    pub fn count(&self) -> usize {
        self.lines.len()
    }

    /// The longest time from sending a line at or after `since` to its return, over all connections.
    #[must_use]
    pub fn longest_stall(&self, since: Instant) -> Option<Duration> {
        let stall = |line: &Arc<Mutex<Line>>| {
            let line = lock(line);
            let times = line.sent.iter().zip(&line.echoed).filter(|(_, echoed)| **echoed >= since);
            times.map(|(sent, echoed)| *echoed - *sent).max()
        };
        self.lines.iter().filter_map(stall).max()
    }

    /// The servers that hold the connections, one entry for each.
    #[must_use]
    pub fn servers(&self) -> Vec<String> {
        self.lines.iter().map(|line| lock(line).server.clone()).collect()
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

impl Line {
    /// Whether a line sent after `moment` has come back.
    fn exchanged_since(&self, moment: Instant) -> bool {
        self.echoed
            .len()
            .checked_sub(1)
            .and_then(|last| self.sent.get(last))
            .is_some_and(|sent| *sent > moment)
    }
}

fn lock(line: &Mutex<Line>) -> MutexGuard<'_, Line> {
    line.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Opens a connection that echoes and returns the name of its server.
fn greet(target: SocketAddr) -> io::Result<(TcpStream, String)> {
    let end = Instant::now() + OPENING;
    let mut stream = TcpStream::connect_timeout(&target, OPENING)?;
    stream.set_nodelay(true)?;
    let request =
        format!("GET {ECHO} HTTP/1.1\r\nhost: {target}\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut server = String::new();
    loop {
        let line = read_line(&mut stream, Some(end))?.ok_or(io::ErrorKind::UnexpectedEof)?;
        if line.is_empty() {
            break;
        }
        if let Some(name) = line.strip_prefix(NAME) {
            name.clone_into(&mut server);
        }
    }
    stream.set_read_timeout(None)?;
    Ok((stream, server))
}

/// Sends the numbers 0, 1, 2, ... whether or not they come back, and closes the connection at the end.
fn talker(mut stream: TcpStream, tick: Duration, line: &Mutex<Line>, stop: &AtomicBool) {
    let mut number = 0u64;
    let mut due = Instant::now();
    while !stop.load(Ordering::Relaxed) && lock(line).broken.is_none() {
        lock(line).sent.push(Instant::now());
        if let Err(error) = stream.write_all(format!("{number}\n").as_bytes()) {
            lock(line).broken.get_or_insert_with(|| error.to_string());
            break;
        }
        number += 1;
        due += tick;
        thread::sleep(due.saturating_duration_since(Instant::now()));
    }
    let _ = stream.shutdown(std::net::Shutdown::Both);
}

fn listener(mut stream: TcpStream, line: &Mutex<Line>) {
    let mut expected = 0u64;
    let reason = loop {
        match read_line(&mut stream, None) {
            Ok(Some(text)) if text == expected.to_string() => {
                expected += 1;
                lock(line).echoed.push(Instant::now());
            }
            Ok(Some(text)) => break format!("{text:?} came back instead of {expected}"),
            Ok(None) => break "closed by the server".to_owned(),
            Err(error) => break error.to_string(),
        }
    };
    lock(line).broken.get_or_insert(reason);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_late_echo_of_an_old_line_is_no_sign_of_survival() {
        let base = Instant::now();
        let at = |ms: u64| base + Duration::from_millis(ms);
        let mut line =
            Line { sent: vec![at(0), at(100), at(200)], echoed: vec![at(1), at(400)], ..Line::default() };
        assert!(!line.exchanged_since(at(150)));
        line.echoed.push(at(410));
        assert!(line.exchanged_since(at(150)));
    }
}
