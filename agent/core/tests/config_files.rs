//! The files that belong to the configuration: examples, factory configuration, schema and reference.
//!
//! Schema and reference are made from the model. After a change of the model:
//! `BASCULE_BLESS=1 cargo test -p bascule-core --test config_files`
#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "a test reads the files it is about")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use bascule_core::config::{Config, Problem};
use bascule_core::desired;
use bascule_core::health::Target;
use bascule_core::overrides::Overrides;
use proptest::prelude::*;

mod reference;

const BLESS: &str = "BASCULE_BLESS=1 cargo test -p bascule-core --test config_files";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn good(path: &Path) -> Config {
    let rendered = |problems: Vec<Problem>| problems.iter().map(Problem::render).collect::<String>();
    match Config::parse(&read(path), &path.display().to_string()) {
        Ok(checked) if checked.warnings.is_empty() => checked.config,
        Ok(checked) => panic!("{}", rendered(checked.warnings)),
        Err(problems) => panic!("{}", rendered(problems)),
    }
}

fn example(name: &str) -> Config {
    good(&root().join("config/examples").join(name))
}

/// Compares a file with what the model says; with `BASCULE_BLESS` writes it.
fn current(path: &str, wanted: &str) {
    let file = root().join(path);
    if std::env::var_os("BASCULE_BLESS").is_some() {
        std::fs::write(&file, wanted).unwrap_or_else(|error| panic!("{path}: {error}"));
    }
    let found = std::fs::read_to_string(&file).unwrap_or_default();
    let differ = found.lines().zip(wanted.lines()).position(|(found, wanted)| found != wanted);
    let line = differ.unwrap_or_else(|| found.lines().count().min(wanted.lines().count())) + 1;
    assert!(found == wanted, "{path}:{line} is not what the model says. Make it anew:\n    {BLESS}\n");
}

#[test]
fn the_schema_is_that_of_the_model() {
    // The order of keys is serde_json's choice, which another crate can change: sorted, it is ours.
    let text = serde_json::to_string_pretty(&sorted(schemars::schema_for!(Config).to_value()));
    current("config/config.schema.json", &(text.expect("a schema is JSON") + "\n"));
}

fn sorted(value: serde_json::Value) -> serde_json::Value {
    use serde_json::Value;
    match value {
        Value::Object(map) => {
            let mut entries: Vec<_> = map.into_iter().map(|(key, value)| (key, sorted(value))).collect();
            entries.sort_by(|a, b| a.0.cmp(&b.0));
            Value::Object(entries.into_iter().collect())
        }
        Value::Array(list) => Value::Array(list.into_iter().map(sorted).collect()),
        other @ (Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_)) => other,
    }
}

#[test]
fn the_reference_is_that_of_the_model() {
    let schema = sorted(schemars::schema_for!(Config).to_value());
    current("docs/config-reference.md", &reference::markdown(&schema, BLESS));
}

#[test]
fn every_example_is_good_and_has_no_warning() {
    let directory = std::fs::read_dir(root().join("config/examples")).expect("the examples are there");
    let files: BTreeSet<PathBuf> = directory.map(|entry| entry.expect("it is readable").path()).collect();
    assert!(files.len() >= 8, "{files:?}");
    for file in files {
        let config = good(&file);
        assert!(!config.virtual_server.is_empty(), "{}", file.display());
        assert!(!desired::ipvs(&config, &Overrides::default(), |_| true).services.is_empty());
        let text = toml::to_string(&config).expect("a configuration is TOML");
        assert_eq!(Config::parse(&text, "again").expect("and good").config, config, "{}", file.display());
    }
}

#[test]
fn the_factory_configuration_touches_no_network() {
    let config = good(&root().join("config/factory.toml"));
    assert!(config.interface.is_empty() && config.route.is_empty() && config.vrrp.is_empty());
    assert!(config.virtual_server.is_empty() && config.sync.is_none());
}

#[test]
fn the_two_boxes_of_the_pair_differ_only_in_what_must_differ() {
    let (first, mut second) = (example("pair-lb1.toml"), example("pair-lb2.toml"));
    assert_ne!(first.interface, second.interface);
    second.system = first.system.clone();
    second.interface = first.interface.clone();
    for (name, vrrp) in &mut second.vrrp {
        assert!(vrrp.priority < first.vrrp[name].priority);
        vrrp.priority = first.vrrp[name].priority;
        vrrp.preempt_delay = first.vrrp[name].preempt_delay;
    }
    assert_eq!(first, second);
}

