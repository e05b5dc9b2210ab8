//! `show vrrp` and `show vrrp history`.

use bascule_core::control::Request;
use bascule_core::net::Name;
use bascule_core::shell::report::Report;
use bascule_core::shell::table::wrap;
use bascule_core::status::{RouterLine, Status};
use serde_json::{Value, json};

use super::{LookError, ask_lines, ask_status, status};
use crate::shell::Agent;

/// `show vrrp`.
///
/// # Errors
/// When the agent does not answer, or there is no such virtual router.
pub fn show(name: Option<&Name>, agent: &dyn Agent) -> Result<Report, LookError> {
    let mut all = ask_status("the virtual routers", agent)?;
    choose(&mut all, name)?;
    let mut lines = Vec::new();
    status::routers(&mut lines, &all);
    if name.is_some() {
        for router in &all.routers {
            lines.extend(details(router, &all));
        }
    }
    let routers: Vec<Value> = all.routers.iter().map(|router| to_json(router, &all)).collect();
    let refused: Vec<Value> = all
        .adverts
        .refused
        .iter()
        .map(|(reason, times)| json!({ "reason": reason.to_string(), "times": times }))
        .collect();
    let late = &all.lateness;
    let json = json!({
        "virtual_routers": routers,
        "refused_adverts": refused,
        "lateness": late,
    });
    Ok(Report { lines, json })
}

fn choose(all: &mut Status, name: Option<&Name>) -> Result<(), LookError> {
    let Some(name) = name else { return Ok(()) };
    let known = all.routers.iter().map(|router| router.name.to_string()).collect();
    all.routers.retain(|router| router.name == *name);
    if all.routers.is_empty() {
        return Err(LookError::Unknown { kind: "virtual router", name: name.to_string(), known });
    }
    Ok(())
}

fn details(router: &RouterLine, all: &Status) -> Vec<String> {
    let mut lines = Vec::new();
    let millis = router.status.interval.as_millis();
    lines.push(format!("  advertisement interval: {millis} ms"));
    if let Some(c) = all.adverts.routers.get(&router.name) {
        for (number, what) in [
            (c.sent, "adverts sent"),
            (c.received, "adverts received"),
            (c.leaving_sent, "adverts of priority 0 sent"),
            (c.leaving_received, "adverts of priority 0 received"),
            (c.became_master, "times Master"),
            (c.rivals, "adverts from a second Master"),
            (c.interval_differs, "adverts with another interval"),
            (c.addresses_differ, "adverts with other addresses"),
            (c.late, "own adverts late by an interval"),
        ] {
            lines.push(format!("  {number:>10} {what}"));
        }
    }
    lines
}

fn to_json(router: &RouterLine, all: &Status) -> Value {
    let counters = all.adverts.routers.get(&router.name).map(|c| {
        json!({
            "sent": c.sent,
            "received": c.received,
            "leaving_sent": c.leaving_sent,
            "leaving_received": c.leaving_received,
            "became_master": c.became_master,
            "rivals": c.rivals,
            "interval_differs": c.interval_differs,
            "addresses_differ": c.addresses_differ,
            "late": c.late,
        })
    });
    let interval = u64::try_from(router.status.interval.as_millis()).unwrap_or(u64::MAX);
    json!({ "name": router.name.as_str(), "state": router, "interval_ms": interval, "adverts": counters })
}

/// `show vrrp history`.
///
/// # Errors
/// When the agent does not answer, or there is no such virtual router.
pub fn history(name: Option<&Name>, agent: &dyn Agent) -> Result<Report, LookError> {
    let changes = ask_lines("the history", agent, &Request::History(name.cloned()))?;
    let mut lines = Vec::new();
    for change in &changes {
        wrap(&mut lines, "", change);
    }
    if lines.is_empty() {
        lines.push("no change of state since the agent keeps the history".to_owned());
    }
    Ok(Report { lines, json: json!({ "changes": changes }) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::look::testing::{Answers, Dead, at, complete, crowded, fits};
    use bascule_core::control::Reply;

    fn agent() -> Answers<impl Fn(&Request) -> Reply> {
        Answers(|request: &Request| match request {
            Request::History(_) => Reply::Lines(vec!["2026-11-22 20:05:09 front: BACKUP to MASTER".into()]),
            _ => Reply::Status(Box::new(crowded())),
        })
    }

    #[test]
    fn one_router_is_told_with_all_its_counters() {
        let name = "a234567890123456789012345678901".parse().unwrap();
        let report = show(Some(&name), &agent()).unwrap();
        fits(&report);
        complete(&report);
        assert!(report.lines.iter().any(|line| line.ends_with("adverts of priority 0 received")));
        assert_eq!(at(&report.json, "virtual_routers.0.adverts.rivals"), u64::MAX);
        assert_eq!(at(&report.json, "virtual_routers.0.state.vrid"), 255);
        fits(&show(None, &agent()).unwrap());
    }

    #[test]
    fn an_unknown_router_is_an_error_with_the_names_there_are() {
        let error = show(Some(&"frnt".parse().unwrap()), &agent()).unwrap_err().to_string();
        assert!(error.contains("no virtual router \"frnt\": there is a2345"), "{error}");
        assert!(show(None, &Dead).unwrap_err().to_string().contains("no agent answers"));
    }

    #[test]
    fn the_history_is_the_agents() {
        let report = history(None, &agent()).unwrap();
        assert_eq!(report.lines, ["2026-11-22 20:05:09 front: BACKUP to MASTER"]);
        assert_eq!(at(&report.json, "changes.0"), "2026-11-22 20:05:09 front: BACKUP to MASTER");
    }
}
