//! A file from a web server, over HTTP/1.1: one GET, and where the connection breaks or stalls, another one for the rest
//! (`Range` with `If-Range`, RFC 9110 sections 13 and 14).
//!
//! Every wait is bounded, and so are the tries: ten in a row that bring less than 256 KiB end it. A file that changes on
//! the server meanwhile is an error, never a mixture of two.

mod connection;
mod response;
mod tls;
mod url;

#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use bascule_core::shell::table::binary;
use thiserror::Error;

use self::connection::{ConnectError, Connecting, Connection};
use self::response::{Body, Head, Malformed};
pub use self::url::{Url, UrlError};
use super::authority;
use super::source::{Got, Source, SourceError};
use crate::look::version;

/// Most redirections of one request.
const REDIRECTS: u32 = 5;
/// So much must come for the tries to be counted anew, in bytes.
const PROGRESS: u64 = 256 << 10;
/// Bytes read at once.
const BUFFER: usize = 64 << 10;

/// How long things may take.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// Name, connection and greeting, each.
    pub connect: Duration,
    /// A connection on which nothing comes for this long is given up.
    pub stall: Duration,
    /// The first wait before another try; it doubles up to `longest`.
    pub first: Duration,
    /// The longest wait.
    pub longest: Duration,
    /// Tries in a row that bring nothing.
    pub tries: u32,
    /// Tries before anything came at all: a wrong address should be told soon.
    pub early: u32,
    /// How long a read waits at most.
    pub tick: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            stall: Duration::from_secs(20),
            first: Duration::from_secs(1),
            longest: Duration::from_secs(30),
            tries: 10,
            early: 3,
            tick: Duration::from_millis(250),
        }
    }
}

/// Why a download failed.
#[derive(Debug, Error)]
pub enum HttpError {
    /// The address is none.
    #[error(transparent)]
    Url(#[from] UrlError),
    /// The server said no.
    #[error("{url}: the server answers {status} {reason}: check the address")]
    Status {
        /// What was asked for.
        url: Url,
        /// Its status.
        status: u16,
        /// Its words.
        reason: String,
    },
    /// It does not keep to the protocol.
    #[error("{url}: {error}")]
    Malformed {
        /// What was asked for.
        url: Url,
        /// How not.
        error: Malformed,
    },
    /// It sends elsewhere, and from there elsewhere.
    #[error("{0}: more than {REDIRECTS} redirections")]
    Redirects(Url),
    /// It sends from an encrypted to an open connection.
    #[error("{0}: the server leads to an unencrypted address ({1}): give that one if it is meant")]
    Downgrade(Url, Url),
    /// The file is another one now.
    #[error("{0}: the file changed on the server while it was read: run the same command again")]
    Changed(Url),
    /// The server cannot prove who it is.
    #[error("{url}: {error}")]
    Connect {
        /// What was asked for.
        url: Url,
        /// Why there is no connection.
        error: ConnectError,
    },
    /// Tried often enough.
    #[error("{url}: {}after {tries} tries: {last}. Check server and network, then run the same command again", so_far(*.at, *.length))]
    GivenUp {
        /// What was asked for.
        url: Url,
        /// Bytes that came.
        at: u64,
        /// Bytes of the file.
        length: Option<u64>,
        /// How often it was tried.
        tries: u32,
        /// What happened last.
        last: String,
    },
}

fn so_far(at: u64, length: Option<u64>) -> String {
    match (at, length) {
        (0, _) => "nothing came ".to_owned(),
        (at, Some(length)) => format!("given up at {} of {} ", binary(at), binary(length)),
        (at, None) => format!("given up at {} ", binary(at)),
    }
}

/// What went wrong in one try.
enum Trouble {
    /// Another try may go better.
    Passing(String),
    /// It will not.
    Final(HttpError),
}

#[derive(Debug)]
enum State {
    /// The next try is at this time.
    Pause(Instant),
    /// A connection is being made.
    Connecting(Connecting),
    /// The head of the answer comes.
    Head(Connection, Vec<u8>),
    /// The body comes.
    Body(Connection, Body),
    /// All came.
    End,
}

/// A download.
#[derive(Debug)]
pub struct Http {
    /// As typed: every try begins there, because what a redirection leads to may be good for one request only.
    start: Url,
    /// Where redirections led.
    url: Url,
    redirects: u32,
    timing: Timing,
    /// Certificates of the operator's own authorities.
    authorities: PathBuf,
    state: State,
    /// Received and not yet decoded.
    buffer: Vec<u8>,
    /// Bytes of the file that were handed over.
    at: u64,
    /// Bytes of the file to drop: the server began anew.
    skip: u64,
    length: Option<u64>,
    /// Which version of the file this is.
    validator: Option<String>,
    /// Tries since `progress`.
    tries: u32,
    progress: u64,
    /// When something came last.
    heard: Instant,
    news: Option<String>,
}

impl Http {
    /// A download that has not begun.
    #[must_use]
    pub fn new(url: Url, timing: Timing) -> Self {
        let now = Instant::now();
        Self {
            start: url.clone(),
            url,
            redirects: 0,
            timing,
            authorities: authority::FILE.into(),
            state: State::Pause(now),
            buffer: Vec::new(),
            at: 0,
            skip: 0,
            length: None,
            validator: None,
            tries: 0,
            progress: 0,
            heard: now,
            news: None,
        }
    }

