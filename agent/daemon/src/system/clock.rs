//! The clock: a thread that asks time servers and moves the clock as `bascule_core::ntp` decides.
//!
//! It is an ordinary thread that mostly sleeps; neither VRRP nor health checks wait for it or look at this clock.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs, UdpSocket};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::Builder;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bascule_core::net::Host;
use bascule_core::ntp::{self, Adjust, Answer, Discipline, Nanos, NtpError, PORT};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::{store, sys};

/// Name of the state's file in the run directory.
const FILE: &str = "clock.json";
/// How long an answer may take to come.
const PATIENCE: Duration = Duration::from_secs(2);
/// Addresses of a name that are tried.
const ADDRESSES_MAX: usize = 3;
/// The thread resolves names, which takes some stack.
const STACK: usize = 512 << 10;
/// No release was made before: 2026-11-01.
const FIRST_RELEASE: u64 = 1_793_491_200;

/// What is known of the clock, for `show system`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct State {
    /// The server that answered last, as it is configured.
    pub server: Option<String>,
    /// Its distance from a reference clock.
    pub stratum: u8,
    /// How far off the clock was then, in microseconds; positive when it was late.
    pub offset_micros: i64,
    /// Time on the way, in microseconds.
    pub delay_micros: u64,
    /// Wall clock at the last answer, seconds since 1970.
    pub answered: u64,
    /// How often the clock was set.
    pub steps: u32,
    /// Why there is no answer now.
    pub problem: Option<String>,
}

/// Why a server did not help.
#[derive(Debug, Error)]
enum QueryError {
    #[error("{0} has no address: {1}")]
    Unresolved(Host, io::Error),
    #[error("{0} does not answer: {1}")]
    Silent(Host, io::Error),
    #[error("{0}: {1}")]
    Answer(Host, NtpError),
}

/// The running thread.
#[derive(Debug)]
pub struct Timekeeper(mpsc::Sender<Vec<Host>>);

impl Timekeeper {
    /// Starts it, with nobody to ask.
    ///
    /// # Errors
    /// When the thread cannot be made.
    pub fn start(run_dir: &Path) -> io::Result<Self> {
        let (sender, servers) = mpsc::channel();
        let keeper =
            Keeper { path: run_dir.join(FILE), state: State::default(), discipline: Discipline::default() };
        Builder::new().name("clock".into()).stack_size(STACK).spawn(move || keeper.run(&servers))?;
        Ok(Self(sender))
    }

    /// Whom to ask from now on.
    pub fn configure(&self, servers: &[Host]) {
        // The thread ends with the process only.
        let _ = self.0.send(servers.to_vec());
    }
}

struct Keeper {
    path: PathBuf,
    state: State,
    discipline: Discipline,
}

impl Keeper {
    fn run(mut self, changes: &mpsc::Receiver<Vec<Host>>) {
        let mut servers: Vec<Host> = Vec::new();
        let mut pause = Duration::MAX;
        loop {
            match changes.recv_timeout(pause) {
                Ok(new) if new == servers => continue,
                Ok(new) => {
                    servers = new;
                    self.state = State { steps: self.state.steps, ..State::default() };
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            pause = if servers.is_empty() { Duration::MAX } else { self.poll(&servers) };
            self.publish();
        }
    }

    /// Asks until one answers; how long to wait then.
    fn poll(&mut self, servers: &[Host]) -> Duration {
        let mut problem = None;
        for server in servers {
            match query(server, PORT) {
                Ok(answer) => {
                    self.take(server, &answer);
                    return self.discipline.pause(true);
                }
                Err(error) => {
                    tracing::warn!(key = "ntp", "{error}");
                    problem = Some(error.to_string());
                }
            }
        }
        self.state.problem = problem;
        self.discipline.pause(false)
    }

    fn take(&mut self, server: &Host, answer: &Answer) {
        let done = match self.discipline.take(answer) {
            Adjust::Wait => Ok(()),
            Adjust::Slew(offset) => sys::slew_clock(offset, answer.delay),
            Adjust::Step(offset) => sys::step_clock(offset).inspect(|()| {
                self.state.steps += 1;
                let seconds = offset as f64 / 1e9;
                tracing::warn!(seconds, "the clock is set by {server}");
            }),
        };
        self.state = State {
            server: Some(server.to_string()),
            stratum: answer.stratum,
            offset_micros: i64::try_from(answer.offset / 1_000).unwrap_or(i64::MAX),
            delay_micros: u64::try_from(answer.delay.as_micros()).unwrap_or(u64::MAX),
            answered: u64::try_from(now() / 1_000_000_000).unwrap_or(0),
            steps: self.state.steps,
            problem: done.err().map(|error| format!("the clock cannot be moved: {error}")),
        };
    }

    fn publish(&self) {
        let text = serde_json::to_string(&self.state).unwrap_or_default();
        if let Err(error) = store::replace_volatile(&self.path, text.as_bytes()) {
            tracing::warn!(key = "clock-state", "the state of the clock is not shown: {error}");
        }
    }
}

impl State {
    /// From the text of its file.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }

    /// In words.
    #[must_use]
    pub fn line(&self) -> String {
        match (&self.server, &self.problem) {
            (_, Some(problem)) => problem.clone(),
            (None, None) => "none is configured".to_owned(),
            (Some(server), None) => {
                let millis = |micros: f64| format!("{:.1} ms", micros / 1e3);
                format!(
                    "{server} (stratum {}), offset {}, delay {}",
                    self.stratum,
                    millis(self.offset_micros as f64),
                    millis(self.delay_micros as f64)
                )
            }
        }
    }
}

fn now() -> Nanos {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| Nanos::try_from(since.as_nanos()).unwrap_or(Nanos::MAX))
}

/// A time that has certainly passed: when this program was put into its image, in seconds since 1970.
#[must_use]
pub fn floor() -> u64 {
    let made = std::fs::metadata("/init").and_then(|meta| meta.modified()).ok();
    let made = made.and_then(|time| time.duration_since(UNIX_EPOCH).ok()).map_or(0, |since| since.as_secs());
    made.max(FIRST_RELEASE)
}

fn query(server: &Host, port: u16) -> Result<Answer, QueryError> {
    let unresolved = |error| QueryError::Unresolved(server.clone(), error);
    let addresses: Vec<SocketAddr> =
        (server.as_str(), port).to_socket_addrs().map_err(unresolved)?.take(ADDRESSES_MAX).collect();
    let mut failed = QueryError::Unresolved(server.clone(), io::ErrorKind::NotFound.into());
    for address in addresses {
        match ask(address) {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(error)) => failed = QueryError::Answer(server.clone(), error),
            Err(error) => failed = QueryError::Silent(server.clone(), error),
        }
    }
    Err(failed)
}

