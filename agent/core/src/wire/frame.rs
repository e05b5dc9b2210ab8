//! Frames of the control socket and of the prober's socket pair.
//!
//! A frame is one version byte, the message in postcard, a CRC-32 of both (little endian), all of it in COBS,
//! then a zero byte. The zero occurs nowhere else, so a reader finds the next frame whatever it lost before.
//! Messages are append-only: postcard encodes the index of a variant and the order of fields.

use core::marker::PhantomData;

use serde::Serialize;
use serde::de::DeserializeOwned;
use thiserror::Error;

/// Version of the frames, their first byte. It changes when old messages can no longer be read.
pub const VERSION: u8 = 1;

/// Longest frame that peers of the same binary send each other, in bytes with its delimiter: room for the
/// status of some thousands of real servers.
pub const FRAME_MAX: usize = 1 << 20;

const CRC_LEN: usize = 4;

/// Why a frame was refused. The stream after it cannot be trusted: close the connection.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum FrameError {
    /// No delimiter within the longest allowed frame.
    #[error("frame is longer than {0} bytes: the other side does not speak this protocol")]
    TooLong(usize),
    /// The bytes between two delimiters are not COBS, or too few for a version and a CRC.
    #[error("frame is truncated or is not COBS: the other side does not speak this protocol")]
    Malformed,
    /// The CRC does not match.
    #[error("frame is corrupt: its CRC-32 does not match")]
    Checksum,
    /// Another version.
    #[error(
        "frame has version {0}, this program speaks version {VERSION}: run the same release on both sides"
    )]
    Version(u8),
    /// Version and CRC are right, the message is not one of ours.
    #[error("frame holds no message that this release knows ({0}): run the same release on both sides")]
    Message(String),
}

/// The frame that carries `message`, with its delimiter.
///
/// # Panics
/// When `message` has a type that postcard cannot encode (a sequence of unknown length): a mistake in the
/// type, found by the first test that sends one.
#[must_use]
pub fn encode<T: Serialize + ?Sized>(message: &T) -> Vec<u8> {
    let mut body =
        postcard::to_extend(message, vec![VERSION]).expect("a message type that postcard can encode");
    let crc = crc32fast::hash(&body);
    body.extend_from_slice(&crc.to_le_bytes());
    enclose(&body)
}

/// COBS and the delimiter.
fn enclose(body: &[u8]) -> Vec<u8> {
    let mut frame = vec![0; cobs::max_encoding_length(body.len()) + 1];
    let length = cobs::encode(body, &mut frame);
    // After a full last block the encoder leaves a code byte behind the end that it reports.
    frame.truncate(length);
    frame.push(0);
    frame
}

/// Reads frames out of a byte stream, however it is cut into pieces.
#[derive(Debug)]
pub struct Decoder<T> {
    buffer: Vec<u8>,
    max: usize,
    skipping: bool,
    message: PhantomData<fn() -> T>,
}

impl<T: DeserializeOwned> Decoder<T> {
    /// A decoder that refuses frames of more than `max` bytes and never holds more than that.
    #[must_use]
    pub const fn new(max: usize) -> Self {
        Self { buffer: Vec::new(), max, skipping: false, message: PhantomData }
    }

    /// Takes the next `bytes` of the stream and returns the messages they complete, in order.
    ///
    /// Empty frames (repeated delimiters) are skipped. After an error the decoder goes on at the next delimiter;
    /// a connection should be closed instead.
    pub fn push(&mut self, bytes: &[u8]) -> Vec<Result<T, FrameError>> {
        let mut messages = Vec::new();
        let mut pieces = bytes.split(|byte| *byte == 0).peekable();
        while let Some(piece) = pieces.next() {
            let ends = pieces.peek().is_some();
            if !self.skipping && self.buffer.len() + piece.len() >= self.max {
                self.skipping = true;
                self.buffer = Vec::new();
                messages.push(Err(FrameError::TooLong(self.max)));
            }
            if !self.skipping {
                self.buffer.extend_from_slice(piece);
            }
            if ends {
                let skipped = core::mem::take(&mut self.skipping);
                if !skipped && !self.buffer.is_empty() {
                    messages.push(decode(&mut self.buffer));
                }
                self.buffer.clear();
            }
        }
        messages
    }
}

