//! Login on a console: who are you, and after failures a wait that grows.
//!
//! Words and time are the same for a wrong password and a user who does not exist. There is no default password: a
//! box without users asks for one in its setup, and one whose users cannot be read lets nobody in. Whoever has
//! forgotten the password types `factory-reset` as user name within five minutes of switching the box on: presence
//! is proven by the power switch, and the reset takes configuration and keys along.

use std::io;
use std::time::Duration;

use bascule_core::control::{Reply, Request};
use bascule_core::time::Instant;

use super::audit::{self, Entry};
use super::delay::Delay;
use super::setup::{self, Port};
use super::users::{self, Found, Users};
use super::{Identity, Place};
use crate::shell::console::Console;
use crate::sys::monotonic;
use bascule_core::shell::table::wrap;

/// The name that resets instead of logging in.
const RESET: &str = "factory-reset";
/// For so long after its start a box can be reset without a password.
const RESET_WINDOW: Duration = Duration::from_secs(300);

/// What login and setup need beside the console.
pub(super) struct Desk<'a> {
    pub place: &'a Place,
    pub now: &'a dyn Fn() -> Instant,
    pub ask: &'a dyn Fn(&Request) -> Result<Reply, String>,
    pub ports: &'a dyn Fn() -> Vec<Port>,
    /// Wipes the box and restarts it; what it says when it cannot.
    pub reset: &'a dyn Fn() -> Result<(), String>,
}

/// Lets somebody in at a console: who it is, or `None` when the dialogue was left (Ctrl-C); then it is to be begun
/// anew. On a box without users this is the setup, and whoever completes it is in.
///
/// # Errors
/// When the terminal is gone.
pub fn login(console: &mut dyn Console, place: &Place) -> io::Result<Option<Identity>> {
    let ask = |request: &Request| place.ask(request);
    let reset = || super::reset::begin(place);
    Desk { place, now: &monotonic, ask: &ask, ports: &setup::ports, reset: &reset }.login(console)
}

impl Desk<'_> {
    pub(super) fn login(&self, console: &mut dyn Console) -> io::Result<Option<Identity>> {
        match users::load(&self.place.state_dir) {
            Found::Nobody => setup::first(self, console),
            Found::Users(users, warning) => {
                if let Some(warning) = warning {
                    say_wrapped(console, &format!("Warning: {warning}."))?;
                }
                self.authenticate(console, &users)
            }
            Found::Damaged(reasons) => self.locked(console, &reasons),
        }
    }

    fn authenticate(&self, console: &mut dyn Console, users: &Users) -> io::Result<Option<Identity>> {
        let mut delay = Delay::load(self.place.file("delay"));
        loop {
            self.wait(console, &delay)?;
            let Some(name) = console.ask("login: ", true)? else { return Ok(None) };
            let name = name.trim();
            if name.is_empty() {
                continue;
            }
            if name == RESET && users.role(name).is_none() {
                self.offer_reset(console)?;
                return Ok(None);
            }
            let Some(password) = console.ask("Password: ", false)? else { return Ok(None) };
            delay.tried((self.now)());
            if let Some((name, role)) = users.authenticate(name, &password) {
                delay.succeeded();
                self.audit(name.as_str(), "login", "ok");
                return Ok(Some(Identity { name, role }));
            }
            // A name that is none may be a password in the wrong line: it is not recorded.
            let known = if users.role(name).is_some() { name } else { "unknown" };
            self.audit(known, "login", "refused");
            console.say("Login incorrect.")?;
        }
    }

    fn wait(&self, console: &mut dyn Console, delay: &Delay) -> io::Result<()> {
        let left = delay.left((self.now)());
        if left > Duration::from_secs(1) {
            console.say(&format!("Next attempt in {} s.", left.as_secs_f64().ceil()))?;
        }
        loop {
            let left = delay.left((self.now)());
            if left.is_zero() {
                return Ok(());
            }
            // Ctrl-C does not end it.
            console.pause(left.min(Duration::from_secs(1)))?;
        }
    }

    /// Nobody can be let in.
    fn locked(&self, console: &mut dyn Console, reasons: &[String]) -> io::Result<Option<Identity>> {
        console.say("The users of this box cannot be read, so nobody can log in:")?;
        for reason in reasons {
            say_wrapped(console, &format!("  {reason}"))?;
        }
        console.say("A factory reset makes it usable again; it wipes configuration, users and keys.")?;
        let Some(answer) = console.ask("Type factory-reset for that, or Enter to look again: ", true)? else {
            return Ok(None);
        };
        if answer.trim() == RESET {
            self.offer_reset(console)?;
        }
        Ok(None)
    }

    /// A reset without a password, for whoever can switch the box off and on.
    fn offer_reset(&self, console: &mut dyn Console) -> io::Result<()> {
        if (self.now)().since(Instant::ZERO) > RESET_WINDOW {
            console.say("Without a login this is possible only within five minutes of power-on.")?;
            return console.say("Switch it off and on, then type factory-reset here again.");
        }
        console.say("This wipes the configuration, its revisions, the users and all keys.")?;
        let answer = console.ask("Wipe this box and restart it? Type yes in full: ", true)?;
        if answer.as_deref().map(str::trim) != Some("yes") {
            return console.say("Nothing was done.");
        }
        self.audit("unknown", RESET, "begun at the console");
        match (self.reset)() {
            Ok(()) => console.say("The box restarts and is wiped."),
            Err(error) => say_wrapped(console, &format!("It cannot be wiped: {error}")),
        }
    }

    pub(super) fn audit(&self, user: &str, command: &str, result: &str) {
        let entry = Entry { user, origin: &self.place.origin, command, result };
        audit::append(&self.place.state_dir, entry);
    }
}

/// Says a text of any length in lines that fit.
pub(super) fn say_wrapped(console: &mut dyn Console, text: &str) -> io::Result<()> {
    let mut lines = Vec::new();
    // A reason may quote a file.
    let plain: String =
        text.chars().map(|c| if c == ' ' || c.is_ascii_graphic() { c } else { '?' }).collect();
    wrap(&mut lines, "", &plain);
    lines.iter().try_for_each(|line| console.say(line))
}

#[cfg(test)]
#[path = "login_tests.rs"]
mod tests;
