//! Everything that can be commanded, as a value: what the grammar makes of a line and the daemon carries out.

use core::net::IpAddr;
use core::time::Duration;

use serde::{Deserialize, Serialize};

use crate::config::edit::Edit;
use crate::control::Open;
use crate::net::{Endpoint, IfName, Name};
use crate::overrides::Operation;

/// A command of either mode.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// What can be typed.
    Help,
    /// Finite and harmless.
    Show(Show),
    /// Runs until Ctrl-C.
    Monitor(Monitor),
    /// ICMP echo.
    Ping {
        /// Name or address.
        host: String,
        /// How many; until Ctrl-C when not given.
        count: Option<u32>,
    },
    /// The routers on the way.
    Traceroute {
        /// Name or address.
        host: String,
    },
    /// ARP requests (IPv4) or neighbour solicitations (IPv6) on an interface.
    Arping {
        /// Address.
        address: IpAddr,
        /// Interface; found by the routes when not given.
        interface: Option<IfName>,
        /// How many; until Ctrl-C when not given.
        count: Option<u32>,
    },
    /// `check VS/RS`: run its health check once, now, and tell every step.
    Check {
        /// The service.
        service: Name,
        /// The real server.
        server: Endpoint,
    },
    /// Drain, halt, enable, disable, sorry, yield, takeover, maintenance.
    Operate(Operation),
    /// Write configuration and users to a file, to be loaded on a replacement box.
    Backup {
        /// Path; on the data partition when not given.
        to: Option<String>,
    },
    /// Everything that support asks for, without secrets, as one file.
    SupportBundle {
        /// Path; on the data partition when not given.
        to: Option<String>,
    },
    /// Wipe configuration, users and keys, and restart.
    FactoryReset,
    /// Ask the few things that a new box must know.
    Setup,
    /// Restart the box.
    Reboot(When),
    /// Switch the box off.
    Poweroff(When),
    /// Size of the terminal in columns and lines; 0 lines turn the pager off.
    Terminal {
        /// Columns.
        width: Option<u16>,
        /// Lines.
        length: Option<u16>,
    },
    /// Enter configuration mode.
    Configure(Open),
    /// Leave the shell; in configuration mode, that mode.
    Exit,
    /// Leave the shell from any mode.
    Logout,
    /// Read the configuration file again.
    Reload,
    /// End the agent; init starts it again.
    RestartAgent,
    /// The IPVS table in ipvsadm's own words.
    Ipvsadm(Vec<String>),
    /// Users of this box.
    User(User),
    /// The key that the two boxes of a pair share.
    PeerKey(PeerKey),
    /// Certificate authorities of the operator's own, for updates over https.
    Authority(Authority),
    /// The other system on the disk.
    Update(Update),
    /// Candidate configuration.
    Candidate(Candidate),
    /// An operational command from configuration mode.
    Run(Box<Command>),
}

/// What can be shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Show {
    /// The picture of the box.
    Status,
    /// Versions of program, kernel, image.
    Version,
    /// Hardware, load, memory, uptime, temperatures.
    System,
    /// What is wrong now.
    Alarms,
    /// The log.
    Log {
        /// Latest so many lines.
        lines: Option<u32>,
    },
    /// Interfaces with addresses and counters.
    Interfaces(Option<IfName>),
    /// Routes of the kernel.
    Routes,
    /// ARP and neighbour table.
    Neighbors,
    /// Users and who is logged in.
    Users,
    /// How the box was started, and why.
    Boot,
    /// Services.
    VirtualServers(Option<Name>),
    /// Real servers of one service or all.
    RealServers(Option<Name>),
    /// Health checks with their latest outcomes.
    HealthChecks,
    /// Connections in the kernel's table (`/proc/net/ip_vs_conn`).
    Connections {
        /// Only those with this text in an address.
        filter: Option<String>,
    },
    /// Persistence templates.
    Persistence,
    /// Virtual routers.
    Vrrp(Option<Name>),
    /// Changes of state of a virtual router.
    VrrpHistory(Option<Name>),
    /// Connection synchronisation.
    Sync,
    /// The configuration: the running one, or the candidate in configuration mode.
    Configuration {
        /// Words of the object; empty for the whole.
        path: Vec<String>,
        /// As `set` commands.
        set: bool,
    },
    /// The revisions that are kept.
    Commits,
    /// Progress of an update.
    Update,
    /// The two systems on the disk.
    Slots,
    /// Everything that support asks for, without secrets.
    TechSupport,
    /// Who did what: logins and commands that changed something.
    Audit {
        /// Latest so many lines.
        lines: Option<u32>,
    },
}

