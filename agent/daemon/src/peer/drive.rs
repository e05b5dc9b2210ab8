//! `update pair` on the console of the Master: carries out what `bascule_core::pair` orders, until this box restarts.

use std::io;
use std::time::{Duration, Instant};

use bascule_core::bundle::{Older, Verified};
use bascule_core::control::{Reply, Request};
use bascule_core::overrides::{Operation, clock};
use bascule_core::pair::message::{self, Work};
use bascule_core::pair::{Event, Next, Order, Pair, Step as Stage, System};
use bascule_core::shell::table::wrap;
use serde_json::json;

use super::finish::LASTING;
use super::key::Key;
use super::link::{Link, Way};
use super::plan::Plan;
use super::service::system;
use super::sight::{self, Connections, unknown};
use crate::people::audit::{self, Entry};
use crate::shell::console::Console;
use crate::sys::monotonic;
use crate::update::{self, At, Lock, Machine, NotDone, Step, Stop, Watch, bar};

/// Between two looks.
const PAUSE: Duration = Duration::from_secs(1);
/// A bar is drawn at most this often.
const DRAW: Duration = Duration::from_millis(500);

/// When it did not begin.
const NOTHING: &str = "Nothing was changed.";

/// What the operator wants.
#[derive(Clone, Copy, Debug)]
pub struct Wish<'a> {
    /// Where the bundle comes from.
    pub from: &'a str,
    /// Also when it is older.
    pub older: bool,
    /// Connections that the other box does not know may be lost.
    pub lose_idle: bool,
    /// Says how it ended as JSON and nothing else.
    pub json: bool,
}

/// Updates both boxes; whether it came to the restart of this one.
///
/// # Errors
/// When the terminal is gone.
pub fn update_pair(
    console: &mut dyn Console,
    machine: &mut dyn Machine,
    at: At<'_>,
    lock: &Lock,
    wish: &Wish<'_>,
) -> io::Result<bool> {
    let opened = link(at).and_then(|link| update::open(wish.from).map(|_| link).map_err(|e| e.to_string()));
    let link = match opened {
        Ok(link) => link,
        Err(reason) if wish.json => {
            let known = json!({ "restarts": false, "stopped": reason, "left": NOTHING });
            return console.say(&known.to_string()).map(|()| false);
        }
        Err(reason) => return complain(console, &format!("Nothing was changed: {reason}.")),
    };
    let plan = message::Plan {
        user: at.who.name.to_string(),
        source: wish.from.to_owned(),
        started: audit::now(),
        ..message::Plan::default()
    };
    let plan = Plan::new(&at.place.state_dir, plan);
    let screen = Screen { console, quiet: wish.json, gone: None, begun: Instant::now(), drawn: None };
    let pair = Pair::new(monotonic(), wish.lose_idle);
    let mut drive = Drive { screen, machine, at, lock, wish, link, plan, pair, sample: None };
    let stopped = drive.run();
    let Drive { mut screen, pair, plan, .. } = drive;
    screen.row("");
    if let Some(error) = screen.gone {
        return Err(error);
    }
    let left = pair.left();
    if wish.json {
        let known = json!({
            "restarts": stopped.is_none(), "stopped": stopped, "left": stopped.as_ref().map(|_| left),
            "this": plan.driver, "other": plan.other, "version": plan.target.as_ref().map(|t| t.version.to_string()),
            "seconds": screen.begun.elapsed().as_secs(),
        });
        screen.console.say(&known.to_string())?;
        return Ok(stopped.is_none());
    }
    match stopped {
        Some(reason) => complain(screen.console, &format!("Stopped: {reason}.\n{left}")),
        None => {
            let text = "This box restarts. It takes part again when its gate has kept the new system and it knows the \
                        connections; \"show update\" tells, here and on the other box.";
            let mut lines = Vec::new();
            wrap(&mut lines, "", text);
            lines.iter().try_for_each(|line| screen.console.say(line)).map(|()| true)
        }
    }
}

fn link(at: At<'_>) -> Result<Link, String> {
    let way = Way::find(at.agent)?;
    let way =
        way.ok_or("the configuration names no other box: \"set peer address ADDRESS interface NAME\"")?;
    let key = Key::load(&at.place.state_dir)?;
    let key =
        key.ok_or("this box has no key for the other one: \"peer key new\" here, \"peer key set\" there")?;
    Ok(Link::new(way, key))
}

fn complain(console: &mut dyn Console, text: &str) -> io::Result<bool> {
    let mut lines = Vec::new();
    text.lines().for_each(|line| wrap(&mut lines, "", line));
    console.complain(&lines).map(|()| false)
}

