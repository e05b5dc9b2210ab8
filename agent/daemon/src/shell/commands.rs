//! What can be typed, and what a line means: every word may be shortened as long as it stays unique.

/// What a command does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// The picture of the box.
    ShowStatus,
    /// Versions of the program and the kernel.
    ShowVersion,
    /// The latest lines of the log.
    ShowLog,
    /// The running configuration.
    ShowConfiguration,
    /// Read the configuration file again.
    Reload,
    /// End the agent; init starts it again.
    RestartAgent,
    /// The IPVS table in ipvsadm's own words; takes the rest of the line.
    Ipvsadm,
    /// Restart the box.
    Reboot,
    /// Switch the box off.
    Poweroff,
    /// What can be typed.
    Help,
}

/// A command.
#[derive(Debug)]
struct Command {
    words: &'static [&'static str],
    help: &'static str,
    action: Action,
    /// Whether the rest of the line is its arguments.
    rest: bool,
}

const fn command(words: &'static [&'static str], action: Action, help: &'static str) -> Command {
    Command { words, help, action, rest: false }
}

const COMMANDS: &[Command] = &[
    command(&["help"], Action::Help, "what can be typed (also: ?)"),
    Command {
        words: &["ipvsadm"],
        help: "the IPVS table: ipvsadm -Ln, -Sn, -C",
        action: Action::Ipvsadm,
        rest: true,
    },
    command(&["poweroff"], Action::Poweroff, "switch the box off, after handing the addresses over"),
    command(&["reboot"], Action::Reboot, "restart the box, after handing the addresses over"),
    command(&["reload"], Action::Reload, "read the configuration file again, apply what changed"),
    command(&["restart", "agent"], Action::RestartAgent, "restart the agent; traffic goes on"),
    command(&["show", "configuration"], Action::ShowConfiguration, "the running configuration"),
    command(&["show", "log"], Action::ShowLog, "the latest lines of the log"),
    command(&["show", "status"], Action::ShowStatus, "roles, services, real servers, sync, problems"),
    command(&["show", "version"], Action::ShowVersion, "versions of program and kernel"),
];

/// What a line means.
#[derive(Debug, PartialEq, Eq)]
pub enum Parsed<'a> {
    /// Nothing was typed.
    Empty,
    /// A command and its arguments.
    Run(Action, Vec<&'a str>),
    /// No command.
    Wrong(Mistake),
}

/// Why a line is no command.
#[derive(Debug, PartialEq, Eq)]
pub struct Mistake {
    /// Column of the bad word, from 0.
    pub column: usize,
    /// What is wrong with it.
    pub reason: &'static str,
    /// What is possible there.
    pub possible: Vec<&'static str>,
}

/// The words of a line with their columns.
fn words(line: &str) -> impl Iterator<Item = (usize, &str)> {
    line.split_ascii_whitespace().map(|word| (word.as_ptr() as usize - line.as_ptr() as usize, word))
}

/// Commands whose word at `depth` is meant by `word`, of those in `among`. An exact word beats longer ones.
fn narrow<'c>(among: &[&'c Command], depth: usize, word: &str) -> Vec<&'c Command> {
    let at = |command: &Command| command.words.get(depth).copied();
    let exact: Vec<_> = among.iter().copied().filter(|c| at(c) == Some(word)).collect();
    if !exact.is_empty() {
        return exact;
    }
    among.iter().copied().filter(|c| at(c).is_some_and(|full| full.starts_with(word))).collect()
}

/// The different words that the commands `among` have at `depth`.
fn next_words(among: &[&Command], depth: usize) -> Vec<&'static str> {
    let mut words: Vec<_> = among.iter().filter_map(|c| c.words.get(depth).copied()).collect();
    words.sort_unstable();
    words.dedup();
    words
}

/// Finds what a line means.
#[must_use]
pub fn parse(line: &str) -> Parsed<'_> {
    let wrong = |column, reason, possible| Parsed::Wrong(Mistake { column, reason, possible });
    let mut among: Vec<&Command> = COMMANDS.iter().collect();
    let mut depth = 0;
    let mut words = words(line);
    loop {
        let complete = among.iter().find(|c| depth > 0 && c.words.len() == depth);
        let Some((column, word)) = words.next() else {
            return match complete {
                Some(command) => Parsed::Run(command.action, Vec::new()),
                None if depth == 0 => Parsed::Empty,
                None => wrong(line.trim_end().len() + 1, "a word is missing", next_words(&among, depth)),
            };
        };
        if let Some(command) = complete {
            if command.rest {
                let rest = core::iter::once(word).chain(words.map(|(_, word)| word)).collect();
                return Parsed::Run(command.action, rest);
            }
            return wrong(column, "nothing more belongs here", Vec::new());
        }
        let matching = narrow(&among, depth, word);
        let meant = next_words(&matching, depth);
        match meant.len() {
            0 => return wrong(column, "unknown word", next_words(&among, depth)),
            1 => among = matching,
            _ => return wrong(column, "this may mean several words", meant),
        }
        depth += 1;
    }
}

