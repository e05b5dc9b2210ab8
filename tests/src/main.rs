//! Lab and image tiers.

fn main() {}
