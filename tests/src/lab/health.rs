//! Health checks against real servers: what the prober sees, and what the prober may do.
//!
//! This kernel need not have IPVS: the outcomes are read from the status. What they do to the table is the guest
//! lab's matter.

use std::fs;
use std::io::Read;
use std::net::TcpListener;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use bascule_core::status::{HealthWord, ServerLine, Status};
use bascule_image::host;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::runner::{Case, Context, Outcome};

use super::agent::{Agent, SOON};
use super::observer::now;
use super::process::{Process, TempDir, wait_for};
use super::scene::{FAMILIES, HIGH, by, config};
use super::world::{Node, World};
use super::{case, passed};

const TENTH: Duration = Duration::from_millis(100);
/// Port of nginx.
const NGINX: u16 = 8080;
/// Port of a server that only accepts.
const PLAIN: u16 = 8081;

/// The cases.
pub fn cases() -> Vec<Case> {
    vec![
        case("checks tell nginx up and down, a silent server, and both families apart", 120, outcomes),
        case("one success or failure is not enough where rise and fall say so", 60, thresholds),
        case("the prober runs as nobody without capabilities", 60, prober_rights),
        case("a killed prober comes back and its checks go on, adverts too", 60, prober_killed),
    ]
}

fn service(name: &str, address: &str, check: &str, servers: &[&str]) -> String {
    let mut text = format!(
        "[virtual-server.{name}]\naddress = \"{address}\"\nport = 80\n\
         [virtual-server.{name}.check]\nkind = \"tcp\"\n{check}\n"
    );
    for server in servers {
        text += &format!("[virtual-server.{name}.real-server.\"{server}\"]\n");
    }
    text
}

const QUICK: &str = "interval = \"200ms\"\ntimeout = \"200ms\"\nrise = 1\nfall = 2";

/// nginx on all addresses of a node.
fn nginx(node: &Node, dir: &TempDir) -> Result<Process> {
    host::need(&["nginx-light"])?;
    let path = dir.path().display();
    let text = format!(
        "daemon off;\nmaster_process off;\npid {path}/pid;\nerror_log {path}/error.log;\nevents {{}}\nhttp {{\n  \
         access_log off;\n  client_body_temp_path {path}/body;\n  proxy_temp_path {path}/proxy;\n  \
         fastcgi_temp_path {path}/fastcgi;\n  uwsgi_temp_path {path}/uwsgi;\n  scgi_temp_path {path}/scgi;\n  \
         server {{\n    listen {NGINX};\n    listen [::]:{NGINX};\n    return 200 \"ok\\n\";\n  }}\n}}\n"
    );
    let conf = dir.path().join("nginx.conf");
    fs::write(&conf, text)?;
    let conf = conf.to_string_lossy().into_owned();
    let netns = &node.host.netns;
    let process =
        Process::start(Some(netns), "/usr/sbin/nginx".as_ref(), &["-c", &conf], &dir.path().join("log"))?;
    wait_for("nginx listens", SOON, || {
        let connect = || std::net::TcpStream::connect((node.v4, NGINX)).is_ok();
        netns.enter(connect).unwrap_or(false).then_some(())
    })
    .with_context(|| process.tail())?;
    Ok(process)
}

/// The line of a real server, whatever its service.
fn server<'a>(status: &'a Status, endpoint: &str) -> Option<&'a ServerLine> {
    status.services.iter().flat_map(|service| &service.servers).find(|s| s.endpoint.to_string() == endpoint)
}

fn is(status: &Status, endpoint: &str, health: HealthWord) -> bool {
    server(status, endpoint).is_some_and(|line| line.health == health)
}

fn outcomes(_: &mut Context) -> Result<Outcome> {
    let world = World::new()?;
    let dir = TempDir::new("nginx")?;
    let mut web = nginx(&world.c, &dir)?;
    // Packets to this address reach a host that does not own it and says nothing.
    let mac: Vec<String> = world.c.mac.iter().map(|byte| format!("{byte:02x}")).collect();
    world.a.host.netns.ip(&format!("neigh add 10.9.0.99 lladdr {} dev eth0 nud permanent", mac.join(":")))?;
    world.c.host.netns.sysctl("ipv4/ip_forward", "0")?;
    let (v4, v6) = ("10.9.0.3:8080", "[2001:db8:9::3]:8080");
    let (silent, refusing) = ("10.9.0.99:80", "10.9.0.3:9");
    let text = config(HIGH, TENTH, "")
        + &service("web", "10.9.0.100", QUICK, &[v4, silent, refusing])
        + &service("web6", "2001:db8:9::100", QUICK, &[v6]);
    let mut agent = Agent::start(&world.a.host.netns, "a", &text)?;
    let up = HealthWord::Up;
    let down = HealthWord::Down;
    let settled = |s: &Status| is(s, v4, up) && is(s, v6, up) && is(s, silent, down) && is(s, refusing, down);
    let status = agent.wait("nginx is up, the others are down", SOON, settled)?;
    let detail =
        |status: &Status, name: &str| server(status, name).map(|s| s.detail.clone()).unwrap_or_default();
    let (refused, unanswered) = (detail(&status, refusing), detail(&status, silent));
    ensure!(refused.contains("refused"), "a closed port is told as {refused:?}");
    ensure!(unanswered.contains("no answer"), "a silent server is told as {unanswered:?}");

    web.kill();
    agent.wait("nginx is down", SOON, |s| is(s, v4, down) && is(s, v6, down))?;
    let _web = nginx(&world.c, &dir)?;
    agent.wait("nginx is up again", SOON, settled)?;
    Ok(passed(format!("{refused:?}, {unanswered:?}")))
}