/// Decodes one frame without its delimiter, in place.
fn decode<T: DeserializeOwned>(frame: &mut [u8]) -> Result<T, FrameError> {
    let length = cobs::decode_in_place(frame).map_err(|_| FrameError::Malformed)?;
    let (body, crc) =
        frame.get(..length).and_then(|f| f.split_last_chunk::<CRC_LEN>()).ok_or(FrameError::Malformed)?;
    if crc32fast::hash(body) != u32::from_le_bytes(*crc) {
        return Err(FrameError::Checksum);
    }
    let (version, message) = body.split_first().ok_or(FrameError::Malformed)?;
    if *version != VERSION {
        return Err(FrameError::Version(*version));
    }
    match postcard::take_from_bytes(message) {
        Ok((message, [])) => Ok(message),
        Ok((_, rest)) => Err(FrameError::Message(format!("{} bytes too many", rest.len()))),
        Err(error) => Err(FrameError::Message(error.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde::Deserialize;

    #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
    enum Message {
        Empty,
        Text(String),
        Pair(u64, Vec<u8>),
    }

    fn message() -> impl Strategy<Value = Message> {
        prop_oneof![
            Just(Message::Empty),
            ".{0,40}".prop_map(Message::Text),
            (any::<u64>(), proptest::collection::vec(any::<u8>(), 0..600))
                .prop_map(|(n, bytes)| Message::Pair(n, bytes)),
        ]
    }

    fn whole(bytes: &[u8]) -> Vec<Result<Message, FrameError>> {
        Decoder::new(FRAME_MAX).push(bytes)
    }

    #[test]
    fn a_frame_is_version_postcard_crc_in_cobs_with_one_zero_at_its_end() {
        let frame = encode(&Message::Pair(0, vec![0, 7]));
        // version 1, variant 2, 0, length 2, 0, 7, then CRC-32 of those six bytes.
        let crc = crc32fast::hash(&[1, 2, 0, 2, 0, 7]).to_le_bytes();
        let [a, b, c, d] = crc;
        assert!(!crc.contains(&0));
        assert_eq!(frame, [3, 1, 2, 2, 2, 6, 7, a, b, c, d, 0]);
    }

    #[test]
    fn blocks_of_every_length_around_the_254_of_cobs_come_back() {
        for length in 0..800 {
            for byte in [0, 1, 0xff] {
                let message = Message::Pair(1, vec![byte; length]);
                assert_eq!(whole(&encode(&message)), [Ok(message)], "{length} bytes");
            }
            // Every length of a body without zeros, so that the last block is also full once.
            let body = [vec![VERSION], vec![7; length]].concat();
            let frame = enclose(&body);
            assert_eq!(frame.iter().position(|b| *b == 0), Some(frame.len() - 1), "{length} bytes");
            let mut bare = frame[..frame.len() - 1].to_vec();
            let decoded = cobs::decode_in_place(&mut bare).expect("COBS");
            assert_eq!(bare[..decoded], body[..], "{length} bytes");
        }
    }

    #[test]
    fn every_corrupted_byte_is_refused_and_the_next_frame_is_read() {
        let good = encode(&Message::Text("show status".into()));
        for index in 0..good.len() - 1 {
            for flip in [0x01, 0x80, good[index]] {
                let mut bytes = good.clone();
                bytes[index] ^= flip;
                bytes.extend_from_slice(&good);
                let read = whole(&bytes);
                assert!(read.len() >= 2, "byte {index}: {read:?}");
                assert_eq!(read.last(), Some(&Ok(Message::Text("show status".into()))));
                assert!(read[..read.len() - 1].iter().all(Result::is_err), "byte {index}: {read:?}");
            }
        }
    }

    #[test]
    fn a_truncated_frame_is_refused() {
        let good = encode(&Message::Text("show status".into()));
        for length in 1..good.len() - 1 {
            let mut bytes = good[..length].to_vec();
            bytes.push(0);
            assert!(matches!(whole(&bytes)[..], [Err(_)]), "{length} bytes");
        }
    }

    #[test]
    fn a_frame_beyond_the_limit_is_refused_once_and_costs_no_memory() {
        let mut decoder = Decoder::<Message>::new(16);
        let mut errors = Vec::new();
        for _ in 0..1_000 {
            errors.extend(decoder.push(&[1; 100]));
            assert!(decoder.buffer.capacity() <= 16);
        }
        assert_eq!(errors, [Err(FrameError::TooLong(16))]);
        assert_eq!(decoder.push(&[0]), []);
        assert_eq!(decoder.push(&encode(&Message::Empty)), [Ok(Message::Empty)]);
    }

    #[test]
    fn a_frame_of_exactly_the_limit_is_read() {
        let frame = encode(&Message::Text("x".repeat(20)));
        assert!(Decoder::<Message>::new(frame.len()).push(&frame)[0].is_ok());
        assert_eq!(
            Decoder::<Message>::new(frame.len() - 1).push(&frame),
            [Err(FrameError::TooLong(frame.len() - 1))]
        );
    }

    /// A frame around `body` (version and message) with a right CRC.
    fn framed(body: &[u8]) -> Vec<u8> {
        let mut body = body.to_vec();
        body.extend_from_slice(&crc32fast::hash(&body).to_le_bytes());
        enclose(&body)
    }

    #[test]
    fn another_version_an_unknown_message_and_surplus_bytes_are_named() {
        assert_eq!(whole(&framed(&[2, 0])), [Err(FrameError::Version(2))]);
        assert!(matches!(whole(&framed(&[VERSION, 9]))[..], [Err(FrameError::Message(_))]));
        assert_eq!(
            whole(&framed(&[VERSION, 0, 1, 1])),
            [Err(FrameError::Message("2 bytes too many".into()))]
        );
        assert_eq!(whole(&framed(&[])), [Err(FrameError::Malformed)]);
    }

    proptest! {
        #[test]
        fn messages_survive_any_cutting_of_the_stream(
            messages in proptest::collection::vec(message(), 1..5),
            cuts in proptest::collection::vec(1_usize..50, 1..20),
        ) {
            let stream: Vec<u8> = messages.iter().flat_map(encode).collect();
            let mut decoder = Decoder::new(FRAME_MAX);
            let (mut read, mut rest, mut cut) = (Vec::new(), &stream[..], cuts.iter().cycle());
            while !rest.is_empty() {
                let (piece, tail) = rest.split_at(rest.len().min(*cut.next().unwrap_or(&1)));
                read.extend(decoder.push(piece));
                rest = tail;
            }
            prop_assert_eq!(read, messages.into_iter().map(Ok).collect::<Vec<_>>());
        }

        #[test]
        fn junk_never_panics_and_never_yields_a_message(
            junk in proptest::collection::vec(any::<u8>(), 0..400)
        ) {
            prop_assert!(whole(&junk).iter().all(Result::is_err));
        }
    }
}
