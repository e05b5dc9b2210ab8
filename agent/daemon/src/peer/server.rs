//! The driven end of the channel: one session after the other, on a box whose Master drives an update of the pair.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bascule_core::bundle::Older;
use bascule_core::pair::message::{Answer, Ask, LANGUAGE, PAGE, PART, Plan as Note, Work};
use bascule_core::pair::{Side, System};

use super::channel::{Channel, ChannelError, End};
use super::key::Key;
use super::sight::Connections;
use crate::update::{Got, Source, SourceError};

/// Connections at once, also of strangers.
const CONNECTIONS: usize = 4;
/// Who says nothing for so long is disconnected.
const IDLE: Duration = Duration::from_secs(60);
/// The same while a bundle comes: the driver's own source may stall.
const BUNDLE: Duration = Duration::from_secs(300);
/// A session that begins waits so long for the one before it to end.
const TURN: Duration = Duration::from_secs(2);
/// A read of the bundle waits at most so long.
const PATIENCE: Duration = Duration::from_millis(250);

/// What a session can do on this box. Tests have a box of their own.
pub trait Here: Send + Sync {
    /// How it stands.
    ///
    /// # Errors
    /// What is not known.
    fn side(&self) -> Result<Side, String>;

    /// The connections that it knows.
    ///
    /// # Errors
    /// Why they are not known.
    fn connections(&self) -> Result<Connections, String>;

    /// Installs a bundle; `tell` hears how far it is and says whether it shall go on.
    ///
    /// # Errors
    /// Why it is not installed.
    fn install(
        &self,
        user: &str,
        older: Older,
        source: &mut dyn Source,
        tell: &Tell,
    ) -> Result<System, String>;

    /// Restarts into the installed system.
    ///
    /// # Errors
    /// Why not.
    fn activate(&self) -> Result<(), String>;

    /// Remembers what is said of the update.
    fn note(&self, note: Note);
}

/// How far an install is: the latest, for the session to send.
#[derive(Debug, Default)]
pub struct Tell(std::sync::Mutex<Option<(Work, u64, u64)>>);

impl Tell {
    /// Replaces the latest.
    pub fn set(&self, step: Work, done: u64, total: u64) {
        *self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some((step, done, total));
    }

    fn take(&self) -> Option<(Work, u64, u64)> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take()
    }
}

/// Who is there.
#[derive(Debug, Default)]
pub struct Guests {
    /// Connections, also of strangers.
    all: AtomicUsize,
    /// Sessions: at most one.
    sessions: AtomicUsize,
}

/// One more, for as long as this value lives.
struct Seat<'a>(&'a AtomicUsize);

impl<'a> Seat<'a> {
    fn take(count: &'a AtomicUsize, most: usize) -> Option<Self> {
        let taken = count.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| (n < most).then_some(n + 1));
        taken.is_ok().then(|| Self(count))
    }
}

impl<'a> Seat<'a> {
    /// As `take`, for a caller whose earlier connection is just ending.
    fn wait(count: &'a AtomicUsize, most: usize, patience: Duration) -> Option<Self> {
        let end = Instant::now() + patience;
        loop {
            match Self::take(count, most) {
                None if Instant::now() < end => std::thread::sleep(Duration::from_millis(50)),
                seat => return seat,
            }
        }
    }
}

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Accepts who has come, if anybody, in a thread of its own.
pub fn accept(listener: &TcpListener, key: &Key, here: &Arc<dyn Here>, guests: &Arc<Guests>) {
    let Ok((stream, from)) = listener.accept() else { return };
    let (key, here, guests) = (key.clone(), Arc::clone(here), Arc::clone(guests));
    let serve = move || {
        let Some(_seat) = Seat::take(&guests.all, CONNECTIONS) else {
            tracing::warn!(key = "peer-full", %from, "too many connections: refused");
            return;
        };
        if let Err(error) = meet(stream, from, &key, here.as_ref(), &guests) {
            // The log keeps one line of a kind in a while: a stranger shall not fill it.
            tracing::warn!(key = "peer-session", %from, "the connection of the pair ended: {error}");
        }
    };
    if let Err(error) = std::thread::Builder::new().name("peer".into()).spawn(serve) {
        tracing::warn!(key = "peer-thread", "{error}");
    }
}

fn meet(
    stream: TcpStream,
    from: SocketAddr,
    key: &Key,
    here: &dyn Here,
    guests: &Guests,
) -> Result<(), ChannelError> {
    stream.set_nonblocking(false)?;
    let mut channel = Channel::open(stream, key, End::Called)?;
    // Only this proves that it is nobody who plays an old connection again.
    let hello = channel.expect::<Ask>(IDLE)?;
    let Some(_seat) = Seat::wait(&guests.sessions, 1, TURN) else {
        return channel
            .send(&Answer::Refused("another session of the pair is open: wait until it ends".into()));
    };
    match hello {
        Ask::Hello(LANGUAGE) => channel.send(&Answer::Hello(LANGUAGE))?,
        _ => {
            let text = format!("this box speaks language {LANGUAGE} of the pair, update each box by itself");
            return channel.send(&Answer::Refused(text));
        }
    }
    tracing::info!(%from, "the other box is connected");
    serve(&mut channel, here)
}

