//! Names and numbers of the network that cannot hold a bad value.
//!
//! Every type checks at its one door (`new`, `FromStr`, deserialisation), and the error text is what an
//! operator reads: the value, the range, what to write instead.

use core::fmt;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use core::str::FromStr;
use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Why a value was refused. The text says what is allowed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ValueError {
    /// VRRP virtual router identifier out of range.
    #[error("virtual router id {0} is out of range: use 1 to 255")]
    Vrid(u32),
    /// VRRP priority out of range.
    #[error("priority {0} is out of range: use 1 to 254 (255 only on the owner of the addresses)")]
    Priority(u32),
    /// VRRPv3 advertisement interval out of range or finer than a centisecond.
    #[error("advert interval {0} is not possible in VRRPv3: use 10ms to 40950ms in steps of 10ms")]
    Interval(String),
    /// Port 0.
    #[error("port 0 cannot carry a service: use 1 to 65535")]
    Port,
    /// IPVS weight out of range.
    #[error("weight {0} is out of range: use 0 (no new connections) to 65535")]
    Weight(u32),
    /// Not a Linux interface name.
    #[error("{0:?} is not an interface name: 1 to 15 characters, no blank, no '/'")]
    IfName(String),
    /// Not `ADDRESS/LENGTH`.
    #[error("{0:?} is not an address with prefix length: write 192.0.2.1/24 or 2001:db8::1/64")]
    Prefix(String),
    /// Not `ADDRESS:PORT`.
    #[error("{0:?} is not an address and port: write 192.0.2.21:80 or [2001:db8::21]:80")]
    Endpoint(String),
    /// Not an IPVS scheduler name.
    #[error(
        "{0:?} is not a scheduler name: 1 to 15 lower-case letters, for example rr, wrr, lc, wlc, sh, mh"
    )]
    Scheduler(String),
    /// Not an object name.
    #[error("{0:?} is not a name: 1 to 31 of a-z A-Z 0-9 . _ -, first a letter or digit")]
    Name(String),
    /// VLAN identifier out of range.
    #[error("VLAN id {0} is out of range: use 1 to 4094")]
    VlanId(u32),
    /// MTU out of range.
    #[error("MTU {0} is out of range: use 68 to 65535 bytes (1280 or more where IPv6 runs)")]
    Mtu(u32),
    /// Neither a host name nor an address.
    #[error("{0:?} is neither a host name nor an address: write ntp.example.net, 192.0.2.1 or 2001:db8::1")]
    Host(String),
    /// Not a duration.
    #[error("{0:?} is not a duration: write a number with a unit, for example 250ms, 1s, 5m")]
    Duration(String),
}

/// Address family of an address, a virtual router or a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// The family of `address`.
    #[must_use]
    pub const fn of(address: &IpAddr) -> Self {
        match address {
            IpAddr::V4(_) => Self::V4,
            IpAddr::V6(_) => Self::V6,
        }
    }

    /// Prefix length of a single host: 32 or 128 bits.
    #[must_use]
    pub const fn host_bits(self) -> u8 {
        match self {
            Self::V4 => 32,
            Self::V6 => 128,
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        })
    }
}

