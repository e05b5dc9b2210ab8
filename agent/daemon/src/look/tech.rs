//! `show tech-support`: every other `show`, one below the other, without secrets.

use bascule_core::shell::command::Show;
use bascule_core::shell::report::Report;
use bascule_core::shell::table::wrap;
use serde_json::{Map, Value, json};

use crate::shell::Agent;

/// Log lines in it.
const LOG: u32 = 1_000;
/// What stands for a secret.
const MASK: &str = "<redacted>";
/// Words in the name of a setting whose value is a secret.
const SECRET: [&str; 7] = ["password", "passwd", "secret", "private-key", "psk", "token", "hash"];

/// What is in it, with its heading.
fn parts() -> Vec<(&'static str, Show)> {
    vec![
        ("version", Show::Version),
        ("status", Show::Status),
        ("alarms", Show::Alarms),
        ("system", Show::System),
        ("boot", Show::Boot),
        ("slots", Show::Slots),
        ("update", Show::Update),
        ("system commits", Show::Commits),
        ("configuration", Show::Configuration { path: Vec::new(), set: false }),
        ("interfaces", Show::Interfaces(None)),
        ("routes", Show::Routes),
        ("neighbors", Show::Neighbors),
        ("vrrp", Show::Vrrp(None)),
        ("vrrp history", Show::VrrpHistory(None)),
        ("virtual-servers", Show::VirtualServers(None)),
        ("real-servers", Show::RealServers(None)),
        ("health-checks", Show::HealthChecks),
        ("sync", Show::Sync),
        ("persistence", Show::Persistence),
        ("connections", Show::Connections { filter: None }),
        ("users", Show::Users),
        ("log", Show::Log { lines: Some(LOG) }),
    ]
}

/// `show tech-support`. What cannot be shown says so in its place.
#[must_use]
pub fn show(agent: &dyn Agent) -> Report {
    let mut lines = Vec::new();
    let mut json = Map::new();
    for (name, what) in parts() {
        lines.push(format!("===== show {name}"));
        match super::show(&what, agent) {
            Ok(report) => {
                lines.extend(report.lines.iter().map(|line| redact(line)));
                json.insert(name.to_owned(), redact_json(report.json));
            }
            Err(error) => {
                wrap(&mut lines, "", &error.to_string());
                json.insert(name.to_owned(), json!({ "error": error.to_string() }));
            }
        }
        lines.push(String::new());
    }
    Report { lines, json: Value::Object(json) }
}

/// A line without the values of secret settings, in the file's form (`password = "x"`), as a `set` command
/// (`set ... password x`), and without password hashes wherever they stand.
#[must_use]
pub fn redact(line: &str) -> String {
    let mut kept = String::with_capacity(line.len());
    let mut secret = false;
    for piece in line.split_inclusive(' ') {
        let word =
            piece.trim_matches(|c: char| !c.is_ascii_alphanumeric() && c != '-' && c != '_' && c != '$');
        if word.is_empty() {
            kept.push_str(piece);
        } else if secret || word.contains("$argon2") {
            // All that follows on the line belongs to the value.
            kept.push_str(MASK);
            return kept;
        } else if let Some((name, _)) =
            piece.split_once('=').filter(|(name, value)| is_secret(name) && !value.trim().is_empty())
        {
            kept.push_str(&format!("{name}={MASK}"));
            return kept;
        } else {
            secret = is_secret(word);
            kept.push_str(piece);
        }
    }
    kept
}

fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase().replace('_', "-");
    let last = name.rsplit('.').next().unwrap_or(&name);
    SECRET.iter().any(|secret| last == *secret || last.ends_with(&format!("-{secret}")))
}

fn redact_json(value: Value) -> Value {
    match value {
        Value::Object(map) => Value::Object(
            map.into_iter()
                .map(|(key, value)| {
                    let value = if is_secret(&key) { Value::from(MASK) } else { redact_json(value) };
                    (key, value)
                })
                .collect(),
        ),
        Value::Array(values) => values.into_iter().map(redact_json).collect(),
        Value::String(text) => Value::String(text.lines().map(redact).collect::<Vec<_>>().join("\n")),
        other @ (Value::Null | Value::Bool(_) | Value::Number(_)) => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::look::testing::{Answers, Dead, at, crowded, fits};
    use bascule_core::control::{Form, Reply, Request};

    #[test]
    fn secrets_are_masked_in_every_form_and_nothing_else_is() {
        assert_eq!(redact("password = \"very secret words\""), "password = <redacted>");
        assert_eq!(redact("  auth_psk=\"abc\""), "  auth_psk=<redacted>");
        assert_eq!(
            redact("set system user anna password very secret"),
            "set system user anna password <redacted>"
        );
        assert_eq!(redact("anna $argon2id$v=19$m=1$abc admin"), "anna <redacted>");
        for harmless in
            ["priority = 200", "address = \"10.0.0.100\"", "the weak pass of hashes", "scheduler = \"sh\""]
        {
            assert_eq!(redact(harmless), harmless);
        }
    }

    #[test]
    fn every_show_is_there_and_what_cannot_be_shown_says_so() {
        let report = show(&Dead);
        fits(&report);
        let heads: Vec<&String> = report.lines.iter().filter(|line| line.starts_with("=====")).collect();
        assert_eq!(heads.len(), parts().len());
        assert!(at(&report.json, "status.error").as_str().unwrap().contains("no agent answers"));
        assert!(at(&report.json, "interfaces.interfaces").is_array());
    }

    #[test]
    fn no_secret_of_the_configuration_gets_out() {
        let agent = Answers(|request: &Request| match request {
            Request::View { form: Form::Json, .. } => {
                Reply::Lines(vec!["{\"user\":{\"anna\":{\"password\":\"hunter2\"}}}".into()])
            }
            Request::View { .. } => Reply::Lines(vec!["[user.anna]".into(), "password = \"hunter2\"".into()]),
            Request::Log(_) => Reply::Lines(vec!["[    1.0] info    set user anna password hunter2".into()]),
            Request::Status => Reply::Status(Box::new(crowded())),
            _ => Reply::Refused(vec!["no".into()]),
        });
        let report = show(&agent);
        fits(&report);
        assert!(!report.lines.join("\n").contains("hunter2") && !report.json.to_string().contains("hunter2"));
        assert!(report.lines.contains(&"password = <redacted>".to_owned()));
    }
}
