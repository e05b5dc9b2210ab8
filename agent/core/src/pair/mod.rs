//! `update pair`: one system after the other, on two boxes that serve meanwhile.
//!
//! ```text
//! Look -> InstallHere -> InstallThere -> Activate -> Trial -> Warm -> HandOver -> Watch -> Restart
//! ```
//! The Master drives. Both slots are written first, since that is harmless. The Backup restarts into the new system and
//! its own gate keeps it; it learns the connections again; this box hands over, watches how the other serves, and
//! restarts itself. The first doubt stops it, and there is always one box that serves on a system that was kept.
//!
//! `Pair::on` takes one event and says what is next; the caller does one thing at a time.

pub mod message;
pub mod side;
mod step;

use core::time::Duration;

use crate::router::Role;
use crate::time::Instant;

pub use side::{Side, Slots, System};
pub use step::{Event, Next, Order, Step};

/// A box that restarts has so long until its gate has judged: two starts, and the gate's 180 seconds.
pub const TRIAL: Duration = Duration::from_secs(900);
/// So long the other box may take to learn the connections.
pub const WARM: Duration = Duration::from_secs(90);
/// So long a planned hand-over may take.
pub const HAND_OVER: Duration = Duration::from_secs(30);
/// The other box serves so long before this one restarts.
pub const CALM: Duration = Duration::from_secs(10);
/// So long it may take until it has served that long.
pub const WATCH: Duration = Duration::from_secs(60);
/// After its restart this box stays behind so long until it knows the connections.
pub const BEHIND: Duration = Duration::from_secs(60);

/// An update of a pair.
#[derive(Clone, Debug)]
pub struct Pair {
    step: Step,
    /// When the step began.
    since: Instant,
    /// Connections that the other box does not know may be lost.
    lose_idle: bool,
    /// What is installed.
    target: Option<System>,
    /// Both boxes before anything happened.
    before: Option<(Side, Side)>,
    /// The hand-over was ordered.
    yielded: bool,
    /// Since when the other box serves as it should.
    calm: Option<Instant>,
    /// What the step waits for.
    waits: String,
    /// Why the addresses are taken back.
    doubt: String,
}

impl Pair {
    /// A new one; the first order is `Order::Look`.
    #[must_use]
    pub const fn new(now: Instant, lose_idle: bool) -> Self {
        Self {
            step: Step::Look,
            since: now,
            lose_idle,
            target: None,
            before: None,
            yielded: false,
            calm: None,
            waits: String::new(),
            doubt: String::new(),
        }
    }

    /// Where it is.
    #[must_use]
    pub const fn step(&self) -> Step {
        self.step
    }

    /// What the step waits for, in words; empty when there is nothing to say.
    #[must_use]
    pub fn waits(&self) -> &str {
        &self.waits
    }

    /// What is installed.
    #[must_use]
    pub const fn target(&self) -> Option<&System> {
        self.target.as_ref()
    }

    /// Both boxes as they were before.
    #[must_use]
    pub const fn before(&self) -> Option<&(Side, Side)> {
        self.before.as_ref()
    }

    /// What is true when it stops where it is: what runs where, and the way out.
    #[must_use]
    pub fn left(&self) -> String {
        let Some((here, there)) = &self.before else { return "Nothing was changed.".to_owned() };
        let (old, here, there) = (here.running.version, &here.name, &there.name);
        let Some(target) = &self.target else {
            return format!("Both boxes run {old}. \"show update\" tells what is in the other slots.");
        };
        let new = target.version;
        match self.step {
            Step::Look | Step::InstallHere | Step::InstallThere => format!(
                "Both boxes run {old}. {new} is installed on {here} and not activated: \"update cancel\" on each box \
                 forgets it."
            ),
            Step::Activate | Step::Trial => format!(
                "{here} serves, on {old}. {there} goes on by itself: its gate keeps {new}, or it goes back. \"show \
                 update\" there tells. Then type \"update pair\" again."
            ),
            Step::Warm => format!(
                "{here} serves, on {old}; {there} is Backup on {new}. Type \"update pair\" again, with lose-idle if \
                 these connections may be lost."
            ),
            Step::HandOver | Step::Watch | Step::Back => format!(
                "{there} runs {new}, {here} {old}, and takes its addresses back by its priority. See \"show status\" \
                 and \"show log\" on {there}, then type \"update pair\" again."
            ),
            Step::Restart => {
                format!("{there} serves, on {new}; {here} runs {old}: \"update activate\" there goes on.")
            }
        }
    }

