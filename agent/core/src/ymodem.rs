//! Receives a file over a serial line: YMODEM with 1 KiB blocks, and XMODEM-CRC (Chuck Forsberg, "XMODEM/YMODEM Protocol
//! Reference", 1988). Every terminal program sends one of them.
//!
//! A block is a length byte, its number, the number's complement, 128 or 1,024 bytes and a CRC-16. The receiver asks for
//! CRC with `C`, answers each block with ACK or NAK, and the sender waits for the answer, so nothing overflows. Block 0
//! of YMODEM holds name and length; XMODEM begins with block 1 and pads its last block. What is bad is asked for again
//! when the line is quiet, ten times in a row at most.

use core::time::Duration;

use thiserror::Error;

const SOH: u8 = 0x01;
const STX: u8 = 0x02;
const ETX: u8 = 0x03;
const EOT: u8 = 0x04;
const ACK: u8 = 0x06;
const NAK: u8 = 0x15;
const CAN: u8 = 0x18;

/// Tells the sender to stop; one is taken for noise, and backspaces wipe the rest off a screen.
pub const CANCEL: &[u8] = b"\x18\x18\x18\x18\x18\x08\x08\x08\x08\x08";
/// Tries in a row before it is given up.
const TRIES: u32 = 10;
/// How often a sender is asked to begin, each time for `ASK`.
const ASKS: u32 = 40;
const ASK: Duration = Duration::from_secs(3);
/// Longest pause between blocks: the sender reads a disk.
const BETWEEN: Duration = Duration::from_secs(10);
/// Longest pause within a block, and how quiet a line must be before something is asked for again.
const WITHIN: Duration = Duration::from_secs(1);
/// Number, complement and CRC.
const FRAME: usize = 4;

/// What came over the line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// A byte.
    Byte(u8),
    /// One that the port found wrong.
    Damaged,
    /// Nothing for [`Receiver::patience`].
    Silence,
}

/// What comes of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Nothing yet.
    Nothing,
    /// YMODEM: a file begins, so many bytes long.
    File(Option<u64>),
    /// The bytes in [`Receiver::data`].
    Data,
    /// The file has ended.
    End,
    /// It failed, and the sender is told.
    Failed(Failure),
}

/// Why a file did not come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Failure {
    /// Nobody sends.
    #[error("nobody sent anything: start the sending by YMODEM or XMODEM-CRC in the terminal program")]
    NobodySends,
    /// Stopped on the other side.
    #[error("the sender stopped it")]
    SenderStopped,
    /// Ctrl-C before anything was sent.
    #[error("stopped")]
    Stopped,
    /// The line is too bad, or the sender is gone.
    #[error(
        "the same block was bad {TRIES} times, or the sender is gone: a lower speed of the line may help"
    )]
    Line,
    /// A block of another place in the file.
    #[error("the sender lost its place: start again")]
    OutOfStep,
    /// More than one file.
    #[error("more than one file was sent: send the bundle alone")]
    Several,
}

/// Where it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Before anything.
    Start,
    /// Between blocks.
    Between,
    /// Within a block whose data has this length.
    Within(usize),
    /// Something was bad: waits for a quiet line.
    Purge,
    /// YMODEM: the file has ended, and a block without a name ends everything.
    Last,
    /// Over.
    Over,
}

/// A receiver.
#[derive(Clone, Debug)]
pub struct Receiver {
    state: State,
    /// The state that the block in hand began in.
    before: State,
    /// Number of the block that comes next; more than 255 wrap around.
    next: u8,
    /// Whether a header has come.
    ymodem: bool,
    /// Whether any data has come.
    begun: bool,
    block: Vec<u8>,
    tries: u32,
    /// The end was announced once: it is asked for again, because noise may look like it.
    ending: bool,
    cancels: u32,
}

impl Default for Receiver {
    fn default() -> Self {
        Self::new()
    }
}

