//! The IPVS thread: makes the kernel's IPVS table the one that is wanted, reads it back after every change, and
//! looks every second whether somebody else changed it (the kernel tells nobody when they do).

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use bascule_core::desired::{DestinationKey, Ipvs, Service, ServiceKey, SyncRole};
use bascule_core::reconcile::{self, IpvsOp};
use nix::errno::Errno;
use tokio::sync::watch;

use super::genl::{GenlError, GenlSocket, Request};
use super::ipvs_wire::{
    self as wire, Attributes, Connections, DestinationEntry, Information, ServiceEntry, SyncEntry,
};
use super::sysctl;

/// A pass acts, reads again and acts on what is still different, at most this often.
const ROUNDS: usize = 3;
/// Problems that are listed one by one.
const LISTED: usize = 20;
/// What is told when the kernel has no IPVS.
const NO_IPVS: &str = "this kernel has no IPVS: load the module ip_vs, or use a kernel that has it";

/// What the IPVS thread found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IpvsFound {
    /// Whether the kernel has IPVS.
    pub available: bool,
    /// The table.
    pub table: Ipvs,
    /// Connections of each destination.
    pub connections: HashMap<(ServiceKey, DestinationKey), Connections>,
    /// What could not be brought about, with reasons; empty when wanted equals found.
    pub problems: Vec<String>,
    /// How often the table was found different from wanted without our doing, and put right.
    pub repairs: u64,
}

/// The slot of the latest wanted table.
#[derive(Debug, Default)]
pub struct Wanted {
    slot: Mutex<Option<Ipvs>>,
    changed: Condvar,
}

impl Wanted {
    /// Replaces what is wanted; a table that the thread has not taken yet is forgotten.
    pub fn put(&self, wanted: Ipvs) {
        *self.slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(wanted);
        self.changed.notify_one();
    }

    /// Waits for a newer table, at most for `limit`.
    fn take(&self, limit: Duration) -> Option<Ipvs> {
        let slot = self.slot.lock().unwrap_or_else(PoisonError::into_inner);
        let wait = self.changed.wait_timeout_while(slot, limit, |slot| slot.is_none());
        wait.unwrap_or_else(PoisonError::into_inner).0.take()
    }
}

/// A table with everything the kernel tells of it.
#[derive(Clone, Debug, Default)]
pub struct Dump {
    /// Services with their destinations, in the kernel's order.
    pub services: Vec<(ServiceEntry, Vec<DestinationEntry>)>,
    /// Sync daemons.
    pub daemons: Vec<SyncEntry>,
    /// The same, in the terms of what is wanted.
    pub table: Ipvs,
}

/// A connection to the kernel's IPVS.
#[derive(Debug)]
pub struct Kernel {
    socket: GenlSocket,
    family: u16,
}

impl Kernel {
    /// Finds IPVS, which makes the kernel load its module; `None` when there is none.
    ///
    /// # Errors
    /// What netlink says otherwise.
    pub fn connect() -> Result<Option<Self>, GenlError> {
        let mut socket = GenlSocket::open()?;
        Ok(socket.resolve(wire::FAMILY)?.map(|family| Self { socket, family }))
    }

