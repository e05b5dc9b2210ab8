//! Real kernels and real peers: namespaces of this kernel, and guests where IPVS is needed.

pub mod agent;
mod check;
mod commit;
mod control;
mod fault;
mod frr;
mod ground;
pub mod guest;
mod headers;
mod health;
mod hostile;
mod keepalived;
mod look;
mod monitor;
mod observer;
pub mod operate;
pub mod process;
mod reload;
mod restart;
mod scene;
mod takeover;
mod wire;
mod world;

use std::time::Duration;

use anyhow::Result;

use crate::runner::{Case, Context, Outcome};

/// The tier's cases, in the order they run.
pub fn cases() -> Vec<Case> {
    let groups = [
        ground::cases(),
        takeover::cases(),
        headers::cases(),
        restart::cases(),
        keepalived::cases(),
        frr::cases(),
        fault::cases(),
        reload::cases(),
        commit::cases(),
        check::cases(),
        control::cases(),
        operate::cases(),
        hostile::cases(),
        health::cases(),
        look::cases(),
        guest::cases(),
    ];
    groups.into_iter().flatten().collect()
}

fn case(name: &'static str, seconds: u64, run: fn(&mut Context) -> Result<Outcome>) -> Case {
    Case { name, limit: Duration::from_secs(seconds), run }
}

fn passed(figures: impl Into<String>) -> Outcome {
    Outcome::Passed(figures.into())
}
