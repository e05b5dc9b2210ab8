//! Lines of the shell: parsed, helped and completed in both modes.

use bascule_core::shell::args::Names;
use bascule_core::shell::line::{Completion, Context, Mode, complete, hints, parse};
use bascule_core::shell::words;

struct Live;

impl Names for Live {
    fn names(&self, path: &[&str]) -> Vec<String> {
        let names: &[&str] = match path {
            ["virtual-server"] => &["web", "web2", "to"],
            ["virtual-server", "web", "real-server"] => &["10.1.0.21:80"],
            ["vrrp"] => &["front"],
            _ => &[],
        };
        names.iter().map(|name| (*name).to_owned()).collect()
    }
}

/// Checks what must hold of any line.
pub fn shell_line(text: &str) {
    let level = ["virtual-server".to_owned(), "web".to_owned()];
    for (mode, level) in
        [(Mode::Operational, &[][..]), (Mode::Configuration, &[]), (Mode::Configuration, &level[..])]
    {
        let context = Context { mode, level, names: &Live };
        for statement in words::statements(text) {
            if let Err(mistake) = parse(statement, &context) {
                assert!(mistake.column <= statement.len() + 1, "{statement:?}: {mistake:?}");
                assert!(!mistake.reason.is_empty());
            }
        }
        let _ = hints(text, &context);
        if let Completion::Insert(more) = complete(text, &context) {
            let longer = text.to_owned() + &more;
            assert!(hints(&longer, &context).is_ok(), "{longer:?} was completed and is not known");
        }
        let _ = words::mask(text);
    }
}
