//! How far an update is: a bar on a terminal, lines elsewhere, and the state file for other consoles.

use std::io;
use std::time::{Duration, Instant};

use bascule_core::bundle::Verified;
use bascule_core::shell::table::{age, binary, wrap};

use super::install::{Step, Stop, Watch};
use super::lock::{Lock, State};
use crate::shell::console::Console;

/// A bar is drawn at most this often: a serial line has 11 KB/s for everything.
const DRAW: Duration = Duration::from_millis(500);
/// The state file is written at most this often.
const WRITE: Duration = Duration::from_secs(1);
/// Without a terminal there is a line for each of these parts of the whole, in percent.
const PART: u64 = 25;
/// The speed is that of the latest so much time.
const WINDOW: Duration = Duration::from_secs(8);
/// Cells of the bar.
const CELLS: usize = 26;

/// The bar: `receiving [#####.....]  52%  8.9 of 17.0 MiB  1.2 MiB/s  0m07s left`, at most 79 columns.
#[must_use]
pub fn bar(step: Step, done: u64, total: u64, speed: Option<u64>) -> String {
    let percent = percent(done, total);
    let full = usize::try_from(percent).unwrap_or(0) * CELLS / 100;
    let cells: String = (0..CELLS).map(|cell| if cell < full { '#' } else { '.' }).collect();
    let mut text = format!("{:<12} [{cells}] {percent:>3}%  {}", step.word(), binary(done));
    if let Some(speed) = speed.filter(|speed| *speed > 0 && done < total) {
        let left = Duration::from_secs((total - done).div_ceil(speed));
        text += &format!(" {}/s {} left", binary(speed), age(left));
    } else {
        text += &format!(" of {}", binary(total));
    }
    text.truncate(79);
    text
}

fn percent(done: u64, total: u64) -> u64 {
    done.saturating_mul(100).checked_div(total).unwrap_or(0).min(100)
}

/// Bytes per second over the latest moments.
#[derive(Debug, Default)]
struct Speed(Vec<(Instant, u64)>);

impl Speed {
    fn at(&mut self, now: Instant, done: u64) -> Option<u64> {
        if self.0.last().is_some_and(|(_, before)| *before > done) {
            self.0.clear();
        }
        self.0.retain(|(then, _)| now.saturating_duration_since(*then) <= WINDOW);
        self.0.push((now, done));
        let (then, before) = *self.0.first()?;
        let millis = u64::try_from(now.saturating_duration_since(then).as_millis()).ok()?;
        // The first moments tell nothing.
        (millis >= 500).then(|| (done - before).saturating_mul(1_000) / millis)
    }
}

/// Shows progress on a console.
pub struct Shown<'a> {
    /// None while the terminal itself carries the bundle: nothing is printed meanwhile.
    console: Option<&'a mut dyn Console>,
    lock: &'a Lock,
    state: State,
    speed: Speed,
    drawn: Option<Instant>,
    written: Option<Instant>,
    /// Without a terminal: the step and the part that were told last.
    told: Option<(Step, u64)>,
}

impl<'a> Shown<'a> {
    /// Before anything happened.
    pub fn new(console: Option<&'a mut dyn Console>, lock: &'a Lock, state: State) -> Self {
        lock.tell(&state);
        Self { console, lock, state, speed: Speed::default(), drawn: None, written: None, told: None }
    }

    /// How far it came.
    pub fn into_state(self) -> State {
        self.state
    }

    fn draw(&mut self, step: Step, done: u64, total: u64, now: Instant) -> io::Result<()> {
        let speed = self.speed.at(now, done);
        let Some(console) = &mut self.console else { return Ok(()) };
        if total == 0 {
            return Ok(());
        }
        if console.terminal() {
            let due = self.drawn.is_none_or(|drawn| now.saturating_duration_since(drawn) >= DRAW);
            if due || done == total {
                self.drawn = Some(now);
                console.row(&bar(step, done, total, speed))?;
            }
            return Ok(());
        }
        let part = percent(done, total) / PART * PART;
        if self.told != Some((step, part)) {
            self.told = Some((step, part));
            console.say(&format!("{}: {part}% of {}", step.word(), binary(total)))?;
        }
        Ok(())
    }

    fn look(&mut self) -> Result<(), Stop> {
        if self.lock.cancelled() {
            return Err(Stop::Cancelled);
        }
        match self.console.as_mut().map_or(Ok(false), |console| console.interrupted()) {
            Ok(false) => Ok(()),
            Ok(true) => Err(Stop::Cancelled),
            Err(error) => Err(Stop::Gone(error)),
        }
    }
}

impl Watch for Shown<'_> {
    fn progress(&mut self, step: Step, done: u64, total: u64) -> Result<(), Stop> {
        let now = Instant::now();
        step.word().clone_into(&mut self.state.step);
        (self.state.done, self.state.total) = (done, total);
        if self.written.is_none_or(|written| now.saturating_duration_since(written) >= WRITE) {
            self.written = Some(now);
            self.lock.tell(&self.state);
        }
        self.draw(step, done, total, now).map_err(Stop::Gone)?;
        self.look()
    }

    fn verified(&mut self, bundle: &Verified) -> Result<(), Stop> {
        let manifest = bundle.manifest();
        self.state.version = Some(manifest.version.to_string());
        let text = format!(
            "Version {} for {}, signed by {} ({} key).",
            manifest.version,
            manifest.board,
            bundle.signer().name,
            bundle.signer().kind,
        );
        self.news(&text)
    }

    fn news(&mut self, line: &str) -> Result<(), Stop> {
        self.state.note = Some(line.to_owned());
        let Some(console) = &mut self.console else { return Ok(()) };
        self.drawn = None;
        let mut lines = Vec::new();
        wrap(&mut lines, "", line);
        let said = console.row("").and_then(|()| lines.iter().try_for_each(|line| console.say(line)));
        said.map_err(Stop::Gone)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_fits_a_terminal_and_tells_the_truth() {
        assert_eq!(
            bar(Step::Receiving, 9_000_000, 18_000_000, Some(1_000_000)),
            "receiving    [#############.............]  50%  8.5 MiB 976 KiB/s 9s left"
        );
        let most = u64::MAX;
        for (done, total, speed) in
            [(0, 0, None), (0, most, Some(1)), (most, most, Some(most)), (5, 1, None), (most - 1, most, None)]
        {
            for step in [Step::Checking, Step::Receiving, Step::ReadingBack] {
                let text = bar(step, done, total, speed);
                assert!(text.len() <= 79 && text.bytes().all(|b| (0x20..0x7f).contains(&b)), "{text}");
            }
        }
        assert!(bar(Step::ReadingBack, 10, 10, Some(5)).contains("100%"));
    }

    #[test]
    fn the_speed_is_that_of_the_latest_moments() {
        let (mut speed, start) = (Speed::default(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(speed.at(at(0), 0), None);
        assert_eq!(speed.at(at(1), 1_000), Some(1_000));
        for second in 2..30 {
            speed.at(at(second), 1_000);
        }
        assert_eq!(speed.at(at(30), 1_000), Some(0), "it stalls");
        assert_eq!(speed.at(at(31), 0), None, "another step begins");
    }
}
