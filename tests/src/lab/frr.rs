//! FRR's vrrpd as the other router, over IPv4 and IPv6.

use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use bascule_image::host;

use crate::runner::{Case, Context, Outcome};

use super::agent::{Agent, SOON};
use super::observer::now;
use super::process::{Process, TempDir};
use super::scene::{FAMILIES, HIGH, LOW, VIP_V4, VIP_V6, VRID_V4, VRID_V6, by, config, down_interval, ms};
use super::wire::Advert;
use super::world::{Node, World};
use super::{case, passed};

const TENTH: Duration = Duration::from_millis(100);
const PROGRAMS: &str = "/usr/lib/frr";

/// The cases.
pub fn cases() -> Vec<Case> {
    vec![case("FRR's vrrpd: we yield to it, take over when it dies, and it yields to us", 120, both_roles)]
}

/// zebra and vrrpd on a node.
struct Frr {
    dir: TempDir,
    zebra: Process,
    vrrpd: Process,
}

impl Frr {
    fn start(node: &Node, priority: u8) -> Result<Self> {
        host::need(&["frr"])?;
        let netns = &node.host.netns;
        // vrrpd expects its macvlans with the virtual MAC and the addresses before it starts.
        for (name, mac, vrid, address) in [
            ("vrrp4", "00:00:5e:00:01", VRID_V4, format!("{VIP_V4}/24")),
            ("vrrp6", "00:00:5e:00:02", VRID_V6, format!("{VIP_V6}/64")),
        ] {
            netns.ip(&format!("link add {name} link eth0 type macvlan mode bridge"))?;
            netns.ip(&format!("link set {name} address {mac}:{vrid:02x} up"))?;
            netns.ip(&format!("address add {address} dev {name}"))?;
        }
        let dir = TempDir::new("frr")?;
        let path = |name: &str| dir.path().join(name).to_string_lossy().into_owned();
        let text = format!(
            "interface eth0\n vrrp {VRID_V4} version 3\n vrrp {VRID_V4} priority {priority}\n \
             vrrp {VRID_V4} advertisement-interval 100\n vrrp {VRID_V4} ip {VIP_V4}\n \
             vrrp {VRID_V6} version 3\n vrrp {VRID_V6} priority {priority}\n \
             vrrp {VRID_V6} advertisement-interval 100\n vrrp {VRID_V6} ipv6 {VIP_V6}\n!\n"
        );
        fs::write(path("vrrpd.conf"), text)?;
        fs::write(path("zebra.conf"), "!\n")?;
        // The daemons give up root for this user.
        let user = nix::unistd::User::from_name("frr")?.context("package frr made no user frr")?;
        for name in ["", "vrrpd.conf", "zebra.conf"] {
            nix::unistd::chown(&dir.path().join(name), Some(user.uid), Some(user.gid))?;
        }
        let (socket, vty, log) = (path("zserv.api"), path(""), dir.path().join("log"));
        let start = |program: &str| -> Result<Process> {
            let (conf, pid) = (path(&format!("{program}.conf")), path(&format!("{program}.pid")));
            let arguments =
                ["-f", &conf, "-i", &pid, "-z", &socket, "--vty_socket", &vty, "-P", "0", "--log", "stdout"];
            let program = std::path::Path::new(PROGRAMS).join(program);
            Process::start(Some(netns), &program, &arguments, &log)
        };
        let zebra = start("zebra")?;
        super::process::wait_for("zebra listens", SOON, || fs::metadata(path("zserv.api")).ok())
            .with_context(|| zebra.tail())?;
        let vrrpd = start("vrrpd")?;
        Ok(Self { dir, zebra, vrrpd })
    }

    fn cut(mut self, world: &World, node: &Node) -> Result<()> {
        world.segment.isolate(&node.host.port)?;
        self.vrrpd.kill();
        self.zebra.kill();
        for name in ["vrrp4", "vrrp6"] {
            node.host.netns.ip(&format!("link del {name}"))?;
        }
        drop(self.dir);
        Ok(())
    }
}

/// vrrpd sends with the virtual MAC: it is known by not being ours.
fn by_frr(us: &Node, vrid: u8) -> impl Fn(&Advert) -> bool + use<> {
    let mac = us.mac;
    move |advert| advert.from_mac != mac && advert.vrid == vrid
}

fn both_roles(_: &mut Context) -> Result<Outcome> {
    let world = World::new()?;
    let observer = &world.observer;
    let since = now();
    let peer = Frr::start(&world.a, HIGH)?;
    for (family, vrid, _) in FAMILIES {
        let what = format!("{family}: first advert of FRR");
        observer
            .wait_advert(&what, since, SOON, by_frr(&world.b, vrid))
            .with_context(|| peer.vrrpd.tail())?;
    }
    let mut agent = Agent::start(&world.b.host.netns, "b", &config(LOW, TENTH, ""))?;
    agent.wait_backup(SOON)?;
    std::thread::sleep(Duration::from_secs(1));
    agent.wait_backup(SOON)?;
    let ours = observer.adverts(Duration::ZERO, |advert| advert.from_mac == world.b.mac);
    ensure!(ours.is_empty(), "we sent adverts beside a higher FRR: {:?}", ours.first());

    peer.cut(&world, &world.a)?;
    let mut figures = Vec::new();
    for (family, vrid, vip) in FAMILIES {
        let what = format!("{family}: we take over");
        let (first, _) = observer.wait_advert(&what, since, SOON, by(&world.b, vrid))?;
        let theirs = observer.adverts(Duration::ZERO, by_frr(&world.b, vrid));
        let (last, _) = theirs.iter().rev().find(|(at, _)| *at < first).context("no advert of FRR")?;
        let (gap, lawful) = (first - *last, down_interval(TENTH, LOW));
        ensure!(
            gap + Duration::from_millis(2) >= lawful && gap < lawful + TENTH,
            "{family}: we took over after {} ms, lawful is {}",
            ms(gap),
            ms(lawful)
        );
        world.b.wait_has(vip, true, SOON)?;
        figures.push(format!("{family} {} ms", ms(gap)));
    }

    world.segment.heal(&world.a.host.port)?;
    let _peer = Frr::start(&world.a, LOW - 50)?;
    std::thread::sleep(Duration::from_secs(2));
    let since = now();
    std::thread::sleep(Duration::from_secs(1));
    for (family, vrid, _) in FAMILIES {
        let theirs = observer.adverts(since, by_frr(&world.b, vrid));
        ensure!(theirs.is_empty(), "{family}: a lower FRR does not yield to us: {:?}", theirs.first());
        let ours = observer.adverts(since, by(&world.b, vrid)).len();
        ensure!(ours >= 9, "{family}: we sent {ours} adverts in a second");
    }
    agent.wait_master(SOON)?;
    Ok(passed(format!("takeover {}", figures.join(", "))))
}
