use super::super::audit::recent;
use super::super::scripted::Scripted;
use super::super::users::Hash;
use super::*;
use crate::scratch::Scratch;
use bascule_core::shell::command::Role;
use std::cell::RefCell;

const GOOD: &str = "correct horse";

fn place(dir: &Scratch) -> Place {
    Place {
        state_dir: dir.path().join("data/state"),
        run_dir: dir.path().join("run"),
        origin: "ttyS0".to_owned(),
    }
}

/// A box with the admin `admin` and the reader `eve`.
fn populated() -> Scratch {
    let dir = Scratch::new("login");
    let hash = || Hash::new(GOOD).unwrap();
    let mut users = Users::first("admin".parse().unwrap(), hash());
    users.add("eve".parse().unwrap(), Role::ReadOnly, hash()).unwrap();
    users.save(&place(&dir).state_dir).unwrap();
    dir
}

/// One dialogue; also how often the box was reset.
fn at(dir: &Scratch, console: &mut Scripted) -> (io::Result<Option<Identity>>, usize) {
    let (place, now) = (place(dir), console.clock());
    let resets = RefCell::new(0);
    let reset = || {
        *resets.borrow_mut() += 1;
        Ok(())
    };
    let ask = |_: &Request| Err("no agent".to_owned());
    let ports = || Vec::new();
    let who = Desk { place: &place, now: &now, ask: &ask, ports: &ports, reset: &reset }.login(console);
    let resets = *resets.borrow();
    (who, resets)
}

fn login(dir: &Scratch, console: &mut Scripted) -> io::Result<Option<Identity>> {
    at(dir, console).0
}

fn audited(dir: &Scratch) -> Vec<String> {
    let lines = recent(&place(dir).state_dir, 100);
    lines.iter().map(|line| line.split_once(' ').unwrap().1.to_owned()).collect()
}

#[test]
fn who_knows_name_and_password_is_in_at_once_with_the_right_role() {
    let dir = populated();
    let mut console = Scripted::new(&["admin", GOOD]);
    let who = login(&dir, &mut console).unwrap().unwrap();
    assert_eq!((who.name.as_str(), who.role), ("admin", Role::Admin));
    assert_eq!(console.waits, [0, 0]);
    assert_eq!(console.asked, [("login: ".to_owned(), true), ("Password: ".to_owned(), false)]);
    let who = login(&dir, &mut Scripted::new(&["", " eve ", GOOD])).unwrap().unwrap();
    assert_eq!((who.name.as_str(), who.role), ("eve", Role::ReadOnly));
    assert_eq!(audited(&dir), ["admin ttyS0 \"login\" ok", "eve ttyS0 \"login\" ok"]);
}

#[test]
fn every_failure_doubles_the_wait_up_to_a_minute_and_ctrl_c_does_not_shorten_it() {
    let dir = populated();
    let wrong = ["admin", "wrong"].repeat(9);
    let mut console = Scripted::new(&[&wrong[..], &["admin", GOOD]].concat());
    assert!(login(&dir, &mut console).unwrap().is_some());
    let before_names: Vec<u64> = console.waits.iter().step_by(2).copied().collect();
    assert_eq!(before_names, [0, 1, 2, 4, 8, 16, 32, 60, 60, 60]);
    assert!(console.said.contains(&"Next attempt in 60 s.".to_owned()), "{}", console.text());
    // A success starts anew.
    let mut console = Scripted::after(&console, &["admin", "wrong", "admin", GOOD]);
    login(&dir, &mut console).unwrap();
    assert_eq!(console.waits, [0, 0, 1, 0]);
}

#[test]
fn pulling_the_line_does_not_take_the_wait_back() {
    let dir = populated();
    let mut console = Scripted::new(&["admin", "wrong", "admin", "wrong", "admin", "wrong"]);
    // The line hangs up during the third wait.
    assert!(login(&dir, &mut console).is_err());
    let mut next = Scripted::after(&console, &["admin", GOOD]);
    assert!(login(&dir, &mut next).unwrap().is_some());
    assert_eq!(next.waits, [4, 0]);
}

