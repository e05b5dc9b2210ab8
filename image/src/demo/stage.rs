//! What the scenario needs: two boxes from disk images, a client and real servers on one segment.

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::scenario::Plan;
use crate::build::Slot;
use crate::disk::{self, Seed};
use crate::host::{self, Step};
use crate::load::client::ask;
use crate::load::server::Server;
use crate::net::sniff::{Sniffer, What};
use crate::net::{Host, Mac, Segment};
use crate::qemu::{Boot, Machine, Setup};

/// The virtual address.
const ADDRESS: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 100);
const PORT: u16 = 80;
/// Priorities of the two boxes.
const PRIORITIES: [u8; 2] = [200, 100];
/// How long the first box waits before it takes the address back, so that it knows the connections by then.
pub const PREEMPT_DELAY: Duration = Duration::from_secs(12);
/// From power-on to a service that answers, under emulation on a busy machine.
const BOOT: Duration = Duration::from_secs(300);

/// One box of the pair.
#[derive(Debug)]
pub struct Unit {
    /// Host name; also that of its console.
    pub name: String,
    /// Its network card.
    pub mac: Mac,
    /// Its own address.
    pub own: Ipv4Addr,
    /// VRRP priority.
    pub priority: u8,
    /// What it is made of.
    pub setup: Setup,
    starts: u32,
    log_dir: PathBuf,
    /// Running, unless its power is cut.
    pub machine: Option<Machine>,
}

/// The whole set.
#[derive(Debug)]
pub struct Stage {
    // Machines go before the segment they are plugged into.
    /// First the one with the higher priority.
    pub boxes: [Unit; 2],
    /// Sees all announcements and adverts, in the client's namespace.
    pub sniffer: Sniffer,
    /// Names of the real servers.
    pub server_names: Vec<String>,
    servers: Vec<(Server, Host)>,
    /// Where requests come from.
    pub client: Host,
    /// The segment.
    pub segment: Segment,
    /// The virtual address.
    pub address: IpAddr,
    preempt: bool,
}

impl Stage {
    /// Makes the disk images, the segment, the hosts and the real servers. The boxes are still off.
    ///
    /// # Errors
    /// An image cannot be made, or the network not.
    pub fn set(plan: &Plan, slot: &Slot, say: &dyn Fn(&str)) -> Result<Self> {
        let segment = Segment::new("sw")?;
        let client = segment.host("client", &["192.0.2.10/24"])?;
        let sniffer = Sniffer::start(&client.netns)?;
        let mut servers = Vec::new();
        for number in 0..plan.servers {
            servers.push(real_server(&segment, number)?);
        }
        let server_names = (0..plan.servers).map(server_name).collect();
        let boxes = [unit(plan, slot, &segment, 0)?, unit(plan, slot, &segment, 1)?];
        say(&format!(
            "one segment: {} and {} (disk images), a client, {} real servers; virtual address {ADDRESS}",
            boxes[0].name, boxes[1].name, plan.servers
        ));
        Ok(Self {
            boxes,
            sniffer,
            server_names,
            servers,
            client,
            segment,
            address: ADDRESS.into(),
            preempt: plan.preempt,
        })
    }

    /// Where the service is.
    #[must_use]
    pub fn target(&self) -> SocketAddr {
        SocketAddr::new(self.address, PORT)
    }

    /// Switches both boxes on and waits until both are there, the address is where it will stay (with preemption: on
    /// the first), and all real servers answer through it.
    ///
    /// # Errors
    /// They do not get there in time; the consoles' last lines are in the error.
    pub fn boot(&mut self) -> Result<()> {
        for index in 0..2 {
            self.power_on(index)?;
        }
        self.settle()
    }

