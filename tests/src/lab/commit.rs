//! Commits on running boxes: candidates, what goes back by itself, power cuts, files that come by USB.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use bascule_core::config::edit::Edit;
use bascule_core::control::{CommitLine, Form, Open, Reply, Request, SessionId, Standing};
use bascule_core::net::Name;
use bascule_core::router::Role;
use bascule_core::wire::frame::{Decoder, encode};

use crate::runner::{Case, Context, Outcome};

use super::agent::{Agent, SOON, router};
use super::monitor::Monitor;
use super::observer::now;
use super::scene::{FAMILIES, HIGH, Pair, VIP_V4, VIP_V6, by, config, ms};
use super::{case, passed};

const TENTH: Duration = Duration::from_millis(100);
/// The shortest time for a confirmation.
const SHORTEST: Duration = Duration::from_secs(10);

/// The cases.
pub fn cases() -> Vec<Case> {
    vec![
        case(
            "a commit changes what it changed and nothing else, on the wire and in the kernel",
            60,
            by_difference,
        ),
        case(
            "a commit that nobody confirms goes back by itself, also over kill -9 of the agent",
            90,
            not_confirmed,
        ),
        case("a power cut before the confirmation boots the configuration before", 60, power_cut),
        case("a guarded commit that puts a virtual router into Fault goes back at once", 90, guarded),
        case(
            "two people change different things and both commits count; the same thing is refused",
            60,
            two_people,
        ),
        case("a candidate outlives its line and the agent, and who works alone is alone", 60, candidates),
        case(
            "a file that was edited on a PC is taken at a boot, a bad one is refused, and commits write it",
            60,
            edited,
        ),
    ]
}

fn ask(agent: &Agent, request: &Request) -> Result<Reply> {
    let path = agent.socket();
    let mut stream = UnixStream::connect(&path).with_context(|| format!("no agent at {}", path.display()))?;
    stream.set_read_timeout(Some(SOON))?;
    stream.write_all(&encode(request))?;
    let mut decoder = Decoder::<Reply>::new(16 << 20);
    let mut bytes = vec![0; 64 << 10];
    loop {
        let read = stream.read(&mut bytes).with_context(|| format!("no reply to {request:?}"))?;
        ensure!(read > 0, "the agent hung up on {request:?}");
        if let Some(reply) = decoder.push(&bytes[..read]).into_iter().next() {
            return Ok(reply?);
        }
    }
}

fn done(agent: &Agent, request: &Request) -> Result<String> {
    match ask(agent, request)? {
        Reply::Done(text) => Ok(text),
        other => bail!("{request:?} was answered by {other:?}"),
    }
}

fn refused(agent: &Agent, request: &Request) -> Result<String> {
    match ask(agent, request)? {
        Reply::Refused(lines) => Ok(lines.join("\n")),
        other => bail!("{request:?} was answered by {other:?}"),
    }
}

fn user(name: &str) -> Result<Name> {
    name.parse().with_context(|| format!("{name} is no name"))
}

fn open(agent: &Agent, name: &str, how: Open) -> Result<SessionId> {
    match ask(agent, &Request::Open { user: user(name)?, how })? {
        Reply::Session(id, _) => Ok(id),
        other => bail!("{name} was refused a candidate: {other:?}"),
    }
}

fn set(agent: &Agent, session: SessionId, line: &str) -> Result<()> {
    let edit = Edit::Set(line.split(' ').map(str::to_owned).collect());
    done(agent, &Request::Edit { session, edit }).map(drop)
}

fn commit(session: SessionId, confirmed: Option<Duration>, guard: bool) -> Request {
    Request::Commit { session, comment: Some("a test".to_owned()), confirmed, guard }
}

fn commits(agent: &Agent) -> Result<Vec<CommitLine>> {
    match ask(agent, &Request::Commits)? {
        Reply::Commits(lines) => Ok(lines),
        other => bail!("no list of commits but {other:?}"),
    }
}

