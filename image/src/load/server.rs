//! A real server: HTTP/1.1 that answers with its name, and echoes lines on connections that stay.

use std::collections::HashMap;
use std::io::{self, Write};
use std::net::{Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result};

use super::{STACK, read_line};
use crate::net::Netns;

/// The path that turns a connection into one that echoes lines.
pub(super) const ECHO: &str = "/echo";
/// The header that tells which server it is.
pub(super) const NAME: &str = "x-server: ";
/// A connection that says nothing for so long is closed.
const PATIENCE: Duration = Duration::from_secs(60);
/// Connections that may be open at once; more are closed at once.
const LIMIT: usize = 1000;

/// Connections that are open, by number, so that a server that stops can close them.
type Open = Arc<Mutex<HashMap<u64, TcpStream>>>;

/// A server on every address of a namespace. It stops when dropped, and closes its connections.
#[derive(Debug)]
pub struct Server {
    stop: Arc<AtomicBool>,
    open: Open,
    port: u16,
    thread: Option<JoinHandle<Result<()>>>,
}

impl Server {
    /// Starts to serve on `port` (0: any) of all addresses, IPv4 and IPv6.
    ///
    /// # Errors
    /// The port is taken.
    pub fn start(netns: &Netns, name: &str, port: u16) -> Result<Self> {
        let address = SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), port);
        let bound = netns.enter(|| TcpListener::bind(address))?;
        let listener = bound.with_context(|| format!("{name} cannot listen on port {port}"))?;
        let port = listener.local_addr()?.port();
        listener.set_nonblocking(true)?;
        let stop = Arc::new(AtomicBool::new(false));
        let open = Open::default();
        let (stopped, connections, name) = (stop.clone(), open.clone(), name.to_owned());
        let body = move || accept(&listener, &name, &stopped, &connections);
        let thread = netns.thread("real server", body)?;
        Ok(Self { stop, open, port, thread: Some(thread) })
    }

    /// The port it listens on.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        for stream in lock(&self.open).values() {
            let _ = stream.shutdown(std::net::Shutdown::Both);
        }
    }
}

fn lock(open: &Open) -> MutexGuard<'_, HashMap<u64, TcpStream>> {
    open.lock().unwrap_or_else(PoisonError::into_inner)
}

fn accept(listener: &TcpListener, name: &str, stop: &AtomicBool, open: &Open) {
    let mut number = 0;
    while !stop.load(Ordering::Relaxed) {
        let Ok((stream, _)) = listener.accept() else {
            thread::sleep(Duration::from_millis(2));
            continue;
        };
        let Ok(copy) = stream.try_clone() else { continue };
        if lock(open).len() >= LIMIT {
            continue;
        }
        lock(open).insert(number, copy);
        let (name, others) = (name.to_owned(), open.clone());
        let serve = move || {
            let _ = serve(stream, &name);
            lock(&others).remove(&number);
        };
        if thread::Builder::new().stack_size(STACK).spawn(serve).is_err() {
            lock(open).remove(&number);
        }
        number += 1;
    }
}

fn serve(mut stream: TcpStream, name: &str) -> io::Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    // A health check connects and says nothing.
    let Some(request) = read_line(&mut stream, None)? else { return Ok(()) };
    while read_line(&mut stream, None)?.is_some_and(|line| !line.is_empty()) {}
    let path = request.split(' ').nth(1).unwrap_or_default();
    if path == ECHO {
        write!(
            stream,
            "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: echo\r\n{NAME}{name}\r\n\r\n"
        )?;
        while let Some(line) = read_line(&mut stream, None)? {
            stream.write_all(format!("{line}\n").as_bytes())?;
        }
        return Ok(());
    }
    let body = format!("{name}\n");
    let length = body.len();
    let head =
        format!("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {length}\r\n{NAME}{name}\r\n\r\n");
    stream.write_all(format!("{head}{body}").as_bytes())
}