#[test]
fn an_attempt_that_is_cut_off_at_the_password_costs_nothing_and_lets_nobody_in() {
    let dir = populated();
    assert_eq!(login(&dir, &mut Scripted::new(&["admin", "^C"])).unwrap(), None);
    assert_eq!(login(&dir, &mut Scripted::new(&["^C"])).unwrap(), None);
    let mut console = Scripted::new(&["admin", GOOD]);
    assert!(login(&dir, &mut console).unwrap().is_some());
    assert_eq!(console.waits, [0, 0]);
}

#[test]
fn an_unknown_user_gets_the_same_words_and_waits_as_a_wrong_password() {
    let dialogue = |name: &str| {
        let dir = populated();
        let mut console = Scripted::new(&[name, "wrong", "^C"]);
        login(&dir, &mut console).unwrap();
        let said = console.said.iter().map(|line| line.replace(name, "NAME")).collect::<Vec<_>>();
        (said, console.waits, audited(&dir))
    };
    let (known, unknown) = (dialogue("admin"), dialogue("hunter2"));
    assert_eq!((known.0, known.1), (unknown.0, unknown.1));
    assert_eq!(known.2, ["admin ttyS0 \"login\" refused"]);
    // What was typed as a name may have been a password.
    assert_eq!(unknown.2, ["unknown ttyS0 \"login\" refused"]);
    assert_eq!(dialogue("no name at all!").2, unknown.2);
}

#[test]
fn damaged_users_let_nobody_in_and_a_missing_file_is_replaced_by_its_copy() {
    let dir = populated();
    let state = place(&dir).state_dir;
    std::fs::remove_file(state.join("users.toml")).unwrap();
    let mut console = Scripted::new(&["admin", GOOD]);
    assert!(login(&dir, &mut console).unwrap().is_some());
    assert!(console.text().contains("Warning:"), "{}", console.text());
    for file in users::files(&state) {
        std::fs::write(file, "").unwrap();
    }
    let mut console = Scripted::new(&[""]);
    assert_eq!(login(&dir, &mut console).unwrap(), None);
    assert!(console.text().contains("nobody can log in"), "{}", console.text());
    assert!(!console.text().contains("set up"), "a damaged box is no new box: {}", console.text());
}

#[test]
fn a_reset_without_a_password_needs_the_power_switch_and_a_full_yes() {
    let early = |answers: &[&str], seconds: u64| {
        let dir = populated();
        let mut console = Scripted::new(answers);
        let place = place(&dir);
        let resets = RefCell::new(0);
        let now = || Instant::from_nanos(seconds * 1_000_000_000);
        let reset = || {
            *resets.borrow_mut() += 1;
            Ok(())
        };
        let ask = |_: &Request| Err("no agent".to_owned());
        let ports = || Vec::new();
        let desk = Desk { place: &place, now: &now, ask: &ask, ports: &ports, reset: &reset };
        assert_eq!(desk.login(&mut console).unwrap(), None);
        assert!(console.done(), "{}", console.text());
        *resets.borrow()
    };
    assert_eq!(early(&["factory-reset", "yes"], 299), 1);
    assert_eq!(early(&["factory-reset", "y"], 299), 0);
    assert_eq!(early(&["factory-reset", "^C"], 299), 0);
    assert_eq!(early(&["factory-reset"], 301), 0);
}

#[test]
fn a_box_without_users_is_set_up_and_ctrl_c_there_changes_nothing() {
    let dir = Scratch::new("login");
    let mut console = Scripted::new(&["^C"]);
    assert_eq!(login(&dir, &mut console).unwrap(), None);
    assert!(console.text().contains("has not been set up") && console.text().contains("Nothing was changed"));
    assert_eq!(users::load(&place(&dir).state_dir), Found::Nobody);
}
