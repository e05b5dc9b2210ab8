//! A segment with routers in virtual time: storms of loss, delay, partitions, crashes and stalls, then calm.

mod faults;

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use core::time::Duration;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::rc::Rc;

use bascule_core::config::model::AdvertInterval;
use bascule_core::net::{Family, IfName, Mac, Name, Priority, Vrid};
use bascule_core::router::{Action, Event, Link, Received, Role, Router, Snapshot};
use bascule_core::time::Instant;
use bascule_core::vrrp::{Rules, Settings, Stance};
use bascule_core::wire::vrrp::Envelope;

use crate::rng::Rng;
use crate::watch::{Cause, Heard, Seen, Watch};

/// Most routers on the segment.
const MOST: usize = 5;

/// What happened in a run.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    pub virtual_time: Duration,
    pub steps: u64,
    pub adverts: u64,
    pub delivered: u64,
    pub lost: u64,
    pub takeovers: u64,
    pub crashes: u64,
    pub resumed_masters: u64,
    pub overlaps: u64,
    pub calms: u64,
    pub commands: u64,
    pub handovers: u64,
}

impl Tally {
    pub fn add(&mut self, other: &Self) {
        self.virtual_time += other.virtual_time;
        self.steps += other.steps;
        self.adverts += other.adverts;
        self.delivered += other.delivered;
        self.lost += other.lost;
        self.takeovers += other.takeovers;
        self.crashes += other.crashes;
        self.resumed_masters += other.resumed_masters;
        self.overlaps += other.overlaps;
        self.calms += other.calms;
        self.commands += other.commands;
        self.handovers += other.handovers;
    }
}

/// A broken invariant: in which cluster, when, what.
#[derive(Debug)]
pub struct Violation {
    seed: u64,
    at: Instant,
    pub what: String,
}

impl core::fmt::Display for Violation {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "cluster {} after {:?}: {}", self.seed, self.at.since(Instant::ZERO), self.what)
    }
}

struct Message {
    from: usize,
    received: Received,
    heard: Heard,
}

/// A message on its way: when it arrives, a serial number, to whom.
type Flight = (Instant, u64, usize);

struct Node<R> {
    /// As configured.
    base: Settings,
    /// With what it was told.
    settings: Settings,
    router: Option<Router<R>>,
    /// What the crashed one left behind.
    snapshot: Snapshot,
    restart: Option<Instant>,
    link: bool,
    /// Stalled until then; what arrives waits.
    stalled: Option<Instant>,
    waiting: VecDeque<Rc<Message>>,
    jitter: Duration,
    watch: Watch,
}

impl<R> Node<R> {
    const fn runs(&self) -> bool {
        self.router.is_some() && self.stalled.is_none()
    }
}

#[derive(Clone, Copy)]
struct Weather {
    loss: usize,
    duplicates: usize,
    delay: Duration,
}

pub struct World<R> {
    seed: u64,
    rng: Rng,
    now: Instant,
    nodes: Vec<Node<R>>,
    flights: BinaryHeap<Reverse<Flight>>,
    messages: std::collections::HashMap<u64, Rc<Message>>,
    serial: u64,
    weather: Weather,
    cut: [[bool; MOST]; MOST],
    /// When a pair was last kept from hearing each other at once.
    impaired: [[Instant; MOST]; MOST],
    /// Since when both of a pair are Masters.
    both: [[Option<Instant>; MOST]; MOST],
    /// Longest interval of all, longest delay of any storm, latest timer.
    interval: Duration,
    delay: Duration,
    jitter: Duration,
    phase_end: Instant,
    next_fault: Option<Instant>,
    /// When one Master must hold without change, in a calm.
    settled: Option<Instant>,
    /// When an operator commands something in a calm.
    planned: Option<Instant>,
    /// Somebody must answer for the addresses at every moment.
    covered: bool,
    tally: Tally,
    /// The last steps in words, when a run is to be explained.
    story: Option<VecDeque<String>>,
}

const INTERVALS_CS: [u16; 9] = [1, 5, 10, 100, 100, 100, 300, 1_000, 4_095];