impl Receiver {
    /// One that has to ask first: [`Heard::Silence`] makes it do so.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            state: State::Start,
            before: State::Start,
            next: 0,
            ymodem: false,
            begun: false,
            block: Vec::new(),
            tries: 0,
            ending: false,
            cancels: 0,
        }
    }

    /// How long to wait for the next byte before that is [`Heard::Silence`].
    #[must_use]
    pub const fn patience(&self) -> Duration {
        match self.state {
            State::Start | State::Last => ASK,
            State::Between => BETWEEN,
            State::Within(_) | State::Purge => WITHIN,
            State::Over => Duration::ZERO,
        }
    }

    /// The data of the block that was received last, with its padding.
    #[must_use]
    pub fn data(&self) -> &[u8] {
        let end = self.block.len().saturating_sub(2);
        self.block.get(2..end).unwrap_or_default()
    }

    /// Whether anything but asking has happened.
    #[must_use]
    pub const fn started(&self) -> bool {
        self.begun || self.ymodem
    }

    /// Takes what was heard; `send` gets what is to be sent.
    pub fn heard(&mut self, heard: Heard, send: &mut Vec<u8>) -> Event {
        match (self.state, heard) {
            (State::Over, _) | (State::Purge, Heard::Byte(_) | Heard::Damaged) => Event::Nothing,
            (State::Start | State::Between | State::Last, Heard::Byte(byte)) => self.first(byte, send),
            (State::Start | State::Between | State::Last, Heard::Damaged) => Event::Nothing,
            (State::Within(length), Heard::Byte(byte)) => {
                self.block.push(byte);
                if self.block.len() == length + FRAME { self.complete(send) } else { Event::Nothing }
            }
            (State::Within(_), Heard::Damaged) => {
                self.state = State::Purge;
                Event::Nothing
            }
            (
                State::Start | State::Between | State::Within(_) | State::Purge | State::Last,
                Heard::Silence,
            ) => self.ask_again(send),
        }
    }

    /// A byte between blocks.
    fn first(&mut self, byte: u8, send: &mut Vec<u8>) -> Event {
        let cancels = if byte == CAN { self.cancels + 1 } else { 0 };
        self.cancels = cancels;
        match byte {
            SOH | STX => {
                self.before = self.state;
                self.block.clear();
                self.state = State::Within(if byte == SOH { 128 } else { 1024 });
                Event::Nothing
            }
            CAN if cancels == 2 => self.fail(Failure::SenderStopped, send),
            ETX if self.state == State::Start => self.fail(Failure::Stopped, send),
            EOT if self.state == State::Between && self.started() => self.end_of_file(send),
            // The answer to the first one was lost.
            EOT if self.state == State::Last => {
                send.extend([ACK, b'C']);
                Event::Nothing
            }
            _ => Event::Nothing,
        }
    }

    fn end_of_file(&mut self, send: &mut Vec<u8>) -> Event {
        if !self.ending {
            self.ending = true;
            send.push(NAK);
            return Event::Nothing;
        }
        send.push(ACK);
        self.tries = 0;
        if self.ymodem {
            send.push(b'C');
            self.state = State::Last;
            return Event::Nothing;
        }
        self.state = State::Over;
        Event::End
    }

    /// The line was quiet for long enough: asks for what is missing.
    fn ask_again(&mut self, send: &mut Vec<u8>) -> Event {
        let (asking, most) = match self.state {
            State::Start => (State::Start, ASKS),
            State::Last => (State::Last, 3),
            State::Between => (State::Between, TRIES),
            State::Within(_) | State::Purge | State::Over => (self.before, TRIES),
        };
        self.state = asking;
        self.tries += 1;
        if self.tries > most {
            return match asking {
                State::Start => self.fail(Failure::NobodySends, send),
                // All of the file is here: some senders know no last block.
                State::Last => {
                    self.state = State::Over;
                    Event::End
                }
                State::Between | State::Within(_) | State::Purge | State::Over => {
                    self.fail(Failure::Line, send)
                }
            };
        }
        // Before the first data a sender waits for `C`, and takes NAK as a wish for XMODEM without CRC.
        let first = matches!(asking, State::Start | State::Last) || !self.begun;
        send.push(if first { b'C' } else { NAK });
        Event::Nothing
    }

    /// A block is complete.
    fn complete(&mut self, send: &mut Vec<u8>) -> Event {
        let (number, complement) = match self.block[..] {
            [number, complement, ..] => (number, complement),
            [] | [_] => return Event::Nothing,
        };
        if number != !complement || crc16(&self.block[2..]) != 0 {
            self.state = State::Purge;
            return Event::Nothing;
        }
        self.ending = false;
        match self.before {
            State::Start => self.first_block(number, send),
            State::Last => self.last_block(number, send),
            State::Between | State::Within(_) | State::Purge | State::Over => self.next_block(number, send),
        }
    }

    fn first_block(&mut self, number: u8, send: &mut Vec<u8>) -> Event {
        self.tries = 0;
        match number {
            0 => {
                let Some(length) = header(self.data()) else {
                    // Without a name: the sender has nothing.
                    return self.fail(Failure::SenderStopped, send);
                };
                (self.ymodem, self.next, self.state) = (true, 1, State::Between);
                send.extend([ACK, b'C']);
                Event::File(length)
            }
            1 => {
                self.next = 1;
                self.next_block(number, send)
            }
            _ => self.fail(Failure::OutOfStep, send),
        }
    }

    fn next_block(&mut self, number: u8, send: &mut Vec<u8>) -> Event {
        self.state = State::Between;
        if number == self.next {
            (self.tries, self.begun) = (0, true);
            self.next = self.next.wrapping_add(1);
            send.push(ACK);
            return Event::Data;
        }
        if number == self.next.wrapping_sub(1) {
            // The answer was lost. That bounds itself: the sender counts, too.
            send.push(ACK);
            if self.ymodem && !self.begun {
                send.push(b'C');
            }
            return Event::Nothing;
        }
        self.fail(Failure::OutOfStep, send)
    }

    fn last_block(&mut self, number: u8, send: &mut Vec<u8>) -> Event {
        if number != 0 {
            return self.fail(Failure::OutOfStep, send);
        }
        if header(self.data()).is_some() {
            return self.fail(Failure::Several, send);
        }
        send.push(ACK);
        self.state = State::Over;
        Event::End
    }

    fn fail(&mut self, failure: Failure, send: &mut Vec<u8>) -> Event {
        send.extend(CANCEL);
        self.state = State::Over;
        Event::Failed(failure)
    }
}