    fn request(&self) -> String {
        let range = match (self.at, &self.validator) {
            (0, _) => String::new(),
            (at, Some(validator)) => format!("Range: bytes={at}-\r\nIf-Range: {validator}\r\n"),
            // The hash in the signed manifest tells whether the parts belong together.
            (at, None) => format!("Range: bytes={at}-\r\n"),
        };
        format!(
            "GET {} HTTP/1.1\r\nHost: {}\r\nUser-Agent: bascule/{}\r\nAccept: */*\r\nAccept-Encoding: identity\r\n\
             {range}Connection: close\r\n\r\n",
            self.url.target,
            self.url.authority(),
            version::running(),
        )
    }

    fn connect(&mut self) -> State {
        self.buffer.clear();
        self.heard = Instant::now();
        State::Connecting(Connecting::begin(&self.url, self.request(), self.timing, &self.authorities))
    }

    /// One step. A state is left where it was when it waits.
    fn step(&mut self, into: &mut [u8]) -> Result<Got, Trouble> {
        match std::mem::replace(&mut self.state, State::End) {
            State::End => Ok(Got::End),
            State::Pause(until) => {
                let left = until.saturating_duration_since(Instant::now());
                std::thread::sleep(left.min(self.timing.tick));
                self.state = if left <= self.timing.tick {
                    (self.url, self.redirects) = (self.start.clone(), 0);
                    self.connect()
                } else {
                    State::Pause(until)
                };
                Ok(Got::Waiting)
            }
            State::Connecting(connecting) => {
                self.state = match connecting.wait(self.timing.tick) {
                    None => State::Connecting(connecting),
                    Some(Ok(connection)) => {
                        self.heard = Instant::now();
                        State::Head(connection, Vec::new())
                    }
                    Some(Err(error)) if error.passing() => return Err(Trouble::Passing(error.to_string())),
                    Some(Err(error)) => {
                        return Err(Trouble::Final(HttpError::Connect { url: self.url.clone(), error }));
                    }
                };
                Ok(Got::Waiting)
            }
            State::Head(connection, bytes) => self.head(connection, bytes),
            State::Body(connection, body) => self.body(connection, body, into),
        }
    }

    /// Reads more; 0 at the end, `None` when nothing came.
    fn more(&mut self, connection: &mut Connection) -> Result<Option<usize>, Trouble> {
        let start = self.buffer.len();
        self.buffer.resize(start + BUFFER, 0);
        let read = connection.read(&mut self.buffer[start..]);
        self.buffer.truncate(start + read.as_ref().ok().copied().flatten().unwrap_or(0));
        match read {
            Ok(Some(count)) => {
                self.heard = Instant::now();
                Ok(Some(count))
            }
            Ok(None) if self.heard.elapsed() >= self.timing.stall => Err(Trouble::Passing(format!(
                "nothing came for {} s",
                self.timing.stall.as_secs_f32().ceil()
            ))),
            Ok(None) => Ok(None),
            Err(error) => Err(Trouble::Passing(format!("the connection broke: {error}"))),
        }
    }

    fn head(&mut self, mut connection: Connection, mut bytes: Vec<u8>) -> Result<Got, Trouble> {
        let malformed = |url: &Url, error| Trouble::Final(HttpError::Malformed { url: url.clone(), error });
        // Behind an interim answer the next one may be here already.
        let parsed = response::parse(&bytes).map_err(|error| malformed(&self.url, error))?;
        let Some((head, length)) = parsed else {
            match self.more(&mut connection)? {
                None => {}
                Some(0) => return Err(Trouble::Passing("the server closed before it answered".to_owned())),
                Some(_) => bytes.append(&mut self.buffer),
            }
            self.state = State::Head(connection, bytes);
            return Ok(Got::Waiting);
        };
        bytes.drain(..length);
        self.buffer = bytes;
        self.state = match head.status {
            100..=199 => State::Head(connection, std::mem::take(&mut self.buffer)),
            301 | 302 | 303 | 307 | 308 => self.redirect(&head)?,
            200 | 206 => {
                self.accept(&head)?;
                State::Body(connection, Body::of(&head))
            }
            416 => return Err(Trouble::Final(HttpError::Changed(self.start.clone()))),
            408 | 429 | 500..=599 => {
                return Err(Trouble::Passing(format!("the server answers {} {}", head.status, head.reason)));
            }
            status => {
                let (url, reason) = (self.url.clone(), head.reason);
                return Err(Trouble::Final(HttpError::Status { url, status, reason }));
            }
        };
        Ok(Got::Waiting)
    }

