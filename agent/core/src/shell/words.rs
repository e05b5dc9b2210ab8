//! Words of a line: blanks part them, double quotes keep them together, `|` outside quotes stands alone.

/// A word and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Word {
    /// What it says, without quotes.
    pub text: String,
    /// Its first byte in the line, from 0.
    pub start: usize,
    /// Whether any of it was in quotes: it is text then, and no keyword.
    pub quoted: bool,
}

impl Word {
    /// Whether this is the pipe that begins a filter.
    #[must_use]
    pub fn is_pipe(&self) -> bool {
        !self.quoted && self.text == "|"
    }
}

/// A line as words.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Words {
    /// The words in order.
    pub words: Vec<Word>,
    /// Column of a quote that nothing closes.
    pub open: Option<usize>,
    /// Whether the last word may still grow: nothing stands behind it.
    pub unfinished: bool,
}

/// Parts a line into words. Within quotes `\"`, `\\` and `\n` stand for `"`, `\` and the end of a line:
/// what [`crate::config::words::quote`] writes is read back as it was. A word that begins with `#` or `!`
/// at the start of the line makes the whole line a comment.
#[must_use]
pub fn split(line: &str) -> Words {
    let mut split = Words::default();
    if line.trim_start().starts_with(['#', '!']) {
        return split;
    }
    let mut word: Option<Word> = None;
    let mut chars = line.char_indices();
    let mut quoted = false;
    while let Some((at, c)) = chars.next() {
        let fresh = || Word { text: String::new(), start: at, quoted: false };
        match c {
            '"' => {
                quoted = !quoted;
                split.open = quoted.then_some(at);
                word.get_or_insert_with(fresh).quoted = true;
            }
            '\\' if quoted => {
                let escaped = match chars.next() {
                    Some((_, 'n')) => '\n',
                    Some((_, other)) => other,
                    None => '\\',
                };
                word.get_or_insert_with(fresh).text.push(escaped);
            }
            c if quoted => word.get_or_insert_with(fresh).text.push(c),
            '|' => {
                split.words.extend(word.take());
                split.words.push(Word { text: "|".to_owned(), start: at, quoted: false });
            }
            c if c.is_whitespace() => split.words.extend(word.take()),
            c => word.get_or_insert_with(fresh).text.push(c),
        }
    }
    split.unfinished = word.is_some();
    split.words.extend(word);
    split
}

/// The commands of a script line: parted at `;` outside quotes.
#[must_use]
pub fn statements(line: &str) -> Vec<&str> {
    if line.trim_start().starts_with(['#', '!']) {
        return Vec::new();
    }
    let (mut parts, mut start, mut quoted, mut escaped) = (Vec::new(), 0, false, false);
    for (at, c) in line.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            ';' if !quoted => {
                parts.push(&line[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&line[start..]);
    parts.retain(|part| !part.trim().is_empty());
    parts
}

/// Whether the end of `text` stands within quotes.
#[must_use]
pub fn in_quotes(text: &str) -> bool {
    let (mut quoted, mut escaped) = (false, false);
    for c in text.chars() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            _ => {}
        }
    }
    quoted
}

/// Words behind which a secret stands in a configuration.
const SECRET: [&str; 4] = ["password", "secret", "passphrase", "psk"];

/// The line with every secret replaced by `*****`: for the audit log. What stands behind a word like `password`
/// (or the beginning of it) of a `set` command is one, and so is everything behind the first.
#[must_use]
pub fn mask(line: &str) -> String {
    let split = split(line);
    let verb = split.words.first().is_some_and(|word| word.text.len() >= 2 && "set".starts_with(&word.text));
    let behind = split.words.windows(2).find(|pair| {
        SECRET.iter().any(|secret| pair[0].text.len() >= 3 && secret.starts_with(&pair[0].text))
    });
    match behind {
        Some(pair) if verb => format!("{}*****", &line[..pair[1].start]),
        Some(_) | None => line.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::words::quote;
    use proptest::prelude::*;

    fn texts(line: &str) -> Vec<String> {
        split(line).words.into_iter().map(|word| word.text).collect()
    }

    #[test]
    fn quotes_keep_blanks_and_pipes_and_know_their_column() {
        assert_eq!(
            texts(r#"annotate a  "two words | \"x\" \\" |count"#),
            ["annotate", "a", r#"two words | "x" \"#, "|", "count"]
        );
        let words = split("ab  \"c d");
        assert_eq!((words.open, words.unfinished, words.words[1].start), (Some(4), true, 4));
        assert!(!split("ab ").unfinished);
        assert_eq!(texts("  # set x"), [""; 0]);
        assert!(!split("a \"|\"").words[1].is_pipe() && split("a|b").words[1].is_pipe());
    }

    #[test]
    fn statements_part_at_semicolons_outside_quotes() {
        assert_eq!(statements("a; b \";\\\";\";;c "), ["a", " b \";\\\";\"", "c "]);
        assert!(statements(" # a; b").is_empty());
        assert!(in_quotes("x \"a\\\"") && !in_quotes("x \"a\""));
    }

    #[test]
    fn secrets_are_masked_to_the_end_of_the_line() {
        assert_eq!(mask("set system user bob password hunter2"), "set system user bob password *****");
        assert_eq!(mask("se a passw \"x y\" z"), "se a passw *****");
        assert_eq!(mask("user password bob"), "user password bob");
        assert_eq!(mask("set system hostname secret"), "set system hostname secret");
    }

    proptest! {
        #[test]
        fn a_quoted_word_is_read_back_as_it_was(text in "[ -~\n]{0,40}", other in "[ -~]{0,9}") {
            let line = format!("set {} {}", quote(&text), quote(&other));
            prop_assert_eq!(texts(&line), ["set", &text, &other]);
            prop_assert_eq!(statements(&line), [&line]);
        }
    }
}
