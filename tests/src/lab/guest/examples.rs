//! Every example of `config/examples` runs: its addresses are held, its services stand in the kernel with every real
//! server, and the kernel has nothing else.
//!
//! Each gets a world of its own: a box with the interfaces that it names, and one machine behind them that has the
//! addresses of all its real servers and listens on their ports.

use std::collections::BTreeSet;
use std::fs;
use std::net::{IpAddr, TcpListener};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, ensure};
use bascule_core::config::Config;
use bascule_core::config::model::{Forward, Protocol, VirtualServer};
use bascule_core::net::{Endpoint, Prefix};
use bascule_core::router::Role;
use bascule_image::net::{Netns, Segment};

use crate::lab::agent::Agent;

use super::GuestCase;
use super::park::{LONG, Park, run_in};

/// Where the guest finds the examples.
pub const EXAMPLES: &str = "/lab/examples";

/// The cases.
pub fn cases() -> Vec<GuestCase> {
    vec![GuestCase {
        name: "guest: every example configuration runs: addresses held, services and real servers in the kernel",
        run: examples,
    }]
}

fn examples(_park: &mut Park) -> Result<String> {
    let mut names = Vec::new();
    for entry in fs::read_dir(EXAMPLES).context("the guest has no examples")? {
        let path = entry?.path();
        let name = path.file_stem().and_then(|stem| stem.to_str()).context("a name")?.to_owned();
        try_example(&path).with_context(|| format!("example {name}"))?;
        names.push(name);
    }
    ensure!(names.len() >= 8, "only {names:?}");
    names.sort();
    Ok(names.join(", "))
}

fn try_example(path: &Path) -> Result<()> {
    let text = fs::read_to_string(path)?;
    let config = Config::parse(&text, "example").map_err(|problems| anyhow!("{problems:?}"))?.config;
    let world = World::new(&config)?;
    let mut agent = Agent::start_inside(&world.director, "example", &text)?;
    agent.wait("Master everywhere, everything in the kernel, nothing wrong", LONG * 3, |status| {
        let master = status.routers.iter().all(|router| {
            router.status.role == Role::Master && router.addresses.iter().all(|(_, held)| *held)
        });
        let services = status.services.len() == config.virtual_server.len()
            && status.services.iter().all(|service| service.in_kernel);
        master
            && status.routers.len() == config.vrrp.len()
            && services
            && status.problems.is_empty()
            && status.sync.len() == if config.sync.is_some() { 2 } else { 0 }
    })?;
    let wanted = wanted(&config);
    let mut found = Vec::new();
    crate::lab::process::wait_for("the table is that of the example", LONG, || {
        let text = run_in(&world.director, "ipvsadm", "-Sn").ok()?;
        found = text.lines().map(|line| line.trim().to_owned()).collect();
        found.sort();
        (found == wanted).then_some(())
    })
    .with_context(|| format!("wanted {wanted:#?}, found {found:#?}"))?;
    agent.stop()
}

/// What `ipvsadm -Sn` must say, sorted, when every real server answers.
fn wanted(config: &Config) -> Vec<String> {
    let mut lines: Vec<String> = config.virtual_server.values().flat_map(lines_of).collect();
    lines.sort();
    lines
}

fn lines_of(server: &VirtualServer) -> Vec<String> {
    let letter = match server.protocol {
        Protocol::Tcp => "-t",
        Protocol::Udp => "-u",
    };
    let method = match server.forward {
        Forward::Nat => "-m",
        Forward::Dr => "-g",
    };
    let place = match server.address {
        IpAddr::V4(address) => format!("{letter} {address}:{}", server.port),
        IpAddr::V6(address) => format!("{letter} [{address}]:{}", server.port),
    };
    let persistence = server.persistence.map(|span| format!(" -p {}", span.get().as_secs()));
    let mut lines = vec![format!("-A {place} -s {}{}", server.scheduler, persistence.unwrap_or_default())];
    for (endpoint, real) in &server.real_server {
        lines.push(format!("-a {place} -r {endpoint} {method} -w {}", real.weight.get()));
    }
    lines
}

/// A box, its segments and the machine behind them.
struct World {
    // The segments' cables end in the namespaces: they go last.
    director: Netns,
    listeners: Arc<AtomicBool>,
    _servers: Netns,
    _segments: Vec<Segment>,
}

impl World {
    fn new(config: &Config) -> Result<Self> {
        let (director, servers) = (Netns::new("exbox")?, Netns::new("exback")?);
        let mut segments = Vec::new();
        for (number, interface) in interfaces(config).into_iter().enumerate() {
            let segment = Segment::new(&format!("ex{number}"))?;
            segment.attach(&director, &interface, "box", &[])?;
            segment.attach(&servers, &interface, "back", &[])?;
            segments.push(segment);
        }
        director.sysctl("ipv4/ip_forward", "1")?;
        director.sysctl("ipv6/conf/all/forwarding", "1")?;
        let mut ports = BTreeSet::new();
        for endpoint in endpoints(config) {
            let (interface, length) = place(config, endpoint.address)?;
            let nodad = if endpoint.address.is_ipv6() { " nodad" } else { "" };
            servers.ip(&format!("address replace {}/{length} dev {interface}{nodad}", endpoint.address))?;
            ports.insert(endpoint.port.get());
        }
        for via in config.route.values().map(|route| route.via) {
            let (interface, length) = place(config, via)?;
            let nodad = if via.is_ipv6() { " nodad" } else { "" };
            servers.ip(&format!("address replace {via}/{length} dev {interface}{nodad}"))?;
        }
        let listeners = Arc::new(AtomicBool::new(true));
        for port in ports {
            // Both families on one socket.
            let listener = servers.enter(|| TcpListener::bind(("::", port)))?.context("cannot listen")?;
            listener.set_nonblocking(true)?;
            let on = Arc::clone(&listeners);
            std::thread::spawn(move || {
                while on.load(Ordering::Relaxed) {
                    while listener.accept().is_ok() {}
                    std::thread::sleep(Duration::from_millis(5));
                }
            });
        }
        Ok(Self { director, listeners, _servers: servers, _segments: segments })
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.listeners.store(false, Ordering::Relaxed);
    }
}

fn endpoints(config: &Config) -> BTreeSet<Endpoint> {
    config.virtual_server.values().flat_map(|server| server.real_server.keys().copied()).collect()
}

/// Every interface that the configuration names.
fn interfaces(config: &Config) -> BTreeSet<String> {
    let own = config.interface.keys().map(ToString::to_string);
    let adverts = config.vrrp.values().map(|vrrp| vrrp.interface.to_string());
    let sync = config.sync.iter().map(|sync| sync.interface.to_string());
    own.chain(adverts).chain(sync).collect()
}

/// The interface whose network has this address, and the prefix length there.
fn place(config: &Config, address: IpAddr) -> Result<(String, u8)> {
    let own = config.interface.iter().flat_map(|(name, interface)| {
        interface.addresses.iter().map(move |prefix: &Prefix| (name.to_string(), *prefix))
    });
    let found = own.into_iter().find(|(_, prefix)| prefix.contains(&address));
    let (interface, prefix) =
        found.with_context(|| format!("{address} is on none of the networks of the example"))?;
    Ok((interface, prefix.length()))
}