    /// Reads the whole table.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn read(&mut self) -> Result<Dump, GenlError> {
        let mut dump = Dump::default();
        for message in self.dump(wire::GET_SERVICE, Attributes::new())? {
            // An entry of a kind that no release of IPVS had is not ours to judge.
            let Some(service) = wire::service(&message) else { continue };
            let destinations: Vec<DestinationEntry> = self
                .dump(wire::GET_DESTINATION, wire::destinations_of(&service.key))?
                .iter()
                .filter_map(|message| wire::destination(message, &service.key))
                .collect();
            dump.table.services.insert(
                service.key,
                Service {
                    scheduler: service.scheduler.clone(),
                    persistence: service.persistence,
                    destinations: destinations.iter().map(|entry| (entry.key, entry.destination)).collect(),
                },
            );
            dump.services.push((service, destinations));
        }
        let daemons = self.dump(wire::GET_DAEMON, Attributes::new())?;
        dump.daemons = daemons.iter().filter_map(|message| wire::sync(message)).collect();
        dump.table.sync = dump.daemons.iter().map(|entry| (entry.role, entry.daemon.clone())).collect();
        Ok(dump)
    }

    fn dump(&mut self, command: u8, attributes: Attributes) -> Result<Vec<Vec<u8>>, GenlError> {
        self.socket.dump(self.family, wire::VERSION, &Request { command, attributes })
    }

    /// Carries out operations in order and returns the outcome of each.
    pub fn execute(&mut self, ops: &[IpvsOp]) -> Vec<Result<(), GenlError>> {
        let request = |op: &IpvsOp| {
            let (command, attributes) = wire::operation(op);
            Request { command, attributes }
        };
        let requests: Vec<Request> = ops.iter().map(request).collect();
        self.socket.batch(self.family, wire::VERSION, &requests)
    }

    /// Version and size.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn information(&mut self) -> Result<Information, GenlError> {
        let request = Request { command: wire::GET_INFORMATION, attributes: Attributes::new() };
        let answer = self.socket.ask(self.family, wire::VERSION, &request)?;
        Ok(wire::information(&answer).unwrap_or_default())
    }

    /// Empties the table; sync daemons stay.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn flush(&mut self) -> Result<(), GenlError> {
        let request = Request { command: wire::FLUSH, attributes: Attributes::new() };
        self.socket.batch(self.family, wire::VERSION, &[request]).into_iter().collect()
    }
}

/// The thread: for ever, or until nobody reads what it finds.
pub fn run(wanted: &Wanted, found: &watch::Sender<Arc<IpvsFound>>, poll: Duration) {
    let mut worker = Worker::default();
    while !found.is_closed() {
        let newer = wanted.take(poll);
        found.send_replace(Arc::new(worker.pass(newer)));
    }
}

#[derive(Default)]
struct Worker {
    kernel: Option<Kernel>,
    /// Nothing is changed before something is wanted: a predecessor's table stays.
    wanted: Option<Ipvs>,
    /// What the last pass could not do.
    left: Vec<IpvsOp>,
    setting_problems: Vec<String>,
    repairs: u64,
    /// The log has the line that says from when on this agent's services are there.
    told: bool,
}

impl Worker {
    fn pass(&mut self, newer: Option<Ipvs>) -> IpvsFound {
        let poll = newer.is_none();
        if newer.is_some() {
            self.wanted = newer.map(as_the_kernel_keeps_it);
        }
        match self.reconcile(poll) {
            Ok(found) => found,
            Err(problem) => {
                // The module may have gone, and come back under another number.
                self.kernel = None;
                let problems = if self.wants_nothing() { Vec::new() } else { vec![problem] };
                IpvsFound { problems, repairs: self.repairs, ..IpvsFound::default() }
            }
        }
    }

    fn wants_nothing(&self) -> bool {
        self.wanted.as_ref().is_none_or(|wanted| wanted.services.is_empty() && wanted.sync.is_empty())
    }

    fn reconcile(&mut self, poll: bool) -> Result<IpvsFound, String> {
        let kernel = match &mut self.kernel {
            Some(kernel) => kernel,
            None => {
                let kernel = Kernel::connect().map_err(|error| format!("IPVS: {error}"))?.ok_or(NO_IPVS)?;
                self.setting_problems = sysctl::write_all(sysctl::IPVS);
                self.kernel.insert(kernel)
            }
        };
        let mut dump = read(kernel)?;
        let mut problems = Vec::new();
        if let Some(wanted) = &self.wanted {
            let mut ops = reconcile::ipvs_ops(wanted, &dump.table);
            // Nobody asked for a change, and there is more to do than what failed before.
            let disturbed = poll && ops != self.left;
            let mut acted = false;
            for _ in 0..ROUNDS {
                if ops.is_empty() {
                    break;
                }
                let outcomes = kernel.execute(&ops);
                problems = problems_of(&ops, &outcomes);
                dump = read(kernel)?;
                ops = reconcile::ipvs_ops(wanted, &dump.table);
                if outcomes.iter().all(Result::is_err) {
                    break;
                }
                acted = true;
            }
            if ops.is_empty() {
                problems.clear();
            } else if problems.is_empty() {
                problems =
                    ops.iter().map(|op| format!("{}: the kernel keeps it otherwise", words(op))).collect();
            }
            self.repairs += u64::from(disturbed && acted);
            self.left = ops;
            let services = wanted.services.len();
            if !self.told && self.left.is_empty() && services > 0 {
                self.told = true;
                tracing::info!(services, "IPVS has all virtual services for the first time since this start");
            }
        }
        shorten(&mut problems);
        problems.extend(self.setting_problems.iter().cloned());
        let connections = dump.services.iter().flat_map(|(service, destinations)| {
            destinations.iter().map(|entry| ((service.key, entry.key), entry.connections))
        });
        Ok(IpvsFound {
            available: true,
            connections: connections.collect(),
            table: dump.table,
            problems,
            repairs: self.repairs,
        })
    }
}

