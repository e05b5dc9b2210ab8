//! `user add|password|delete`: the users of a box, changed by an admin.

use std::io;

use bascule_core::shell::command::User;

use super::login::say_wrapped;
use super::users::{self, Found, Hash, Users};
use super::{Identity, Place, Role};
use crate::shell::console::Console;

/// Carries a command out; whether it was done. A new password is asked for twice and never shown.
///
/// # Errors
/// When the terminal is gone.
pub fn manage(console: &mut dyn Console, place: &Place, who: &Identity, command: &User) -> io::Result<bool> {
    let own = matches!(command, User::Password(name) if *name == who.name);
    if who.role != Role::Admin && !own {
        console.say("Only an admin can do this.")?;
        return Ok(false);
    }
    let password = match command {
        User::Add(name, _) | User::Password(name) => match new_password(console, name.as_str())? {
            Some(password) => Some(password),
            None => {
                console.say("Nothing was changed.")?;
                return Ok(false);
            }
        },
        User::Delete(_) => None,
    };
    match change(place, command, password.as_deref()) {
        Ok(text) => console.say(&text).map(|()| true),
        Err(reason) => say_wrapped(console, &format!("Nothing was changed: {reason}.")).map(|()| false),
    }
}

fn change(place: &Place, command: &User, password: Option<&str>) -> Result<String, String> {
    let hash = || Hash::new(password.unwrap_or_default());
    let mut users = match users::load(&place.state_dir) {
        Found::Users(users, _) => users,
        Found::Nobody => match command {
            // A box that was never set up and is administered by a script.
            User::Add(name, Role::Admin) => {
                Users::first(name.clone(), hash()?).save(&place.state_dir)?;
                return Ok(format!("User {name} is there."));
            }
            User::Add(..) | User::Password(_) | User::Delete(_) => {
                return Err("there are no users yet, and the first must be an admin".to_owned());
            }
        },
        Found::Damaged(reasons) => return Err(reasons.join("; ")),
    };
    let text = match command {
        User::Add(name, role) => {
            users.add(name.clone(), *role, hash()?)?;
            format!("User {name} is there.")
        }
        User::Password(name) => {
            users.set_password(name, hash()?)?;
            format!("User {name} has a new password.")
        }
        User::Delete(name) => {
            users.delete(name)?;
            format!("User {name} is gone; a session of this user goes on until logout.")
        }
    };
    users.save(&place.state_dir)?;
    Ok(text)
}

/// Asked for twice; `None` when the person leaves.
fn new_password(console: &mut dyn Console, user: &str) -> io::Result<Option<String>> {
    loop {
        let Some(password) = console.ask(&format!("New password of {user}: "), false)? else {
            return Ok(None);
        };
        if let Err(reason) = users::accept(&password, user) {
            say_wrapped(console, &reason)?;
            continue;
        }
        let Some(repeated) = console.ask("The same once more: ", false)? else { return Ok(None) };
        if repeated == password {
            return Ok(Some(password));
        }
        console.say("The two differ: choose again, or Ctrl-C.")?;
    }
}

#[cfg(test)]
mod tests {
    use super::super::scripted::Scripted;
    use super::*;
    use crate::scratch::Scratch;

    const GOOD: &str = "correct horse";

    fn run(dir: &Scratch, who: &Identity, command: &User, answers: &[&str]) -> (bool, String) {
        let place =
            Place { state_dir: dir.path().into(), run_dir: dir.path().into(), origin: "ttyS0".into() };
        let mut console = Scripted::new(answers);
        let done = manage(&mut console, &place, who, command).unwrap();
        assert!(!console.text().contains(GOOD));
        (done, console.text())
    }

    fn name(text: &str) -> bascule_core::net::Name {
        text.parse().unwrap()
    }

    fn users(dir: &Scratch) -> Users {
        let Found::Users(users, None) = users::load(dir.path()) else { panic!() };
        users
    }

    #[test]
    fn users_are_added_changed_and_deleted_and_the_last_admin_stays() {
        let dir = Scratch::new("manage");
        let admin = Identity { name: name("admin"), role: Role::Admin };
        assert!(!run(&dir, &admin, &User::Add(name("eve"), Role::ReadOnly), &[GOOD, GOOD]).0, "no admin yet");
        assert!(run(&dir, &admin, &User::Add(name("admin"), Role::Admin), &[GOOD, GOOD]).0);
        let eve = User::Add(name("eve"), Role::ReadOnly);
        assert!(run(&dir, &admin, &eve, &["short", GOOD, "another", GOOD, GOOD]).0);
        assert!(run(&dir, &admin, &eve, &[GOOD, GOOD]).1.contains("exists"));
        assert!(run(&dir, &admin, &User::Password(name("eve")), &["a new horse", "a new horse"]).0);
        assert!(users(&dir).authenticate("eve", "a new horse").is_some());
        assert!(run(&dir, &admin, &User::Delete(name("admin")), &[]).1.contains("only admin"));
        assert!(run(&dir, &admin, &User::Delete(name("eve")), &[]).0);
        assert_eq!(users(&dir).role("eve"), None);
    }

    #[test]
    fn a_reader_changes_nothing_but_the_own_password_and_ctrl_c_changes_nothing() {
        let dir = Scratch::new("manage");
        let admin = Identity { name: name("admin"), role: Role::Admin };
        let eve = Identity { name: name("eve"), role: Role::ReadOnly };
        run(&dir, &admin, &User::Add(name("admin"), Role::Admin), &[GOOD, GOOD]);
        run(&dir, &admin, &User::Add(name("eve"), Role::ReadOnly), &[GOOD, GOOD]);
        let before = users(&dir);
        for command in
            [User::Add(name("bob"), Role::Admin), User::Password(name("admin")), User::Delete(name("eve"))]
        {
            assert_eq!(run(&dir, &eve, &command, &[]), (false, "Only an admin can do this.".to_owned()));
        }
        assert!(!run(&dir, &admin, &User::Password(name("eve")), &["a new horse", "^C"]).0);
        assert_eq!(users(&dir), before);
        assert!(run(&dir, &eve, &User::Password(name("eve")), &["a new horse", "a new horse"]).0);
    }
}
