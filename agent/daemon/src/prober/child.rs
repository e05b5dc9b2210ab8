//! The prober process: runs each probe it is told to, at once, and answers with its outcome.
//!
//! It starts as root only to give everything away: user and groups of nobody, no capabilities, no new
//! privileges, no files to write, no processes to start, few system calls. It ends when the agent does.

use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream as BlockingStream;
use std::time::Duration;

use bascule_core::health::{Probe, ProbeKind, ProbeOutcome, Verdict};
use bascule_core::wire::frame::{self, Decoder};
use nix::sys::prctl;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::unistd::{Gid, Uid, chdir, geteuid, setgroups, setresgid, setresuid};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::net::unix::OwnedWriteHalf;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};

use super::connect::{self, Failure};
use super::seccomp;
use crate::confine::groups::{self, Group};
use crate::init::fault::{self, Fault};

/// nobody and nogroup.
const NOBODY: u32 = 65_534;
/// Probes in flight need a file descriptor each.
const FILES: u64 = 65_536;
/// Outcomes that may wait for the agent to read them.
const OUTCOMES: usize = 4_096;

/// Runs the prober on the socket that is its standard input, until the agent closes it.
///
/// # Errors
/// When privileges cannot be dropped or standard input is not a socket.
pub fn run() -> io::Result<()> {
    let _ = prctl::set_name(c"prober");
    let fails = fault::wanted() == Some(Fault::Health);
    let stream = BlockingStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    stream.set_nonblocking(true)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    // The runtime has made its own sockets by now; from here on there are only probes.
    drop_privileges()?;
    runtime.block_on(async { serve(UnixStream::from_std(stream)?, fails).await })
}

fn drop_privileges() -> io::Result<()> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    let root = geteuid().is_root();
    if root {
        // Outside of a box there are no groups. A higher score needs no right.
        let _ = groups::join(Group::Prober);
        let _ = std::fs::write("/proc/self/oom_score_adj", "500");
    }
    let files = if root { FILES.max(hard) } else { hard.min(FILES) };
    // Without CAP_SYS_RESOURCE in this namespace the present limit must do.
    if setrlimit(Resource::RLIMIT_NOFILE, files, files).is_err() {
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    }
    setrlimit(Resource::RLIMIT_FSIZE, 0, 0)?;
    setrlimit(Resource::RLIMIT_CORE, 0, 0)?;
    chdir("/")?;
    if root {
        setgroups(&[])?;
        let (group, user) = (Gid::from_raw(NOBODY), Uid::from_raw(NOBODY));
        setresgid(group, group, group)?;
        // Leaving uid 0 clears the permitted, effective and ambient capabilities (capabilities(7)).
        setresuid(user, user, user)?;
    }
    prctl::set_no_new_privs()?;
    setrlimit(Resource::RLIMIT_NPROC, 0, 0)?;
    // A kernel without filters leaves a process that has no privileges all the same.
    if let Err(error) = seccomp::confine() {
        eprintln!("prober: {error}");
    }
    Ok(())
}

/// `fails`: every probe does, for a test.
async fn serve(stream: UnixStream, fails: bool) -> io::Result<()> {
    let (mut jobs, answers) = stream.into_split();
    let (outcomes, queue) = mpsc::channel(OUTCOMES);
    let writer = tokio::spawn(answer(answers, queue));
    let mut decoder = Decoder::<Probe>::new(super::FRAME_MAX);
    let mut bytes = vec![0_u8; 64 << 10];
    loop {
        let read = jobs.read(&mut bytes).await?;
        if read == 0 || writer.is_finished() {
            return Ok(());
        }
        for probe in decoder.push(&bytes[..read]) {
            // The agent is the same binary: a frame that cannot be read means that one of the two is broken.
            let probe = probe.map_err(io::Error::other)?;
            let outcomes = outcomes.clone();
            tokio::spawn(async move {
                let mut outcome = run_probe(probe).await;
                if fails {
                    outcome.verdict = Verdict::Down("bascule.fail=health".to_owned());
                }
                let _ = outcomes.send(outcome).await;
            });
        }
    }
}

async fn answer(mut stream: OwnedWriteHalf, mut queue: mpsc::Receiver<ProbeOutcome>) {
    let mut batch = Vec::new();
    while queue.recv_many(&mut batch, 64).await > 0 {
        let bytes: Vec<u8> = batch.drain(..).flat_map(|outcome| frame::encode(&outcome)).collect();
        if stream.write_all(&bytes).await.is_err() {
            return;
        }
    }
}

async fn run_probe(probe: Probe) -> ProbeOutcome {
    let start = Instant::now();
    let ProbeKind::TcpConnect = probe.kind;
    let verdict = match timeout(probe.timeout, patiently(&probe)).await {
        Ok(Ok(())) => Verdict::Up,
        Ok(Err(reason)) => Verdict::Down(reason),
        Err(_) => Verdict::Down(format!("no answer within {}", span(probe.timeout))),
    };
    ProbeOutcome { id: probe.id, took: start.elapsed(), verdict }
}

