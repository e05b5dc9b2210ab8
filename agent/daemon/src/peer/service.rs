//! `bascule peer`: listens for the other box while there is a `[peer]` and a key, and ends an update of the pair after
//! the restart of this box. Started by init when there is a key.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bascule_core::bundle::Older;
use bascule_core::pair::message::{Plan as Note, Work};
use bascule_core::pair::{Side, System};
use bascule_core::router::Role;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::finish;
use super::key::Key;
use super::link::Way;
use super::plan::Plan;
use super::server::{self, Guests, Here, Tell};
use super::sight::{self, Connections};
use crate::people::audit::{self, Entry};
use crate::people::{self, Identity, Place};
use crate::shell::AgentAt;
use crate::update::{self, At, Lock, NotDone, Source, Step, Stop, ThisBox, Watch};

/// How often configuration and key are looked at.
const LOOK: Duration = Duration::from_secs(3);
/// Connections that wait to be accepted.
const BACKLOG: i32 = 4;

/// Whether this process has something to do.
#[must_use]
pub fn wanted(state_dir: &Path) -> bool {
    Key::path(state_dir).exists() || Plan::behind(state_dir)
}

/// Runs until there is no key any more.
///
/// # Errors
/// Never so far.
pub fn run(run_dir: &Path, state_dir: &Path) -> Result<(), String> {
    crate::log::start(crate::log::Target::Kmsg, "peer");
    let here =
        ThisPair { run_dir: run_dir.to_owned(), state_dir: state_dir.to_owned(), plan: Mutex::new(()) };
    let here: Arc<dyn Here> = Arc::new(here);
    let guests = Arc::new(Guests::default());
    let finisher = Plan::behind(state_dir).then(|| {
        let (run_dir, state_dir) = (run_dir.to_owned(), state_dir.to_owned());
        std::thread::spawn(move || finish::run(&run_dir, &state_dir))
    });
    let agent = AgentAt(run_dir.to_owned());
    let mut door: Option<Door> = None;
    loop {
        let busy = finisher.as_ref().is_some_and(|thread| !thread.is_finished());
        if !busy && !wanted(state_dir) {
            return Ok(());
        }
        match (Key::load(state_dir), Way::find(&agent)) {
            (Ok(Some(key)), Ok(Some(way))) => {
                if door.as_ref().is_none_or(|door| door.way != way || door.key != key) {
                    drop(door.take());
                    door = Door::open(way, key);
                }
            }
            (Ok(_), Ok(_)) => door = None,
            (Err(reason), _) => {
                tracing::warn!(key = "peer-key", "{reason}");
                door = None;
            }
            // An agent that starts again changes nothing.
            (Ok(_), Err(_)) => {}
        }
        serve(door.as_ref(), &here, &guests);
    }
}

/// Accepts whoever comes until it is time to look again.
fn serve(door: Option<&Door>, here: &Arc<dyn Here>, guests: &Arc<Guests>) {
    let until = Instant::now() + LOOK;
    let Some(door) = door else { return std::thread::sleep(LOOK) };
    while let left = until.saturating_duration_since(Instant::now())
        && !left.is_zero()
    {
        let millis = u16::try_from(left.as_millis()).unwrap_or(u16::MAX).max(1);
        let mut fds = [PollFd::new(door.listener.as_fd(), PollFlags::POLLIN)];
        if poll(&mut fds, PollTimeout::from(millis)).is_ok_and(|ready| ready > 0) {
            server::accept(&door.listener, &door.key, here, guests);
        }
    }
}

/// Where this box listens.
#[derive(Debug)]
struct Door {
    way: Way,
    key: Key,
    listener: TcpListener,
}

impl Door {
    fn open(way: Way, key: Key) -> Option<Self> {
        match listen(&way) {
            Ok(listener) => {
                tracing::info!(own = %way.own, port = way.peer.port(), "listens for the other box of the pair");
                Some(Self { way, key, listener })
            }
            Err(error) => {
                tracing::warn!(key = "peer-listen", "this box cannot listen for the other one: {error}");
                None
            }
        }
    }
}

