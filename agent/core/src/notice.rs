//! Everything an operator can be told: one enum, so that each has one text, one severity and one limit.

use core::fmt;
use core::net::{IpAddr, SocketAddr};
use core::time::Duration;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::net::{Endpoint, IfName, Name};
use crate::time::Instant;
use crate::wire::vrrp::RefusedAdvert;

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
    /// A virtual router holds its addresses from now on.
    BecameMaster {
        /// Which.
        router: Name,
        /// Its priority.
        priority: u8,
    },
    /// A virtual router waits from now on.
    BecameBackup {
        /// Which.
        router: Name,
        /// The Master it yielded to, when it was Master.
        master: Option<IpAddr>,
    },
    /// A virtual router cannot take part.
    RouterFault {
        /// Which.
        router: Name,
        /// Why; names the interface.
        reason: String,
    },
    /// A virtual router goes on where an agent that died left off.
    Resumed {
        /// Which.
        router: Name,
        /// Whether as Master.
        master: bool,
    },
    /// The Master of a virtual router says that it leaves.
    MasterLeft {
        /// Which.
        router: Name,
        /// The Master's address.
        master: IpAddr,
    },
    /// Another box is Master too, with a lower rank.
    RivalMaster {
        /// Which.
        router: Name,
        /// Its address.
        rival: IpAddr,
    },
    /// An advert has another interval than ours.
    IntervalDiffers {
        /// Of which virtual router.
        router: Name,
        /// Who sent it.
        source: IpAddr,
        /// Its interval.
        theirs: Duration,
        /// Our interval.
        ours: Duration,
    },
    /// An advert has other addresses than ours.
    AddressesDiffer {
        /// Of which virtual router.
        router: Name,
        /// Who sent it.
        source: IpAddr,
    },
    /// A message was not taken for an advert to us.
    AdvertRefused {
        /// Where it came in.
        interface: IfName,
        /// Who sent it.
        source: IpAddr,
        /// Why.
        reason: RefusedAdvert,
    },
    /// One of our adverts left later than a whole interval after its deadline.
    AdvertLate {
        /// Of which virtual router.
        router: Name,
        /// How late.
        late: Duration,
    },
    /// Kernel state was found changed without our doing, and was brought back.
    KernelRepaired {
        /// What was wrong ("virtual server 192.0.2.1:80/tcp was missing").
        what: String,
    },
    /// Kernel state cannot be brought about.
    KernelFailed {
        /// What was tried.
        what: String,
        /// What the kernel answered.
        reason: String,
    },
    /// Kernel state that failed before is as wanted.
    KernelRecovered {
        /// What was tried.
        what: String,
    },
    /// The prober process was lost; health stays as it was until it is back.
    ProberLost {
        /// How it ended.
        reason: String,
    },
    /// Notices of one kind were held back by the limit.
    Suppressed {
        /// Which kind.
        what: String,
        /// How many.
        times: u64,
    },
    /// An operator changed what the box does, beside its configuration.
    Operated {
        /// Who.
        user: Name,
        /// What was done.
        what: String,
    },
    /// What an operator had overridden is not in the configuration any more.
    OverrideDropped {
        /// Which ("real server 10.1.0.21:80 of web").
        what: String,
    },
    /// A real server that drained is out of the table.
    Halted {
        /// Of which service.
        service: Name,
        /// Which.
        server: Endpoint,
        /// Whether it had no connection left; otherwise its deadline had passed.
        drained: bool,
    },
    /// The time of `vrrp yield` or `vrrp takeover` has passed.
    RouterNormal {
        /// Which.
        router: Name,
    },
    /// A Master hands its addresses over.
    Yielding {
        /// Which.
        router: Name,
    },
    /// Nobody took over from a Master that hands over.
    NobodyTookOver {
        /// Which.
        router: Name,
        /// Whether it goes on as Master; otherwise nobody has its addresses now.
        stays: bool,
    },
    /// A configuration that was not confirmed, or made the box worse off, gave way to the one before it.
    ConfigWentBack {
        /// Its generation.
        generation: u64,
        /// Why.
        why: String,
    },
}

