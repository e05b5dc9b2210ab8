//! The one static binary of Bascule.

fn main() {}
