//! Every operation from every state that can be reached, with the power cut after and within every write: what the
//! loader starts then is always there, verified and known to the record, and the floor never falls.

use std::collections::BTreeSet;

use super::change_tests::image;
use super::*;

const SECTOR: usize = 512;

/// A box: its state partition, what its slots really hold, and how the running system was started.
#[derive(Clone)]
struct World {
    records: [Block; 2],
    loaders: [Block; 2],
    /// A whole image, or nothing that loads: the first bytes of a slot are written last.
    content: [Option<Image>; 2],
    at: Evidence,
}

/// One write that reaches the disk before the next begins.
enum Write {
    /// Copy, offset in it, bytes.
    Record(usize, usize, Vec<u8>),
    Loader(usize, Box<Block>),
    Content(SlotName, Option<Image>),
}

#[derive(Clone, Copy, Debug)]
enum Step {
    BeginInstall(Image),
    /// The payload goes into the slot, its first bytes last.
    Stream(Image),
    Installed(Image),
    Activate,
    Confirm,
    RollBack,
    Cancel,
    Crashed,
    Stable,
    /// A restart, where this slot cannot be read.
    Restart(Option<SlotName>),
}

fn index(slot: SlotName) -> usize {
    match slot {
        SlotName::A => 0,
        SlotName::B => 1,
    }
}

/// The order of writes of `State::commit` in the daemon.
fn commit(records: &[Block; 2], next: &Record) -> Vec<Write> {
    let (copy, block) = (choose(records).next, next.print());
    vec![Write::Record(copy, HEAD, block[HEAD..].to_vec()), Write::Record(copy, 0, block[..HEAD].to_vec())]
}