    /// Waits until both boxes are there and serve, as `boot` does.
    ///
    /// # Errors
    /// As `boot`.
    pub fn settle(&self) -> Result<()> {
        let mut step = Step::begin(format!("boot {} and {}", self.boxes[0].name, self.boxes[1].name));
        let since = Instant::now();
        let mut missing = self.server_names.clone();
        let mut absent = vec![0, 1];
        while !(absent.is_empty() && missing.is_empty()) {
            if since.elapsed() > BOOT {
                let consoles: Vec<String> = self.boxes.iter().map(Unit::console_tail).collect();
                let what = format!("real servers that did not answer: {missing:?}");
                bail!("no service after {} s; {what}\n{}", BOOT.as_secs(), consoles.join("\n"));
            }
            step.tick();
            thread::sleep(Duration::from_millis(200));
            let there = |index: usize| self.reachable(self.boxes[index].own);
            absent.retain(|index| !there(*index).unwrap_or(false));
            if self.active().is_some_and(|active| active == 0 || !self.preempt) {
                let target = self.target();
                let end = Instant::now() + Duration::from_secs(1);
                if let Ok(server) = self.client.netns.enter(|| ask(target, end))? {
                    missing.retain(|name| *name != server);
                }
            }
        }
        let active = self.active().unwrap_or(0);
        step.say(format!(
            "{} is master and balances over {}",
            self.boxes[active].name,
            self.server_names.join(", ")
        ));
        step.done();
        Ok(())
    }

    /// Switches a box on; its disk is as it was when its power was cut.
    ///
    /// # Errors
    /// QEMU cannot be started.
    pub fn power_on(&mut self, index: usize) -> Result<()> {
        let unit = &mut self.boxes[index];
        unit.starts += 1;
        let log = unit.log_dir.join(format!("{}-start{}.log", unit.name, unit.starts));
        unit.machine = Some(unit.setup.clone().log(log).start_in(self.segment.netns())?);
        Ok(())
    }

    /// Cuts the power of a box and returns when.
    ///
    /// # Errors
    /// It is off.
    pub fn power_cut(&mut self, index: usize) -> Result<Instant> {
        let unit = &mut self.boxes[index];
        let mut machine = unit.machine.take().with_context(|| format!("{} is off", unit.name))?;
        machine.power_cut()
    }

    /// Whether the kernel of a box answers at its own address: it refuses a connection to the discard port.
    ///
    /// # Errors
    /// The client's namespace cannot be entered.
    pub fn reachable(&self, own: Ipv4Addr) -> Result<bool> {
        let target = (own, 9).into();
        let connect = || TcpStream::connect_timeout(&target, Duration::from_millis(200));
        let tried = self.client.netns.enter(connect)?;
        Ok(tried.map_or_else(|error| error.kind() == ErrorKind::ConnectionRefused, |_| true))
    }

    /// The box that last announced the address.
    #[must_use]
    pub fn active(&self) -> Option<usize> {
        let (mac, _) = self.sniffer.holder(self.address)?;
        self.boxes.iter().position(|unit| unit.mac == mac)
    }

    /// Who is master by the adverts on the segment: the sender of the last one, or both if they take turns; nobody
    /// if the last one is older than two intervals.
    #[must_use]
    pub fn masters(&self, advert: Duration) -> Vec<&str> {
        let now = Instant::now();
        let mut turns: Vec<(&str, Instant)> = Vec::new();
        for seen in self.sniffer.all().iter().filter(|seen| now.duration_since(seen.at) < advert * 4) {
            let What::Advert { source, priority: 1.., .. } = seen.what else { continue };
            let Some(unit) = self.boxes.iter().find(|unit| source == IpAddr::V4(unit.own)) else { continue };
            match turns.last_mut() {
                Some((name, at)) if *name == unit.name => *at = seen.at,
                Some(_) | None => turns.push((&unit.name, seen.at)),
            }
        }
        match turns.as_slice() {
            [.., (first, _), (second, _), (third, _)] if first == third => vec![first, second],
            [.., (name, at)] if now.duration_since(*at) < advert * 2 => vec![name],
            [..] => Vec::new(),
        }
    }

    /// The first advert of a box at or after `since`, but for a resignation.
    #[must_use]
    pub fn advert_of(&self, unit: &Unit, since: Instant) -> Option<Instant> {
        let own = IpAddr::V4(unit.own);
        self.sniffer.first(since, |seen| match seen.what {
            What::Advert { source, priority, .. } => source == own && priority > 0,
            What::Announcement(_) => false,
        })
    }

    /// The last advert of a box before `until`.
    #[must_use]
    pub fn last_advert_of(&self, unit: &Unit, until: Instant) -> Option<Instant> {
        let own = IpAddr::V4(unit.own);
        let from_it = |what: What| matches!(what, What::Advert { source, .. } if source == own);
        self.sniffer.all().iter().rev().find(|seen| seen.at < until && from_it(seen.what)).map(|seen| seen.at)
    }

