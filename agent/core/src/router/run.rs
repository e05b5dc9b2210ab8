//! `Router`: which virtual router an event concerns, and what becomes of its outputs.

use core::net::IpAddr;
use std::collections::{BTreeMap, HashMap};

use super::change::{self, Cause, Change, Standing};
use super::{Action, Event, Link, Received, Role, Roles, RouterStatus, Snapshot, Statistics, Survivor};
use crate::net::{IfName, Name};
use crate::notice::{Limiter, Notice};
use crate::time::Instant;
use crate::vrrp::{self, Identity, Output, Rfc9568, Rules, Settings, State, VirtualRouter};
use crate::wire::vrrp::{Advert, ChecksumForm, Envelope, LEAVING, Packet, RefusedAdvert};

/// All virtual routers of the box.
///
/// An agent that starts makes it with `new` or `resume`, tells it of every interface with `Event::Link`, then
/// gives it the virtual routers with `Event::Configure`.
#[derive(Clone, Debug, Default)]
pub struct Router<R = Rfc9568> {
    entries: Vec<Entry<R>>,
    index: HashMap<Identity, usize>,
    /// As last told; an interface that is not here was never told of.
    links: BTreeMap<IfName, Option<Link>>,
    roles: Roles,
    refused: BTreeMap<RefusedAdvert, u64>,
    limiter: Limiter,
    survivors: BTreeMap<Name, Survivor>,
    left: bool,
}

#[derive(Clone, Debug)]
struct Entry<R> {
    machine: VirtualRouter<R>,
    since: Instant,
    /// Why it is in Initialize.
    fault: Option<String>,
    /// What it may resume as once its interface is known.
    survivor: Option<Survivor>,
    /// The Master that said farewell, until another is heard.
    farewell: Option<IpAddr>,
}

/// Actions in the order in which they are worth doing: adverts, announcements, roles, tellings.
#[derive(Debug, Default)]
struct Actions {
    first: Vec<Action>,
    changed: bool,
    tellings: Vec<Action>,
}

impl<R: Rules> Router<R> {
    /// A box without virtual routers.
    #[must_use]
    pub fn new() -> Self {
        Self::resume(Snapshot::default())
    }

    /// A box whose virtual routers go on where `snapshot` left them, as far as no peer can have noticed.
    ///
    /// No roles come out before the interface of every survivor was told of: until then nobody may take
    /// addresses away.
    #[must_use]
    pub fn resume(snapshot: Snapshot) -> Self {
        Self {
            entries: Vec::new(),
            index: HashMap::new(),
            links: BTreeMap::new(),
            roles: Roles::default(),
            refused: BTreeMap::new(),
            limiter: Limiter::default(),
            survivors: snapshot.routers,
            left: false,
        }
    }

