//! What runs from a start: an edited file, the newest revision that can, rescue, the factory's, failsafe.

use std::sync::Arc;

use bascule_core::commit::{Event, Generation, Pending, Timer};
use bascule_core::time::Instant;

use super::{FILE_MAX, Loaded, Source, Start, decode, describe, parse};
use crate::store::files::Files;
use crate::store::revisions::{Found, kept};

impl<F: Files> Source<F> {
    /// What runs from the start, at `wall` (seconds since 1970). `left` is what a predecessor of this boot waited for.
    pub fn start(&mut self, now: Instant, wall: u64, left: Option<Pending>) -> Start {
        if let Err(error) = self.store.prepare() {
            self.alarm(format!("revisions of the configuration are not kept: {error}"));
        }
        let all = self.store.all();
        let (timer, back) = Timer::start(now, &kept(&all), left);
        let refused = match self.edited(&all) {
            None => None,
            Some(_) if timer.pending().is_some() => {
                let file = self.file.display();
                tracing::warn!("{file} was edited: it is not read while a commit waits for its confirmation");
                None
            }
            Some(content) => match self.take(&content, wall) {
                Ok(loaded) => return self.committed(now, loaded, timer),
                Err(lines) => Some(lines),
            },
        };
        if let Some(gone) = &back
            && let Some(loaded) = self.go_back(gone, wall)
        {
            return Start { refused, back, ..self.committed(now, loaded, timer) };
        }
        let waits = timer.pending().map(|pending| pending.generation);
        if let Some(loaded) = self.newest(&all, waits).or_else(|| self.rescue()) {
            self.mirror();
            return Start { loaded, refused, timer, back: None };
        }
        let (loaded, refused) = self.without_any(refused);
        Start { loaded, refused, timer, back: None }
    }

    /// Failsafe because somebody wants it, and why: nothing of the operator's is read, and the store stays as it is. A
    /// commit that waits for its confirmation goes back at the next ordinary start.
    pub fn start_failsafe(&mut self, now: Instant, why: &str) -> Start {
        if let Err(error) = self.store.prepare() {
            self.alarm(format!("revisions of the configuration are not kept: {error}"));
        }
        let (timer, _) = Timer::start(now, &kept(&self.store.all()), None);
        let reason = format!("failsafe was wanted: {why}; restart the box to leave it");
        self.alarm(reason.clone());
        let (loaded, _) = self.without_any(Some(vec![reason]));
        Start { loaded, refused: None, timer, back: None }
    }

    /// A start that made a new revision.
    fn committed(&self, now: Instant, loaded: Loaded, mut timer: Timer) -> Start {
        if let Some(generation) = self.generation() {
            timer.handle(now, Event::Committed(generation));
        }
        Start { loaded, refused: None, timer, back: None }
    }

    /// The content of the file when somebody edited it.
    fn edited(&self, all: &[Found]) -> Option<Vec<u8>> {
        let content = self.store.files().read(&self.file, FILE_MAX + 1).ok()?;
        let newest = all.iter().find_map(|found| found.revision.as_ref().ok());
        let ours = newest.is_some_and(|newest| newest.print().as_bytes() == content);
        (!ours && !self.store.seen(&content)).then_some(content)
    }

    /// The newest revision that may run and can. Those above it that cannot are alarms.
    fn newest(&mut self, all: &[Found], waits: Option<Generation>) -> Option<Loaded> {
        let mut falls = Vec::new();
        let mut found = None;
        for one in all {
            match &one.revision {
                Ok(revision) if !revision.confirmed && Some(revision.generation) != waits => {}
                Ok(revision) => match self.load(revision) {
                    Ok(loaded) => {
                        found = Some((revision.clone(), loaded));
                        break;
                    }
                    Err(lines) => falls.push(format!("revision {}: {}", one.generation, lines.join("; "))),
                },
                Err(error) => {
                    falls.push(format!("revision {} ({}): {error}", one.generation, one.path.display()))
                }
            }
        }
        for fall in falls {
            self.alarm(format!("a revision of the configuration cannot be used: {fall}"));
        }
        let (revision, mut loaded) = found?;
        if !self.alarms.is_empty() {
            loaded.origin = format!("{}, as newer ones cannot be used", describe(&revision));
        }
        self.runs(revision, &loaded.text);
        Some(loaded)
    }

    fn rescue(&mut self) -> Option<Loaded> {
        let found = self.store.rescue()?;
        let loaded = match &found.revision {
            Ok(revision) => self.load(revision).map_err(|lines| lines.join("; ")),
            Err(error) => Err(error.to_string()),
        };
        match (found.revision, loaded) {
            (Ok(revision), Ok(loaded)) => {
                self.alarm(
                    "no revision of the configuration can be used: the rescue configuration runs".to_owned(),
                );
                self.text.clone_from(&revision.text);
                let origin = format!("the rescue configuration ({})", found.path.display());
                Some(Loaded { origin, ..loaded })
            }
            (_, Err(error)) => {
                self.alarm(format!(
                    "the rescue configuration ({}) cannot be used: {error}",
                    found.path.display()
                ));
                None
            }
            (Err(_), Ok(_)) => None,
        }
    }

    /// The factory's on a box that has not been configured yet; else failsafe: management only.
    fn without_any(&mut self, refused: Option<Vec<String>>) -> (Loaded, Option<Vec<String>>) {
        let file = self.file.display().to_string();
        let fresh = refused.is_none() && self.alarms.is_empty();
        let why = if fresh { "does not exist" } else { "cannot be used" };
        let factory = self.factory.as_ref().map(|path| {
            let name = path.display().to_string();
            let content =
                self.store.files().read(path, FILE_MAX).map_err(|e| vec![format!("{name}: {e}")])?;
            let text = decode(&content, &name).map_err(|error| vec![error])?;
            parse(text, &name, format!("{name}, as {file} {why}"))
        });
        let lines =
            refused.unwrap_or_else(|| vec![format!("{file} does not exist: write the configuration there")]);
        match factory {
            Some(Ok(loaded)) if fresh => {
                self.text.clone_from(&loaded.text);
                return (loaded, None);
            }
            Some(Ok(loaded)) => {
                self.failsafe = true;
                self.alarm("failsafe: management only, no virtual router and no service runs".to_owned());
                self.text.clone_from(&loaded.text);
                let mut config = Arc::unwrap_or_clone(loaded.config);
                config.vrrp.clear();
                config.virtual_server.clear();
                config.sync = None;
                return (Loaded { config: Arc::new(config), ..loaded }, Some(lines));
            }
            Some(Err(lines)) => lines.iter().for_each(|line| tracing::error!("{line}")),
            None => {}
        }
        self.failsafe = true;
        let origin = "nothing: no configuration could be read".to_owned();
        (Loaded { config: Arc::default(), text: String::new(), origin, warnings: Vec::new() }, Some(lines))
    }
}
