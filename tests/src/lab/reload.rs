//! A changed configuration is applied by difference; a bad one changes nothing.

use std::time::Duration;

use anyhow::{Result, ensure};
use bascule_core::status::Status;

use crate::runner::{Case, Context, Outcome};

use super::agent::{Agent, SOON, router};
use super::monitor::Monitor;
use super::observer::now;
use super::scene::{FAMILIES, HIGH, LOW, Pair, VIP_V4, VIP_V6, VRID_V4, VRID_V6, by, config};
use super::{case, passed};

const TENTH: Duration = Duration::from_millis(100);
const EXTRA: &str = "10.9.0.101";

/// The cases.
pub fn cases() -> Vec<Case> {
    vec![
        case(
            "a reload adds, changes and removes one virtual router and leaves the others alone",
            60,
            by_difference,
        ),
        case("a reload of a bad file is refused with every line and changes nothing", 60, refused),
        case("at a start with a bad file the last good configuration runs", 60, last_good),
    ]
}

fn third(address: &str) -> String {
    format!(
        "[vrrp.third]\ninterface = \"eth0\"\nvrid = 53\npriority = 200\nadvert-interval = \"100ms\"\n\
         addresses = [\"{address}/24\"]\n"
    )
}

/// Tells the agent to reload in one of the two ways.
fn apply(agent: &mut Agent, text: &str, by_signal: bool) -> Result<()> {
    agent.write_config(text)?;
    if by_signal {
        agent.hang_up()
    } else {
        let (good, said) = agent.reload()?;
        ensure!(good, "`bascule reload` refused a good file: {said}");
        Ok(())
    }
}

fn same_role_since(before: &Status, after: &Status, name: &str) -> Result<()> {
    let (old, new) = (router(before, name)?, router(after, name)?);
    ensure!(old.status.since == new.status.since, "{name} changed its state: {old:?} then {new:?}");
    Ok(())
}

fn by_difference(_: &mut Context) -> Result<Outcome> {
    let mut pair = Pair::start(TENTH, "")?;
    let base = config(HIGH, TENTH, "");
    let monitor = Monitor::start(&pair.world.a.host.netns)?;
    let before = pair.agent_a.status()?;
    let since = now();
    for by_signal in [true, false] {
        // A virtual router more.
        apply(&mut pair.agent_a, &(base.clone() + &third(EXTRA)), by_signal)?;
        pair.world.a.wait_has(EXTRA, true, SOON)?;
        // Another address in it.
        apply(&mut pair.agent_a, &(base.clone() + &third("10.9.0.102")), by_signal)?;
        pair.world.a.wait_has("10.9.0.102", true, SOON)?;
        pair.world.a.wait_has(EXTRA, false, SOON)?;
        // And without it: it says goodbye.
        let leaving = now();
        apply(&mut pair.agent_a, &base, by_signal)?;
        let by_third = by(&pair.world.a, 53);
        let observer = &pair.world.observer;
        let bye = |advert: &super::wire::Advert| by_third(advert) && advert.priority == 0;
        observer.wait_advert("priority 0 of the removed virtual router", leaving, SOON, bye)?;
        pair.world.a.wait_has("10.9.0.102", false, SOON)?;
    }
    // A new priority of one family does not disturb the other.
    let other = base.replacen(&format!("priority = {HIGH}"), "priority = 160", 1);
    apply(&mut pair.agent_a, &other, true)?;
    let what = "the new priority on the wire";
    let by_v4 = by(&pair.world.a, VRID_V4);
    pair.world.observer.wait_advert(what, since, SOON, |advert| by_v4(advert) && advert.priority == 160)?;
    let after = pair.agent_a.status()?;
    same_role_since(&before, &after, "v4")?;
    same_role_since(&before, &after, "v6")?;
    monitor.untouched(&[VIP_V4, VIP_V6])?;
    check_adverts(&pair, since)?;
    Ok(passed(""))
}

