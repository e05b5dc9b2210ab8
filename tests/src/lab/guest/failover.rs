//! The pair under traffic: connection sync, a failover that connections survive, an agent that is killed.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, ensure};
use bascule_core::router::Role;

use crate::lab::observer::Observer;
use crate::lab::process::wait_for;

use super::GuestCase;
use super::park::{Director, LONG, Park, VIP_V4, VIP_V6, saved, toml};
use super::servers::{Connection, request};
use super::traffic::services;

/// The cases.
pub fn cases() -> Vec<GuestCase> {
    vec![
        GuestCase {
            name: "guest: connections through one box are in the other's table and survive its end",
            run: synced,
        },
        GuestCase {
            name: "guest: kill -9 of the agent under traffic fails no request and touches no counter",
            run: killed,
        },
        GuestCase {
            name: "guest: an orderly stop moves the addresses and connections survive",
            run: stopped,
        },
    ]
}

/// Whether a director's table of connections has the client's end of this one.
fn knows(director: &Director, client: SocketAddr) -> bool {
    let table = director.proc("thread-self/net/ip_vs_conn").unwrap_or_default();
    let port = format!("{:04X}", client.port());
    table.lines().any(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        words.first() == Some(&"TCP") && words.get(2) == Some(&port.as_str()) && line.contains("ESTABLISHED")
    })
}

/// Two connections per family that have carried enough packets to be synchronised (threshold 3).
fn connect(park: &Park) -> Result<Vec<(Connection, String)>> {
    let mut all = Vec::new();
    for address in [VIP_V4, VIP_V6, VIP_V4, VIP_V6] {
        let mut connection = Connection::open(&park.client.netns, address)?;
        let mut server = String::new();
        for number in 0..6 {
            server = connection.ask(&format!("line {number}"))?;
        }
        all.push((connection, server));
    }
    Ok(all)
}

fn wait_synced(park: &Park, connections: &[(Connection, String)]) -> Result<()> {
    for (connection, _) in connections {
        let local = connection.local()?;
        ensure!(knows(&park.a, local), "director a has no connection of {local}");
        let table = || park.b.proc("thread-self/net/ip_vs_conn").unwrap_or_default();
        let what = format!("director b has the connection of {local}");
        wait_for(&what, LONG, || knows(&park.b, local).then_some(())).with_context(table)?;
    }
    Ok(())
}

/// Each connection goes on, on its own server, after at most `limit`.
fn survive(connections: &mut [(Connection, String)], limit: Duration) -> Result<Duration> {
    let begin = Instant::now();
    for (connection, server) in connections.iter_mut() {
        connection.patience(limit)?;
        let same = connection.ask("still there?").context("an established connection did not survive")?;
        ensure!(same == *server, "a connection moved from {server} to {same}");
    }
    Ok(begin.elapsed())
}

fn synced(park: &mut Park) -> Result<String> {
    let all = services("nat");
    let (mut first, mut second) = park.pair(&toml(&all))?;
    park.a.wait_table(&saved(&all), LONG)?;
    park.b.wait_table(&saved(&all), LONG)?;
    let mut open = connect(park)?;
    wait_synced(park, &open)?;
    park.front.isolate(&park.a.host.port)?;
    park.back.isolate(&park.a.back_port)?;
    first.lose_power()?;
    let begin = Instant::now();
    second.wait_master(LONG)?;
    let took = begin.elapsed();
    survive(&mut open, LONG)?;
    for address in [VIP_V4, VIP_V6] {
        request(&park.client.netns, address).context("a new connection after the failover")?;
    }
    Ok(format!("{} connections, b Master after {} ms", open.len(), took.as_millis()))
}

fn stopped(park: &mut Park) -> Result<String> {
    let all = services("nat");
    let (mut first, mut second) = park.pair(&toml(&all))?;
    park.a.wait_table(&saved(&all), LONG)?;
    park.b.wait_table(&saved(&all), LONG)?;
    let mut open = connect(park)?;
    wait_synced(park, &open)?;
    let begin = Instant::now();
    first.stop()?;
    second.wait_master(LONG)?;
    let took = begin.elapsed();
    survive(&mut open, LONG)?;
    ensure!(took < Duration::from_secs(10), "b was Master only after {took:?}");
    Ok(format!("b Master {} ms after the stop began", took.as_millis()))
}

/// Between adverts while an agent is killed: three of them are longer than a start on the slowest machine.
const UNHURRIED: Duration = Duration::from_secs(3);

fn killed(park: &mut Park) -> Result<String> {
    let all = services("nat");
    let (mut first, mut second) = park.pair_every(UNHURRIED, &toml(&all))?;
    park.a.wait_table(&saved(&all), LONG)?;
    let mut open = connect(park)?;
    let before = park.a.wait_counted(VIP_V4, |count| count >= 2)?;
    let observer = Observer::start(&park.client.netns)?;
    let since = |status: &bascule_core::status::Status| {
        status.routers.iter().map(|router| router.status.since).collect::<Vec<_>>()
    };
    let waiting = since(&second.status()?);
    let stop = Arc::new(AtomicBool::new(false));
    let flag = stop.clone();
    let traffic = std::thread::scope(|scope| -> Result<(u64, u64)> {
        let client = &park.client.netns;
        let requests = scope.spawn(move || -> Result<(u64, u64)> {
            let (mut good, mut bad) = (0, 0);
            while !flag.load(Ordering::Relaxed) {
                for address in [VIP_V4, VIP_V6] {
                    match request(client, address) {
                        Ok(_) => good += 1,
                        Err(error) => {
                            bad += 1;
                            println!("@@note failed request: {error:#}");
                        }
                    }
                }
                std::thread::sleep(Duration::from_millis(20));
            }
            Ok((good, bad))
        });
        let mut kills = || -> Result<()> {
            for _ in 0..3 {
                std::thread::sleep(Duration::from_millis(1300));
                first.kill9();
                first.respawn()?;
                first.wait_master(LONG)?;
            }
            std::thread::sleep(Duration::from_secs(2));
            Ok(())
        };
        let done = kills();
        stop.store(true, Ordering::Relaxed);
        let counted = requests.join().map_err(|_| anyhow!("the client panicked"))??;
        done.map(|()| counted)
    })?;
    let (good, bad) = traffic;
    ensure!(bad == 0, "{bad} of {} requests failed", good + bad);
    ensure!(good > 50, "only {good} requests in all");
    let own: IpAddr = "10.9.0.1".parse()?;
    let sent = observer.adverts(Duration::ZERO, |advert| advert.source == own);
    let silence = sent.windows(2).map(|two| two[1].0 - two[0].0).max().unwrap_or_default();
    first.wait_master(LONG)?;
    let after = second.wait_backup(LONG)?;
    ensure!(since(&after) == waiting, "b changed its state while a was killed; a was silent for {silence:?}");
    ensure!(after.routers.iter().all(|router| router.status.role == Role::Backup), "{after:?}");
    survive(&mut open, LONG)?;
    // Half of the requests went over IPv4.
    park.a.wait_counted(VIP_V4, |count| count >= before + good / 2)?;
    Ok(format!("{good} requests, none failed, 3 kills, longest silence {} ms", silence.as_millis()))
}
