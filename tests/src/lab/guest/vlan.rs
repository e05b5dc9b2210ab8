//! VLAN interfaces of the configuration, with `ip` and frames that arrive as the judges.

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::lab::agent::Agent;
use crate::lab::process::wait_for;
use crate::lab::world::ip_json;

use super::GuestCase;
use super::console::shell;
use super::park::{Director, LONG, Park, config};

/// A VLAN interface that no agent made, and its id.
const FOREIGN: (&str, u64) = ("other", 9);
const OURS: &str = "eth0.7";

/// The cases.
pub fn cases() -> Vec<GuestCase> {
    vec![GuestCase {
        name: "guest: a VLAN interface comes, carries, changes and goes with the configuration",
        run: |park| {
            let verdict = lives(park);
            for director in [&park.a, &park.b] {
                for name in [OURS, FOREIGN.0] {
                    let _ = director.host.netns.ip(&format!("link delete {name}"));
                }
            }
            verdict
        },
    }]
}

fn interface(name: &str, number: u8, id: u64) -> String {
    format!(
        "[interface.\"{name}\"]\nvlan = {{ parent = \"eth0\", id = {id} }}\nmtu = 1400\n\
         addresses = [\"10.77.0.{number}/24\"]\n"
    )
}

/// The interface as `ip` tells it, `None` when there is none.
fn link(director: &Director, name: &str) -> Option<Value> {
    let all = ip_json(&director.host.netns, &["-details", "address"]).ok()?;
    all.as_array()?.iter().find(|link| link["ifname"] == name).cloned()
}

fn id(link: &Value) -> Option<u64> {
    link["linkinfo"]["info_data"]["id"].as_u64()
}

fn wait_id(director: &Director, wanted: u64) -> Result<()> {
    let stands = || {
        let link = link(director, OURS)?;
        let address = format!("10.77.0.{}", director.number);
        let has = link["addr_info"].as_array()?.iter().any(|info| info["local"] == address.as_str());
        (link["link"] == "eth0" && id(&link) == Some(wanted) && link["mtu"] == 1400 && has).then_some(())
    };
    wait_for(&format!("{OURS} is VLAN {wanted} of eth0 with MTU 1400 and its address"), LONG, stands)
        .with_context(|| format!("director {}: {:?}", director.number, link(director, OURS)))
}

fn reload(agent: &Agent, text: &str) -> Result<()> {
    agent.write_config(text)?;
    let (good, said) = agent.reload()?;
    ensure!(good, "the reload was refused: {said}");
    Ok(())
}

/// Whether `a` reaches `b` over the VLAN.
fn reaches(park: &Park, agent: &Agent) -> Result<bool> {
    let (good, said) = shell(&park.a, agent, "ping 10.77.0.2 count 1")?;
    ensure!(good == said.contains("1 packets transmitted, 1 received"), "{said}");
    Ok(good)
}

fn lives(park: &Park) -> Result<String> {
    let (name, number) = FOREIGN;
    park.a.host.netns.ip(&format!("link add link eth0 name {name} mtu 1450 type vlan id {number}"))?;
    let foreign = link(&park.a, name).with_context(|| format!("{name} was not made"))?;

    let mut first = park.a.agent(&config(150, &interface(OURS, 1, 7)))?;
    let second = park.b.agent(&config(100, &interface(OURS, 2, 7)))?;
    first.wait_master(LONG)?;
    wait_id(&park.a, 7)?;
    wait_id(&park.b, 7)?;
    ensure!(reaches(park, &first)?, "no answer over VLAN 7");

    // It is the tag that decides: not in the same VLAN they do not hear each other.
    reload(&second, &config(100, &interface(OURS, 2, 8)))?;
    wait_id(&park.b, 8)?;
    ensure!(!reaches(park, &first)?, "VLAN 7 is answered from VLAN 8");
    reload(&first, &config(150, &interface(OURS, 1, 8)))?;
    wait_id(&park.a, 8)?;
    ensure!(reaches(park, &first)?, "no answer over VLAN 8");

    // In the way of one that is configured, what is somebody else's stays, and is told.
    reload(&first, &config(150, &interface(name, 3, number + 1)))?;
    wait_for("the interface goes with the configuration", LONG, || {
        link(&park.a, OURS).is_none().then_some(())
    })?;
    let told = format!("interface {name} is there already and is not VLAN {} of eth0", number + 1);
    first.wait("the other's interface is told", LONG, |status| {
        status.problems.iter().any(|problem| problem.contains(&told))
    })?;
    reload(&first, &config(150, ""))?;
    first.wait("nothing is in the way any more", LONG, |status| {
        !status.problems.iter().any(|problem| problem.contains(&told))
    })?;
    let now = link(&park.a, name).with_context(|| format!("{name} was removed"))?;
    for field in ["ifindex", "mtu", "linkinfo"] {
        ensure!(now[field] == foreign[field], "{name} was {foreign}, is {now}");
    }
    Ok(String::new())
}
