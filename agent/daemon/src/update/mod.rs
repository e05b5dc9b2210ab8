//! Updates: a signed bundle goes into the slot that does not run, and is tried. docs/updates.md has the whole story.
//!
//! ```text
//! Source (file, stick, http, serial) --> install --> Target (the other slot)
//!                                           |
//!                                           +------> Ledger (the boot record)
//! ```
//! `commands` carries out what was typed, under `lock`; `show` and `progress` tell how far it is.

pub mod authority;
mod commands;
pub mod gate;
mod http;
mod install;
mod lock;
mod machine;
mod progress;
pub mod record;
mod running;
mod serial;
mod show;
mod source;
pub mod stop;
pub mod target;

#[cfg(test)]
mod tests;

pub use self::commands::{At, NotDone, activate, carry_out, install_from};
pub use self::install::{Step, Stop, Watch};
pub use self::lock::Lock;
pub use self::machine::{Machine, ThisBox};
pub use self::progress::bar;
#[cfg(test)]
pub use self::serial::Serial;
pub use self::show::show;
pub use self::source::{Got, Source, SourceError, open};
