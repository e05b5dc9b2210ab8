//! The control socket: how `show`, `reload` and the shell reach the agent.
//!
//! `RUN_DIR/control.sock`, mode 0600, one frame per request and one per reply (`bascule_core::wire::frame`).
//! Each client is a task of its own; one that sends a bad frame or nothing is disconnected, and nothing else
//! is disturbed.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::os::unix::net::{UnixListener as BlockingListener, UnixStream as BlockingStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bascule_core::control::{Reply, Request};
use bascule_core::wire::frame::{self, Decoder, FrameError};
use nix::fcntl::{Flock, FlockArg};
use thiserror::Error;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::timeout;

/// Longest request in bytes: a configuration that is loaded as a text.
const REQUEST_MAX: usize = (4 << 20) + (64 << 10);
/// Requests are short. One that is longer waits until at most `LONG` others are: this bounds the memory.
const SHORT: usize = 16 << 10;
/// Clients with a long request at once.
const LONG: usize = 4;
/// A client sends a request in one go: one that pauses within it for this long is disconnected.
const PAUSE: Duration = Duration::from_secs(3);
/// Longest reply in bytes: the status of ten thousands of real servers.
const REPLY_MAX: usize = 16 << 20;
/// Clients at once; more wait.
const CLIENTS: usize = 32;
/// A client that says nothing, or does not read its reply, for this long is disconnected.
const IDLE: Duration = Duration::from_secs(60);
/// Longest wait of a client for its reply.
const PATIENCE: Duration = Duration::from_secs(20);

/// Why the agent could not be reached or could not listen.
#[derive(Debug, Error)]
pub enum ControlError {
    /// No agent there.
    #[error("no agent answers at {path} ({error}): is it running, and with this --run-dir?")]
    NoAgent {
        /// The socket.
        path: PathBuf,
        /// Why not.
        error: io::Error,
    },
    /// The connection broke.
    #[error("the agent did not answer: {0}: see its log")]
    Broken(io::Error),
    /// It answered with something else.
    #[error("the agent's answer is not understood: {0}")]
    Frame(#[from] FrameError),
    /// The run directory cannot be used.
    #[error("cannot use {path} as run directory: {error}")]
    RunDir {
        /// What in it.
        path: PathBuf,
        /// Why not.
        error: io::Error,
    },
    /// Another agent has this run directory.
    #[error("another agent is running with run directory {0}: stop it, or use another --run-dir")]
    Taken(PathBuf),
}

/// A request that waits for its reply.
#[derive(Debug)]
pub struct Call {
    /// What is asked.
    pub request: Request,
    /// Where the reply goes.
    pub reply: oneshot::Sender<Reply>,
}

/// The run directory, held for as long as this value lives: a second agent is refused.
#[derive(Debug)]
pub struct RunDir {
    path: PathBuf,
    _lock: Flock<File>,
}

impl RunDir {
    /// Makes the directory (mode 0700) when it is missing, and takes it. A predecessor that was just killed may
    /// hold it for a moment longer, so this waits up to two seconds.
    ///
    /// # Errors
    /// When it cannot be made or another agent has it.
    pub fn take(path: &Path) -> Result<Self, ControlError> {
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |error| ControlError::RunDir { path, error }
        };
        fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(failed(path))?;
        let lock = path.join("agent.lock");
        let mut file = File::create(&lock).map_err(failed(&lock))?;
        for _ in 0..40 {
            match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
                Ok(held) => return Ok(Self { path: path.to_owned(), _lock: held }),
                Err((back, nix::errno::Errno::EWOULDBLOCK)) => file = back,
                Err((_, errno)) => return Err(failed(&lock)(errno.into())),
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Err(ControlError::Taken(path.to_owned()))
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Listens on the control socket. A socket left behind is replaced: whoever holds the directory owns it.
    ///
    /// # Errors
    /// When the socket cannot be made.
    pub fn bind(&self) -> Result<BlockingListener, ControlError> {
        let path = self.path.join("control.sock");
        let bind = || {
            // Made beside its place: until it has its mode nobody can find it.
            let beside = self.path.join("control.sock.new");
            for old in [&beside, &path] {
                match fs::remove_file(old) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                    Ok(()) | Err(_) => {}
                }
            }
            let listener = BlockingListener::bind(&beside)?;
            fs::set_permissions(&beside, fs::Permissions::from_mode(0o600))?;
            fs::rename(&beside, &path)?;
            Ok(listener)
        };
        bind().map_err(|error| ControlError::RunDir { path: path.clone(), error })
    }
}

/// Serves clients for ever: each request goes to `calls`, each reply back to who asked.
pub async fn serve(listener: UnixListener, calls: mpsc::Sender<Call>) {
    let (places, long) = (Arc::new(Semaphore::new(CLIENTS)), Arc::new(Semaphore::new(LONG)));
    loop {
        // The semaphore is never closed.
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                let (calls, long) = (calls.clone(), Arc::clone(&long));
                tokio::spawn(async move {
                    let _place = place;
                    if let Err(error) = client(stream, calls, long).await {
                        tracing::warn!(key = "control-client", "control socket: client refused: {error}");
                    }
                });
            }
            Err(error) => {
                tracing::warn!(key = "control-accept", "control socket: {error}");
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        }
    }
}

