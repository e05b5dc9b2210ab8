//! Everything that can be typed in operational mode. This tree is the only description of it: parsing, `?`, Tab and
//! `docs/command-reference.md` come from here.

use super::args::Kind;
use super::command::{
    Authority, BundleFrom, Candidate, Command, Monitor, PeerKey, Role, Show, Update, User, When,
};
use super::grammar::{Node, arg, word};
use crate::control::Open;
use crate::overrides::{Operation, ServerOverride, ServiceOverride};

type N = Node<Command>;

/// Operational mode.
pub static OPERATIONAL: &[N] = &[
    word("show", "print facts, once").then(SHOW),
    word("monitor", "watch until Ctrl-C").then(&[
        word("log", "new lines of the log").run(|_| Some(Command::Monitor(Monitor::Log))),
        word("real-servers", "changes of real servers").run(|_| Some(Command::Monitor(Monitor::RealServers))),
        word("traffic", "packets and bytes per second").run(|_| Some(Command::Monitor(Monitor::Traffic))),
        word("vrrp", "changes of roles and the adverts").run(|_| Some(Command::Monitor(Monitor::Vrrp))),
    ]),
    word("ping", "ICMP echo; without a count until Ctrl-C").then(&[arg(
        "HOST",
        Kind::Host,
        "address or name",
    )
    .run(|a| Some(Command::Ping { host: a.text("HOST")?, count: a.number("COUNT") }))
    .with(COUNT)]),
    word("traceroute", "the routers on the way").then(&[arg("HOST", Kind::Host, "address or name")
        .run(|a| Some(Command::Traceroute { host: a.text("HOST")? }))]),
    word("arping", "ARP or neighbour requests; without a count until Ctrl-C").then(&[arg(
        "ADDRESS",
        Kind::Address,
        "address on a connected network",
    )
    .run(|a| {
        let (address, interface) = (a.address("ADDRESS")?, a.interface("INTERFACE"));
        Some(Command::Arping { address, interface, count: a.number("COUNT") })
    })
    .with(&[
        word("interface", "where to send").then(&[arg(
            "INTERFACE",
            Kind::Interface,
            "interface of this box",
        )]),
        word("count", "how many").then(&[arg("COUNT", Kind::Number(1, 1_000_000), "how many")]),
    ])]),
    word("check", "run a health check once, now, and tell every step").then(&[
        arg("VS/RS", Kind::RealServer, "service and real server").run(|a| {
            let (service, server) = a.server("VS/RS")?;
            Some(Command::Check { service, server })
        }),
        arg("VS", Kind::Service, "service").then(&[arg("RS", Kind::ServerOf("VS"), "real server").run(
            |a| {
                let (service, server) = a.server("RS")?;
                Some(Command::Check { service, server })
            },
        )]),
    ]),
    word("real-server", "override what is said of a real server").then(&[
        word("drain", "no new connections; out when the old ones are gone").then(&[
            arg("VS/RS", Kind::RealServer, "service and real server")
                .run(|a| server(a, "VS/RS", drain))
                .with(DEADLINE),
            arg("VS", Kind::Service, "service").then(&[arg("RS", Kind::ServerOf("VS"), "real server")
                .run(|a| server(a, "RS", drain))
                .with(DEADLINE)]),
        ]),
        word("enable", "back to what configuration and health say").then(&[
            arg("VS/RS", Kind::RealServer, "service and real server")
                .run(|a| server(a, "VS/RS", |_| ServerOverride::Enable)),
            arg("VS", Kind::Service, "service").then(&[arg("RS", Kind::ServerOf("VS"), "real server")
                .run(|a| server(a, "RS", |_| ServerOverride::Enable))]),
        ]),
        word("halt", "out at once: its connections end").then(&[
            arg("VS/RS", Kind::RealServer, "service and real server")
                .run(|a| server(a, "VS/RS", |_| ServerOverride::Halt)),
            arg("VS", Kind::Service, "service").then(&[arg("RS", Kind::ServerOf("VS"), "real server")
                .run(|a| server(a, "RS", |_| ServerOverride::Halt))]),
        ]),
    ]),
    word("virtual-server", "override what is said of a service").then(&[
        word("disable", "out of the kernel: nothing answers")
            .then(&[arg("VS", Kind::Service, "service").run(|a| service(a, ServiceOverride::Disable))]),
        word("enable", "back to what the configuration says")
            .then(&[arg("VS", Kind::Service, "service").run(|a| service(a, ServiceOverride::Enable))]),
        word("sorry", "new connections go to the sorry server")
            .then(&[arg("VS", Kind::Service, "service").run(|a| service(a, ServiceOverride::Sorry))]),
    ]),
    word("vrrp", "planned hand-over of virtual addresses").then(&[
        word("yield", "hand the addresses to the other box").run(vrrp_yield).with(FOR).then(&[arg(
            "ROUTER",
            Kind::Router,
            "virtual router; all without one",
        )
        .run(vrrp_yield)
        .with(FOR)]),
        word("takeover", "become Master, whatever the priorities say").run(takeover).with(FOR).then(&[arg(
            "ROUTER",
            Kind::Router,
            "virtual router; all without one",
        )
        .run(takeover)
        .with(FOR)]),
        word("normal", "back to what priorities and preemption say").run(normal).then(&[arg(
            "ROUTER",
            Kind::Router,
            "virtual router; all without one",
        )
        .run(normal)]),
    ]),
    word("maintenance", "take the box out of service, over reboots").then(&[
        word("enter", "hand everything over and stay out")
            .run(|_| Some(operate(Operation::Maintenance(true)))),
        word("leave", "back into service").run(|_| Some(operate(Operation::Maintenance(false)))),
    ]),
    word("configure", "change the configuration").run(|_| Some(Command::Configure(Open::Private))).then(&[
        word("exclusive", "and keep others from doing so").run(|_| Some(Command::Configure(Open::Exclusive))),
        word("resume", "go on where a session was left").run(|_| Some(Command::Configure(Open::Resume))),
    ]),
    // Everybody's fingers know `conf` as `configure`.
    word("confirm", "keep what commit confirmed made")
        .at_least("confir".len())
        .run(|_| Some(Command::Candidate(Candidate::Confirm))),
    word("save", "keep a configuration apart").then(&[word(
        "rescue",
        "keep the running configuration to fall back to",
    )
    .run(|_| Some(Command::Candidate(Candidate::SaveRescue)))]),
    word("update", "the other system on the disk: install, try, keep or drop it").then(UPDATE),
    word("peer", "the other box of the pair").then(&[word("key", "the key that both boxes share").then(&[
        word("new", "make one and show it once").run(|_| Some(Command::PeerKey(PeerKey::New))),
        word("set", "enter that of the other box").run(|_| Some(Command::PeerKey(PeerKey::Set))),
        word("clear", "forget it").run(|_| Some(Command::PeerKey(PeerKey::Clear))),
    ])]),
    word("user", "users of this box").then(&[
        word("add", "a new user; the password is asked for").then(&[arg(
            "NAME",
            Kind::Name,
            "name of the user",
        )
        .then(&[
            word("admin", "may do everything")
                .run(|a| Some(Command::User(User::Add(a.name("NAME")?, Role::Admin)))),
            word("read-only", "may change nothing")
                .run(|a| Some(Command::User(User::Add(a.name("NAME")?, Role::ReadOnly)))),
        ])]),
        word("delete", "no such user any more").then(&[arg("NAME", Kind::Name, "name of the user")
            .run(|a| Some(Command::User(User::Delete(a.name("NAME")?))))]),
        word("password", "a new password; it is asked for").then(&[arg(
            "NAME",
            Kind::Name,
            "name of the user",
        )
        .run(|a| Some(Command::User(User::Password(a.name("NAME")?))))]),
    ]),
    word("backup", "configuration and users as a file")
        .run(|a| Some(Command::Backup { to: a.text("FILE") }))
        .then(&[arg("FILE", Kind::Text, "path; on the data partition without one")
            .run(|a| Some(Command::Backup { to: a.text("FILE") }))]),
    word("support-bundle", "what support asks for as a file, without secrets")
        .run(|a| Some(Command::SupportBundle { to: a.text("FILE") }))
        .then(&[arg("FILE", Kind::Text, "path; on the data partition without one")
            .run(|a| Some(Command::SupportBundle { to: a.text("FILE") }))]),
    word("setup", "ask the few things that a new box must know").run(|_| Some(Command::Setup)),
    word("factory-reset", "wipe configuration, users and keys").run(|_| Some(Command::FactoryReset)),
    word("reboot", "restart the box, after handing the addresses over")
        .run(|_| Some(Command::Reboot(When::Now)))
        .then(&[
            word("in", "later").then(&[arg(
                "TIME",
                Kind::Minutes,
                "time from now, as 5m; a number is minutes",
            )
            .run(|a| Some(Command::Reboot(When::In(a.duration("TIME")?))))]),
            word("cancel", "not any more").run(|_| Some(Command::Reboot(When::Cancel))),
        ]),
    word("poweroff", "switch the box off, after handing the addresses over")
        .run(|_| Some(Command::Poweroff(When::Now)))
        .then(&[
            word("in", "later").then(&[arg(
                "TIME",
                Kind::Minutes,
                "time from now, as 5m; a number is minutes",
            )
            .run(|a| Some(Command::Poweroff(When::In(a.duration("TIME")?))))]),
            word("cancel", "not any more").run(|_| Some(Command::Poweroff(When::Cancel))),
        ]),
    word("terminal", "size of this terminal, when it does not tell its own")
        .run(|a| Some(Command::Terminal { width: a.small("COLUMNS"), length: a.small("LINES") }))
        .with(&[
            word("width", "columns").then(&[arg("COLUMNS", Kind::Number(1, 1_000), "columns")]),
            word("length", "lines").then(&[arg(
                "LINES",
                Kind::Number(0, 1_000),
                "lines; 0 turns the pager off",
            )]),
        ]),
    word("reload", "read the configuration file again, apply what changed").run(|_| Some(Command::Reload)),
    word("restart", "begin anew").then(&[word(
        "agent",
        "end the agent, init starts it again; traffic goes on",
    )
    .run(|_| Some(Command::RestartAgent))]),
    word("ipvsadm", "the IPVS table in ipvsadm's own words: -Ln, -Sn, -C")
        .run(|_| Some(Command::Ipvsadm(Vec::new())))
        .then(&[arg("ARGUMENTS", Kind::Words, "as ipvsadm takes them").run(|a| {
            Some(Command::Ipvsadm(a.rest("ARGUMENTS").iter().map(|word| word.text.clone()).collect()))
        })]),
    word("help", "what can be typed; also ? at any place").run(|_| Some(Command::Help)),
    word("exit", "leave").run(|_| Some(Command::Exit)),
    word("quit", "leave").run(|_| Some(Command::Exit)),
    word("logout", "leave the shell").run(|_| Some(Command::Logout)),
];

