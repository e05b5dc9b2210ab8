//! What operators command beside the configuration: yield, takeover, maintenance.

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use bascule_core::control::{Reply, Request};
use bascule_core::overrides::Operation;
use bascule_image::net::Netns;

use crate::runner::{Case, Context, Outcome};

use super::agent::{Agent, SOON};
use super::control::ask;
use super::keepalived::Keepalived;
use super::observer::now;
use super::scene::{FAMILIES, HIGH, LOW, Pair, VIP_V4, by, config, down_interval, ms, skew};
use super::world::{Node, World};
use super::{case, passed};

const TENTH: Duration = Duration::from_millis(100);
const ALLOWANCE: Duration = Duration::from_millis(100);
/// How long a yield or takeover lasts in these cases.
const LASTING: Duration = Duration::from_secs(3);
/// How often the client asks, and when it takes a question for lost: before the kernel would ask again.
const PERIOD: Duration = Duration::from_millis(5);
const LOST: Duration = Duration::from_millis(300);

/// The cases.
pub fn cases() -> Vec<Case> {
    vec![
        case(
            "yield: the other box is master first, somebody answers at every moment, and it ends",
            90,
            yields,
        ),
        case("yield to a keepalived of lower priority: it takes over after its skew", 90, to_keepalived),
        case("takeover: the lower priority is master at once, for its time", 90, takes_over),
        case("a box in maintenance never becomes master, also after its agent was killed", 90, maintenance),
    ]
}

/// Gives a command to an agent; what it did, in words.
///
/// # Errors
/// It was refused.
pub fn operate(agent: &Agent, operation: Operation) -> Result<String> {
    let request = Request::Operate { user: "lab".parse()?, operation };
    match ask(agent, &request)? {
        Reply::Done(text) => Ok(text),
        other => bail!("not done: {other:?}"),
    }
}

/// A client that asks the address two hundred times a second: a port where nobody listens is refused by who has the
/// address.
struct Client {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Result<Heard>>,
}

#[derive(Debug, Default)]
struct Heard {
    answers: u32,
    lost: u32,
    /// Longest time between two answers.
    gap: Duration,
}

impl Client {
    fn start(netns: &Netns, address: &str) -> Result<Self> {
        let to = SocketAddr::new(address.parse()?, 9);
        let stop = Arc::new(AtomicBool::new(false));
        let flag = stop.clone();
        let thread = netns.thread("client", move || {
            let mut heard = Heard::default();
            let mut last = Instant::now();
            while !flag.load(Ordering::Relaxed) {
                match TcpStream::connect_timeout(&to, LOST) {
                    Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
                        heard.answers += 1;
                        heard.gap = heard.gap.max(last.elapsed());
                        last = Instant::now();
                    }
                    _ => heard.lost += 1,
                }
                std::thread::sleep(PERIOD);
            }
            heard
        })?;
        Ok(Self { stop, thread })
    }

    fn end(self) -> Result<Heard> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().map_err(|_| anyhow!("the client panicked"))?
    }
}

/// Waits until `to` sends adverts of both families; the longest time from the command to the first, and that nobody
/// but who yields was silent before.
fn first_adverts(world: &World, to: &Node, since: Duration) -> Result<Duration> {
    let mut longest = Duration::ZERO;
    for (family, vrid, _) in FAMILIES {
        let what = format!("{family}: adverts of the box that takes over");
        let (first, _) = world.observer.wait_advert(&what, since, SOON, by(to, vrid))?;
        longest = longest.max(first.saturating_sub(since));
    }
    Ok(longest)
}

fn yields(_: &mut Context) -> Result<Outcome> {
    let mut pair = Pair::start(TENTH, "")?;
    let client = Client::start(&pair.world.c.host.netns, VIP_V4)?;
    std::thread::sleep(Duration::from_millis(300));
    let since = now();
    operate(&pair.agent_a, Operation::Yield { router: None, lasting: Some(LASTING) })?;
    let took = first_adverts(&pair.world, &pair.world.b, since)?;
    let lawful = skew(TENTH, LOW) + ALLOWANCE;
    ensure!(took <= lawful, "b took over {} ms after the command, its skew is {}", ms(took), ms(lawful));
    pair.agent_b.wait_master(SOON)?;
    let status = pair.agent_a.wait_backup(SOON)?;
    let words = status.routers[0].overridden.clone().unwrap_or_default();
    ensure!(words.starts_with("yielded, 0:0"), "the status says {words:?}");
    for (_, _, vip) in FAMILIES {
        pair.world.b.wait_has(vip, true, SOON)?;
        pair.world.a.wait_has(vip, false, SOON)?;
    }
    let heard = client.end()?;
    ensure!(heard.lost == 0 && heard.answers > 50, "nobody answered at times: {heard:?}");
    // A restart of the agent changes nothing, once what it left is written.
    std::thread::sleep(Duration::from_millis(500));
    pair.agent_a.kill9();
    pair.agent_a.respawn()?;
    pair.agent_a.wait_backup(SOON)?;
    let back = Instant::now();
    pair.settle(TENTH)?;
    let lines = match ask(&pair.agent_a, &Request::History(Some("v4".parse()?)))? {
        Reply::Lines(lines) => lines,
        other => bail!("no history: {other:?}"),
    };
    let told = |what: &str| lines.iter().any(|line| line.contains(what));
    ensure!(told("MASTER to BACKUP, handed over to 10.9.0.2"), "the history says {lines:#?}");
    Ok(passed(format!(
        "master after {} ms, {} answers, longest gap {} ms; back {} ms later",
        ms(took),
        heard.answers,
        ms(heard.gap),
        back.elapsed().as_millis()
    )))
}