/// Answers until the other box leaves.
fn serve(channel: &mut Channel, here: &dyn Here) -> Result<(), ChannelError> {
    loop {
        let ask = match channel.receive::<Ask>(IDLE) {
            Ok(Some(ask)) => ask,
            Ok(None) => return Ok(()),
            Err(ChannelError::Io(error)) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        match ask {
            Ask::Look => channel.send(&match here.side() {
                Ok(side) => Answer::Side(Box::new(side)),
                Err(reason) => Answer::Refused(reason),
            })?,
            Ask::Connections => connections(channel, here)?,
            Ask::Activate => {
                channel.send(&here.activate().map_or_else(Answer::Refused, |()| Answer::Done))?
            }
            Ask::Note(note) => {
                here.note(note);
                channel.send(&Answer::Done)?;
            }
            Ask::Install { user, length, older } => {
                let older = if older { Older::Install } else { Older::Refuse };
                install(channel, here, &user, length, older)?;
            }
            Ask::Hello(_) | Ask::Part(_) | Ask::Rewound(_) => return Err(ChannelError::Garbage),
        }
    }
}

fn connections(channel: &mut Channel, here: &dyn Here) -> Result<(), ChannelError> {
    let all = match here.connections() {
        Ok(all) => all,
        Err(reason) => return channel.send(&Answer::Refused(reason)),
    };
    let mut hashes = all.hashes().peekable();
    loop {
        let page: Vec<u64> = hashes.by_ref().take(PAGE).collect();
        let more = hashes.peek().is_some();
        channel.send(&Answer::Connections { hashes: page, more })?;
        if !more {
            return Ok(());
        }
    }
}

fn install(
    channel: &mut Channel,
    here: &dyn Here,
    user: &str,
    length: Option<u64>,
    older: Older,
) -> Result<(), ChannelError> {
    let tell = Tell::default();
    let mut source = Stream { channel, tell: &tell, length, asked: None, failed: false };
    let result = here.install(user, older, &mut source, &tell);
    if source.failed {
        return Err(ChannelError::Garbage);
    }
    channel.send(&result.map_or_else(Answer::Refused, Answer::Installed))
}

/// The bundle as it comes from the other box.
struct Stream<'a> {
    channel: &'a mut Channel,
    tell: &'a Tell,
    length: Option<u64>,
    /// A part was asked for, and since when.
    asked: Option<Instant>,
    failed: bool,
}

impl Stream<'_> {
    fn fail(&mut self, error: ChannelError) -> SourceError {
        self.failed = true;
        SourceError::Peer(error.to_string())
    }

    fn report(&mut self) -> Result<(), ChannelError> {
        match self.tell.take() {
            Some((step, done, total)) => self.channel.send(&Answer::Progress { step, done, total }),
            None => Ok(()),
        }
    }
}

impl Source for Stream<'_> {
    fn read(&mut self, into: &mut [u8]) -> Result<Got, SourceError> {
        let most = into.len().min(PART);
        if self.asked.is_none() {
            let want = Answer::Want(u32::try_from(most).unwrap_or(1));
            let sent = self.report().and_then(|()| self.channel.send(&want));
            sent.map_err(|error| self.fail(error))?;
            self.asked = Some(Instant::now());
        }
        match self.channel.receive::<Ask>(PATIENCE).map_err(|error| self.fail(error))? {
            Some(Ask::Part(bytes)) if bytes.len() <= most => {
                self.asked = None;
                into[..bytes.len()].copy_from_slice(&bytes);
                Ok(if bytes.is_empty() { Got::End } else { Got::Bytes(bytes.len()) })
            }
            Some(_) => Err(self.fail(ChannelError::Garbage)),
            None if self.asked.is_some_and(|since| since.elapsed() >= BUNDLE) => {
                Err(self.fail(ChannelError::Stalled(BUNDLE)))
            }
            None => Ok(Got::Waiting),
        }
    }

    fn length(&self) -> Option<u64> {
        self.length
    }

    fn rewind(&mut self, to: u64) -> Result<bool, SourceError> {
        self.channel.send(&Answer::Rewind(to)).map_err(|error| self.fail(error))?;
        match self.channel.expect::<Ask>(IDLE).map_err(|error| self.fail(error))? {
            Ask::Rewound(done) => Ok(done),
            _ => Err(self.fail(ChannelError::Garbage)),
        }
    }
}