impl Notice {
    /// How serious it is.
    #[must_use]
    pub const fn severity(&self) -> Severity {
        match self {
            Self::ConfigRefused { .. }
            | Self::ConfigWentBack { .. }
            | Self::ServiceDown { .. }
            | Self::RouterFault { .. }
            | Self::KernelFailed { .. }
            | Self::NobodyTookOver { stays: false, .. } => Severity::Error,
            Self::ServerDown { .. }
            | Self::RivalMaster { .. }
            | Self::AddressesDiffer { .. }
            | Self::AdvertLate { .. }
            | Self::AdvertRefused { .. }
            | Self::KernelRepaired { .. }
            | Self::ProberLost { .. }
            | Self::OverrideDropped { .. }
            | Self::NobodyTookOver { stays: true, .. } => Severity::Warning,
            Self::ConfigApplied { .. }
            | Self::ServerUp { .. }
            | Self::ServiceUp { .. }
            | Self::BecameMaster { .. }
            | Self::BecameBackup { .. }
            | Self::Resumed { .. }
            | Self::MasterLeft { .. }
            | Self::KernelRecovered { .. }
            | Self::Operated { .. }
            | Self::Halted { .. }
            | Self::RouterNormal { .. }
            | Self::Yielding { .. } => Severity::Notice,
            Self::IntervalDiffers { .. } | Self::Suppressed { .. } => Severity::Info,
        }
    }

