//! The lab and image tiers: real kernels, real peers, QEMU over serial. `cargo image test lab` runs this.

mod image;
mod lab;
mod runner;
mod shared;

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;

use runner::{Case, Group, Tier};

/// Runs the cases of a tier, each in a process of its own.
#[derive(Parser)]
struct Arguments {
    /// Tier to run
    #[arg(value_enum)]
    tier: Tier,
    /// Run only the cases whose name contains one of these
    filters: Vec<String>,
    /// Print the names and run nothing
    #[arg(long)]
    list: bool,
    /// Run this one case in this process (what the runner starts)
    #[arg(long, hide = true)]
    one: Option<String>,
    /// With `--one`: try all of it
    #[arg(long, hide = true)]
    whole: bool,
}

fn main() -> Result<ExitCode> {
    if std::env::args().nth(1).as_deref() == Some("guest") {
        lab::guest::drive()?;
        return Ok(ExitCode::SUCCESS);
    }
    let arguments = Arguments::parse();
    let groups = match arguments.tier {
        Tier::Lab => vec![Group::alone(lab::cases())],
        Tier::Image => image::groups(),
    };
    if let Some(name) = &arguments.one {
        return runner::run_here(&groups, arguments.tier, name, arguments.whole);
    }
    let filters = &arguments.filters;
    let wanted =
        |case: &Case| filters.is_empty() || filters.iter().any(|filter| case.name.contains(filter.as_str()));
    let groups: Vec<Group> = groups.into_iter().map(|group| group.filtered(wanted)).collect();
    if arguments.list {
        for case in groups.iter().flat_map(|group| &group.cases) {
            println!("{}", case.name);
        }
        return Ok(ExitCode::SUCCESS);
    }
    if arguments.tier == Tier::Image {
        image::prepare(&groups);
    }
    runner::run_all(&groups, arguments.tier, !filters.is_empty())
}