/// What can be watched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Monitor {
    /// New lines of the log.
    Log,
    /// Changes of roles, and adverts as they are counted.
    Vrrp,
    /// Changes of real servers.
    RealServers,
    /// Packets and bytes per second of interfaces and services.
    Traffic,
}

/// When a box goes down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// At once.
    Now,
    /// After this time.
    In(Duration),
    /// Not any more.
    Cancel,
}

/// Users of this box.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum User {
    /// A new user; the password is asked for.
    Add(Name, Role),
    /// A new password; it is asked for.
    Password(Name),
    /// No such user any more.
    Delete(Name),
}

/// What a user may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Everything.
    Admin,
    /// Nothing that changes something.
    ReadOnly,
}

/// What is done with the system in the slot that does not run, or with one on trial.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Update {
    /// Write a bundle into the slot that does not run.
    Install {
        /// Where it comes from.
        from: BundleFrom,
        /// Also when it is older than what runs.
        older: bool,
    },
    /// What is installed, what runs, and the latest install.
    Status,
    /// Both boxes of the pair, one after the other.
    Pair {
        /// A path, `usb:NAME`, `http://...` or `https://...`.
        from: String,
        /// Also when it is older than what runs.
        older: bool,
        /// Connections that the other box does not know may be lost.
        lose_idle: bool,
        /// For scripts: how it ended, as JSON.
        json: bool,
    },
    /// Start the installed system on trial.
    Activate,
    /// Keep the system on trial.
    Confirm,
    /// Back to the other system.
    Rollback,
    /// Stop a running install, or forget the installed system.
    Cancel,
}

/// Certificate authorities that are believed beside the public ones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Authority {
    /// Those of a PEM file: a path or `usb:NAME`; from the terminal, until Ctrl-D, when not given.
    Set(Option<String>),
    /// None.
    Clear,
}

/// The key that the two boxes of a pair share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerKey {
    /// Make one and show it once.
    New,
    /// Enter the other box's.
    Set,
    /// Forget it: nothing listens any more.
    Clear,
}

/// Where a bundle comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BundleFrom {
    /// A path, `usb:NAME`, `http://...` or `https://...`.
    Text(String),
    /// This terminal, by YMODEM or XMODEM-CRC.
    Serial,
}

/// Commands on the candidate configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Candidate {
    /// Change it. Paths are complete: the level that `edit` went to is part of them.
    Edit(Edit),
    /// Go to a level.
    Level(Vec<String>),
    /// One level up.
    Up,
    /// Back to the top level.
    Top,
    /// The difference from an older revision.
    Compare(u32),
    /// Make it the running configuration.
    Commit {
        /// Why.
        comment: Option<String>,
        /// Goes back by itself unless confirmed within this time.
        confirmed: Option<Duration>,
        /// Whether it goes back at once when VRRP or service health becomes worse.
        guard: bool,
    },
    /// Keep what `commit confirmed` made.
    Confirm,
    /// Load an older revision.
    Rollback(u32),
    /// Back to the running configuration.
    Discard,
    /// Every error at once.
    Validate,
    /// Take a text from the terminal or a file.
    Load {
        /// Whether it replaces the candidate; else it is merged.
        replace: bool,
        /// Path; from the terminal, until Ctrl-D, when not given.
        from: Option<String>,
    },
    /// Keep the running configuration as the one to fall back to when no revision can be used.
    SaveRescue,
}