    /// When `Event::Timer` is due; `None` while nothing is timed.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        self.entries.iter().filter_map(|entry| entry.machine.deadline()).min()
    }

    /// Takes an event that happened at `now` and returns what is to be done, in order.
    pub fn handle(&mut self, now: Instant, event: Event) -> Vec<Action> {
        let mut actions = Actions::default();
        match event {
            Event::Packet(received) => self.receive(now, &received, &mut actions),
            Event::Timer => {
                for at in 0..self.entries.len() {
                    if self.entries[at].machine.deadline().is_some_and(|deadline| deadline <= now) {
                        self.drive(now, at, vrrp::Event::Timer, &mut actions);
                    }
                }
            }
            Event::Link(interface, link) => self.set_link(now, &interface, link, &mut actions),
            Event::Configure(settings) => self.configure(now, settings, &mut actions),
            Event::Shutdown => self.leave(now, &mut actions),
        }
        self.finish(actions)
    }

    /// What a successor needs to resume.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let survivor = |entry: &Entry<R>| {
            let settings = entry.machine.settings();
            let state = entry.machine.survival()?;
            let survivor = Survivor { identity: settings.identity(), since: entry.since, state };
            Some((settings.name.clone(), survivor))
        };
        Snapshot { routers: self.entries.iter().filter_map(survivor).collect() }
    }

    /// The latest state of every virtual router.
    #[must_use]
    pub const fn roles(&self) -> &Roles {
        &self.roles
    }

    /// Counters since the agent started.
    #[must_use]
    pub fn statistics(&self) -> Statistics {
        let counters = |entry: &Entry<R>| (entry.machine.settings().name.clone(), *entry.machine.counters());
        Statistics { routers: self.entries.iter().map(counters).collect(), refused: self.refused.clone() }
    }

    fn receive(&mut self, now: Instant, received: &Received, actions: &mut Actions) {
        match self.judge(received) {
            Ok((at, advert, same_addresses)) => {
                if !same_addresses && let Some(entry) = self.entries.get_mut(at) {
                    entry.machine.count_addresses_differ();
                    let router = entry.machine.settings().name.clone();
                    self.tell(now, Notice::AddressesDiffer { router, source: received.source }, actions);
                }
                self.drive(now, at, vrrp::Event::Advert(advert, received.source), actions);
            }
            Err(reason) => {
                *self.refused.entry(reason).or_default() += 1;
                let (interface, source) = (received.interface.clone(), received.source);
                self.tell(now, Notice::AdvertRefused { interface, source, reason }, actions);
            }
        }
    }

    /// Finds the virtual router that a message is for: its place, the advert, and whether the addresses agree.
    fn judge(&self, received: &Received) -> Result<(usize, Advert, bool), RefusedAdvert> {
        let Received { source, destination, hops, .. } = *received;
        let packet = Packet::parse(&received.payload, &Envelope { source, destination, hops })?;
        let advert = packet.advert();
        let family = crate::net::Family::of(&source);
        let identity = Identity { interface: received.interface.clone(), family, vrid: advert.vrid };
        let at = *self.index.get(&identity).ok_or(RefusedAdvert::Vrid)?;
        let entry = self.entries.get(at).ok_or(RefusedAdvert::Vrid)?;
        let link = self.links.get(&received.interface).and_then(Option::as_ref);
        if link.and_then(|link| link.primary(family)) == Some(source) {
            return Err(RefusedAdvert::OwnAddress);
        }
        let ours = &entry.machine.settings().addresses;
        let same = packet.addresses().eq(ours.iter().map(|(_, address)| *address)) || {
            let contained = |address| ours.iter().any(|(_, our)| *our == address);
            packet.addresses().count() == ours.len() && packet.addresses().all(contained)
        };
        Ok((at, advert, same))
    }

    fn set_link(&mut self, now: Instant, interface: &IfName, link: Option<Link>, actions: &mut Actions) {
        if self.links.get(interface) == Some(&link) {
            return;
        }
        self.links.insert(interface.clone(), link);
        for at in 0..self.entries.len() {
            if self.entries[at].machine.settings().interface == *interface {
                self.follow_link(now, at, actions);
            }
        }
    }

    /// Brings a virtual router up or down, as its interface is.
    fn follow_link(&mut self, now: Instant, at: usize, actions: &mut Actions) {
        if self.left {
            return;
        }
        let settings = self.entries[at].machine.settings();
        match self.primary(settings) {
            Ok(address) => {
                if self.entries[at].fault.take().is_some() {
                    actions.changed = true;
                }
                match self.entries[at].survivor.take() {
                    Some(survivor) => self.resume_entry(now, at, address, &survivor, actions),
                    None => self.drive(now, at, vrrp::Event::Up(address), actions),
                }
            }
            Err(reason) => {
                let known = self.links.contains_key(&settings.interface);
                let router = settings.name.clone();
                let entry = &mut self.entries[at];
                if known {
                    // Whatever it was, it was interrupted: it starts afresh.
                    entry.survivor = None;
                }
                if entry.fault.as_ref() != Some(&reason) {
                    if known {
                        self.tell(now, Notice::RouterFault { router, reason: reason.clone() }, actions);
                    }
                    self.entries[at].fault = Some(reason);
                }
                self.drive(now, at, vrrp::Event::Down, actions);
            }
        }
    }

    /// The primary address of a virtual router, or why it cannot take part.
    fn primary(&self, settings: &Settings) -> Result<IpAddr, String> {
        let interface = &settings.interface;
        let link = match self.links.get(interface) {
            Some(Some(link)) => link,
            Some(None) => return Err(format!("interface {interface} does not exist")),
            None => return Err(format!("interface {interface} is not known yet")),
        };
        if !link.running {
            return Err(format!("interface {interface} is down or has no carrier"));
        }
        link.primary(settings.family).ok_or_else(|| match settings.family {
            crate::net::Family::V4 => format!("interface {interface} has no IPv4 address of its own"),
            crate::net::Family::V6 => format!("interface {interface} has no IPv6 link-local address"),
        })
    }

    fn resume_entry(
        &mut self,
        now: Instant,
        at: usize,
        address: IpAddr,
        survivor: &Survivor,
        actions: &mut Actions,
    ) {
        let entry = &mut self.entries[at];
        let before = entry.machine.state().clone();
        let (resumed, outputs) = entry.machine.resume(now, address, &survivor.state);
        if !resumed {
            entry.note(now, &before, Cause::Link, actions);
        }
        entry.since = if resumed { survivor.since.min(now) } else { now };
        if resumed {
            let master = matches!(entry.machine.state(), State::Master(_) | State::Yielding(_));
            let router = entry.machine.settings().name.clone();
            self.tell(now, Notice::Resumed { router, master }, actions);
        }
        self.carry_out(now, at, outputs, actions);
        self.refresh(at, actions);
    }

    fn configure(&mut self, now: Instant, wanted: Vec<Settings>, actions: &mut Actions) {
        if self.left {
            return;
        }
        let mut wanted: BTreeMap<Name, Settings> =
            wanted.into_iter().map(|settings| (settings.name.clone(), settings)).collect();
        let same = |entry: &Entry<R>, wanted: &BTreeMap<Name, Settings>| {
            let ours = entry.machine.settings();
            wanted.get(&ours.name).is_some_and(|theirs| theirs.identity() == ours.identity())
        };
        for at in 0..self.entries.len() {
            if !same(&self.entries[at], &wanted) {
                self.drive(now, at, vrrp::Event::Leave, actions);
                actions.changed = true;
            }
        }
        self.entries.retain(|entry| same(entry, &wanted));
        self.roles.routers.retain(|name, _| self.entries.iter().any(|e| e.machine.settings().name == *name));
        for at in 0..self.entries.len() {
            let ours = self.entries[at].machine.settings();
            if let Some(settings) = wanted.remove(&ours.name)
                && settings != *ours
            {
                self.drive(now, at, vrrp::Event::Configure(settings), actions);
            }
        }
        for settings in wanted.into_values() {
            let survivor =
                self.survivors.remove(&settings.name).filter(|s| s.identity == settings.identity());
            let machine = VirtualRouter::new(settings);
            self.entries.push(Entry { machine, since: now, fault: None, survivor, farewell: None });
            self.follow_link(now, self.entries.len() - 1, actions);
        }
        self.survivors.clear();
        let place = |(at, entry): (usize, &Entry<R>)| (entry.machine.settings().identity(), at);
        self.index = self.entries.iter().enumerate().map(place).collect();
    }

    fn leave(&mut self, now: Instant, actions: &mut Actions) {
        self.left = true;
        for at in 0..self.entries.len() {
            self.entries[at].fault = Some("the agent is shutting down".into());
            self.drive(now, at, vrrp::Event::Leave, actions);
        }
    }

    /// Gives a virtual router an event and collects what comes of it.
    fn drive(&mut self, now: Instant, at: usize, event: vrrp::Event, actions: &mut Actions) {
        let entry = &mut self.entries[at];
        let before = entry.machine.state().clone();
        let cause = Cause::from(&event);
        let outputs = entry.machine.handle(now, event);
        entry.note(now, &before, cause, actions);
        self.carry_out(now, at, outputs, actions);
        self.refresh(at, actions);
    }

    fn carry_out(&mut self, now: Instant, at: usize, outputs: vrrp::Outputs, actions: &mut Actions) {
        for output in outputs {
            let settings = self.entries[at].machine.settings();
            match output {
                Output::Advertise(priority) => {
                    let link = self.links.get(&settings.interface).and_then(Option::as_ref);
                    if let Some(source) = link.and_then(|link| link.primary(settings.family)) {
                        actions.first.push(send(settings, priority, source));
                    }
                }
                Output::Announce => {
                    actions.first.extend(settings.addresses.iter().map(|(interface, address)| {
                        Action::Announce { interface: interface.clone(), address: *address }
                    }));
                }
                Output::Tell(notice) => self.tell(now, notice, actions),
            }
        }
    }

    fn tell(&mut self, now: Instant, notice: Notice, actions: &mut Actions) {
        actions.tellings.extend(self.limiter.admit(now, notice).into_iter().map(Action::Tell));
    }

    /// Notes whether what others know of a virtual router has changed.
    fn refresh(&mut self, at: usize, actions: &mut Actions) {
        let entry = &self.entries[at];
        let name = &entry.machine.settings().name;
        let status = entry.status();
        match self.roles.routers.get_mut(name) {
            Some(known) if *known == status => return,
            Some(known) => *known = status,
            None => drop(self.roles.routers.insert(name.clone(), status)),
        }
        actions.changed = true;
    }

    fn finish(&self, actions: Actions) -> Vec<Action> {
        let unknown = |entry: &Entry<R>| {
            entry.survivor.is_some() && !self.links.contains_key(&entry.machine.settings().interface)
        };
        let mut all = actions.first;
        if actions.changed && !self.entries.iter().any(unknown) {
            all.push(Action::Roles(self.roles.clone()));
        }
        all.extend(actions.tellings);
        all
    }
}