fn standing(agent: &Agent, session: Option<SessionId>) -> Result<Standing> {
    match ask(agent, &Request::Standing(session))? {
        Reply::Standing(standing) => Ok(standing),
        other => bail!("no standing but {other:?}"),
    }
}

fn wait_priority(agent: &mut Agent, priority: u8, limit: Duration) -> Result<()> {
    let what = format!("priority {priority} of v4");
    agent
        .wait(&what, limit, |status| router(status, "v4").is_ok_and(|r| r.status.priority == priority))
        .map(drop)
}

/// No box but `a` sent an advert since then, and `a` without a hole.
fn silent(pair: &Pair, since: Duration) -> Result<Duration> {
    std::thread::sleep(5 * TENTH);
    let mut worst = Duration::ZERO;
    for (family, vrid, _) in FAMILIES {
        let other = pair.world.observer.adverts(since, by(&pair.world.b, vrid));
        ensure!(other.is_empty(), "{family}: b took over");
        let all = pair.world.observer.adverts(since, by(&pair.world.a, vrid));
        let gap = all.windows(2).map(|two| two[1].0 - two[0].0).max().context("no adverts")?;
        ensure!(gap < 3 * TENTH, "{family}: a was silent for {gap:?}");
        worst = worst.max(gap);
    }
    Ok(worst)
}

fn by_difference(_: &mut Context) -> Result<Outcome> {
    let mut pair = Pair::start(TENTH, "")?;
    let monitor = Monitor::start(&pair.world.a.host.netns)?;
    let (before, since) = (pair.agent_a.status()?, now());
    let session = open(&pair.agent_a, "anna", Open::Private)?;
    set(&pair.agent_a, session, "vrrp v4 priority 160")?;
    ensure!(standing(&pair.agent_a, Some(session))?.uncommitted, "an edit is not uncommitted");
    let compare = Request::View { session: Some(session), path: Vec::new(), form: Form::Compare(0) };
    let Reply::Lines(lines) = ask(&pair.agent_a, &compare)? else { bail!("no comparison") };
    ensure!(lines.concat().contains("160") && lines.len() < 6, "the comparison is {lines:?}");
    ensure!(router(&pair.agent_a.status()?, "v4")?.status.priority == HIGH, "an edit acted at once");
    done(&pair.agent_a, &commit(session, None, true))?;
    wait_priority(&mut pair.agent_a, 160, SOON)?;
    ensure!(!standing(&pair.agent_a, Some(session))?.uncommitted, "a committed candidate is uncommitted");
    let after = pair.agent_a.status()?;
    for name in ["v4", "v6"] {
        let (old, new) = (router(&before, name)?, router(&after, name)?);
        ensure!(old.status.since == new.status.since, "{name} changed its state: {old:?} then {new:?}");
    }
    monitor.untouched(&[VIP_V4, VIP_V6])?;
    let gap = silent(&pair, since)?;
    let list = commits(&pair.agent_a)?;
    ensure!(
        list.len() == 2 && list[0].user == "anna" && list[0].comment == "a test",
        "the commits are {list:?}"
    );
    // And back again.
    done(&pair.agent_a, &Request::Rollback { session, revision: 1 })?;
    done(&pair.agent_a, &commit(session, None, true))?;
    wait_priority(&mut pair.agent_a, HIGH, SOON)?;
    Ok(passed(format!("longest gap between adverts {} ms", ms(gap))))
}