fn read(kernel: &mut Kernel) -> Result<Dump, String> {
    kernel.read().map_err(|error| match error {
        GenlError::Refused(Errno::EPERM) => "IPVS cannot be read: the agent needs CAP_NET_ADMIN".to_owned(),
        GenlError::Refused(_) | GenlError::NoAnswer | GenlError::Interrupted | GenlError::Socket(_) => {
            format!("IPVS cannot be read: {error}")
        }
    })
}

/// Persistence in the kernel's whole seconds, so that a finer one is not a difference for ever.
fn as_the_kernel_keeps_it(mut wanted: Ipvs) -> Ipvs {
    for service in wanted.services.values_mut() {
        service.persistence =
            service.persistence.map(|timeout| Duration::from_secs(timeout.as_secs().max(1)));
    }
    wanted
}

/// What failed, in words. A destination of a service that could not be made is not told of as well.
fn problems_of(ops: &[IpvsOp], outcomes: &[Result<(), GenlError>]) -> Vec<String> {
    let mut missing: HashSet<ServiceKey> = HashSet::new();
    let mut problems = Vec::new();
    for (op, outcome) in ops.iter().zip(outcomes) {
        let Err(error) = outcome else { continue };
        if let IpvsOp::NewService(key, _) = op {
            missing.insert(*key);
        } else if let IpvsOp::NewDestination(key, ..) = op
            && missing.contains(key)
        {
            continue;
        }
        problems.push(format!("{}: {}", words(op), reason(op, error)));
    }
    problems
}

fn shorten(problems: &mut Vec<String>) {
    if problems.len() > LISTED {
        let more = problems.len() - LISTED;
        problems.truncate(LISTED);
        problems.push(format!("and {more} more problems with IPVS"));
    }
}

fn reason(op: &IpvsOp, error: &GenlError) -> String {
    let GenlError::Refused(errno) = error else { return error.to_string() };
    match (op, errno) {
        (IpvsOp::NewService(_, service) | IpvsOp::SetService(_, service), Errno::ENOENT) => {
            let name = &service.scheduler;
            format!("scheduler {name} is not in this kernel: the module ip_vs_{name} is missing")
        }
        (IpvsOp::NewService(..), Errno::EAFNOSUPPORT) => "this kernel's IPVS has no IPv6".to_owned(),
        (IpvsOp::NewDestination(..), Errno::EINVAL) => {
            "the kernel refuses this address: a real server must be a unicast address of the service's family"
                .to_owned()
        }
        (IpvsOp::StartSync(_, sync), Errno::ENODEV) => format!("interface {} does not exist", sync.interface),
        (IpvsOp::StartSync(_, sync), Errno::EADDRNOTAVAIL) => {
            format!("interface {} has no IPv4 address to send from", sync.interface)
        }
        (_, Errno::EPERM) => "not permitted: the agent needs CAP_NET_ADMIN".to_owned(),
        (_, errno) => errno.desc().to_owned(),
    }
}

fn words(op: &IpvsOp) -> String {
    match op {
        IpvsOp::NewService(key, _) => format!("{} cannot be added", service_words(key)),
        IpvsOp::SetService(key, _) => format!("{} cannot be changed", service_words(key)),
        IpvsOp::DeleteService(key) => format!("{} cannot be removed", service_words(key)),
        IpvsOp::NewDestination(key, at, _) => {
            format!("real server {} of {} cannot be added", endpoint(at), service_words(key))
        }
        IpvsOp::SetDestination(key, at, _) => {
            format!("real server {} of {} cannot be changed", endpoint(at), service_words(key))
        }
        IpvsOp::DeleteDestination(key, at) => {
            format!("real server {} of {} cannot be removed", endpoint(at), service_words(key))
        }
        IpvsOp::StartSync(role, sync) => {
            format!("connection sync ({}) cannot be started on {}", role_word(*role), sync.interface)
        }
        IpvsOp::StopSync(role) => format!("connection sync ({}) cannot be stopped", role_word(*role)),
    }
}