/// What a write of `new` over `old` leaves when the power goes: so many sectors, and the next one as it was, half
/// written or damaged.
fn torn(old: &[u8], new: &[u8]) -> Vec<Vec<u8>> {
    let mut all = vec![old.to_vec()];
    for start in (0..new.len()).step_by(SECTOR) {
        let mut base = new[..start].to_vec();
        base.extend(&old[start..]);
        let half = |bytes: &mut [u8]| bytes[..SECTOR / 2].copy_from_slice(&new[start..start + SECTOR / 2]);
        let noise = |bytes: &mut [u8]| {
            bytes
                .iter_mut()
                .zip(1_u32..)
                .for_each(|(byte, n)| *byte = (n.wrapping_mul(2_654_435_761) >> 24) as u8);
        };
        type Damage<'a> = &'a dyn Fn(&mut [u8]);
        let damages: [Damage<'_>; 4] = [&|_| {}, &half, &noise, &|bytes| bytes.fill(0)];
        // What is in the sectors between differs in nothing that counts.
        let end = start == 0 || start + SECTOR == new.len();
        for damage in damages.iter().take(if end { 4 } else { 1 }) {
            let mut left = base.clone();
            damage(&mut left[start..start + SECTOR]);
            all.push(left);
        }
    }
    all
}

impl World {
    fn factory() -> Self {
        let record = Record::factory(image(1, 1));
        let mut world = Self {
            records: [record.print(), empty_block()],
            loaders: [empty_block(); 2],
            content: [Some(image(1, 1)), None],
            at: Evidence {
                slot: SlotName::A,
                generation: Some(record.generation()),
                tried: 0,
                fallback: None,
                failsafe: false,
            },
        };
        world.at = world.start(None).started.unwrap();
        world
    }

    fn record(&self) -> Record {
        choose(&self.records).record.expect("a whole record")
    }

    fn start(&self, broken: Option<SlotName>) -> loader::Boot {
        let loads = |slot| self.content[index(slot)].is_some() && Some(slot) != broken;
        loader::boot(&self.records, &self.loaders, loads, true)
    }

    fn apply(&mut self, write: &Write) {
        match write {
            Write::Record(copy, at, bytes) => {
                self.records[*copy][*at..*at + bytes.len()].copy_from_slice(bytes)
            }
            Write::Loader(copy, block) => self.loaders[*copy] = **block,
            Write::Content(slot, image) => self.content[index(*slot)] = *image,
        }
    }

    /// The disks that a power cut within this write leaves.
    fn cut(&self, write: &Write) -> Vec<Self> {
        let variants = match write {
            Write::Record(copy, at, bytes) => {
                let old = &self.records[*copy][*at..*at + bytes.len()];
                torn(old, bytes).into_iter().map(|bytes| Write::Record(*copy, *at, bytes)).collect()
            }
            Write::Loader(copy, block) => {
                let blocks = torn(&self.loaders[*copy], block.as_slice()).into_iter();
                blocks
                    .map(|bytes| Write::Loader(*copy, Box::new(bytes.try_into().expect("a block"))))
                    .collect()
            }
            // Half an image does not load.
            Write::Content(slot, _) => vec![Write::Content(*slot, None)],
        };
        let mut worlds = vec![self.clone()];
        for variant in variants {
            let mut world = self.clone();
            world.apply(&variant);
            worlds.push(world);
        }
        worlds
    }

    /// The writes of a step, in order; none when it is refused or has nothing to do.
    fn writes(&self, step: Step) -> Vec<Write> {
        let (record, at) = (self.record(), &self.at);
        let target = at.slot.other();
        let put = |next: Result<Record, Refusal>, then: Option<Write>| {
            let Ok(next) = next else { return Vec::new() };
            commit(&self.records, &next).into_iter().chain(then).collect()
        };
        let changed = |next: Result<Option<Record>, Refusal>| next.ok().flatten();
        match step {
            Step::BeginInstall(image) => {
                put(record.begin_install(at, &image), Some(Write::Content(target, None)))
            }
            Step::Stream(image) => {
                let may = record.now(at) == Ok(Now::Steady) && *record.state(target) == State::Empty;
                if may { vec![Write::Content(target, Some(image))] } else { Vec::new() }
            }
            Step::Installed(image) if self.content[index(target)] == Some(image) => {
                put(record.installed(at, image), None)
            }
            Step::Installed(_) => Vec::new(),
            Step::Activate => put(record.activate(at, Tries::USUAL), None),
            Step::Confirm => put(record.confirm(at, "fine"), None),
            Step::RollBack => put(record.roll_back(at, "worse than before"), None),
            Step::Cancel => put(record.cancel(at), Some(Write::Content(target, None))),
            Step::Crashed => {
                changed(record.crashed(at, "panic")).map_or_else(Vec::new, |next| put(Ok(next), None))
            }
            Step::Stable => changed(record.stable(at)).map_or_else(Vec::new, |next| put(Ok(next), None)),
            Step::Restart(broken) => self
                .start(broken)
                .write
                .map(|(copy, block)| Write::Loader(copy, Box::new(block)))
                .into_iter()
                .collect(),
        }
    }

    /// What must hold at every moment; `floor` is that of before.
    fn check(&self, floor: RollbackIndex, what: &str) {
        let record = self.record();
        assert!(record.floor() >= floor, "{what}: the floor fell");
        for broken in [None, Some(record.first())] {
            let Some(at) = self.start(broken).started else {
                assert!(broken.is_some() && record.other().is_none(), "{what}: nothing starts");
                continue;
            };
            assert_eq!(at.generation, Some(record.generation()), "{what}: the loader goes by another record");
            let state = record.state(at.slot);
            assert!(state.is_good() || state.is_testing(), "{what}: a slot starts that is {}", state.word());
            assert_eq!(state.image(), self.content[index(at.slot)].as_ref(), "{what}: not what was verified");
            assert!(record.booted(&at).is_ok(), "{what}: the start cannot be settled");
        }
    }

    /// Starts until the system is steady, while every trial fails; then an update can begin.
    fn recovers(&self, what: &str) -> u32 {
        let mut world = self.clone();
        for boots in 1..=4 {
            world.restart(None);
            let record = world.record();
            if record.now(&world.at) == Ok(Now::Steady) {
                let next = image(9, record.floor().0);
                assert!(record.begin_install(&world.at, &next).is_ok(), "{what}: no update can begin");
                return boots;
            }
        }
        panic!("{what}: still not steady after 4 starts: {:?}", world.record());
    }

    fn restart(&mut self, broken: Option<SlotName>) {
        let boot = self.start(broken);
        if let Some((copy, block)) = boot.write {
            self.loaders[copy] = block;
        }
        self.at = boot.started.expect("a start");
        self.settle();
    }

    fn settle(&mut self) {
        if let Some(next) = self.record().booted(&self.at).expect("settled") {
            commit(&self.records, &next).iter().for_each(|write| self.apply(write));
        }
    }

    /// What tells this world from others, generations aside.
    fn key(&self) -> String {
        let record = self.record();
        let choice = choose(&self.records);
        let relation = (self.at.generation == Some(record.generation), self.at.generation == record.boot);
        let used = self.start(None).started.map(|at| (at.slot, at.tried, at.fallback));
        let at = (self.at.slot, self.at.tried, self.at.fallback);
        let minor = |image: &Option<Image>| image.map(|image| image.version.minor);
        let state = |slot| (record.state(slot).word(), minor(&record.state(slot).image().copied()));
        format!(
            "{:?} {:?} {:?} {} {} {:?} {:?} {relation:?} {used:?} {at:?} {} {:?}",
            record.first,
            record.tries,
            (state(SlotName::A), state(SlotName::B)),
            record.floor,
            record.crashes,
            minor(&self.content[0]),
            minor(&self.content[1]),
            choice.next,
            Record::parse(&self.records[choice.next]).is_ok(),
        )
    }
}

#[derive(Default)]
struct Counts {
    steps: u32,
    writes: u32,
    cuts: u32,
    starts: u32,
    /// What power cuts left, each recovered from once.
    left: BTreeSet<String>,
}

/// Takes a step with the power cut everywhere within; `None` when the step does nothing.
fn take(world: &World, step: Step, counts: &mut Counts) -> Option<World> {
    let floor = world.record().floor();
    let writes = world.writes(step);
    let restart = matches!(step, Step::Restart(_));
    if writes.is_empty() && !restart {
        return None;
    }
    let next = cut_through(world, &writes, floor, &format!("{step:?}"), counts);
    let Step::Restart(broken) = step else { return Some(next) };
    // The loader had written before it started the slot, so this looks at the disk before.
    let at = world.start(broken).started?;
    let mut next = World { at, ..next };
    if let Some(settled) = next.record().booted(&next.at).expect("settled") {
        let writes = commit(&next.records, &settled);
        next = cut_through(&next, &writes, floor, &format!("{step:?}, settled"), counts);
    }
    Some(next)
}

fn cut_through(
    world: &World,
    writes: &[Write],
    floor: RollbackIndex,
    what: &str,
    counts: &mut Counts,
) -> World {
    let mut now = world.clone();
    for write in writes {
        for left in now.cut(write) {
            left.check(floor, what);
            if counts.left.insert(left.key()) {
                counts.starts += left.recovers(what);
            }
            counts.cuts += 1;
        }
        now.apply(write);
        now.check(floor, what);
        counts.writes += 1;
    }
    counts.steps += 1;
    now
}

#[test]
fn a_power_cut_in_any_write_of_any_step_from_any_state_leaves_a_verified_slot_that_starts() {
    let images = [image(2, 2)];
    let mut steps = vec![
        Step::Activate,
        Step::Confirm,
        Step::RollBack,
        Step::Cancel,
        Step::Crashed,
        Step::Stable,
        Step::Restart(None),
        Step::Restart(Some(SlotName::A)),
        Step::Restart(Some(SlotName::B)),
    ];
    steps.extend(images.map(Step::BeginInstall));
    steps.extend(images.map(Step::Stream));
    steps.extend(images.map(Step::Installed));

    let first = World::factory();
    let mut seen = BTreeSet::from([first.key()]);
    let (mut open, mut counts) = (vec![first], Counts::default());
    while let Some(world) = open.pop() {
        for step in &steps {
            let Some(next) = take(&world, *step, &mut counts) else { continue };
            if seen.insert(next.key()) {
                open.push(next);
            }
        }
    }
    let Counts { steps, writes, cuts, starts, left } = counts;
    println!(
        "{} states, {steps} steps, {writes} writes, {cuts} power cuts, {starts} starts after {} kinds of them",
        seen.len(),
        left.len()
    );
    assert!(seen.len() > 30 && cuts > 5_000, "{} states, {cuts} cuts", seen.len());
}

#[test]
fn the_loaders_sector_torn_at_any_byte_gives_the_old_record_or_the_new_one() {
    let mut world = World::factory();
    let (mut pairs, mut tears) = (0, 0);
    // Over the change from one digit to two, and to three.
    for generation in [8, 9, 10, 98, 99, 100, 999_999] {
        let old = Record { generation: Generation::new(generation).unwrap(), ..Record::factory(image(1, 1)) };
        let at = Evidence { generation: Some(old.generation), ..world.at };
        let new = old.begin_install(&at, &image(2, 1)).unwrap();
        let new = Record { generation: new.generation, ..new.installed(&at, image(2, 1)).unwrap() };
        let newest = new.activate(&at, Tries::USUAL).unwrap();
        for (kept, over, next) in [(&new, &old, &newest), (&newest, &new, &newest.cancel(&at).unwrap())] {
            let (over, next) = (over.print(), next.print());
            for byte in 0..=HEAD {
                for head_first in [true, false] {
                    let (front, back) = if head_first { (&next, &over) } else { (&over, &next) };
                    let mut torn = next;
                    torn[..byte].copy_from_slice(&front[..byte]);
                    torn[byte..HEAD].copy_from_slice(&back[byte..HEAD]);
                    world.records = [kept.print(), torn];
                    let chosen = world.record().generation();
                    let started =
                        loader::boot(&world.records, &world.loaders, |_| true, true).started.unwrap();
                    assert_eq!(started.generation, Some(chosen), "{generation} torn at {byte}");
                    assert!(chosen >= kept.generation(), "{generation} torn at {byte}");
                    tears += 1;
                }
            }
            pairs += 1;
        }
    }
    println!("{pairs} pairs of records, {tears} torn sectors");
}

#[test]
fn the_loader_starts_something_whatever_the_state_partition_holds() {
    let noise = |seed: u32| {
        let mut state = seed;
        [(); RECORD_LEN].map(|()| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        })
    };
    let good = Record::factory(image(1, 1)).print();
    let mut blocks = vec![empty_block(), [0; RECORD_LEN], [0xff; RECORD_LEN], good];
    blocks.extend((0..20).map(noise));
    for one in &blocks {
        for two in &blocks {
            for loads in [[true, false], [false, true], [true, true]] {
                let started =
                    loader::boot(&[*one, *two], &[*two, *one], |slot| loads[index(slot)], true).started;
                let known = *one == good || *two == good;
                assert_eq!(started.is_none(), known && !loads[0]);
                assert_eq!(started.is_some_and(|at| at.generation.is_some()), known && loads[0]);
            }
        }
    }
}