#[test]
fn services_with_the_same_backend_and_check_share_one_probe() {
    let config = example("dns.toml");
    assert_eq!(config.virtual_server.len(), 2);
    assert_eq!(Target::all(&config).len(), 2, "four real servers, two backends");
}

/// Mistakes that each belong to a line of the example of a pair: what is replaced, by what, and the reason.
const MISTAKES: [(&str, &str, &str); 12] = [
    ("hostname = \"lb1\"", "hostname = \"l b\"", "is not a name"),
    ("\"192.0.2.11/24\"", "\"192.0.2.11/42\"", "is not an address with prefix length"),
    ("via = \"192.0.2.1\"", "via = 7", "integer 7 cannot stand here"),
    ("vrid = 51", "vrid = 0", "virtual router id 0 is out of range"),
    ("priority = 150", "priority = 256", "priority 256 is out of range"),
    ("preempt-delay", "preemt-delay", "unknown key \"preemt-delay\""),
    ("\"192.0.2.100/24\",", "\"192.0.2.300/24\",", "\"192.0.2.300/24\" is not an address"),
    ("id = 51\n\n", "id = 1000\n\n", "integer 1000 is out of range"),
    ("port = 80", "port = 0", "port 0 cannot carry a service"),
    ("fall = 3", "fall = \"3\"", "string \"3\" cannot stand here"),
    ("weight = 2", "wait = 2", "unknown key \"wait\""),
    ("10.1.0.22:80", "10.1.0.22:x", "is not an address and port"),
];

proptest! {
    #[test]
    fn any_set_of_mistakes_is_found_at_once_and_nothing_else_is_refused(
        chosen in prop::collection::btree_set(0..MISTAKES.len(), 1..=MISTAKES.len())
    ) {
        let mut text = read(&root().join("config/examples/pair-lb1.toml"));
        for mistake in &chosen {
            let (good, bad, _) = MISTAKES[*mistake];
            prop_assert!(text.contains(good), "{good}");
            text = text.replacen(good, bad, 1);
        }
        let problems = Config::parse(&text, "lb1.toml").expect_err("it is refused");
        for mistake in &chosen {
            let (_, _, reason) = MISTAKES[*mistake];
            prop_assert!(problems.iter().any(|problem| problem.reason.contains(reason)), "{reason}");
        }
        prop_assert_eq!(problems.len(), chosen.len(), "{:#?}", problems);
    }

    #[test]
    fn a_damaged_file_is_refused_or_read_but_never_panics(
        start in any::<prop::sample::Index>(),
        length in 0usize..40,
        put in "[\\x00-\\x7f\u{e4}\u{1f600}]{0,12}",
        name in prop::sample::select(vec!["pair-lb1.toml", "ipv6.toml", "nat-two-networks.toml"]),
    ) {
        let text = read(&root().join("config/examples").join(name));
        let start = start.index(text.len());
        let end = (start + length).min(text.len());
        let damaged = format!("{}{put}{}", &text[..start], &text[end..]);
        let problems = match Config::parse(&damaged, name) {
            Ok(checked) => checked.warnings,
            Err(problems) => {
                prop_assert!(!problems.is_empty());
                problems
            }
        };
        let lines = damaged.lines().count().max(1);
        for problem in problems {
            prop_assert!((1..=lines + 1).contains(&problem.line), "{problem}");
            let rendered = problem.render();
            prop_assert!(rendered.lines().count() >= 4, "{rendered}");
            prop_assert!(rendered.lines().skip(2).take(3).all(|line| line.is_ascii()), "{rendered}");
        }
    }
}

#[test]
fn deep_nesting_is_refused_and_does_not_exhaust_the_stack() {
    let deep = [
        format!("a = {}", "[".repeat(100_000)),
        format!("{}b = 1", "a.".repeat(100_000)),
        format!("[{}b]", "a.".repeat(100_000)),
        "a = {a=".repeat(50_000),
    ];
    for text in deep {
        assert!(Config::parse(&text, "f").is_err());
    }
}
