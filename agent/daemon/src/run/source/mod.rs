//! Where the configuration comes from: the store of revisions, the operator's file, the factory's, or what is built
//! in.
//!
//! The store is the truth. The file is how a configuration comes in and goes out: after every commit it holds the
//! newest revision, and when it holds something else than the agent last read or wrote, somebody edited it, and it
//! becomes a revision by the user `file`. A bad one is refused and changes nothing.
//!
//! At a start runs the newest revision that is whole, good and confirmed; else the one before it, and so on; else the
//! rescue configuration; else failsafe, which is the factory's without any service. Each fall is an alarm.

mod history;
mod start;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use bascule_core::commit::{Generation, GoBack, Timer};
use bascule_core::config::migrate::migrate;
use bascule_core::config::{Config, Problem, SCHEMA_VERSION};

use crate::init::fault::{self, Fault};
use crate::store::files::Files;
use crate::store::revision::{Revision, bare, schema_of};
use crate::store::revisions::Revisions;
use crate::store::{self, StoreError};

/// Longest configuration file in bytes: as in `Config::parse`, and the lines of the store around it.
const FILE_MAX: u64 = (4 << 20) + 4_096;
/// Who made what nobody typed.
const BOX: &str = "bascule";

/// A configuration to run.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The configuration.
    pub config: Arc<Config>,
    /// As it was read, without the lines of the store.
    pub text: String,
    /// Where it comes from, in words.
    pub origin: String,
    /// What is probably not as meant.
    pub warnings: Vec<String>,
}

/// What runs from the start.
#[derive(Debug)]
pub struct Start {
    /// The configuration.
    pub loaded: Loaded,
    /// Why it is not the operator's newest, a line for each reason.
    pub refused: Option<Vec<String>>,
    /// The confirm timer.
    pub timer: Timer,
    /// What went back at this start.
    pub back: Option<GoBack>,
}

/// Who makes a revision.
#[derive(Clone, Debug)]
pub struct Made {
    /// User name.
    pub user: String,
    /// Why.
    pub comment: String,
    /// Wall clock, seconds since 1970 (UTC).
    pub time: u64,
}

/// The places, and what runs.
#[derive(Debug)]
pub struct Source<F> {
    /// The operator's.
    file: PathBuf,
    /// Runs while there is neither file nor revision.
    factory: Option<PathBuf>,
    store: Revisions<F>,
    /// The revision that runs, when it is one.
    running: Option<Revision>,
    /// Text of what runs.
    text: String,
    /// What is wrong with the store and with what lies in it.
    alarms: Vec<String>,
    /// No configuration of the operator could be used.
    failsafe: bool,
}

impl<F: Files> Source<F> {
    /// The operator's file, the factory's, and the store.
    pub fn new(file: PathBuf, factory: Option<PathBuf>, store: Revisions<F>) -> Self {
        let (running, text, alarms) = (None, String::new(), Vec::new());
        Self { file, factory, store, running, text, alarms, failsafe: false }
    }

    /// What is wrong, a line each.
    pub fn alarms(&self) -> &[String] {
        &self.alarms
    }

    /// Whether no configuration of the operator could be used.
    pub const fn failsafe(&self) -> bool {
        self.failsafe
    }

    /// The generation that runs, when it is one.
    pub fn generation(&self) -> Option<Generation> {
        self.running.as_ref().map(|revision| revision.generation)
    }

    /// Makes what stands in the file the running configuration and a revision. It runs also when it cannot be kept.
    fn take(&mut self, content: &[u8], wall: u64) -> Result<Loaded, Vec<String>> {
        let name = self.file.display().to_string();
        let loaded = self.read_file(content)?;
        self.alarms.clear();
        let made = Made { user: "file".to_owned(), comment: String::new(), time: wall };
        let revision = self.revision(&loaded.text, made, true);
        let kept = self.store.add(&revision).and_then(|()| self.store.note_seen(content));
        self.runs(revision, &loaded.text);
        if let Err(error) = kept {
            self.running = None;
            self.alarm(format!("the configuration of {name} runs and is not kept as a revision: {error}"));
        }
        Ok(loaded)
    }

