//! Traffic and what became of it: real servers, a client with a steady rate of requests, long-lived connections.
//!
//! The client is an open loop: it starts every request when its time has come, whether or not earlier ones were
//! answered, so an outage is counted in full and not only by the request that met it first.

pub mod client;
pub mod held;
pub mod server;

use std::io::{self, Read};
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// Threads here do little; a small stack lets many of them wait at once.
const STACK: usize = 128 * 1024;

/// Reads a line of at most 512 bytes, without its end; `None` when the other side has closed.
///
/// # Errors
/// The connection broke, the socket's own time limit passed, `end` passed, or the line is too long.
fn read_line(stream: &mut TcpStream, end: Option<Instant>) -> io::Result<Option<String>> {
    let mut line = Vec::new();
    let mut byte = [0u8];
    loop {
        if let Some(end) = end {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(io::ErrorKind::TimedOut.into());
            }
            stream.set_read_timeout(Some(left.max(Duration::from_millis(1))))?;
        }
        match stream.read(&mut byte)? {
            0 => return Ok(None),
            _ if byte[0] == b'\n' => break,
            _ if line.len() == 512 => return Err(io::ErrorKind::InvalidData.into()),
            _ => line.push(byte[0]),
        }
    }
    let text = String::from_utf8_lossy(&line);
    Ok(Some(text.trim_end_matches('\r').to_owned()))
}