static SHOW: &[N] = &[
    word("alarms", "what is wrong now").run(|_| show(Show::Alarms)),
    word("audit", "who logged in, and what was changed")
        .run(|_| show(Show::Audit { lines: None }))
        .then(&[arg("LINES", Kind::Number(1, 100_000), "how many of the latest lines")
            .run(|a| show(Show::Audit { lines: a.number("LINES") }))]),
    word("boot", "how the box was started, and why").run(|_| show(Show::Boot)),
    word("configuration", "the running configuration")
        .run(|_| show(Show::Configuration { path: Vec::new(), set: false }))
        .then(&[arg("PATH", Kind::Path(super::args::Shape::Object), "words of the object").run(|a| {
            show(Show::Configuration {
                path: a.rest("PATH").iter().map(|word| word.text.clone()).collect(),
                set: false,
            })
        })]),
    word("connections", "connections in the kernel's table")
        .run(|_| show(Show::Connections { filter: None }))
        .then(&[arg("FILTER", Kind::Text, "only those with this text in an address")
            .run(|a| show(Show::Connections { filter: a.text("FILTER") }))]),
    word("health-checks", "health checks with their latest outcomes").run(|_| show(Show::HealthChecks)),
    word("interfaces", "interfaces with addresses and counters")
        .run(|_| show(Show::Interfaces(None)))
        .then(&[arg("INTERFACE", Kind::Interface, "only this one")
            .run(|a| show(Show::Interfaces(a.interface("INTERFACE"))))]),
    word("log", "the latest lines of the log").run(|_| show(Show::Log { lines: None })).then(&[arg(
        "LINES",
        Kind::Number(1, 100_000),
        "how many",
    )
    .run(|a| show(Show::Log { lines: a.number("LINES") }))]),
    word("neighbors", "ARP and neighbour table").run(|_| show(Show::Neighbors)),
    word("persistence", "persistence templates").run(|_| show(Show::Persistence)),
    word("real-servers", "real servers of one service or all").run(|_| show(Show::RealServers(None))).then(
        &[arg("VS", Kind::Service, "only of this service").run(|a| show(Show::RealServers(a.name("VS"))))],
    ),
    word("routes", "routes of the kernel").run(|_| show(Show::Routes)),
    word("slots", "the two systems on the disk").run(|_| show(Show::Slots)),
    word("status", "roles, services, real servers, sync, problems").run(|_| show(Show::Status)),
    word("sync", "connection synchronisation").run(|_| show(Show::Sync)),
    word("system", "hardware, load, memory, uptime").run(|_| show(Show::System)).then(&[word(
        "commits",
        "the revisions that are kept",
    )
    .run(|_| show(Show::Commits))]),
    word("tech-support", "everything that support asks for, without secrets")
        .run(|_| show(Show::TechSupport)),
    word("update", "progress of an update").run(|_| show(Show::Update)),
    word("users", "users and who is logged in").run(|_| show(Show::Users)),
    word("version", "versions of program, kernel and image").run(|_| show(Show::Version)),
    word("virtual-servers", "services").run(|_| show(Show::VirtualServers(None))).then(&[arg(
        "VS",
        Kind::Service,
        "only this one",
    )
    .run(|a| show(Show::VirtualServers(a.name("VS"))))]),
    word("vrrp", "virtual routers").run(|_| show(Show::Vrrp(None))).then(&[
        word("history", "their changes of state").run(|_| show(Show::VrrpHistory(None))),
        arg("ROUTER", Kind::Router, "only this one").run(|a| show(Show::Vrrp(a.name("ROUTER")))).then(&[
            word("history", "its changes of state").run(|a| show(Show::VrrpHistory(a.name("ROUTER")))),
        ]),
    ]),
];