impl<R: Rules> World<R> {
    /// The cluster of a seed.
    pub fn new(seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let centis = rng.pick(&INTERVALS_CS);
        let mixed = rng.percent(20);
        let unit = Duration::from_millis(u64::from(centis) * 10);
        let family = rng.pick(&[Family::V4, Family::V6]);
        let owner = rng.percent(15);
        let preempt = rng.pick(&[100, 100, 0, 50]);
        let delay = rng.pick(&[Duration::ZERO, Duration::ZERO, 4 * unit]);
        let count = 2 + rng.below(MOST - 1);
        let first = 1 + rng.below(200) as u8;
        let nodes: Vec<Node<R>> = (0..count)
            .map(|at| {
                let address = address(family, first.wrapping_add(at as u8 * 11) % 250 + 1);
                let priority = if owner && at == 0 { 255 } else { rng.pick(&[100, 100, 100, 150, 254, 1]) };
                let own = if mixed { rng.pick(&[centis, centis, (centis * 2).min(4_095)]) } else { centis };
                let preempt = rng.percent(preempt);
                node(family, address, priority, own, preempt, delay)
            })
            .collect();
        let interval = nodes.iter().map(|n| n.watch.interval).max().unwrap_or(unit);
        let weather = Weather { loss: 0, duplicates: 0, delay: unit / 50 };
        Self {
            seed,
            rng,
            now: Instant::ZERO,
            nodes,
            flights: BinaryHeap::new(),
            messages: std::collections::HashMap::new(),
            serial: 0,
            weather,
            cut: Default::default(),
            impaired: Default::default(),
            both: Default::default(),
            interval,
            delay: 2 * unit,
            jitter: unit / 20,
            phase_end: Instant::ZERO,
            next_fault: None,
            settled: None,
            planned: None,
            covered: false,
            tally: Tally::default(),
            story: None,
        }
    }

    /// The last steps of this cluster up to its violation, in words.
    pub fn explain(seed: u64, intervals: u32) -> String {
        let mut world = Self { story: Some(VecDeque::new()), ..Self::new(seed) };
        let _ = world.live(intervals);
        world.story.into_iter().flatten().collect::<Vec<_>>().join("\n")
    }

    /// Runs for `intervals` of the longest interval.
    pub fn run(mut self, intervals: u32) -> Result<Tally, Violation> {
        let lived = self.live(intervals);
        self.tally.virtual_time = self.now.since(Instant::ZERO);
        match lived {
            Ok(()) => Ok(self.tally),
            Err(what) => Err(Violation { seed: self.seed, at: self.now, what }),
        }
    }

    fn live(&mut self, intervals: u32) -> Result<(), String> {
        let end = Instant::ZERO + self.interval * intervals;
        self.start_all()?;
        while self.now < end {
            self.step()?;
        }
        Ok(())
    }

    fn start_all(&mut self) -> Result<(), String> {
        for at in 0..self.nodes.len() {
            self.boot(at)?;
        }
        self.calm()
    }

    fn step(&mut self) -> Result<(), String> {
        self.tally.steps += 1;
        let (when, what) = self.next();
        self.now = when;
        match what {
            Next::Phase if self.settled.is_some() => self.storm(),
            Next::Phase => self.calm()?,
            Next::Fault => self.fault()?,
            Next::Command => self.command()?,
            Next::Arrival => self.arrive()?,
            Next::Node(at) => self.wake(at)?,
        }
        if self.rng.percent(2) {
            // A timer that nobody asked for.
            let at = self.rng.below(self.nodes.len());
            if self.nodes[at].runs() {
                self.feed(at, Event::Timer, Cause::Timer)?;
            }
        }
        self.check()
    }

    fn next(&self) -> (Instant, Next) {
        let mut next = (self.phase_end, Next::Phase);
        let mut consider = |when: Option<Instant>, what| {
            if let Some(when) = when.filter(|when| *when < next.0) {
                next = (when, what);
            }
        };
        consider(self.next_fault, Next::Fault);
        consider(self.planned, Next::Command);
        for (at, node) in self.nodes.iter().enumerate() {
            let timer = node.router.as_ref().and_then(Router::deadline).map(|d| d + node.jitter);
            let timer = if node.stalled.is_some() { node.stalled } else { timer };
            consider(node.restart.or(timer), Next::Node(at));
        }
        // At the same moment arrivals come first: the queue is drained before a timer fires.
        if let Some(Reverse((when, _, _))) = self.flights.peek()
            && *when <= next.0
        {
            next = (*when, Next::Arrival);
        }
        (next.0.max(self.now), next.1)
    }

    /// A restart is due, a stall ends, or a timer fires.
    fn wake(&mut self, at: usize) -> Result<(), String> {
        if self.nodes[at].restart.take().is_some() {
            return self.boot(at);
        }
        if self.nodes[at].stalled.take().is_some() {
            self.impair(at);
            while let Some(message) = self.nodes[at].waiting.pop_front() {
                self.deliver(at, &message)?;
            }
        }
        // Half of the timers are exact.
        let late = if self.rng.percent(50) { Duration::ZERO } else { self.rng.upto(self.jitter) };
        self.nodes[at].jitter = late;
        self.feed(at, Event::Timer, Cause::Timer)
    }