    fn redirect(&mut self, head: &Head) -> Result<State, Trouble> {
        let location = head.location.as_deref().unwrap_or_default();
        let next = self.url.join(location).map_err(|error| Trouble::Final(error.into()))?;
        self.redirects += 1;
        if self.redirects > REDIRECTS {
            return Err(Trouble::Final(HttpError::Redirects(self.start.clone())));
        }
        if self.url.secure && !next.secure {
            return Err(Trouble::Final(HttpError::Downgrade(self.url.clone(), next)));
        }
        self.url = next;
        Ok(self.connect())
    }

    /// Whether the answer is about the file that the earlier ones were about, and from where it goes on.
    fn accept(&mut self, head: &Head) -> Result<(), Trouble> {
        let changed = || Trouble::Final(HttpError::Changed(self.start.clone()));
        let (from, whole) = match (head.status, head.part) {
            (206, Some((from, whole))) => (from, whole),
            (206, None) => return Err(Trouble::Passing("it sends a part and does not say which".to_owned())),
            // The server does not do parts: what is already here comes again.
            (_, _) => (0, head.length),
        };
        if from > self.at {
            return Err(Trouble::Passing("it sends another part than was asked for".to_owned()));
        }
        if let (Some(was), Some(is)) = (&self.validator, &head.validator)
            && was != is
        {
            return Err(changed());
        }
        if let (Some(was), Some(is)) = (self.length, whole)
            && was != is
        {
            return Err(changed());
        }
        self.skip = self.at - from;
        self.length = self.length.or(whole);
        self.validator = self.validator.take().or_else(|| head.validator.clone());
        Ok(())
    }

    fn body(&mut self, mut connection: Connection, mut body: Body, into: &mut [u8]) -> Result<Got, Trouble> {
        if body.complete() {
            return self.ended();
        }
        if self.buffer.is_empty() {
            match self.more(&mut connection)? {
                None => {
                    self.state = State::Body(connection, body);
                    return Ok(Got::Waiting);
                }
                Some(0) if body == Body::Close => return self.ended(),
                Some(0) => return Err(Trouble::Passing("the server closed the connection".to_owned())),
                Some(_) => {}
            }
        }
        let (used, mut filled) = body
            .decode(&self.buffer, into)
            .map_err(|error| Trouble::Final(HttpError::Malformed { url: self.url.clone(), error }))?;
        self.buffer.drain(..used);
        let dropped = usize::try_from(self.skip).unwrap_or(usize::MAX).min(filled);
        self.skip -= dropped as u64;
        into.copy_within(dropped..filled, 0);
        filled -= dropped;
        self.at += filled as u64;
        if self.at >= self.progress + PROGRESS {
            (self.progress, self.tries) = (self.at, 0);
        }
        self.state = State::Body(connection, body);
        Ok(if filled == 0 { Got::Waiting } else { Got::Bytes(filled) })
    }

    /// An answer came to its end: is that the end of the file?
    fn ended(&mut self) -> Result<Got, Trouble> {
        match self.length {
            Some(length) if self.at < length => Err(Trouble::Passing("the answer was cut off".to_owned())),
            Some(_) | None => Ok(Got::End),
        }
    }

    /// Plans another try, or gives up.
    fn again(&mut self, last: String) -> Result<Got, HttpError> {
        self.tries += 1;
        let most = if self.at == 0 { self.timing.early } else { self.timing.tries };
        if self.tries >= most {
            let (url, at, length) = (self.start.clone(), self.at, self.length);
            return Err(HttpError::GivenUp { url, at, length, tries: self.tries, last });
        }
        let doubled = self.timing.first.saturating_mul(1 << (self.tries - 1).min(16));
        let wait = doubled.min(self.timing.longest);
        self.news = Some(format!(
            "At {}: {last}. Going on in {} s (try {} of {most}).",
            binary(self.at),
            wait.as_secs_f32().ceil(),
            self.tries + 1,
        ));
        self.state = State::Pause(Instant::now() + wait);
        Ok(Got::Waiting)
    }
}

impl Source for Http {
    fn read(&mut self, into: &mut [u8]) -> Result<Got, SourceError> {
        match self.step(into) {
            Ok(got) => Ok(got),
            Err(Trouble::Passing(last)) => self.again(last).map_err(SourceError::from),
            Err(Trouble::Final(error)) => Err(error.into()),
        }
    }

    fn length(&self) -> Option<u64> {
        self.length
    }

    fn expect(&mut self, length: u64) {
        self.length = self.length.or(Some(length));
    }

    fn news(&mut self) -> Option<String> {
        self.news.take()
    }
}
