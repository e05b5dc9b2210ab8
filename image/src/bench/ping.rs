//! ICMP echo every millisecond: the kernel of whoever holds the address answers, so nothing but the network and
//! the address is measured.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::sys::socket::{AddressFamily, SockFlag, SockProtocol, SockType, socket};

use crate::net::Netns;

const PERIOD: Duration = Duration::from_millis(1);
const ECHO: u8 = 8;
const REPLY: u8 = 0;
const HEADER: usize = 8;

/// When each probe was sent, and which of them were answered.
#[derive(Debug, Default)]
struct Times {
    sent: Vec<Instant>,
    answered: Vec<bool>,
}

/// Probes one address until dropped.
#[derive(Debug)]
pub(super) struct Ping {
    times: Arc<Mutex<Times>>,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Result<()>>>,
}

impl Ping {
    /// Starts to probe `address` from inside `netns`.
    pub(super) fn start(netns: &Netns, address: Ipv4Addr) -> Result<Self> {
        netns.sysctl("ipv4/ping_group_range", "0 2147483647")?;
        let open =
            || socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, SockProtocol::Icmp);
        let socket = UdpSocket::from(netns.enter(open)?.context("cannot open a ping socket")?);
        socket.set_read_timeout(Some(Duration::from_millis(50)))?;
        let copy = socket.try_clone()?;
        let times = Arc::new(Mutex::new(Times::default()));
        let stop = Arc::new(AtomicBool::new(false));
        let (sent, answered) = (times.clone(), times.clone());
        let (stop_sending, stop_receiving) = (stop.clone(), stop.clone());
        let threads = vec![
            netns.thread("ping", move || send(&socket, address, &sent, &stop_sending))?,
            netns.thread("pong", move || receive(&copy, &answered, &stop_receiving))?,
        ];
        Ok(Self { times, stop, threads })
    }

    /// Whether a probe sent in the last `within` was answered.
    pub(super) fn alive(&self, within: Duration) -> bool {
        let since = Instant::now().checked_sub(within);
        self.first_answered(|at| since.is_some_and(|since| at > since)).is_some()
    }

    /// The longest time between two answered probes that were sent at or after `since`: when the one was sent and
    /// when the other.
    pub(super) fn longest_gap(&self, since: Instant) -> Option<(Instant, Instant)> {
        let times = lock(&self.times);
        let pairs = times.sent.iter().zip(&times.answered);
        let answered: Vec<Instant> =
            pairs.filter(|(at, answered)| **answered && **at >= since).map(|(at, _)| *at).collect();
        answered.windows(2).map(|pair| (pair[0], pair[1])).max_by_key(|(from, until)| *until - *from)
    }

    fn first_answered(&self, wanted: impl Fn(Instant) -> bool) -> Option<Instant> {
        let times = lock(&self.times);
        let mut pairs = times.sent.iter().zip(&times.answered);
        pairs.find(|(at, answered)| **answered && wanted(**at)).map(|(at, _)| *at)
    }
}

impl Drop for Ping {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

fn lock(times: &Mutex<Times>) -> MutexGuard<'_, Times> {
    times.lock().unwrap_or_else(PoisonError::into_inner)
}

fn send(socket: &UdpSocket, address: Ipv4Addr, times: &Mutex<Times>, stop: &AtomicBool) {
    let target = SocketAddr::new(address.into(), 0);
    let mut due = Instant::now();
    for number in 0u32.. {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        // The kernel fills in identifier and checksum.
        let mut packet = vec![ECHO, 0, 0, 0, 0, 0, 0, 0];
        packet.extend(number.to_be_bytes());
        let mut held = lock(times);
        held.sent.push(Instant::now());
        held.answered.push(false);
        drop(held);
        // No route or no neighbour is what an outage looks like.
        let _ = socket.send_to(&packet, target);
        due = (due + PERIOD).max(Instant::now());
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
    }
}

fn receive(socket: &UdpSocket, times: &Mutex<Times>, stop: &AtomicBool) {
    let mut packet = [0u8; 64];
    while !stop.load(Ordering::Relaxed) {
        let Ok(length) = socket.recv(&mut packet) else { continue };
        let number =
            packet.get(HEADER..length.min(HEADER + 4)).and_then(|bytes| <[u8; 4]>::try_from(bytes).ok());
        if let Some(number) = number.filter(|_| packet[0] == REPLY) {
            let index = u32::from_be_bytes(number) as usize;
            if let Some(answered) = lock(times).answered.get_mut(index) {
                *answered = true;
            }
        }
    }
}