/// Adverts of `a` went on without a hole and without a resignation, and `b` sent none.
fn check_adverts(pair: &Pair, since: Duration) -> Result<()> {
    for (family, vrid, _) in FAMILIES {
        let all = pair.world.observer.adverts(since, by(&pair.world.a, vrid));
        ensure!(all.iter().all(|(_, advert)| advert.priority != 0), "{family}: a resigned at a reload");
        let worst = all.windows(2).map(|two| two[1].0 - two[0].0).max().unwrap_or(SOON);
        ensure!(worst < 2 * TENTH, "{family}: a was silent for {worst:?} at a reload");
        let other = pair.world.observer.adverts(since, by(&pair.world.b, vrid));
        ensure!(other.is_empty(), "{family}: b took over at a reload of a");
    }
    Ok(())
}

/// A file with a mistake on each of three lines.
fn bad(base: &str) -> (String, Vec<String>) {
    let mut text = base.replace(&format!("vrid = {VRID_V6}"), "vrid = 300");
    text = text.replacen(&format!("priority = {HIGH}"), "priorty = 150", 1);
    text += "[virtual-server.web]\naddress = \"10.9.0.100\"\nport = 0\n";
    let line = |word: &str| text.lines().position(|line| line.contains(word)).map_or(0, |index| index + 1);
    let wanted = [("priorty", "priorty"), ("vrid = 300", "300"), ("port = 0", "port 0")];
    let wanted = wanted.map(|(place, word)| format!("{} {word}", line(place)));
    (text, wanted.to_vec())
}

/// Whether one line of `said` names both the line number and the word.
fn names(said: &str, wanted: &str) -> bool {
    let Some((line, word)) = wanted.split_once(' ') else { return false };
    said.lines().any(|text| text.contains(&format!(":{line}")) && text.contains(word))
}

fn refused(_: &mut Context) -> Result<Outcome> {
    let mut pair = Pair::start(TENTH, "")?;
    let (text, wanted) = bad(&config(HIGH, TENTH, ""));
    let monitor = Monitor::start(&pair.world.a.host.netns)?;
    let before = pair.agent_a.status()?;
    let since = now();
    pair.agent_a.write_config(&text)?;
    let (good, said) = pair.agent_a.reload()?;
    ensure!(!good, "`bascule reload` accepted a bad file: {said}");
    for wanted in &wanted {
        ensure!(names(&said, wanted), "no line of the refusal says {wanted:?}:\n{said}");
    }
    pair.agent_a.hang_up()?;
    super::process::wait_for("the refusal by SIGHUP is in the log", SOON, || {
        let log = pair.agent_a.log_text();
        wanted.iter().all(|wanted| names(&log, wanted)).then_some(())
    })?;
    std::thread::sleep(Duration::from_millis(500));
    let after = pair.agent_a.status()?;
    same_role_since(&before, &after, "v4")?;
    same_role_since(&before, &after, "v6")?;
    ensure!(router(&after, "v4")?.status.priority == HIGH, "a bad file changed the priority: {after:?}");
    monitor.untouched(&[VIP_V4, VIP_V6])?;
    check_adverts(&pair, since)?;
    Ok(passed(said.lines().next().unwrap_or_default().to_owned()))
}

fn last_good(_: &mut Context) -> Result<Outcome> {
    let mut pair = Pair::start(TENTH, "")?;
    let (text, _) = bad(&config(LOW - 50, TENTH, ""));
    pair.agent_a.write_config(&text)?;
    pair.agent_a.stop()?;
    pair.agent_b.wait_master(SOON)?;
    pair.agent_a.respawn()?;
    pair.settle(TENTH)?;
    let status = pair.agent_a.status()?;
    ensure!(
        router(&status, "v4")?.status.priority == HIGH,
        "not the last good configuration runs: {status:?}"
    );
    let told = status.configuration.clone();
    let good = pair.agent_b.status()?.configuration;
    ensure!(
        told != good && told.len() > good.len(),
        "the status does not tell why not the file runs: {told:?}"
    );
    // And the file, once mended, is taken.
    pair.agent_a.write_config(&config(HIGH + 1, TENTH, ""))?;
    let (good, said) = pair.agent_a.reload()?;
    ensure!(good, "the mended file was refused: {said}");
    pair.agent_a.wait("the mended priority", SOON, |status| {
        router(status, "v4").is_ok_and(|router| router.status.priority == HIGH + 1)
    })?;
    Ok(passed(told))
}
