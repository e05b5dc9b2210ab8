//! The shell on a pseudo-terminal, typed at as a person would; whole screens are compared with stored ones.
//!
//! After a change that is meant: `BASCULE_BLESS=1 cargo test -p bascule pty_tests`

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use bascule_core::shell::screen::Screen;
use nix::pty::{Winsize, openpty};

use super::Shell;
use super::testing::Fake;
use super::tty::Tty;

/// Longest wait for a screen.
const PATIENCE: Duration = Duration::from_secs(20);

struct Person {
    keyboard: File,
    screen: Arc<Mutex<(Screen, Instant)>>,
    fake: Fake,
    /// Bytes that go in one write.
    chunk: usize,
}

impl Person {
    fn at(columns: u16, lines: u16) -> Self {
        let size = Winsize { ws_row: lines, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        let pty = openpty(Some(&size), None).unwrap();
        let (slave, master) = (File::from(pty.slave), File::from(pty.master));
        let fake = Fake::lb1();
        let (agent, place) = (fake.clone(), fake.place());
        let tty = Tty::raw(slave.try_clone().unwrap(), slave).unwrap();
        thread::spawn(move || Shell::new(tty, agent, place, false).run());
        let seen = if (columns, lines) == (0, 0) { (80, 24) } else { (columns, lines) };
        let screen = Arc::new(Mutex::new((Screen::new(seen.0, seen.1), Instant::now())));
        let (mut reader, shared) = (master.try_clone().unwrap(), Arc::clone(&screen));
        thread::spawn(move || {
            let mut bytes = [0; 4_096];
            // With nobody on the other side the read fails.
            while let Ok(count @ 1..) = reader.read(&mut bytes) {
                let mut shared = shared.lock().unwrap();
                shared.0.feed(&bytes[..count]);
                shared.1 = Instant::now();
            }
        });
        Self { keyboard: master, screen, fake, chunk: usize::MAX }
    }

    fn types(&mut self, keys: &[u8]) -> &mut Self {
        for chunk in keys.chunks(self.chunk) {
            self.keyboard.write_all(chunk).unwrap();
            if self.chunk < keys.len() {
                thread::sleep(Duration::from_millis(5));
            }
        }
        self
    }

    fn text(&self) -> String {
        self.screen.lock().unwrap().0.text()
    }

    /// Waits until the screen is the stored one.
    fn sees(&self, name: &str) {
        let file =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("src/shell/screens").join(format!("{name}.txt"));
        if std::env::var_os("BASCULE_BLESS").is_some() {
            thread::sleep(Duration::from_secs(4));
            while self.screen.lock().unwrap().1.elapsed() < Duration::from_secs(1) {
                thread::sleep(Duration::from_millis(50));
            }
            std::fs::write(&file, self.text()).unwrap();
        }
        let wanted = std::fs::read_to_string(&file).unwrap_or_default();
        let started = Instant::now();
        while self.text() != wanted {
            assert!(started.elapsed() < PATIENCE, "{name}: seen\n{}\nbut stored is\n{wanted}", self.text());
            thread::sleep(Duration::from_millis(10));
        }
        assert_eq!(self.screen.lock().unwrap().0.strange(), 0);
    }
}

#[test]
fn tab_completes_and_a_question_mark_lists_without_enter() {
    let mut person = Person::at(80, 24);
    person.types(b"sh\tv?").sees("help_show_v");
    person.types(b"ers\t\x15maint \t").sees("choices");
    person.types(b"e\t\x03").sees("interrupted");
}

#[test]
fn a_wrong_word_gets_a_caret_and_what_is_possible() {
    let mut person = Person::at(80, 24);
    person.types(b"maintenance begin\r").sees("caret");
    person.types(b"configure\rset system hostname 9999999\r").sees("caret_of_the_agent");
}

#[test]
fn arrows_edit_and_recall_and_ctrl_r_searches() {
    let mut person = Person::at(80, 24);
    person.types(b"maintenance leav\x1b[D\x1b[D\x1b[D\x1b[D\x01\x1b[C\x1b[3~").sees("edited");
    person.types(b"\x05\x15save rescue\rmaintenance leave\r\x1b[A\x1b[A").sees("recalled");
    person.types(b"\x15\x12leav").sees("searched");
    person.types(b"\r").sees("found");
    assert_eq!(person.fake.done().len(), 3);
}

#[test]
fn a_long_answer_is_paged_and_a_short_one_is_not() {
    let mut person = Person::at(80, 24);
    person.types(b"help\r").sees("paged_first");
    person.types(b"\r").sees("paged_line");
    person.types(b" ").sees("paged_last");
    person.types(b"help\rq").sees("paged_quit");
    person.types(b"help | match reb\r").sees("not_paged");
}

#[test]
fn configuration_mode_shows_where_it_is_and_what_is_uncommitted() {
    let mut person = Person::at(80, 24);
    person.types(b"configure\redit virtual-server web\rset port 81\rshow\r").sees("configuration");
    person.types(b"up\rcommit\r\x1aping ?").sees("committed");
}

#[test]
fn three_bytes_at_a_time_look_the_same() {
    let mut person = Person::at(80, 24);
    person.chunk = 3;
    person.types(b"configure\redit virtual-server web\rset port 81\rshow\r").sees("configuration");
    person.types(b"up\rcommit\r\x1aping ?").sees("committed");
}

#[test]
fn a_line_of_a_serial_port_without_size_is_eighty_by_twenty_four() {
    let mut person = Person::at(0, 0);
    person.types(b"help\r").sees("paged_first");
}

#[test]
fn a_terminal_of_one_character_is_served_all_the_same() {
    let mut person = Person::at(1, 1);
    person.types(b"help | count\rsave rescue\r").sees("one_by_one");
    // One character looks like many others: the screen does not tell when the second command was carried out.
    let started = Instant::now();
    while person.fake.done().is_empty() && started.elapsed() < PATIENCE {
        thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(person.fake.done().len(), 1);
}

#[test]
fn a_line_longer_than_the_row_scrolls_sideways() {
    let mut person = Person::at(40, 10);
    person.types(b"set virtual-server web real-server 10.1.0.21:80 weight").sees("narrow_end");
    person.types(b"\x01").sees("narrow_start");
    person.types(b"\r").sees("narrow_caret");
}

#[test]
fn line_noise_is_neither_seen_nor_executed() {
    let mut person = Person::at(80, 24);
    person.types(b"save rescue");
    person.types(&b"\x80\x9f\xf3\x1c\x81".repeat(400)).types(b"\r\r");
    person.sees("noise");
    assert_eq!(person.fake.done(), []);
}
