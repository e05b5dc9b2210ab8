//! Setup: the ten questions that a new box asks on its console, and an admin may have it ask again.
//!
//! Nothing changes before the last answer. Then the users are written, and the rest goes to the agent as an ordinary
//! commit. No network port is open before, and none after: management is on the console.

mod plan;
mod questions;

use std::fs;
use std::io;

use bascule_core::config::Config;
use bascule_core::config::edit::Edit;
use bascule_core::control::{Open, Reply, Request, SessionId};
use bascule_core::net::{IfName, Name};
use bascule_core::shell::command::Role;

use self::questions::Answers;
use super::login::{Desk, say_wrapped};
use super::users::{self, Found, Hash, Users};
use super::{Identity, Place};
use crate::shell::console::Console;
use crate::sys::monotonic;

/// The user that a new box gets.
const FIRST_USER: &str = "admin";

/// An interface that can carry the management address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Port {
    /// Its name.
    pub name: IfName,
    /// A cable is plugged in.
    pub carrier: bool,
}

/// The Ethernet interfaces of this box without VLANs, in their natural order.
pub(super) fn ports() -> Vec<Port> {
    const ETHERNET: &str = "1";
    let class = std::path::Path::new("/sys/class/net");
    let read = |name: &str, file: &str| fs::read_to_string(class.join(name).join(file)).unwrap_or_default();
    let names = fs::read_dir(class).into_iter().flatten().flatten();
    let mut found: Vec<Port> = names
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| read(name, "type").trim() == ETHERNET && name != "lo")
        .filter(|name| !read(name, "uevent").contains("DEVTYPE=vlan"))
        .filter_map(|name| {
            Some(Port { carrier: read(&name, "carrier").trim() == "1", name: name.parse().ok()? })
        })
        .collect();
    // eth2 before eth10.
    found.sort_by_key(|port| (port.name.as_str().len(), port.name.clone()));
    found
}

/// The first setup of a box: whoever completes it is logged in as its first user.
pub(super) fn first(desk: &Desk<'_>, console: &mut dyn Console) -> io::Result<Option<Identity>> {
    console.say("This box has not been set up. Ten questions: Enter takes the value in brackets,")?;
    console.say("Ctrl-C leaves and changes nothing.")?;
    let before = running(desk);
    let name: Name = FIRST_USER.parse().map_err(io::Error::other)?;
    let Some(answers) = questions::ask(console, &before, &(desk.ports)(), &name, true)? else {
        console.say("Nothing was changed.")?;
        return Ok(None);
    };
    // Two consoles may have asked at once, and the other one be ready first.
    if users::load(&desk.place.state_dir) != Found::Nobody {
        console.say("Meanwhile this box was set up on another console: log in. Nothing was changed.")?;
        return Ok(None);
    }
    let password = answers.password.as_deref().unwrap_or_default();
    if let Err(error) =
        Hash::new(password).and_then(|hash| Users::first(name.clone(), hash).save(&desk.place.state_dir))
    {
        say_wrapped(
            console,
            &format!("The password could not be stored: {error}. Nothing else was changed."),
        )?;
        return Ok(None);
    }
    desk.audit(name.as_str(), "setup", "first user stored");
    finish(desk, console, &before, &answers, &name)?;
    Ok(Some(Identity { name, role: Role::Admin }))
}

/// `setup` as a command of an admin: the same questions, with what runs in brackets.
///
/// # Errors
/// When the terminal is gone.
pub fn again(console: &mut dyn Console, place: &Place, who: &Identity) -> io::Result<()> {
    let ask = |request: &Request| place.ask(request);
    let reset = || Ok(());
    Desk { place, now: &monotonic, ask: &ask, ports: &ports, reset: &reset }.setup(console, who)
}

