//! Arguments of commands: what kinds there are, how each is read, and which live names it can have.

use core::net::IpAddr;
use core::time::Duration;

use super::words::Word;
use crate::config::model::Span;
use crate::net::{Endpoint, IfName, Name};

/// Where live names come from.
pub trait Names {
    /// The names of what is at a path of the configuration, e.g. of `virtual-server`; empty when nobody knows.
    fn names(&self, path: &[&str]) -> Vec<String>;
}

/// No live names.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoNames;

impl Names for NoNames {
    fn names(&self, _: &[&str]) -> Vec<String> {
        Vec::new()
    }
}

/// What an argument must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Name of a service.
    Service,
    /// Address and port of a real server of the service in the argument of this name.
    ServerOf(&'static str),
    /// Service and real server in one word: `web/10.1.0.21:80`.
    RealServer,
    /// Name of a virtual router.
    Router,
    /// A network interface.
    Interface,
    /// Any name.
    Name,
    /// A whole number, both bounds included.
    Number(u32, u32),
    /// A time: `90s`, `5m`, `2h`.
    Duration,
    /// A time; a number alone is minutes.
    Minutes,
    /// An IP address.
    Address,
    /// An IP address or a host name.
    Host,
    /// One word, or several in quotes.
    Text,
    /// The rest of the line as words.
    Words,
    /// A path of the configuration and what belongs to it: the rest of the line.
    Path(Shape),
}

/// What the words of a path mean together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// A path that names something.
    Object,
    /// A path and a value for it.
    Value,
    /// A path, `to`, and a new name.
    To,
    /// A path and a text.
    Text,
}

/// The value of an argument.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// A keyword was there.
    Flag,
    /// A name.
    Name(Name),
    /// A real server of a service.
    Server(Option<Name>, Endpoint),
    /// An interface.
    Interface(IfName),
    /// A number.
    Number(u32),
    /// A time.
    Duration(Duration),
    /// An address.
    Address(IpAddr),
    /// A text.
    Text(String),
    /// All the words that were left.
    Rest(Vec<Word>),
}

impl Kind {
    /// Whether it takes all the words that are left.
    #[must_use]
    pub const fn takes_rest(self) -> bool {
        matches!(self, Self::Words | Self::Path(_))
    }

    /// Whether only live names are worth showing when there are some.
    #[must_use]
    pub const fn only_live(self) -> bool {
        matches!(self, Self::Service | Self::ServerOf(_) | Self::RealServer | Self::Router | Self::Interface)
    }

    /// Reads a word.
    ///
    /// # Errors
    /// Why it is not of this kind, with what would be.
    pub fn read(self, word: &Word, args: &Args<'_>) -> Result<Value, String> {
        let text = &*word.text;
        let name =
            || text.parse().map(Value::Name).map_err(|error: crate::net::ValueError| error.to_string());
        match self {
            Self::Service | Self::Router | Self::Name => name(),
            Self::Interface => text.parse().map(Value::Interface).map_err(|error| error.to_string()),
            Self::ServerOf(service) => {
                let endpoint = text.parse::<Endpoint>().map_err(|error| error.to_string())?;
                Ok(Value::Server(args.name(service), endpoint))
            }
            Self::RealServer => real_server(text).ok_or_else(|| {
                "not a real server: write SERVICE/ADDRESS:PORT, as web/10.1.0.21:80".to_owned()
            }),
            Self::Number(low, high) => match text.parse::<u32>() {
                Ok(number) if (low..=high).contains(&number) => Ok(Value::Number(number)),
                Ok(_) | Err(_) => Err(format!("not a whole number from {low} to {high}")),
            },
            Self::Duration => duration(text),
            Self::Minutes => match text.parse::<u32>() {
                Ok(minutes) => Ok(Value::Duration(Duration::from_secs(u64::from(minutes) * 60))),
                Err(_) => duration(text),
            },
            Self::Address => text.parse().map(Value::Address).map_err(|_| "not an IP address".to_owned()),
            Self::Host if is_host(text) => Ok(Value::Text(text.to_owned())),
            Self::Host => Err("neither an IP address nor a host name".to_owned()),
            Self::Text => Ok(Value::Text(text.to_owned())),
            Self::Words | Self::Path(_) => Ok(Value::Rest(vec![word.clone()])),
        }
    }

    /// The names that it can have now.
    #[must_use]
    pub fn live(self, args: &Args<'_>, names: &dyn Names) -> Vec<String> {
        match self {
            Self::Service => names.names(&["virtual-server"]),
            Self::Router => names.names(&["vrrp"]),
            Self::Interface => names.names(&["interface"]),
            Self::ServerOf(service) => {
                let service = args.name(service);
                service.map_or_else(Vec::new, |s| names.names(&["virtual-server", s.as_str(), "real-server"]))
            }
            Self::RealServer => {
                let of = |service: String| {
                    let servers = names.names(&["virtual-server", &service, "real-server"]);
                    servers.into_iter().map(move |server| format!("{service}/{server}")).collect::<Vec<_>>()
                };
                names.names(&["virtual-server"]).into_iter().flat_map(of).collect()
            }
            Self::Name
            | Self::Number(..)
            | Self::Duration
            | Self::Minutes
            | Self::Address
            | Self::Host
            | Self::Text
            | Self::Words
            | Self::Path(_) => Vec::new(),
        }
    }

