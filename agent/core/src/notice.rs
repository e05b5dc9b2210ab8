//! Everything an operator can be told: one enum, so that each has one text, one severity and one limit.

use core::fmt;
use core::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::net::{Endpoint, Name};

/// How serious a notice is (syslog's names).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Severity {
    /// Needs a person.
    Error,
    /// May need one.
    Warning,
    /// Worth keeping.
    Notice,
    /// Detail.
    Info,
}

/// Something an operator can be told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Notice {
    /// A configuration runs from now on.
    ConfigApplied {
        /// Where it came from.
        source: String,
    },
    /// A configuration was refused; the one before it goes on.
    ConfigRefused {
        /// Where it came from, and why not.
        reason: String,
    },
    /// A real server has come in.
    ServerUp {
        /// What was probed.
        server: SocketAddr,
        /// The services that use it.
        services: Vec<Name>,
    },
    /// A real server has gone out.
    ServerDown {
        /// What was probed.
        server: SocketAddr,
        /// The services that used it.
        services: Vec<Name>,
        /// Why.
        reason: String,
    },
    /// A service has no real server left; the sorry server, if any, answers.
    ServiceDown {
        /// Which.
        service: Name,
        /// Its sorry server.
        sorry: Option<Endpoint>,
    },
    /// A service has a real server again.
    ServiceUp {
        /// Which.
        service: Name,
    },
}

impl Notice {
    /// How serious it is.
    #[must_use]
    pub const fn severity(&self) -> Severity {
        match self {
            Self::ConfigApplied { .. } | Self::ServerUp { .. } | Self::ServiceUp { .. } => Severity::Notice,
            Self::ServerDown { .. } => Severity::Warning,
            Self::ConfigRefused { .. } | Self::ServiceDown { .. } => Severity::Error,
        }
    }
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ConfigApplied { source } => write!(f, "running the configuration of {source}"),
            Self::ConfigRefused { reason } => {
                write!(f, "configuration refused, the running one goes on: {reason}")
            }
            Self::ServerUp { server, services } => {
                write!(f, "real server {server} is up (used by {})", names(services))
            }
            Self::ServerDown { server, services, reason } => {
                write!(f, "real server {server} is down: {reason} (used by {})", names(services))
            }
            Self::ServiceDown { service, sorry: Some(sorry) } => {
                write!(f, "virtual server {service} has no real server left: sorry server {sorry} answers")
            }
            Self::ServiceDown { service, sorry: None } => write!(
                f,
                "virtual server {service} has no real server left and no sorry server: clients are refused"
            ),
            Self::ServiceUp { service } => write!(f, "virtual server {service} has a real server again"),
        }
    }
}

fn names(services: &[Name]) -> String {
    services.iter().map(Name::as_str).collect::<Vec<_>>().join(", ")
}