/// One question and its answer. A connected socket gets packets of nobody else.
fn ask(address: SocketAddr) -> io::Result<Result<Answer, NtpError>> {
    let any = if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let socket = UdpSocket::bind(any)?;
    socket.connect(address)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    let cookie = u64::from_ne_bytes(sys::random()?);
    let floor = Nanos::from(floor()) * 1_000_000_000;
    // The monotonic clock measures the way: the other one may be moved meanwhile.
    let (sent, start) = (now(), sys::monotonic());
    socket.send(&ntp::question(cookie))?;
    let mut packet = [0; 512];
    let length = socket.recv(&mut packet)?;
    let took = Nanos::try_from(sys::monotonic().since(start).as_nanos()).unwrap_or(0);
    Ok(ntp::answer(&packet[..length], cookie, sent, sent + took, floor))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::Scratch;

    /// A time server on loopback whose clock is ahead by `ahead`; it answers `count` questions.
    fn server(ahead: Duration, count: usize, damage: fn(&mut [u8])) -> u16 {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let port = socket.local_addr().unwrap().port();
        std::thread::spawn(move || {
            for _ in 0..count {
                let mut packet = [0; 48];
                let Ok((_, from)) = socket.recv_from(&mut packet) else { return };
                let time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap() + ahead;
                let seconds = (time.as_secs() + 2_208_988_800) & 0xffff_ffff;
                let stamp = (seconds << 32) | ((u64::from(time.subsec_nanos()) << 32) / 1_000_000_000);
                let cookie: [u8; 8] = packet[40..48].try_into().unwrap();
                packet[0] = 0b00_100_100;
                packet[1] = 3;
                packet[24..32].copy_from_slice(&cookie);
                packet[32..40].copy_from_slice(&stamp.to_be_bytes());
                packet[40..48].copy_from_slice(&stamp.to_be_bytes());
                damage(&mut packet);
                let _ = socket.send_to(&packet, from);
            }
        });
        port
    }

    fn host(text: &str) -> Host {
        text.parse().unwrap()
    }

    #[test]
    fn a_server_is_asked_over_udp_and_its_offset_found() {
        let port = server(Duration::from_secs(100), 1, |_| {});
        let answer = query(&host("127.0.0.1"), port).unwrap();
        let offset = Duration::from_nanos(u64::try_from(answer.offset).unwrap());
        assert!(offset.abs_diff(Duration::from_secs(100)) < Duration::from_millis(500), "{answer:?}");
        assert_eq!(answer.stratum, 3);
    }

    #[test]
    fn a_forged_answer_and_silence_are_told_by_the_servers_name() {
        let port = server(Duration::ZERO, 1, |packet| packet[24] ^= 1);
        let error = query(&host("127.0.0.1"), port).unwrap_err().to_string();
        assert_eq!(error, "127.0.0.1: the answer is not to our question");
        let unused = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let error = query(&host("127.0.0.1"), unused).unwrap_err().to_string();
        assert!(error.starts_with("127.0.0.1 does not answer"), "{error}");
    }

    #[test]
    fn the_state_reaches_another_process_through_its_file() {
        let dir = Scratch::new("clock");
        let state = State { server: Some("ntp.example".into()), offset_micros: -5, ..State::default() };
        let keeper =
            Keeper { path: dir.path().join(FILE), state: state.clone(), discipline: Discipline::default() };
        keeper.publish();
        let text = std::fs::read_to_string(dir.path().join(FILE)).unwrap();
        assert_eq!(State::parse(&text), Some(state));
    }

    #[test]
    fn the_floor_is_not_in_the_future() {
        assert!(u128::from(floor()) * 1_000_000_000 <= now().unsigned_abs());
    }
}