/// The console of whoever waits. One that is gone stops the update where that does no harm, and nothing else.
struct Screen<'a> {
    console: &'a mut dyn Console,
    quiet: bool,
    gone: Option<io::Error>,
    begun: Instant,
    drawn: Option<Instant>,
}

impl Screen<'_> {
    fn keep(&mut self, result: io::Result<()>) {
        if let Err(error) = result {
            self.gone.get_or_insert(error);
        }
    }

    /// A line with the time since the beginning.
    fn say(&mut self, text: &str) {
        if self.quiet || self.gone.is_some() {
            return;
        }
        let mut lines = Vec::new();
        wrap(&mut lines, &format!("{:>6}  ", clock(self.begun.elapsed())), text);
        let said =
            self.console.row("").and_then(|()| lines.iter().try_for_each(|line| self.console.say(line)));
        self.keep(said);
    }

    fn row(&mut self, text: &str) {
        if !self.quiet && self.gone.is_none() {
            let drawn = self.console.row(text);
            self.keep(drawn);
        }
    }

    fn bar(&mut self, step: Step, done: u64, total: u64) {
        let due = self.drawn.is_none_or(|drawn| drawn.elapsed() >= DRAW);
        if total > 0 && (due || done == total) {
            self.drawn = Some(Instant::now());
            self.row(&bar(step, done, total, None));
        }
    }

    /// Whether somebody wants it to end.
    fn interrupted(&mut self, lock: &Lock) -> bool {
        match self.console.interrupted() {
            Ok(stop) => stop || lock.cancelled() || self.gone.is_some(),
            Err(error) => {
                self.gone.get_or_insert(error);
                true
            }
        }
    }

    /// Waits; whether somebody wants it to end.
    fn pause(&mut self, lock: &Lock) -> bool {
        if self.gone.is_some() {
            std::thread::sleep(PAUSE);
            return false;
        }
        match self.console.pause(PAUSE) {
            Ok(stop) => stop || lock.cancelled(),
            Err(error) => {
                self.gone.get_or_insert(error);
                true
            }
        }
    }
}

/// An update under way.
struct Drive<'a> {
    screen: Screen<'a>,
    machine: &'a mut dyn Machine,
    at: At<'a>,
    lock: &'a Lock,
    wish: &'a Wish<'a>,
    link: Link,
    plan: Plan,
    pair: Pair,
    /// The connections of this box a moment ago.
    sample: Option<Connections>,
}

