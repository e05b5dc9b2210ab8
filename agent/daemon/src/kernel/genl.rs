//! A generic netlink socket for batches.
//!
//! A batch leaves in windows of `WINDOW` messages, each acknowledged: the default receive buffer holds 256
//! acknowledgements and the kernel drops what does not fit without a word. Every wait has a deadline.

use std::io::{self, Cursor};
use std::time::{Duration, Instant};

use neli::ToBytes;
use neli::consts::genl::{CtrlAttr, CtrlCmd};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_GENERIC};
use nix::errno::Errno;
use nix::sys::socket::{setsockopt, sockopt};
use nix::sys::time::{TimeVal, TimeValLike};
use thiserror::Error;

use super::ipvs_wire::{Attributes, attribute, parse};

/// Messages in flight.
const WINDOW: usize = 128;
/// Room for the acknowledgements of many windows and for large dumps.
const RECEIVE_BUFFER: usize = 4 << 20;
/// The kernel answers within this time, or not at all.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Largest piece of a dump: the kernel fills at most 32 KiB when the reader has room.
const READ_BUFFER: usize = 64 << 10;

const HEADER: usize = 16;
const GENL_HEADER: usize = 4;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const NLM_F_REQUEST: u16 = 1;
const NLM_F_ACK: u16 = 4;
const NLM_F_DUMP: u16 = 0x300;
/// Set in a dump that the table changed under.
const NLM_F_DUMP_INTR: u16 = 0x10;
/// The family that resolves the others.
const CONTROL: u16 = 0x10;

/// Why a request failed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum GenlError {
    /// The kernel refused.
    #[error("{}", .0.desc())]
    Refused(Errno),
    /// No answer in time; whether it was done is unknown.
    #[error("the kernel did not answer within {} seconds", TIMEOUT.as_secs())]
    NoAnswer,
    /// The table changed under every attempt to read it.
    #[error("the table changed while it was read")]
    Interrupted,
    /// The socket failed.
    #[error("netlink: {0}")]
    Socket(Errno),
}

impl From<io::Error> for GenlError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => Self::NoAnswer,
            _ => Self::Socket(error.raw_os_error().map_or(Errno::UnknownErrno, Errno::from_raw)),
        }
    }
}

/// One request of a batch.
#[derive(Debug)]
pub struct Request {
    /// Command of the family.
    pub command: u8,
    /// Its attributes.
    pub attributes: Attributes,
}

/// The socket.
#[derive(Debug)]
pub struct GenlSocket {
    socket: Socket,
    sequence: u32,
}

/// A message from the kernel, without its header.
struct Answer<'a> {
    kind: u16,
    flags: u16,
    sequence: u32,
    payload: &'a [u8],
}

