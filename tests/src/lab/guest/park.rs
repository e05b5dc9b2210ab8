//! The machines of the guest lab: two directors between a front and a back segment, a client, real servers.
//!
//! | where | who |
//! |---|---|
//! | front 10.9.0.0/24, 2001:db8:9::/64 | client .3, directors a .1 and b .2 on eth0, DR servers .31 .32 |
//! | back 10.10.0.0/24, 2001:db8:10::/64 | directors a .1 and b .2 on eth1, NAT servers .21 .22 |
//!
//! The Master holds .100 on both; the back one is the NAT servers' gateway.

use std::fmt::Write as _;
use std::fs;
use std::net::IpAddr;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use bascule_image::net::{Host, Netns, Segment};

use crate::lab::agent::Agent;
use crate::lab::process::{both_outputs, wait_for};

use super::servers::Server;

/// Front virtual addresses.
pub const VIP_V4: &str = "10.9.0.100";
/// As there.
pub const VIP_V6: &str = "2001:db8:9::100";
/// Port of every service and server.
pub const PORT: u16 = 8080;
/// Adverts: a takeover takes 3 x 500 ms + skew.
pub const INTERVAL: Duration = Duration::from_millis(500);
/// How long things may take in an emulated guest.
pub const LONG: Duration = Duration::from_secs(30);

/// Everything in the guest.
pub struct Park {
    /// Servers behind the directors, NAT.
    pub nat: Vec<Server>,
    /// Servers beside the directors, DR.
    pub dr: Vec<Server>,
    /// The client.
    pub client: Host,
    /// First director.
    pub a: Director,
    /// Second director.
    pub b: Director,
    /// Back segment.
    pub back: Segment,
    /// Front segment.
    pub front: Segment,
}

/// A director's namespace.
pub struct Director {
    /// Its number in the addresses.
    pub number: u8,
    /// Namespace with eth0 in front.
    pub host: Host,
    /// Port of eth1 on the back segment.
    pub back_port: String,
}

impl Park {
    /// Makes all namespaces and starts the servers.
    ///
    /// # Errors
    /// A namespace or a server cannot be made.
    pub fn new() -> Result<Self> {
        let (front, back) = (Segment::new("front")?, Segment::new("back")?);
        let client = front.host("client", &["10.9.0.3/24", "2001:db8:9::3/64"])?;
        let a = Director::new(&front, &back, 1)?;
        let b = Director::new(&front, &back, 2)?;
        let mut park = Self { nat: Vec::new(), dr: Vec::new(), client, a, b, back, front };
        for number in [21, 22] {
            park.nat.push(Server::behind(&park.back, number)?);
        }
        for number in [31, 32] {
            park.dr.push(Server::beside(&park.front, number)?);
        }
        Ok(park)
    }

    /// Takes back what a case did: no IPVS tables, no addresses of an agent, all cables plugged, servers up.
    pub fn empty(&mut self) {
        for director in [&self.a, &self.b] {
            let _ = director.forget();
            let _ = self.front.heal(&director.host.port);
            let _ = self.back.heal(&director.back_port);
        }
        for server in self.nat.iter_mut().chain(&mut self.dr) {
            let _ = server.start();
        }
    }

    /// Starts an agent on each director and waits until `a` is Master.
    ///
    /// # Errors
    /// They do not settle.
    pub fn pair(&self, services: &str) -> Result<(Agent, Agent)> {
        self.pair_every(INTERVAL, services)
    }

    /// The same with another time between adverts.
    ///
    /// # Errors
    /// They do not settle.
    pub fn pair_every(&self, interval: Duration, services: &str) -> Result<(Agent, Agent)> {
        let mut first = self.a.agent(&config_every(interval, 150, services))?;
        let mut second = self.b.agent(&config_every(interval, 100, services))?;
        first.wait_master(LONG)?;
        second.wait_backup(LONG)?;
        Ok((first, second))
    }
}