/// The length in a header, where it says one; `None` when it names no file.
fn header(data: &[u8]) -> Option<Option<u64>> {
    let end = data.iter().position(|byte| *byte == 0)?;
    if end == 0 {
        return None;
    }
    let digits: String = data[end + 1..]
        .iter()
        .take_while(|byte| byte.is_ascii_digit())
        .map(|byte| char::from(*byte))
        .collect();
    Some(digits.parse().ok())
}

/// CRC-16/XMODEM: polynomial 0x1021, from 0. Over data and its CRC it is 0.
fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc, byte| {
        (0..8).fold(
            crc ^ u16::from(*byte) << 8,
            |crc: u16, _| {
                if crc & 0x8000 == 0 { crc << 1 } else { crc << 1 ^ 0x1021 }
            },
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn block(number: u8, data: &[u8]) -> Vec<u8> {
        let length = if data.len() > 128 { 1024 } else { 128 };
        let mut padded = data.to_vec();
        padded.resize(length, 0x1a);
        let crc = crc16(&padded).to_be_bytes();
        [&[if length == 128 { SOH } else { STX }, number, !number], &padded[..], &crc].concat()
    }

    fn name(text: &[u8]) -> Vec<u8> {
        let mut data = text.to_vec();
        data.resize(128, 0);
        block(0, &data)
    }

    /// Feeds bytes; what was sent, and the last event that was one.
    fn feed(receiver: &mut Receiver, bytes: &[u8]) -> (Vec<u8>, Vec<Event>) {
        let (mut sent, mut events) = (Vec::new(), Vec::new());
        for byte in bytes {
            match receiver.heard(Heard::Byte(*byte), &mut sent) {
                Event::Nothing => {}
                event @ (Event::File(_) | Event::Data | Event::End | Event::Failed(_)) => events.push(event),
            }
        }
        (sent, events)
    }

    fn silence(receiver: &mut Receiver) -> (Vec<u8>, Event) {
        let mut sent = Vec::new();
        let event = receiver.heard(Heard::Silence, &mut sent);
        (sent, event)
    }

    #[test]
    fn the_crc_is_that_of_xmodem() {
        assert_eq!(crc16(b"123456789"), 0x31c3);
    }

    #[test]
    fn a_file_by_ymodem_begins_with_its_length_and_ends_with_a_block_without_a_name() {
        let mut receiver = Receiver::new();
        assert_eq!(silence(&mut receiver), (vec![b'C'], Event::Nothing));
        let (sent, events) = feed(&mut receiver, &name(b"x.bundle\x00200 14 100644"));
        assert_eq!((sent, events), (vec![ACK, b'C'], vec![Event::File(Some(200))]));
        let (sent, events) = feed(&mut receiver, &block(1, &[7; 200]));
        assert_eq!((sent, events), (vec![ACK], vec![Event::Data]));
        assert_eq!(&receiver.data()[..200], [7; 200]);
        assert_eq!(feed(&mut receiver, &[EOT]), (vec![NAK], vec![]));
        assert_eq!(feed(&mut receiver, &[EOT]), (vec![ACK, b'C'], vec![]));
        assert_eq!(feed(&mut receiver, &name(b"")), (vec![ACK], vec![Event::End]));
    }

    #[test]
    fn a_file_by_xmodem_begins_with_its_data() {
        let mut receiver = Receiver::new();
        let (sent, events) = feed(&mut receiver, &block(1, &[7; 100]));
        assert_eq!((sent, events), (vec![ACK], vec![Event::Data]));
        assert_eq!(receiver.data().len(), 128);
        feed(&mut receiver, &[EOT]);
        assert_eq!(feed(&mut receiver, &[EOT]), (vec![ACK], vec![Event::End]));
    }

    #[test]
    fn a_bad_block_is_asked_for_again_when_the_line_is_quiet_and_not_for_ever() {
        let mut receiver = Receiver::new();
        feed(&mut receiver, &block(1, &[1; 128]));
        let mut bad = block(2, &[2; 128]);
        bad[50] ^= 1;
        for _ in 0..TRIES {
            assert_eq!(feed(&mut receiver, &bad), (vec![], vec![]));
            assert_eq!(feed(&mut receiver, b"noise"), (vec![], vec![]));
            assert_eq!(silence(&mut receiver), (vec![NAK], Event::Nothing));
        }
        assert_eq!(feed(&mut receiver, &bad), (vec![], vec![]));
        assert_eq!(silence(&mut receiver).1, Event::Failed(Failure::Line));
        assert_eq!(feed(&mut receiver, &block(2, &[2; 128])), (vec![], vec![]), "over is over");
    }

    #[test]
    fn a_good_block_ends_the_count_and_a_repeated_one_is_no_data() {
        let mut receiver = Receiver::new();
        feed(&mut receiver, &block(1, &[1; 128]));
        for number in 2..=50 {
            let mut bad = block(number, &[number; 128]);
            bad[60] ^= 4;
            feed(&mut receiver, &bad);
            silence(&mut receiver);
            assert_eq!(feed(&mut receiver, &block(number, &[number; 128])).1, [Event::Data]);
            assert_eq!(feed(&mut receiver, &block(number, &[number; 128])), (vec![ACK], vec![]));
        }
        assert_eq!(feed(&mut receiver, &block(60, &[0; 128])).1, [Event::Failed(Failure::OutOfStep)]);
    }

    #[test]
    fn numbers_wrap_around() {
        let mut receiver = Receiver::new();
        for number in (1..=255).chain(0..=255).chain(0..3) {
            assert_eq!(feed(&mut receiver, &block(number, &[9; 1024])).1, [Event::Data], "{number}");
        }
    }

    #[test]
    fn either_side_can_stop_and_one_byte_alone_does_not() {
        let mut receiver = Receiver::new();
        assert_eq!(feed(&mut receiver, &[CAN, b'x', CAN]).1, []);
        assert_eq!(feed(&mut receiver, &[CAN]).1, [Event::Failed(Failure::SenderStopped)]);
        let mut receiver = Receiver::new();
        assert_eq!(feed(&mut receiver, &[ETX]).1, [Event::Failed(Failure::Stopped)]);
        let mut receiver = Receiver::new();
        feed(&mut receiver, &block(1, &[1; 128]));
        assert_eq!(feed(&mut receiver, &[ETX, EOT]), (vec![NAK], vec![]), "noise between blocks");
        assert_eq!(feed(&mut receiver, &block(2, &[1; 128])).1, [Event::Data], "that was no end");
        assert_eq!(feed(&mut receiver, &[EOT]), (vec![NAK], vec![]));
    }

    #[test]
    fn nobody_who_sends_is_waited_for_two_minutes() {
        let (mut receiver, mut waited) = (Receiver::new(), Duration::ZERO);
        let failed = loop {
            waited += receiver.patience();
            if let (_, Event::Failed(failure)) = silence(&mut receiver) {
                break failure;
            }
            assert!(waited < Duration::from_secs(600));
        };
        assert_eq!((failed, waited.as_secs()), (Failure::NobodySends, 123));
    }

    #[test]
    fn a_second_file_is_refused_and_a_missing_last_block_is_not() {
        let sent = |last: &[u8]| {
            let mut receiver = Receiver::new();
            feed(&mut receiver, &name(b"x\x00128"));
            feed(&mut receiver, &block(1, &[1; 128]));
            feed(&mut receiver, &[EOT, EOT]);
            let event = feed(&mut receiver, last).1.pop();
            (receiver, event)
        };
        assert_eq!(sent(&name(b"y\x00128")).1, Some(Event::Failed(Failure::Several)));
        let (mut receiver, None) = sent(b"") else { panic!() };
        for _ in 0..3 {
            assert_eq!(silence(&mut receiver), (vec![b'C'], Event::Nothing));
        }
        assert_eq!(silence(&mut receiver).1, Event::End);
    }

    proptest! {
        #[test]
        fn junk_is_no_panic_and_no_data(bytes in prop::collection::vec(any::<u8>(), 0..4_000)) {
            let mut receiver = Receiver::new();
            let events = feed(&mut receiver, &bytes).1;
            prop_assert!(!events.contains(&Event::Data), "a block by chance");
        }

        #[test]
        fn whatever_noise_does_to_a_line_what_arrives_is_what_was_sent(
            content in prop::collection::vec(any::<u8>(), 1..3_000),
            hits in prop::collection::vec(0_usize..2_000, 0..6),
        ) {
            // A sender that repeats until it hears ACK, over a line that damages some bytes.
            let (mut receiver, mut got, mut at) = (Receiver::new(), Vec::<u8>::new(), 0_usize);
            for (number, data) in content.chunks(1024).enumerate() {
                let number = u8::try_from((number + 1) % 256).unwrap();
                for attempt in 0.. {
                    prop_assert!(attempt < 12);
                    let mut sent = Vec::new();
                    for byte in block(number, data) {
                        let byte = if hits.contains(&at) { byte ^ 0x10 } else { byte };
                        at += 1;
                        if receiver.heard(Heard::Byte(byte), &mut sent) == Event::Data {
                            got.extend(&receiver.data()[..data.len()]);
                        }
                    }
                    if sent == [ACK] {
                        break;
                    }
                    receiver.heard(Heard::Silence, &mut sent);
                }
            }
            prop_assert_eq!(got, content);
        }
    }
}
