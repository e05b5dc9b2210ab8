//! What the shell shows of the kernel's live IPVS, with ipvsadm as the judge.

use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::lab::agent::{Agent, binary};
use crate::lab::process::{both_outputs, wait_for};

use super::GuestCase;
use super::park::{Director, LONG, Park, Service, VIP_V4, VIP_V6, saved, toml};
use super::servers::Connection;

/// The cases.
pub fn cases() -> Vec<GuestCase> {
    vec![GuestCase {
        name: "guest: what the shell shows of connections, templates, sync and services is what ipvsadm says",
        run: shows,
    }]
}

/// Runs a command line of the shell on a director: whether it ended well, and what it said.
///
/// # Errors
/// It cannot be started.
pub fn shell(director: &Director, agent: &Agent, line: &str) -> Result<(bool, String)> {
    let run = || {
        let mut command = Command::new(binary()?);
        both_outputs(command.args(["shell", "--run-dir"]).arg(agent.run_dir()).args(["-c", line]))
    };
    let (status, text) = director.host.netns.enter(run)??;
    Ok((status.success(), text))
}

/// A report as people read it: it has all of `facts`, and no line is too wide.
fn text(director: &Director, agent: &Agent, line: &str, facts: &[&str]) -> Result<String> {
    let (good, said) = shell(director, agent, line)?;
    ensure!(good, "{line} failed: {said}");
    for row in said.lines() {
        ensure!(row.len() <= 79 && row.is_ascii(), "{line}: {} columns: {row}", row.len());
    }
    for fact in facts {
        ensure!(said.contains(fact), "{line}: no {fact} in {said}");
    }
    Ok(said)
}

fn json(director: &Director, agent: &Agent, line: &str) -> Result<Value> {
    let (good, said) = shell(director, agent, &format!("{line} | json"))?;
    ensure!(good, "{line} | json failed: {said}");
    serde_json::from_str(&said).with_context(|| format!("{line} | json said {said}"))
}

/// Protocol, state, client, service and real server, as both programs write them.
type Entry = [String; 5];

/// What `ipvsadm -Lnc` lists: connections, or templates.
fn judge(director: &Director, templates: bool) -> Result<Vec<Entry>> {
    let listed = director.run("ipvsadm", "-Lnc")?;
    let entry = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [protocol @ ("TCP" | "UDP"), _, state, client, service, server] = words[..] else { return None };
        Some([protocol, state, client, service, server].map(str::to_owned))
    };
    let mut entries: Vec<Entry> = listed.lines().filter_map(entry).collect();
    entries.retain(|[_, _, client, _, _]| client.ends_with(":0") == templates);
    entries.sort();
    Ok(entries)
}

/// The same of a report in JSON.
fn entries(report: &Value, list: &str) -> Result<Vec<Entry>> {
    let all = report[list].as_array().with_context(|| format!("no {list} in {report}"))?;
    let mut entries = Vec::new();
    for one in all {
        let field =
            |name: &str| one[name].as_str().map(str::to_owned).with_context(|| format!("no {name} in {one}"));
        ensure!(one["expires_seconds"].is_u64(), "{one}");
        entries.push([
            field("protocol")?,
            field("state")?,
            field("client")?,
            field("service")?,
            field("real_server")?,
        ]);
    }
    entries.sort();
    Ok(entries)
}

fn shows(park: &mut Park) -> Result<String> {
    let web = Service::new("web", VIP_V4, "nat", &["10.10.0.21", "10.10.0.22"]);
    let mut held = Service::new("held", VIP_V6, "nat", &["2001:db8:10::21", "2001:db8:10::22"]);
    held.persistence = Some(120);
    let services = [web, held];
    let (mut first, second) = park.pair(&toml(&services))?;
    park.a.wait_table(&saved(&services), LONG)?;
    first.wait("both sync daemons", LONG, |status| status.sync.len() == 2)?;
    let mut open = Vec::new();
    for address in [VIP_V4, VIP_V6] {
        let mut connection = Connection::open(&park.client.netns, address)?;
        for number in 0..4 {
            connection.ask(&format!("line {number}"))?;
        }
        open.push(connection);
    }
    for address in [VIP_V4, VIP_V6] {
        park.a.wait_counted(address, |count| count == 1)?;
    }
    // The kernel has one table for all directors of this guest. What sync adds to it while it is read shifts the
    // entries, and the reader finds one twice (`ip_vs_conn_array` in `net/netfilter/ipvs/ip_vs_conn.c`).
    wait_learnt(park, open.len() + 1)?;
    let (v4, v6) = (open[0].local()?.to_string(), open[1].local()?.to_string());

    connections(&park.a, &first, [&v4, &v6])?;
    templates(&park.a, &first)?;
    sync(park, &first, &second)?;
    tables(&park.a, &first)?;
    Ok("6 reports as text and as JSON".to_owned())
}

