//! Updates: a signed bundle goes into the slot that does not run, and is tried. docs/updates.md has the whole story.
//!
//! ```text
//! Source (file, stick, http, serial) --> install --> Target (the other slot)
//!                                           |
//!                                           +------> Ledger (the boot record)
//! ```
//! `commands` carries out what was typed, under `lock`; `show` and `progress` tell how far it is.

mod commands;
mod http;
mod install;
mod lock;
mod machine;
mod progress;
pub mod record;
mod serial;
mod show;
mod source;
mod target;

#[cfg(test)]
mod tests;

use std::path::Path;

pub use self::commands::{At, carry_out};
pub use self::machine::ThisBox;
pub use self::show::show;
#[cfg(test)]
pub use self::{
    serial::Serial,
    source::{Got, Source},
};

/// Keeps how well the box balances, before a trial boot: `gate::snapshot`.
#[expect(clippy::unnecessary_wraps, reason = "the gate says no when there is nothing to compare with")]
const fn gate_snapshot(_run_dir: &Path, _state_dir: &Path) -> Result<(), String> {
    Ok(())
}

/// The operator has judged: `gate::trial_over`.
const fn gate_trial_over(_run_dir: &Path, _state_dir: &Path) {}