impl GenlSocket {
    /// Opens the socket.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn open() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_GENERIC)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        socket.set_cap_ack(true)?;
        socket.set_ext_ack(true)?;
        let seconds = TimeVal::seconds(i64::try_from(TIMEOUT.as_secs()).unwrap_or(1));
        setsockopt(&socket, sockopt::ReceiveTimeout, &seconds)?;
        // Without CAP_NET_ADMIN the window alone keeps acknowledgements from being lost.
        let _ = setsockopt(&socket, sockopt::RcvBufForce, &RECEIVE_BUFFER);
        Ok(Self { socket, sequence: 0 })
    }

    /// The number of a family; `None` when the kernel has no such family and no module brings it.
    ///
    /// # Errors
    /// What the kernel says otherwise.
    pub fn resolve(&mut self, family: &str) -> Result<Option<u16>, GenlError> {
        let attributes = std::iter::once(attribute(u16::from(CtrlAttr::FamilyName), family)).collect();
        let request = Request { command: u8::from(CtrlCmd::Getfamily), attributes };
        let answer = match self.ask(CONTROL, 1, &request) {
            Err(GenlError::Refused(Errno::ENOENT)) => return Ok(None),
            answer => answer?,
        };
        Ok(parse(&answer).and_then(|attributes| {
            let id = attributes
                .iter()
                .find(|attribute| *attribute.nla_type().nla_type() == u16::from(CtrlAttr::FamilyId))?;
            Some(u16::from_ne_bytes(neli::attr::Attribute::payload(id).as_ref().try_into().ok()?))
        }))
    }

    /// Sends one request and returns the attributes of its answer.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn ask(&mut self, family: u16, version: u8, request: &Request) -> Result<Vec<u8>, GenlError> {
        let sequence = self.next_sequence();
        self.socket.send(&encode(family, NLM_F_REQUEST, sequence, version, request), 0)?;
        let mut found = Vec::new();
        self.read_until(|answer| {
            if answer.sequence != sequence {
                return None;
            }
            if answer.kind == NLMSG_ERROR {
                return Some(error_of(answer.payload));
            }
            found = answer.payload.get(GENL_HEADER..).unwrap_or_default().to_vec();
            Some(Ok(()))
        })?;
        Ok(found)
    }

    /// Sends requests in order and returns the outcome of each.
    pub fn batch(&mut self, family: u16, version: u8, requests: &[Request]) -> Vec<Result<(), GenlError>> {
        let mut outcomes = Vec::with_capacity(requests.len());
        for window in requests.chunks(WINDOW) {
            let first = self.sequence.wrapping_add(1);
            let mut buffer = Vec::new();
            for request in window {
                let sequence = self.next_sequence();
                buffer.extend(encode(family, NLM_F_REQUEST | NLM_F_ACK, sequence, version, request));
            }
            outcomes.extend(self.exchange(&buffer, first, window.len()));
        }
        outcomes
    }

    /// Sends one window and collects its acknowledgements.
    fn exchange(&mut self, window: &[u8], first: u32, count: usize) -> Vec<Result<(), GenlError>> {
        let mut outcomes: Vec<Result<(), GenlError>> = vec![Err(GenlError::NoAnswer); count];
        if let Err(error) = self.socket.send(window, 0) {
            return vec![Err(error.into()); count];
        }
        let mut missing = count;
        let deadline = Instant::now() + TIMEOUT;
        let result = self.read_until(|answer| {
            let place = outcomes.get_mut(answer.sequence.wrapping_sub(first) as usize);
            if let Some(place) = place.filter(|_| answer.kind == NLMSG_ERROR) {
                *place = error_of(answer.payload);
                missing -= 1;
            }
            if missing == 0 {
                Some(Ok(()))
            } else {
                (Instant::now() > deadline).then_some(Err(GenlError::NoAnswer))
            }
        });
        if let Err(error) = result {
            // Those that were answered keep their answer; the rest share the reason.
            let unanswered = outcomes.iter_mut().filter(|outcome| **outcome == Err(GenlError::NoAnswer));
            unanswered.for_each(|outcome| *outcome = Err(error.clone()));
        }
        outcomes
    }

    /// Reads a whole table; each element is the attributes of one message. A dump that the kernel marks as
    /// interrupted is repeated.
    ///
    /// # Errors
    /// What the kernel says, or `Interrupted` after five attempts.
    pub fn dump(&mut self, family: u16, version: u8, request: &Request) -> Result<Vec<Vec<u8>>, GenlError> {
        for _ in 0..5 {
            if let Some(messages) = self.dump_once(family, version, request)? {
                return Ok(messages);
            }
        }
        Err(GenlError::Interrupted)
    }

    fn dump_once(
        &mut self,
        family: u16,
        version: u8,
        request: &Request,
    ) -> Result<Option<Vec<Vec<u8>>>, GenlError> {
        let sequence = self.next_sequence();
        self.socket.send(&encode(family, NLM_F_REQUEST | NLM_F_DUMP, sequence, version, request), 0)?;
        let mut messages = Vec::new();
        let mut interrupted = false;
        self.read_until(|answer| {
            if answer.sequence != sequence {
                return None;
            }
            interrupted |= answer.flags & NLM_F_DUMP_INTR != 0;
            match answer.kind {
                // Its payload is the length of the dump, or an error.
                NLMSG_DONE | NLMSG_ERROR => Some(error_of(answer.payload)),
                _ => {
                    messages.push(answer.payload.get(GENL_HEADER..).unwrap_or_default().to_vec());
                    None
                }
            }
        })?;
        Ok((!interrupted).then_some(messages))
    }

    const fn next_sequence(&mut self) -> u32 {
        self.sequence = self.sequence.wrapping_add(1);
        self.sequence
    }

    /// Gives `take` every message until it has seen enough.
    fn read_until(
        &self,
        mut take: impl FnMut(&Answer<'_>) -> Option<Result<(), GenlError>>,
    ) -> Result<(), GenlError> {
        let mut buffer = Vec::with_capacity(READ_BUFFER);
        loop {
            buffer.clear();
            self.socket.recv(&mut buffer, 0)?;
            let mut rest = buffer.as_slice();
            while let Some((answer, tail)) = split(rest) {
                rest = tail;
                if let Some(result) = take(&answer) {
                    return result;
                }
            }
        }
    }
}

