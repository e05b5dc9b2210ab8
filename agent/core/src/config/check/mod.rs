//! What must hold between the values of a configuration, each of which is good by itself.
//!
//! The checks run on whatever could be read. An object that has lost a value to an earlier error is not judged
//! by what it lacks, so that one mistake is told once.

mod network;
mod service;
mod vrrp;

use core::net::IpAddr;
use std::collections::{BTreeSet, HashMap};

use super::Config;
use super::read::{LIMIT, Reading};
use super::source::{Path, Problem, Severity, Source};
use crate::net::IfName;

/// Every problem between the values.
pub(super) fn check(reading: &Reading<'_>) -> Vec<Problem> {
    let mut checker = Checker {
        source: &reading.source,
        config: &reading.config,
        damaged: &reading.damaged,
        broken: !reading.problems.is_empty(),
        problems: Vec::new(),
    };
    network::check(&mut checker);
    vrrp::check(&mut checker);
    service::check(&mut checker);
    checker.problems.truncate(LIMIT);
    checker.problems
}

struct Checker<'a> {
    source: &'a Source<'a>,
    config: &'a Config,
    damaged: &'a BTreeSet<Path>,
    /// There were errors before: whatever seems to be missing may only have been misspelt.
    broken: bool,
    problems: Vec<Problem>,
}

impl Checker<'_> {
    fn error(&mut self, path: &Path, reason: impl Into<String>, help: impl Into<String>) {
        self.add(Severity::Error, path, reason.into(), help.into());
    }

    fn warning(&mut self, path: &Path, reason: impl Into<String>, help: impl Into<String>) {
        self.add(Severity::Warning, path, reason.into(), help.into());
    }

    fn add(&mut self, severity: Severity, path: &Path, reason: String, help: String) {
        let span = self.source.locate(path);
        self.problems.push(self.source.problem(severity, span, path, reason, help));
    }

    /// Whether everything that was written here could be read.
    fn intact(&self, path: &Path) -> bool {
        !self.damaged.iter().any(|cut| cut.0.starts_with(&path.0) || path.0.starts_with(&cut.0))
    }

    /// Whether the box's own addresses are all known.
    fn interfaces_intact(&self) -> bool {
        !self.broken || !self.damaged.iter().any(|path| path.to_string().starts_with("interface"))
    }

    /// "line 12", for a reference to another place.
    fn line(&self, path: &Path) -> String {
        format!("line {}", self.source.line(path))
    }

    /// The box's own addresses: interface and path of each.
    fn own_addresses(&self) -> HashMap<IpAddr, (&IfName, Path)> {
        let config = self.config;
        config
            .interface
            .iter()
            .flat_map(|(name, interface)| {
                interface.addresses.iter().enumerate().map(move |(index, prefix)| {
                    (
                        prefix.address(),
                        (name, Path::of(&["interface", name.as_str(), "addresses"]).index(index)),
                    )
                })
            })
            .collect()
    }

    /// Refuses an address that no interface and no service can have.
    fn unicast(&mut self, path: &Path, address: &IpAddr) {
        let kind = match address {
            a if a.is_multicast() => "a multicast address",
            a if a.is_unspecified() => "the unspecified address",
            a if a.is_loopback() => "a loopback address",
            IpAddr::V4(a) if a.is_broadcast() => "the broadcast address",
            IpAddr::V6(a) if a.to_ipv4_mapped().is_some() => "an IPv4-mapped address",
            IpAddr::V4(_) | IpAddr::V6(_) => return,
        };
        self.error(path, format!("{address} is {kind}"), "write a unicast address of your network");
    }
}
