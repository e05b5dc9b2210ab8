//! The other box of the pair: a channel between the two, and `update pair` over it.
//!
//! ```text
//! drive (in the console of the Master) --> link --> channel ==> server (`bascule peer` on the Backup)
//!                                                                 |
//!                                           finish <-- service <--+  after the own restart
//! ```
//! Nothing listens before there is a `[peer]` in the configuration and a key. The channel is Noise (NNpsk0) with that
//! key over TCP on one interface; whoever does not have the key gets no answer.

mod channel;
mod drive;
mod finish;
mod key;
mod link;
mod noise;
pub mod plan;
mod server;
mod service;
mod sight;

#[cfg(test)]
mod tests;

pub use self::drive::{Wish, update_pair};
pub use self::key::{FILE as KEY_FILE, command as key_command};
pub use self::service::{run, wanted};
