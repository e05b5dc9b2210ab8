//! What the main thread leaves for a successor: the node's snapshot, in the run directory.
//!
//! The run directory is a tmpfs, and the boot's identity is in the file: what an earlier boot left is void.

use std::path::{Path, PathBuf};

use bascule_core::node::Snapshot;
use bascule_core::wire::frame::{self, Decoder};

use crate::snapshot::BootId;
use crate::store;

/// Its name in the run directory.
const NAME: &str = "node.state";
/// Longest file in bytes: some ten thousand real servers.
const FILE_MAX: usize = 4 << 20;

/// The file.
#[derive(Clone, Debug)]
pub struct Survivor {
    path: PathBuf,
    boot: BootId,
}

impl Survivor {
    /// In `run_dir`, for the boot `boot`.
    #[must_use]
    pub fn new(run_dir: &Path, boot: BootId) -> Self {
        Self { path: run_dir.join(NAME), boot }
    }

    /// What a predecessor left in this boot; empty when it left nothing usable.
    #[must_use]
    pub fn load(&self) -> Snapshot {
        let bytes = store::read(&self.path, FILE_MAX as u64).unwrap_or_default();
        let found = Decoder::<(BootId, Snapshot)>::new(FILE_MAX).push(&bytes).into_iter().next();
        match found {
            Some(Ok((boot, snapshot))) if boot == self.boot => snapshot,
            Some(Ok(_)) | None => Snapshot::default(),
            Some(Err(error)) => {
                tracing::warn!("{}: {error}; health starts anew", self.path.display());
                Snapshot::default()
            }
        }
    }

    /// Keeps the newest.
    pub fn save(&self, snapshot: &Snapshot) {
        if let Err(error) = store::replace_volatile(&self.path, &frame::encode(&(self.boot, snapshot))) {
            tracing::warn!(key = "node-state", "a restart will not remember health: {error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::Scratch;
    use bascule_core::config::Config;
    use bascule_core::health::{ProbeOutcome, Verdict};
    use bascule_core::node::{Effect, Event, Node};
    use bascule_core::time::Instant;
    use std::sync::Arc;

    const CONFIG: &str = r#"
[virtual-server.web]
address = "192.0.2.10"
port = 80
check = { kind = "tcp", rise = 1 }
real-server."10.1.0.21:80" = {}
"#;

    /// The snapshot of a node that found its one real server up.
    fn snapshot() -> Snapshot {
        let config = Config::parse(CONFIG, "test").unwrap().config;
        let mut node = Node::resume(Snapshot::default());
        let now = Instant::from_nanos(1);
        let mut effects = node.handle(now, Event::Config(Arc::new(config), "test".into()));
        let mut at = now;
        while !effects.iter().any(|effect| matches!(effect, Effect::Probe(_))) {
            at = node.deadline().unwrap();
            effects = node.handle(at, Event::Timer);
        }
        let id =
            effects.iter().find_map(|e| if let Effect::Probe(p) = e { Some(p.id) } else { None }).unwrap();
        let outcome = ProbeOutcome { id, took: std::time::Duration::from_millis(1), verdict: Verdict::Up };
        let effects = node.handle(at, Event::Probed(outcome));
        effects.into_iter().find_map(|e| if let Effect::Save(s) = e { Some(s) } else { None }).unwrap()
    }

    #[test]
    fn a_successor_of_the_same_boot_finds_what_was_kept_and_one_of_another_does_not() {
        let dir = Scratch::new("survivor");
        let kept = snapshot();
        assert_ne!(kept, Snapshot::default());
        let survivor = Survivor::new(dir.path(), [1; 16]);
        assert_eq!(survivor.load(), Snapshot::default());
        survivor.save(&kept);
        assert_eq!(survivor.load(), kept);
        assert_eq!(Survivor::new(dir.path(), [2; 16]).load(), Snapshot::default());
    }

    #[test]
    fn a_damaged_file_is_as_none() {
        let dir = Scratch::new("survivor");
        let survivor = Survivor::new(dir.path(), [1; 16]);
        survivor.save(&snapshot());
        let path = dir.path().join(NAME);
        let good = std::fs::read(&path).unwrap();
        for at in [0, good.len() / 2] {
            let mut bad = good.clone();
            bad[at] ^= 0x20;
            std::fs::write(&path, bad).unwrap();
            assert_eq!(survivor.load(), Snapshot::default());
        }
        std::fs::write(&path, &good[..good.len() / 2]).unwrap();
        assert_eq!(survivor.load(), Snapshot::default());
    }
}