impl<R: Rules> Entry<R> {
    /// Notes what others see change, for the history.
    fn note(&mut self, now: Instant, before: &State, cause: Cause, actions: &mut Actions) {
        if let Cause::Heard(peer) = cause {
            self.farewell = (peer.priority == LEAVING).then_some(peer.address);
        }
        let after = self.machine.state();
        let (from, to) = (Standing::of(before), Standing::of(after));
        if from == to {
            return;
        }
        self.since = now;
        let settings = self.machine.settings();
        let why = change::why((before, after), cause, settings, self.farewell, self.fault.as_deref());
        let router = settings.name.clone();
        actions.tellings.push(Action::Changed(Change { at: now, router, from, to, why }));
    }

    fn status(&self) -> RouterStatus {
        let settings = self.machine.settings();
        let (role, peer, interval) = match self.machine.state() {
            State::Initialize => {
                (Role::Fault(self.fault.clone().unwrap_or_default()), None, settings.interval.get())
            }
            State::Backup(backup) => (Role::Backup, backup.master, backup.interval),
            State::Master(_) | State::Yielding(_) => (Role::Master, None, settings.interval.get()),
            State::Lingering(lingering) => (Role::Master, Some(lingering.master), settings.interval.get()),
            State::Aside(aside) => (Role::Backup, aside.master, settings.interval.get()),
        };
        RouterStatus {
            role,
            since: self.since,
            master: peer.map(|peer| peer.address),
            master_priority: peer.map(|peer| peer.priority),
            priority: settings.priority.get(),
            interval,
        }
    }
}

fn send(settings: &Settings, priority: u8, source: IpAddr) -> Action {
    let advert = Advert { vrid: settings.vrid, priority, interval: settings.interval.get() };
    let form = if settings.checksum_as_v2 { ChecksumForm::MessageOnly } else { ChecksumForm::PseudoHeader };
    let payload = advert.emit(settings.addresses.iter().map(|(_, address)| *address), source, form);
    Action::Send { interface: settings.interface.clone(), source, payload }
}