fn not_confirmed(_: &mut Context) -> Result<Outcome> {
    let mut pair = Pair::start(TENTH, "")?;
    let since = now();
    let session = open(&pair.agent_a, "anna", Open::Private)?;
    set(&pair.agent_a, session, "vrrp v4 priority 160")?;
    let begin = Instant::now();
    done(&pair.agent_a, &commit(session, Some(SHORTEST), false))?;
    wait_priority(&mut pair.agent_a, 160, SOON)?;
    std::thread::sleep(Duration::from_secs(2));
    pair.agent_a.kill9();
    pair.agent_a.respawn()?;
    wait_priority(&mut pair.agent_a, 160, SOON)?;
    let left = standing(&pair.agent_a, None)?.confirm.context("nothing waits after the restart")?;
    ensure!(left < SHORTEST, "the timer began anew: {left:?} left");
    wait_priority(&mut pair.agent_a, HIGH, SHORTEST + SOON)?;
    let took = begin.elapsed();
    ensure!(took > SHORTEST && took < SHORTEST + Duration::from_secs(5), "it went back after {took:?}");
    let list = commits(&pair.agent_a)?;
    ensure!(list[0].comment.contains("went back: not confirmed within 10 s"), "the commits are {list:?}");
    ensure!(list[1].unconfirmed && !list[0].unconfirmed, "the commits are {list:?}");
    let text = fs::read_to_string(pair.agent_a.config_path())?;
    ensure!(!text.contains("priority = 160"), "the file did not go back:\n{text}");
    // What was confirmed stays.
    set(&pair.agent_a, session, "vrrp v4 priority 170")?;
    done(&pair.agent_a, &commit(session, Some(SHORTEST), false))?;
    done(&pair.agent_a, &Request::Confirm { user: user("anna")? })?;
    std::thread::sleep(SHORTEST + Duration::from_secs(2));
    wait_priority(&mut pair.agent_a, 170, TENTH)?;
    let gap = silent(&pair, since)?;
    Ok(passed(format!("back after {} ms, longest gap between adverts {} ms", ms(took), ms(gap))))
}

fn power_cut(_: &mut Context) -> Result<Outcome> {
    let mut pair = Pair::start(TENTH, "")?;
    let session = open(&pair.agent_a, "anna", Open::Private)?;
    set(&pair.agent_a, session, "vrrp v4 priority 160")?;
    done(&pair.agent_a, &commit(session, Some(Duration::from_secs(600)), false))?;
    wait_priority(&mut pair.agent_a, 160, SOON)?;
    pair.agent_a.lose_power()?;
    pair.agent_a.respawn()?;
    wait_priority(&mut pair.agent_a, HIGH, SOON)?;
    let status = pair.agent_a.status()?;
    let told = status.problems.iter().find(|problem| problem.contains("went back")).cloned();
    let told = told.with_context(|| format!("the status does not tell: {:?}", status.problems))?;
    // A confirmed one boots.
    let session = open(&pair.agent_a, "anna", Open::Private)?;
    set(&pair.agent_a, session, "vrrp v4 priority 170")?;
    done(&pair.agent_a, &commit(session, None, true))?;
    pair.agent_a.lose_power()?;
    pair.agent_a.respawn()?;
    wait_priority(&mut pair.agent_a, 170, SOON)?;
    Ok(passed(told))
}

fn guarded(_: &mut Context) -> Result<Outcome> {
    let mut pair = Pair::start(TENTH, "")?;
    let session = open(&pair.agent_a, "anna", Open::Private)?;
    set(&pair.agent_a, session, "vrrp v4 interface eth7")?;
    let begin = Instant::now();
    done(&pair.agent_a, &commit(session, Some(Duration::from_secs(600)), true))?;
    pair.agent_a.wait("Fault of v4", SOON, |status| {
        router(status, "v4").is_ok_and(|router| matches!(router.status.role, Role::Fault(_)))
    })?;
    pair.agent_a.wait_master(SOON)?;
    let took = begin.elapsed();
    let list = commits(&pair.agent_a)?;
    ensure!(list[0].comment.contains("v4 is in Fault"), "the commits do not tell why: {list:?}");
    ensure!(standing(&pair.agent_a, None)?.confirm.is_none(), "something still waits");
    // Unless told not to.
    set(&pair.agent_a, session, "vrrp v4 interface eth7")?;
    done(&pair.agent_a, &commit(session, Some(Duration::from_secs(600)), false))?;
    std::thread::sleep(Duration::from_secs(8));
    ensure!(standing(&pair.agent_a, None)?.confirm.is_some(), "an unguarded commit went back");
    Ok(passed(format!("back after {} ms: {}", ms(took), list[0].comment)))
}

