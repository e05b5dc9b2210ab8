use proptest::prelude::*;

use super::editor::{Editor, Input, LINE_MAX, Mode, NOISE_MAX};
use super::screen::Screen;

/// An editor on a terminal.
struct Desk {
    editor: Editor,
    screen: Screen,
    sent: usize,
}

impl Desk {
    fn new(prompt: &str, width: u16) -> Self {
        let mut desk = Self { editor: Editor::default(), screen: Screen::new(width, 24), sent: 0 };
        desk.out(|editor, out| editor.draw(prompt, width, out));
        desk
    }

    fn out<T>(
        &mut self,
        act: impl FnOnce(&mut Editor, &mut Vec<u8>) -> Result<T, core::convert::Infallible>,
    ) -> T {
        let mut out = Vec::new();
        let Ok(done) = act(&mut self.editor, &mut out);
        self.screen.feed(&out);
        self.sent += out.len();
        done
    }

    fn key(&mut self, bytes: &[u8]) -> Vec<Input> {
        let feed = |byte: &u8| self.out(|editor, out| editor.feed(*byte, out));
        bytes.iter().filter_map(feed).collect()
    }

    /// Types lines as commands.
    fn lines(mut self, lines: &[&str]) -> Self {
        for line in lines {
            assert_eq!(self.key(format!("{line}\r").as_bytes()), [Input::Line]);
            self.editor.begin(Mode::Command);
            self.out(|editor, out| editor.draw("> ", 80, out));
        }
        self
    }

    /// Row and column of the cursor.
    fn seen(&self) -> (String, usize) {
        self.screen.cursor()
    }
}

fn typed(bytes: &[u8]) -> (String, Vec<Input>) {
    let mut desk = Desk::new("", 80);
    let inputs = desk.key(bytes);
    (desk.editor.line().to_owned(), inputs)
}

#[test]
fn a_line_is_complete_at_cr_lf_or_both_and_only_once() {
    for end in ["\r", "\n", "\r\n", "\r\0"] {
        assert_eq!(typed(format!("show{end}").as_bytes()), ("show".into(), vec![Input::Line]), "{end:?}");
    }
    assert_eq!(typed(b"reboot").1, []);
}

#[test]
fn the_cursor_moves_and_text_goes_in_and_out_at_it() {
    let mut desk = Desk::new("> ", 80);
    desk.key(b"show log\x1b[D\x1b[D\x1b[DXY");
    assert_eq!(desk.seen(), ("> show XYlog".into(), 9));
    desk.key(b"\x7f\x1b[3~");
    assert_eq!(desk.seen(), ("> show Xog".into(), 8));
    desk.key(b"\x01>\x05<");
    assert_eq!(desk.seen(), ("> >show Xog<".into(), 12));
    desk.key(b"\x01\x06\x06\x02\x04");
    assert_eq!((desk.editor.line(), desk.seen()), (">how Xog<", ("> >how Xog<".into(), 3)));
}

#[test]
fn what_was_killed_comes_back_at_the_cursor() {
    let mut desk = Desk::new("> ", 80);
    desk.key(b"set virtual-server web\x17");
    assert_eq!(desk.seen().0, "> set virtual-server");
    desk.key(b"\x01\x19 ");
    assert_eq!(desk.editor.line(), "web set virtual-server ");
    desk.key(b"\x0b");
    assert_eq!(desk.editor.line(), "web ");
    desk.key(b"\x15\x19\x19");
    assert_eq!((desk.editor.line(), desk.seen().1), ("web web ", 10));
}

#[test]
fn the_history_is_browsed_and_the_line_begun_is_kept() {
    let mut desk = Desk::new("> ", 80).lines(&["show vrrp", "show log"]);
    desk.key(b"new\x1b[A");
    assert_eq!(desk.seen(), ("> show log".into(), 10));
    desk.key(b"\x10\x10");
    assert_eq!((desk.editor.line(), desk.screen.bells()), ("show vrrp", 1));
    desk.key(b"\x0e\x1b[B");
    assert_eq!(desk.seen(), ("> new".into(), 5));
}

