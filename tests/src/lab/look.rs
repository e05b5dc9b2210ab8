//! What can be looked at from a shell, against what `ip` says and what other hosts answer.

use std::net::TcpListener;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use bascule_image::net::{Netns, Segment};
use serde_json::Value;

use crate::runner::{Case, Context, Outcome};

use super::agent::{Agent, SOON, binary};
use super::process::{both_outputs, wait_for};
use super::world::{Node, World, ip_json};
use super::{case, passed};

/// The cases.
pub fn cases() -> Vec<Case> {
    vec![
        case("look: ping and arping in both families, and a host that is not there", 90, asking),
        case("look: traceroute names the router between two networks, in both families", 60, way),
        case("look: check tells a server that answers from one that does not", 60, checks),
        case(
            "look: interfaces, routes and neighbours are what `ip` says, with and without an agent",
            60,
            facts,
        ),
    ]
}

/// Runs a command line of the shell in a namespace: whether it ended well, and what it said.
fn shell(netns: &Netns, run_dir: &str, line: &str) -> Result<(bool, String)> {
    let mut command: Command = netns.command(binary()?);
    command.args(["shell", "--run-dir", run_dir, "-c", line]);
    let (status, text) = both_outputs(&mut command)?;
    for line in text.lines() {
        ensure!(line.len() <= 79 && line.is_ascii(), "{} columns: {line}", line.len());
    }
    Ok((status.success(), text))
}

/// As `shell`, for one that answers in JSON.
fn json(netns: &Netns, run_dir: &str, line: &str) -> Result<Value> {
    let (good, text) = shell_wide(netns, run_dir, &format!("{line} | json"))?;
    ensure!(good, "{line} failed: {text}");
    serde_json::from_str(&text).with_context(|| format!("{line} said {text}"))
}

fn shell_wide(netns: &Netns, run_dir: &str, line: &str) -> Result<(bool, String)> {
    let mut command: Command = netns.command(binary()?);
    command.args(["shell", "--run-dir", run_dir, "-c", line]);
    let (status, text) = both_outputs(&mut command)?;
    Ok((status.success(), text))
}

const NO_AGENT: &str = "/nonexistent/run";

fn hexadecimal(mac: [u8; 6]) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}

fn asking(context: &mut Context) -> Result<Outcome> {
    let world = World::new()?;
    let (netns, mac) = (&world.a.host.netns, hexadecimal(world.b.mac));
    for address in ["10.9.0.2", "2001:db8:9::2", &format!("{}%eth0", world.b.link_local)] {
        let (good, said) = shell(netns, NO_AGENT, &format!("ping {address} count 2"))?;
        context.say(said.clone());
        ensure!(good && said.contains("2 packets transmitted, 2 received, 0% packet loss"), "{said}");
        ensure!(said.contains("icmp_seq=1 ttl=64 time="), "{said}");
    }
    for address in ["10.9.0.2", "2001:db8:9::2"] {
        let (good, said) = shell(netns, NO_AGENT, &format!("arping {address} count 2"))?;
        context.say(said.clone());
        ensure!(good && said.contains("2 asked, 2 answered"), "{said}");
        ensure!(said.matches(&format!("[{mac}]")).count() == 2, "{mac} is not in {said}");
    }
    let (good, said) = shell(netns, NO_AGENT, "ping 10.9.0.77 count 1")?;
    ensure!(!good && said.contains("100% packet loss"), "{said}");
    let (good, said) = shell(netns, NO_AGENT, "ping 172.31.9.9 count 1")?;
    ensure!(!good && said.contains("cannot be sent") && said.contains("unreachable"), "{said}");
    let (good, said) = shell(netns, NO_AGENT, "arping 10.9.0.77 count 1")?;
    ensure!(!good && said.contains("1 asked, 0 answered"), "{said}");
    // Two hosts with one address: what arping is for.
    world.c.host.netns.ip("address add 10.9.0.2/24 dev eth0")?;
    let (_, said) = shell(netns, NO_AGENT, "arping 10.9.0.2 count 2")?;
    ensure!(said.contains("it is in use twice"), "{said}");
    Ok(passed("3 addresses pinged, 2 asked for, a double one found"))
}

/// `a` 10.9.1.1 - 10.9.1.254 `r` 10.9.2.254 - 10.9.2.2 `b`, and the same in IPv6.
fn way(context: &mut Context) -> Result<Outcome> {
    let (left, right) = (Segment::new("left")?, Segment::new("right")?);
    let a = left.host("a", &["10.9.1.1/24", "2001:db8:1::1/64"])?;
    let r = left.host("r", &["10.9.1.254/24", "2001:db8:1::fe/64"])?;
    let b = right.host("b", &["10.9.2.2/24", "2001:db8:2::2/64"])?;
    right.attach(&r.netns, "eth1", "r1", &["10.9.2.254/24", "2001:db8:2::fe/64"])?;
    r.netns.sysctl("ipv4/ip_forward", "1")?;
    r.netns.sysctl("ipv6/conf/all/forwarding", "1")?;
    for (netns, v4, v6) in
        [(&a.netns, "10.9.1.254", "2001:db8:1::fe"), (&b.netns, "10.9.2.254", "2001:db8:2::fe")]
    {
        netns.ip(&format!("route add default via {v4}"))?;
        netns.ip(&format!("-6 route add default via {v6}"))?;
    }
    for (target, router) in [("10.9.2.2", "10.9.1.254"), ("2001:db8:2::2", "2001:db8:1::fe")] {
        let (good, said) = shell(&a.netns, NO_AGENT, &format!("traceroute {target}"))?;
        context.say(said.clone());
        let lines: Vec<&str> = said.lines().collect();
        ensure!(good && lines.len() == 3, "{said}");
        ensure!(lines[1].starts_with(&format!(" 1  {router} ")), "{said}");
        ensure!(lines[2].starts_with(&format!(" 2  {target} ")), "{said}");
        ensure!(lines[1..].iter().all(|line| line.matches(" ms").count() == 3), "{said}");
    }
    // Nobody answers the router's ARP: it says so after three of its questions.
    let (good, said) = shell(&a.netns, NO_AGENT, "ping 10.9.2.77 count 5")?;
    ensure!(!good && said.contains("From 10.9.1.254 icmp_seq=1 Destination Host Unreachable"), "{said}");
    Ok(passed("2 hops in both families"))
}

