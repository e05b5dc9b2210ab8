//! Two agents on the usual scene, and the figures that RFC 9568 demands of them.

use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Result, ensure};
use bascule_core::status::Status;

use super::agent::{Agent, SOON};
use super::observer::now;
use super::wire::{Advert, Announcement};
use super::world::{Node, World};

/// Priority of box `a` unless a case says otherwise.
pub const HIGH: u8 = 150;
/// Priority of box `b`.
pub const LOW: u8 = 100;
/// The virtual addresses: one virtual router of each family.
pub const VIP_V4: &str = "10.9.0.100";
/// As there.
pub const VIP_V6: &str = "2001:db8:9::100";
/// Virtual router identifiers.
pub const VRID_V4: u8 = 51;
/// As there.
pub const VRID_V6: u8 = 52;

/// The families of a case: name for texts, virtual router and its address.
pub const FAMILIES: [(&str, u8, &str); 2] = [("IPv4", VRID_V4, VIP_V4), ("IPv6", VRID_V6, VIP_V6)];

/// RFC 9568 section 6.1, Skew_Time.
pub fn skew(interval: Duration, priority: u8) -> Duration {
    interval * (256 - u32::from(priority)) / 256
}

/// RFC 9568 section 6.1, Active_Down_Interval: when a Backup that hears nothing takes over.
pub fn down_interval(interval: Duration, priority: u8) -> Duration {
    3 * interval + skew(interval, priority)
}

/// A configuration with one virtual router per family; `more` goes into both.
pub fn config(priority: u8, interval: Duration, more: &str) -> String {
    let router = |name: &str, vrid: u8, address: &str| {
        format!(
            "[vrrp.{name}]\ninterface = \"eth0\"\nvrid = {vrid}\npriority = {priority}\n\
             advert-interval = \"{}ms\"\naddresses = [\"{address}\"]\n{more}\n",
            interval.as_millis()
        )
    };
    router("v4", VRID_V4, &format!("{VIP_V4}/24")) + &router("v6", VRID_V6, &format!("{VIP_V6}/64"))
}

/// A running pair: `a` is Master, `b` is Backup.
#[derive(Debug)]
pub struct Pair {
    /// Agent on box `a`.
    pub agent_a: Agent,
    /// Agent on box `b`.
    pub agent_b: Agent,
    /// The scene.
    pub world: World,
}

impl Pair {
    /// Starts the pair and waits until it has settled.
    ///
    /// # Errors
    /// It does not settle.
    pub fn start(interval: Duration, more: &str) -> Result<Self> {
        let world = World::new()?;
        let mut agent_a = Agent::start(&world.a.host.netns, "a", &config(HIGH, interval, more))?;
        // The other one is not to be first by chance, where `more` forbids to preempt.
        agent_a.wait_master(down_interval(interval, LOW) + SOON)?;
        let agent_b = Agent::start(&world.b.host.netns, "b", &config(LOW, interval, more))?;
        let mut pair = Self { agent_a, agent_b, world };
        pair.settle(interval)?;
        Ok(pair)
    }

    /// Waits until `a` is Master and `b` is Backup, and each has the addresses that go with it.
    ///
    /// # Errors
    /// Not in time.
    pub fn settle(&mut self, interval: Duration) -> Result<()> {
        let limit = 2 * down_interval(interval, LOW) + SOON;
        self.agent_a.wait_master(limit)?;
        self.agent_b.wait_backup(limit)?;
        // Before it has heard the Master its timer runs from its own start.
        let heard = |status: &Status| status.routers.iter().all(|router| router.status.master.is_some());
        self.agent_b.wait("it has heard the Master", limit, heard)?;
        for (_, _, vip) in FAMILIES {
            self.world.a.wait_has(vip, true, SOON)?;
            self.world.b.wait_has(vip, false, SOON)?;
        }
        Ok(())
    }

    /// Cuts `a` off and waits for `b`'s first advert of every family: for each the time from the last advert of
    /// `a` on the wire.
    ///
    /// # Errors
    /// `b` does not take over.
    pub fn cut_a(&mut self, interval: Duration) -> Result<[Duration; 2]> {
        let Self { agent_a, world, .. } = self;
        world.cut(&world.a, agent_a)?;
        self.gaps(now(), interval)
    }

    /// See [`Pair::cut_a`]: `after` is a moment between the last advert of `a` and the first one of `b`.
    ///
    /// # Errors
    /// `b` does not take over.
    pub fn gaps(&self, after: Duration, interval: Duration) -> Result<[Duration; 2]> {
        let mut gaps = [Duration::ZERO; 2];
        for (gap, (family, vrid, _)) in gaps.iter_mut().zip(FAMILIES) {
            let last = self.last_of_a(vrid);
            let what = format!("{family}: first advert of b after a was cut off");
            let limit = down_interval(interval, LOW) + SOON;
            let by_b = by(&self.world.b, vrid);
            let since = last.unwrap_or(after);
            let (first, _) = self.world.observer.wait_advert(&what, since, limit, by_b)?;
            ensure!(last == self.last_of_a(vrid), "{family}: a sent an advert after it was cut off");
            ensure!(last.is_some(), "{family}: a never sent an advert");
            *gap = first.saturating_sub(since);
        }
        Ok(gaps)
    }

    fn last_of_a(&self, vrid: u8) -> Option<Duration> {
        let all = self.world.observer.adverts(Duration::ZERO, by(&self.world.a, vrid));
        all.last().map(|(at, _)| *at)
    }

    /// Box `a` comes back.
    ///
    /// # Errors
    /// The switch or the agent refuses.
    pub fn return_a(&mut self) -> Result<()> {
        self.world.segment.heal(&self.world.a.host.port)?;
        self.agent_a.respawn()
    }
}

/// Whether an advert is of this node and virtual router.
pub fn by(node: &Node, vrid: u8) -> impl Fn(&Advert) -> bool + use<> {
    let mac = node.mac;
    move |advert| advert.from_mac == mac && advert.vrid == vrid
}

/// Whether an announcement is of this address at this node.
pub fn announced(node: &Node, vip: &str) -> impl Fn(&Announcement) -> bool + use<> {
    let (mac, vip) = (node.mac, vip.parse::<IpAddr>());
    move |announcement| announcement.from_mac == mac && Ok(announcement.address) == vip
}

/// The middle of several measurements.
pub fn median(mut values: Vec<Duration>) -> Duration {
    values.sort_unstable();
    values.get(values.len() / 2).copied().unwrap_or_default()
}

/// Milliseconds with one decimal, for figures.
pub fn ms(value: Duration) -> String {
    format!("{:.1}", value.as_secs_f64() * 1e3)
}

/// Several of them.
pub fn all_ms(values: &[Duration]) -> String {
    values.iter().map(|value| ms(*value)).collect::<Vec<_>>().join(" ")
}
