//! What is remembered of an update of the pair, over restarts: `pair-update.json` in the state directory.

use std::ops::{Deref, DerefMut};
use std::path::{Path, PathBuf};

use bascule_core::pair::message;
use serde_json::json;

use crate::store;

/// In the state directory.
const FILE: &str = "pair-update.json";

/// A plan and its file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    path: PathBuf,
    plan: message::Plan,
}

impl Plan {
    /// This plan, not written yet.
    #[must_use]
    pub fn new(state_dir: &Path, plan: message::Plan) -> Self {
        Self { path: state_dir.join(FILE), plan }
    }

    /// The latest; `None` when there is none that can be read.
    #[must_use]
    pub fn load(state_dir: &Path) -> Option<Self> {
        let path = state_dir.join(FILE);
        let value: serde_json::Value = serde_json::from_slice(&store::read(&path, 64 << 10).ok()?).ok()?;
        let plan = serde_json::from_value(value.get("plan")?.clone()).ok()?;
        Some(Self { path, plan })
    }

    /// Whether this box must not take its addresses back yet.
    #[must_use]
    pub fn behind(state_dir: &Path) -> bool {
        Self::load(state_dir).is_some_and(|plan| plan.behind)
    }

    /// Writes it; it is on the disk then.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn save(&self) -> Result<(), String> {
        let text = serde_json::to_vec(&json!({ "plan": self.plan })).unwrap_or_default();
        store::replace(&self.path, &text).map_err(|error| error.to_string())
    }

    /// Writes it; what cannot be written stands in the log.
    pub fn keep(&self) {
        if let Err(error) = self.save() {
            tracing::warn!(key = "pair-plan", "{error}");
        }
    }
}

impl Deref for Plan {
    type Target = message::Plan;
    fn deref(&self) -> &message::Plan {
        &self.plan
    }
}

impl DerefMut for Plan {
    fn deref_mut(&mut self) -> &mut message::Plan {
        &mut self.plan
    }
}