fn listen(way: &Way) -> io::Result<TcpListener> {
    let socket = way.socket()?;
    socket.set_reuse_address(true)?;
    socket.bind(&SocketAddr::new(way.own, way.peer.port()).into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

/// This box, as a session sees it.
struct ThisPair {
    run_dir: PathBuf,
    state_dir: PathBuf,
    /// Held while the plan is written.
    plan: Mutex<()>,
}

impl ThisPair {
    fn machine(&self) -> ThisBox {
        ThisBox::new(&self.run_dir, &self.state_dir)
    }

    fn place(&self) -> Place {
        Place { run_dir: self.run_dir.clone(), state_dir: self.state_dir.clone(), origin: "peer".to_owned() }
    }

    fn audit(&self, user: &str, command: &str, result: &str) {
        audit::append(&self.state_dir, Entry { user, origin: "peer", command, result });
    }
}

/// An install that another box watches.
struct Told<'a> {
    tell: &'a Tell,
    lock: &'a Lock,
}

impl Watch for Told<'_> {
    fn progress(&mut self, step: Step, done: u64, total: u64) -> Result<(), Stop> {
        let work = match step {
            Step::Checking => Work::Checking,
            Step::Receiving => Work::Receiving,
            Step::ReadingBack => Work::ReadingBack,
        };
        self.tell.set(work, done, total);
        if self.lock.cancelled() { Err(Stop::Cancelled) } else { Ok(()) }
    }

    fn verified(&mut self, bundle: &bascule_core::bundle::Verified) -> Result<(), Stop> {
        tracing::info!(version = %bundle.manifest().version, "the other box sends a bundle");
        Ok(())
    }

    fn news(&mut self, line: &str) -> Result<(), Stop> {
        tracing::info!("{line}");
        Ok(())
    }
}

impl Here for ThisPair {
    fn side(&self) -> Result<Side, String> {
        sight::side(&mut self.machine(), &AgentAt(self.run_dir.clone()), &self.run_dir)
    }

    fn connections(&self) -> Result<Connections, String> {
        Connections::here()
    }

    fn install(
        &self,
        user: &str,
        older: Older,
        source: &mut dyn Source,
        tell: &Tell,
    ) -> Result<System, String> {
        let lock = Lock::take(&self.run_dir).map_err(|error| format!("the lock cannot be taken: {error}"))?;
        let lock = lock.ok_or("another update runs there")?;
        self.audit(user, "update install (by the other box)", "begun");
        let (place, agent) = (self.place(), AgentAt(self.run_dir.clone()));
        let who = identity(user);
        let at = At { place: &place, who: &who, agent: &agent };
        let mut watch = Told { tell, lock: &lock };
        let label = "the other box";
        let done = update::install_from(&mut self.machine(), at, &lock, label, older, source, &mut watch);
        done.map(|verified| system(&verified)).map_err(|error| match error {
            NotDone::Cancelled => "cancelled there".to_owned(),
            NotDone::Failed(reason) => reason,
        })
    }

    fn activate(&self) -> Result<(), String> {
        // Whoever serves does not restart because another box says so.
        let side = self.side()?;
        if let Some((name, _)) = side.routers.iter().find(|(_, role)| **role == Role::Master) {
            return Err(format!("virtual router {name} is Master here: this box does not restart"));
        }
        let lock = Lock::take(&self.run_dir).map_err(|error| format!("the lock cannot be taken: {error}"))?;
        let _lock = lock.ok_or("another update runs there")?;
        let (place, agent, who) = (self.place(), AgentAt(self.run_dir.clone()), identity("peer"));
        self.audit("peer", "update activate (by the other box)", "begun");
        let at = At { place: &place, who: &who, agent: &agent };
        update::activate(&mut self.machine(), at).map(drop)
    }

    fn note(&self, note: Note) {
        let _held = self.plan.lock();
        // A plan of this box's own that is not at its end is the one that counts.
        if !Plan::behind(&self.state_dir) {
            Plan::new(&self.state_dir, Note { behind: false, ..note }).keep();
        }
    }
}

/// What a bundle holds.
pub fn system(verified: &bascule_core::bundle::Verified) -> System {
    let manifest = verified.manifest();
    System { version: manifest.version, sha256: manifest.payload.sha256 }
}

fn identity(user: &str) -> Identity {
    let name = user.parse().unwrap_or_else(|_| Identity::root().name);
    Identity { name, role: people::Role::Admin }
}