/// One message: netlink header, generic netlink header, attributes.
fn encode(kind: u16, flags: u16, sequence: u32, version: u8, request: &Request) -> Vec<u8> {
    let mut cursor = Cursor::new(vec![0; HEADER + GENL_HEADER]);
    cursor.set_position((HEADER + GENL_HEADER) as u64);
    // Writing to memory does not fail.
    let _ = request.attributes.to_bytes(&mut cursor);
    let mut message = cursor.into_inner();
    let length = u32::try_from(message.len()).unwrap_or(u32::MAX);
    message[..4].copy_from_slice(&length.to_ne_bytes());
    message[4..6].copy_from_slice(&kind.to_ne_bytes());
    message[6..8].copy_from_slice(&flags.to_ne_bytes());
    message[8..12].copy_from_slice(&sequence.to_ne_bytes());
    message[16] = request.command;
    message[17] = version;
    message.resize(message.len().next_multiple_of(4), 0);
    message
}

/// The first message of `bytes` and what follows it; `None` at the end or when it is cut.
fn split(bytes: &[u8]) -> Option<(Answer<'_>, &[u8])> {
    let header = bytes.get(..HEADER)?;
    let length = u32::from_ne_bytes(header[..4].try_into().ok()?) as usize;
    let answer = Answer {
        kind: u16::from_ne_bytes(header[4..6].try_into().ok()?),
        flags: u16::from_ne_bytes(header[6..8].try_into().ok()?),
        sequence: u32::from_ne_bytes(header[8..12].try_into().ok()?),
        payload: bytes.get(HEADER..length)?,
    };
    Some((answer, bytes.get(length.next_multiple_of(4)..).unwrap_or_default()))
}

/// The error number at the start of an acknowledgement: 0, or negative.
fn error_of(payload: &[u8]) -> Result<(), GenlError> {
    let code = payload.first_chunk::<4>().map_or(0, |code| i32::from_ne_bytes(*code));
    if code >= 0 { Ok(()) } else { Err(GenlError::Refused(Errno::from_raw(code.saturating_neg()))) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_split_at_their_lengths_and_a_cut_one_is_left() {
        let request = || Request { command: 4, attributes: std::iter::once(attribute(2, "abc")).collect() };
        let mut bytes = encode(0x20, 5, 7, 1, &request());
        let length = bytes.len();
        bytes.extend(encode(0x21, 6, 8, 1, &request()));
        let (first, rest) = split(&bytes).expect("a message");
        assert_eq!((first.kind, first.flags, first.sequence), (0x20, 5, 7));
        assert_eq!(first.payload.len(), length - HEADER);
        assert_eq!(first.payload[..2], [4, 1]);
        let (second, rest) = split(rest).expect("a message");
        assert_eq!((second.kind, second.sequence, rest.len()), (0x21, 8, 0));
        assert!(split(&bytes[..length - 1]).is_none());
        assert!(split(&[0; 64]).is_none(), "a message shorter than its header");
    }

    #[test]
    fn an_acknowledgement_is_an_error_of_zero() {
        assert_eq!(error_of(&0_i32.to_ne_bytes()), Ok(()));
        assert_eq!(error_of(&(-2_i32).to_ne_bytes()), Err(GenlError::Refused(Errno::ENOENT)));
        assert!(error_of(&i32::MIN.to_ne_bytes()).is_err());
    }

    #[test]
    fn the_kernel_resolves_its_control_family_and_knows_no_invented_one() {
        let mut socket = GenlSocket::open().expect("a socket");
        assert_eq!(socket.resolve("nlctrl"), Ok(Some(CONTROL)));
        assert_eq!(socket.resolve("no_such_family"), Ok(None));
    }

    #[test]
    fn every_request_of_a_batch_has_its_own_outcome_across_windows() {
        let mut socket = GenlSocket::open().expect("a socket");
        // CTRL_CMD_GETFAMILY (3) of a known and of an unknown family, in turn.
        let request = |name: &str| Request {
            command: 3,
            attributes: std::iter::once(attribute(u16::from(CtrlAttr::FamilyName), name)).collect(),
        };
        let requests: Vec<Request> =
            (0..1_000).map(|at| request(if at % 3 == 0 { "no_such" } else { "nlctrl" })).collect();
        let outcomes = socket.batch(CONTROL, 2, &requests);
        assert_eq!(outcomes.len(), 1_000);
        for (at, outcome) in outcomes.iter().enumerate() {
            let refused = matches!(outcome, Err(GenlError::Refused(Errno::ENOENT)));
            assert!(if at % 3 == 0 { refused } else { outcome.is_ok() }, "{at}: {outcome:?}");
        }
    }

    #[test]
    fn a_dump_of_all_families_contains_the_control_family() {
        let mut socket = GenlSocket::open().expect("a socket");
        let request = Request { command: 3, attributes: Attributes::new() };
        let families = socket.dump(CONTROL, 2, &request).expect("a dump");
        let name = b"nlctrl\0";
        assert!(families.iter().any(|family| family.windows(name.len()).any(|part| part == name)));
    }
}
