//! `cargo image`.

fn main() {}