/// What can be typed at the end of `line`: each possible continuation and its help.
#[must_use]
pub fn help(line: &str) -> Vec<(String, &'static str)> {
    let (among, depth, last) = at_end(line);
    narrow_or_all(&among, depth, last)
        .into_iter()
        .filter_map(|c| Some((c.words.get(depth..)?.join(" "), c.help)))
        .map(|(words, help)| (if words.is_empty() { "<Enter>".to_owned() } else { words }, help))
        .collect()
}

/// What Tab adds to `line`: the rest of its last word and a blank when only one word is possible.
#[must_use]
pub fn complete(line: &str) -> Option<String> {
    let (among, depth, last) = at_end(line);
    let matching = narrow_or_all(&among, depth, last);
    match next_words(&matching, depth)[..] {
        [word] => Some(format!("{} ", word.strip_prefix(last)?)),
        _ => None,
    }
}

fn narrow_or_all<'c>(among: &[&'c Command], depth: usize, last: &str) -> Vec<&'c Command> {
    if last.is_empty() { among.to_vec() } else { narrow(among, depth, last) }
}

/// The commands that the finished words of `line` leave, their count, and the unfinished last word.
fn at_end(line: &str) -> (Vec<&'static Command>, usize, &str) {
    let mut words: Vec<&str> = words(line).map(|(_, word)| word).collect();
    let last = if line.ends_with(' ') { "" } else { words.pop().unwrap_or("") };
    let mut among: Vec<&Command> = COMMANDS.iter().collect();
    for (depth, word) in words.iter().enumerate() {
        among = narrow(&among, depth, word);
    }
    (among, words.len(), last)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mistake(line: &str) -> Mistake {
        match parse(line) {
            Parsed::Wrong(mistake) => mistake,
            other => panic!("{line:?} is {other:?}"),
        }
    }

    #[test]
    fn words_may_be_shortened_while_they_are_unique() {
        for line in ["show status", "sh st", "  s   s ", "show s"] {
            assert_eq!(parse(line), Parsed::Run(Action::ShowStatus, vec![]), "{line}");
        }
        assert_eq!(parse("rel"), Parsed::Run(Action::Reload, vec![]));
        assert_eq!(mistake("re").possible, ["reboot", "reload", "restart"]);
    }

    #[test]
    fn nothing_runs_by_a_prefix_of_two_commands_or_with_surplus_words() {
        assert_eq!(mistake("re").reason, "this may mean several words");
        assert_eq!(mistake("reboot now").column, 7);
        assert_eq!(mistake("show status all").column, 12);
    }

    #[test]
    fn the_caret_column_is_that_of_the_bad_word() {
        let unknown = mistake("show  satus");
        assert_eq!((unknown.column, unknown.reason), (6, "unknown word"));
        assert_eq!(unknown.possible, ["configuration", "log", "status", "version"]);
        let missing = mistake("show ");
        assert_eq!((missing.column, missing.reason), (5, "a word is missing"));
        assert_eq!(mistake("shw").possible.len(), 7);
    }

    #[test]
    fn ipvsadm_gets_the_rest_of_the_line() {
        assert_eq!(parse("ipv -L -n"), Parsed::Run(Action::Ipvsadm, vec!["-L", "-n"]));
        assert_eq!(parse("ipvsadm"), Parsed::Run(Action::Ipvsadm, vec![]));
    }

    #[test]
    fn an_empty_line_does_nothing() {
        assert_eq!(parse("   "), Parsed::Empty);
    }

    #[test]
    fn help_lists_what_can_follow() {
        let words: Vec<String> = help("show ").into_iter().map(|(words, _)| words).collect();
        assert_eq!(words, ["configuration", "log", "status", "version"]);
        assert_eq!(help("").len(), COMMANDS.len());
        assert_eq!(help("show st")[0].0, "status");
        assert_eq!(help("reload ")[0].0, "<Enter>");
        assert!(help("nonsense x ").is_empty());
    }

    #[test]
    fn tab_completes_a_unique_word_and_only_that() {
        assert_eq!(complete("sh").as_deref(), Some("ow "));
        assert_eq!(complete("show v").as_deref(), Some("ersion "));
        assert_eq!(complete("restart ").as_deref(), Some("agent "));
        assert_eq!(complete("re"), None);
        assert_eq!(complete("xyz"), None);
    }
}