/// A small integer with a checked range, its serde and its schema.
macro_rules! bounded {
    ($(#[$doc:meta])* $name:ident($repr:ty), $min:literal..=$max:literal, $error:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "u32", into = "u32")]
        pub struct $name($repr);

        impl $name {
            /// Lowest value.
            pub const MIN: Self = Self($min);
            /// Highest value.
            pub const MAX: Self = Self($max);

            /// Checks the range.
            ///
            /// # Errors
            /// When `value` is outside the range, naming it.
            pub fn new(value: u32) -> Result<Self, ValueError> {
                match <$repr>::try_from(value) {
                    Ok(v) if ($min..=$max).contains(&v) => Ok(Self(v)),
                    _ => Err(ValueError::$error(value)),
                }
            }

            /// The number.
            #[must_use]
            pub const fn get(self) -> $repr {
                self.0
            }
        }

        impl TryFrom<u32> for $name {
            type Error = ValueError;
            fn try_from(value: u32) -> Result<Self, ValueError> {
                Self::new(value)
            }
        }

        impl From<$name> for u32 {
            fn from(value: $name) -> Self {
                Self::from(value.0)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl JsonSchema for $name {
            fn inline_schema() -> bool {
                true
            }
            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }
            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({ "type": "integer", "minimum": $min, "maximum": $max })
            }
        }
    };
}

bounded! {
    /// Virtual router identifier, 1 to 255 (RFC 9568 section 5.2.3).
    Vrid(u8), 1..=255, Vrid
}
bounded! {
    /// Priority of a VRRP router, 1 to 255; 255 is the owner of the addresses (RFC 9568 section 5.2.4).
    /// Priority 0 exists only on the wire: "I am leaving".
    Priority(u8), 1..=255, Priority
}
bounded! {
    /// VLAN identifier, 1 to 4094 (IEEE 802.1Q; 0 and 4095 are reserved).
    VlanId(u16), 1..=4_094, VlanId
}
bounded! {
    /// Largest packet of an interface in bytes, 68 (RFC 791) to 65535.
    Mtu(u16), 68..=65_535, Mtu
}
bounded! {
    /// IPVS weight of a real server, 0 to 65535; 0 takes no new connections.
    Weight(u16), 0..=65_535, Weight
}

impl Priority {
    /// The address owner's priority.
    pub const OWNER: Self = Self(255);
    /// The highest that is not an owner's.
    pub const HIGHEST: Self = Self(254);
    /// The default of RFC 9568 section 6.1.
    pub const DEFAULT: Self = Self(100);

    /// Whether this is the owner's priority, which never yields (RFC 9568 section 6.1).
    #[must_use]
    pub const fn is_owner(self) -> bool {
        self.0 == 255
    }
}

/// A TCP or UDP port, 1 to 65535.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u16", into = "u16")]
pub struct Port(u16);

impl Port {
    /// Checks that the port is not 0.
    ///
    /// # Errors
    /// For port 0.
    pub const fn new(value: u16) -> Result<Self, ValueError> {
        if value == 0 { Err(ValueError::Port) } else { Ok(Self(value)) }
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u16 {
        self.0
    }
}

impl TryFrom<u16> for Port {
    type Error = ValueError;
    fn try_from(value: u16) -> Result<Self, ValueError> {
        Self::new(value)
    }
}

impl From<Port> for u16 {
    fn from(value: Port) -> Self {
        value.0
    }
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl JsonSchema for Port {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        "Port".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "integer", "minimum": 1, "maximum": 65535 })
    }
}

/// A string type that is parsed at its door, printed canonically, and carried as text in TOML and JSON.
macro_rules! textual {
    ($name:ident, $pattern:literal, $example:literal) => {
        impl TryFrom<String> for $name {
            type Error = ValueError;
            fn try_from(text: String) -> Result<Self, ValueError> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(value: $name) -> Self {
                value.to_string()
            }
        }

        impl JsonSchema for $name {
            fn inline_schema() -> bool {
                true
            }
            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }
            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({ "type": "string", "pattern": $pattern, "examples": [$example] })
            }
        }
    };
}

