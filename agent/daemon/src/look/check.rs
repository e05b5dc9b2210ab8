//! `check VS/RS`: the health check of a real server, run once from here by a prober of its own, every step told.

use std::io;
use std::time::{Duration, Instant};

use bascule_core::config::Config;
use bascule_core::control::Request;
use bascule_core::health::{Probe, ProbeId, ProbeKind, Target, Verdict};
use bascule_core::net::{Endpoint, Name};
use bascule_core::status::{HealthWord, Status};

use super::resolve::{GLANCE, tell};
use super::{LookError, ask_lines, ask_status};
use crate::prober::parent::{FromProber, Prober};
use crate::shell::Agent;
use crate::shell::console::Console;

/// A prober that does not start or answer within this time after the deadline will not.
const PATIENCE: Duration = Duration::from_secs(6);

/// Runs the health check of a real server once, from here, and tells every step. Whether it passed.
///
/// # Errors
/// When the terminal is gone.
pub fn check(
    service: &Name,
    server: &Endpoint,
    agent: &dyn Agent,
    console: &mut dyn Console,
) -> io::Result<bool> {
    let target = match target(service, server, agent) {
        Ok(target) => target,
        Err(reason) => return tell(console, &reason).map(|()| false),
    };
    tell(console, &format!("{service}: real server {server}"))?;
    if let Ok(status) = ask_status("the health", agent)
        && let Some(words) = standing(&status, service, server)
    {
        tell(console, &format!("the agent has it as {words}"))?;
    }
    let text = format!("check: {}, deadline {}", words(&target), millis(target.timeout));
    tell(console, &text)?;
    match probe(&target, console)? {
        Some(Verdict::Up) => tell(console, "verdict: UP").map(|()| true),
        Some(Verdict::Down(reason)) => tell(console, &format!("verdict: DOWN: {reason}")).map(|()| false),
        None => Ok(false),
    }
}

/// What is configured, or why nothing is.
fn target(service: &Name, server: &Endpoint, agent: &dyn Agent) -> Result<Target, String> {
    let config = configuration(agent)?;
    let known = |names: Vec<String>| if names.is_empty() { "none".to_owned() } else { names.join(", ") };
    let found = config.virtual_server.get(service).ok_or_else(|| {
        let names = config.virtual_server.keys().map(ToString::to_string).collect();
        format!("there is no virtual server {service}: there is {}", known(names))
    })?;
    if !found.real_server.contains_key(server) {
        let names = found.real_server.keys().map(ToString::to_string).collect();
        return Err(format!("{service} has no real server {server}: it has {}", known(names)));
    }
    Target::of(found, server).ok_or_else(|| {
        format!(
            "{service} has no health check, so its real servers are always used: configure one with \
             \"set virtual-server {service} check kind tcp\""
        )
    })
}

/// The running configuration, out of the agent's text.
///
/// # Errors
/// Why there is none, in words.
pub fn configuration(agent: &dyn Agent) -> Result<Config, String> {
    let lines = ask_lines("the configuration", agent, &Request::Configuration)
        .map_err(|e: LookError| e.to_string())?;
    Config::parse(&lines.join("\n"), "running configuration")
        .map(|checked| checked.config)
        .map_err(|problems| problems.first().map(ToString::to_string).unwrap_or_default())
}

/// What a probe of this target does.
#[must_use]
pub fn words(target: &Target) -> String {
    match target.kind {
        ProbeKind::TcpConnect => format!("TCP connection to {}", target.address),
    }
}

fn standing(status: &Status, service: &Name, server: &Endpoint) -> Option<String> {
    let service = status.services.iter().find(|line| line.name == *service)?;
    let line = service.servers.iter().find(|line| line.endpoint == *server)?;
    let word = match line.health {
        HealthWord::Unchecked => "unchecked",
        HealthWord::Pending => "pending",
        HealthWord::Up => "up",
        HealthWord::Down => "DOWN",
    };
    Some(if line.detail.is_empty() { word.to_owned() } else { format!("{word} ({})", line.detail) })
}

fn millis(span: Duration) -> String {
    format!("{} ms", super::ping::millis(span))
}

/// Runs one probe. What went wrong on this box has been told.
fn probe(target: &Target, console: &mut dyn Console) -> io::Result<Option<Verdict>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let start = Instant::now();
    let mut prober = {
        let _inside = runtime.enter();
        Prober::start()
    };
    prober.run(Probe {
        id: ProbeId(1),
        target: target.address,
        kind: target.kind.clone(),
        timeout: target.timeout,
    });
    tell(console, &format!("{}  prober started, probing", millis(start.elapsed())))?;
    let deadline = start + target.timeout + PATIENCE;
    loop {
        let next = runtime.block_on(async { tokio::time::timeout(GLANCE, prober.inbox.recv()).await });
        match next {
            Ok(Some(FromProber::Outcome(outcome))) => {
                let text = match &outcome.verdict {
                    Verdict::Up => format!("connected, then reset, after {}", millis(outcome.took)),
                    Verdict::Down(_) => format!("failed after {}", millis(outcome.took)),
                };
                tell(console, &format!("{}  {text}", millis(start.elapsed())))?;
                return Ok(Some(outcome.verdict));
            }
            Ok(Some(FromProber::Restarted) | None) => {
                tell(console, "not probed: the prober ended; see \"show log\"")?;
                return Ok(None);
            }
            Err(_) if Instant::now() >= deadline => {
                tell(console, "not probed: the prober does not answer; see \"show log\"")?;
                return Ok(None);
            }
            Err(_) if console.pause(Duration::ZERO)? => return Ok(None),
            Err(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::look::testing::{Answers, Dead, Memory};
    use bascule_core::control::Reply;

    const TEXT: &str = "[virtual-server.web]\naddress = \"10.0.0.100\"\nport = 80\n\
                        [virtual-server.web.real-server.\"10.1.0.21:80\"]\n";

    fn said(agent: &dyn Agent, service: &str, server: &str) -> String {
        let mut console = Memory { pauses: 100, ..Memory::default() };
        let passed = check(&service.parse().unwrap(), &server.parse().unwrap(), agent, &mut console).unwrap();
        assert!(!passed);
        console.said.borrow().join(" ")
    }

    #[test]
    fn what_cannot_be_checked_says_why_and_what_there_is() {
        let agent = Answers(|_: &Request| Reply::Lines(TEXT.lines().map(Into::into).collect()));
        let text = said(&agent, "wab", "10.1.0.21:80");
        assert!(text.contains("no virtual server wab: there is web"), "{text}");
        let text = said(&agent, "web", "10.1.0.22:80");
        assert!(text.contains("web has no real server 10.1.0.22:80: it has 10.1.0.21:80"), "{text}");
        let text = said(&agent, "web", "10.1.0.21:80");
        assert!(
            text.contains("web has no health check") && text.contains("set virtual-server web"),
            "{text}"
        );
        let text = said(&Dead, "web", "10.1.0.21:80");
        assert!(text.contains("no agent answers"), "{text}");
    }
}
