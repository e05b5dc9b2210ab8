//! A third party's eye on a segment: which machine announces which address, and who sends VRRP adverts.
//!
//! The frames are read here by hand, apart from the agent's own parsers, so that the two cannot share a mistake.

use std::io::IoSliceMut;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use nix::sys::socket::{
    AddressFamily, ControlMessageOwned, MsgFlags, RecvMsg, SockFlag, SockProtocol, SockType, recvmsg,
    setsockopt, socket, sockopt,
};
use nix::sys::time::{TimeSpec, TimeVal, TimeValLike};

use super::{Mac, Netns};

/// What a frame said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// Gratuitous ARP or unsolicited neighbour advertisement: the address is at the frame's source.
    Announcement(IpAddr),
    /// A VRRP advert.
    Advert {
        /// Sender's address.
        source: IpAddr,
        /// Protocol version, 2 or 3.
        version: u8,
        /// Virtual router.
        vrid: u8,
        /// Priority; 0 is a resignation.
        priority: u8,
    },
}

/// A frame of interest.
#[derive(Clone, Copy, Debug)]
pub struct Sighting {
    /// When it came in, by the kernel's stamp.
    pub at: Instant,
    /// Ethernet source.
    pub mac: Mac,
    /// Content.
    pub what: What,
}

/// Listens in a namespace until dropped.
#[derive(Debug)]
pub struct Sniffer {
    sightings: Arc<Mutex<Vec<Sighting>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<()>>>,
}

