//! Everything that can be typed in configuration mode, and behind a pipe.

use super::args::{Args, Kind, Shape};
use super::command::{Candidate, Command, Show};
use super::filter::Filter;
use super::grammar::{Node, arg, word};
use super::tree::OPERATIONAL;
use crate::config::edit::Edit;

type N = Node<Command>;

/// Configuration mode.
pub static CONFIGURATION: &[N] = &[
    word("set", "set a value; makes what is missing on the way").then(&[arg(
        "PATH",
        Kind::Path(Shape::Value),
        "path and value",
    )
    .run(|a| edit(Edit::Set(path(a)?)))]),
    word("delete", "delete an object, a value or an element of a list").then(&[arg(
        "PATH",
        Kind::Path(Shape::Object),
        "path",
    )
    .run(|a| edit(Edit::Delete(path(a)?)))]),
    word("show", "the candidate").run(|a| shown(a.level().to_vec())).then(&[arg(
        "PATH",
        Kind::Path(Shape::Object),
        "words of the object",
    )
    .run(|a| shown(a.path("PATH")))]),
    word("edit", "go to a level: paths begin there").then(&[arg(
        "PATH",
        Kind::Path(Shape::Object),
        "path of an object",
    )
    .run(|a| candidate(Candidate::Level(path(a)?)))]),
    word("up", "one level up").run(|_| candidate(Candidate::Up)),
    word("top", "back to the top level").run(|_| candidate(Candidate::Top)),
    word("rename", "give an object another name").then(&[arg("PATH", Kind::Path(Shape::To), "path to NAME")
        .run(|a| a.path_and("PATH", true).and_then(|(path, name)| edit(Edit::Rename(path, name))))]),
    word("copy", "make an object like another one").then(&[arg(
        "PATH",
        Kind::Path(Shape::To),
        "path to NAME",
    )
    .run(|a| a.path_and("PATH", true).and_then(|(path, name)| edit(Edit::Copy(path, name))))]),
    word("deactivate", "keep it in the configuration without effect").then(&[arg(
        "PATH",
        Kind::Path(Shape::Object),
        "path",
    )
    .run(|a| edit(Edit::Deactivate(path(a)?)))]),
    word("activate", "the end of deactivate")
        .then(&[arg("PATH", Kind::Path(Shape::Object), "path").run(|a| edit(Edit::Activate(path(a)?)))]),
    word("annotate", "a comment on an object; \"\" takes it away").then(&[arg(
        "PATH",
        Kind::Path(Shape::Text),
        "path and comment",
    )
    .run(|a| a.path_and("PATH", false).and_then(|(path, text)| edit(Edit::Annotate(path, text))))]),
    word("compare", "the difference from the running configuration")
        .run(|_| candidate(Candidate::Compare(0)))
        .then(&[arg("REVISION", Kind::Number(0, 10_000), "so many commits ago")
            .run(|a| candidate(Candidate::Compare(a.number("REVISION")?)))]),
    word("validate", "every error of the candidate").run(|_| candidate(Candidate::Validate)),
    word("commit", "make the candidate the running configuration")
        .run(|a| {
            let (comment, confirmed) = (a.text("COMMENT"), a.duration("TIME"));
            candidate(Candidate::Commit { comment, confirmed, guard: !a.has("no-guard") })
        })
        .with(&[
            word("comment", "why; kept with the revision").then(&[arg(
                "COMMENT",
                Kind::Text,
                "text, in quotes if several words",
            )]),
            word("confirmed", "goes back by itself unless confirmed in time").then(&[arg(
                "TIME",
                Kind::Minutes,
                "time, as 5m; a number is minutes",
            )]),
            word("no-guard", "stay even if VRRP or service health becomes worse"),
        ]),
    word("confirm", "keep what commit confirmed made").run(|_| candidate(Candidate::Confirm)),
    word("rollback", "load an older revision into the candidate").then(&[arg(
        "REVISION",
        Kind::Number(0, 10_000),
        "so many commits ago; 0 is the running one",
    )
    .run(|a| candidate(Candidate::Rollback(a.number("REVISION")?)))]),
    word("discard", "back to the running configuration").run(|_| candidate(Candidate::Discard)),
    word("load", "take a text: TOML or set commands").then(&[
        word("merge", "add its values to what is there").run(|_| load(false, None)).then(&[
            word("terminal", "type or paste it, end with Ctrl-D").run(|_| load(false, None)),
            arg("FILE", Kind::Text, "path").run(|a| load(false, a.text("FILE"))),
        ]),
        word("replace", "instead of what is there").run(|_| load(true, None)).then(&[
            word("terminal", "type or paste it, end with Ctrl-D").run(|_| load(true, None)),
            arg("FILE", Kind::Text, "path").run(|a| load(true, a.text("FILE"))),
        ]),
    ]),
    word("run", "a command of operational mode").then(OPERATIONAL),
    word("help", "what can be typed; also ? at any place").run(|_| Some(Command::Help)),
    word("exit", "to the top level; from there out of configuration mode").run(|_| Some(Command::Exit)),
    word("quit", "to the top level; from there out of configuration mode").run(|_| Some(Command::Exit)),
    word("logout", "leave the shell").run(|_| Some(Command::Logout)),
];

const fn candidate(what: Candidate) -> Option<Command> {
    Some(Command::Candidate(what))
}

const fn edit(edit: Edit) -> Option<Command> {
    candidate(Candidate::Edit(edit))
}

const fn load(replace: bool, from: Option<String>) -> Option<Command> {
    candidate(Candidate::Load { replace, from })
}

const fn shown(path: Vec<String>) -> Option<Command> {
    Some(Command::Show(Show::Configuration { path, set: false }))
}

/// A whole path, with at least one word typed.
fn path(args: &Args<'_>) -> Option<Vec<String>> {
    (!args.rest("PATH").is_empty()).then(|| args.path("PATH"))
}

/// What can stand behind a pipe.
pub static FILTERS: &[Node<Filter>] = &[
    word("match", "only lines with a text, in upper or lower case")
        .then(&[arg("TEXT", Kind::Text, "text").run(|a| Some(Filter::Match(a.text("TEXT")?)))]),
    word("except", "only lines without a text")
        .then(&[arg("TEXT", Kind::Text, "text").run(|a| Some(Filter::Except(a.text("TEXT")?)))]),
    word("begin", "from the first line with a text")
        .then(&[arg("TEXT", Kind::Text, "text").run(|a| Some(Filter::Begin(a.text("TEXT")?)))]),
    word("last", "only the last lines")
        .then(&[arg("LINES", Kind::Number(1, 100_000), "how many")
            .run(|a| Some(Filter::Last(a.number("LINES")?)))]),
    word("count", "only how many lines there are").run(|_| Some(Filter::Count)),
    word("json", "the same facts for a program").run(|_| Some(Filter::Json)),
    word("set", "a configuration as set commands").run(|_| Some(Filter::Set)),
    word("no-more", "without the pager").run(|_| Some(Filter::NoMore)),
];
