//! The command reference: every line that the trees know, with its help, as Markdown; and an example of each.

use super::edit_tree::{CONFIGURATION, FILTERS};
use super::grammar::{Node, Token};
use super::tree::OPERATIONAL;

/// A command as the reference lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// `ping HOST [count COUNT]`.
    pub syntax: String,
    /// A line that can be typed, with every option.
    pub example: String,
    /// What it does.
    pub help: String,
}

/// Every command of operational mode.
#[must_use]
pub fn operational() -> Vec<Entry> {
    of(OPERATIONAL)
}

/// Every command of configuration mode; `run` stands for those of operational mode.
#[must_use]
pub fn configuration() -> Vec<Entry> {
    let run = |entry: &Entry| entry.syntax.starts_with("run ");
    let mut entries: Vec<Entry> = of(CONFIGURATION).into_iter().filter(|entry| !run(entry)).collect();
    let node = CONFIGURATION.iter().find(|node| node.token == Token::Word("run"));
    entries.extend(node.map(|node| Entry {
        syntax: "run COMMAND".to_owned(),
        example: "run show version".to_owned(),
        help: node.help.to_owned(),
    }));
    entries.sort_by(|a, b| a.syntax.cmp(&b.syntax));
    entries
}

/// Every filter.
#[must_use]
pub fn filters() -> Vec<Entry> {
    of(FILTERS)
}

fn of<T>(root: &'static [Node<T>]) -> Vec<Entry> {
    let mut entries = Vec::new();
    let top = Entry { syntax: String::new(), example: String::new(), help: String::new() };
    walk(root, &top, &mut entries);
    entries.sort_by(|a, b| a.syntax.cmp(&b.syntax));
    entries
}

fn walk<T>(nodes: &'static [Node<T>], before: &Entry, entries: &mut Vec<Entry>) {
    for node in nodes {
        let mut entry = before.clone();
        let (syntax, example) = match node.token {
            Token::Word(word) => (word, word),
            Token::Arg(name, kind) => {
                let example = if name == "FILE" { "/data/box.backup" } else { kind.example() };
                (name, example)
            }
        };
        for (text, word) in [(&mut entry.syntax, syntax), (&mut entry.example, example)] {
            if !text.is_empty() {
                text.push(' ');
            }
            text.push_str(word);
        }
        // An argument is explained by the keyword before it.
        let explains = matches!(node.token, Token::Word(_)) || before.help.is_empty();
        if explains {
            node.help.clone_into(&mut entry.help);
        }
        walk(node.next, &entry, entries);
        if node.build.is_some() {
            for option in node.options {
                let (syntax, example) = option_text(option);
                entry.syntax += &format!(" [{syntax}]");
                entry.example += &format!(" {example}");
            }
            entries.push(entry);
        }
    }
}

/// An option: a keyword and its arguments.
fn option_text<T>(option: &'static Node<T>) -> (String, String) {
    let (mut syntax, mut example) = match option.token {
        Token::Word(word) => (word.to_owned(), word.to_owned()),
        Token::Arg(name, kind) => (name.to_owned(), kind.example().to_owned()),
    };
    let mut next = option.next;
    while let [node, ..] = next {
        let (more, another) = option_text(node);
        syntax += &format!(" {more}");
        example += &format!(" {another}");
        next = &[];
    }
    (syntax, example)
}

/// `docs/command-reference.md`.
#[must_use]
pub fn markdown(made_by: &str) -> String {
    let mut text = format!(
        "# Commands of the console\n\nMade from the shell's own tree: do not edit, run `{made_by}`.\n\n\
         Words may be shortened as long as they stay unique; `?` tells what can follow, Tab completes. Words in\n\
         capitals stand for something else, brackets mark what may be left out.\n"
    );
    let parts = [
        ("Operational mode", operational()),
        ("Configuration mode", configuration()),
        ("Filters", filters()),
    ];
    for (title, entries) in parts {
        text += &format!("\n## {title}\n\n| Command | What it does |\n|---|---|\n");
        for entry in entries {
            let pipe = if title == "Filters" { "\\| " } else { "" };
            text += &format!("| `{pipe}{}` | {} |\n", entry.syntax.replace('|', "\\|"), entry.help);
        }
    }
    text
}
