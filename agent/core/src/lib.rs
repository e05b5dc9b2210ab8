//! The deciding half of Bascule.
//!
//! Nothing here opens a socket, reads a clock, spawns a thread or touches a file: every function maps
//! its inputs (an event and the instant it happened) to a decision that the daemon carries out. That is
//! what lets a day of cluster life run in a second of test time, and a field trace replay as a test.
//!
//! Modules stand in dependency order; one uses only those above it.

pub mod time;
pub mod net;
pub mod wire;
pub mod release;
pub mod bundle;
pub mod config;
pub mod notice;
pub mod vrrp;
pub mod router;
pub mod health;
pub mod overrides;
pub mod desired;
pub mod reconcile;
pub mod links;
pub mod ntp;
pub mod slot;
pub mod spare;
pub mod status;
pub mod commit;
pub mod gate;
pub mod pair;
pub mod control;
pub mod node;
pub mod ymodem;
pub mod shell;