    fn enter(&mut self, now: Instant, step: Step, order: Order) -> Next {
        (self.step, self.since) = (step, now);
        self.waits.clear();
        Next::Do(order)
    }

    fn wait(&mut self, text: impl Into<String>, order: Order) -> Next {
        self.waits = text.into();
        Next::Soon(order)
    }

    fn late(&self, now: Instant, longest: Duration) -> bool {
        now.since(self.since) >= longest
    }

    /// The addresses go back to this box, and then it ends.
    fn back(&mut self, now: Instant, doubt: String) -> Next {
        self.doubt = doubt;
        self.enter(now, Step::Back, Order::TakeBack)
    }

    /// Takes one event and says what is next.
    pub fn on(&mut self, now: Instant, event: Event) -> Next {
        match event {
            Event::Seen { here, there } => self.seen(now, here, there),
            Event::Installed(system) => self.installed(now, system),
            Event::Done => self.done(now),
            Event::Counted { established, unknown } => self.counted(now, established, unknown),
            Event::Failed(reason) => self.failed(now, reason),
            Event::Interrupted => self.interrupted(now),
        }
    }

    fn seen(
        &mut self,
        now: Instant,
        here: Result<Box<Side>, String>,
        there: Result<Box<Side>, String>,
    ) -> Next {
        let here = match here {
            Ok(side) => side,
            Err(reason) => return self.failed(now, reason),
        };
        match (self.step, there) {
            (Step::Look, Ok(there)) => self.looked(now, *here, *there),
            (Step::Look, Err(reason)) => Next::Stop(reason),
            (Step::Trial, there) => self.tried(now, &here, there),
            (Step::HandOver, there) => self.handed(now, &here, there),
            (Step::Watch, there) => self.watched(now, there),
            (
                Step::InstallHere
                | Step::InstallThere
                | Step::Activate
                | Step::Warm
                | Step::Restart
                | Step::Back,
                _,
            ) => self.unasked(now),
        }
    }

    /// An answer to another question: a mistake of the caller, and reason enough to stop.
    fn unasked(&mut self, now: Instant) -> Next {
        self.failed(now, "an answer came that nobody asked for".to_owned())
    }

    fn looked(&mut self, now: Instant, here: Side, there: Side) -> Next {
        if let Err(reason) = side::fit(&here, &there) {
            return Next::Stop(reason);
        }
        self.before = Some((here, there));
        self.enter(now, Step::InstallHere, Order::InstallHere)
    }

    fn installed(&mut self, now: Instant, system: System) -> Next {
        match self.step {
            Step::InstallHere => {
                let already = self.before.as_ref().is_some_and(|(_, there)| there.running == system);
                self.target = Some(system);
                match already {
                    // The other box was updated before, and this one was not.
                    true => self.enter(now, Step::Warm, Order::Count),
                    false => self.enter(now, Step::InstallThere, Order::InstallThere),
                }
            }
            Step::InstallThere if self.target.as_ref() == Some(&system) => {
                self.enter(now, Step::Activate, Order::ActivateThere)
            }
            Step::InstallThere => Next::Stop(format!(
                "the other box got version {}, another system than this box",
                system.version
            )),
            Step::Look
            | Step::Activate
            | Step::Trial
            | Step::Warm
            | Step::HandOver
            | Step::Watch
            | Step::Restart
            | Step::Back => self.unasked(now),
        }
    }

    fn done(&mut self, now: Instant) -> Next {
        match self.step {
            Step::Activate => {
                self.enter(now, Step::Trial, Order::Look);
                self.wait("", Order::Look)
            }
            Step::HandOver => self.wait("", Order::Look),
            Step::Restart => Next::Over,
            Step::Back => Next::Stop(self.doubt.clone()),
            Step::Look | Step::InstallHere | Step::InstallThere | Step::Trial | Step::Warm | Step::Watch => {
                self.unasked(now)
            }
        }
    }