impl Desk<'_> {
    pub(super) fn setup(&self, console: &mut dyn Console, who: &Identity) -> io::Result<()> {
        if who.role != Role::Admin {
            return console.say("Only an admin can do this.");
        }
        console.say("Enter takes the value in brackets, Ctrl-C leaves and changes nothing.")?;
        let before = running(self);
        let Some(answers) = questions::ask(console, &before, &(self.ports)(), &who.name, false)? else {
            return console.say("Nothing was changed.");
        };
        if let Some(password) = &answers.password {
            match change_password(self.place, &who.name, password) {
                Ok(()) => self.audit(who.name.as_str(), "setup", "password changed"),
                Err(error) => say_wrapped(console, &format!("The password stays as it was: {error}."))?,
            }
        }
        finish(self, console, &before, &answers, &who.name)
    }
}

fn change_password(place: &Place, name: &Name, password: &str) -> Result<(), String> {
    let Found::Users(mut users, _) = users::load(&place.state_dir) else {
        return Err("the users cannot be read".to_owned());
    };
    users.set_password(name, Hash::new(password)?)?;
    users.save(&place.state_dir)
}

/// The configuration that runs; an empty one when the agent does not say.
fn running(desk: &Desk<'_>) -> Config {
    match (desk.ask)(&Request::Configuration) {
        Ok(Reply::Lines(lines)) => {
            Config::parse(&lines.join("\n"), "running").map(|checked| checked.config).unwrap_or_default()
        }
        Ok(_) | Err(_) => Config::default(),
    }
}

/// Says what will be done and has the agent do it.
fn finish(
    desk: &Desk<'_>,
    console: &mut dyn Console,
    before: &Config,
    answers: &Answers,
    user: &Name,
) -> io::Result<()> {
    let edits = plan::edits(before, answers);
    if edits.is_empty() {
        return console.say("The configuration is like that already.");
    }
    console.say("")?;
    for edit in &edits {
        say_wrapped(console, &format!("  {}", plan::words(edit)))?;
    }
    match commit(desk, user, &edits) {
        Ok(text) => {
            desk.audit(user.as_str(), "setup", "committed");
            say_wrapped(console, &text)?;
            console.say("This box is set up. `configure` is next: virtual routers and services.")
        }
        Err(reasons) => {
            desk.audit(user.as_str(), "setup", "configuration refused");
            console.say("The configuration was not changed:")?;
            for reason in reasons {
                say_wrapped(console, &format!("  {reason}"))?;
            }
            console.say("Use `setup` to answer again, or `configure` to do it by hand.")
        }
    }
}

/// An ordinary commit: opened, edited, committed, closed.
fn commit(desk: &Desk<'_>, user: &Name, edits: &[Edit]) -> Result<String, Vec<String>> {
    let ask = |request: Request| (desk.ask)(&request).map_err(|error| vec![error]);
    let session = match ask(Request::Open { user: user.clone(), how: Open::Private })? {
        Reply::Session(session, _) => session,
        other => return Err(refusal(other)),
    };
    let result = edit_and_commit(&ask, session, edits);
    // What became of it is known; a session that stays ends by itself.
    let _ = ask(Request::Close { session, keep: false });
    result
}

fn edit_and_commit(
    ask: &dyn Fn(Request) -> Result<Reply, Vec<String>>,
    session: SessionId,
    edits: &[Edit],
) -> Result<String, Vec<String>> {
    for edit in edits {
        match ask(Request::Edit { session, edit: edit.clone() })? {
            Reply::Done(_) => {}
            Reply::Misedit(misedit) => {
                return Err(vec![format!("{}: {}", plan::words(edit), misedit.reason)]);
            }
            other => return Err(refusal(other)),
        }
    }
    let comment = Some("setup".to_owned());
    match ask(Request::Commit { session, comment, confirmed: None, guard: false })? {
        Reply::Done(text) => Ok(text),
        other => Err(refusal(other)),
    }
}

fn refusal(reply: Reply) -> Vec<String> {
    match reply {
        Reply::Refused(lines) => lines,
        _ => vec!["the agent answered another question".to_owned()],
    }
}

#[cfg(test)]
mod tests;
