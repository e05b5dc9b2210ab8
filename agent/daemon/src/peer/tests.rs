//! The channel and the server over loopback, with strangers among the guests.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bascule_core::bundle::Older;
use bascule_core::gate::Sight;
use bascule_core::pair::message::{Plan as Note, Work};
use bascule_core::pair::{Side, Slots, System};
use bascule_core::release::{Sha256, Version};

use super::channel::{Channel, ChannelError, End};
use super::key::Key;
use super::link::{Link, Way};
use super::plan::Plan;
use super::server::{self, Guests, Here, Tell};
use super::sight::Connections;
use crate::scratch::Scratch;
use crate::update::{Got, Source, open};

/// A box of a test: it keeps what it is sent.
#[derive(Default)]
struct Desk {
    bundle: Mutex<Vec<u8>>,
    rewind: bool,
    activated: AtomicBool,
    note: Mutex<Option<Note>>,
}

fn system() -> System {
    System { version: Version::new(0, 2, 0), sha256: Sha256([3; 32]) }
}

impl Here for Desk {
    fn side(&self) -> Result<Side, String> {
        Ok(Side {
            name: "lb2".to_owned(),
            boot: "1".to_owned(),
            board: "x86_64".parse().unwrap(),
            running: system(),
            slots: Slots::Steady,
            reason: String::new(),
            gate: None,
            unconfirmed: false,
            aside: None,
            routers: [].into(),
            sync: true,
            sight: Sight::default(),
        })
    }

    fn connections(&self) -> Result<Connections, String> {
        let mut all = Connections::default();
        (0..20_000).for_each(|number| all.put(number));
        Ok(all)
    }

    fn install(
        &self,
        user: &str,
        older: Older,
        source: &mut dyn Source,
        tell: &Tell,
    ) -> Result<System, String> {
        assert_eq!((user, older), ("admin", Older::Refuse));
        let mut bytes = vec![0; 100_000];
        let mut all = self.bundle.lock().unwrap();
        let mut rewound = !self.rewind;
        loop {
            tell.set(Work::Receiving, all.len() as u64, source.length().unwrap_or(0));
            match source.read(&mut bytes).map_err(|error| error.to_string())? {
                Got::Bytes(count) => all.extend_from_slice(&bytes[..count]),
                Got::Waiting => {}
                Got::End if rewound => return Ok(system()),
                Got::End => {
                    rewound = true;
                    assert!(source.rewind(10).unwrap());
                    all.truncate(10);
                }
            }
        }
    }

    fn activate(&self) -> Result<(), String> {
        if self.activated.swap(true, Ordering::SeqCst) { Err("activated already".to_owned()) } else { Ok(()) }
    }

    fn note(&self, note: Note) {
        *self.note.lock().unwrap() = Some(note);
    }
}

