//! The agent's side of the prober: starts it, feeds it, starts it again when it ends or hangs.

use std::collections::HashMap;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as BlockingStream;
use std::process::Stdio;
use std::time::{Duration, Instant};

use bascule_core::health::{Probe, ProbeId, ProbeOutcome};
use bascule_core::wire::frame::{self, Decoder};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::process::{Child, Command};
use tokio::sync::mpsc;

use crate::backoff::Backoff;

/// Probes that may wait for the prober to read them.
const JOBS: usize = 16_384;
/// An outcome this much later than its probe's deadline: the prober hangs.
const HANGS: Duration = Duration::from_secs(5);

/// What comes from the prober.
#[derive(Debug)]
pub enum FromProber {
    /// A probe ended.
    Outcome(ProbeOutcome),
    /// A new prober runs; probes given to the one before are lost.
    Restarted,
}

/// The way to the prober. Dropping it ends the process.
#[derive(Debug)]
pub struct Prober {
    jobs: mpsc::Sender<Probe>,
    /// What comes back.
    pub inbox: mpsc::Receiver<FromProber>,
}

impl Prober {
    /// Starts the process and the task that keeps it alive.
    #[must_use]
    pub fn start() -> Self {
        let (jobs, queue) = mpsc::channel(JOBS);
        let (outbox, inbox) = mpsc::channel(1_024);
        tokio::spawn(keep_alive(queue, outbox));
        Self { jobs, inbox }
    }

    /// Hands a probe over. One that finds the queue full is lost; the agent's own deadline or the restart of a
    /// prober that reads nothing covers it.
    pub fn run(&self, probe: Probe) {
        if self.jobs.try_send(probe).is_err() {
            tracing::warn!(key = "prober-full", "prober: {JOBS} probes wait already, one was not run");
        }
    }
}

async fn keep_alive(mut queue: mpsc::Receiver<Probe>, outbox: mpsc::Sender<FromProber>) {
    let mut backoff = Backoff::default();
    loop {
        let started = Instant::now();
        let ended = match spawn() {
            Ok((child, stream)) => attend(child, stream, &mut queue, &outbox).await,
            Err(error) => Ended::Lost(format!("cannot be started: {error}")),
        };
        let Ended::Lost(reason) = ended else { return };
        let wait = backoff.ended(started, Instant::now());
        let wait_ms = wait.as_millis();
        tracing::warn!(key = "prober-lost", wait_ms, "prober: {reason}; it is started again");
        if backoff.alarming() {
            tracing::error!(
                key = "prober-alarm",
                "prober: ended five times in two minutes; health is not checked"
            );
        }
        tokio::time::sleep(wait).await;
        while queue.try_recv().is_ok() {}
        if outbox.send(FromProber::Restarted).await.is_err() {
            return;
        }
    }
}

/// How a prober's time ended.
enum Ended {
    /// The agent wants no more of it.
    Done,
    /// It died, hung or spoke nonsense.
    Lost(String),
}

fn spawn() -> io::Result<(Child, UnixStream)> {
    let (ours, theirs) = BlockingStream::pair()?;
    ours.set_nonblocking(true)?;
    let child = Command::new("/proc/self/exe")
        .arg0("bascule")
        .arg("prober")
        .env_clear()
        .stdin(Stdio::from(OwnedFd::from(theirs)))
        .kill_on_drop(true)
        .spawn()?;
    Ok((child, UnixStream::from_std(ours)?))
}

async fn attend(
    mut child: Child,
    stream: UnixStream,
    queue: &mut mpsc::Receiver<Probe>,
    outbox: &mpsc::Sender<FromProber>,
) -> Ended {
    let (mut outcomes, mut jobs) = stream.into_split();
    let mut decoder = Decoder::<ProbeOutcome>::new(super::FRAME_MAX);
    let mut bytes = vec![0_u8; 64 << 10];
    let mut due: HashMap<ProbeId, Instant> = HashMap::new();
    let mut batch = Vec::new();
    let mut tick = tokio::time::interval(Duration::from_secs(1));
    loop {
        tokio::select! {
            read = outcomes.read(&mut bytes) => {
                let read = match read {
                    Ok(0) | Err(_) => return lost(&mut child).await,
                    Ok(read) => read,
                };
                for outcome in decoder.push(&bytes[..read]) {
                    let outcome = match outcome {
                        Ok(outcome) => outcome,
                        Err(error) => return Ended::Lost(format!("sent a bad frame: {error}")),
                    };
                    due.remove(&outcome.id);
                    if outbox.send(FromProber::Outcome(outcome)).await.is_err() {
                        return Ended::Done;
                    }
                }
            }
            count = queue.recv_many(&mut batch, 256) => {
                if count == 0 {
                    return Ended::Done;
                }
                let now = Instant::now();
                due.extend(batch.iter().map(|probe| (probe.id, now + probe.timeout + HANGS)));
                let frames: Vec<u8> = batch.drain(..).flat_map(|probe| frame::encode(&probe)).collect();
                match tokio::time::timeout(HANGS, jobs.write_all(&frames)).await {
                    Ok(Ok(())) => {}
                    Ok(Err(_)) => return lost(&mut child).await,
                    Err(_) => return Ended::Lost("does not read its jobs".to_owned()),
                }
            }
            _ = tick.tick() => {
                let now = Instant::now();
                if due.values().any(|due| *due < now) {
                    return Ended::Lost("hangs: a probe is long past its deadline".to_owned());
                }
            }
        }
    }
}

async fn lost(child: &mut Child) -> Ended {
    match tokio::time::timeout(Duration::from_secs(1), child.wait()).await {
        Ok(Ok(status)) => Ended::Lost(format!("ended ({status})")),
        Ok(Err(error)) => Ended::Lost(format!("ended ({error})")),
        Err(_) => Ended::Lost("closed its socket".to_owned()),
    }
}
