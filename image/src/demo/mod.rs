//! `cargo image demo`: a pair of boxes balances traffic; the active one loses its power; what the client saw.
//!
//! The scenario is a function that returns its figures ([`scenario::play`]), so the image tier runs the same one.

pub mod report;
pub mod scenario;
pub mod stage;

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::board::{Board, Flavour};
use crate::build;
use crate::host;
use crate::net;
use crate::qemu::{self, login};
use crate::toolchain::Profile;

use scenario::{Plan, Traffic};
use stage::Stage;

/// Arguments of `cargo image demo`.
#[derive(clap::Args)]
pub struct Args {
    /// Leave everything running at the end, with the consoles reachable, until Ctrl-C
    #[arg(long)]
    keep: bool,
    /// Requests per second
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=100))]
    rate: u32,
    /// Long-lived connections
    #[arg(long, default_value_t = 12, value_parser = clap::value_parser!(u16).range(1..=100))]
    connections: u16,
    /// VRRP's advert interval in milliseconds, in steps of 10
    #[arg(long, default_value_t = 250, value_parser = clap::value_parser!(u16).range(10..=40950))]
    advert: u16,
    /// The first box stays backup when it returns, instead of taking the address back
    #[arg(long)]
    no_preempt: bool,
    /// Board of the boxes
    #[arg(long, value_enum, default_value_t = Board::of_this_machine())]
    board: Board,
}

/// Runs `cargo image demo`.
///
/// # Errors
/// The boxes cannot be built or do not come up; or the address did not move, an established connection was lost,
/// or the service did not come back.
pub fn command(args: Args) -> Result<()> {
    let plan = Plan {
        rate: args.rate,
        connections: usize::from(args.connections),
        advert: Duration::from_millis(u64::from(args.advert)),
        preempt: !args.no_preempt,
        ..Plan::default()
    };
    host::need(&[net::PACKAGES, qemu::packages(args.board)].concat())?;
    net::available()?;
    clean_up_on_ctrl_c()?;
    let slot = build::slot(args.board, Profile::Lab, Flavour::Generic)?;
    let say = |line: &str| println!("{line}");
    let mut stage = Stage::set(&plan, &slot, &say)?;
    let (report, traffic) = scenario::play(&plan, &mut stage, &say)?;
    println!("\n{report}");
    if args.keep {
        keep(&stage, &traffic);
    }
    drop(traffic);
    drop(stage);
    qemu::remove_ours();
    if !report.passed() {
        bail!("{}", report.faults().join("; "));
    }
    Ok(())
}

/// Stays until Ctrl-C; the traffic goes on.
fn keep(stage: &Stage, traffic: &Traffic) {
    println!("\nEverything is left running. On another terminal of this directory:");
    for unit in &stage.boxes {
        println!(
            "  cargo image console {}   (login: {}, password: {})",
            unit.name,
            login::USER,
            login::PASSWORD
        );
    }
    let (client, address) = (stage.client.netns.name(), stage.address);
    println!("  ip netns exec {client} curl http://{address}/");
    println!("Ctrl-C here ends it.");
    loop {
        let since = Instant::now();
        thread::sleep(Duration::from_secs(30));
        let answers: u32 = traffic.client.record().answers(since, Instant::now()).values().sum();
        let lively = traffic.held.lively(Duration::from_secs(2));
        println!(
            "  {answers} answers in 30 s, {lively} of {} long-lived connections alive",
            traffic.held.count()
        );
    }
}

/// Machines and programs die with this process by themselves; the namespaces' names would stay.
fn clean_up_on_ctrl_c() -> Result<()> {
    ctrlc::set_handler(|| {
        net::remove_ours();
        qemu::remove_ours();
        std::process::exit(130);
    })?;
    Ok(())
}