    /// Starts a router, with what the one before left behind.
    fn boot(&mut self, at: usize) -> Result<(), String> {
        let node = &mut self.nodes[at];
        let snapshot = core::mem::take(&mut node.snapshot);
        let cause = if snapshot.routers.is_empty() { Cause::Up } else { Cause::Resumed };
        let mut router = Router::<R>::resume(snapshot);
        let link = Event::Link(interface(), Some(link(node.watch.address, node.link)));
        let started = router.handle(self.now, link);
        debug_assert!(started.is_empty(), "no virtual router is configured yet");
        let settings = node.settings.clone();
        node.router = Some(router);
        self.impair(at);
        if !self.nodes[at].link {
            self.nodes[at].watch.seen = Seen::Off;
            return self.feed(at, Event::Configure(vec![settings]), Cause::Down);
        }
        self.feed(at, Event::Configure(vec![settings]), cause)?;
        let resumed = matches!(cause, Cause::Resumed) && self.nodes[at].watch.is_master();
        self.tally.resumed_masters += u64::from(resumed);
        Ok(())
    }

    /// Gives a router an event, sends what it sends, and watches it.
    fn feed(&mut self, at: usize, event: Event, cause: Cause) -> Result<(), String> {
        let Some(router) = &mut self.nodes[at].router else { return Ok(()) };
        let actions = router.handle(self.now, event);
        let role = router.roles().routers.values().next().map_or(Role::Backup, |s| s.role.clone());
        let mut sent: Vec<u8> = Vec::new();
        for action in actions {
            if let Action::Send { source, payload, .. } = action {
                sent.push(payload[2]);
                self.transmit(at, source, payload);
            }
        }
        if let Some(story) = &mut self.story {
            story.truncate(60);
            let (time, watch) = (self.now.since(Instant::ZERO), &self.nodes[at].watch);
            story.push_front(format!(
                "{time:?}: router {at} (priority {}, interval {:?}, preempt {} after {:?}) was {:?}: {cause:?} -> {role:?}, sent {sent:?}",
                watch.priority, watch.interval, watch.preempt, watch.preempt_delay, watch.seen
            ));
        }
        let was_master = self.nodes[at].watch.is_master();
        let lingered = matches!(self.nodes[at].watch.seen, Seen::Lingering { .. });
        let seen = self.nodes[at].watch.observe(self.now, cause, &role, &sent);
        let is_master = self.nodes[at].watch.is_master();
        self.tally.takeovers += u64::from(is_master && !was_master);
        let lingers = matches!(self.nodes[at].watch.seen, Seen::Lingering { .. });
        self.tally.handovers += u64::from(lingers && !lingered);
        if is_master != was_master && self.settled.is_some_and(|settled| self.now >= settled) {
            return Err(format!("unrest: router {at} became {role:?} in a calm by {cause:?}"));
        }
        seen.map_err(|what| format!("router {at}: {what}"))
    }

    fn transmit(&mut self, from: usize, source: IpAddr, payload: heapless::Vec<u8, 1_480>) {
        self.tally.adverts += 1;
        let centis = u64::from(u16::from_be_bytes([payload[4] & 0x0f, payload[5]]));
        let heard = Heard { priority: payload[2], interval: Duration::from_millis(centis * 10), source };
        let Envelope { source, destination, hops } = Envelope::multicast(source);
        let received = Received { interface: interface(), source, destination, hops, payload };
        let message = Rc::new(Message { from, received, heard });
        for to in 0..self.nodes.len() {
            if to == from {
                continue;
            }
            if self.cut[from][to] || self.rng.percent(self.weather.loss) {
                self.tally.lost += 1;
                self.impaired[from][to] = self.now;
                continue;
            }
            let copies = 1 + usize::from(self.rng.percent(self.weather.duplicates));
            for _ in 0..copies {
                let arrival = self.now + self.rng.upto(self.weather.delay);
                self.serial += 1;
                self.messages.insert(self.serial, Rc::clone(&message));
                self.flights.push(Reverse((arrival, self.serial, to)));
            }
        }
    }

    fn arrive(&mut self) -> Result<(), String> {
        let Some(Reverse((_, serial, to))) = self.flights.pop() else { return Ok(()) };
        let Some(message) = self.messages.remove(&serial) else { return Ok(()) };
        let node = &mut self.nodes[to];
        if node.router.is_none() || !node.link {
            return Ok(());
        }
        if node.stalled.is_some() {
            node.waiting.push_back(message);
            return Ok(());
        }
        self.deliver(to, &message)
    }