#[test]
fn ctrl_r_searches_back_and_only_enter_executes() {
    let mut desk = Desk::new("> ", 80).lines(&["ping 10.0.0.1", "show log", "ping 10.0.0.2"]);
    assert_eq!(desk.key(b"\x12ping"), []);
    assert_eq!(desk.seen(), ("> (search) 'ping': ping 10.0.0.2".into(), 16));
    desk.key(b"\x12");
    assert_eq!(desk.seen().0, "> (search) 'ping': ping 10.0.0.1");
    desk.key(b"\x12");
    assert_eq!(desk.seen().0, "> (no such line) 'ping': ping 10.0.0.1");
    let mut other = Desk { editor: desk.editor.clone(), screen: desk.screen.clone(), sent: 0 };
    assert_eq!(desk.key(b"\r"), [Input::Line]);
    assert_eq!((desk.editor.line(), &*desk.screen.rows()[3]), ("ping 10.0.0.1", "> ping 10.0.0.1"));
    assert_eq!(other.key(b"\x07"), []);
    assert_eq!(other.seen(), (">".into(), 2));
    assert_eq!(other.key(b"\x12log\x1b[D"), []);
    assert_eq!(other.seen(), ("> show log".into(), 9));
}

#[test]
fn a_secret_is_never_on_the_screen_nor_in_the_history() {
    let mut desk = Desk::new("Password: ", 80);
    desk.editor.begin(Mode::Secret);
    assert_eq!(desk.key(b"hunter3\x7f2?\r"), [Input::Line]);
    assert_eq!(desk.editor.line(), "hunter2?");
    assert_eq!(desk.screen.rows()[0], "Password:");
    desk.editor.begin(Mode::Command);
    desk.key(b"\x10\x19");
    assert_eq!(desk.editor.line(), "");
}

#[test]
fn a_question_mark_in_quotes_or_in_an_answer_is_text() {
    assert_eq!(typed(b"show ?"), ("show ".into(), vec![Input::Help]));
    assert_eq!(typed(b"annotate web \"why?"), ("annotate web \"why?".into(), vec![]));
    let mut desk = Desk::new("", 80);
    desk.editor.begin(Mode::Answer);
    assert_eq!((desk.key(b"?\t"), desk.editor.line()), (vec![], "?"));
}

#[test]
fn a_long_line_scrolls_sideways_and_marks_where_it_goes_on() {
    let mut desk = Desk::new("lb1> ", 40);
    desk.key(b"0123456789012345678901234567890123456789");
    assert_eq!(desk.seen(), ("lb1> <45678901234567890123456789".into(), 5 + 27));
    desk.key(b"\x01");
    assert_eq!(desk.seen(), ("lb1> 012345678901234567890123456789012>".into(), 5));
    desk.key(b"\x05");
    assert_eq!(desk.seen().1, 5 + 22);
    assert_eq!(desk.editor.line().len(), 40);
}

#[test]
fn typing_at_the_end_sends_one_byte_a_key() {
    let mut desk = Desk::new("lb1> ", 80);
    let before = desk.sent;
    desk.key(b"show status");
    assert_eq!(desk.sent - before, 11);
}

#[test]
fn another_prompt_takes_the_place_of_the_old_one_and_the_cursor_stays() {
    let mut desk = Desk::new("lb1(MASTER)> ", 80);
    desk.key(b"show\x02");
    desk.out(|editor, out| editor.change_prompt("lb1> ", out));
    assert_eq!(desk.seen(), ("lb1> show".into(), 8));
    desk.out(|editor, out| editor.change_prompt("lb1(BACKUP)> ", out));
    assert_eq!(desk.seen(), ("lb1(BACKUP)> show".into(), 16));
}

#[test]
fn a_line_that_is_too_long_is_refused_whole() {
    let long = |count: usize, end: &[u8]| typed(&[&vec![b'x'; count][..], end].concat());
    assert_eq!(long(LINE_MAX + 1, b"\r"), (String::new(), vec![Input::TooLong]));
    assert_eq!(long(LINE_MAX, b"\r").1, [Input::Line]);
    assert_eq!(long(LINE_MAX + 9, b"\x15ok\r"), ("ok".into(), vec![Input::Line]));
}

