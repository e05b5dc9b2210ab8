//! Every example of `config/examples` runs: its addresses are held, its services stand in the kernel with every real
//! server, and the kernel has nothing else.
//!
//! Each gets a world of its own: a box with the interfaces that it names, and one machine behind them that has the
//! addresses of all its real servers and listens on their ports.

use std::collections::BTreeSet;
use std::fs;
use std::net::{IpAddr, TcpListener};
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
use crate::lab::process::wait_for;

use super::GuestCase;
use super::park::{LONG, Park, run_in};

/// Where the guest finds the examples.
pub const EXAMPLES: &str = "/lab/examples";

/// The cases.
pub fn cases() -> Vec<GuestCase> {
    vec![GuestCase {
        name: "guest: every example configuration runs, and one follows another by reload as if started afresh",
        run: examples,
    }]
}

/// An example, and what the kernel holds when it was started in a world of its own.
struct Example {
    name: String,
    text: String,
    config: Config,
    fresh: Vec<String>,
}

fn examples(_park: &mut Park) -> Result<String> {
    let mut all = Vec::new();
    for entry in fs::read_dir(EXAMPLES).context("the guest has no examples")? {
        let path = entry?.path();
        let name = path.file_stem().and_then(|stem| stem.to_str()).context("a name")?.to_owned();
        all.push(started(&name, fs::read_to_string(&path)?).with_context(|| format!("example {name}"))?);
    }
    ensure!(all.len() >= 8, "only {} examples", all.len());
    all.sort_by(|a, b| a.name.cmp(&b.name));
    reloaded(&all)?;
    let names: Vec<&str> = all.iter().map(|example| example.name.as_str()).collect();
    Ok(names.join(", "))
}

/// Runs an example alone: what `ipvsadm` says is what the example says, and the status has nothing to complain of.
fn started(name: &str, text: String) -> Result<Example> {
    let config = Config::parse(&text, name).map_err(|problems| anyhow!("{problems:?}"))?.config;
    println!("\n@@note example {name}");
    let world = World::new(&[&config])?;
    let mut agent = Agent::start_inside(&world.director, "example", &text)?;
    settle(&mut agent, &config)?;
    let wanted = wanted(&config);
    let mut found = Vec::new();
    wait_for("the table is that of the example", LONG, || {
        found = world.table().ok()?;
        (found == wanted).then_some(())
    })
    .with_context(|| format!("wanted {wanted:#?}, found {found:#?}"))?;
    let fresh = world.kernel()?;
    agent.stop()?;
    Ok(Example { name: name.to_owned(), text, config, fresh })
}

/// One agent goes through all of them and back to the first: nothing of one is left in the next.
fn reloaded(all: &[Example]) -> Result<()> {
    let configs: Vec<&Config> = all.iter().map(|example| &example.config).collect();
    let world = World::new(&configs)?;
    let mut agent = Agent::start_inside(&world.director, "example", &all[0].text)?;
    for (before, example) in all.iter().zip(all[1..].iter().chain(&all[..1])) {
        // A sign of life: all of them together take minutes.
        println!("\n@@note reload {} to {}", before.name, example.name);
        let step = format!("from example {} to {}", before.name, example.name);
        settle(&mut agent, &before.config).with_context(|| step.clone())?;
        agent.write_config(&example.text)?;
        let (good, said) = agent.reload()?;
        ensure!(good, "{step}: the reload was refused: {said}");
        settle(&mut agent, &example.config).with_context(|| step.clone())?;
        let mut found = Vec::new();
        wait_for("the kernel holds what a fresh start gives", LONG, || {
            found = world.kernel().ok()?;
            (found == example.fresh).then_some(())
        })
        .with_context(|| format!("{step}: fresh {:#?}, by reload {found:#?}", example.fresh))?;
    }
    agent.stop()
}