    fn tried(&mut self, now: Instant, here: &Side, there: Result<Box<Side>, String>) -> Next {
        if !here.is_all(&Role::Master) {
            return Next::Stop(format!("{} is not Master of all any more", here.name));
        }
        let late = self.late(now, TRIAL);
        let waits = match &there {
            Err(reason) => reason.clone(),
            Ok(there) if self.before.as_ref().is_some_and(|(_, before)| before.boot == there.boot) => {
                "it has not restarted yet".to_owned()
            }
            Ok(there) => match &there.slots {
                Slots::Steady if self.target.as_ref() == Some(&there.running) => {
                    return self.enter(now, Step::Warm, Order::Count);
                }
                Slots::Steady => {
                    return Next::Stop(format!(
                        "{} went back to {}: {}",
                        there.name, there.running.version, there.reason
                    ));
                }
                Slots::Trial => there.gate.clone().unwrap_or_else(|| "it is on trial".to_owned()),
                Slots::Busy(why) => why.clone(),
            },
        };
        if late {
            return Next::Stop(format!("the trial did not end within {} s: {waits}", TRIAL.as_secs()));
        }
        self.wait(waits, Order::Look)
    }

    fn counted(&mut self, now: Instant, established: u64, unknown: u64) -> Next {
        match self.step {
            Step::Warm if unknown == 0 => self.enter(now, Step::HandOver, Order::Look),
            Step::Warm => {
                let text = format!("{unknown} of {established} established connections are not known there");
                if !self.late(now, WARM) {
                    return self.wait(text, Order::Count);
                }
                if self.lose_idle {
                    return self.enter(now, Step::HandOver, Order::Look);
                }
                let limit = WARM.as_secs();
                Next::Stop(format!(
                    "{text} after {limit} s. The kernel tells the other box of a connection when packets flow on it"
                ))
            }
            Step::Look
            | Step::InstallHere
            | Step::InstallThere
            | Step::Activate
            | Step::Trial
            | Step::HandOver
            | Step::Watch
            | Step::Restart
            | Step::Back => self.unasked(now),
        }
    }

    fn handed(&mut self, now: Instant, here: &Side, there: Result<Box<Side>, String>) -> Next {
        if !self.yielded {
            let ready = there.and_then(|there| here.can_hand_to(&there).map(|()| there));
            if let Err(reason) = ready {
                return Next::Stop(reason);
            }
            self.yielded = true;
            return Next::Do(Order::HandOver);
        }
        let waits = match there {
            Ok(there) if there.is_all(&Role::Master) && here.is_all(&Role::Backup) => {
                return self.enter(now, Step::Watch, Order::Look);
            }
            Ok(there) => format!("{} is not Master of all yet", there.name),
            Err(reason) => reason,
        };
        if self.late(now, HAND_OVER) {
            let limit = HAND_OVER.as_secs();
            return self.back(now, format!("the hand-over did not end within {limit} s: {waits}"));
        }
        self.wait(waits, Order::Look)
    }

    fn watched(&mut self, now: Instant, there: Result<Box<Side>, String>) -> Next {
        let wanting = match (&there, &self.before) {
            (Err(reason), _) => vec![reason.clone()],
            (Ok(there), _) if !there.is_all(&Role::Master) => {
                vec![format!("{} is not Master of all", there.name)]
            }
            (Ok(there), Some((here, before))) => {
                let mut reference = here.sight.clone();
                // What was wrong on the other box already is no doubt about its new system.
                reference.problems.extend(before.sight.problems.iter().cloned());
                there.sight.wanting(&reference)
            }
            (Ok(_), None) => Vec::new(),
        };
        if wanting.is_empty() {
            let since = *self.calm.get_or_insert(now);
            if now.since(since) >= CALM {
                return self.enter(now, Step::Restart, Order::ActivateHere);
            }
        } else {
            self.calm = None;
        }
        let text = wanting.join("; ");
        if self.late(now, WATCH) {
            return self.back(now, format!("the other box does not serve as this one did: {text}"));
        }
        self.wait(text, Order::Look)
    }

    fn failed(&mut self, now: Instant, reason: String) -> Next {
        match self.step {
            Step::HandOver if self.yielded => self.back(now, reason),
            Step::Watch | Step::Restart => self.back(now, reason),
            Step::Back => Next::Stop(format!("{}; and then: {reason}", self.doubt)),
            Step::Look
            | Step::InstallHere
            | Step::InstallThere
            | Step::Activate
            | Step::Trial
            | Step::Warm
            | Step::HandOver => Next::Stop(reason),
        }
    }

    fn interrupted(&mut self, now: Instant) -> Next {
        match self.step {
            // What is written into the boot record is not taken back half-way.
            Step::Restart => Next::Do(Order::ActivateHere),
            Step::Back => Next::Do(Order::TakeBack),
            Step::Look
            | Step::InstallHere
            | Step::InstallThere
            | Step::Activate
            | Step::Trial
            | Step::Warm
            | Step::HandOver
            | Step::Watch => self.failed(now, "stopped by the operator".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests;
