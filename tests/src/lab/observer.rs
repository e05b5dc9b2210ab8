//! A third host on the segment that sees every frame, time-stamped by the kernel.

use std::fs::File;
use std::io::{IoSliceMut, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use bascule_image::net::Netns;
use nix::cmsg_space;
use nix::sys::socket::{
    AddressFamily, ControlMessageOwned, MsgFlags, SockFlag, SockProtocol, SockType, recvmsg, setsockopt,
    socket, sockopt,
};
use nix::sys::time::{TimeSpec, TimeVal, TimeValLike};

use super::process::wait_for;
use super::wire::{Advert, Announcement, Frame};

/// Frames that are kept at most: a flood in a case must not eat the machine's memory.
const FRAMES_MAX: usize = 400_000;
/// Receive buffer of the socket, so that a busy machine does not lose frames.
const RECEIVE_BUFFER: usize = 8 << 20;

/// An ear in a namespace, until dropped.
#[derive(Debug)]
pub struct Observer {
    frames: Arc<Mutex<Vec<Frame>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<()>>>,
}

/// Now, on the scale of [`Frame::at`].
pub fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

impl Observer {
    /// Starts to listen on all interfaces of the namespace.
    ///
    /// # Errors
    /// No packet socket (not root), or no thread.
    pub fn start(netns: &Netns) -> Result<Self> {
        let open =
            || socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::EthAll);
        let socket = netns.enter(open)?.context("cannot open a packet socket")?;
        setsockopt(&socket, sockopt::ReceiveTimeout, &TimeVal::milliseconds(100))?;
        setsockopt(&socket, sockopt::ReceiveTimestampns, &true)?;
        setsockopt(&socket, sockopt::RcvBufForce, &RECEIVE_BUFFER)?;
        let frames = Arc::new(Mutex::new(Vec::new()));
        let stop = Arc::new(AtomicBool::new(false));
        let (kept, stopped) = (frames.clone(), stop.clone());
        let thread = netns.thread("observer", move || listen(&socket, &kept, &stopped))?;
        Ok(Self { frames, stop, thread: Some(thread) })
    }

    /// What `read` finds in the frames since `since`, with their times, in order.
    pub fn all<T>(&self, since: Duration, read: impl Fn(&Frame) -> Option<T>) -> Vec<(Duration, T)> {
        let frames = self.frames.lock().unwrap_or_else(PoisonError::into_inner);
        let late = frames.iter().rev().take_while(|frame| frame.at >= since);
        let mut found: Vec<_> = late.filter_map(|frame| Some((frame.at, read(frame)?))).collect();
        found.reverse();
        found
    }

    /// Adverts since `since` that `wanted` accepts.
    pub fn adverts(&self, since: Duration, wanted: impl Fn(&Advert) -> bool) -> Vec<(Duration, Advert)> {
        self.all(since, |frame| frame.advert().filter(&wanted))
    }

    /// Announcements since `since` that `wanted` accepts.
    pub fn announcements(
        &self,
        since: Duration,
        wanted: impl Fn(&Announcement) -> bool,
    ) -> Vec<(Duration, Announcement)> {
        self.all(since, |frame| frame.announcement().filter(&wanted))
    }

    /// Waits for the first advert since `since` that `wanted` accepts.
    ///
    /// # Errors
    /// None within `limit`; the text says `what` was waited for.
    pub fn wait_advert(
        &self,
        what: &str,
        since: Duration,
        limit: Duration,
        wanted: impl Fn(&Advert) -> bool,
    ) -> Result<(Duration, Advert)> {
        wait_for(what, limit, || self.adverts(since, &wanted).into_iter().next())
    }

    /// Waits for the first announcement since `since` that `wanted` accepts.
    ///
    /// # Errors
    /// None within `limit`; the text says `what` was waited for.
    pub fn wait_announcement(
        &self,
        what: &str,
        since: Duration,
        limit: Duration,
        wanted: impl Fn(&Announcement) -> bool,
    ) -> Result<(Duration, Announcement)> {
        wait_for(what, limit, || self.announcements(since, &wanted).into_iter().next())
    }

    /// Writes the frames that `wanted` accepts as a pcap file, for other decoders.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write_pcap(&self, path: &Path, wanted: impl Fn(&Frame) -> bool) -> Result<usize> {
        let mut file = File::create(path).with_context(|| format!("cannot write {}", path.display()))?;
        // Magic for microseconds, version 2.4, no time zone, snap length, Ethernet.
        let header: [u32; 6] = [0xa1b2_c3d4, 2 | (4 << 16), 0, 0, 65_535, 1];
        header.iter().try_for_each(|word| file.write_all(&word.to_le_bytes()))?;
        let frames = self.frames.lock().unwrap_or_else(PoisonError::into_inner);
        let mut count = 0;
        for frame in frames.iter().filter(|frame| wanted(frame)) {
            let length = frame.bytes.len() as u32;
            let record = [frame.at.as_secs() as u32, frame.at.subsec_micros(), length, length];
            record.iter().try_for_each(|word| file.write_all(&word.to_le_bytes()))?;
            file.write_all(&frame.bytes)?;
            count += 1;
        }
        Ok(count)
    }
}

impl Drop for Observer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn listen(socket: &OwnedFd, kept: &Mutex<Vec<Frame>>, stop: &AtomicBool) {
    let mut buffer = [0u8; 2048];
    let mut control = cmsg_space!(TimeSpec);
    while !stop.load(Ordering::Relaxed) {
        let mut parts = [IoSliceMut::new(&mut buffer)];
        let received = recvmsg::<()>(socket.as_raw_fd(), &mut parts, Some(&mut control), MsgFlags::empty());
        let (length, at) = match received {
            Ok(message) => (message.bytes, stamp(message.cmsgs())),
            Err(nix::Error::EAGAIN | nix::Error::EINTR) => continue,
            Err(_) => return,
        };
        let bytes = buffer.get(..length).unwrap_or_default().to_vec();
        let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() < FRAMES_MAX {
            kept.push(Frame { at, bytes });
        }
    }
}

fn stamp(messages: nix::Result<impl Iterator<Item = ControlMessageOwned>>) -> Duration {
    let stamped = messages.ok().and_then(|mut all| {
        all.find_map(|message| match message {
            ControlMessageOwned::ScmTimestampns(time) => Some(Duration::from(time)),
            _ => None,
        })
    });
    stamped.unwrap_or_else(now)
}