/// With rise 3 and fall 3 and a check every 300 ms, a server is neither in nor out before two intervals have passed.
fn thresholds(_: &mut Context) -> Result<Outcome> {
    let world = World::new()?;
    let slow = "interval = \"300ms\"\ntimeout = \"200ms\"\nrise = 3\nfall = 3";
    let endpoint = "10.9.0.3:8081";
    let text = config(HIGH, TENTH, "") + &service("web", "10.9.0.100", slow, &[endpoint]);
    let mut agent = Agent::start(&world.a.host.netns, "a", &text)?;
    agent.wait("the absent server is down", SOON, |s| is(s, endpoint, HealthWord::Down))?;
    let mut took = Vec::new();
    for _ in 0..2 {
        let listener = world.c.host.netns.enter(|| TcpListener::bind((world.c.v4, PLAIN)))??;
        let begin = now();
        agent.wait("the server is up", SOON, |s| is(s, endpoint, HealthWord::Up))?;
        took.push(("up", now() - begin));
        drop(listener);
        let begin = now();
        agent.wait("the server is down", SOON, |s| is(s, endpoint, HealthWord::Down))?;
        took.push(("down", now() - begin));
    }
    for (what, time) in &took {
        // Three probes lie two intervals apart, or less where an undecided server is probed faster.
        ensure!(*time > Duration::from_millis(100), "{what} after {time:?}: fewer than three probes");
        ensure!(*time < Duration::from_secs(3), "{what} only after {time:?}");
    }
    let figures: Vec<String> =
        took.iter().map(|(what, time)| format!("{what} {} ms", time.as_millis())).collect();
    Ok(passed(figures.join(", ")))
}

/// The prober is the child of the agent.
fn prober_of(agent: &mut Agent) -> Result<Option<Pid>> {
    let pid = agent.process()?.pid().context("the agent has ended")?;
    for task in fs::read_dir(format!("/proc/{pid}/task"))?.flatten() {
        let children = fs::read_to_string(task.path().join("children")).unwrap_or_default();
        for child in children.split_whitespace() {
            let command = fs::read(format!("/proc/{child}/cmdline")).unwrap_or_default();
            if String::from_utf8_lossy(&command).contains("prober") {
                return Ok(Some(Pid::from_raw(child.parse()?)));
            }
        }
    }
    Ok(None)
}

fn wait_prober(agent: &mut Agent, not: Option<Pid>) -> Result<Pid> {
    let tail = agent.tail();
    wait_for("the agent has a prober", SOON, || {
        prober_of(agent).ok().flatten().filter(|pid| Some(*pid) != not)
    })
    .context(tail)
}

fn prober_rights(_: &mut Context) -> Result<Outcome> {
    let world = World::new()?;
    let text = config(HIGH, TENTH, "") + &service("web", "10.9.0.100", QUICK, &["10.9.0.3:9"]);
    let mut agent = Agent::start(&world.a.host.netns, "a", &text)?;
    agent.wait("a probe has run", SOON, |s| is(s, "10.9.0.3:9", HealthWord::Down))?;
    let pid = wait_prober(&mut agent, None)?;
    let mut text = String::new();
    fs::File::open(format!("/proc/{pid}/status"))?.read_to_string(&mut text)?;
    let field = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(&format!("{name}:")));
        line.unwrap_or_default().split_whitespace().map(str::to_owned).collect::<Vec<_>>()
    };
    for name in ["Uid", "Gid"] {
        ensure!(field(name) == ["65534"; 4], "the prober's {name} is {:?}, not nobody", field(name));
    }
    ensure!(field("Groups").is_empty(), "the prober is in groups {:?}", field("Groups"));
    for name in ["CapPrm", "CapEff", "CapInh", "CapAmb"] {
        ensure!(field(name) == ["0000000000000000"], "the prober's {name} is {:?}", field(name));
    }
    ensure!(field("NoNewPrivs") == ["1"], "the prober may gain privileges");
    Ok(passed(format!("CapBnd {:?} Seccomp {:?}", field("CapBnd").concat(), field("Seccomp").concat())))
}

fn prober_killed(_: &mut Context) -> Result<Outcome> {
    let world = World::new()?;
    let endpoint = "10.9.0.3:8081";
    let text = config(HIGH, TENTH, "") + &service("web", "10.9.0.100", QUICK, &[endpoint]);
    let bind = || TcpListener::bind((world.c.v4, PLAIN));
    let listener = world.c.host.netns.enter(bind)??;
    let mut agent = Agent::start(&world.a.host.netns, "a", &text)?;
    agent.wait("the server is up", SOON, |s| is(s, endpoint, HealthWord::Up))?;
    agent.wait_master(SOON)?;
    let since = now();
    let mut old = wait_prober(&mut agent, None)?;
    for _ in 0..3 {
        kill(old, Signal::SIGKILL)?;
        let new = wait_prober(&mut agent, Some(old))?;
        let status = agent.status()?;
        ensure!(is(&status, endpoint, HealthWord::Up), "a killed prober took a good server out: {status:?}");
        old = new;
    }
    drop(listener);
    agent.wait("the server is down", SOON, |s| is(s, endpoint, HealthWord::Down))?;
    let _listener = world.c.host.netns.enter(bind)??;
    agent.wait("the server is up again", SOON, |s| is(s, endpoint, HealthWord::Up))?;
    for (family, vrid, _) in FAMILIES {
        let all = world.observer.adverts(since, by(&world.a, vrid));
        let worst = all.windows(2).map(|two| two[1].0 - two[0].0).max().context("no adverts")?;
        ensure!(worst < 2 * TENTH, "{family}: silent for {worst:?} while the prober was killed");
    }
    Ok(passed(""))
}
