//! The TCP connect probe: a handshake within the deadline, then RST.

use std::io;
use std::net::SocketAddr;

use tokio::net::TcpSocket;

/// Why a handshake failed.
#[derive(Debug)]
pub enum Failure {
    /// The server or the network said no, in the operator's words.
    Server(String),
    /// This box has no socket, port or memory for it now: says nothing about the server.
    Local(io::Error),
}

/// Completes a handshake with `target` and resets the connection, so that no TIME_WAIT is left on either side.
/// Waits as long as the kernel does: the caller holds the deadline.
///
/// # Errors
/// When there is no connection.
pub async fn tcp(target: SocketAddr) -> Result<(), Failure> {
    let socket = match target {
        SocketAddr::V4(_) => TcpSocket::new_v4(),
        SocketAddr::V6(_) => TcpSocket::new_v6(),
    };
    let socket = socket.map_err(Failure::Local)?;
    socket.set_zero_linger().map_err(Failure::Local)?;
    let stream = socket.connect(target).await.map_err(classify)?;
    // A socket that dials a free port of its own range can meet itself (simultaneous open): nobody is there.
    match stream.local_addr() {
        Ok(own) if own == target => Err(Failure::Server("connection refused".to_owned())),
        Ok(_) | Err(_) => Ok(()),
    }
}

fn classify(error: io::Error) -> Failure {
    let words = match error.raw_os_error() {
        Some(libc::ECONNREFUSED) => "connection refused",
        Some(libc::ECONNRESET) => "connection reset",
        Some(libc::EHOSTUNREACH) => "no route to host",
        Some(libc::ENETUNREACH) => "network unreachable",
        Some(libc::ETIMEDOUT) => "no answer",
        Some(libc::EACCES | libc::EPERM) => "not permitted by this box's firewall",
        Some(
            libc::EADDRNOTAVAIL | libc::EAGAIN | libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM,
        ) => {
            return Failure::Local(error);
        }
        Some(_) | None => return Failure::Server(error.to_string()),
    };
    Failure::Server(words.to_owned())
}
