//! Broken and hostile clients of the control socket: refused, closed, and nobody else notices.

use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use bascule_core::control::{Reply, Request};
use bascule_core::wire::frame::{Decoder, FRAME_MAX, encode};

use crate::runner::{Case, Context, Outcome};

use super::agent::{Agent, SOON};
use super::observer::now;
use super::scene::{FAMILIES, Pair, by, ms};
use super::{case, passed};

const TENTH: Duration = Duration::from_millis(100);

/// The cases.
pub fn cases() -> Vec<Case> {
    vec![case(
        "broken control frames are refused and closed, and nobody else is disturbed",
        90,
        broken_frames,
    )]
}

/// A well-behaved client that keeps its connection.
struct Client {
    stream: UnixStream,
    decoder: Decoder<Reply>,
}

impl Client {
    fn connect(agent: &Agent) -> Result<Self> {
        let stream = connect(agent)?;
        Ok(Self { stream, decoder: Decoder::new(FRAME_MAX) })
    }

    fn status(&mut self) -> Result<()> {
        self.stream.write_all(&encode(&Request::Status))?;
        let mut bytes = [0; 4096];
        loop {
            let read = self.stream.read(&mut bytes).context("the good client got no reply")?;
            ensure!(read > 0, "the good client was disconnected");
            match self.decoder.push(&bytes[..read]).into_iter().next() {
                Some(Ok(Reply::Status(_))) => return Ok(()),
                Some(other) => bail!("the good client got {other:?}"),
                None => {}
            }
        }
    }
}

/// One request and its reply.
///
/// # Errors
/// The agent does not answer.
pub fn ask(agent: &Agent, request: &Request) -> Result<Reply> {
    let mut stream = connect(agent)?;
    stream.write_all(&encode(request))?;
    let mut decoder = Decoder::new(FRAME_MAX);
    let mut bytes = [0; 4096];
    loop {
        let read = stream.read(&mut bytes).with_context(|| format!("no reply to {request:?}"))?;
        ensure!(read > 0, "disconnected instead of a reply to {request:?}");
        if let Some(reply) = decoder.push(&bytes[..read]).into_iter().next() {
            return Ok(reply?);
        }
    }
}

fn connect(agent: &Agent) -> Result<UnixStream> {
    let path = agent.socket();
    let stream =
        UnixStream::connect(&path).with_context(|| format!("cannot connect to {}", path.display()))?;
    stream.set_read_timeout(Some(SOON))?;
    stream.set_write_timeout(Some(SOON))?;
    Ok(stream)
}

/// Sends `bytes` and reads until the agent closes: what it replied.
fn closed_after(agent: &Agent, what: &str, bytes: &[u8], then_end: bool) -> Result<Vec<u8>> {
    let mut stream = connect(agent)?;
    match stream.write_all(bytes) {
        Ok(()) => {}
        // It need not read all of it.
        Err(error) if matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset) => {}
        Err(error) => bail!("{what}: {error}"),
    }
    if then_end {
        let _ = stream.shutdown(Shutdown::Write);
    }
    let mut reply = Vec::new();
    match stream.read_to_end(&mut reply) {
        Ok(_) => Ok(reply),
        Err(error) if error.kind() == ErrorKind::ConnectionReset => Ok(reply),
        Err(error) => bail!("{what}: the connection is still open after {SOON:?}: {error}"),
    }
}

/// A few hundred byte strings that look random; the same in every run.
fn garbage(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    };
    (0..length).map(|_| next()).collect()
}

fn no_status(what: &str, reply: &[u8]) -> Result<()> {
    let mut decoder = Decoder::<Reply>::new(FRAME_MAX);
    for reply in decoder.push(reply) {
        ensure!(!matches!(reply, Ok(Reply::Status(_) | Reply::Done(_))), "{what} was obeyed: {reply:?}");
    }
    Ok(())
}

fn broken_frames(_: &mut Context) -> Result<Outcome> {
    let mut pair = Pair::start(TENTH, "")?;
    let agent = &pair.agent_a;
    let mut good = Client::connect(agent)?;
    good.status()?;
    let since = now();
    let frame = encode(&Request::Status);
    let mut tried = 0;
    let mut refuse = |what: String, bytes: &[u8], then_end: bool| -> Result<()> {
        no_status(&what, &closed_after(agent, &what, bytes, then_end)?)?;
        tried += 1;
        if tried % 10 == 0 { good.status() } else { Ok(()) }
    };
    for length in 1..frame.len() {
        refuse(format!("a frame cut at {length}"), &frame[..length], true)?;
        let mut closed = frame[..length].to_vec();
        closed.push(0);
        // Cut just before its own delimiter it is whole again.
        if length + 1 < frame.len() {
            refuse(format!("a frame cut at {length} and closed"), &closed, false)?;
        }
    }
    for index in 0..frame.len() - 1 {
        for bit in 0..8 {
            let mut flipped = frame.clone();
            flipped[index] ^= 1 << bit;
            refuse(format!("bit {bit} of byte {index} flipped"), &flipped, true)?;
        }
    }
    refuse("no delimiter in 2 MiB".to_owned(), &vec![1; 2 << 20], false)?;
    for seed in 1..=100 {
        let mut bytes = garbage(seed, 300);
        bytes.push(0);
        refuse(format!("garbage {seed}"), &bytes, true)?;
    }
    // Silent clients by the dozen do not lock the others out.
    let silent: Vec<UnixStream> = (0..20).map(|_| connect(agent)).collect::<Result<_>>()?;
    good.status()?;
    agent.status()?;
    drop(silent);
    std::thread::sleep(5 * TENTH);
    let mut worst = Duration::ZERO;
    for (family, vrid, _) in FAMILIES {
        let all = pair.world.observer.adverts(since, by(&pair.world.a, vrid));
        let gap = all.windows(2).map(|two| two[1].0 - two[0].0).max().context("no adverts")?;
        ensure!(gap < 2 * TENTH, "{family}: a was silent for {gap:?}");
        worst = worst.max(gap);
    }
    pair.agent_a.wait_master(SOON)?;
    pair.agent_b.wait_backup(SOON)?;
    Ok(passed(format!("{tried} broken frames, longest gap between adverts {} ms", ms(worst))))
}
