//! Where the configuration comes from: the file, the copy of the last good one, the factory's, or nothing.
//!
//! A file with errors never stops a box: at a reload the running configuration stays, at a start the last good
//! one runs. Each time a file is good, its text is kept for that.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bascule_core::config::Config;

use crate::store::{self, StoreError};

/// Longest configuration file in bytes, as in `Config::parse`.
const FILE_MAX: u64 = 4 << 20;
/// Name of the copy in the state directory.
const LAST_GOOD: &str = "last-good.toml";

/// A configuration to run.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The configuration.
    pub config: Arc<Config>,
    /// As it was read.
    pub text: String,
    /// Where it comes from, in words.
    pub origin: String,
    /// What is probably not as meant.
    pub warnings: Vec<String>,
}

/// The files.
#[derive(Clone, Debug)]
pub struct Source {
    /// The operator's.
    pub file: PathBuf,
    /// Runs while the operator's does not exist.
    pub factory: Option<PathBuf>,
    /// Directory of the copy of the last good one.
    pub state_dir: PathBuf,
}

impl Source {
    /// Reads the operator's file and keeps it as the last good one.
    ///
    /// # Errors
    /// All reasons why it cannot run, a line each.
    pub fn read(&self) -> Result<Loaded, Vec<String>> {
        let loaded = load(&self.file, &self.file.display().to_string())?;
        let copy = self.state_dir.join(LAST_GOOD);
        if let Err(error) = store::replace_if_changed(&copy, loaded.text.as_bytes()) {
            tracing::warn!(key = "last-good", "the last good configuration is not kept: {error}");
        }
        Ok(loaded)
    }

    /// What to run from the start, and why it is not the operator's file if so.
    #[must_use]
    pub fn first(&self) -> (Loaded, Option<Vec<String>>) {
        let refused = match self.read() {
            Ok(loaded) => return (loaded, None),
            Err(lines) => lines,
        };
        let file = self.file.display();
        let copy = self.state_dir.join(LAST_GOOD);
        if let Ok(loaded) = load(&copy, &format!("the last good one ({})", copy.display())) {
            return (loaded, Some(refused));
        }
        let missing = !self.file.exists();
        if let Some(factory) = &self.factory {
            let why = if missing { "does not exist" } else { "cannot be used" };
            match load(factory, &format!("{}, as {file} {why}", factory.display())) {
                // A box that has not been configured yet.
                Ok(loaded) if missing => return (loaded, None),
                Ok(loaded) => return (loaded, Some(refused)),
                Err(lines) => lines.iter().for_each(|line| tracing::error!("{line}")),
            }
        }
        let origin = "nothing: no configuration could be read".to_owned();
        let empty = Loaded { config: Arc::default(), text: String::new(), origin, warnings: Vec::new() };
        (empty, Some(refused))
    }
}

fn load(path: &Path, origin: &str) -> Result<Loaded, Vec<String>> {
    let text = read_text(path).map_err(|error| vec![error])?;
    let lines =
        |problems: &[bascule_core::config::Problem]| problems.iter().map(ToString::to_string).collect();
    let checked = Config::parse(&text, &path.display().to_string())
        .map_err(|problems| -> Vec<String> { lines(&problems) })?;
    let warnings = lines(&checked.warnings);
    Ok(Loaded { config: Arc::new(checked.config), text, origin: origin.to_owned(), warnings })
}

fn read_text(path: &Path) -> Result<String, String> {
    let bytes = store::read(path, FILE_MAX).map_err(|error| match error {
        StoreError::Io { error, .. } if error.kind() == io::ErrorKind::NotFound => {
            format!("{} does not exist: write the configuration there", path.display())
        }
        error => error.to_string(),
    })?;
    String::from_utf8(bytes).map_err(|error| {
        format!("{} is not UTF-8 text at byte {}", path.display(), error.utf8_error().valid_up_to())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::Scratch;
    use std::fs;

    const GOOD: &str = "[system]\nhostname = \"lb1\"\n";
    const BETTER: &str = "[system]\nhostname = \"lb2\"\n";
    const BAD: &str = "[system]\nhostnam = \"lb1\"\n[other]\n";

    fn source(dir: &Scratch) -> Source {
        Source {
            file: dir.path().join("bascule.toml"),
            factory: Some(dir.path().join("factory.toml")),
            state_dir: dir.path().join("state"),
        }
    }

    fn hostname(loaded: &Loaded) -> String {
        loaded.config.system.hostname.as_ref().map(ToString::to_string).unwrap_or_default()
    }

    #[test]
    fn a_good_file_runs_and_is_kept() {
        let dir = Scratch::new("source");
        let source = source(&dir);
        fs::write(&source.file, GOOD).unwrap();
        let (loaded, refused) = source.first();
        assert_eq!((&*hostname(&loaded), refused), ("lb1", None));
        assert_eq!(fs::read_to_string(dir.path().join("state/last-good.toml")).unwrap(), GOOD);
    }

    #[test]
    fn a_bad_file_is_refused_with_every_reason_and_the_copy_stays() {
        let dir = Scratch::new("source");
        let source = source(&dir);
        fs::write(&source.file, GOOD).unwrap();
        source.read().unwrap();
        fs::write(&source.file, BAD).unwrap();
        let lines = source.read().unwrap_err();
        assert_eq!(lines.len(), 2, "{lines:?}");
        assert!(lines[0].contains("bascule.toml:2") && lines[0].contains("hostnam"), "{lines:?}");
        let (loaded, refused) = source.first();
        assert_eq!((&*hostname(&loaded), refused), ("lb1", Some(lines)));
        assert!(loaded.origin.contains("last good"), "{}", loaded.origin);
    }

    #[test]
    fn without_a_copy_the_factory_configuration_runs_and_without_that_nothing() {
        let dir = Scratch::new("source");
        let source = source(&dir);
        fs::write(source.factory.as_ref().unwrap(), BETTER).unwrap();
        let (loaded, refused) = source.first();
        assert_eq!((&*hostname(&loaded), refused), ("lb2", None));
        fs::write(&source.file, BAD).unwrap();
        let (loaded, refused) = source.first();
        assert_eq!(hostname(&loaded), "lb2");
        assert!(refused.is_some_and(|lines| lines.len() == 2));
        fs::remove_file(source.factory.as_ref().unwrap()).unwrap();
        let (loaded, refused) = source.first();
        assert_eq!(*loaded.config, Config::default());
        assert!(refused.is_some() && loaded.origin.contains("no configuration"));
    }

    #[test]
    fn a_state_directory_that_cannot_be_written_does_not_refuse_a_good_file() {
        let dir = Scratch::new("source");
        let source = source(&dir);
        fs::write(&source.file, GOOD).unwrap();
        fs::write(&source.state_dir, "in the way").unwrap();
        assert_eq!(hostname(&source.read().unwrap()), "lb1");
    }

    #[test]
    fn bytes_that_are_no_text_are_refused_with_their_place() {
        let dir = Scratch::new("source");
        let source = source(&dir);
        fs::write(&source.file, b"# \xff").unwrap();
        assert!(source.read().unwrap_err()[0].ends_with("is not UTF-8 text at byte 2"));
    }
}
