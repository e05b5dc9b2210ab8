//! `cargo image demo`.

use anyhow::{Result, bail};

/// Arguments of `cargo image demo`.
#[derive(clap::Args)]
pub struct Args {}

/// Runs `cargo image demo`.
pub fn command(_args: Args) -> Result<()> {
    bail!("`cargo image demo` is not there yet")
}