fn to_keepalived(_: &mut Context) -> Result<Outcome> {
    let world = World::new()?;
    let mut agent = Agent::start(&world.a.host.netns, "a", &config(HIGH, TENTH, ""))?;
    agent.wait_master(down_interval(TENTH, HIGH) + SOON)?;
    let _peer = Keepalived::start(&world.b, LOW)?;
    // It has started once it listens to both groups, which nothing tells; it must stay Backup anyway.
    std::thread::sleep(Duration::from_secs(2));
    let client = Client::start(&world.c.host.netns, VIP_V4)?;
    let since = now();
    operate(&agent, Operation::Yield { router: None, lasting: Some(LASTING) })?;
    let took = first_adverts(&world, &world.b, since)?;
    agent.wait_backup(SOON)?;
    for (_, _, vip) in FAMILIES {
        world.b.wait_has(vip, true, SOON)?;
        world.a.wait_has(vip, false, SOON)?;
    }
    let heard = client.end()?;
    ensure!(heard.lost == 0 && heard.answers > 20, "nobody answered at times: {heard:?}");
    let lawful = skew(TENTH, LOW) + ALLOWANCE;
    ensure!(took <= lawful, "keepalived took over after {} ms, its skew is {}", ms(took), ms(lawful));
    agent.wait_master(LASTING + SOON)?;
    Ok(passed(format!("master after {} ms, longest gap {} ms", ms(took), ms(heard.gap))))
}

fn takes_over(_: &mut Context) -> Result<Outcome> {
    let mut pair = Pair::start(TENTH, "")?;
    let since = now();
    operate(&pair.agent_b, Operation::Takeover { router: None, lasting: Some(LASTING) })?;
    let took = first_adverts(&pair.world, &pair.world.b, since)?;
    ensure!(took <= ALLOWANCE, "b was master only {} ms after the command", ms(took));
    pair.agent_a.wait_backup(SOON)?;
    let status = pair.agent_b.wait_master(SOON)?;
    ensure!(status.routers[0].status.priority == 254, "priority {}", status.routers[0].status.priority);
    let words = status.routers[0].overridden.clone().unwrap_or_default();
    ensure!(words.starts_with("taken over"), "the status says {words:?}");
    // Long enough for the higher priority to have preempted, if it might.
    std::thread::sleep(2 * down_interval(TENTH, HIGH));
    pair.agent_b.wait_master(Duration::from_millis(1))?;
    pair.settle(TENTH)?;
    Ok(passed(format!("master after {} ms", ms(took))))
}

fn maintenance(_: &mut Context) -> Result<Outcome> {
    let mut pair = Pair::start(TENTH, "")?;
    operate(&pair.agent_a, Operation::Maintenance(true))?;
    pair.agent_b.wait_master(SOON)?;
    pair.agent_a.wait_backup(SOON)?;
    pair.agent_a.kill9();
    pair.agent_a.respawn()?;
    let status = pair.agent_a.wait_backup(SOON)?;
    ensure!(status.maintenance, "the status does not say so");
    // Now nobody else is there.
    pair.agent_b.stop()?;
    std::thread::sleep(5 * down_interval(TENTH, HIGH));
    pair.agent_a.wait_backup(Duration::from_millis(1)).context("it became master in maintenance")?;
    for (_, _, vip) in FAMILIES {
        ensure!(!pair.world.a.has(vip)?, "{vip} is on a box in maintenance");
    }
    operate(&pair.agent_a, Operation::Maintenance(false))?;
    pair.agent_a.wait_master(SOON)?;
    Ok(passed(""))
}