/// Waits until the status says that all of it is there.
fn settle(agent: &mut Agent, config: &Config) -> Result<()> {
    agent.wait("Master everywhere, everything in the kernel, nothing wrong", LONG * 3, |status| {
        let master = status.routers.iter().all(|router| {
            router.status.role == Role::Master && router.addresses.iter().all(|(_, held)| *held)
        });
        let services = status.services.iter().all(|service| service.in_kernel);
        master
            && services
            && status.routers.len() == config.vrrp.len()
            && status.services.len() == config.virtual_server.len()
            && status.problems.is_empty()
            && status.sync.len() == if config.sync.is_some() { 2 } else { 0 }
    })?;
    Ok(())
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
    /// With every interface and every real server of some configurations.
    fn new(configs: &[&Config]) -> Result<Self> {
        let (director, servers) = (Netns::new("exbox")?, Netns::new("exback")?);
        let mut segments = Vec::new();
        let interfaces: BTreeSet<String> = configs.iter().flat_map(|config| interfaces(config)).collect();
        for (number, interface) in interfaces.into_iter().enumerate() {
            let segment = Segment::new(&format!("ex{number}"))?;
            segment.attach(&director, &interface, "box", &[])?;
            segment.attach(&servers, &interface, "back", &[])?;
            segments.push(segment);
        }
        director.sysctl("ipv4/ip_forward", "1")?;
        director.sysctl("ipv6/conf/all/forwarding", "1")?;
        let mut ports = BTreeSet::new();
        for config in configs {
            let endpoints = endpoints(config);
            ports.extend(endpoints.iter().map(|endpoint| endpoint.port.get()));
            let gateways = config.route.values().map(|route| route.via);
            for address in endpoints.iter().map(|endpoint| endpoint.address).chain(gateways) {
                let (interface, length) = place(config, address)?;
                let nodad = if address.is_ipv6() { " nodad" } else { "" };
                servers.ip(&format!("address replace {address}/{length} dev {interface}{nodad}"))?;
            }
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

    /// The IPVS table as `ipvsadm -Sn` writes it, its lines sorted.
    fn table(&self) -> Result<Vec<String>> {
        let text = run_in(&self.director, "ipvsadm", "-Sn")?;
        let mut lines: Vec<String> = text.lines().map(|line| line.trim().to_owned()).collect();
        lines.sort();
        Ok(lines)
    }

    /// All that a configuration makes in the kernel, a sorted line each: table, sync daemons, addresses, routes.
    /// What the kernel makes by itself (link-local addresses and what belongs to them) is left out.
    fn kernel(&self) -> Result<Vec<String>> {
        let mut lines = self.table()?;
        for (program, arguments) in [
            ("ipvsadm", "-L --daemon"),
            ("ip", "-brief address show"),
            ("ip", "-4 route show"),
            ("ip", "-6 route show"),
        ] {
            let text = run_in(&self.director, program, arguments)?;
            lines.extend(text.lines().map(plain).filter(|line| !line.is_empty()));
        }
        lines.sort();
        Ok(lines)
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.listeners.store(false, Ordering::Relaxed);
    }
}

/// A line without what differs from start to start, or nothing when none of it is a configuration's doing.
fn plain(line: &str) -> String {
    // A cable's other end: eth0@if5.
    let end = |word: &'_ str| word.find("@if").unwrap_or(word.len());
    let mut words: Vec<&str> = line.split_whitespace().map(|word| &word[..end(word)]).collect();
    words.retain(|word| !word.starts_with("fe80:"));
    // An interface without addresses: a world may have more of them than an example names.
    let bare = words.len() == 2 && matches!(words[1], "UP" | "DOWN" | "UNKNOWN");
    if bare || line.starts_with("fe80:") || line.starts_with("multicast") {
        return String::new();
    }
    // The kernel lists addresses in the order in which they came.
    let head = words.len().min(2);
    words[head..].sort_unstable();
    words.join(" ")
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
