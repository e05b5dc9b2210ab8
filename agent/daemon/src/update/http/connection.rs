//! The way to a server: name, address, TCP and TLS, made by a thread of its own so that Ctrl-C is heard meanwhile.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs as _};
use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use thiserror::Error;

use super::url::Url;
use super::{Timing, tls};

/// Why there is no connection.
#[derive(Debug, Error)]
pub enum ConnectError {
    /// The name has no address.
    #[error("{host} has no address ({error}): check the name, and \"show configuration\" for name servers")]
    Name {
        /// The name.
        host: String,
        /// What the resolver says.
        error: String,
    },
    /// No address answers.
    #[error("{address} does not answer: {error}")]
    Tcp {
        /// The last one that was tried.
        address: SocketAddr,
        /// Why not.
        error: io::Error,
    },
    /// The server cannot prove who it is, or does not speak TLS.
    #[error(transparent)]
    Tls(#[from] tls::TlsError),
    /// No thread.
    #[error("out of threads or memory")]
    Thread,
}

impl ConnectError {
    /// Whether another try may go better.
    pub const fn passing(&self) -> bool {
        match self {
            Self::Name { .. } | Self::Tcp { .. } | Self::Thread => true,
            Self::Tls(error) => error.passing(),
        }
    }
}

/// Bytes in both directions.
pub trait Stream: Read + Write + Send {}

impl<T: Read + Write + Send> Stream for T {}

/// A connection.
pub struct Connection {
    stream: Box<dyn Stream>,
}

impl Connection {
    /// Reads; `None` when nothing came for a moment.
    pub fn read(&mut self, into: &mut [u8]) -> io::Result<Option<usize>> {
        match self.stream.read(into) {
            Ok(count) => Ok(Some(count)),
            Err(error) if is_wait(&error) => Ok(None),
            // Closed without the farewell of TLS: the framing tells whether anything is missing.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(Some(0)),
            Err(error) => Err(error),
        }
    }
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Connection")
    }
}

fn is_wait(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted)
}

/// A connection that is being made.
#[derive(Debug)]
pub struct Connecting(Receiver<Result<Connection, ConnectError>>);

impl Connecting {
    /// Begins: resolves, connects, greets, and sends the request. Reads of the connection return after a tick.
    pub fn begin(url: &Url, request: String, timing: Timing, authorities: &Path) -> Self {
        let (sender, receiver) = channel();
        let (url, authorities) = (url.clone(), authorities.to_owned());
        // Ends by itself: each of its steps has a deadline. Without a thread the sender is dropped, which is read below.
        let _ = thread::Builder::new().name("update-connect".to_owned()).spawn(move || {
            let _ = sender.send(connect(&url, &request, timing, &authorities));
        });
        Self(receiver)
    }

    /// Waits for it, at most `tick`; `None` when it is not there yet.
    pub fn wait(&self, tick: Duration) -> Option<Result<Connection, ConnectError>> {
        match self.0.recv_timeout(tick) {
            Ok(result) => Some(result),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => Some(Err(ConnectError::Thread)),
        }
    }
}

fn connect(url: &Url, request: &str, timing: Timing, authorities: &Path) -> Result<Connection, ConnectError> {
    let patience = timing.connect;
    let (socket, address) = tcp(url, patience)?;
    let failed = |error| ConnectError::Tcp { address, error };
    // Whoever accepts and then says nothing is given up as well.
    socket.set_read_timeout(Some(patience)).map_err(failed)?;
    socket.set_write_timeout(Some(patience)).map_err(failed)?;
    let clock = socket.try_clone().map_err(failed)?;
    let mut stream: Box<dyn Stream> =
        if url.secure { Box::new(tls::greet(socket, &url.host, authorities)?) } else { Box::new(socket) };
    stream.write_all(request.as_bytes()).and_then(|()| stream.flush()).map_err(failed)?;
    clock.set_read_timeout(Some(timing.tick)).map_err(failed)?;
    Ok(Connection { stream })
}

/// Tries each address of the name in turn.
fn tcp(url: &Url, patience: Duration) -> Result<(TcpStream, SocketAddr), ConnectError> {
    let unknown = |error: String| ConnectError::Name { host: url.host.clone(), error };
    let addresses =
        (url.host.as_str(), url.port).to_socket_addrs().map_err(|error| unknown(error.to_string()))?;
    let mut last = unknown("none is known".to_owned());
    for address in addresses {
        match TcpStream::connect_timeout(&address, patience) {
            Ok(socket) => return Ok((socket, address)),
            Err(error) => last = ConnectError::Tcp { address, error },
        }
    }
    Err(last)
}
