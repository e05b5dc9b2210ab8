//! Messages between the two boxes, encrypted and authenticated with the key that they share.
//!
//! Noise, pattern NNpsk0: both make a key for this connection, and both prove that they know the shared one. On the
//! wire each message has its length before it, 16 bits, big endian. Everything has a deadline; a message that does not
//! decrypt ends the connection.

use std::io::{self, Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use bascule_core::pair::message::LONGEST;
use serde::Serialize;
use serde::de::DeserializeOwned;
use snow::params::NoiseParams;
use snow::{HandshakeState, TransportState};
use thiserror::Error;

use super::key::Key;
use super::noise::{PATTERN, Primitives, TAG};

/// The handshake may take so long.
const HANDSHAKE: Duration = Duration::from_secs(5);
/// A message that has begun may take so long, and so may one that is sent.
const MESSAGE: Duration = Duration::from_secs(20);
/// Both must mean the same protocol.
const PROLOGUE: &[u8] = b"bascule peer 1";

/// Why a connection ended.
#[derive(Debug, Error)]
pub enum ChannelError {
    /// The system says so.
    #[error("the connection to the other box broke: {0}")]
    Io(#[from] io::Error),
    /// It takes too long.
    #[error("the other box does not go on: nothing came for {} s", .0.as_secs())]
    Stalled(Duration),
    /// It has another key, or is somebody else.
    #[error("the other box has another key: enter the same on both with \"peer key set\"")]
    Key,
    /// What came is no message, or has been tampered with.
    #[error("the other box sent what is no message")]
    Garbage,
    /// What should be sent is longer than a message.
    #[error("a message of {0} bytes is too long to be sent")]
    TooLong(usize),
}

impl From<snow::Error> for ChannelError {
    fn from(_: snow::Error) -> Self {
        Self::Garbage
    }
}

/// A connection on which both have proved that they know the key.
pub struct Channel {
    stream: TcpStream,
    noise: TransportState,
    buffer: Vec<u8>,
}

impl std::fmt::Debug for Channel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Channel").field("stream", &self.stream).finish_non_exhaustive()
    }
}

/// Who begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The one that connected.
    Caller,
    /// The one that listens.
    Called,
}

impl Channel {
    /// Proves the key on a fresh connection.
    ///
    /// # Errors
    /// When the other end does not know it, or does not answer in time.
    pub fn open(stream: TcpStream, key: &Key, end: End) -> Result<Self, ChannelError> {
        stream.set_nodelay(true)?;
        let deadline = Instant::now() + HANDSHAKE;
        let mut noise = handshake(key, end)?;
        let mut bytes = vec![0; 256];
        let mut stream = stream;
        let hear = |stream: &mut TcpStream, noise: &mut HandshakeState| -> Result<(), ChannelError> {
            let message = read_frame(stream, deadline, 256)?;
            noise.read_message(&message, &mut [0; 256]).map(drop).map_err(|_| ChannelError::Key)
        };
        match end {
            End::Caller => {
                let count = noise.write_message(&[], &mut bytes)?;
                write_frame(&mut stream, &bytes[..count], deadline)?;
                // Who does not know the key gets no answer.
                hear(&mut stream, &mut noise).map_err(|error| match error {
                    ChannelError::Io(error)
                        if matches!(
                            error.kind(),
                            io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset
                        ) =>
                    {
                        ChannelError::Key
                    }
                    other => other,
                })?;
            }
            End::Called => {
                hear(&mut stream, &mut noise)?;
                let count = noise.write_message(&[], &mut bytes)?;
                write_frame(&mut stream, &bytes[..count], deadline)?;
            }
        }
        Ok(Self { stream, noise: noise.into_transport_mode()?, buffer: vec![0; LONGEST + TAG] })
    }