impl Drive<'_> {
    /// Until this box restarts; why not, if it does not.
    fn run(&mut self) -> Option<String> {
        let mut event = self.carry_out(Order::Look);
        let mut told = Stage::Look;
        loop {
            let next = self.pair.on(monotonic(), event);
            if self.pair.step() != told {
                told = self.pair.step();
                self.tell(told);
            }
            event = match next {
                Next::Do(order) => self.carry_out(order),
                Next::Soon(order) => {
                    let waits: String = self.pair.waits().chars().take(68).collect();
                    self.screen.row(&format!("        {waits}"));
                    if self.screen.pause(self.lock) { Event::Interrupted } else { self.carry_out(order) }
                }
                Next::Stop(reason) => {
                    let result = format!("stopped: {reason}");
                    if self.pair.before().is_some() {
                        self.note(&result, Some(audit::now()));
                    }
                    self.audit(&result);
                    return Some(reason);
                }
                Next::Over => return None,
            };
        }
    }

    fn audit(&self, result: &str) {
        let (user, origin) = (self.at.who.name.as_str(), self.at.place.origin.as_str());
        let command = format!("update pair {}", self.wish.from);
        audit::append(&self.at.place.state_dir, Entry { user, origin, command: &command, result });
    }

    /// A new step: on this console and for whoever asks, on both boxes.
    fn tell(&mut self, step: Stage) {
        if let Some((here, there)) = self.pair.before() {
            (self.plan.driver, self.plan.other) = (here.name.clone(), there.name.clone());
        }
        self.plan.target = self.pair.target().cloned();
        let text = step.words(&self.plan.driver, &self.plan.other);
        self.screen.say(&text);
        self.note(&text, None);
    }

    fn note(&mut self, text: &str, ended: Option<u64>) {
        text.clone_into(&mut self.plan.text);
        self.plan.ended = ended;
        self.plan.keep();
        // While the other box restarts it cannot be told, and it would be waited for.
        if self.pair.step() != Stage::Trial {
            self.link.note(&self.plan);
        }
    }

    fn carry_out(&mut self, order: Order) -> Event {
        let result = match order {
            Order::Look => return self.look(),
            Order::InstallHere => self.install_here(),
            Order::InstallThere => self.install_there(),
            Order::ActivateThere => self.link.activate().map(|()| Event::Done).map_err(Event::Failed),
            Order::Count => self.count().map_err(Event::Failed),
            Order::HandOver => self.operate(Operation::Yield { router: None, lasting: None }),
            Order::TakeBack => self.operate(Operation::Normal { router: None }),
            Order::ActivateHere => self.activate_here(),
        };
        result.unwrap_or_else(|event| event)
    }

    fn look(&mut self) -> Event {
        let here = sight::side(self.machine, self.at.agent, &self.at.place.run_dir);
        Event::Seen { here: here.map(Box::new), there: self.link.look().map(Box::new) }
    }

    fn older(&self) -> Older {
        if self.wish.older { Older::Install } else { Older::Refuse }
    }

    fn install_here(&mut self) -> Result<Event, Event> {
        let mut source = update::open(self.wish.from).map_err(|error| Event::Failed(error.to_string()))?;
        let older = self.older();
        let mut watch = Bar { screen: &mut self.screen, lock: self.lock };
        let label = self.wish.from;
        let done =
            update::install_from(self.machine, self.at, self.lock, label, older, source.as_mut(), &mut watch);
        done.map(|verified| Event::Installed(system(&verified))).map_err(|error| match error {
            NotDone::Cancelled => Event::Interrupted,
            NotDone::Failed(reason) => Event::Failed(reason),
        })
    }

    fn install_there(&mut self) -> Result<Event, Event> {
        let mut source = update::open(self.wish.from).map_err(|error| Event::Failed(error.to_string()))?;
        let (screen, lock) = (&mut self.screen, self.lock);
        let mut watch = |progress: Option<(Work, u64, u64)>| {
            if let Some((work, done, total)) = progress {
                let step = match work {
                    Work::Checking => Step::Checking,
                    Work::Receiving => Step::Receiving,
                    Work::ReadingBack => Step::ReadingBack,
                };
                screen.bar(step, done, total);
            }
            !screen.interrupted(lock)
        };
        let user = self.at.who.name.as_str();
        let installed: Result<System, Option<String>> =
            self.link.install(user, self.wish.older, source.as_mut(), &mut watch);
        installed.map(Event::Installed).map_err(|reason| reason.map_or(Event::Interrupted, Event::Failed))
    }

    /// Connections that were there a moment ago already must be known on the other box.
    fn count(&mut self) -> Result<Event, String> {
        let before = match self.sample.take() {
            Some(sample) => sample,
            None => {
                let sample = Connections::here()?;
                std::thread::sleep(LASTING);
                sample
            }
        };
        let now = Connections::here()?;
        let (established, unknown) = unknown(&before, &now, &self.link.connections()?);
        if unknown > 0 {
            self.sample = Some(now);
        }
        Ok(Event::Counted { established, unknown })
    }

    fn operate(&mut self, operation: Operation) -> Result<Event, Event> {
        let request = Request::Operate { user: self.at.who.name.clone(), operation };
        match self.at.agent.ask(&request) {
            Ok(Reply::Done(_)) => Ok(Event::Done),
            Ok(Reply::Refused(lines)) => Err(Event::Failed(lines.join(" "))),
            Ok(_) => Err(Event::Failed("the agent answered another question".to_owned())),
            Err(error) => Err(Event::Failed(error.to_string())),
        }
    }

    fn activate_here(&mut self) -> Result<Event, Event> {
        self.plan.behind = true;
        self.plan.boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        let done = self.plan.save().and_then(|()| update::activate(self.machine, self.at));
        done.map(|_| Event::Done).map_err(|reason| {
            self.plan.behind = false;
            self.plan.keep();
            Event::Failed(reason)
        })
    }
}

/// The install on this box.
struct Bar<'a, 'b> {
    screen: &'a mut Screen<'b>,
    lock: &'a Lock,
}

impl Watch for Bar<'_, '_> {
    fn progress(&mut self, step: Step, done: u64, total: u64) -> Result<(), Stop> {
        self.screen.bar(step, done, total);
        if self.screen.interrupted(self.lock) { Err(Stop::Cancelled) } else { Ok(()) }
    }

    fn verified(&mut self, bundle: &Verified) -> Result<(), Stop> {
        let manifest = bundle.manifest();
        let (name, kind) = (&bundle.signer().name, bundle.signer().kind);
        let text =
            format!("version {} for {}, signed by {name} ({kind} key)", manifest.version, manifest.board);
        self.screen.say(&text);
        Ok(())
    }

    fn news(&mut self, line: &str) -> Result<(), Stop> {
        self.screen.say(line);
        Ok(())
    }
}
