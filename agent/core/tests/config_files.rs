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
        assert!(!desired::ipvs(&config, |_| true).services.is_empty());
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