static UPDATE: &[N] = &[
    word("activate", "restart into the installed system, on trial")
        .run(|_| Some(Command::Update(Update::Activate))),
    word("authority", "certificate authorities of your own, for bundles over https").then(&[
        word("clear", "the public ones alone").run(|_| Some(Command::Authority(Authority::Clear))),
        word("set", "these; pasted at this terminal without FILE")
            .run(|_| Some(Command::Authority(Authority::Set(None))))
            .then(&[arg("FILE", Kind::Text, "PEM file: path or usb:NAME")
                .run(|a| Some(Command::Authority(Authority::Set(Some(a.text("FILE")?)))))]),
    ]),
    word("cancel", "stop a running install, or forget the installed system")
        .run(|_| Some(Command::Update(Update::Cancel))),
    word("confirm", "keep the system on trial").run(|_| Some(Command::Update(Update::Confirm))),
    word("install", "write a signed bundle into the slot that does not run").then(&[
        word("serial", "over this line, by YMODEM or XMODEM-CRC")
            .run(|a| Some(install(BundleFrom::Serial, a)))
            .with(OLDER),
        arg("BUNDLE", Kind::Text, "path, usb:NAME or http(s)://...")
            .run(|a| Some(install(BundleFrom::Text(a.text("BUNDLE")?), a)))
            .with(OLDER),
    ]),
    word("pair", "update both boxes of the pair, one after the other").then(&[arg(
        "BUNDLE",
        Kind::Text,
        "path, usb:NAME or http(s)://...",
    )
    .run(pair)
    .with(PAIR)]),
    word("rollback", "restart into the system that ran before")
        .run(|_| Some(Command::Update(Update::Rollback))),
    word("status", "what is installed, what runs, and the latest install")
        .run(|_| Some(Command::Update(Update::Status))),
];