#[test]
fn a_trial_uses_its_tries_one_by_one_and_not_one_more() {
    let mut world = World::factory();
    let mut counts = Counts::default();
    let image = image(2, 1);
    for step in [Step::BeginInstall(image), Step::Stream(image), Step::Installed(image), Step::Activate] {
        world = take(&world, step, &mut counts).expect("a step");
    }
    let mut starts = Vec::new();
    for _ in 0..4 {
        world.restart(None);
        starts.push((world.at.slot, world.at.tried, world.at.fallback));
    }
    let (a, b) = (SlotName::A, SlotName::B);
    assert_eq!(starts, [(b, 1, None), (b, 2, None), (a, 0, Some(Fallback::Tries)), (a, 0, None)]);
    assert_eq!(world.record().state(b), &State::Bad(image));
}

#[test]
fn a_trial_that_cannot_be_counted_does_not_happen() {
    let mut world = World::factory();
    let mut counts = Counts::default();
    let image = image(2, 1);
    for step in [Step::BeginInstall(image), Step::Stream(image), Step::Installed(image), Step::Activate] {
        world = take(&world, step, &mut counts).expect("a step");
    }
    let boot = loader::boot(&world.records, &world.loaders, |_| true, false);
    let at = boot.started.unwrap();
    assert_eq!((at.slot, at.fallback, boot.write), (SlotName::A, Some(Fallback::Count), None));
    world.at = at;
    world.settle();
    assert_eq!(world.record().now(&world.at), Ok(Now::Steady));
}