    /// Parses what stands in the file. Its lines in the errors are those of the file.
    fn read_file(&self, content: &[u8]) -> Result<Loaded, Vec<String>> {
        let name = self.file.display().to_string();
        let whole = decode(content, &name).map_err(|error| vec![error])?;
        let schema = schema_of(whole).unwrap_or(SCHEMA_VERSION);
        if schema != SCHEMA_VERSION {
            return parse(&today(&bare(whole), schema, &name)?, &name, name.clone());
        }
        let loaded = parse(whole, &name, name.clone())?;
        Ok(Loaded { text: bare(whole), ..loaded })
    }

    fn revision(&self, text: &str, made: Made, confirmed: bool) -> Revision {
        let Made { user, comment, time } = made;
        let (generation, text) = (self.store.next(), text.to_owned());
        Revision { schema: SCHEMA_VERSION, generation, time, user, comment, confirmed, text }
    }

    /// Parses a stored one. One of an older schema is brought to today's in memory: its file stays as it is, so that
    /// the release before can still be started.
    fn load(&self, revision: &Revision) -> Result<Loaded, Vec<String>> {
        let name = format!("revision {}", revision.generation);
        let text = today(&revision.text, revision.schema, &name)?;
        parse(&text, &name, format!("{}, {}", self.file.display(), describe(revision)))
    }

    fn runs(&mut self, revision: Revision, text: &str) {
        self.failsafe = false;
        text.clone_into(&mut self.text);
        self.running = Some(revision);
    }

    fn alarm(&mut self, text: String) {
        tracing::error!("{text}");
        self.alarms.push(text);
    }

    /// Writes what runs into the operator's file. What fails is an alarm: the store has it.
    fn mirror(&mut self) {
        let Some(revision) = &self.running else { return };
        let content = revision.print();
        let there = self.store.files().read(&self.file, FILE_MAX).is_ok_and(|there| {
            // The operator's own words stay as long as they say the same.
            there == content.as_bytes()
                || self.store.seen(&there)
                    && std::str::from_utf8(&there).is_ok_and(|t| bare(t) == revision.text)
        });
        let written = if there {
            Ok(())
        } else {
            self.store
                .files()
                .make_dirs(store::directory(&self.file))
                .map_err(|error| StoreError::Io {
                    what: "make the directory of",
                    path: self.file.clone(),
                    error,
                })
                .and_then(|()| self.store.put(&self.file, content.as_bytes()))
                .and_then(|()| self.store.note_seen(content.as_bytes()))
        };
        if let Err(error) = written {
            self.alarm(format!("{} does not hold what runs: {error}", self.file.display()));
        }
    }

    /// Reads the operator's file again, at `wall`. `waits`: a commit waits for its confirmation.
    ///
    /// # Errors
    /// All reasons why it cannot run, a line each.
    pub fn reload(&mut self, wall: u64, waits: bool) -> Result<Loaded, Vec<String>> {
        let name = self.file.display().to_string();
        let content = self.store.files().read(&self.file, FILE_MAX + 1).map_err(|error| {
            vec![match error.kind() {
                io::ErrorKind::NotFound => format!("{name} does not exist: write the configuration there"),
                _ => format!("cannot read {name}: {error}"),
            }]
        })?;
        let text = decode(&content, &name).map_err(|error| vec![error])?;
        let same = self.running.is_some() && bare(text) == self.text;
        let old = self.store.seen(&content) && self.running.is_some();
        if let Some(running) = self.running.clone().filter(|_| same || old) {
            if same && let Err(error) = self.store.note_seen(&content) {
                self.alarm(error.to_string());
            }
            self.mirror();
            return self.load(&running);
        }
        if waits {
            self.read_file(&content)?;
            return Err(vec![format!(
                "{name} is good, and a commit waits for its confirmation: confirm it, or reload when it went back"
            )]);
        }
        self.take(&content, wall)
    }

