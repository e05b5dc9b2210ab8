//! The kernel's command line: what the boot loader tells init.

use bascule_core::slot::{Evidence, EvidenceError, SlotName};

/// What of it is ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandLine {
    /// `bascule.data=PARTUUID=...`: the partition of configuration and state.
    pub data: Option<String>,
    /// `bascule.slot=a`: the slot that was booted.
    pub slot: Option<String>,
    /// `bascule.state=PARTUUID=...`: the partition of the boot record.
    pub state: Option<String>,
    /// `bascule.slots=PARTUUID-A,PARTUUID-B`: the partitions of the slots.
    slots: Option<[String; 2]>,
    /// How the loader started this system.
    pub evidence: Result<Evidence, EvidenceError>,
}

impl Default for CommandLine {
    /// Of a system that was not started by our loader.
    fn default() -> Self {
        parse("")
    }
}

impl CommandLine {
    /// The partition of a slot, as `PARTUUID=...`.
    #[must_use]
    pub fn partition(&self, slot: SlotName) -> Option<String> {
        let [a, b] = self.slots.as_ref()?;
        let guid = match slot {
            SlotName::A => a,
            SlotName::B => b,
        };
        Some(format!("PARTUUID={guid}"))
    }
}

/// Reads `/proc/cmdline`. Of a repeated parameter the last counts, as in the kernel.
#[must_use]
pub fn parse(text: &str) -> CommandLine {
    let words = words(text);
    let evidence = Evidence::of(words.iter().map(String::as_str));
    let mut line = CommandLine { data: None, slot: None, state: None, slots: None, evidence };
    for word in words {
        match word.split_once('=') {
            Some(("bascule.data", value)) => line.data = Some(value.to_owned()),
            Some(("bascule.slot", value)) => line.slot = Some(value.to_owned()),
            Some(("bascule.state", value)) => line.state = Some(value.to_owned()),
            Some(("bascule.slots", value)) => {
                line.slots = value.split_once(',').map(|(a, b)| [a.to_owned(), b.to_owned()]);
            }
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
    words(text).into_iter().filter_map(named).next_back()
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
    fn the_loaders_evidence_and_the_partitions_of_its_disk_are_read() {
        let line = parse(
            "quiet bascule.slot=b bascule.gen=18 bascule.try=1 bascule.state=PARTUUID=5-5 bascule.slots=3-3,4-4",
        );
        let at = line.evidence.clone().unwrap();
        assert_eq!((at.slot, at.tried, at.fallback), (SlotName::B, 1, None));
        assert_eq!(line.state.as_deref(), Some("PARTUUID=5-5"));
        assert_eq!(line.partition(SlotName::B).as_deref(), Some("PARTUUID=4-4"));
        assert_eq!(CommandLine::default().evidence, Err(EvidenceError::None));
        assert_eq!(parse("bascule.slots=3-3").partition(SlotName::A), None);
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
