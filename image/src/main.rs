//! Arguments of the host tool; each subcommand lives in the module of its name.

use bascule_image::{bench, build, bundle, demo, keys, parts, run, test};
use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// Builds Bascule's images, boots them, shows a failover, runs the tests and the benchmarks.
#[derive(Parser)]
#[command(name = "cargo image", bin_name = "cargo image", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Build the flashable disk image of one or more boards under out/
    Build(build::Args),
    /// Make, sign, check and show update bundles
    Bundle(bundle::Args),
    /// Make the keys that sign update bundles
    Keys(keys::Args),
    /// Make the contents of a disk, a file for each partition, for builds that bring kernel and loader (Buildroot)
    Parts(parts::Args),
    /// Boot one box in QEMU with its serial console on this terminal
    Run(run::Args),
    /// Boot a pair of boxes, send traffic, cut the active one off and show the failover
    Demo(demo::Args),
    /// Connect this terminal to the console of a box that `demo --keep` left running
    Console(run::ConsoleArgs),
    /// Run the test tiers: fast, lab, image
    Test(test::Args),
    /// Measure, beside keepalived where there is a counterpart
    Bench(bench::Args),
}

fn main() -> ExitCode {
    match dispatch(Cli::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // The chain of reasons, without a backtrace: it is the user's to read.
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn dispatch(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Build(args) => build::command(args),
        Command::Bundle(args) => bundle::command(args),
        Command::Keys(args) => keys::command(args),
        Command::Parts(args) => parts::command(&args),
        Command::Run(args) => run::command(args),
        Command::Demo(args) => demo::command(args),
        Command::Console(args) => run::console(&args),
        Command::Test(args) => test::command(args),
        Command::Bench(args) => bench::command(args),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_arguments_of_all_commands_fit_together() {
        Cli::command().debug_assert();
    }
}
