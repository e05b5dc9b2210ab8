use std::cell::RefCell;
use std::rc::Rc;

use embedded_io::ErrorType;

use super::*;

/// A terminal in memory: bytes to type, and what was printed. Between the chunks nothing is typed for a while.
struct Memory {
    chunks: Vec<&'static [u8]>,
    printed: Rc<RefCell<Vec<u8>>>,
    idle: bool,
}

impl ErrorType for Memory {
    type Error = io::Error;
}

impl embedded_io::Read for Memory {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        if self.chunks.is_empty() {
            return Ok(0);
        }
        let chunk = self.chunks.remove(0);
        assert!(chunk.len() <= bytes.len());
        bytes[..chunk.len()].copy_from_slice(chunk);
        Ok(chunk.len())
    }
}

impl embedded_io::Write for Memory {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.printed.borrow_mut().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Terminal for Memory {
    fn wait(&mut self, _: Duration) -> io::Result<bool> {
        self.idle = !self.idle;
        Ok(!self.idle)
    }
}

/// Answers prompts from a list and says what else it was asked.
struct Scripted {
    prompts: RefCell<Vec<&'static str>>,
    asked: Rc<RefCell<Vec<Request>>>,
}

impl Agent for Scripted {
    fn ask(&self, request: &Request) -> Result<Reply, ControlError> {
        if *request == Request::Prompt {
            let mut prompts = self.prompts.borrow_mut();
            let prompt = if prompts.len() > 1 { prompts.remove(0) } else { prompts[0] };
            return Ok(Reply::Lines(vec![prompt.to_owned()]));
        }
        self.asked.borrow_mut().push(request.clone());
        Ok(Reply::Lines(vec!["answer".to_owned()]))
    }
}

fn session(on_box: bool, prompts: &[&'static str], chunks: &[&'static [u8]]) -> (String, Vec<Request>) {
    let (printed, asked) = (Rc::new(RefCell::new(Vec::new())), Rc::new(RefCell::new(Vec::new())));
    let terminal = Memory { chunks: chunks.to_vec(), printed: Rc::clone(&printed), idle: false };
    let agent = Scripted { prompts: RefCell::new(prompts.to_vec()), asked: Rc::clone(&asked) };
    Shell::new(terminal, agent, on_box).run().unwrap();
    let text = String::from_utf8(printed.borrow().clone()).unwrap();
    let asked = asked.borrow().clone();
    (text, asked)
}

#[test]
fn a_command_is_echoed_asked_and_answered() {
    let (text, asked) = session(false, &["lb1(MASTER)"], &[b"sh st\r"]);
    assert!(text.contains("lb1(MASTER)> sh st\r\nanswer\r\nlb1(MASTER)> "), "{text}");
    assert_eq!(asked, [Request::Status]);
}

#[test]
fn an_idle_prompt_follows_the_role_and_keeps_what_was_typed() {
    let (text, _) = session(false, &["lb1(BACKUP)", "lb1(BACKUP)", "lb1(MASTER)"], &[b"show", b" ver\r"]);
    assert!(text.contains("lb1(BACKUP)> show\r\nlb1(MASTER)> show ver\r\n"), "{text}");
}

#[test]
fn an_unknown_word_gets_a_caret_and_what_is_possible() {
    let (text, asked) = session(false, &["lb1"], &[b"show satus\r"]);
    let caret = format!("\r\n{}^\r\n", " ".repeat("lb1> show ".len()));
    assert!(text.contains(&caret), "{text}");
    assert!(text.contains("unknown word; possible: configuration, log, status, version"), "{text}");
    assert_eq!(asked, []);
}

#[test]
fn nothing_is_asked_before_the_line_ends() {
    let (_, asked) = session(false, &["lb1"], &[b"restart agent"]);
    assert_eq!(asked, []);
}

#[test]
fn only_a_console_of_a_box_can_switch_it_off() {
    let (text, _) = session(false, &["lb1"], &[b"poweroff\r"]);
    assert!(text.contains("Only a console of a box can do this."), "{text}");
    for answer in [&b"\r"[..], b"n\r", b"yeah\r", b"\x03\r"] {
        let (text, _) = session(true, &["lb1"], &[b"reboot\r", answer]);
        assert!(text.contains("Nothing was done."), "{answer:?} {text}");
    }
}

#[test]
fn ctrl_d_ends_a_shell_but_not_a_console() {
    let (_, asked) = session(false, &["lb1"], &[b"\x04", b"reload\r"]);
    assert_eq!(asked, []);
    let (_, asked) = session(true, &["lb1"], &[b"\x04", b"reload\r"]);
    assert_eq!(asked, [Request::Reload]);
}

#[test]
fn a_question_mark_lists_what_can_follow_and_keeps_the_line() {
    let (text, _) = session(false, &["lb1"], &[b"show ?"]);
    assert!(text.contains("  status               roles,"), "{text}");
    assert!(text.ends_with("lb1> show "), "{text}");
}

#[test]
fn a_question_stays_until_it_is_answered_whatever_the_role_does() {
    let (text, _) =
        session(true, &["lb1(BACKUP)", "lb1(BACKUP)", "lb1(MASTER)"], &[b"poweroff\r", b"n", b"\r"]);
    assert!(text.contains("Switch this box off? (y/N) n\r\nNothing was done."), "{text}");
}
