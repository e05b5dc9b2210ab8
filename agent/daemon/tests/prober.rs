//! The prober as the process that the agent starts.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use bascule_core::health::{Probe, ProbeId, ProbeKind, ProbeOutcome, Verdict};
use bascule_core::wire::frame::{self, Decoder};

struct Prober {
    process: Child,
    socket: UnixStream,
    decoder: Decoder<ProbeOutcome>,
}

impl Prober {
    fn start() -> Self {
        let (ours, theirs) = UnixStream::pair().unwrap();
        ours.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let process = Command::new(env!("CARGO_BIN_EXE_bascule"))
            .arg("prober")
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .spawn()
            .unwrap();
        Self { process, socket: ours, decoder: Decoder::new(1 << 20) }
    }

    fn run(&mut self, targets: &[SocketAddr], timeout: Duration) -> Vec<ProbeOutcome> {
        let probe = |(id, target): (usize, &SocketAddr)| Probe {
            id: ProbeId(id as u64),
            target: *target,
            kind: ProbeKind::TcpConnect,
            timeout,
        };
        for probe in targets.iter().enumerate().map(probe) {
            self.socket.write_all(&frame::encode(&probe)).unwrap();
        }
        let (mut outcomes, mut bytes) = (Vec::new(), [0; 65_536]);
        while outcomes.len() < targets.len() {
            let count = self.socket.read(&mut bytes).unwrap();
            assert_ne!(count, 0, "the prober closed its socket");
            outcomes.extend(self.decoder.push(&bytes[..count]).into_iter().map(Result::unwrap));
        }
        outcomes.sort_by_key(|outcome| outcome.id);
        outcomes
    }

    fn ends(mut self) -> ExitStatus {
        drop(self.socket);
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(10) {
            if let Some(status) = self.process.try_wait().unwrap() {
                return status;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        self.process.kill().unwrap();
        panic!("the prober outlives its agent");
    }
}

#[test]
fn confined_as_it_is_it_probes_both_families() {
    let mut prober = Prober::start();
    let v4 = TcpListener::bind("127.0.0.1:0").unwrap();
    let shut = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut targets = vec![v4.local_addr().unwrap(), shut.local_addr().unwrap()];
    drop(shut);
    // A machine without IPv6 has no such listener.
    let v6 = TcpListener::bind("[::1]:0").ok();
    targets.extend(v6.as_ref().map(|listener| listener.local_addr().unwrap()));
    let outcomes = prober.run(&targets, Duration::from_secs(5));
    assert_eq!(outcomes[0].verdict, Verdict::Up);
    assert_eq!(outcomes[1].verdict, Verdict::Down("connection refused".into()));
    assert!(outcomes.get(2).is_none_or(|outcome| outcome.verdict == Verdict::Up), "{:?}", outcomes.get(2));
    assert!(prober.ends().success());
}

#[test]
fn it_gives_every_privilege_away() {
    let mut prober = Prober::start();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    // An answer shows that its start is over.
    prober.run(&[listener.local_addr().unwrap()], Duration::from_secs(5));
    let status = fs::read_to_string(format!("/proc/{}/status", prober.process.id())).unwrap();
    let field = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_ascii_whitespace().skip(1).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(field("NoNewPrivs:"), "1");
    assert_eq!(field("Seccomp:"), "2");
    assert_eq!(field("CapEff:"), "0000000000000000");
    assert_eq!(field("CapPrm:"), "0000000000000000");
    // Only root has a user to give away.
    if fs::read_to_string("/proc/self/status").unwrap().contains("\nUid:\t0\t") {
        assert_eq!(field("Uid:"), "65534 65534 65534 65534");
        assert_eq!(field("Gid:"), "65534 65534 65534 65534");
        assert_eq!(field("Groups:"), "");
    }
    assert!(prober.ends().success());
}

#[test]
fn a_thousand_probes_in_flight_end_together_at_their_deadline() {
    let mut prober = Prober::start();
    // A listener whose backlog is full answers nothing.
    let deaf = socket2_listener();
    let target = deaf.local_addr().unwrap();
    let _fill: Vec<_> =
        (0..4).map(|_| std::net::TcpStream::connect_timeout(&target, Duration::from_millis(300))).collect();
    let start = Instant::now();
    let outcomes = prober.run(&vec![target; 1_000], Duration::from_secs(2));
    assert!(start.elapsed() < Duration::from_secs(15), "{:?}", start.elapsed());
    for outcome in &outcomes {
        assert_eq!(outcome.verdict, Verdict::Down("no answer within 2s".into()));
        assert!(outcome.took >= Duration::from_secs(2));
    }
    assert!(prober.ends().success());
}

fn socket2_listener() -> TcpListener {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&"127.0.0.1:0".parse::<SocketAddr>().unwrap().into()).unwrap();
    socket.listen(1).unwrap();
    socket.into()
}
