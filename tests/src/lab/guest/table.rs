//! What the kernel holds is what the configuration says, with ipvsadm as the judge.

use anyhow::{Result, ensure};

use super::GuestCase;
use super::park::{Director, LONG, Park, Service, VIP_V4, VIP_V6, config, saved, toml};

/// Every scheduler that kernel 6.1 has (the names of its `ip_vs_*` modules).
const SCHEDULERS: [&str; 13] =
    ["rr", "wrr", "lc", "wlc", "lblc", "lblcr", "dh", "sh", "sed", "nq", "fo", "ovf", "mh"];

/// The cases.
pub fn cases() -> Vec<GuestCase> {
    vec![
        GuestCase {
            name: "guest: NAT and DR, TCP and UDP, IPv4 and IPv6 stand in the kernel as configured",
            run: kinds,
        },
        GuestCase {
            name: "guest: every scheduler of the kernel can be used, an unknown one is named",
            run: schedulers,
        },
        GuestCase { name: "guest: the IPVS sysctls have the safe values on both boxes", run: sysctls },
        GuestCase { name: "guest: both sync daemons run on both boxes as configured", run: daemons },
    ]
}

/// Two real servers in each of the eight kinds, of different weights, one persistent.
pub fn every_kind() -> Vec<Service> {
    let mut all = Vec::new();
    for (forward, v4, v6) in [
        ("nat", ["10.10.0.21", "10.10.0.22"], ["2001:db8:10::21", "2001:db8:10::22"]),
        ("dr", ["10.9.0.31", "10.9.0.32"], ["2001:db8:9::31", "2001:db8:9::32"]),
    ] {
        for (protocol, port) in [("tcp", 9001), ("udp", 9002)] {
            for (family, address, servers) in [("v4", VIP_V4, v4), ("v6", VIP_V6, v6)] {
                let name = format!("{forward}-{protocol}-{family}");
                let mut service = Service::new(&name, address, forward, &servers);
                service.protocol = protocol;
                service.port = if forward == "nat" { port } else { port + 10 };
                service.scheduler = "wrr";
                service.servers[1].1 = 300;
                all.push(service);
            }
        }
    }
    all[0].persistence = Some(120);
    all[1].persistence = Some(360);
    all
}

fn kinds(park: &mut Park) -> Result<String> {
    let services = every_kind();
    let mut agent = park.a.agent(&config(150, &toml(&services)))?;
    park.a.wait_table(&saved(&services), LONG)?;
    agent.wait("every service is in the kernel by the status too", LONG, |status| {
        status.services.len() == services.len() && status.services.iter().all(|service| service.in_kernel)
    })?;
    // As people read it, too.
    let listed = park.a.run("ipvsadm", "-Ln")?;
    for service in &services {
        for (server, weight) in &service.servers {
            let method = if service.forward == "nat" { "Masq" } else { "Route" };
            let found = listed.lines().any(|line| {
                let words: Vec<&str> = line.split_whitespace().collect();
                line.contains(server.as_str())
                    && words.get(2) == Some(&method)
                    && words.get(3) == Some(&weight.to_string().as_str())
            });
            ensure!(found, "`ipvsadm -Ln` has no {server} {method} {weight}:\n{listed}");
        }
    }
    // Less, and the rest stays.
    let fewer: Vec<Service> = services[2..].to_vec();
    agent.write_config(&config(150, &toml(&fewer)))?;
    let (good, said) = agent.reload()?;
    ensure!(good, "the reload was refused: {said}");
    park.a.wait_table(&saved(&fewer), LONG)?;
    Ok(format!("{} services", services.len()))
}