    fn deliver(&mut self, to: usize, message: &Message) -> Result<(), String> {
        self.tally.delivered += 1;
        debug_assert_ne!(message.from, to);
        self.feed(to, Event::Packet(message.received.clone()), Cause::Heard(message.heard))
    }

    /// Everything that holds at every step, whatever happened in it.
    fn check(&mut self) -> Result<(), String> {
        let mut masters = 0;
        let mut holders = 0;
        for at in 0..self.nodes.len() {
            let node = &self.nodes[at];
            if node.runs() {
                node.watch.overslept(self.now, self.jitter).map_err(|what| format!("router {at}: {what}"))?;
                masters += usize::from(node.watch.is_master());
                holders += usize::from(node.watch.holds());
            }
            for other in 0..at {
                self.check_pair(at, other)?;
            }
        }
        let settled = self.settled.is_some_and(|settled| self.now >= settled);
        if settled && masters != 1 {
            return Err(format!("{masters} Masters in a calm"));
        }
        self.covered |= settled;
        if self.covered && holders == 0 {
            return Err("nobody answers while a calm cluster hands over".into());
        }
        Ok(())
    }

    /// Two Masters may coexist until the next advert of the better one can have reached the other.
    fn check_pair(&mut self, a: usize, b: usize) -> Result<(), String> {
        let both_masters = |node: &Node<R>| node.router.is_some() && node.watch.is_master();
        if !(both_masters(&self.nodes[a]) && both_masters(&self.nodes[b])) {
            self.both[a][b] = None;
            return Ok(());
        }
        self.tally.overlaps += u64::from(self.both[a][b].is_none());
        let since = *self.both[a][b].get_or_insert(self.now);
        let (best, other) =
            if self.nodes[a].watch.rank() > self.nodes[b].watch.rank() { (a, b) } else { (b, a) };
        let (better, worse) = (&self.nodes[best], &self.nodes[other]);
        if self.cut[best][other] || !better.runs() || !worse.runs() || !worse.link || !better.link {
            self.impaired[best][other] = self.now;
            return Ok(());
        }
        let from = since.max(self.impaired[best][other]);
        let lawful = from + better.watch.interval + self.jitter + self.weather.delay.max(self.delay);
        if self.now > lawful {
            return Err(format!("two Masters: {best} and {other} since {:?}", self.now.since(since)));
        }
        Ok(())
    }

    fn impair(&mut self, at: usize) {
        for other in 0..MOST {
            self.impaired[at][other] = self.now;
            self.impaired[other][at] = self.now;
        }
    }
}

#[derive(Clone, Copy)]
enum Next {
    Phase,
    Fault,
    Command,
    Arrival,
    Node(usize),
}

fn interface() -> IfName {
    "eth0".parse().expect("an interface name")
}

fn address(family: Family, host: u8) -> IpAddr {
    match family {
        Family::V4 => Ipv4Addr::new(10, 0, 0, host).into(),
        Family::V6 => Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, host.into()).into(),
    }
}

fn link(address: IpAddr, running: bool) -> Link {
    let (primary_v4, link_local) = match address {
        IpAddr::V4(v4) => (Some(v4), None),
        IpAddr::V6(v6) => (None, Some(v6)),
    };
    Link { index: 2, running, mac: Mac::default(), primary_v4, link_local }
}

fn node<R>(
    family: Family,
    address: IpAddr,
    priority: u8,
    centis: u16,
    preempt: bool,
    delay: Duration,
) -> Node<R> {
    let name: Name = "front".parse().expect("a name");
    let interval = AdvertInterval::from_centis(centis).expect("1 to 4095");
    let vip = match family {
        Family::V4 => IpAddr::from([192, 0, 2, 1]),
        Family::V6 => IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, 1]),
    };
    let settings = Settings {
        name,
        interface: interface(),
        vrid: Vrid::MIN,
        family,
        priority: Priority::new(priority.into()).expect("1 to 255"),
        interval,
        preempt,
        preempt_delay: delay,
        addresses: vec![(interface(), vip)],
        checksum_as_v2: false,
        stance: Stance::Normal,
    };
    let interval = interval.get();
    let (stance, seen) = (Stance::Normal, Seen::Off);
    let watch = Watch { address, priority, interval, preempt, preempt_delay: delay, stance, seen };
    Node {
        base: settings.clone(),
        settings,
        router: None,
        snapshot: Snapshot::default(),
        restart: None,
        link: true,
        stalled: None,
        waiting: VecDeque::new(),
        jitter: Duration::ZERO,
        watch,
    }
}
