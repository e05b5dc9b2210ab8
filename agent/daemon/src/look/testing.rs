//! What tests of this module share: files in a scratch directory, an agent that answers from a list, a console.

use std::cell::RefCell;
use std::fs;
use std::io;
use std::time::Duration;

use bascule_core::config::model::Protocol;
use bascule_core::control::{Reply, Request};
use bascule_core::router::{Counters, Role, RouterStatus, Statistics};
use bascule_core::shell::report::Report;
use bascule_core::shell::table::WIDTH;
use bascule_core::status::{HealthWord, Lateness, RouterLine, ServerLine, ServiceLine, Status};
use bascule_core::time::Instant;
use bascule_core::wire::vrrp::RefusedAdvert;
use serde_json::Value;

use super::files::Files;
use crate::control::ControlError;
use crate::scratch::Scratch;
use crate::shell::Agent;
use crate::shell::console::Console;

/// Files with these texts; the directory goes with the first value.
pub fn files(texts: &[(&str, &str)]) -> (Scratch, Files) {
    let scratch = Scratch::new("look");
    let files = Files::below(scratch.path());
    for (path, text) in texts {
        let path = files.path(path);
        fs::create_dir_all(path.parent().expect("a directory")).expect("directories");
        fs::write(path, text).expect("a file");
    }
    (scratch, files)
}

/// Answers what a function says.
pub struct Answers<F>(pub F);

impl<F: Fn(&Request) -> Reply> Agent for Answers<F> {
    fn ask(&self, request: &Request) -> Result<Reply, ControlError> {
        Ok((self.0)(request))
    }
}

/// An agent that is not there.
pub struct Dead;

impl Agent for Dead {
    fn ask(&self, _: &Request) -> Result<Reply, ControlError> {
        let error = io::ErrorKind::NotFound.into();
        Err(ControlError::NoAgent { path: "/run/bascule/control.sock".into(), error })
    }
}

/// Keeps what is said, and is interrupted after so many pauses.
#[derive(Default)]
pub struct Memory {
    pub said: RefCell<Vec<String>>,
    pub pauses: u32,
}

impl Console for Memory {
    fn say(&mut self, line: &str) -> io::Result<()> {
        assert!(line.len() <= WIDTH && line.bytes().all(|b| (0x20..0x7f).contains(&b)), "{line}");
        self.said.borrow_mut().push(line.to_owned());
        Ok(())
    }

    fn ask(&mut self, _: &str, _: bool) -> io::Result<Option<String>> {
        Ok(None)
    }

    fn pause(&mut self, _: Duration) -> io::Result<bool> {
        self.pauses = self.pauses.saturating_sub(1);
        Ok(self.pauses == 0)
    }
}

/// Fails when a line is too wide or not plain.
pub fn fits(report: &Report) {
    for line in &report.lines {
        assert!(line.len() <= WIDTH, "{}: {line}", line.len());
        assert!(line.bytes().all(|b| (0x20..0x7f).contains(&b)), "{line}");
    }
}

/// Fails when the lines show a number of four digits or more that is nowhere in the JSON.
pub fn complete(report: &Report) {
    let json = report.json.to_string();
    for line in &report.lines {
        for number in line.split(|c: char| !c.is_ascii_digit()).filter(|digits| digits.len() >= 4) {
            assert!(json.contains(number), "{number} of {line:?} is not in {json}");
        }
    }
}

/// A field of a JSON value by its path, `a.b.0.c`.
pub fn at<'v>(value: &'v Value, path: &str) -> &'v Value {
    path.split('.').fold(value, |value, key| match key.parse::<usize>() {
        Ok(index) => &value[index],
        Err(_) => &value[key],
    })
}

/// A virtual router in a state.
pub fn router(role: Role) -> RouterStatus {
    RouterStatus {
        role,
        since: Instant::ZERO,
        master: Some("2001:db8:ffff:ffff:ffff:ffff:ffff:ffff".parse().unwrap()),
        master_priority: Some(254),
        priority: 200,
        interval: Duration::from_secs(1),
    }
}

/// A box with the longest of everything.
pub fn crowded() -> Status {
    let long = "x".repeat(200);
    let server = |detail: &str, endpoint: &str| ServerLine {
        endpoint: endpoint.parse().unwrap(),
        weight: 65_535,
        health: HealthWord::Down,
        detail: detail.to_owned(),
        sorry: false,
        active: 4_000_000_000,
        inactive: 4_000_000_000,
        overridden: Some(format!("draining {}", u32::MAX)),
        since: Some(Duration::from_secs(3_725)),
        latency: None,
    };
    let counters = Counters { sent: u64::MAX, rivals: u64::MAX, late: 0, ..Counters::default() };
    Status {
        hostname: "lb1".into(),
        version: "0.1.0".into(),
        agent_uptime: Duration::from_secs(3_900),
        box_uptime: Duration::from_secs(90_000),
        configuration: format!("/data/config/bascule.toml; a newer one was refused: {long}"),
        routers: vec![RouterLine {
            name: "a234567890123456789012345678901".parse().unwrap(),
            interface: "averylongname15".parse().unwrap(),
            vrid: 255,
            status: router(Role::Fault(format!("interface eth7 does not exist {long} \u{e9}\x1b[2J"))),
            for_: Duration::from_secs(61),
            addresses: vec![("2001:db8:ffff:ffff:ffff:ffff:ffff:ffff/128".parse().unwrap(), true)],
            overridden: Some("yielded, 8760:00:00 left".into()),
        }],
        services: vec![ServiceLine {
            name: "a234567890123456789012345678901".parse().unwrap(),
            protocol: Protocol::Udp,
            address: "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff".parse().unwrap(),
            port: 65_535,
            scheduler: "abcdefghijklmno".into(),
            in_kernel: false,
            servers: vec![
                server("connection refused", "[2001:db8:ffff:ffff:ffff:ffff:ffff:ffff]:65535"),
                server("not probed: this box is short of resources", "255.255.255.255:65535"),
            ],
            overridden: Some("sorry, but it has no sorry server".into()),
        }],
        sync: vec!["master averylongname15 id 255".into(), "backup averylongname15 id 255".into()],
        lateness: Lateness {
            sent: u64::MAX,
            mean: Duration::from_micros(12),
            worst: Duration::from_micros(2_345),
        },
        problems: vec!["cannot add 10.0.0.1/24 to eth0: no such device ".repeat(4)],
        repairs: u64::MAX,
        adverts: Statistics {
            routers: [("a234567890123456789012345678901".parse().unwrap(), counters)].into(),
            refused: [(RefusedAdvert::OwnAddress, u64::MAX)].into(),
        },
        maintenance: true,
    }
}
