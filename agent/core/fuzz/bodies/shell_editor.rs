//! Bytes from a terminal, noise included.

use bascule_core::shell::editor::{Editor, Input, LINE_MAX, Mode};
use bascule_core::shell::keys::{Marked, Marks};
use bascule_core::shell::screen::Screen;

/// Types the bytes on a terminal whose width is the first of them; checks what must hold of any bytes.
pub fn shell_editor(bytes: &[u8]) {
    let Some((first, bytes)) = bytes.split_first() else { return };
    let width = u16::from(*first % 100) + 1;
    let modes = [Mode::Command, Mode::Answer, Mode::Secret];
    let mode = modes[usize::from(*first) % modes.len()];
    let (mut editor, mut marks, mut screen) = (Editor::default(), Marks::default(), Screen::new(width, 4));
    let mut out = Vec::new();
    editor.begin(mode);
    let Ok(()) = editor.draw("lb1(MASTER)> ", width, &mut out);
    for byte in bytes {
        let input = match marks.feed(*byte) {
            None => continue,
            Some(Marked::Byte(byte)) => {
                let Ok(input) = editor.feed(byte, &mut out);
                input
            }
            Some(Marked::Damaged) => {
                let Ok(()) = editor.noise(&mut out);
                None
            }
            Some(Marked::Break) => {
                editor.forget();
                None
            }
        };
        assert!(editor.line().len() <= LINE_MAX);
        assert!(editor.line().starts_with(editor.before_cursor()));
        assert!(editor.line().bytes().all(|b| (0x20..0x7f).contains(&b)));
        match input {
            Some(Input::Line) => assert!(*byte == b'\r' || *byte == b'\n', "executed by {byte:#04x}"),
            Some(Input::Complete) => {
                let Ok(()) = editor.insert("show ", &mut out);
            }
            Some(Input::Redraw) => {
                editor.calm();
                let Ok(()) = editor.change_prompt("lb1> ", &mut out);
            }
            Some(
                Input::Help | Input::Leave | Input::End | Input::Interrupt | Input::Noise | Input::TooLong,
            )
            | None => {}
        }
        if matches!(input, Some(Input::Line | Input::Interrupt | Input::Noise | Input::TooLong)) {
            editor.begin(mode);
            let Ok(()) = editor.draw("lb1(MASTER)> ", width, &mut out);
        }
    }
    screen.feed(&out);
    assert_eq!(screen.strange(), 0, "only plain ASCII is sent");
    // What is sent is bounded by what was typed: a row for each key at worst.
    assert!(out.len() <= (bytes.len() + 1) * (4 * usize::from(width) + 64));
}