fn connections(a: &Director, agent: &Agent, clients: [&str; 2]) -> Result<()> {
    let wanted = judge(a, false)?;
    ensure!(wanted.len() == 2, "ipvsadm lists {wanted:?}");
    let facts: Vec<&str> = wanted.iter().flatten().map(String::as_str).collect();
    text(a, agent, "show connections", &facts)?;
    let found = entries(&json(a, agent, "show connections")?, "connections")?;
    ensure!(found == wanted, "show connections has {found:?}, ipvsadm {wanted:?}");
    for (filter, at) in [("10.9.0.0/24", 0), ("10.9.0.3", 0), ("2001:db8:9::3", 1), (clients[1], 1)] {
        let line = format!("show connections {filter}");
        let said = text(a, agent, &line, &[clients[at], "1 connections"])?;
        ensure!(!said.contains(clients[1 - at]), "{line} lists another: {said}");
        let report = json(a, agent, &line)?;
        let found = entries(&report, "connections")?;
        let only: Vec<_> =
            wanted.iter().filter(|[_, _, client, _, _]| client == clients[at]).cloned().collect();
        ensure!(found == only && report["matching"] == 1, "{line}: {report}");
    }
    let report = json(a, agent, "show connections 10.9.0.77")?;
    ensure!(entries(&report, "connections")?.is_empty(), "a host without connections: {report}");
    Ok(())
}

fn templates(a: &Director, agent: &Agent) -> Result<()> {
    let wanted = judge(a, true)?;
    let [[_, _, _, service, server]] = &wanted[..] else { anyhow::bail!("ipvsadm lists {wanted:?}") };
    text(a, agent, "show persistence", &["2001:db8:9::3", service, server])?;
    let report = json(a, agent, "show persistence")?;
    let found = entries(&report, "templates")?;
    ensure!(found == wanted, "show persistence has {found:?}, ipvsadm {wanted:?}");
    let left = report["templates"][0]["expires_seconds"].as_u64().unwrap_or_default();
    ensure!((1..=120).contains(&left), "a template of 120 s has {left} s left");
    Ok(())
}

/// Director b has the connections and templates that began on a, `begun` in all.
fn wait_learnt(park: &Park, begun: usize) -> Result<()> {
    let learnt = || {
        let here = judge(&park.b, false).ok()?.len() + judge(&park.b, true).ok()?.len();
        (here == begun).then_some(())
    };
    wait_for("director b has learnt what began on a", LONG, learnt)
        .with_context(|| format!("b has {:?}", park.b.run("ipvsadm", "-Lnc")))
}

fn sync(park: &Park, first: &Agent, second: &Agent) -> Result<()> {
    let begun = judge(&park.a, false)?.len() + judge(&park.a, true)?.len();
    wait_learnt(park, begun)?;
    for (director, agent, local, learnt) in [(&park.a, first, begun, 0), (&park.b, second, 0, begun)] {
        text(director, agent, "show sync", &["master", "backup", "eth1", "224.0.0.81", "8848", "receives"])?;
        let report = json(director, agent, "show sync")?;
        ensure!(
            report["connections"]["local"] == local && report["connections"]["learnt"] == learnt,
            "director {}: {local} began here, {learnt} elsewhere: {report}",
            director.number
        );
        let daemons = report["daemons"].as_array().context("daemons")?;
        let backup = daemons.iter().find(|one| one["role"] == "backup").context("a backup daemon")?;
        ensure!(daemons.len() == 2 && backup["member_of_group"] == true, "{report}");
        ensure!(daemons.iter().all(|one| one["interface"] == "eth1" && one["id"] == 7), "{report}");
    }
    Ok(())
}

fn tables(a: &Director, agent: &Agent) -> Result<()> {
    text(a, agent, "show virtual-servers", &["web", "held", "10.9.0.100:8080", "[2001:db8:9::100]:8080"])?;
    let servers = ["10.10.0.21:8080", "10.10.0.22:8080", "[2001:db8:10::21]:8080", "[2001:db8:10::22]:8080"];
    text(a, agent, "show real-servers", &servers)?;
    let counted = |line: &str, service: &str, address: &str| -> Result<()> {
        let report = json(a, agent, line)?;
        let all = report["virtual_servers"].as_array().cloned().unwrap_or_default();
        let one =
            all.iter().find(|one| one["name"] == service).with_context(|| format!("{line}: {report}"))?;
        let statistics = &one["kernel"]["statistics"];
        ensure!(one["in_kernel"] == true && statistics["connections"] == 1, "{line}: {one}");
        let servers = one["real_servers"].as_array().cloned().unwrap_or_default();
        let wanted = judge(a, false)?;
        let used =
            wanted.iter().find(|[_, _, _, service, _]| service.contains(address)).context("a connection")?;
        for server in &servers {
            let active = u64::from(server["endpoint"] == used[4].as_str());
            ensure!(server["kernel"]["active"] == active, "{line}: {active} connections, not as in {server}");
        }
        ensure!(servers.len() == 2, "{line}: {one}");
        Ok(())
    };
    for line in ["show virtual-servers", "show real-servers"] {
        counted(line, "web", VIP_V4)?;
        counted(line, "held", VIP_V6)?;
    }
    Ok(())
}
