//! Time from the network: SNTP packets (RFC 5905 section 14) and what to do with an answer.
//!
//! A clock that is off by more than half a second is stepped, and only when two answers in a row agree; less is
//! slewed, so that logs and certificates never see time run backwards. VRRP and health checks use the monotonic
//! clock and do not notice either. A time before this program was made is not believed.

use core::time::Duration;

use thiserror::Error;

/// Length of a packet without extensions.
pub const LENGTH: usize = 48;
/// UDP port of time servers.
pub const PORT: u16 = 123;
/// Beyond this the clock is stepped.
pub const STEP: Duration = Duration::from_millis(500);
/// Two answers agree when their offsets differ by less than this.
const AGREE: Duration = Duration::from_millis(250);
/// An answer that was under way for longer says too little.
const DELAY_MAX: Duration = Duration::from_secs(1);
/// Between answers while the clock is not settled, then while it is, and after failures.
const POLL: (Duration, Duration, Duration) =
    (Duration::from_secs(2), Duration::from_secs(256), Duration::from_secs(16));
/// Seconds from 1900, where NTP begins, to 1970.
const UNIX: u64 = 2_208_988_800;
/// 2^32 seconds: NTP's era.
const ERA: u64 = 1 << 32;

/// Why an answer is not used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum NtpError {
    /// Shorter than a packet.
    #[error("the answer is too short")]
    Short,
    /// Not from a server, or not to our question: stray, late or forged.
    #[error("the answer is not to our question")]
    Stray,
    /// The server says that it has no time (stratum 0 or 16, leap 3).
    #[error("the server has no time itself")]
    Unsynchronised,
    /// On the way for too long.
    #[error("the answer took too long to be of use")]
    Slow,
    /// Before this program was made.
    #[error("the server's time is before this release was made")]
    Past,
}

/// A time: nanoseconds since 1970.
pub type Nanos = i128;

/// A question. `cookie` is a random number that the answer must repeat; it stands where a clock would tell its time,
/// which is nobody's business.
#[must_use]
pub fn question(cookie: u64) -> [u8; LENGTH] {
    let mut packet = [0; LENGTH];
    // No leap warning, version 4, client.
    packet[0] = 0b00_100_011;
    packet[40..48].copy_from_slice(&cookie.to_be_bytes());
    packet
}

/// What an answer says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// How much the clock must be moved, in nanoseconds: positive when it is late.
    pub offset: Nanos,
    /// Time on the way, there and back.
    pub delay: Duration,
    /// Distance of the server from a reference clock, 1 to 15.
    pub stratum: u8,
}

/// Reads an answer to the question with `cookie` that left at `sent` and came back at `received`, both by our clock.
///
/// # Errors
/// When it is not to be used.
pub fn answer(
    packet: &[u8],
    cookie: u64,
    sent: Nanos,
    received: Nanos,
    floor: Nanos,
) -> Result<Answer, NtpError> {
    let packet: &[u8; LENGTH] =
        packet.get(..LENGTH).and_then(|p| p.try_into().ok()).ok_or(NtpError::Short)?;
    let field = |at: usize| u64::from_be_bytes([0, 1, 2, 3, 4, 5, 6, 7].map(|i: usize| packet[at + i]));
    let (mode, leap, stratum) = (packet[0] & 7, packet[0] >> 6, packet[1]);
    if mode != 4 || field(24) != cookie {
        return Err(NtpError::Stray);
    }
    if leap == 3 || !(1..=15).contains(&stratum) || field(40) == 0 {
        return Err(NtpError::Unsynchronised);
    }
    let (there, back) = (nanos(field(32), floor), nanos(field(40), floor));
    if back < floor {
        return Err(NtpError::Past);
    }
    let delay = ((received - sent) - (back - there)).max(0);
    let delay = Duration::from_nanos(u64::try_from(delay).unwrap_or(u64::MAX));
    if delay > DELAY_MAX {
        return Err(NtpError::Slow);
    }
    Ok(Answer { offset: ((there - sent) + (back - received)) / 2, delay, stratum })
}

/// A timestamp in the era that is nearest to `floor` from above: NTP's seconds come round in 2036.
fn nanos(timestamp: u64, floor: Nanos) -> Nanos {
    let (mut seconds, fraction) = (timestamp >> 32, timestamp & 0xffff_ffff);
    let least = u64::try_from(floor / 1_000_000_000).unwrap_or(0) + UNIX;
    // Half an era before the floor still counts as before it.
    while seconds + ERA / 2 < least {
        seconds += ERA;
    }
    (Nanos::from(seconds) - Nanos::from(UNIX)) * 1_000_000_000
        + ((Nanos::from(fraction) * 1_000_000_000) >> 32)
}

/// What is to be done with the clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Adjust {
    /// Nothing yet: the next answer must say the same.
    Wait,
    /// Move it by so much, little by little.
    Slew(Nanos),
    /// Set it by so much.
    Step(Nanos),
}

/// Decides on answers as they come.
#[derive(Clone, Debug, Default)]
pub struct Discipline {
    /// An offset that would be a step, waiting for a second one.
    pending: Option<Nanos>,
    settled: bool,
}

impl Discipline {
    /// Takes an answer.
    pub fn take(&mut self, answer: &Answer) -> Adjust {
        let limit = |duration: Duration| Nanos::try_from(duration.as_nanos()).unwrap_or(Nanos::MAX);
        if answer.offset.abs() <= limit(STEP) {
            (self.pending, self.settled) = (None, true);
            return Adjust::Slew(answer.offset);
        }
        match self.pending.take() {
            Some(first) if (first - answer.offset).abs() < limit(AGREE) => {
                // A look soon after shows whether it was right.
                self.settled = false;
                Adjust::Step(answer.offset)
            }
            Some(_) | None => {
                (self.pending, self.settled) = (Some(answer.offset), false);
                Adjust::Wait
            }
        }
    }