/// A short string with a rule of its own: `$good` tells whether a text is one.
macro_rules! short {
    ($(#[$doc:meta])* $name:ident[$length:literal], $pattern:literal, $example:literal, $good:expr) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(heapless::String<$length>);

        impl $name {
            /// The name.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = ValueError;
            fn from_str(text: &str) -> Result<Self, ValueError> {
                let good: fn(&str) -> bool = $good;
                match heapless::String::try_from(text) {
                    Ok(name) if good(text) => Ok(Self(name)),
                    _ => Err(ValueError::$name(text.to_owned())),
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        textual!($name, $pattern, $example);
    };
}

short! {
    /// Name of a Linux network interface: 1 to 15 bytes, no blank, no `/` (`dev_valid_name` in `net/core/dev.c`).
    IfName[15], "^[^/:\\s]{1,15}$", "eth0", |text| {
        let bad = |c: char| c == '/' || c == ':' || c.is_whitespace() || c.is_control();
        !matches!(text, "" | "." | "..") && !text.chars().any(bad)
    }
}

short! {
    /// Name that an operator gives to an object (a virtual router, a service): 1 to 31 of `a-z A-Z 0-9 . _ -`.
    Name[31], "^[A-Za-z0-9][A-Za-z0-9._-]{0,30}$", "web", |text| {
        text.starts_with(|c: char| c.is_ascii_alphanumeric())
            && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'))
    }
}

short! {
    /// Name of an IPVS scheduler module, `ip_vs_NAME` (`IP_VS_SCHEDNAME_MAXLEN` is 16 with the NUL).
    /// Any name is allowed: only the running kernel knows which it has.
    Scheduler[15], "^[a-z0-9_]{1,15}$", "wlc", |text| {
        !text.is_empty() && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
    }
}

impl Default for Scheduler {
    /// `wlc`, as ipvsadm's.
    fn default() -> Self {
        Self(heapless::String::try_from("wlc").unwrap_or_default())
    }
}

/// A host by its name (RFC 1123: labels of letters, digits and hyphens, 253 bytes at most) or its address.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Host(String);

impl Host {
    /// As it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The address, when it is one.
    #[must_use]
    pub fn address(&self) -> Option<IpAddr> {
        self.0.parse().ok()
    }
}

impl FromStr for Host {
    type Err = ValueError;
    fn from_str(text: &str) -> Result<Self, ValueError> {
        let label = |label: &str| {
            (1..=63).contains(&label.len())
                && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
                && !label.starts_with('-')
                && !label.ends_with('-')
        };
        // Four numbers that are no address are a mistyped address.
        let numbers = text.bytes().all(|b| b.is_ascii_digit() || b == b'.');
        let name = text.len() <= 253 && !numbers && text.split('.').all(label);
        if name || text.parse::<IpAddr>().is_ok() {
            Ok(Self(text.to_owned()))
        } else {
            Err(ValueError::Host(text.to_owned()))
        }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

textual!(Host, "^[A-Za-z0-9.:-]{1,253}$", "ntp.example.net");

/// An address with its prefix length, as `ip address add` takes it. A bare address means a host prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Prefix {
    address: IpAddr,
    length: u8,
}

impl Prefix {
    /// Checks the length against the family: 0 to 32, or 0 to 128.
    ///
    /// # Errors
    /// When the length is beyond the family's.
    pub fn new(address: IpAddr, length: u8) -> Result<Self, ValueError> {
        if length > Family::of(&address).host_bits() {
            return Err(ValueError::Prefix(format!("{address}/{length}")));
        }
        Ok(Self { address, length })
    }

    /// `address` alone, as /32 or /128.
    #[must_use]
    pub const fn host(address: IpAddr) -> Self {
        Self { address, length: Family::of(&address).host_bits() }
    }

    /// The address.
    #[must_use]
    pub const fn address(&self) -> IpAddr {
        self.address
    }

    /// The prefix length in bits.
    #[must_use]
    pub const fn length(&self) -> u8 {
        self.length
    }

    /// The family.
    #[must_use]
    pub const fn family(&self) -> Family {
        Family::of(&self.address)
    }

    /// Whether `other` lies in this prefix's network.
    #[must_use]
    pub fn contains(&self, other: &IpAddr) -> bool {
        let shift = |bits: u8| u32::from(bits - self.length);
        match (self.address, other) {
            (IpAddr::V4(a), IpAddr::V4(b)) => {
                (u32::from(a) ^ u32::from(*b)).checked_shr(shift(32)).unwrap_or(0) == 0
            }
            (IpAddr::V6(a), IpAddr::V6(b)) => {
                (u128::from(a) ^ u128::from(*b)).checked_shr(shift(128)).unwrap_or(0) == 0
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
        }
    }
}

impl FromStr for Prefix {
    type Err = ValueError;
    fn from_str(text: &str) -> Result<Self, ValueError> {
        let bad = || ValueError::Prefix(text.to_owned());
        let (address, length) = match text.split_once('/') {
            Some((address, length)) => (address, Some(length.parse::<u8>().map_err(|_| bad())?)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| bad())?;
        match length {
            Some(length) => Self::new(address, length).map_err(|_| bad()),
            None => Ok(Self::host(address)),
        }
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{}/{}", self.address, self.length))
    }
}

textual!(Prefix, "^[0-9a-fA-F.:]+(/[0-9]{1,3})?$", "192.0.2.1/24");

/// Address and port of a real server, as `ipvsadm -r` takes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Endpoint {
    /// Address.
    pub address: IpAddr,
    /// Port.
    pub port: Port,
}

impl FromStr for Endpoint {
    type Err = ValueError;
    fn from_str(text: &str) -> Result<Self, ValueError> {
        let socket: core::net::SocketAddr =
            text.parse().map_err(|_| ValueError::Endpoint(text.to_owned()))?;
        Ok(Self { address: socket.ip(), port: Port::new(socket.port())? })
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&core::net::SocketAddr::new(self.address, self.port.get()).to_string())
    }
}

textual!(Endpoint, "^(\\[[0-9a-fA-F:.]+\\]|[0-9.]+):[0-9]{1,5}$", "10.1.0.21:80");

/// An Ethernet address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Mac(pub [u8; 6]);

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

/// IPv4 group of VRRP (RFC 9568 section 5.1.1.2).
pub const VRRP_GROUP_V4: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 18);
/// IPv6 group of VRRP (RFC 9568 section 5.1.2.2).
pub const VRRP_GROUP_V6: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0x12);
