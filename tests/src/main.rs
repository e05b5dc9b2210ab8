//! The lab and image tiers: real kernels, real peers, QEMU over serial. `cargo image test lab` runs this.

mod image;
mod lab;
mod runner;
mod shared;

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;

use runner::{Case, Tier};

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
}

fn main() -> Result<ExitCode> {
    if std::env::args().nth(1).as_deref() == Some("guest") {
        lab::guest::drive()?;
        return Ok(ExitCode::SUCCESS);
    }
    let arguments = Arguments::parse();
    let cases: Vec<Case> = match arguments.tier {
        Tier::Lab => lab::cases(),
        Tier::Image => {
            let named = arguments.one.is_some() || !arguments.filters.is_empty();
            image::cases().into_iter().chain(named.then(image::unproven).into_iter().flatten()).collect()
        }
    };
    if let Some(name) = &arguments.one {
        return runner::run_here(&cases, arguments.tier, name);
    }
    let wanted = |case: &&Case| {
        let filters = &arguments.filters;
        filters.is_empty() || filters.iter().any(|filter| case.name.contains(filter.as_str()))
    };
    let cases: Vec<&Case> = cases.iter().filter(wanted).collect();
    if arguments.list {
        for case in cases {
            println!("{}", case.name);
        }
        return Ok(ExitCode::SUCCESS);
    }
    if arguments.tier == Tier::Image {
        image::prepare(&cases);
    }
    runner::run_all(&cases, arguments.tier)
}