    /// How long until the next question, after an answer (`true`) or none.
    #[must_use]
    pub const fn pause(&self, answered: bool) -> Duration {
        let (soon, settled, failed) = POLL;
        match (answered, self.settled) {
            (false, _) => failed,
            (true, false) => soon,
            (true, true) => settled,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Nanos = 1_000_000_000;
    /// 2026-11-22.
    const FLOOR: Nanos = 1_795_305_600 * SECOND;
    const COOKIE: u64 = 0x0123_4567_89ab_cdef;

    fn stamp(time: Nanos) -> u64 {
        let seconds = u64::try_from(time.div_euclid(SECOND)).unwrap() + UNIX;
        let fraction = (u64::try_from(time.rem_euclid(SECOND)).unwrap() << 32) / 1_000_000_000;
        (seconds % ERA) << 32 | fraction
    }

    /// A server's packet: it was asked at `there` and answered at `back`, by its clock.
    fn packet(there: Nanos, back: Nanos) -> [u8; LENGTH] {
        let mut packet = question(stamp(back));
        packet[0] = 0b00_100_100;
        packet[1] = 2;
        packet[24..32].copy_from_slice(&COOKIE.to_be_bytes());
        packet[32..40].copy_from_slice(&stamp(there).to_be_bytes());
        packet
    }

    fn close(a: Nanos, b: Nanos) -> bool {
        (a - b).abs() < 10
    }

    #[test]
    fn an_answer_tells_offset_and_delay() {
        // Our clock is 3 s late; 10 ms there, 1 ms in the server, 30 ms back: half the asymmetry shows.
        let sent = FLOOR + 100 * SECOND;
        let there = sent + 3 * SECOND + 10_000_000;
        let back = there + 1_000_000;
        let received = sent + 41_000_000;
        let found = answer(&packet(there, back), COOKIE, sent, received, FLOOR).unwrap();
        assert!(close(found.offset, 3 * SECOND - 10_000_000), "{found:?}");
        assert!(close(found.delay.as_nanos().try_into().unwrap(), 40_000_000), "{found:?}");
        assert_eq!(found.stratum, 2);
    }

    #[test]
    fn a_clock_that_starts_at_1970_is_brought_to_the_present_also_after_2036() {
        for year in [0, 10, 20, 60] {
            let now = FLOOR + year * 366 * 86_400 * SECOND;
            let found = answer(&packet(now, now), COOKIE, 0, 0, FLOOR).unwrap();
            assert!(close(found.offset, now), "{year} years on: {found:?}");
        }
    }

    #[test]
    fn only_a_servers_answer_to_our_question_counts() {
        let good = packet(FLOOR + SECOND, FLOOR + SECOND);
        let read = |packet: &[u8]| answer(packet, COOKIE, FLOOR, FLOOR, FLOOR);
        assert!(read(&good).is_ok());
        assert_eq!(read(&good[..47]), Err(NtpError::Short));
        assert_eq!(answer(&good, COOKIE + 1, FLOOR, FLOOR, FLOOR), Err(NtpError::Stray));
        let with = |at: usize, value: u8| {
            let mut packet = good;
            packet[at] = value;
            read(&packet)
        };
        assert_eq!(with(0, 0b00_100_011), Err(NtpError::Stray), "a client's");
        assert_eq!(with(0, 0b11_100_100), Err(NtpError::Unsynchronised), "leap 3");
        assert_eq!(with(1, 0), Err(NtpError::Unsynchronised), "kiss of death");
        assert_eq!(with(1, 16), Err(NtpError::Unsynchronised));
        assert_eq!(answer(&good, COOKIE, FLOOR, FLOOR + 2 * SECOND, FLOOR), Err(NtpError::Slow));
        let past = packet(FLOOR - SECOND, FLOOR - SECOND);
        assert_eq!(read(&past), Err(NtpError::Past));
    }

    fn off(offset: Nanos) -> Answer {
        Answer { offset, delay: Duration::ZERO, stratum: 1 }
    }

    #[test]
    fn a_small_offset_is_slewed_and_a_large_one_stepped_when_it_is_said_twice() {
        let mut discipline = Discipline::default();
        assert_eq!(discipline.take(&off(SECOND / 2)), Adjust::Slew(SECOND / 2));
        assert_eq!(discipline.pause(true), Duration::from_secs(256));
        assert_eq!(discipline.take(&off(SECOND / 2 + 1)), Adjust::Wait);
        assert_eq!(discipline.pause(true), Duration::from_secs(2));
        assert_eq!(discipline.take(&off(-SECOND)), Adjust::Wait, "they disagree");
        assert_eq!(discipline.take(&off(-SECOND - 1)), Adjust::Step(-SECOND - 1));
        assert_eq!(discipline.take(&off(-SECOND)), Adjust::Wait, "a step is not repeated at once");
        assert_eq!(discipline.take(&off(0)), Adjust::Slew(0));
        assert_eq!(discipline.take(&off(-SECOND)), Adjust::Wait, "the earlier one is forgotten");
        assert_eq!(discipline.pause(false), Duration::from_secs(16));
    }

    #[test]
    fn no_packet_makes_it_fail() {
        for length in 0..64 {
            for byte in [0, 0x24, 0xff] {
                let _ = answer(&vec![byte; length], u64::MAX, i128::from(i64::MAX), 0, FLOOR);
                let _ = answer(&vec![byte; length], 0, 0, 0, 0);
            }
        }
    }
}