const SERVICE: &str = "[virtual-server.web]\naddress = \"10.9.0.100\"\nport = 80\n\
    [virtual-server.web.check]\nkind = \"tcp\"\ninterval = \"500ms\"\ntimeout = \"300ms\"\n\
    [virtual-server.web.real-server.\"10.9.0.2:8081\"]\n\
    [virtual-server.web.real-server.\"10.9.0.2:8082\"]\n\
    [virtual-server.web.real-server.\"10.9.0.77:80\"]\n";

fn checks(context: &mut Context) -> Result<Outcome> {
    let world = World::new()?;
    let listener = world.b.host.netns.enter(|| TcpListener::bind("0.0.0.0:8081"))??;
    let agent = Agent::start(&world.a.host.netns, "a", SERVICE)?;
    let run_dir = agent.run_dir().to_string_lossy().into_owned();
    wait_for("the agent answers", SOON, || agent.status().ok())?;
    let check = |server: &str| -> Result<(bool, String)> {
        let told = shell(&world.a.host.netns, &run_dir, &format!("check web/{server}"))?;
        context.say(told.1.clone());
        Ok(told)
    };
    let (good, said) = check("10.9.0.2:8081")?;
    ensure!(good && said.contains("verdict: UP") && said.contains("connected, then reset, after"), "{said}");
    let (good, said) = check("10.9.0.2:8082")?;
    ensure!(!good && said.contains("verdict: DOWN: connection refused"), "{said}");
    let (good, said) = check("10.9.0.77:80")?;
    ensure!(!good && said.contains("verdict: DOWN: no answer within 300ms"), "{said}");
    let (good, said) = check("10.9.0.3:80")?;
    ensure!(!good && said.contains("web has no real server 10.9.0.3:80: it has 10.9.0.2:8081"), "{said}");
    drop(listener);
    Ok(passed("up, refused, silent and unknown told apart"))
}

fn names(facts: &Value, list: &str, field: &str) -> Vec<String> {
    let entries = facts[list].as_array().cloned().unwrap_or_default();
    let mut names: Vec<String> =
        entries.iter().filter_map(|entry| entry[field].as_str().map(Into::into)).collect();
    names.sort();
    names
}

fn facts(_: &mut Context) -> Result<Outcome> {
    let world = World::new()?;
    let Node { host, .. } = &world.a;
    host.netns.ip("route add 10.99.0.0/16 via 10.9.0.3 metric 77")?;
    shell(&host.netns, NO_AGENT, "ping 10.9.0.2 count 1")?;

    let ours = json(&host.netns, NO_AGENT, "show interfaces")?;
    let theirs = ip_json(&host.netns, &["address"])?;
    for link in theirs.as_array().context("links")? {
        let name = link["ifname"].as_str().unwrap_or_default();
        let one = ours["interfaces"].as_array().context("interfaces")?;
        let one = one.iter().find(|one| one["name"] == name).with_context(|| format!("{name} is missing"))?;
        ensure!(one["mtu"] == link["mtu"] && one["index"] == link["ifindex"], "{one} is not {link}");
        let infos = link["addr_info"].as_array().cloned().unwrap_or_default();
        let mut wanted: Vec<String> = infos
            .iter()
            .map(|info| format!("{}/{}", info["local"].as_str().unwrap_or_default(), info["prefixlen"]))
            .collect();
        wanted.sort();
        ensure!(names(one, "addresses", "prefix") == wanted, "{one} has not {wanted:?}");
    }

    let routes = json(&host.netns, NO_AGENT, "show routes")?;
    let route =
        routes["routes"].as_array().and_then(|all| all.iter().find(|one| one["to"] == "10.99.0.0/16"));
    let route = route.with_context(|| format!("no route to 10.99.0.0/16 in {routes}"))?;
    ensure!(route["metric"] == 77 && route["hops"][0]["via"] == "10.9.0.3", "{route}");
    ensure!(route["hops"][0]["interface"] == "eth0" && route["kind"] == "unicast", "{route}");

    let neighbors = json(&host.netns, NO_AGENT, "show neighbors")?;
    let b =
        neighbors["neighbors"].as_array().and_then(|all| all.iter().find(|one| one["address"] == "10.9.0.2"));
    let b = b.with_context(|| format!("10.9.0.2 is not in {neighbors}"))?;
    ensure!(b["mac"] == hexadecimal(world.b.mac).as_str(), "{b}");

    let mut shown = 0;
    for what in ["version", "system", "alarms", "interfaces", "routes", "neighbors", "boot", "tech-support"] {
        let (good, said) = shell(&host.netns, NO_AGENT, &format!("show {what}"))?;
        ensure!(good && !said.is_empty(), "show {what} without an agent: {said}");
        shown += 1;
    }
    let (good, said) = shell(&host.netns, NO_AGENT, "show vrrp")?;
    ensure!(
        !good && said.contains("no agent answers") && said.contains("Without the agent there are"),
        "{said}"
    );
    Ok(passed(format!("{shown} answers without an agent")))
}