impl Director {
    fn new(front: &Segment, back: &Segment, number: u8) -> Result<Self> {
        let host = front.host(
            &format!("director{number}"),
            &[&format!("10.9.0.{number}/24"), &format!("2001:db8:9::{number}/64")],
        )?;
        let back_port = format!("director{number}");
        let addresses = [format!("10.10.0.{number}/24"), format!("2001:db8:10::{number}/64")];
        back.attach(&host.netns, "eth1", &back_port, &[&addresses[0], &addresses[1]])?;
        // What PID 1 sets on a box.
        host.netns.sysctl("ipv4/ip_forward", "1")?;
        host.netns.sysctl("ipv6/conf/all/forwarding", "1")?;
        Ok(Self { number, host, back_port })
    }

    /// Starts an agent here.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn agent(&self, config: &str) -> Result<Agent> {
        Agent::start_inside(&self.host.netns, &format!("director{}", self.number), config)
    }

    /// Runs a program in the namespace to its end and returns what it wrote.
    ///
    /// # Errors
    /// It fails; the text has what it wrote.
    pub fn run(&self, program: &str, arguments: &str) -> Result<String> {
        run_in(&self.host.netns, program, arguments)
    }

    /// The IPVS table as `ipvsadm -Sn` writes it, its lines sorted.
    ///
    /// # Errors
    /// `ipvsadm` fails.
    pub fn table(&self) -> Result<Vec<String>> {
        let text = self.run("ipvsadm", "-Sn")?;
        let mut lines: Vec<String> = text.lines().map(|line| line.trim().to_owned()).collect();
        lines.sort();
        Ok(lines)
    }

    /// Waits until the table is `wanted` (sorted lines). Returns how long it took.
    ///
    /// # Errors
    /// Not within `limit`; the text has both tables.
    pub fn wait_table(&self, wanted: &[String], limit: Duration) -> Result<Duration> {
        let begin = std::time::Instant::now();
        let mut last = Vec::new();
        let mut look = || {
            last = self.table().unwrap_or_default();
            (last == wanted).then(|| begin.elapsed())
        };
        wait_for("the table is as configured", limit, &mut look)
            .with_context(|| format!("wanted {wanted:#?}, found {last:#?}"))
    }

    /// A file of `/proc` as this namespace sees it.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn proc(&self, path: &str) -> Result<String> {
        let path = format!("/proc/{path}");
        self.host.netns.enter(|| fs::read_to_string(&path))?.with_context(|| format!("cannot read {path}"))
    }

    /// Waits until the kernel has counted as many connections as wanted for the services of an address. It adds its
    /// counters up every two seconds only.
    ///
    /// # Errors
    /// Not in time.
    pub fn wait_counted(&self, address: &str, wanted: impl Fn(u64) -> bool) -> Result<u64> {
        let mut last = 0;
        let look = || {
            last = connections(&self.run("ipvsadm", "-Ln --stats --exact").ok()?, address);
            wanted(last).then_some(last)
        };
        wait_for("the kernel counts the connections", LONG, look).with_context(|| format!("it counts {last}"))
    }

    /// Removes tables, daemons and virtual addresses.
    ///
    /// # Errors
    /// A program fails.
    pub fn forget(&self) -> Result<()> {
        self.run("ipvsadm", "-C")?;
        let _ = self.run("ipvsadm", "--stop-daemon master");
        let _ = self.run("ipvsadm", "--stop-daemon backup");
        for interface in ["eth0", "eth1"] {
            for (address, length) in crate::lab::world::addresses(&self.host.netns, interface)? {
                if address.to_string().ends_with("100") {
                    self.host.netns.ip(&format!("address del {address}/{length} dev {interface}"))?;
                }
            }
        }
        Ok(())
    }
}

/// Connections that `ipvsadm -Ln --stats --exact` counts for the services of an address.
fn connections(listed: &str, address: &str) -> u64 {
    let of = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let service = matches!(words.first(), Some(&"TCP" | &"UDP")) && words.get(1)?.contains(address);
        if service { words.get(2)?.parse::<u64>().ok() } else { None }
    };
    listed.lines().filter_map(of).sum()
}

/// Runs a program in a namespace to its end, without the cost of `ip netns exec`.
///
/// # Errors
/// It fails; the text has what it wrote.
pub fn run_in(netns: &Netns, program: &str, arguments: &str) -> Result<String> {
    let run = || both_outputs(Command::new(program).args(arguments.split_whitespace()));
    let (status, text) = netns.enter(run)??;
    ensure!(status.success(), "`{program} {arguments}` failed: {}", text.trim());
    Ok(text)
}