impl Sniffer {
    /// Starts to listen on all interfaces of the namespace.
    ///
    /// # Errors
    /// No packet socket (not root), or no thread.
    pub fn start(netns: &Netns) -> Result<Self> {
        let open =
            || socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::EthAll);
        let socket = netns.enter(open)?.context("cannot open a packet socket")?;
        setsockopt(&socket, sockopt::ReceiveTimestampns, &true)?;
        setsockopt(&socket, sockopt::ReceiveTimeout, &TimeVal::milliseconds(100))?;
        let sightings = Arc::new(Mutex::new(Vec::new()));
        let stop = Arc::new(AtomicBool::new(false));
        let (kept, stopped) = (sightings.clone(), stop.clone());
        let thread = netns.thread("sniffer", move || listen(&socket, &kept, &stopped))?;
        Ok(Self { sightings, stop, thread: Some(thread) })
    }

    /// Everything seen so far, in order.
    ///
    /// # Panics
    /// The listening thread panicked.
    #[must_use]
    pub fn all(&self) -> Vec<Sighting> {
        self.sightings.lock().expect("the listener panicked").clone()
    }

    /// The machine that last announced `address`, and when.
    ///
    /// # Panics
    /// The listening thread panicked.
    #[must_use]
    pub fn holder(&self, address: IpAddr) -> Option<(Mac, Instant)> {
        let sightings = self.sightings.lock().expect("the listener panicked");
        let mut backwards = sightings.iter().rev();
        backwards.find(|s| s.what == What::Announcement(address)).map(|s| (s.mac, s.at))
    }

    /// The first announcement of `address` by `mac` at or after `since`.
    #[must_use]
    pub fn announced(&self, address: IpAddr, mac: Mac, since: Instant) -> Option<Instant> {
        self.first(since, |s| s.mac == mac && s.what == What::Announcement(address))
    }

    /// The first sighting at or after `since` that `wanted` accepts.
    ///
    /// # Panics
    /// The listening thread panicked.
    #[must_use]
    pub fn first(&self, since: Instant, wanted: impl Fn(&Sighting) -> bool) -> Option<Instant> {
        let sightings = self.sightings.lock().expect("the listener panicked");
        sightings.iter().find(|s| s.at >= since && wanted(s)).map(|s| s.at)
    }

    /// Waits until `address` is announced by `mac` at or after `since`, at most for `limit`.
    #[must_use]
    pub fn wait_announced(
        &self,
        address: IpAddr,
        mac: Mac,
        since: Instant,
        limit: Duration,
    ) -> Option<Instant> {
        let end = Instant::now() + limit;
        loop {
            let seen = self.announced(address, mac, since);
            if seen.is_some() || Instant::now() >= end {
                return seen;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Sniffer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn listen(socket: &OwnedFd, kept: &Mutex<Vec<Sighting>>, stop: &AtomicBool) {
    let mut buffer = [0u8; 2048];
    let mut control = nix::cmsg_space!(TimeSpec);
    while !stop.load(Ordering::Relaxed) {
        let mut parts = [IoSliceMut::new(&mut buffer)];
        let received = recvmsg::<()>(socket.as_raw_fd(), &mut parts, Some(&mut control), MsgFlags::empty());
        let (length, at) = match received {
            Ok(message) => (message.bytes, arrival(&message)),
            Err(nix::Error::EAGAIN | nix::Error::EINTR) => continue,
            Err(_) => return,
        };
        if let Some((mac, what)) = buffer.get(..length).and_then(read_frame) {
            let Ok(mut kept) = kept.lock() else { return };
            kept.push(Sighting { at, mac, what });
        }
    }
}

/// The kernel's stamp on our own clock. On a busy machine this thread may read a frame long after it came.
fn arrival(message: &RecvMsg<'_, '_, ()>) -> Instant {
    let (now, clock) = (Instant::now(), SystemTime::now());
    let mut controls = message.cmsgs().into_iter().flatten();
    let stamp = controls.find_map(|control| match control {
        ControlMessageOwned::ScmTimestampns(stamp) => Some(Duration::from(stamp)),
        _ => None,
    });
    let age = stamp.and_then(|stamp| clock.duration_since(UNIX_EPOCH + stamp).ok());
    age.and_then(|age| now.checked_sub(age)).unwrap_or(now)
}

fn read_frame(frame: &[u8]) -> Option<(Mac, What)> {
    let (header, payload) = frame.split_at_checked(14)?;
    let mac = Mac(header[6..12].try_into().ok()?);
    let what = match u16::from_be_bytes([header[12], header[13]]) {
        0x0806 => read_arp(payload),
        0x0800 => read_ipv4(payload),
        0x86dd => read_ipv6(payload),
        _ => None,
    }?;
    Some((mac, what))
}

/// A gratuitous ARP, RFC 5944 section 4.6: sender and target address are the same.
fn read_arp(arp: &[u8]) -> Option<What> {
    let sender: [u8; 4] = arp.get(14..18)?.try_into().ok()?;
    let target = arp.get(24..28)?;
    let ethernet_ipv4 = arp.starts_with(&[0, 1, 8, 0, 6, 4]);
    (ethernet_ipv4 && sender == target).then(|| What::Announcement(Ipv4Addr::from(sender).into()))
}

fn read_ipv4(packet: &[u8]) -> Option<What> {
    let header = usize::from(packet.first()? & 0x0f) * 4;
    let source: [u8; 4] = packet.get(12..16)?.try_into().ok()?;
    if packet.get(9) != Some(&112) {
        return None;
    }
    read_advert(Ipv4Addr::from(source).into(), packet.get(header..)?)
}

fn read_ipv6(packet: &[u8]) -> Option<What> {
    let source: [u8; 16] = packet.get(8..24)?.try_into().ok()?;
    let payload = packet.get(40..)?;
    match packet.get(6)? {
        112 => read_advert(Ipv6Addr::from(source).into(), payload),
        // ICMPv6 type 136 without the solicited flag, RFC 4861 section 4.4.
        58 if payload.first() == Some(&136) && payload.get(4)? & 0x40 == 0 => {
            let target: [u8; 16] = payload.get(8..24)?.try_into().ok()?;
            Some(What::Announcement(Ipv6Addr::from(target).into()))
        }
        _ => None,
    }
}

fn read_advert(source: IpAddr, advert: &[u8]) -> Option<What> {
    let [first, vrid, priority, ..] = *advert else { return None };
    (first & 0x0f == 1).then_some(What::Advert { source, version: first >> 4, vrid, priority })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arp(sender: [u8; 4], target: [u8; 4]) -> Vec<u8> {
        let mut frame = vec![0xff; 6];
        frame.extend([2, 0, 0, 0, 0, 7, 0x08, 0x06, 0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0, 7]);
        frame.extend(sender);
        frame.extend([0; 6]);
        frame.extend(target);
        frame
    }

    #[test]
    fn a_gratuitous_arp_is_an_announcement_by_the_frames_source() {
        let address = [10, 0, 0, 100];
        let expected = (Mac([2, 0, 0, 0, 0, 7]), What::Announcement(Ipv4Addr::from(address).into()));
        assert_eq!(read_frame(&arp(address, address)), Some(expected));
    }

    #[test]
    fn an_arp_question_about_someone_else_is_no_announcement() {
        assert_eq!(read_frame(&arp([10, 0, 0, 1], [10, 0, 0, 100])), None);
    }

    #[test]
    fn no_truncated_frame_is_read_as_anything() {
        let frame = arp([10, 0, 0, 100], [10, 0, 0, 100]);
        for length in 0..frame.len() {
            assert_eq!(read_frame(&frame[..length]), None, "length {length}");
        }
    }
}
