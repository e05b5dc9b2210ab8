//! The kernel's command line: what the boot loader tells init.

/// What of it is ours.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CommandLine {
    /// `bascule.data=PARTUUID=...`: the partition of configuration and state.
    pub data: Option<String>,
    /// `bascule.slot=a`: the slot that was booted.
    pub slot: Option<String>,
}

/// Reads `/proc/cmdline`. Of a repeated parameter the last counts, as in the kernel.
#[must_use]
pub fn parse(text: &str) -> CommandLine {
    let mut line = CommandLine::default();
    for word in words(text) {
        match word.split_once('=') {
            Some(("bascule.data", value)) => line.data = Some(value.to_owned()),
            Some(("bascule.slot", value)) => line.slot = Some(value.to_owned()),
            Some(_) | None => {}
        }
    }
    line
}

/// The value of one parameter, empty for a bare word; `None` when it is not there.
#[must_use]
pub fn value(text: &str, name: &str) -> Option<String> {
    let named = |word: String| match word.split_once('=') {
        Some((first, value)) => (first == name).then(|| value.to_owned()),
        None => (word == name).then(String::new),
    };
    words(text).into_iter().filter_map(named).last()
}

/// Words are separated by blanks; quotes keep blanks and are dropped (`next_arg` in `lib/cmdline.c`). What
/// follows `--` is for init itself and not for the kernel, so it is no parameter.
fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let (mut word, mut quoted) = (String::new(), false);
    for c in text.chars() {
        match c {
            '"' => quoted = !quoted,
            c if c.is_ascii_whitespace() && !quoted => {
                if word == "--" {
                    return words;
                }
                if !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                }
            }
            c => word.push(c),
        }
    }
    if !word.is_empty() && word != "--" {
        words.push(word);
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_parameters_are_found_among_the_kernels() {
        let line =
            parse("console=ttyS0,115200 quiet bascule.slot=a bascule.data=PARTUUID=1f-2e rdinit=/init\n");
        assert_eq!(line.data.as_deref(), Some("PARTUUID=1f-2e"));
        assert_eq!(line.slot.as_deref(), Some("a"));
    }

    #[test]
    fn the_last_of_a_repeated_parameter_counts_and_quotes_keep_blanks() {
        let line = parse("bascule.slot=a dyndbg=\"file x +p bascule.slot=c\" bascule.slot=b");
        assert_eq!(line.slot.as_deref(), Some("b"));
        assert_eq!(parse("x=\"a bascule.slot=c\"").slot, None);
    }

    #[test]
    fn what_follows_two_dashes_is_no_parameter() {
        assert_eq!(parse("quiet -- bascule.slot=b"), CommandLine::default());
        assert_eq!(parse(""), CommandLine::default());
    }
}
