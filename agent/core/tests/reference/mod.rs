//! The configuration reference as Markdown, from the schema.

use std::fmt::Write as _;

use serde_json::Value;

/// The whole reference.
pub fn markdown(schema: &Value, bless: &str) -> String {
    let mut out = format!(
        "# Configuration reference\n\n\
         Made from the model in `agent/core/src/config/model.rs`; do not edit. To make it anew:\n\
         `{bless}`\n\n\
         A box is configured by one TOML file. `bascule check FILE` tells everything that is wrong with one, \
         `bascule reload` applies it by difference. Editors that know JSON Schema can use \
         `config/config.schema.json`. Examples: `config/examples/`.\n\n\
         Durations are numbers with a unit: `250ms`, `2s`, `5m`, `2h`, `1d`. NAME is of your choice: 1 to 31 of \
         `a-z A-Z 0-9 . _ -`, first a letter or digit.\n"
    );
    let book = Book { schema };
    for (name, node) in properties(schema) {
        book.section(&mut out, name, text(node), node);
    }
    out
}

struct Book<'a> {
    schema: &'a Value,
}

impl<'a> Book<'a> {
    /// The section of a table, and after it those of the tables in it.
    fn section(&self, out: &mut String, path: &str, intro: &str, node: &'a Value) {
        let (path, node) = match entries(node) {
            Some(entry) => (format!("{path}.{}", placeholder(path)), self.resolve(entry)),
            None => (path.to_owned(), self.resolve(node)),
        };
        let _ = write!(out, "\n## `[{path}]`\n\n{intro}\n");
        if text(node).len() > intro.len() {
            let _ = writeln!(out, "{}", text(node));
        }
        let required: Vec<&str> = list(node, "required").filter_map(Value::as_str).collect();
        let mut rows: Vec<(&str, &Value)> = properties(node).collect();
        rows.sort_by_key(|(name, _)| (!required.contains(name), *name));
        out.push_str("\n| key | value | default | meaning |\n|---|---|---|---|\n");
        let mut deeper = Vec::new();
        for (name, property) in rows {
            let resolved = self.resolve(property);
            let value = if entries(property).is_some() || resolved.get("properties").is_some() {
                deeper.push((name, property));
                "tables, see below".to_owned()
            } else {
                self.value(property)
            };
            let default = match property.get("default") {
                _ if required.contains(&name) => "required".to_owned(),
                None | Some(Value::Null | Value::Object(_)) => "none".to_owned(),
                Some(default) => format!("`{default}`"),
            };
            let _ = writeln!(out, "| `{name}` | {value} | {default} | {} |", self.meaning(property));
        }
        for (name, property) in deeper {
            self.section(out, &format!("{path}.{name}"), text(property), property);
        }
    }

    fn value(&self, node: &'a Value) -> String {
        let node = self.resolve(node);
        if let Some(items) = node.get("items") {
            return format!("list of: {}", self.value(items));
        }
        let words: Vec<String> = list(node, "oneOf").map(|one| format!("`{}`", one["const"])).collect();
        if !words.is_empty() {
            return words.join(", ");
        }
        let several: Vec<String> = list(node, "anyOf").map(|one| self.value(one)).collect();
        if !several.is_empty() {
            return several.join(", or ");
        }
        if node.get("properties").is_some() {
            let keys: Vec<String> =
                properties(node).map(|(name, one)| format!("{name} = {}", self.example(one))).collect();
            return format!("`{{ {} }}`", keys.join(", "));
        }
        match (kind(node), node.get("minimum"), node.get("maximum")) {
            ("integer", Some(min), Some(max)) => format!("{min} to {max}"),
            ("boolean", ..) => "`true`, `false`".to_owned(),
            _ => format!("text, for example `{}`", self.example(node)),
        }
    }

    fn example(&self, node: &Value) -> String {
        let default = node.get("default").filter(|default| default.is_string());
        match (default.or(list(node, "examples").next()), node.get("format").and_then(Value::as_str)) {
            (Some(example), _) => example.to_string(),
            (None, Some("ip" | "ipv4")) => "\"192.0.2.100\"".to_owned(),
            (None, _) => "\"...\"".to_owned(),
        }
    }

    /// The description, with those of the words that can stand there.
    fn meaning(&self, property: &'a Value) -> String {
        let mut meaning = text(property).replace('\n', " ");
        for word in list(self.resolve(property), "oneOf") {
            let _ = write!(meaning, " `{}`: {}", word["const"].as_str().unwrap_or_default(), text(word));
        }
        meaning.replace('|', "\\|")
    }

    fn resolve(&self, node: &'a Value) -> &'a Value {
        let node = match node.get("anyOf").and_then(Value::as_array).map(Vec::as_slice) {
            Some([only, null]) if kind(null) == "null" => only,
            _ => node,
        };
        let name = node.get("$ref").and_then(Value::as_str).and_then(|name| name.strip_prefix("#/$defs/"));
        name.map_or(node, |name| &self.schema["$defs"][name])
    }
}

/// The table of which a map has many.
fn entries(node: &Value) -> Option<&Value> {
    node.get("patternProperties")?.as_object()?.values().next()
}

fn placeholder(path: &str) -> &'static str {
    match path.rsplit('.').next() {
        Some("interface") => "INTERFACE",
        Some("real-server") => "\"ADDRESS:PORT\"",
        _ => "NAME",
    }
}

fn properties(node: &Value) -> impl Iterator<Item = (&str, &Value)> {
    let map = node.get("properties").and_then(Value::as_object);
    map.into_iter().flatten().map(|(name, value)| (name.as_str(), value))
}

fn list<'a>(node: &'a Value, key: &str) -> impl Iterator<Item = &'a Value> {
    node.get(key).and_then(Value::as_array).into_iter().flatten()
}

fn text(node: &Value) -> &str {
    node.get("description").and_then(Value::as_str).unwrap_or_default()
}

fn kind(node: &Value) -> &str {
    let kind = node.get("type");
    let first = kind.and_then(Value::as_array).and_then(|kinds| kinds.first());
    first.or(kind).and_then(Value::as_str).unwrap_or_default()
}
