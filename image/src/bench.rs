//! `cargo image bench`.

use anyhow::{Result, bail};

/// Arguments of `cargo image bench`.
#[derive(clap::Args)]
pub struct Args {}

/// Runs `cargo image bench`.
pub fn command(_args: Args) -> Result<()> {
    bail!("`cargo image bench` is not there yet")
}
