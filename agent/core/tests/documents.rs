//! What must hold of any configuration, its text, its commands and its edits.

use bascule_core::config::edit::Edit;
use bascule_core::config::{Config, Document, Problem, words};
use proptest::prelude::*;
use proptest::sample::Index;

mod common;
use common::valid_config;

fn parsed(text: &str) -> Config {
    let rendered = |problems: Vec<Problem>| problems.iter().map(Problem::render).collect::<String>();
    Config::parse(text, "f").unwrap_or_else(|problems| panic!("{}{text}", rendered(problems))).config
}

fn document(text: &str) -> Document {
    Document::parse(text, "f").unwrap_or_else(|problems| panic!("{}{text}", problems[0].render()))
}

/// The paths of everything in a document: every prefix of a `set` line that names something.
fn paths(document: &Document) -> Vec<Vec<String>> {
    let mut all = Vec::new();
    for line in document.set_lines() {
        let typed: Vec<String> = words::split(&line).into_iter().skip(1).map(|word| word.text).collect();
        for end in 1..=typed.len() {
            if document.contains(&typed[..end]) {
                all.push(typed[..end].to_vec());
            }
        }
    }
    all
}

/// What an operator does to a candidate; the index chooses the place.
#[derive(Clone, Debug)]
enum Step {
    Delete(Index),
    Deactivate(Index),
    Activate(Index),
    Annotate(Index, String),
    Rename(Index, String),
    Copy(Index, String),
    Merge(Index),
}

fn step() -> impl Strategy<Value = Step> {
    let name = "[a-z]{1,3}|192\\.0\\.2\\.[1-9]:80";
    prop_oneof![
        1 => any::<Index>().prop_map(Step::Delete),
        4 => any::<Index>().prop_map(Step::Deactivate),
        2 => any::<Index>().prop_map(Step::Activate),
        4 => (any::<Index>(), "[ -~\u{e4}\n#]{0,30}").prop_map(|(at, text)| Step::Annotate(at, text)),
        1 => (any::<Index>(), name).prop_map(|(at, name)| Step::Rename(at, name)),
        2 => (any::<Index>(), name).prop_map(|(at, name)| Step::Copy(at, name)),
        1 => any::<Index>().prop_map(Step::Merge),
    ]
}

fn edit(document: &Document, step: Step) -> Option<Edit> {
    let all = paths(document);
    let at = |index: Index| (!all.is_empty()).then(|| index.get(&all).clone());
    Some(match step {
        Step::Delete(index) => Edit::Delete(at(index)?),
        Step::Deactivate(index) => Edit::Deactivate(at(index)?),
        Step::Activate(index) => Edit::Activate(at(index)?),
        Step::Annotate(index, text) => Edit::Annotate(at(index)?, text),
        Step::Rename(index, name) => Edit::Rename(at(index)?, name),
        Step::Copy(index, name) => Edit::Copy(at(index)?, name),
        Step::Merge(index) => Edit::Merge(document.part(&at(index)?).ok()?.print()),
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn any_valid_configuration_is_printed_so_that_it_is_read_as_the_same(config in valid_config()) {
        let text = Document::of(&config).print();
        prop_assert_eq!(parsed(&text), config);
        prop_assert_eq!(document(&text).print(), text.clone());
        prop_assert!(text.lines().all(|line| line.len() <= 79), "{}", text);
    }

    #[test]
    fn its_set_commands_make_the_same_document(config in valid_config()) {
        let made = Document::of(&config);
        let mut typed = Document::default();
        let commands = made.set_lines().join("\n");
        typed.apply(&Edit::Replace(commands.clone())).unwrap_or_else(|m| panic!("{}\n{commands}", m.reason));
        prop_assert_eq!(&typed, &made);
        prop_assert_eq!(typed.print(), made.print());
    }

    #[test]
    fn any_edits_leave_a_document_that_text_and_commands_make_again(
        config in valid_config(),
        steps in prop::collection::vec(step(), 0..16),
    ) {
        let mut edited = Document::of(&config);
        for step in steps {
            let Some(edit) = edit(&edited, step) else { continue };
            let before = edited.clone();
            if edited.apply(&edit).is_err() {
                prop_assert_eq!(&edited, &before, "a refused edit changes nothing");
            }
        }
        let text = edited.print();
        let again = document(&text);
        prop_assert_eq!(&again, &edited, "{}", &text);
        prop_assert_eq!(again.print(), text);
        let mut typed = Document::default();
        let commands = edited.set_lines().join("\n");
        typed.apply(&Edit::Replace(commands.clone())).unwrap_or_else(|m| panic!("{}\n{commands}", m.reason));
        // Commands know no end of the text: a comment that stands there comes first.
        prop_assert_eq!(typed.set_lines().join("\n"), commands.clone());
        prop_assert_eq!(typed.compare(&edited), Vec::<String>::new(), "{}", commands);
    }

    #[test]
    fn the_difference_is_empty_only_between_equal_documents(
        config in valid_config(),
        step in step(),
    ) {
        let before = Document::of(&config);
        let mut after = before.clone();
        if let Some(edit) = edit(&before, step) {
            let _ = after.apply(&edit);
        }
        prop_assert_eq!(after.compare(&before).is_empty(), after == before);
        prop_assert_eq!(after.changed(&before).is_empty(), after == before);
        prop_assert_eq!(after.changed(&before), before.changed(&after));
    }
}