    /// Stops a real server: its port refuses connections, and its open ones are closed.
    pub fn stop_server(&mut self, index: usize) {
        if index < self.servers.len() {
            drop(self.servers.remove(index));
        }
    }
}

impl Unit {
    /// The last lines of its console.
    #[must_use]
    pub fn console_tail(&self) -> String {
        let tail = self.machine.as_ref().map_or_else(|| "  off".to_owned(), |machine| machine.console.tail());
        format!("{}:\n{tail}", self.name)
    }

    /// The running machine.
    ///
    /// # Errors
    /// It is off.
    pub fn machine(&self) -> Result<&Machine> {
        self.machine.as_ref().with_context(|| format!("{} is off", self.name))
    }
}

fn server_name(number: usize) -> String {
    format!("s{}", number + 1)
}

fn server_address(number: usize) -> String {
    format!("192.0.2.{}", 21 + number)
}

/// A real server for direct routing: it has the virtual address on its loopback and never speaks of it by ARP.
fn real_server(segment: &Segment, number: usize) -> Result<(Server, Host)> {
    let name = server_name(number);
    let host = segment.host(&name, &[&format!("{}/24", server_address(number))])?;
    host.netns.sysctl("ipv4/conf/all/arp_ignore", "1")?;
    host.netns.sysctl("ipv4/conf/all/arp_announce", "2")?;
    host.netns.ip(&format!("address add {ADDRESS}/32 dev lo"))?;
    Ok((Server::start(&host.netns, &name, PORT)?, host))
}

fn unit(plan: &Plan, slot: &Slot, segment: &Segment, index: usize) -> Result<Unit> {
    let number = u8::try_from(index + 1)?;
    let name = format!("lb{number}");
    let mac = Mac::guest(number);
    let own = Ipv4Addr::new(192, 0, 2, number);
    let priority = PRIORITIES[index];
    let image = image(slot, &name, &(plan.seed)(&config(plan, &name, own, priority)))?;
    let tap = segment.tap(&name, mac)?;
    let boot = Boot::disk(slot.board, image);
    let setup = Setup::new(&name, slot.board, boot).tap(&tap);
    Ok(Unit { name, mac, own, priority, setup, starts: 0, log_dir: plan.log_dir.clone(), machine: None })
}

fn image(slot: &Slot, name: &str, seed: &Seed) -> Result<PathBuf> {
    let dir = host::out().join("demo");
    std::fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
    let path = dir.join(format!("{name}.img"));
    let step = Step::begin(format!("disk image of {name}"));
    disk::make(slot, &path, seed)?;
    step.done();
    Ok(path)
}

/// What is seeded into a box's data partition.
#[must_use]
pub fn config(plan: &Plan, name: &str, own: Ipv4Addr, priority: u8) -> String {
    let (advert, preempt) = (plan.advert.as_millis(), plan.preempt);
    let delay = PREEMPT_DELAY.as_secs();
    let mut text = format!(
        r#"[system]
hostname = "{name}"

[interface.eth0]
addresses = ["{own}/24"]

[vrrp.front]
interface = "eth0"
vrid = 51
priority = {priority}
advert-interval = "{advert}ms"
preempt = {preempt}
preempt-delay = "{delay}s"
addresses = ["{ADDRESS}/24"]

[sync]
interface = "eth0"
id = 7

[virtual-server.web]
address = "{ADDRESS}"
port = {PORT}
protocol = "tcp"
scheduler = "rr"
forward = "dr"

[virtual-server.web.check]
kind = "tcp"
interval = "2s"
"#
    );
    for number in 0..plan.servers {
        let address = server_address(number);
        text.push_str(&format!("\n[virtual-server.web.real-server.\"{address}:{PORT}\"]\nweight = 1\n"));
    }
    text
}

/// VRRP's time from the last advert of the master to the takeover by a box: 3 intervals and its skew, RFC 9568
/// section 6.1.
#[must_use]
pub fn master_down(advert: Duration, priority: u8) -> Duration {
    advert * 3 + advert * (256 - u32::from(priority)) / 256
}
