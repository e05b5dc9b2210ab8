//! A real server that an operator drains, in the kernel's own table.

use bascule_core::net::Endpoint;
use bascule_core::overrides::{Operation, ServerOverride};
use bascule_core::status::Status;

use anyhow::{Context as _, Result, ensure};

use crate::lab::agent::Agent;
use crate::lab::operate::operate;

use super::GuestCase;
use super::park::{LONG, PORT, Park, Service, VIP_V4, saved};
use super::servers::{Connection, request};

/// The cases.
pub fn cases() -> Vec<GuestCase> {
    vec![GuestCase {
        name: "guest: a drained server keeps its connection, takes no new one, and goes after its last",
        run: drains,
    }]
}

fn tell(agent: &Agent, server: Endpoint, to: ServerOverride) -> Result<String> {
    operate(agent, Operation::RealServer { service: "web".parse()?, server, to })
}

/// What the status says of a real server's override.
fn words(status: &Status, server: Endpoint) -> Option<String> {
    let lines = status.services.iter().flat_map(|service| &service.servers);
    lines.filter(|line| line.endpoint == server).find_map(|line| line.overridden.clone())
}

fn drains(park: &mut Park) -> Result<String> {
    let service = Service::new("web", VIP_V4, "nat", &["10.10.0.21", "10.10.0.22"]);
    let (mut first, _second) = park.pair(&service.toml())?;
    park.a.wait_table(&saved(std::slice::from_ref(&service)), LONG)?;
    let client = &park.client.netns;
    let mut kept = Connection::open(client, VIP_V4)?;
    let name = kept.ask("before")?;
    let address = name.replace("nat", "10.10.0.");
    let server: Endpoint = format!("{address}:{PORT}").parse()?;
    tell(&first, server, ServerOverride::Drain { deadline: None })?;

    let mut drained = service.clone();
    drained.servers.iter_mut().filter(|(at, _)| *at == address).for_each(|(_, weight)| *weight = 0);
    let drained = saved(&[drained]);
    park.a.wait_table(&drained, LONG)?;
    for _ in 0..6 {
        let other = request(client, VIP_V4)?;
        ensure!(other != name, "a new connection went to {name}, which drains");
    }
    ensure!(kept.ask("while it drains")? == name, "the connection moved");
    let (good, said) = first.reload()?;
    ensure!(good, "the reload was refused: {said}");
    first.kill9();
    first.respawn()?;
    first.wait_master(LONG)?;
    let one = |status: &Status| words(status, server).is_some_and(|text| text == "draining 1 connection");
    first.wait("it still drains one connection", LONG, one)?;
    ensure!(park.a.table()? == drained, "the table has changed: {:?}", park.a.table());
    ensure!(kept.ask("after a reload and a restart")? == name, "the connection moved");

    kept.reset()?;
    let mut rest = service.clone();
    rest.servers.retain(|(at, _)| *at != address);
    // The kernel forgets a connection that was reset after ten seconds.
    let took = park.a.wait_table(&saved(&[rest]), LONG).context("its last connection has ended")?;
    first.wait("it is halted", LONG, |status| words(status, server).is_some_and(|text| text == "halted"))?;
    tell(&first, server, ServerOverride::Enable)?;
    park.a.wait_table(&saved(&[service]), LONG)?;
    Ok(format!("gone {:.1} s after its last connection", took.as_secs_f64()))
}
