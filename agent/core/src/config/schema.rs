//! The schema of the model, as a tree to walk: tables, named objects, lists and values, in the order of the model.
//!
//! Everything that the shell shows, completes and accepts, and the order of a printed file, comes from here; a new
//! field of the model needs no word elsewhere.

use core::fmt::Display;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use core::str::FromStr;
use std::sync::LazyLock;

use schemars::{JsonSchema, SchemaGenerator};
use serde_json::Value;

use super::Config;
use super::model::{AdvertInterval, Span};
use crate::net::{Endpoint, IfName, Name, Prefix, Scheduler};

/// The schema of the model; also what `config/config.schema.json` holds.
pub(super) static SCHEMA: LazyLock<Value> = LazyLock::new(|| schemars::schema_for!(Config).to_value());

/// Follows `$ref` and sees through `anyOf [X, null]`.
pub(super) fn resolve(node: &'static Value) -> &'static Value {
    let mut node = node;
    for _ in 0..8 {
        if let Some(name) = node.get("$ref").and_then(Value::as_str).and_then(|r| r.strip_prefix("#/$defs/"))
        {
            node = &SCHEMA["$defs"][name];
        } else if let Some([only, null]) = node.get("anyOf").and_then(Value::as_array).map(Vec::as_slice)
            && null.get("type").and_then(Value::as_str) == Some("null")
        {
            node = only;
        } else {
            break;
        }
    }
    node
}

/// The possibilities of an `anyOf` or `oneOf`.
pub(super) fn alternatives(node: &'static Value) -> impl Iterator<Item = &'static Value> {
    let lists = [node.get("anyOf"), node.get("oneOf")];
    lists.into_iter().flatten().filter_map(Value::as_array).flatten().map(resolve)
}

/// The JSON type of a node, `null` aside.
fn json_type(node: &'static Value) -> Option<&'static str> {
    match node.get("type")? {
        Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).find(|kind| *kind != "null"),
        Value::String(kind) => Some(kind),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => None,
    }
}

/// What a place of the model holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Fixed keys.
    Table,
    /// Objects by name.
    Map,
    /// Values in an order.
    List,
    /// Text, a number, true or false.
    Value,
}

/// A place of the model: the node as it is written at its parent, and the type that it refers to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    written: &'static Value,
    node: &'static Value,
}

impl Place {
    /// The whole configuration.
    pub(super) fn root() -> Self {
        Self::of(&SCHEMA)
    }

    fn of(written: &'static Value) -> Self {
        Self { written, node: resolve(written) }
    }

    /// What it holds.
    pub(super) fn kind(self) -> Kind {
        let map = |node: &Value| {
            node.get("patternProperties").is_some()
                || node.get("additionalProperties").is_some_and(|any| any.is_object() || *any == true)
        };
        match json_type(self.node) {
            Some("object") if map(self.node) && self.node.get("properties").is_none() => Kind::Map,
            Some("object") => Kind::Table,
            Some("array") => Kind::List,
            Some(_) => Kind::Value,
            None if self.scalar().is_none() && self.table().is_some() => Kind::Table,
            None => Kind::Value,
        }
    }

    /// The fixed keys of a table, in the order of the model.
    pub(super) fn fields(self) -> Vec<(&'static str, Self)> {
        let mut all: Vec<(&str, Self)> = Vec::new();
        for node in core::iter::once(self.node).chain(alternatives(self.node)) {
            for (name, written) in node.get("properties").and_then(Value::as_object).into_iter().flatten() {
                if all.iter().all(|(known, _)| known != name) {
                    all.push((name, Self::of(written)));
                }
            }
        }
        all
    }

    /// The place under a key of a table, a name of a map, or an element of a list.
    pub(super) fn child(self, key: &str) -> Option<Self> {
        match self.kind() {
            Kind::Table => {
                let mut nodes = core::iter::once(self.node).chain(alternatives(self.node));
                nodes.find_map(|node| node.get("properties")?.get(key)).map(Self::of)
            }
            Kind::Map => self.object(),
            Kind::List => self.element(),
            // An element that can be a table.
            Kind::Value => self.table()?.child(key),
        }
    }

    /// The place at a path of full words.
    pub(super) fn at<S: AsRef<str>>(words: &[S]) -> Option<Self> {
        words.iter().try_fold(Self::root(), |place, word| place.child(word.as_ref()))
    }

    /// What a map holds.
    pub(super) fn object(self) -> Option<Self> {
        let patterns = || self.node.get("patternProperties")?.as_object()?.values().next();
        let any = self.node.get("additionalProperties").filter(|any| any.is_object());
        any.or_else(patterns).map(Self::of)
    }

    /// What a list holds.
    pub(super) fn element(self) -> Option<Self> {
        self.node.get("items").map(Self::of)
    }

    /// The table that a value can be instead of text, or that it is.
    pub(super) fn table(self) -> Option<Self> {
        let own = core::iter::once(self.node).chain(alternatives(self.node));
        own.filter(|node| json_type(node) == Some("object")).map(Self::of).next()
    }

    /// The text or number that a value can be instead of a table, or that it is.
    fn scalar(self) -> Option<Self> {
        let own = core::iter::once(self.node).chain(alternatives(self.node));
        own.filter(|node| json_type(node).is_some_and(|kind| kind != "object")).map(Self::of).next()
    }

