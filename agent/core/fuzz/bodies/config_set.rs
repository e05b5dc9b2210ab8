//! Lines of configuration mode, as an operator types or pastes them.

use bascule_core::config::Document;
use bascule_core::config::edit::Edit;
use bascule_core::config::words;

/// Longest script that is carried out.
const LINES: usize = 40;

/// Carries out every line that can be, and checks what must hold of any candidate.
pub fn config_set(text: &str) {
    let mut document = Document::default();
    for line in text.lines().take(LINES) {
        let before = document.clone();
        if document.apply(&Edit::Merge(line.to_owned())).is_err() {
            assert_eq!(document, before, "a refused edit has changed something: {line}");
        }
    }
    let printed = document.print();
    let again = Document::parse(&printed, "f")
        .unwrap_or_else(|problems| panic!("its own text is refused: {problems:?}\n{printed}"));
    assert_eq!(again, document, "{printed}");
    let commands = document.set_lines().join("\n");
    let mut replayed = Document::default();
    if !commands.is_empty() {
        replayed
            .apply(&Edit::Replace(commands.clone()))
            .unwrap_or_else(|misedit| panic!("{}\n{commands}", misedit.reason));
    }
    assert_eq!(replayed.set_lines(), document.set_lines());
    assert_eq!(replayed.compare(&document), Vec::<String>::new());
    assert!(document.changed(&again).is_empty());
    for line in text.lines().take(LINES) {
        let typed: Vec<String> = words::split(line).into_iter().map(|word| word.text).collect();
        for word in &typed {
            assert_eq!(words::split(&words::quote(word))[0].text, *word);
        }
    }
}