#[test]
fn a_line_with_an_unreadable_byte_is_not_executed_and_can_be_recalled() {
    let mut desk = Desk::new("> ", 80);
    assert_eq!(desk.key(b"reboot in 1\xb0\r"), [Input::Noise]);
    assert_eq!(desk.editor.line(), "");
    desk.editor.begin(Mode::Command);
    assert_eq!(desk.key(b"\x10\r"), [Input::Noise], "still in the second of the noise");
    assert_eq!(desk.editor.calm(), None);
    assert_eq!(desk.key(b"\x10\r"), [Input::Line]);
    assert_eq!(desk.editor.line(), "reboot in 1");
}

#[test]
fn noise_before_a_line_or_in_one_that_was_taken_back_is_forgotten_after_a_second() {
    for before in [&b"\xff\xff"[..], b"x\xff\x7f"] {
        let mut desk = Desk::new("> ", 80);
        desk.key(before);
        desk.editor.calm();
        assert_eq!(desk.key(b"show\r"), [Input::Line], "{before:?}");
    }
    assert_eq!(typed(b"\xff\r").1, [Input::Line], "an empty line does no harm");
}

#[test]
fn a_burst_of_noise_is_neither_echoed_nor_executed_until_the_line_is_calm() {
    let mut desk = Desk::new("> ", 80);
    desk.key(b"rebo");
    let noise = b"\xf0\x9a\x1c\x80o\rt\r".repeat(5_000);
    assert_eq!(desk.key(&noise), [Input::Noise; 4]);
    assert!(desk.screen.bells() <= NOISE_MAX as usize, "{}", desk.screen.bells());
    assert!(desk.sent < 100, "{}", desk.sent);
    assert_eq!(desk.editor.calm(), None, "it was noisy until now");
    assert_eq!(desk.key(b"reboot\r"), []);
    assert_eq!(desk.editor.calm(), Some(20_000));
    assert_eq!(desk.key(b"show\r"), [Input::Line]);
    assert_eq!(desk.editor.line(), "show");
}

proptest! {
    #[test]
    fn any_bytes_give_printable_lines_on_one_row_and_execute_only_at_the_end_of_a_line(
        bytes in proptest::collection::vec(prop_oneof![4 => 0x20_u8..0x7f, 3 => 0_u8..0x20, 1 => any::<u8>()], 0..600),
        width in prop_oneof![Just(80_u16), 1_u16..30],
        secret in any::<bool>(),
    ) {
        let mut desk = Desk::new("lb1(MASTER)> ", width);
        desk.editor.begin(if secret { Mode::Secret } else { Mode::Command });
        for byte in bytes {
            let inputs = desk.key(&[byte]);
            prop_assert!(desk.editor.line().bytes().all(|b| (0x20..0x7f).contains(&b)));
            prop_assert_eq!(desk.screen.strange(), 0);
            for input in inputs {
                match input {
                    Input::Line => prop_assert!(byte == b'\r' || byte == b'\n'),
                    Input::Help | Input::Complete | Input::TooLong | Input::Noise | Input::Interrupt | Input::End | Input::Leave | Input::Redraw => {}
                }
                if !matches!(input, Input::Help | Input::Complete) {
                    desk.editor.begin(Mode::Command);
                    desk.screen.feed(b"\r\n");
                    desk.out(|editor, out| editor.draw("lb1(MASTER)> ", width, out));
                }
            }
        }
        // A fresh drawing of the same line is what is on the row already.
        let seen = desk.seen().0;
        let mut fresh = Screen::new(width, 24);
        let mut out = Vec::new();
        let Ok(()) = desk.editor.draw("lb1(MASTER)> ", width, &mut out);
        fresh.feed(&out);
        if width > 1 && desk.editor.line().len() < 20 && width == 80 {
            prop_assert_eq!(seen, fresh.cursor().0);
        }
    }
}