    /// The field whose value stands for the whole table where tables are elements of a list: the first required.
    pub(super) fn lead(self) -> Option<&'static str> {
        let table = self.table()?;
        let required = table.node.get("required")?.as_array()?;
        let first = |name: &&str| required.iter().any(|one| one.as_str() == Some(name));
        table.fields().into_iter().map(|(name, _)| name).find(first)
    }

    /// The value that an operator need not write.
    pub(super) fn default(self) -> Option<&'static Value> {
        self.written.get("default").or_else(|| self.node.get("default"))
    }

    /// The first sentence of the doc comment, on one line.
    pub(super) fn summary(self) -> String {
        let text = self.written.get("description").or_else(|| self.node.get("description"));
        let text = text.and_then(Value::as_str).unwrap_or_default().replace('\n', " ");
        let end = text.find(". ").map_or(text.trim_end_matches('.').len(), |end| end);
        text[..end].to_owned()
    }

    /// The constants that are possible, each with its meaning.
    pub(super) fn constants(self) -> Vec<(&'static str, String)> {
        if json_type(self.node) == Some("boolean") {
            return vec![("true", "yes".to_owned()), ("false", "no".to_owned())];
        }
        let plain = self.node.get("enum").and_then(Value::as_array).into_iter().flatten();
        let plain = plain.filter_map(|one| Some((one.as_str()?, String::new())));
        let told = alternatives(self.node)
            .filter_map(|one| Some((one.get("const")?.as_str()?, Self::of(one).summary())));
        plain.chain(told).collect()
    }

    /// Whether TOML writes the value without quotes.
    pub(super) fn bare(self) -> Option<Bare> {
        match json_type(self.scalar()?.node)? {
            "integer" => Some(Bare::Integer),
            "boolean" => Some(Bare::Boolean),
            _ => None,
        }
    }

    /// What stands for the value in help: `<1-255>`, `<address/length>`.
    pub(super) fn placeholder(self) -> String {
        let node = match self.kind() {
            Kind::Map => return name_shape(self.node).map_or("<name>", |shape| shape.placeholder).to_owned(),
            Kind::List => return self.element().map_or_else(String::new, Self::placeholder),
            Kind::Table => return "<table>".to_owned(),
            Kind::Value => self.scalar().map_or(self.node, |scalar| scalar.node),
        };
        if let Some(shape) = shape(node) {
            return shape.placeholder.to_owned();
        }
        let bound = |name: &str| node.get(name).and_then(Value::as_f64);
        match (json_type(node), bound("minimum"), bound("maximum")) {
            (Some("integer"), Some(min), Some(max)) => format!("<{min}-{max}>"),
            (Some("integer" | "number"), _, _) => "<number>".to_owned(),
            _ => "<text>".to_owned(),
        }
    }

    /// The one spelling of a value, an element or (of a map) a name; `None` when it has none or is no such thing.
    pub(super) fn canonical(self, text: &str) -> Option<String> {
        let shape = match self.kind() {
            Kind::Map => name_shape(self.node),
            Kind::Value => shape(self.scalar()?.node),
            Kind::Table | Kind::List => None,
        };
        (shape?.canonical)(text)
    }

    /// A good name for an object of a map, one for each number.
    pub(super) fn stand_in(self, number: usize) -> Option<String> {
        let shape = name_shape(self.node).filter(|_| self.kind() == Kind::Map)?;
        [format!("x{number}"), format!("192.0.2.1:{}", number + 1)]
            .iter()
            .find_map(|name| (shape.canonical)(name))
    }

    /// Whether the value is the name of a network interface.
    pub(super) fn is_interface(self) -> bool {
        self.kind() == Kind::Value
            && self.scalar().and_then(|one| shape(one.node)).is_some_and(|s| s.placeholder == INTERFACE)
    }
}

/// A value that TOML writes without quotes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bare {
    /// A whole number.
    Integer,
    /// true or false.
    Boolean,
}

/// How a kind of text looks, told by its pattern or format in the schema.
struct Shape {
    mark: String,
    placeholder: &'static str,
    canonical: fn(&str) -> Option<String>,
}

const INTERFACE: &str = "<interface>";

static SHAPES: LazyLock<Vec<Shape>> = LazyLock::new(|| {
    vec![
        by_pattern::<Name>("<name>", spelt::<Name>),
        by_pattern::<IfName>(INTERFACE, spelt::<IfName>),
        by_pattern::<Scheduler>("<scheduler>", spelt::<Scheduler>),
        by_pattern::<Prefix>("<address/length>", spelt::<Prefix>),
        by_pattern::<Endpoint>("<address:port>", spelt::<Endpoint>),
        by_pattern::<Span>("<duration>", spelt::<Span>),
        by_pattern::<AdvertInterval>("<duration>", spelt::<Span>),
        Shape { mark: "ip".to_owned(), placeholder: "<address>", canonical: spelt::<IpAddr> },
        Shape { mark: "ipv4".to_owned(), placeholder: "<ipv4-address>", canonical: spelt::<Ipv4Addr> },
        Shape { mark: "ipv6".to_owned(), placeholder: "<ipv6-address>", canonical: spelt::<Ipv6Addr> },
    ]
});

fn by_pattern<T: JsonSchema>(placeholder: &'static str, canonical: fn(&str) -> Option<String>) -> Shape {
    let schema = T::json_schema(&mut SchemaGenerator::default());
    let mark = schema.get("pattern").and_then(Value::as_str).unwrap_or_default().to_owned();
    Shape { mark, placeholder, canonical }
}

fn spelt<T: FromStr + Display>(text: &str) -> Option<String> {
    text.parse().ok().map(|value: T| value.to_string())
}

fn shape(node: &Value) -> Option<&'static Shape> {
    let mark = node.get("pattern").or_else(|| node.get("format"))?.as_str()?;
    SHAPES.iter().find(|shape| shape.mark == mark)
}

/// The shape of the names of a map.
fn name_shape(node: &Value) -> Option<&'static Shape> {
    let pattern = node.get("patternProperties")?.as_object()?.keys().next()?;
    SHAPES.iter().find(|shape| shape.mark == *pattern)
}
