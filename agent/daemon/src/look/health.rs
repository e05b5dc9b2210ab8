//! `show health-checks`: what is probed how, and what came of it.

use bascule_core::health::{ProbeKind, Target};
use bascule_core::shell::report::Report;
use bascule_core::shell::table::{Table, age};
use bascule_core::status::{HealthWord, ServerLine, ServiceLine};
use serde_json::{Value, json};

use super::check::{configuration, words};
use super::{LookError, ask_status};
use crate::shell::Agent;

/// `show health-checks`.
///
/// # Errors
/// When the agent does not answer.
pub fn show(agent: &dyn Agent) -> Result<Report, LookError> {
    let status = ask_status("the health checks", agent)?;
    let config = configuration(agent)
        .map_err(|error| LookError::Refused { what: "the health checks", lines: vec![error] })?;
    let target = |service: &ServiceLine, server: &ServerLine| {
        Target::of(config.virtual_server.get(&service.name)?, &server.endpoint)
    };
    let rows = status.services.iter().flat_map(|service| {
        let probed = move |server| (service, server, target(service, server));
        service.servers.iter().filter(|server| !server.sorry).map(probed)
    });
    Ok(report(&rows.collect::<Vec<_>>()))
}

type Row<'a> = (&'a ServiceLine, &'a ServerLine, Option<Target>);

fn report(rows: &[Row<'_>]) -> Report {
    let titles =
        ["VIRTUAL SERVER", "REAL SERVER", "CHECK", "EVERY", "WITHIN", "UP/DOWN", "RESULT", ">FOR", "LATEST"];
    let mut table = Table::new(&titles);
    for (service, server, target) in rows {
        let of = |text: fn(&Target) -> String| target.as_ref().map_or_else(|| "-".to_owned(), text);
        table.row([
            service.name.to_string(),
            server.endpoint.to_string(),
            of(|target| kind(target).to_owned()),
            of(|target| span(target.interval)),
            of(|target| span(target.timeout)),
            of(|target| format!("{}/{}", target.rise, target.fall)),
            word(server.health).to_owned(),
            server.since.map(age).unwrap_or_default(),
            server.detail.clone(),
        ]);
    }
    let mut lines = table.lines();
    if lines.is_empty() {
        lines.push("no real servers".to_owned());
    } else {
        lines.push("UP/DOWN: answers in a row that bring a server in, failures that take it out".to_owned());
    }
    Report { lines, json: json!({ "health_checks": rows.iter().map(to_json).collect::<Vec<_>>() }) }
}

const fn kind(target: &Target) -> &'static str {
    match target.kind {
        ProbeKind::TcpConnect => "tcp",
    }
}

const fn word(health: HealthWord) -> &'static str {
    match health {
        HealthWord::Unchecked => "unchecked",
        HealthWord::Pending => "pending",
        HealthWord::Up => "up",
        HealthWord::Down => "DOWN",
    }
}

fn span(duration: std::time::Duration) -> String {
    let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    bascule_core::config::model::Span::from_millis(millis).to_string()
}

fn to_json((service, server, target): &Row<'_>) -> Value {
    let check = target.as_ref().map(|target| {
        json!({
            "kind": kind(target),
            "does": words(target),
            "address": target.address,
            "interval_ms": u64::try_from(target.interval.as_millis()).unwrap_or(u64::MAX),
            "timeout_ms": u64::try_from(target.timeout.as_millis()).unwrap_or(u64::MAX),
            "rise": target.rise,
            "fall": target.fall,
        })
    });
    json!({
        "virtual_server": service.name.as_str(),
        "real_server": server.endpoint.to_string(),
        "check": check,
        "health": word(server.health),
        "in_this_state_seconds": server.since.map(|since| since.as_secs()),
        "latency_us": server.latency.map(|took| u64::try_from(took.as_micros()).unwrap_or(u64::MAX)),
        "latest": server.detail,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::look::testing::{Answers, Dead, at, crowded, fits};
    use bascule_core::control::{Reply, Request};

    #[test]
    fn checks_are_told_with_their_terms_and_latest_result() {
        let text = "[virtual-server.web]\naddress = \"10.0.0.100\"\nport = 80\n\
                    check = { kind = \"tcp\", interval = \"2s\", timeout = \"500ms\", fall = 3 }\n\
                    [virtual-server.web.real-server.\"10.1.0.21:80\"]\n";
        let mut status = crowded();
        status.services.truncate(1);
        status.services[0].name = "web".parse().unwrap();
        status.services[0].servers.truncate(1);
        status.services[0].servers[0].endpoint = "10.1.0.21:80".parse().unwrap();
        let agent = Answers(move |request: &Request| match request {
            Request::Configuration => Reply::Lines(text.lines().map(Into::into).collect()),
            _ => Reply::Status(Box::new(status.clone())),
        });
        let report = show(&agent).unwrap();
        fits(&report);
        assert_eq!(
            report.lines,
            [
                "VIRTUAL SERVER REAL SERVER  CHECK EVERY WITHIN UP/DOWN RESULT   FOR LATEST",
                "web            10.1.0.21:80 tcp   2s    500ms  1/3     DOWN   1h02m",
                "                                                             connection refused",
                "UP/DOWN: answers in a row that bring a server in, failures that take it out",
            ]
        );
        assert_eq!(at(&report.json, "health_checks.0.check.timeout_ms"), 500);
        assert_eq!(at(&report.json, "health_checks.0.in_this_state_seconds"), 3_725);
        assert_eq!(at(&report.json, "health_checks.0.check.does"), "TCP connection to 10.1.0.21:80");
        let error = show(&Dead).unwrap_err().to_string();
        assert!(error.contains("Without the agent there are"), "{error}");
    }
}
