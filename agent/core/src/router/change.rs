//! Why a virtual router is in another state than before, for its history.

use core::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::net::Name;
use crate::time::Instant;
use crate::vrrp::{self, Peer, Settings, Stance, State};
use crate::wire::vrrp::LEAVING;

/// What others see of a state: who hands over still holds the addresses, who stands aside does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Standing {
    /// Takes no part.
    Fault,
    /// Waits.
    Backup,
    /// Holds the addresses.
    Master,
}

impl Standing {
    /// Of a state.
    #[must_use]
    pub const fn of(state: &State) -> Self {
        match state {
            State::Initialize => Self::Fault,
            State::Backup(_) | State::Aside(_) => Self::Backup,
            State::Master(_) | State::Yielding(_) | State::Lingering(_) => Self::Master,
        }
    }

    /// As operators read it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Fault => "FAULT",
            Self::Backup => "BACKUP",
            Self::Master => "MASTER",
        }
    }
}

/// A change of state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// When.
    pub at: Instant,
    /// Of which virtual router.
    pub router: Name,
    /// Before.
    pub from: Standing,
    /// After.
    pub to: Standing,
    /// Why, in words.
    pub why: String,
}

/// What happened to it, as far as a reason needs it.
#[derive(Clone, Copy, Debug)]
pub(super) enum Cause {
    Link,
    Heard(Peer),
    Timer,
    Configured,
    Leave,
}

impl From<&vrrp::Event> for Cause {
    fn from(event: &vrrp::Event) -> Self {
        match event {
            vrrp::Event::Up(_) | vrrp::Event::Down => Self::Link,
            vrrp::Event::Advert(advert, address) => {
                Self::Heard(Peer { priority: advert.priority, address: *address })
            }
            vrrp::Event::Timer => Self::Timer,
            vrrp::Event::Configure(_) => Self::Configured,
            vrrp::Event::Leave => Self::Leave,
        }
    }
}

/// Why `cause` made `after` of `before`. `left` is a Master that has said farewell since the last advert of another;
/// `fault` is why it takes no part, if it does not.
pub(super) fn why(
    (before, after): (&State, &State),
    cause: Cause,
    settings: &Settings,
    left: Option<IpAddr>,
    fault: Option<&str>,
) -> String {
    let maintenance = matches!(settings.stance, Stance::Aside { .. });
    match (before, after) {
        (_, State::Initialize) => match cause {
            Cause::Leave => "the agent or this virtual router ends".to_owned(),
            Cause::Link | Cause::Heard(_) | Cause::Timer | Cause::Configured => {
                fault.unwrap_or("its interface is down").to_owned()
            }
        },
        (State::Lingering(lingering), State::Backup(_) | State::Aside(_)) => {
            format!("handed over to {}", lingering.master.address)
        }
        (State::Yielding(_), State::Aside(_)) => "maintenance, nobody took over".to_owned(),
        (State::Initialize, State::Backup(_)) => "start".to_owned(),
        (State::Initialize, State::Aside(_)) => "start in maintenance".to_owned(),
        (_, State::Aside(_)) if maintenance => "maintenance".to_owned(),
        (_, State::Backup(_) | State::Aside(_)) => match cause {
            Cause::Heard(peer) => format!("{} is Master with priority {}", peer.address, peer.priority),
            Cause::Link | Cause::Timer | Cause::Configured | Cause::Leave => "told by an operator".to_owned(),
        },
        (_, State::Master(_) | State::Yielding(_) | State::Lingering(_)) => {
            master(before, cause, settings, left)
        }
    }
}

fn master(before: &State, cause: Cause, settings: &Settings, left: Option<IpAddr>) -> String {
    let heard = match before {
        State::Backup(backup) => backup.master,
        State::Aside(aside) => aside.master,
        State::Initialize | State::Master(_) | State::Yielding(_) | State::Lingering(_) => None,
    };
    match (cause, left, heard) {
        (Cause::Configured, ..) if settings.priority.is_owner() => "owns its addresses".to_owned(),
        (Cause::Configured, ..) => "told to take over".to_owned(),
        (Cause::Link, ..) => "owns its addresses".to_owned(),
        (_, Some(left), _) => format!("{left} left"),
        (_, None, Some(peer)) if peer.priority != LEAVING && peer.priority < settings.priority.get() => {
            format!("preempts {} (priority {}), or that is down", peer.address, peer.priority)
        }
        (_, None, Some(peer)) => format!("{} is down", peer.address),
        (_, None, None) => "no Master was heard".to_owned(),
    }
}
