//! Bytes to meaning and back. Every parser takes outside bytes: it returns an error, it never panics.

pub mod frame;
pub mod garp;
pub mod ndisc;
pub mod vrrp;