/// A server until it is dropped.
struct Server {
    key: Key,
    address: SocketAddr,
    desk: Arc<Desk>,
    goes_on: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    fn start(desk: Desk) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let (key, desk, goes_on) = (Key::random().unwrap(), Arc::new(desk), Arc::new(AtomicBool::new(true)));
        let (own_key, here, flag) = (key.clone(), Arc::clone(&desk), Arc::clone(&goes_on));
        let thread = std::thread::spawn(move || {
            let (here, guests): (Arc<dyn Here>, _) = (here, Arc::new(Guests::default()));
            while flag.load(Ordering::SeqCst) {
                server::accept(&listener, &own_key, &here, &guests);
                std::thread::sleep(Duration::from_millis(5));
            }
        });
        Self { key, address, desk, goes_on, thread: Some(thread) }
    }

    fn link(&self, key: &Key) -> Link {
        let way = Way { peer: self.address, own: [127, 0, 0, 1].into(), interface: None };
        Link::new(way, key.clone())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.goes_on.store(false, Ordering::SeqCst);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// Waits until the other end closed the connection, at most ten seconds; what it sent before.
fn closed(mut stream: TcpStream) -> usize {
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let (mut all, mut bytes) = (0, [0; 512]);
    loop {
        match stream.read(&mut bytes) {
            Ok(0) => return all,
            Ok(count) => all += count,
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return all,
            Err(error) => panic!("the connection was not closed: {error}"),
        }
    }
}

#[test]
fn the_other_box_is_looked_at_takes_a_bundle_and_restarts_once() {
    let server = Server::start(Desk { rewind: true, ..Desk::default() });
    let mut link = server.link(&server.key);
    assert_eq!(link.look().unwrap().name, "lb2");
    let mut wanted = Connections::default();
    (0..20_000).for_each(|number| wanted.put(number));
    assert_eq!(link.connections().unwrap(), wanted, "in more than one message");
    let dir = Scratch::new("peer-bundle");
    let bytes: Vec<u8> = (0..300_000_u32).map(|at| (at % 251) as u8).collect();
    let path = dir.path().join("x.bundle");
    std::fs::write(&path, &bytes).unwrap();
    let mut source = open(path.to_str().unwrap()).unwrap();
    let mut seen = 0;
    let installed = link.install("admin", false, source.as_mut(), &mut |progress| {
        seen = progress.map_or(seen, |(_, done, total)| {
            assert_eq!(total, 300_000);
            seen.max(done)
        });
        true
    });
    assert_eq!(installed, Ok(system()));
    assert!(*server.desk.bundle.lock().unwrap() == bytes && seen > 0);
    link.note(&Note { text: "half-way".to_owned(), ..Note::default() });
    assert_eq!(server.desk.note.lock().unwrap().as_ref().unwrap().text, "half-way");
    assert_eq!(link.activate(), Ok(()));
    assert!(link.activate().unwrap_err().contains("activated already"));
}

#[test]
fn an_install_that_the_operator_stops_ends_on_both_boxes() {
    let server = Server::start(Desk::default());
    let mut link = server.link(&server.key);
    let dir = Scratch::new("peer-stop");
    let path = dir.path().join("x.bundle");
    std::fs::write(&path, vec![7; 300_000]).unwrap();
    let mut source = open(path.to_str().unwrap()).unwrap();
    let mut looks = 0;
    let stopped = link.install("admin", false, source.as_mut(), &mut |_| {
        looks += 1;
        looks < 4
    });
    assert_eq!(stopped, Err(None));
    // The session there has ended, so the next one is let in.
    let end = Instant::now() + Duration::from_secs(10);
    while link.look().is_err() {
        assert!(Instant::now() < end, "the session never ended");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn another_key_is_refused_and_learns_nothing() {
    let server = Server::start(Desk::default());
    let error = server.link(&Key::random().unwrap()).look().unwrap_err();
    assert!(error.contains("another key") && error.contains("peer key set"), "{error}");
    let mut stream = TcpStream::connect(server.address).unwrap();
    stream.write_all(&[&[0, 48][..], &[9; 48]].concat()).unwrap();
    assert_eq!(closed(stream), 0);
    assert_eq!(server.link(&server.key).look().unwrap().name, "lb2");
}

#[test]
fn garbage_a_frame_that_is_too_long_and_a_stall_end_the_connection_and_nothing_else() {
    let server = Server::start(Desk::default());
    for bytes in [&[0xff, 0xff, 1, 2, 3][..], &[0, 0], &[0, 15, 1], b"GET / HTTP/1.1\r\n\r\n"] {
        let mut stream = TcpStream::connect(server.address).unwrap();
        stream.write_all(bytes).unwrap();
        assert_eq!(closed(stream), 0, "{bytes:?}");
    }
    // Half a frame, and then nothing: the handshake has its deadline.
    let begin = Instant::now();
    let mut stream = TcpStream::connect(server.address).unwrap();
    stream.write_all(&[0, 48, 1]).unwrap();
    assert_eq!(closed(stream), 0);
    assert!(begin.elapsed() >= Duration::from_secs(4));
    assert_eq!(server.link(&server.key).look().unwrap().name, "lb2");
}

#[test]
fn a_second_session_is_refused_and_strangers_do_not_fill_the_box() {
    let server = Server::start(Desk::default());
    let mut first = server.link(&server.key);
    first.look().unwrap();
    let error = server.link(&server.key).look().unwrap_err();
    assert!(error.contains("another session of the pair is open"), "{error}");
    let strangers: Vec<TcpStream> = (0..8).map(|_| TcpStream::connect(server.address).unwrap()).collect();
    let begin = Instant::now();
    // Those beyond the limit are closed at once.
    strangers.into_iter().rev().take(4).for_each(|stream| {
        closed(stream);
    });
    assert!(begin.elapsed() < Duration::from_secs(4));
    assert_eq!(first.look().unwrap().name, "lb2", "the session goes on");
}

#[test]
fn a_message_that_was_changed_on_the_way_is_no_message() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let key = Key::random().unwrap();
    let their = key.clone();
    let other = std::thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        let raw = stream.try_clone().unwrap();
        let mut channel = Channel::open(stream, &their, End::Called).unwrap();
        channel.send(&7_u32).unwrap();
        let mut raw = raw;
        raw.write_all(&[&[0, 17][..], &[1; 17]].concat()).unwrap();
        std::thread::sleep(Duration::from_millis(200));
    });
    let stream = TcpStream::connect(address).unwrap();
    let mut channel = Channel::open(stream, &key, End::Caller).unwrap();
    assert_eq!(channel.expect::<u32>(Duration::from_secs(5)).unwrap(), 7);
    let error = channel.expect::<u32>(Duration::from_secs(5)).unwrap_err();
    assert!(matches!(error, ChannelError::Garbage), "{error}");
    assert!(matches!(channel.send(&vec![0_u8; 70_000]), Err(ChannelError::TooLong(_))));
    other.join().unwrap();
}

#[test]
fn a_plan_outlives_a_restart_and_a_damaged_one_holds_nothing_back() {
    let dir = Scratch::new("peer-plan");
    assert!(Plan::load(dir.path()).is_none() && !Plan::behind(dir.path()));
    let note = Note { behind: true, target: Some(system()), ..Note::default() };
    let plan = Plan::new(dir.path(), note);
    plan.save().unwrap();
    assert!(Plan::behind(dir.path()));
    assert_eq!(Plan::load(dir.path()), Some(plan));
    assert!(super::wanted(dir.path()));
    std::fs::write(dir.path().join("pair-update.json"), b"{\"plan\": {").unwrap();
    assert!(!Plan::behind(dir.path()) && !super::wanted(dir.path()));
}
