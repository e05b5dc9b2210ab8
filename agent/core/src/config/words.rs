//! A line as words: split at blanks, with quotes around what holds blanks.

use core::ops::Range;

/// A word and where it stands in its line, in bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Word {
    /// The word without its quotes.
    pub text: String,
    /// Its place, with its quotes.
    pub span: Range<usize>,
}

/// Splits a line. In quotes, `\"`, `\\` and `\n` stand for themselves and the end of a line; quotes that are not
/// closed reach to the end.
#[must_use]
pub fn split(line: &str) -> Vec<Word> {
    let mut words: Vec<Word> = Vec::new();
    let mut current: Option<Word> = None;
    let mut quoted = false;
    let mut letters = line.char_indices();
    while let Some((at, letter)) = letters.next() {
        if !quoted && letter.is_whitespace() {
            words.extend(current.take());
            continue;
        }
        let word = current.get_or_insert_with(|| Word { text: String::new(), span: at..at });
        match letter {
            '"' => quoted = !quoted,
            '\\' if quoted => match letters.next() {
                Some((_, 'n')) => word.text.push('\n'),
                Some((_, other)) => word.text.push(other),
                None => {}
            },
            other => word.text.push(other),
        }
        word.span.end = at + letter.len_utf8();
    }
    if let Some(word) = &mut current {
        word.span.end = line.len();
    }
    words.extend(current);
    words
}

/// The word as `split` reads it back, and the console and its scripts, to which `|`, `;` and `?` mean something.
#[must_use]
pub fn quote(word: &str) -> String {
    let plain =
        |c: char| !c.is_whitespace() && !c.is_control() && !matches!(c, '"' | '\\' | '#' | '|' | ';' | '?');
    // A command whose first word begins with `=` would look like a line of TOML.
    if !word.is_empty() && !word.starts_with('=') && word.chars().all(plain) {
        return word.to_owned();
    }
    let inner = word.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    format!("\"{inner}\"")
}

/// Words as a line.
#[must_use]
pub fn join<S: AsRef<str>>(words: &[S]) -> String {
    words.iter().map(|word| quote(word.as_ref())).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(line: &str) -> Vec<String> {
        split(line).into_iter().map(|word| word.text).collect()
    }

    #[test]
    fn words_are_split_at_blanks_outside_quotes() {
        assert_eq!(texts("  set  a\t\"b c\" d\"e f\"g \"\" "), ["set", "a", "b c", "de fg", ""]);
        assert_eq!(texts(r#""a \"b\" \\ c\nd" "open"#), ["a \"b\" \\ c\nd", "open"]);
        assert_eq!(texts("   "), [""; 0]);
    }

    #[test]
    fn the_place_of_a_word_includes_its_quotes() {
        let spans: Vec<_> = split("a  \"b c\" d").into_iter().map(|word| word.span).collect();
        assert_eq!(spans, [0..1, 3..8, 9..10]);
    }

    #[test]
    fn a_quoted_word_is_read_back_as_it_was() {
        for word in
            ["", "a", "a b", "a\"b", "a\\b", "a\nb", "#", "|", ";", "?", "=0", "\u{e4} \u{a0}", "\\", "\""]
        {
            assert_eq!(texts(&quote(word)), [word], "{}", quote(word));
        }
        assert_eq!(join(&["set", "a b"]), "set \"a b\"");
    }
}
