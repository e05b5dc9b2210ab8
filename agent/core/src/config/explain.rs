//! What serde says about a configuration, in the words of an operator, with the way out taken from the schema.

use serde_json::Value;

use super::schema::{SCHEMA, alternatives, resolve};
use super::source::{Path, Step};

/// The schema of the value at `path`, with references resolved.
pub(super) fn schema_at(path: &Path) -> Option<&'static Value> {
    path.0.iter().try_fold(resolve(&SCHEMA), |node, step| {
        let next = match step {
            Step::Key(key) => [Some(node)]
                .into_iter()
                .flatten()
                .chain(alternatives(node))
                .find_map(|node| node.get("properties").and_then(|known| known.get(key)))
                .or_else(|| node.get("additionalProperties").filter(|any| any.is_object()))
                .or_else(|| node.get("patternProperties")?.as_object()?.values().next()),
            Step::Index(_) => node.get("items"),
        };
        next.map(resolve)
    })
}

/// What may stand at `path`, for a sentence that starts with "write".
pub(super) fn describe(path: &Path) -> Option<String> {
    schema_at(path).and_then(describe_node)
}

fn describe_node(node: &'static Value) -> Option<String> {
    if let Some(choices) = choices(node) {
        return Some(format!("one of {}", quoted(&choices)));
    }
    if let Some(list) = node.get("anyOf").and_then(Value::as_array) {
        let all: Vec<String> = list.iter().filter_map(|one| describe_node(resolve(one))).collect();
        return Some(all.join("; or "));
    }
    let example = node.get("examples").and_then(|list| list.get(0)).map(ToString::to_string);
    let kind = match node.get("type") {
        Some(Value::Array(kinds)) => kinds.first().and_then(Value::as_str),
        other => other.and_then(Value::as_str),
    };
    Some(match kind? {
        "integer" => {
            let bound = |name: &str| node.get(name).map(|n| n.as_f64().unwrap_or_default() as u64);
            match (bound("minimum"), bound("maximum")) {
                (Some(min), Some(max)) => format!("a whole number from {min} to {max}"),
                _ => "a whole number".to_owned(),
            }
        }
        "boolean" => "true or false, without quotes".to_owned(),
        "array" => "a list in brackets: [ ... ]".to_owned(),
        "object" => "a table: key = value lines under a [header], or { key = value, ... }".to_owned(),
        "string" => match (example, node.get("format").and_then(Value::as_str)) {
            (Some(example), _) => format!("text in quotes, for example {example}"),
            (None, Some("ipv4")) => "an IPv4 address in quotes, for example \"192.0.2.1\"".to_owned(),
            (None, Some("ip")) => {
                "an address in quotes, for example \"192.0.2.1\" or \"2001:db8::1\"".to_owned()
            }
            (None, _) => "text in quotes".to_owned(),
        },
        _ => return None,
    })
}

/// The constants of an enum.
fn choices(node: &Value) -> Option<Vec<String>> {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    if let Some(list) = node.get("enum").and_then(Value::as_array) {
        return list.iter().map(text).collect();
    }
    let list = node.get("oneOf").and_then(Value::as_array)?;
    list.iter().map(|one| one.get("const").and_then(text)).collect()
}

fn quoted(names: &[String]) -> String {
    names.iter().map(|name| format!("\"{name}\"")).collect::<Vec<_>>().join(", ")
}

/// The keys that the table at `path` may have and must have.
pub(super) fn keys(path: &Path) -> (Vec<String>, Vec<String>) {
    let Some(node) = schema_at(path) else { return Default::default() };
    let mut known: Vec<String> = Vec::new();
    let mut required: Vec<String> = Vec::new();
    for node in core::iter::once(node).chain(alternatives(node)) {
        let names = node.get("properties").and_then(Value::as_object);
        known.extend(names.into_iter().flat_map(|names| names.keys().cloned()));
        let must = node.get("required").and_then(Value::as_array).into_iter().flatten();
        required.extend(must.filter_map(Value::as_str).map(str::to_owned));
    }
    (known, required)
}

/// The beginning of the description of the value at `path`.
pub(super) fn summary(path: &Path) -> String {
    let Some((Step::Key(last), parent)) = path.0.split_last() else { return String::new() };
    let own = schema_at(&Path(parent.to_vec())).and_then(|node| {
        core::iter::once(node).chain(alternatives(node)).find_map(|node| node.get("properties")?.get(last))
    });
    let text = own
        .and_then(|node| node.get("description"))
        .or_else(|| schema_at(path)?.get("description"))
        .and_then(Value::as_str)
        .unwrap_or_default();
    let end = text.find(['.', ';']).unwrap_or(text.len());
    text[..end].replace('\n', " ")
}

/// The name among `known` that `word` was probably meant to be: at most a third of its letters away.
pub(super) fn nearest<'k>(word: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    let limit = (word.chars().count() / 3).max(1);
    known
        .into_iter()
        .map(|name| (distance(word, name), name))
        .filter(|(distance, name)| {
            *distance <= limit || name.replace('-', "") == word.replace(['-', '_'], "")
        })
        .min()
        .map(|(_, name)| name)
}

/// Edit distance with transpositions of neighbours (optimal string alignment).
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().take(64).collect(), b.chars().take(64).collect());
    let mut rows = vec![vec![0; b.len() + 1]; a.len() + 1];
    for i in 0..=a.len() {
        for j in 0..=b.len() {
            rows[i][j] = if i == 0 || j == 0 {
                i + j
            } else {
                let change = usize::from(a[i - 1] != b[j - 1]);
                let mut best = (rows[i - 1][j] + 1).min(rows[i][j - 1] + 1).min(rows[i - 1][j - 1] + change);
                if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                    best = best.min(rows[i - 2][j - 2] + 1);
                }
                best
            };
        }
    }
    rows[a.len()][b.len()]
}

/// Reason and help for a value that serde refused with `message`.
pub(super) fn refused(path: &Path, message: &str) -> (String, String) {
    let write = || describe(path).map_or_else(String::new, |what| format!("write {what}"));
    if let Some((found, _)) = message.strip_prefix("invalid type: ").and_then(|m| m.split_once(", expected"))
    {
        return (format!("{} cannot stand here", plain(found)), write());
    }
    if let Some((found, _)) = message.strip_prefix("invalid value: ").and_then(|m| m.split_once(", expected"))
    {
        return (format!("{} is out of range", plain(found)), write());
    }
    if let Some(rest) = message.strip_prefix("unknown variant `")
        && let Some((found, _)) = rest.split_once('`')
    {
        let all = schema_at(path).and_then(choices).unwrap_or_default();
        let meant = nearest(found, all.iter().map(String::as_str));
        let help = meant.map_or_else(write, |meant| format!("did you mean \"{meant}\"?"));
        return (format!("{found:?} is not possible here"), help);
    }
    if message.starts_with("invalid IP") {
        return ("not an IP address".to_owned(), write());
    }
    if message.starts_with("wanted exactly 1 element") {
        return ("a table cannot stand here".to_owned(), write());
    }
    match message.split_once(": use ").or_else(|| message.split_once(": write ")) {
        Some((reason, _)) => {
            let help = message[reason.len() + 2..].to_owned();
            (reason.to_owned(), help)
        }
        None if message.contains(": ") => (message.to_owned(), String::new()),
        None => (message.to_owned(), write()),
    }
}

/// serde's "integer `5`" without its back quotes.
fn plain(found: &str) -> String {
    found
        .replace("floating point", "number")
        .replace('`', "")
        .replace("map", "a table")
        .replace("sequence", "a list")
}