    /// Keeps `text` as a new revision that runs from now on. What ran before the first commit is kept below it.
    ///
    /// # Errors
    /// When it is not good, or not durable; nothing has changed then.
    pub fn commit(&mut self, text: &str, made: Made, confirmed: bool) -> Result<Loaded, Vec<String>> {
        let name = "candidate";
        parse(text, name, String::new())?;
        let stored =
            |error: StoreError| vec![error.to_string(), "the running configuration is as it was".to_owned()];
        if self.running.is_none() {
            let comment = "what ran before the first commit".to_owned();
            let made = Made { user: BOX.to_owned(), comment, time: made.time };
            let before = self.revision(&self.text, made, true);
            self.store.add(&before).map_err(stored)?;
        }
        let revision = self.revision(text, made, confirmed);
        self.store.add(&revision).map_err(stored)?;
        self.alarms.clear();
        let loaded = self.load(&revision)?;
        self.runs(revision, text);
        self.mirror();
        self.refill();
        Ok(loaded)
    }

    /// Keeps the revision that waits.
    ///
    /// # Errors
    /// When that is not durable: it still waits then.
    pub fn confirm(&mut self) -> Result<(), StoreError> {
        let Some(revision) = &self.running else { return Ok(()) };
        self.store.confirm(revision)?;
        self.running = Some(Revision { confirmed: true, ..revision.clone() });
        self.mirror();
        self.refill();
        Ok(())
    }

    fn refill(&mut self) {
        if let Err(error) = self.store.refill() {
            self.alarm(format!("a commit on a full disk may fail: {error}"));
        }
    }

    /// Runs an older revision again, and keeps a copy of it on top of the others; `None` when it cannot be used. It
    /// runs also when the copy cannot be kept: the one that goes stays unconfirmed, so no boot takes it.
    pub fn go_back(&mut self, back: &GoBack, wall: u64) -> Option<Loaded> {
        let why = format!("revision {} went back: {}", back.from, back.why);
        let older = self.store.find(back.to?).revision.ok()?;
        let loaded = self.load(&older).ok()?;
        // Who asked for this tells it too.
        self.alarms = vec![why.clone()];
        let made = Made { user: BOX.to_owned(), comment: why, time: wall };
        let copy = self.revision(&loaded.text, made, true);
        match self.store.add(&copy) {
            Ok(()) => self.runs(copy, &loaded.text),
            Err(error) => {
                self.runs(older, &loaded.text);
                self.alarm(error.to_string());
            }
        }
        self.mirror();
        self.refill();
        Some(loaded)
    }

    /// Pins what runs.
    ///
    /// # Errors
    /// When that is not durable, or nothing of the operator's runs.
    pub fn save_rescue(&self, made: Made) -> Result<(), String> {
        if self.failsafe {
            return Err("failsafe runs: there is nothing to keep for a rescue".to_owned());
        }
        let revision = self.revision(&self.text, made, true);
        self.store.save_rescue(&revision).map_err(|error| error.to_string())
    }
}

/// A text of an older schema in today's.
fn today(text: &str, schema: u32, name: &str) -> Result<String, Vec<String>> {
    if fault::wanted() == Some(Fault::Migrate) {
        return Err(vec![format!("{name}: bascule.fail=migrate")]);
    }
    if schema == SCHEMA_VERSION {
        return Ok(text.to_owned());
    }
    migrate(text, schema, name)
        .map(|document| document.print())
        .map_err(|error| vec![format!("{name}: {error}")])
}

/// A revision in a few words.
fn describe(revision: &Revision) -> String {
    format!("revision {} by {}", revision.generation, revision.user)
}

fn parse(text: &str, name: &str, origin: String) -> Result<Loaded, Vec<String>> {
    let lines = |problems: &[Problem]| -> Vec<String> { problems.iter().map(ToString::to_string).collect() };
    let checked = Config::parse(text, name).map_err(|problems| lines(&problems))?;
    let warnings = lines(&checked.warnings);
    Ok(Loaded { config: Arc::new(checked.config), text: text.to_owned(), origin, warnings })
}

fn decode<'a>(content: &'a [u8], name: &str) -> Result<&'a str, String> {
    std::str::from_utf8(content)
        .map_err(|error| format!("{name} is not UTF-8 text at byte {}", error.valid_up_to()))
}

#[cfg(test)]
mod tests;