    /// An example, as the reference shows it.
    #[must_use]
    pub const fn example(self) -> &'static str {
        match self {
            Self::Service => "web",
            Self::ServerOf(_) => "10.1.0.21:80",
            Self::RealServer => "web/10.1.0.21:80",
            Self::Router => "front",
            Self::Interface => "eth0",
            Self::Name => "alice",
            Self::Number(..) => "5",
            Self::Duration => "90s",
            Self::Minutes => "5m",
            Self::Address => "10.0.0.1",
            Self::Host => "10.0.0.1",
            Self::Text => "\"some text\"",
            Self::Words => "-Ln",
            Self::Path(Shape::Object) => "virtual-server web",
            Self::Path(Shape::Value) => "virtual-server web port 80",
            Self::Path(Shape::To) => "virtual-server web to shop",
            Self::Path(Shape::Text) => "virtual-server web \"the shop\"",
        }
    }
}

fn real_server(text: &str) -> Option<Value> {
    let (service, server) = text.split_once('/')?;
    Some(Value::Server(Some(service.parse().ok()?), server.parse().ok()?))
}

fn duration(text: &str) -> Result<Value, String> {
    match text.parse::<Span>() {
        Ok(span) if !span.get().is_zero() => Ok(Value::Duration(span.get())),
        Ok(_) | Err(_) => Err("not a time: write a number and ms, s, m, h or d, as 90s or 5m".to_owned()),
    }
}

/// An address, a link-local one with its interface (`fe80::1%eth0`, RFC 4007 section 11), or labels of letters,
/// digits and hyphens (RFC 1123 section 2.1).
fn is_host(text: &str) -> bool {
    let label = |label: &str| {
        let good = label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
        (1..=63).contains(&label.len()) && good && !label.starts_with('-')
    };
    let zoned = |(address, zone): (&str, &str)| {
        address.parse::<core::net::Ipv6Addr>().is_ok() && zone.parse::<IfName>().is_ok()
    };
    text.parse::<IpAddr>().is_ok()
        || text.split_once('%').is_some_and(zoned)
        || (text.len() <= 253 && text.strip_suffix('.').unwrap_or(text).split('.').all(label))
}

/// The arguments of a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Args<'a> {
    values: Vec<(&'static str, Value)>,
    level: &'a [String],
}

impl<'a> Args<'a> {
    /// None yet. `level` is where `edit` went to.
    #[must_use]
    pub const fn new(level: &'a [String]) -> Self {
        Self { values: Vec::new(), level }
    }

    /// Adds one.
    pub fn put(&mut self, name: &'static str, value: Value) {
        self.values.push((name, value));
    }

    fn get(&self, name: &str) -> Option<&Value> {
        self.values.iter().rev().find(|(key, _)| *key == name).map(|(_, value)| value)
    }

    /// Whether a keyword is there.
    #[must_use]
    pub fn has(&self, keyword: &str) -> bool {
        self.get(keyword).is_some()
    }

    /// A name.
    #[must_use]
    pub fn name(&self, name: &str) -> Option<Name> {
        if let Some(Value::Name(name)) = self.get(name) { Some(name.clone()) } else { None }
    }

    /// A real server and its service.
    #[must_use]
    pub fn server(&self, name: &str) -> Option<(Name, Endpoint)> {
        if let Some(Value::Server(Some(service), server)) = self.get(name) {
            Some((service.clone(), *server))
        } else {
            None
        }
    }

    /// An interface.
    #[must_use]
    pub fn interface(&self, name: &str) -> Option<IfName> {
        if let Some(Value::Interface(name)) = self.get(name) { Some(name.clone()) } else { None }
    }

    /// A number.
    #[must_use]
    pub fn number(&self, name: &str) -> Option<u32> {
        if let Some(Value::Number(number)) = self.get(name) { Some(*number) } else { None }
    }

    /// A number that fits 16 bits.
    #[must_use]
    pub fn small(&self, name: &str) -> Option<u16> {
        self.number(name).and_then(|number| u16::try_from(number).ok())
    }

    /// A time.
    #[must_use]
    pub fn duration(&self, name: &str) -> Option<Duration> {
        if let Some(Value::Duration(time)) = self.get(name) { Some(*time) } else { None }
    }

    /// An address.
    #[must_use]
    pub fn address(&self, name: &str) -> Option<IpAddr> {
        if let Some(Value::Address(address)) = self.get(name) { Some(*address) } else { None }
    }

    /// A text.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<String> {
        if let Some(Value::Text(text)) = self.get(name) { Some(text.clone()) } else { None }
    }

    /// The rest of the line as it was read: none is an empty one.
    #[must_use]
    pub fn rest(&self, name: &str) -> &[Word] {
        if let Some(Value::Rest(words)) = self.get(name) { words } else { &[] }
    }

    /// Where `edit` went to.
    #[must_use]
    pub const fn level(&self) -> &'a [String] {
        self.level
    }

    /// The rest of the line as a whole path: the level and these words.
    #[must_use]
    pub fn path(&self, name: &str) -> Vec<String> {
        self.level.iter().cloned().chain(self.rest(name).iter().map(|word| word.text.clone())).collect()
    }

    /// The rest of the line as a whole path and the word behind it; with `to` in between when it is a renaming.
    #[must_use]
    pub fn path_and(&self, name: &str, to: bool) -> Option<(Vec<String>, String)> {
        let mut path = self.path(name);
        let last = path.pop()?;
        if to && path.pop()? != "to" {
            return None;
        }
        (path.len() > self.level.len() || !to && !path.is_empty()).then_some((path, last))
    }
}