fn schedulers(park: &mut Park) -> Result<String> {
    let mut services: Vec<Service> = Vec::new();
    for (index, scheduler) in SCHEDULERS.into_iter().enumerate() {
        let mut service = Service::new(scheduler, VIP_V4, "nat", &["10.10.0.21", "10.10.0.22"]);
        service.scheduler = scheduler;
        service.port = 9100 + index as u16;
        services.push(service);
    }
    let mut unknown = Service::new("unknown", VIP_V4, "nat", &["10.10.0.21"]);
    unknown.scheduler = "nosuch";
    unknown.port = 9200;
    let text = config(150, &(toml(&services) + &unknown.toml()));
    let mut agent = park.a.agent(&text)?;
    park.a.wait_table(&saved(&services), LONG)?;
    let status = agent.wait("a problem names the scheduler", LONG, |status| {
        status.problems.iter().any(|problem| problem.contains("nosuch"))
    })?;
    let problem =
        status.problems.iter().find(|problem| problem.contains("nosuch")).cloned().unwrap_or_default();
    // The unknown one does not hold up anything: another one changes all the same.
    services[0].servers[0].1 = 5;
    agent.write_config(&config(150, &(toml(&services) + &unknown.toml())))?;
    let (good, said) = agent.reload()?;
    ensure!(good, "the reload was refused: {said}");
    park.a.wait_table(&saved(&services), LONG)?;
    Ok(problem)
}

/// facts: conn_reuse_mode=1, expire_nodest_conn=1, expire_quiescent_template=1, sloppy_tcp=1 on a sync backup.
const SAFE: [(&str, &str); 4] = [
    ("conn_reuse_mode", "1"),
    ("expire_nodest_conn", "1"),
    ("expire_quiescent_template", "1"),
    ("sloppy_tcp", "1"),
];

fn sysctls(park: &mut Park) -> Result<String> {
    let services = [Service::new("web", VIP_V4, "nat", &["10.10.0.21"])];
    let _pair = park.pair(&toml(&services))?;
    for director in [&park.a, &park.b] {
        let wrong = |name: &str, value: &str| {
            let found = director.proc(&format!("sys/net/ipv4/vs/{name}")).unwrap_or_default();
            (found.trim() != value).then(|| format!("{name} is {:?}, not {value}", found.trim()))
        };
        let look = || SAFE.iter().all(|(name, value)| wrong(name, value).is_none()).then_some(());
        let waited = crate::lab::process::wait_for("the sysctls are safe", LONG, look);
        if waited.is_err() {
            let all: Vec<String> = SAFE.iter().filter_map(|(name, value)| wrong(name, value)).collect();
            anyhow::bail!("director {}: {}", director.number, all.join(", "));
        }
    }
    Ok(String::new())
}

/// What `ipvsadm -L --daemon` must say.
pub fn daemons_as_configured(director: &Director) -> Result<()> {
    let text = director.run("ipvsadm", "-L --daemon")?;
    for role in ["master", "backup"] {
        let wanted = ["mcast=eth1", "syncid=7", "group=224.0.0.81", "port=8848"];
        let found = text.lines().any(|line| {
            line.starts_with(&format!("{role} sync daemon")) && wanted.iter().all(|word| line.contains(word))
        });
        ensure!(found, "director {}: no {role} daemon with {wanted:?}: {text}", director.number);
    }
    Ok(())
}

fn daemons(park: &mut Park) -> Result<String> {
    let services = [Service::new("web", VIP_V4, "nat", &["10.10.0.21"])];
    let (mut first, mut second) = park.pair(&toml(&services))?;
    for (director, agent) in [(&park.a, &mut first), (&park.b, &mut second)] {
        agent.wait("both daemons are in the status", LONG, |status| status.sync.len() == 2)?;
        daemons_as_configured(director)?;
    }
    // Stopped by hand they come back, and with the configuration they go.
    park.a.run("ipvsadm", "--stop-daemon master")?;
    let back = crate::lab::process::wait_for("the stopped daemon is back", LONG, || {
        daemons_as_configured(&park.a).ok()
    });
    back?;
    let without = config(150, &toml(&services)).replace("[sync]\ninterface = \"eth1\"\nid = 7\n", "");
    first.write_config(&without)?;
    let (good, said) = first.reload()?;
    ensure!(good, "the reload was refused: {said}");
    first.wait("no daemon is left", LONG, |status| status.sync.is_empty())?;
    let text = park.a.run("ipvsadm", "-L --daemon")?;
    ensure!(text.trim().is_empty(), "daemons without configuration: {text}");
    Ok(String::new())
}