fn two_people(_: &mut Context) -> Result<Outcome> {
    let mut pair = Pair::start(TENTH, "")?;
    let agent = &pair.agent_a;
    let (anna, ben) = (open(agent, "anna", Open::Private)?, open(agent, "ben", Open::Private)?);
    let carl = open(agent, "carl", Open::Private)?;
    set(agent, anna, "vrrp v4 priority 160")?;
    set(agent, ben, "vrrp v6 priority 170")?;
    set(agent, carl, "vrrp v4 preempt false")?;
    done(agent, &commit(anna, None, true))?;
    done(agent, &commit(ben, None, true))?;
    let said = refused(agent, &commit(carl, None, true))?;
    ensure!(said.contains("vrrp v4 was changed by another commit"), "the refusal says {said:?}");
    pair.agent_a.wait("both priorities", SOON, |status| {
        let priority = |name| router(status, name).map_or(0, |router| router.status.priority);
        priority("v4") == 160 && priority("v6") == 170
    })?;
    Ok(passed(said))
}

fn candidates(_: &mut Context) -> Result<Outcome> {
    let mut pair = Pair::start(TENTH, "")?;
    let session = open(&pair.agent_a, "anna", Open::Exclusive)?;
    let ben = Request::Open { user: user("ben")?, how: Open::Private };
    let said = refused(&pair.agent_a, &ben)?;
    ensure!(said.contains("anna works on the configuration alone"), "the refusal says {said:?}");
    set(&pair.agent_a, session, "vrrp v4 priority 160")?;
    done(&pair.agent_a, &Request::Close { session, keep: true })?;
    pair.agent_a.kill9();
    pair.agent_a.respawn()?;
    pair.agent_a.wait_master(SOON)?;
    let resumed = open(&pair.agent_a, "anna", Open::Resume)?;
    ensure!(resumed != session, "the old line could still speak");
    ensure!(standing(&pair.agent_a, Some(resumed))?.uncommitted, "the candidate is lost");
    done(&pair.agent_a, &commit(resumed, None, true))?;
    wait_priority(&mut pair.agent_a, 160, SOON)?;
    // A text beyond any line of a shell goes through too.
    let long: String = (0..20_000)
        .map(|n| format!("[route.r{n}]\nto = \"10.{}.{}.0/24\"\nvia = \"10.9.0.9\"\n", n / 256, n % 256))
        .collect();
    let edit = Edit::Merge(long.clone());
    done(&pair.agent_a, &Request::Edit { session: resumed, edit })?;
    Ok(passed(format!("{} KiB in one request", long.len() >> 10)))
}

fn edited(_: &mut Context) -> Result<Outcome> {
    let mut pair = Pair::start(TENTH, "")?;
    let session = open(&pair.agent_a, "anna", Open::Private)?;
    set(&pair.agent_a, session, "vrrp v4 priority 160")?;
    done(&pair.agent_a, &commit(session, None, true))?;
    let text = fs::read_to_string(pair.agent_a.config_path())?;
    ensure!(
        text.starts_with("#: bascule configuration") && text.contains("priority = 160"),
        "the file holds:\n{text}"
    );
    pair.agent_a.stop()?;
    pair.agent_a.write_config(&text.replace("priority = 160", "priority = 180"))?;
    pair.agent_a.respawn()?;
    wait_priority(&mut pair.agent_a, 180, SOON)?;
    ensure!(commits(&pair.agent_a)?[0].user == "file", "not by the file");
    // A bad one says why and changes nothing.
    pair.agent_a.write_config(&config(HIGH, TENTH, "priorty = 1"))?;
    let (good, said) = pair.agent_a.reload()?;
    ensure!(!good && said.contains("priorty"), "a bad file was taken: {said}");
    pair.agent_a.stop()?;
    pair.agent_a.respawn()?;
    wait_priority(&mut pair.agent_a, 180, SOON)?;
    let told = pair.agent_a.status()?.configuration;
    ensure!(told.contains("priorty"), "the status does not tell why not the file runs: {told}");
    Ok(passed(told))
}