    /// Sends a message.
    ///
    /// # Errors
    /// When the connection broke or does not take it in time.
    pub fn send<T: Serialize>(&mut self, message: &T) -> Result<(), ChannelError> {
        let plain = postcard::to_stdvec(message).map_err(|_| ChannelError::TooLong(0))?;
        if plain.len() > LONGEST {
            return Err(ChannelError::TooLong(plain.len()));
        }
        let count = self.noise.write_message(&plain, &mut self.buffer)?;
        write_frame(&mut self.stream, &self.buffer[..count], Instant::now() + MESSAGE)
    }

    /// The next message; `None` when none began within `patience`.
    ///
    /// # Errors
    /// When the connection broke, or what came is no message.
    pub fn receive<T: DeserializeOwned>(&mut self, patience: Duration) -> Result<Option<T>, ChannelError> {
        self.stream.set_read_timeout(Some(patience.max(Duration::from_millis(1))))?;
        match self.stream.peek(&mut [0]) {
            Ok(0) => return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
            Ok(_) => {}
            Err(error) if waits(&error) => return Ok(None),
            Err(error) => return Err(error.into()),
        }
        let cipher = read_frame(&mut self.stream, Instant::now() + MESSAGE, LONGEST + TAG)?;
        let count = self.noise.read_message(&cipher, &mut self.buffer)?;
        // What follows a message belongs to a later release of it.
        postcard::take_from_bytes(&self.buffer[..count])
            .map(|(message, _)| Some(message))
            .map_err(|_| ChannelError::Garbage)
    }

    /// The next message, which has to come within `patience`.
    ///
    /// # Errors
    /// As `receive`, and when none comes.
    pub fn expect<T: DeserializeOwned>(&mut self, patience: Duration) -> Result<T, ChannelError> {
        self.receive(patience)?.ok_or(ChannelError::Stalled(patience))
    }
}

fn handshake(key: &Key, end: End) -> Result<HandshakeState, ChannelError> {
    let params: NoiseParams = PATTERN.parse()?;
    let builder = snow::Builder::with_resolver(params, Box::new(Primitives));
    let builder = builder.prologue(PROLOGUE)?.psk(0, key.bytes())?;
    Ok(match end {
        End::Caller => builder.build_initiator()?,
        End::Called => builder.build_responder()?,
    })
}

fn waits(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted)
}

/// Time that is left, never zero, which would mean for ever.
fn left(deadline: Instant) -> Result<Duration, ChannelError> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(ChannelError::Stalled(MESSAGE)) } else { Ok(left) }
}

/// However small the pieces are in which they come.
fn read_exact(stream: &mut TcpStream, mut into: &mut [u8], deadline: Instant) -> Result<(), ChannelError> {
    while !into.is_empty() {
        stream.set_read_timeout(Some(left(deadline)?))?;
        match stream.read(into) {
            Ok(0) => return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
            Ok(count) => into = &mut into[count..],
            Err(error) if waits(&error) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

fn read_frame(stream: &mut TcpStream, deadline: Instant, longest: usize) -> Result<Vec<u8>, ChannelError> {
    let mut length = [0; 2];
    read_exact(stream, &mut length, deadline)?;
    let length = usize::from(u16::from_be_bytes(length));
    if length < TAG || length > longest {
        return Err(ChannelError::Garbage);
    }
    let mut bytes = vec![0; length];
    read_exact(stream, &mut bytes, deadline)?;
    Ok(bytes)
}

fn write_frame(stream: &mut TcpStream, bytes: &[u8], deadline: Instant) -> Result<(), ChannelError> {
    let length = u16::try_from(bytes.len()).map_err(|_| ChannelError::TooLong(bytes.len()))?;
    let mut whole = Vec::with_capacity(bytes.len() + 2);
    whole.extend_from_slice(&length.to_be_bytes());
    whole.extend_from_slice(bytes);
    let mut rest = &whole[..];
    while !rest.is_empty() {
        stream.set_write_timeout(Some(left(deadline)?))?;
        match stream.write(rest) {
            Ok(0) => return Err(io::Error::from(io::ErrorKind::WriteZero).into()),
            Ok(count) => rest = &rest[count..],
            Err(error) if waits(&error) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}