static OLDER: &[N] = &[word("older", "also when it is older than what runs")];
static PAIR: &[N] = &[
    word("older", "also when it is older than what runs"),
    word("lose-idle", "hand over though the other box does not know every connection"),
    word("json", "tell how it ended as JSON, for scripts"),
];
static COUNT: &[N] =
    &[word("count", "how many").then(&[arg("COUNT", Kind::Number(1, 1_000_000), "how many")])];
static DEADLINE: &[N] = &[word("deadline", "out after this time, whatever is left").then(&[arg(
    "TIME",
    Kind::Minutes,
    "time, as 5m; a number is minutes",
)])];
static FOR: &[N] =
    &[word("for", "only for a time").then(&[arg("TIME", Kind::Minutes, "time, as 5m; a number is minutes")])];

type Args<'a> = super::args::Args<'a>;

const fn show(what: Show) -> Option<Command> {
    Some(Command::Show(what))
}

fn install(from: BundleFrom, args: &Args<'_>) -> Command {
    Command::Update(Update::Install { from, older: args.has("older") })
}

fn pair(args: &Args<'_>) -> Option<Command> {
    let from = args.text("BUNDLE")?;
    let (older, lose_idle, json) = (args.has("older"), args.has("lose-idle"), args.has("json"));
    Some(Command::Update(Update::Pair { from, older, lose_idle, json }))
}

const fn operate(operation: Operation) -> Command {
    Command::Operate(operation)
}

fn drain(args: &Args<'_>) -> ServerOverride {
    ServerOverride::Drain { deadline: args.duration("TIME") }
}

fn server(args: &Args<'_>, name: &str, to: fn(&Args<'_>) -> ServerOverride) -> Option<Command> {
    let (service, server) = args.server(name)?;
    Some(operate(Operation::RealServer { service, server, to: to(args) }))
}

fn service(args: &Args<'_>, to: ServiceOverride) -> Option<Command> {
    Some(operate(Operation::Service { service: args.name("VS")?, to }))
}

fn vrrp_yield(args: &Args<'_>) -> Option<Command> {
    Some(operate(Operation::Yield { router: args.name("ROUTER"), lasting: args.duration("TIME") }))
}

fn takeover(args: &Args<'_>) -> Option<Command> {
    Some(operate(Operation::Takeover { router: args.name("ROUTER"), lasting: args.duration("TIME") }))
}

fn normal(args: &Args<'_>) -> Option<Command> {
    Some(operate(Operation::Normal { router: args.name("ROUTER") }))
}