/// A want of this box's own is waited out until the probe's deadline: it must not count against the server.
async fn patiently(probe: &Probe) -> Result<(), String> {
    let last_try = Instant::now() + probe.timeout.mul_f32(0.9);
    loop {
        match connect::tcp(probe.target).await {
            Ok(()) => return Ok(()),
            Err(Failure::Server(reason)) => return Err(reason),
            Err(Failure::Local(error)) if Instant::now() >= last_try => {
                return Err(format!("not probed: this box is short of resources ({error})"));
            }
            Err(Failure::Local(_)) => sleep(probe.timeout / 20).await,
        }
    }
}

fn span(duration: Duration) -> String {
    let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    bascule_core::config::model::Span::from_millis(millis).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use bascule_core::health::ProbeId;
    use std::net::{SocketAddr, TcpListener};

    fn probe(id: u64, target: SocketAddr, timeout: Duration) -> Probe {
        Probe { id: ProbeId(id), target, kind: ProbeKind::TcpConnect, timeout }
    }

    async fn outcomes(probes: &[Probe]) -> Vec<ProbeOutcome> {
        let (agent, child) = UnixStream::pair().unwrap();
        let prober = tokio::spawn(serve(child, false));
        let (mut read, mut write) = agent.into_split();
        let frames: Vec<u8> = probes.iter().flat_map(frame::encode).collect();
        write.write_all(&frames).await.unwrap();
        let mut decoder = Decoder::<ProbeOutcome>::new(super::super::FRAME_MAX);
        let (mut bytes, mut got) = ([0; 4_096], Vec::new());
        while got.len() < probes.len() {
            let count = timeout(Duration::from_secs(20), read.read(&mut bytes)).await.unwrap().unwrap();
            got.extend(decoder.push(&bytes[..count]).into_iter().map(Result::unwrap));
        }
        drop((read, write));
        // The agent is gone: the prober ends.
        timeout(Duration::from_secs(5), prober).await.unwrap().unwrap().unwrap();
        got.sort_by_key(|outcome| outcome.id);
        got
    }

    #[tokio::test]
    async fn a_listener_is_up_and_a_closed_port_is_refused() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let closed = TcpListener::bind("127.0.0.1:0").unwrap();
        let (open, shut) = (listener.local_addr().unwrap(), closed.local_addr().unwrap());
        drop(closed);
        let second = Duration::from_secs(1);
        let got = outcomes(&[probe(1, open, second), probe(2, shut, second)]).await;
        assert_eq!(got[0].verdict, Verdict::Up);
        assert_eq!(got[1].verdict, Verdict::Down("connection refused".into()));
    }

    #[tokio::test]
    async fn the_connection_ends_with_a_reset() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let target = listener.local_addr().unwrap();
        assert_eq!(outcomes(&[probe(1, target, Duration::from_secs(1))]).await[0].verdict, Verdict::Up);
        let (mut server, _) = listener.accept().unwrap();
        let error = std::io::Read::read(&mut server, &mut [0; 8]).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ECONNRESET));
    }

    #[tokio::test]
    async fn a_server_that_does_not_answer_is_down_at_the_deadline_and_holds_up_no_other() {
        // A listener whose backlog is full drops further SYNs.
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        socket.bind(&"127.0.0.1:0".parse::<SocketAddr>().unwrap().into()).unwrap();
        socket.listen(0).unwrap();
        let target = socket.local_addr().unwrap().as_socket().unwrap();
        let _filler: Vec<_> = (0..2)
            .map(|_| std::net::TcpStream::connect_timeout(&target, Duration::from_millis(200)))
            .collect();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let deadline = Duration::from_millis(300);
        let mut probes: Vec<_> = (0..50).map(|id| probe(id, target, deadline)).collect();
        probes.push(probe(50, listener.local_addr().unwrap(), deadline));
        let start = Instant::now();
        let got = outcomes(&probes).await;
        assert!(start.elapsed() < Duration::from_secs(2));
        for outcome in &got[..50] {
            assert_eq!(outcome.verdict, Verdict::Down("no answer within 300ms".into()));
            assert!(outcome.took >= deadline && outcome.took < deadline * 3, "{:?}", outcome.took);
        }
        assert_eq!(got[50].verdict, Verdict::Up);
        assert!(got[50].took < deadline);
    }

    #[tokio::test]
    async fn junk_from_the_agent_ends_the_prober() {
        let (mut agent, child) = UnixStream::pair().unwrap();
        let prober = tokio::spawn(serve(child, false));
        agent.write_all(&[9, 9, 9, 0]).await.unwrap();
        assert!(timeout(Duration::from_secs(5), prober).await.unwrap().unwrap().is_err());
    }
}
