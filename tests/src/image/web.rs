//! A web server of this machine for boxes on QEMU's own network.

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::boot::ANSWER;

/// Seen from a guest, this machine.
pub const HOST: &str = "10.0.2.2";
/// At the end of a path: the file comes by half.
pub const STALLS: &str = "/stalls";

/// Serves files to the guest on loopback, which QEMU shows it as its gateway.
#[derive(Debug)]
pub struct Web {
    port: u16,
    secure: bool,
    goes_on: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Web {
    /// Serves each file at its path. A request for the path with [`STALLS`] behind it gets half of the file, and then
    /// nothing while this value lives.
    ///
    /// # Errors
    /// When there is no port.
    pub fn serve(files: Vec<(String, PathBuf)>) -> Result<Web> {
        Self::start(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?, files, None)
    }

    /// On a listener, also one of another namespace.
    ///
    /// # Errors
    /// When the listener is of no use.
    pub fn on(listener: TcpListener, files: Vec<(String, PathBuf)>) -> Result<Web> {
        Self::start(listener, files, None)
    }

    /// The same over TLS.
    ///
    /// # Errors
    /// When there is no port.
    pub fn serve_secure(files: Vec<(String, PathBuf)>, tls: ServerConfig) -> Result<Web> {
        Self::start(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?, files, Some(Arc::new(tls)))
    }

    fn start(
        listener: TcpListener,
        files: Vec<(String, PathBuf)>,
        tls: Option<Arc<ServerConfig>>,
    ) -> Result<Web> {
        let secure = tls.is_some();
        let port = listener.local_addr()?.port();
        listener.set_nonblocking(true)?;
        let goes_on = Arc::new(AtomicBool::new(true));
        let flag = Arc::clone(&goes_on);
        let files = Arc::new(files);
        let thread = std::thread::spawn(move || {
            while flag.load(Ordering::Relaxed) {
                let Ok((stream, _)) = listener.accept() else {
                    std::thread::sleep(Duration::from_millis(50));
                    continue;
                };
                let (flag, files, tls) = (Arc::clone(&flag), Arc::clone(&files), tls.clone());
                std::thread::spawn(move || drop(welcome(stream, tls, &files, &flag)));
            }
        });
        Ok(Web { port, secure, goes_on, thread: Some(thread) })
    }

    /// Its port on this machine's loopback address, and on [`HOST`].
    pub fn port(&self) -> u16 {
        self.port
    }

    /// What a guest asks for.
    pub fn url(&self, path: &str) -> String {
        let scheme = if self.secure { "https" } else { "http" };
        format!("{scheme}://{HOST}:{}{path}", self.port)
    }
}

impl Drop for Web {
    fn drop(&mut self) {
        self.goes_on.store(false, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn welcome(
    stream: TcpStream,
    tls: Option<Arc<ServerConfig>>,
    files: &[(String, PathBuf)],
    goes_on: &AtomicBool,
) -> Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(ANSWER))?;
    stream.set_write_timeout(Some(ANSWER))?;
    let Some(tls) = tls else { return answer(stream, files, goes_on) };
    let mut stream = StreamOwned::new(ServerConnection::new(tls)?, stream);
    answer(&mut stream, files, goes_on)?;
    stream.conn.send_close_notify();
    Ok(stream.flush()?)
}

fn answer(mut stream: impl Read + Write, files: &[(String, PathBuf)], goes_on: &AtomicBool) -> Result<()> {
    let mut request = Vec::new();
    let mut bytes = [0; 1_024];
    while !request.windows(4).any(|end| end == b"\r\n\r\n") {
        let count = stream.read(&mut bytes)?;
        ensure!(count > 0 && request.len() < 16_384, "no request");
        request.extend_from_slice(&bytes[..count]);
    }
    let request = String::from_utf8_lossy(&request).into_owned();
    let asked = request.split(' ').nth(1).unwrap_or_default();
    let (path, stalls) = asked.strip_suffix(STALLS).map_or((asked, false), |path| (path, true));
    let found = files.iter().find(|(name, _)| name == path);
    let Some(content) = found.map(|(_, file)| content(file)).transpose()? else {
        let head = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
        return Ok(stream.write_all(head)?);
    };
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", content.len());
    stream.write_all(head.as_bytes())?;
    if !stalls {
        return Ok(stream.write_all(&content)?);
    }
    stream.write_all(&content[..content.len() / 2])?;
    while goes_on.load(Ordering::Relaxed) {
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

fn content(file: &Path) -> Result<Vec<u8>> {
    fs::read(file).with_context(|| format!("cannot read {}", file.display()))
}