const fn role_word(role: SyncRole) -> &'static str {
    match role {
        SyncRole::Master => "master",
        SyncRole::Backup => "backup",
    }
}

fn endpoint(at: &DestinationKey) -> std::net::SocketAddr {
    std::net::SocketAddr::new(at.address, at.port)
}

fn service_words(key: &ServiceKey) -> String {
    match key {
        ServiceKey::Address { protocol, address, port } => {
            let protocol = match protocol {
                6 => "TCP".to_owned(),
                17 => "UDP".to_owned(),
                other => format!("protocol {other}"),
            };
            format!("service {protocol} {}", std::net::SocketAddr::new(*address, *port))
        }
        ServiceKey::Fwmark { family, mark } => format!("service {family} firewall mark {mark}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bascule_core::desired::{Destination, Method, SyncDaemon};

    fn web() -> ServiceKey {
        ServiceKey::Address { protocol: 6, address: [10, 0, 0, 100].into(), port: 80 }
    }

    fn service(scheduler: &str) -> Service {
        let scheduler = scheduler.parse().expect("a name");
        Service { scheduler, persistence: None, destinations: HashMap::new() }
    }

    fn refused(errno: Errno) -> Result<(), GenlError> {
        Err(GenlError::Refused(errno))
    }

    #[test]
    fn a_missing_scheduler_is_named_with_its_module_and_its_real_servers_are_not_blamed() {
        let at = DestinationKey { address: [10, 1, 0, 21].into(), port: 80 };
        let to = Destination { method: Method::Masquerade, weight: 1 };
        let ops = [IpvsOp::NewService(web(), service("xyz")), IpvsOp::NewDestination(web(), at, to)];
        let problems = problems_of(&ops, &[refused(Errno::ENOENT), refused(Errno::ESRCH)]);
        assert_eq!(
            problems,
            ["service TCP 10.0.0.100:80 cannot be added: scheduler xyz is not in this kernel: \
              the module ip_vs_xyz is missing"]
        );
    }

    #[test]
    fn sync_on_a_missing_interface_names_it() {
        let sync = SyncDaemon {
            interface: "eth7".parse().expect("a name"),
            id: 1,
            group: [224, 0, 0, 81].into(),
            port: 8_848,
        };
        let ops = [IpvsOp::StartSync(SyncRole::Backup, sync)];
        assert_eq!(
            problems_of(&ops, &[refused(Errno::ENODEV)]),
            ["connection sync (backup) cannot be started on eth7: interface eth7 does not exist"]
        );
        assert_eq!(problems_of(&ops, &[Ok(())]), Vec::<String>::new());
    }

    #[test]
    fn many_problems_become_a_number() {
        let mut problems = vec!["x".to_owned(); 25];
        shorten(&mut problems);
        assert_eq!(problems.len(), LISTED + 1);
        assert_eq!(problems.last().map(String::as_str), Some("and 5 more problems with IPVS"));
    }

    #[test]
    fn persistence_is_wanted_in_the_kernels_unit() {
        let mut wanted = Ipvs::default();
        let persistence = Some(Duration::from_millis(1_500));
        wanted.services.insert(web(), Service { persistence, ..service("rr") });
        let kept = as_the_kernel_keeps_it(wanted);
        assert_eq!(kept.services[&web()].persistence, Some(Duration::from_secs(1)));
    }

    #[test]
    fn the_newest_wanted_table_replaces_one_that_waits() {
        let wanted = Wanted::default();
        assert_eq!(wanted.take(Duration::ZERO), None);
        wanted.put(Ipvs::default());
        let newest = Ipvs { services: [(web(), service("rr"))].into(), ..Ipvs::default() };
        wanted.put(newest.clone());
        assert_eq!(wanted.take(Duration::ZERO), Some(newest));
        assert_eq!(wanted.take(Duration::ZERO), None);
    }
}