/// Why a client was disconnected.
#[derive(Debug, Error)]
enum ClientError {
    #[error(transparent)]
    Frame(#[from] FrameError),
    #[error("the connection ended within a frame")]
    Truncated,
    #[error("it stopped within a frame")]
    Stopped,
    #[error("it does not read its reply")]
    Stuck,
    #[error(transparent)]
    Io(#[from] io::Error),
}

async fn client(
    mut stream: UnixStream,
    calls: mpsc::Sender<Call>,
    long: Arc<Semaphore>,
) -> Result<(), ClientError> {
    let mut decoder = Decoder::<Request>::new(REQUEST_MAX);
    let mut bytes = vec![0_u8; 4 << 10];
    // Bytes of a request that is not whole yet, and the right to go on with a long one.
    let mut partial = 0;
    let mut right = None;
    loop {
        let patience = if partial > 0 { PAUSE } else { IDLE };
        let read = match timeout(patience, stream.read(&mut bytes)).await {
            Ok(read) => read?,
            Err(_) if partial > 0 => return Err(ClientError::Stopped),
            Err(_) => return Ok(()),
        };
        if read == 0 {
            return if partial > 0 { Err(ClientError::Truncated) } else { Ok(()) };
        }
        partial = match bytes[..read].iter().rposition(|byte| *byte == 0) {
            Some(end) => read - end - 1,
            None => partial + read,
        };
        if partial <= SHORT {
            right = None;
        } else if right.is_none() {
            // The semaphore is never closed.
            right = Arc::clone(&long).acquire_owned().await.ok();
        }
        for request in decoder.push(&bytes[..read]) {
            let (reply, answer) = oneshot::channel();
            if calls.send(Call { request: request?, reply }).await.is_err() {
                return Ok(());
            }
            // No reply: the agent is on its way out.
            let Ok(answer) = answer.await else { return Ok(()) };
            let frame = frame::encode(&answer);
            timeout(IDLE, stream.write_all(&frame)).await.map_err(|_| ClientError::Stuck)??;
        }
    }
}

/// Asks the agent of `run_dir` and waits for its reply, at most 20 s.
///
/// # Errors
/// When no agent answers, or not in a way that this release understands.
pub fn ask(run_dir: &Path, request: &Request) -> Result<Reply, ControlError> {
    let path = run_dir.join("control.sock");
    let mut stream = BlockingStream::connect(&path)
        .map_err(|error| ControlError::NoAgent { path: path.clone(), error })?;
    let broken = ControlError::Broken;
    stream.set_read_timeout(Some(PATIENCE)).map_err(broken)?;
    stream.set_write_timeout(Some(PATIENCE)).map_err(broken)?;
    stream.write_all(&frame::encode(request)).map_err(broken)?;
    let mut decoder = Decoder::<Reply>::new(REPLY_MAX);
    let mut bytes = vec![0_u8; 64 << 10];
    loop {
        let read = match stream.read(&mut bytes) {
            Ok(0) => return Err(broken(io::ErrorKind::UnexpectedEof.into())),
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(broken(error)),
        };
        if let Some(reply) = decoder.push(&bytes[..read]).into_iter().next() {
            return Ok(reply?);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::Scratch;

    /// An agent that answers every request with its name.
    fn agent(dir: &Path) -> tokio::task::JoinHandle<()> {
        let run_dir = RunDir::take(dir).unwrap();
        let listener = run_dir.bind().unwrap();
        listener.set_nonblocking(true).unwrap();
        let listener = UnixListener::from_std(listener).unwrap();
        let (calls, mut inbox) = mpsc::channel::<Call>(4);
        tokio::spawn(serve(listener, calls));
        tokio::spawn(async move {
            let _held = run_dir;
            while let Some(call) = inbox.recv().await {
                let _ = call.reply.send(Reply::Done(format!("{:?}", call.request)));
            }
        })
    }

    async fn asked(dir: &Path) -> Reply {
        let dir = dir.to_owned();
        tokio::task::spawn_blocking(move || ask(&dir, &Request::Status)).await.unwrap().unwrap()
    }

    /// Sends raw bytes and returns what comes back until the agent closes.
    async fn raw(dir: &Path, bytes: &[u8], shut: bool) -> Vec<u8> {
        let mut stream = UnixStream::connect(dir.join("control.sock")).await.unwrap();
        // It need not read all of it.
        let _ = stream.write_all(bytes).await;
        if shut {
            stream.shutdown().await.unwrap();
        }
        let mut back = Vec::new();
        // What the agent left unread makes its close a reset.
        let _ = timeout(Duration::from_secs(5), stream.read_to_end(&mut back)).await.unwrap();
        back
    }

    #[tokio::test]
    async fn a_bad_frame_closes_its_connection_and_disturbs_no_other() {
        let dir = Scratch::new("control");
        let _agent = agent(dir.path());
        let good = frame::encode(&Request::Status);
        let mut other = UnixStream::connect(dir.path().join("control.sock")).await.unwrap();

        let mut corrupt = good.clone();
        corrupt[1] ^= 0x40;
        assert_eq!(raw(dir.path(), &corrupt, false).await, b"");
        assert_eq!(raw(dir.path(), &good[..good.len() - 2], true).await, b"");
        // Too long, and short but never finished: the agent hangs up on both.
        assert_eq!(raw(dir.path(), &vec![7; REQUEST_MAX * 2], false).await, b"");
        assert_eq!(raw(dir.path(), &vec![7; SHORT * 2], false).await, b"");

        other.write_all(&good).await.unwrap();
        let mut bytes = [0; 256];
        let read = other.read(&mut bytes).await.unwrap();
        let replies = Decoder::<Reply>::new(REPLY_MAX).push(&bytes[..read]);
        assert_eq!(replies, [Ok(Reply::Done("Status".into()))]);
        assert_eq!(asked(dir.path()).await, Reply::Done("Status".into()));
    }

    #[tokio::test]
    async fn a_text_of_4_mib_arrives_and_many_at_once_wait_for_each_other() {
        let dir = Scratch::new("control");
        let _agent = agent(dir.path());
        let edit = bascule_core::config::edit::Edit::Merge("x".repeat(4 << 20));
        let request = Request::Edit { session: bascule_core::control::SessionId(1), edit };
        let asked: Vec<_> = (0..2 * LONG)
            .map(|_| {
                let (path, request) = (dir.path().to_owned(), request.clone());
                tokio::task::spawn_blocking(move || ask(&path, &request))
            })
            .collect();
        for asked in asked {
            let Reply::Done(text) = asked.await.unwrap().unwrap() else { panic!("not done") };
            assert!(text.len() > 4 << 20 && text.contains("Merge"));
        }
    }

    #[tokio::test]
    async fn a_stale_socket_is_replaced_and_a_second_agent_is_refused() {
        let dir = Scratch::new("control");
        drop(UnixListener::bind(dir.path().join("control.sock")).unwrap());
        let _agent = agent(dir.path());
        assert_eq!(asked(dir.path()).await, Reply::Done("Status".into()));
        let mode = fs::metadata(dir.path().join("control.sock")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let path = dir.path().to_owned();
        let second = tokio::task::spawn_blocking(move || RunDir::take(&path)).await.unwrap();
        assert!(matches!(second, Err(ControlError::Taken(_))), "{second:?}");
    }

    #[tokio::test]
    async fn many_clients_that_say_nothing_leave_no_place_only_until_one_goes() {
        let dir = Scratch::new("control");
        let _agent = agent(dir.path());
        let mut idle = Vec::new();
        for _ in 0..CLIENTS {
            idle.push(UnixStream::connect(dir.path().join("control.sock")).await.unwrap());
        }
        let path = dir.path().to_owned();
        let waiting = tokio::task::spawn_blocking(move || ask(&path, &Request::Status));
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert!(!waiting.is_finished());
        idle.pop();
        assert_eq!(waiting.await.unwrap().unwrap(), Reply::Done("Status".into()));
    }

    #[test]
    fn without_an_agent_the_error_names_the_socket() {
        let dir = Scratch::new("control");
        let error = ask(dir.path(), &Request::Status).unwrap_err().to_string();
        assert!(error.contains("control.sock") && error.contains("--run-dir"), "{error}");
    }
}