    /// What it shares a limit with; `None` is never limited. Nothing that a stranger can choose freely is
    /// part of it, so the number of keys is bounded by the configuration.
    #[must_use]
    pub fn limit_key(&self) -> Option<String> {
        match self {
            Self::ConfigApplied { .. }
            | Self::ConfigRefused { .. }
            | Self::ConfigWentBack { .. }
            | Self::ServerUp { .. }
            | Self::ServerDown { .. }
            | Self::ServiceDown { .. }
            | Self::ServiceUp { .. }
            | Self::Resumed { .. }
            | Self::ProberLost { .. }
            | Self::Suppressed { .. }
            | Self::Operated { .. }
            | Self::OverrideDropped { .. }
            | Self::Halted { .. }
            | Self::RouterNormal { .. }
            | Self::Yielding { .. }
            | Self::NobodyTookOver { .. } => None,
            Self::BecameMaster { router, .. } | Self::BecameBackup { router, .. } => {
                Some(format!("changes of state of virtual router {router}"))
            }
            Self::RouterFault { router, .. } => Some(format!("faults of virtual router {router}")),
            Self::MasterLeft { router, .. } => Some(format!("farewells to virtual router {router}")),
            Self::RivalMaster { router, .. } => Some(format!("rivals of virtual router {router}")),
            Self::IntervalDiffers { router, .. } => {
                Some(format!("adverts to virtual router {router} with another interval"))
            }
            Self::AddressesDiffer { router, .. } => {
                Some(format!("adverts to virtual router {router} with other addresses"))
            }
            Self::AdvertRefused { interface, reason, .. } => {
                Some(format!("VRRP messages on {interface}: {reason}"))
            }
            Self::AdvertLate { router, .. } => Some(format!("late adverts of virtual router {router}")),
            Self::KernelRepaired { .. } => Some("repairs of the kernel's state".into()),
            Self::KernelFailed { .. } => Some("failures to change the kernel's state".into()),
            Self::KernelRecovered { .. } => Some("recoveries of the kernel's state".into()),
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
            Self::ConfigWentBack { generation, why } => {
                write!(f, "revision {generation} of the configuration went back: {why}")
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
            Self::BecameMaster { router, priority } => {
                write!(f, "virtual router {router} is Master (priority {priority})")
            }
            Self::BecameBackup { router, master: None } => write!(f, "virtual router {router} is Backup"),
            Self::BecameBackup { router, master: Some(master) } => {
                write!(f, "virtual router {router} is Backup: {master} is Master")
            }
            Self::RouterFault { router, reason } => {
                write!(f, "virtual router {router} takes no part: {reason}")
            }
            Self::Resumed { router, master } => {
                let role = if *master { "Master" } else { "Backup" };
                write!(f, "virtual router {router} goes on as {role} after a restart of the agent")
            }
            Self::MasterLeft { router, master } => {
                write!(f, "virtual router {router}: Master {master} leaves")
            }
            Self::RivalMaster { router, rival } => write!(
                f,
                "virtual router {router}: {rival} is Master too, with a lower rank; if this goes on, it does not \
                 hear our adverts"
            ),
            Self::IntervalDiffers { router, source, theirs, ours } => {
                write!(
                    f,
                    "virtual router {router}: {source} adverts every {theirs:?}, we are set to {ours:?}"
                )
            }
            Self::AddressesDiffer { router, source } => write!(
                f,
                "virtual router {router}: {source} has other virtual addresses than this box: make the \
                 configurations agree"
            ),
            Self::AdvertRefused { interface, source, reason } => {
                write!(f, "VRRP message from {source} on {interface} refused: {reason}")
            }
            Self::AdvertLate { router, late } => write!(
                f,
                "virtual router {router}: an advert was {late:?} late: the box is overloaded or was stopped"
            ),
            Self::KernelRepaired { what } => write!(f, "kernel state repaired: {what}"),
            Self::KernelFailed { what, reason } => write!(f, "cannot {what}: {reason}"),
            Self::KernelRecovered { what } => write!(f, "works again: {what}"),
            Self::ProberLost { reason } => {
                write!(f, "prober lost, real servers stay as they are until it is back: {reason}")
            }
            Self::Suppressed { what, times } => write!(f, "{times} more notices held back: {what}"),
            Self::Operated { user, what } => write!(f, "{user}: {}", what.replace('\n', " ")),
            Self::OverrideDropped { what } => {
                write!(f, "{what} is not in the configuration any more: what was told of it is forgotten")
            }
            Self::Halted { service, server, drained: true } => {
                write!(f, "real server {server} of {service} is drained and halted: no connection is left")
            }
            Self::Halted { service, server, drained: false } => write!(
                f,
                "real server {server} of {service} is halted: the time to drain has passed, what is left ends"
            ),
            Self::RouterNormal { router } => {
                write!(f, "virtual router {router}: the time has passed, priorities decide again")
            }
            Self::Yielding { router } => {
                write!(f, "virtual router {router} hands over: it answers until another is Master")
            }
            Self::NobodyTookOver { router, stays: true } => {
                write!(f, "virtual router {router}: nobody took over, it goes on as Master")
            }
            Self::NobodyTookOver { router, stays: false } => {
                write!(f, "virtual router {router}: nobody took over, its addresses are nowhere now")
            }
        }
    }
}

fn names(services: &[Name]) -> String {
    services.iter().map(Name::as_str).collect::<Vec<_>>().join(", ")
}

/// Notices of one key that may come at once.
const BURST: u32 = 5;
/// Time in which one more is earned.
const EARN: Duration = Duration::from_secs(60);

/// Lets notices of one kind through at a limited rate: a burst of 5, then one a minute.
///
/// The rate depends on time alone, so nothing that a stranger sends can reset it.
#[derive(Clone, Debug, Default)]
pub struct Limiter {
    buckets: BTreeMap<String, Bucket>,
}

#[derive(Clone, Debug)]
struct Bucket {
    /// When all of the burst is there again.
    full: Instant,
    suppressed: u64,
}

impl Limiter {
    /// What to tell for `notice` at `now`: nothing, the notice, or before it how many were held back.
    pub fn admit(&mut self, now: Instant, notice: Notice) -> heapless::Vec<Notice, 2> {
        let mut told = heapless::Vec::new();
        if let Some(key) = notice.limit_key() {
            let bucket =
                self.buckets.entry(key.clone()).or_insert(Bucket { full: Instant::ZERO, suppressed: 0 });
            let full = bucket.full.max(now) + EARN;
            if full.since(now) > EARN * BURST {
                bucket.suppressed += 1;
                return told;
            }
            bucket.full = full;
            let times = core::mem::take(&mut bucket.suppressed);
            if times > 0 {
                let _ = told.push(Notice::Suppressed { what: key, times });
            }
        }
        let _ = told.push(notice);
        told
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(source: u8, reason: RefusedAdvert) -> Notice {
        let interface = "eth0".parse().expect("a name");
        Notice::AdvertRefused { interface, source: IpAddr::from([10, 0, 0, source]), reason }
    }

    fn admitted(limiter: &mut Limiter, second: u64, notice: Notice) -> usize {
        limiter.admit(Instant::ZERO + Duration::from_secs(second), notice).len()
    }

    #[test]
    fn a_flood_from_many_sources_is_told_five_times_and_then_once_a_minute() {
        let mut limiter = Limiter::default();
        let mut told = Vec::new();
        for second in 0..=300 {
            for source in 0..10 {
                let at = Instant::ZERO + Duration::from_secs(second);
                told.extend(limiter.admit(at, refused(source, RefusedAdvert::Checksum)));
            }
        }
        let held_back: Vec<u64> = told
            .iter()
            .filter_map(
                |notice| if let Notice::Suppressed { times, .. } = notice { Some(*times) } else { None },
            )
            .collect();
        assert_eq!(told.len() - held_back.len(), 10);
        assert_eq!(held_back, [595, 599, 599, 599, 599]);
    }

    #[test]
    fn another_reason_has_its_own_limit() {
        let mut limiter = Limiter::default();
        for _ in 0..9 {
            admitted(&mut limiter, 0, refused(1, RefusedAdvert::Checksum));
        }
        assert_eq!(admitted(&mut limiter, 0, refused(1, RefusedAdvert::Checksum)), 0);
        assert_eq!(admitted(&mut limiter, 0, refused(1, RefusedAdvert::Hops)), 1);
    }

    #[test]
    fn what_an_operator_did_is_never_held_back() {
        let mut limiter = Limiter::default();
        for _ in 0..100 {
            let notice = Notice::ConfigApplied { source: "bascule.toml".into() };
            assert_eq!(admitted(&mut limiter, 0, notice), 1);
        }
    }
}
