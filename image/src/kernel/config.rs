//! The kernel configuration in `board/`: what is asked for, and whether Kconfig granted it.
//!
//! Kconfig drops silently what it does not know, what depends on something that is off, and what something else
//! selects. So every line asked for is looked up in what it made of them.

use crate::board::Board;
use crate::host;
use anyhow::{Context, Result, bail, ensure};
use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

/// The files of `board`, in the order they are joined: every board's, then its own.
pub fn files(board: Board) -> [PathBuf; 2] {
    [host::root().join("board/linux.config"), board.dir().join("linux.config")]
}

/// Options with their values (`y`, a number, a text in quotes), `n` for those that must be off.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options(BTreeMap<String, String>);

impl Options {
    /// What `board` asks for.
    ///
    /// # Errors
    /// When a file cannot be read, a line is not understood or an option is there twice.
    pub fn of(board: Board) -> Result<Options> {
        let mut options = Options::default();
        for path in files(board) {
            let text =
                fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
            options.add(&text).with_context(|| format!("in {}", path.display()))?;
        }
        Ok(options)
    }

    fn add(&mut self, text: &str) -> Result<()> {
        for (number, line) in text.lines().enumerate() {
            let Some((name, value)) = option(line).with_context(|| format!("line {}", number + 1))? else {
                continue;
            };
            ensure!(value != "m", "line {}: {name}=m: there is nothing that loads modules", number + 1);
            let twice = self.0.insert(name.to_owned(), value.to_owned()).is_some();
            ensure!(!twice, "line {}: {name} again", number + 1);
        }
        Ok(())
    }

    /// The options of a `.config` that Kconfig has completed.
    ///
    /// # Errors
    /// When it is none.
    pub fn read(config: &str) -> Result<Options> {
        let mut options = BTreeMap::new();
        for line in config.lines() {
            if let Some((name, value)) = option(line)? {
                options.insert(name.to_owned(), value.to_owned());
            }
        }
        Ok(Options(options))
    }

    /// The value of the option `name`, which is without `CONFIG_`.
    pub fn value(&self, name: &str) -> Option<&str> {
        self.0.get(&format!("CONFIG_{name}")).map(String::as_str)
    }

    /// As a `.config` to begin with.
    pub fn text(&self) -> String {
        self.0
            .iter()
            .map(|(name, value)| match value.as_str() {
                "n" => format!("# {name} is not set\n"),
                value => format!("{name}={value}\n"),
            })
            .collect()
    }

    /// What is otherwise in `granted`, a `.config` that Kconfig has completed: one text per option.
    ///
    /// # Errors
    /// When `granted` is no `.config`.
    pub fn dropped(&self, granted: &str) -> Result<Vec<String>> {
        let found = Options::read(granted)?;
        let became = |name: &str| found.0.get(name).map_or("n", String::as_str);
        let other = self.0.iter().filter(|(name, value)| became(name) != value.as_str());
        Ok(other.map(|(name, value)| format!("{name}={value} became {}", became(name))).collect())
    }
}

/// The option of a line: `CONFIG_NAME=VALUE` or `# CONFIG_NAME is not set`; none in a comment.
fn option(line: &str) -> Result<Option<(&str, &str)>> {
    let line = line.trim_end();
    if let Some(comment) = line.strip_prefix('#') {
        let off = comment.strip_prefix(" CONFIG_").and_then(|rest| rest.strip_suffix(" is not set"));
        return match off {
            Some(name) if symbol(name) => Ok(Some((&comment[1..comment.len() - " is not set".len()], "n"))),
            Some(_) | None if comment.contains("CONFIG_") => bail!("not understood: {line:?}"),
            Some(_) | None => Ok(None),
        };
    }
    if line.is_empty() {
        return Ok(None);
    }
    match line.split_once('=') {
        Some((name, value)) if name.strip_prefix("CONFIG_").is_some_and(symbol) && !value.is_empty() => {
            Ok(Some((name, value)))
        }
        Some(_) | None => bail!("not understood: {line:?}"),
    }
}

fn symbol(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(text: &str) -> Options {
        let mut options = Options::default();
        options.add(text).unwrap();
        options
    }

    #[test]
    fn the_files_in_board_are_well_formed_and_leave_nothing_loadable() {
        for board in [Board::X86_64, Board::Aarch64] {
            let asked = Options::of(board).unwrap();
            let value = |name: &str| asked.0.get(name).map(String::as_str);
            assert_eq!(value("CONFIG_MODULES"), Some("n"), "{board}");
            for name in
                ["CONFIG_IP_VS", "CONFIG_IP_VS_NFCT", "CONFIG_MACVLAN", "CONFIG_EXT4_FS", "CONFIG_SECCOMP"]
            {
                assert_eq!(value(name), Some("y"), "{board} {name}");
            }
            assert_eq!(value("CONFIG_PANIC_TIMEOUT"), Some("10"), "{board}");
        }
    }

    #[test]
    fn an_option_that_kconfig_dropped_changed_or_forced_is_named() {
        let asked =
            options("CONFIG_A=y\nCONFIG_B=15\n# CONFIG_C is not set\n# CONFIG_D is not set\nCONFIG_E=y\n");
        let granted = "#\n# Linux/x86 6.1 Kernel Configuration\n#\nCONFIG_A=y\nCONFIG_B=12\nCONFIG_C=y\n# CONFIG_E is not set\n";
        assert_eq!(
            asked.dropped(granted).unwrap(),
            ["CONFIG_B=15 became 12", "CONFIG_C=n became y", "CONFIG_E=y became n"]
        );
        assert!(asked.dropped(&asked.text()).unwrap().is_empty());
    }

    #[test]
    fn a_line_that_would_do_nothing_is_an_error() {
        let refusal = |text: &str| format!("{:#}", Options::default().add(text).unwrap_err());
        assert!(refusal("\nCONFIG_A=y\nIP_VS=y").contains("line 3"));
        assert!(refusal("# CONFIG_A is not set.").contains("not understood"));
        assert!(refusal("CONFIG_A").contains("not understood"));
        assert!(refusal("CONFIG_A=").contains("not understood"));
        assert!(refusal("CONFIG_A=m").contains("modules"));
        assert!(refusal("CONFIG_A=y\n# CONFIG_A is not set").contains("again"));
        assert_eq!(options("# a comment\n#\n\n"), Options::default());
    }
}
