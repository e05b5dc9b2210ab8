//! `traceroute`: the routers on the way to a host, by ICMP echo requests with a growing TTL.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use bascule_core::shell::table::wrap;

use super::icmp::{Echo, Meaning};
use super::ping::millis;
use super::resolve::{GLANCE, resolve, tell};
use crate::shell::console::Console;

/// Farthest router that is asked.
const HOPS: u8 = 30;
/// Requests to each.
const PROBES: u16 = 3;
/// How long a router may take.
const PATIENCE: Duration = Duration::from_secs(1);

/// The routers on the way to a host. Whether the host answered.
///
/// # Errors
/// When the terminal is gone.
pub fn traceroute(host: &str, console: &mut dyn Console) -> io::Result<bool> {
    let Some(target) = resolve(host, console)? else { return Ok(false) };
    let echo = match Echo::open(target) {
        Ok(echo) => echo,
        Err(error) => {
            tell(console, &format!("no ICMP socket: {error}: traceroute needs CAP_NET_RAW"))?;
            return Ok(false);
        }
    };
    tell(console, &format!("traceroute to {host} ({}), {HOPS} hops at most", target.ip()))?;
    for hops in 1..=HOPS {
        match one_hop(&echo, target, hops, console) {
            Ok(Hop::Interrupted) => return Ok(false),
            Ok(Hop::Probed(answers)) => {
                let mut lines = Vec::new();
                wrap(&mut lines, &format!("{hops:>2}  "), &answered(&answers));
                lines.iter().try_for_each(|line| console.say(line))?;
                if answers.iter().flatten().any(|answer| answer.meaning == Meaning::Reply) {
                    return Ok(true);
                }
                if answers.iter().flatten().any(|answer| matches!(answer.meaning, Meaning::Unreachable(..))) {
                    return Ok(false);
                }
            }
            Err(error) => {
                tell(console, &format!("{hops:>2}  cannot be sent to {}: {error}", target.ip()))?;
                return Ok(false);
            }
        }
    }
    tell(console, &format!("{host} was not reached within {HOPS} hops"))?;
    Ok(false)
}

enum Hop {
    Probed(Vec<Option<Heard>>),
    Interrupted,
}

/// An answer to one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Heard {
    from: IpAddr,
    meaning: Meaning,
    took: Duration,
}

fn one_hop(echo: &Echo, target: SocketAddr, hops: u8, console: &mut dyn Console) -> io::Result<Hop> {
    echo.set_hops(hops)?;
    let first = u16::from(hops) * PROBES;
    let mut departures = Vec::new();
    for probe in 0..PROBES {
        echo.send(first + probe)?;
        departures.push(Instant::now());
    }
    let deadline = Instant::now() + PATIENCE;
    let mut heard = vec![None; usize::from(PROBES)];
    while heard.contains(&None) {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            break;
        }
        // An error that the kernel met on its own (a host that does not answer ARP) says that this hop is the last.
        let answer = match echo.receive(left.min(GLANCE)) {
            Ok(answer) => answer,
            Err(_) => break,
        };
        if let Some((from, answer)) = answer {
            let index = usize::from(answer.sequence.wrapping_sub(first));
            if let (Some(slot), Some(departure)) = (heard.get_mut(index), departures.get(index)) {
                // A host that has the address itself is there, whatever it answers.
                let own = from == target.ip() && answer.meaning == Meaning::Expired;
                let meaning = if own { Meaning::Reply } else { answer.meaning };
                *slot = Some(Heard { from, meaning, took: departure.elapsed() });
            }
        }
        if console.pause(Duration::ZERO)? {
            return Ok(Hop::Interrupted);
        }
    }
    Ok(Hop::Probed(heard))
}

/// `10.0.0.254 0.312 ms 0.290 ms *`: who answered is named where it changes.
fn answered(answers: &[Option<Heard>]) -> String {
    let mut text = String::new();
    let mut named = None;
    for answer in answers {
        let Some(answer) = answer else {
            text.push_str(" *");
            continue;
        };
        if named != Some(answer.from) {
            text.push_str(&format!(" {}", answer.from));
            named = Some(answer.from);
        }
        text.push_str(&format!(" {} ms", millis(answer.took)));
        if let Meaning::Unreachable(_, mark) = answer.meaning {
            text.push_str(&format!(" {mark}"));
        }
    }
    text.trim_start().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::look::testing::Memory;

    #[test]
    fn a_line_names_who_answered_where_it_changes() {
        let heard = |from: &str, meaning| {
            Some(Heard { from: from.parse().unwrap(), meaning, took: Duration::from_micros(312) })
        };
        let expired = heard("10.0.0.254", Meaning::Expired);
        let other = heard("10.0.1.254", Meaning::Unreachable("no", "!H"));
        assert_eq!(answered(&[expired, expired, None]), "10.0.0.254 0.312 ms 0.312 ms *");
        assert_eq!(answered(&[None, expired, other]), "* 10.0.0.254 0.312 ms 10.0.1.254 0.312 ms !H");
        assert_eq!(answered(&[None, None, None]), "* * *");
    }

    #[test]
    fn the_loopback_is_one_hop_away() {
        for host in ["127.0.0.1", "::1"] {
            let mut console = Memory { pauses: 100_000, ..Memory::default() };
            assert!(traceroute(host, &mut console).unwrap());
            let said = console.said.borrow();
            assert_eq!(said.len(), 2, "{said:?}");
            assert!(said[1].starts_with(&format!(" 1  {host} ")), "{said:?}");
        }
    }
}
