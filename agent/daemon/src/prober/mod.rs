//! Health probes in a process of their own, without privileges: a hanging or hostile server can delay or crash
//! only this.
//!
//! `parent` runs in the agent and keeps the process alive; `child` is the process. Jobs and outcomes
//! (`bascule_core::health`) cross a socket pair as frames.

pub mod child;
pub mod parent;

mod connect;
mod seccomp;

/// Longest frame in bytes, either way: room for kinds of probes that carry a request and its expected answer.
const FRAME_MAX: usize = 64 << 10;