/// A configuration of the pair: front and back virtual addresses of both families in one virtual router each,
/// connection sync over the back segment, and the services.
pub fn config(priority: u8, services: &str) -> String {
    config_every(INTERVAL, priority, services)
}

fn config_every(interval: Duration, priority: u8, services: &str) -> String {
    let mut text = "[sync]\ninterface = \"eth1\"\nid = 7\n".to_owned();
    for (name, vrid, front, back) in [
        ("v4", 51, format!("{VIP_V4}/24"), "10.10.0.100/24"),
        ("v6", 52, format!("{VIP_V6}/64"), "2001:db8:10::100/64"),
    ] {
        let _ = write!(
            text,
            "[vrrp.{name}]\ninterface = \"eth0\"\nvrid = {vrid}\npriority = {priority}\nadvert-interval = \"{}ms\"\n\
             addresses = [\"{front}\", {{ address = \"{back}\", interface = \"eth1\" }}]\n",
            interval.as_millis()
        );
    }
    text + services
}

/// A service as a case describes it: its configuration and what `ipvsadm -Sn` must say are made from it.
#[derive(Clone, Debug)]
pub struct Service {
    /// Name.
    pub name: String,
    /// `tcp` or `udp`.
    pub protocol: &'static str,
    /// Virtual address.
    pub address: &'static str,
    /// Port.
    pub port: u16,
    /// Scheduler.
    pub scheduler: &'static str,
    /// `nat` or `dr`.
    pub forward: &'static str,
    /// Persistence in seconds.
    pub persistence: Option<u32>,
    /// Real servers: address, weight.
    pub servers: Vec<(String, u16)>,
    /// Further lines of the service's own table.
    pub more: String,
}

impl Service {
    /// A TCP service with round robin on [`PORT`], all weights 1.
    pub fn new(name: &str, address: &'static str, forward: &'static str, servers: &[&str]) -> Self {
        Self {
            name: name.to_owned(),
            protocol: "tcp",
            address,
            port: PORT,
            scheduler: "rr",
            forward,
            persistence: None,
            servers: servers.iter().map(|server| ((*server).to_owned(), 1)).collect(),
            more: String::new(),
        }
    }

    /// Its tables in the configuration file.
    pub fn toml(&self) -> String {
        let Self { name, protocol, address, port, scheduler, forward, .. } = self;
        let mut text = format!(
            "[virtual-server.{name}]\naddress = \"{address}\"\nport = {port}\nprotocol = \"{protocol}\"\n\
             scheduler = \"{scheduler}\"\nforward = \"{forward}\"\n"
        );
        if let Some(seconds) = self.persistence {
            let _ = writeln!(text, "persistence = \"{seconds}s\"");
        }
        text += &self.more;
        for (server, weight) in &self.servers {
            let endpoint = endpoint(server, *port);
            let _ = write!(text, "[virtual-server.{name}.real-server.\"{endpoint}\"]\nweight = {weight}\n");
        }
        text
    }

    /// What `ipvsadm -Sn` must say of it.
    pub fn saved(&self) -> Vec<String> {
        let letter = if self.protocol == "tcp" { "-t" } else { "-u" };
        let place = format!("{letter} {}", endpoint(self.address, self.port));
        let mut first = format!("-A {place} -s {}", self.scheduler);
        if let Some(seconds) = self.persistence {
            let _ = write!(first, " -p {seconds}");
        }
        let method = if self.forward == "nat" { "-m" } else { "-g" };
        let mut lines = vec![first];
        for (server, weight) in &self.servers {
            lines.push(format!("-a {place} -r {} {method} -w {weight}", endpoint(server, self.port)));
        }
        lines
    }
}

/// The services' configuration.
pub fn toml(services: &[Service]) -> String {
    services.iter().map(Service::toml).collect()
}

/// What `ipvsadm -Sn` must say of them, sorted.
pub fn saved(services: &[Service]) -> Vec<String> {
    let mut lines: Vec<String> = services.iter().flat_map(Service::saved).collect();
    lines.sort();
    lines
}

fn endpoint(address: &str, port: u16) -> String {
    match address.parse::<IpAddr>() {
        Ok(IpAddr::V6(address)) => format!("[{address}]:{port}"),
        _ => format!("{address}:{port}"),
    }
}
