//! Commands without a person: `bascule shell -c "COMMAND"`, and commands on standard input.
//!
//! The same grammar, no prompt, no echo, no pager and no questions. The first command that is refused ends the script:
//! a `commit` must not follow a `set` that failed.

use std::io;
use std::process::ExitCode;

use bascule_core::shell::words;

use super::tty::Terminal;
use super::{Agent, Outcome, Shell};

/// Where the commands come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Words {
    /// These, each one or more parted by `;`.
    Given(Vec<String>),
    /// Lines of the input.
    Input,
}

/// Runs a script: 0 when all was done, 1 when a command was refused or failed, 2 when a line is no command.
///
/// # Errors
/// When input or output fail.
pub fn run<T: Terminal, A: Agent>(shell: &mut Shell<T, A>, words: &Words) -> io::Result<ExitCode> {
    let outcome = match words {
        Words::Given(lines) => lines.iter().try_fold(Outcome::Done, |before, line| match before {
            Outcome::Done => shell.statements(line),
            Outcome::Refused | Outcome::Wrong | Outcome::Leave => Ok(before),
        })?,
        Words::Input => loop {
            let Some(line) = shell.desk.script_line()? else { break Outcome::Done };
            match shell.statements(&line)? {
                Outcome::Done => {}
                ended @ (Outcome::Refused | Outcome::Wrong | Outcome::Leave) => break ended,
            }
        },
    };
    if shell.uncommitted() {
        shell.complain(&["The uncommitted changes were discarded.".to_owned()])?;
    }
    shell.close(false);
    Ok(ExitCode::from(match outcome {
        Outcome::Done | Outcome::Leave => 0,
        Outcome::Refused => 1,
        Outcome::Wrong => 2,
    }))
}

impl<T: Terminal, A: Agent> Shell<T, A> {
    /// The commands of a line, up to the first that is not done.
    fn statements(&mut self, line: &str) -> io::Result<Outcome> {
        for statement in words::statements(line) {
            match self.execute(statement)? {
                Outcome::Done => {}
                ended @ (Outcome::Refused | Outcome::Wrong | Outcome::Leave) => return Ok(ended),
            }
        }
        Ok(Outcome::Done)
    }
}
