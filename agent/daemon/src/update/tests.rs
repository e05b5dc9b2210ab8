//! Updates of a box in memory: its power can be cut, its disk can fail, at every single operation.

use std::cell::RefCell;
use std::io;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use bascule_core::bundle::{Head, Key, Keys, Kind, Manifest, PayloadInfo, Signature, message};
use bascule_core::control::{Reply, Request, Standing};
use bascule_core::release::{Board, RollbackIndex, Sha256, Version};
use bascule_core::shell::command::{BundleFrom, Update};
use bascule_core::slot::{
    Block, Evidence, Generation, Image, PLACES, RECORD_LEN, Record, SlotName, State as Held, Tries,
    empty_block,
};
use ed25519_dalek::{Signer as _, SigningKey};

use super::commands::{At, carry_out};
use super::lock::{self, Lock};
use super::machine::Machine;
use super::record::{Device, State as OnDisk};
use super::show;
use super::target::Target;
use crate::control::ControlError;
use crate::people::{Identity, Place};
use crate::scratch::Scratch;
use crate::shell::Agent;
use crate::shell::console::Console;

/// Room of a slot: odd on purpose.
const ROOM: usize = (2 << 20) + 512;
const OLD: Version = Version::new(0, 1, 0);
const NEW: Version = Version::new(0, 2, 0);
const BOARD: &str = "x86_64";

fn signer() -> SigningKey {
    SigningKey::from_bytes(&[7; 32])
}

fn keys() -> Keys {
    let public = signer().verifying_key().to_bytes();
    Keys::new(vec![Key::new("release-1".parse().unwrap(), Kind::Release, &public).unwrap()]).unwrap()
}

/// Bytes that repeat nowhere.
fn payload(length: usize, seed: u32) -> Vec<u8> {
    let mut state = seed | 1;
    let next = |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    };
    (0..length).map(next).collect()
}

fn image(version: Version, bytes: &[u8]) -> Image {
    Image { version, index: RollbackIndex(1), sha256: Sha256::of(bytes) }
}

fn signed(manifest: &str, key: &SigningKey) -> Vec<u8> {
    let public = key.verifying_key().to_bytes();
    let id = bascule_core::bundle::KeyId::of(&public);
    let bytes = key.sign(&message(manifest.as_bytes())).to_bytes();
    Head::assemble(manifest.as_bytes(), &[Signature { key: id, bytes }]).unwrap()
}

fn manifest(version: Version, bytes: &[u8]) -> Manifest {
    let info = PayloadInfo { length: bytes.len() as u64, sha256: Sha256::of(bytes) };
    Manifest::new(BOARD.parse().unwrap(), version, RollbackIndex(1), Version::new(0, 1, 0), info)
}

fn bundle(version: Version, bytes: &[u8]) -> Vec<u8> {
    [signed(&manifest(version, bytes).render(), &signer()), bytes.to_vec()].concat()
}

/// What goes wrong, counted over the operations of the whole disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trouble {
    None,
    /// The power goes at this operation.
    Cut(u64),
    /// This operation fails, once.
    Fails(u64, i32),
    /// This operation is done and then reported as failed, once.
    Doubtful(u64),
    /// This write of a slot is stored with another bit.
    Lies(u64),
}

/// A disk with a volatile cache: a state partition and two slots.
struct Disk {
    state: Vec<u8>,
    slots: [Vec<u8>; 2],
    /// Written and not synced: slot, offset, bytes.
    cached: Vec<(usize, usize, Vec<u8>)>,
    operations: u64,
    trouble: Trouble,
    off: bool,
    seed: u32,
}

impl Disk {
    fn new(record: &Record, slots: [Vec<u8>; 2]) -> Self {
        let mut state = vec![0; 1 << 16];
        let put = |state: &mut Vec<u8>, at: u64, block: &Block| {
            let at = usize::try_from(at).unwrap();
            state[at..at + RECORD_LEN].copy_from_slice(block);
        };
        put(&mut state, PLACES[0].1, &record.print());
        put(&mut state, PLACES[1].1, &empty_block());
        Self { state, slots, cached: Vec::new(), operations: 0, trouble: Trouble::None, off: false, seed: 1 }
    }

    fn random(&mut self) -> u32 {
        self.seed = self.seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        self.seed >> 8
    }

    /// Counts an operation: whether it is to be done, done in part, or not.
    fn operation(&mut self) -> io::Result<Doing> {
        if self.off {
            return Err(io::Error::other("the power is off"));
        }
        self.operations += 1;
        match self.trouble {
            Trouble::Cut(at) if at == self.operations => {
                self.off = true;
                // Of what was not synced anything may have come to the medium.
                for (slot, at, bytes) in std::mem::take(&mut self.cached) {
                    let sectors = bytes.len().div_ceil(512);
                    for sector in 0..sectors {
                        if self.random().is_multiple_of(2) {
                            let part = sector * 512..bytes.len().min(sector * 512 + 512);
                            self.slots[slot][at + part.start..at + part.end].copy_from_slice(&bytes[part]);
                        }
                    }
                }
                Ok(Doing::Torn)
            }
            Trouble::Fails(at, errno) if at == self.operations => Err(io::Error::from_raw_os_error(errno)),
            Trouble::Lies(at) if at == self.operations => Ok(Doing::Wrong),
            Trouble::Doubtful(at) if at == self.operations => Ok(Doing::Doubtful),
            Trouble::None
            | Trouble::Cut(_)
            | Trouble::Fails(..)
            | Trouble::Doubtful(_)
            | Trouble::Lies(_) => Ok(Doing::All),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Doing {
    All,
    Torn,
    Wrong,
    Doubtful,
}

impl Doing {
    fn result(self) -> io::Result<()> {
        match self {
            Self::All | Self::Wrong => Ok(()),
            Self::Torn => Err(dead()),
            Self::Doubtful => Err(io::Error::from_raw_os_error(libc::EIO)),
        }
    }
}

fn dead() -> io::Error {
    io::Error::other("the power went")
}

type Shared = Rc<RefCell<Disk>>;

/// The state partition.
struct StatePart(Shared);

impl Device for StatePart {
    fn read(&mut self, offset: u64) -> io::Result<Block> {
        let disk = self.0.borrow();
        if disk.off {
            return Err(dead());
        }
        let at = usize::try_from(offset).unwrap();
        Ok(disk.state[at..at + RECORD_LEN].try_into().unwrap())
    }

    fn write(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut disk = self.0.borrow_mut();
        let doing = disk.operation()?;
        let at = usize::try_from(offset).unwrap();
        // A sector is written whole or not; of several any number.
        let length = match doing {
            Doing::All | Doing::Wrong | Doing::Doubtful => bytes.len(),
            Doing::Torn => {
                let sectors = u32::try_from(bytes.len() / 512).unwrap();
                usize::try_from(disk.random() % (sectors + 1)).unwrap() * 512
            }
        };
        disk.state[at..at + length].copy_from_slice(&bytes[..length]);
        doing.result()
    }
}

/// A slot.
struct SlotPart(Shared, usize, u64);

impl Target for SlotPart {
    fn length(&self) -> u64 {
        self.2
    }

    fn write(&mut self, at: u64, bytes: &[u8]) -> io::Result<()> {
        assert!(at + bytes.len() as u64 <= self.2, "beyond the end of the slot");
        let mut disk = self.0.borrow_mut();
        let mut bytes = bytes.to_vec();
        let doing = disk.operation()?;
        if doing == Doing::Wrong {
            let middle = bytes.len() / 2;
            bytes[middle] ^= 0x40;
        }
        disk.cached.push((self.1, usize::try_from(at).unwrap(), bytes));
        doing.result()
    }

    fn sync(&mut self) -> io::Result<()> {
        let mut disk = self.0.borrow_mut();
        let doing = disk.operation()?;
        if doing == Doing::Torn {
            return doing.result();
        }
        for (slot, at, bytes) in std::mem::take(&mut disk.cached) {
            disk.slots[slot][at..at + bytes.len()].copy_from_slice(&bytes);
        }
        doing.result()
    }

    fn read(&mut self, at: u64, into: &mut [u8]) -> io::Result<()> {
        let disk = self.0.borrow();
        if disk.off {
            return Err(dead());
        }
        assert!(disk.cached.is_empty(), "read back before it is on the medium");
        let at = usize::try_from(at).unwrap();
        into.copy_from_slice(&disk.slots[self.1][at..at + into.len()]);
        Ok(())
    }
}

/// A box that runs slot A.
struct Sim {
    disk: Shared,
    at: Evidence,
    version: Version,
    room: u64,
    rebooted: u32,
    snapshots: u32,
    judged: u32,
    can_snapshot: bool,
}

impl Sim {
    /// Slot A good, slot B as given.
    fn new(b: Option<&[u8]>) -> Self {
        let a = payload(100_000, 1);
        let slot = |bytes: &[u8]| {
            let mut slot = bytes.to_vec();
            slot.resize(ROOM, 0xee);
            slot
        };
        let factory = Record::factory(image(OLD, &a));
        let at = |record: &Record, tried| Evidence {
            slot: SlotName::A,
            generation: Some(record.generation()),
            tried,
            fallback: None,
            failsafe: false,
        };
        let record = match b {
            None => factory,
            // B was installed, tried and kept, and then A again.
            Some(b) => {
                let begun = factory.begin_install(&at(&factory, 0), &image(OLD, b)).unwrap();
                let now = at(&factory, 0);
                let installed = begun.installed(&now, image(OLD, b)).unwrap();
                let active = installed.activate(&now, Tries::USUAL).unwrap();
                let on_b = Evidence { slot: SlotName::B, ..at(&active, 1) };
                let good = active.confirm(&on_b, "confirmed").unwrap();
                good.roll_back(&on_b, "back").unwrap()
            }
        };
        let evidence = at(&record, 0);
        let disk = Disk::new(&record, [slot(&a), slot(b.unwrap_or_default())]);
        let disk = Rc::new(RefCell::new(disk));
        Self {
            disk,
            at: evidence,
            version: OLD,
            room: ROOM as u64,
            rebooted: 0,
            snapshots: 0,
            judged: 0,
            can_snapshot: true,
        }
    }

    fn trouble(&self, trouble: Trouble) {
        let mut disk = self.disk.borrow_mut();
        (disk.operations, disk.trouble) = (0, trouble);
    }

    fn operations(&self) -> u64 {
        self.disk.borrow().operations
    }

    /// The power comes back, and the loader starts what the record says.
    fn power_up(&mut self) -> Record {
        {
            let mut disk = self.disk.borrow_mut();
            (disk.off, disk.trouble) = (false, Trouble::None);
            disk.cached.clear();
        }
        let record = self.record().unwrap();
        self.at.generation = Some(record.generation());
        self.at.slot = record.first();
        self.at.tried = u8::from(record.tries().is_some());
        record
    }

    /// What holds at every moment: whatever the record names is on the disk, whole.
    fn check(&mut self) -> Record {
        let record = self.record().expect("a whole record");
        assert!(record.floor() >= RollbackIndex(1), "the floor fell");
        let first = record.state(record.first());
        assert!(matches!(first, Held::Good(_) | Held::Testing(_)), "{first:?}");
        for (name, bytes) in SlotName::ALL.into_iter().zip(&self.disk.borrow().slots) {
            let Some(image) = record.state(name).image() else { continue };
            let lengths = [100_000, 300_000, 700_001, 5_000, 4_096, 4_097, 1, 1 << 20, 600_000];
            let whole = lengths.iter().any(|length| Sha256::of(&bytes[..*length]) == image.sha256);
            assert!(whole, "slot {name} is {} and is not what the record says", record.state(name).word());
        }
        record
    }
}

impl Machine for Sim {
    fn evidence(&self) -> Result<Evidence, String> {
        Ok(self.at)
    }

    fn record(&mut self) -> Result<Record, String> {
        let state = OnDisk::load(StatePart(Rc::clone(&self.disk))).map_err(|error| error.to_string())?;
        state.record().cloned().map_err(|error| error.to_string())
    }

    fn write(&mut self, record: &Record) -> Result<(), String> {
        let state = OnDisk::load(StatePart(Rc::clone(&self.disk))).map_err(|error| error.to_string())?;
        state.commit(record).map(drop).map_err(|error| error.to_string())
    }

    fn target(&mut self, slot: SlotName) -> Result<Box<dyn Target>, String> {
        assert_ne!(slot, self.at.slot, "never the running slot");
        let index = usize::from(slot == SlotName::B);
        Ok(Box::new(SlotPart(Rc::clone(&self.disk), index, self.room)))
    }

    fn keys(&self) -> Result<Keys, String> {
        Ok(keys())
    }

    fn release(&self) -> Result<(Board, Version), String> {
        Ok((BOARD.parse().unwrap(), self.version))
    }

    fn snapshot(&mut self) -> Result<(), String> {
        self.snapshots += 1;
        if self.can_snapshot { Ok(()) } else { Err("no snapshot".to_owned()) }
    }

    fn trial_over(&mut self) {
        self.judged += 1;
    }

    fn reboot(&mut self) -> Result<(), String> {
        self.rebooted += 1;
        Ok(())
    }
}

/// An agent with or without a commit that waits.
struct Asked(bool);

impl Agent for Asked {
    fn ask(&self, request: &Request) -> Result<Reply, ControlError> {
        assert_eq!(*request, Request::Standing(None));
        let confirm = self.0.then_some(Duration::from_secs(60));
        Ok(Reply::Standing(Standing { confirm, ..Standing::default() }))
    }
}

#[derive(Default)]
struct Paper {
    said: Vec<String>,
    rows: Vec<String>,
    terminal: bool,
    /// Ctrl-C at this look.
    interrupt: Option<u32>,
}

impl Console for Paper {
    fn say(&mut self, line: &str) -> io::Result<()> {
        assert!(line.len() <= 79 && line.bytes().all(|b| (0x20..0x7f).contains(&b)), "{line:?}");
        self.said.push(line.to_owned());
        Ok(())
    }

    fn ask(&mut self, _: &str, _: bool) -> io::Result<Option<String>> {
        Ok(None)
    }

    fn pause(&mut self, _: Duration) -> io::Result<bool> {
        Ok(false)
    }

    fn terminal(&self) -> bool {
        self.terminal
    }

    fn row(&mut self, text: &str) -> io::Result<()> {
        assert!(text.len() <= 79, "{text:?}");
        self.rows.push(text.to_owned());
        Ok(())
    }

    fn interrupted(&mut self) -> io::Result<bool> {
        let Some(left) = self.interrupt else { return Ok(false) };
        self.interrupt = left.checked_sub(1);
        Ok(left == 0)
    }
}

/// A command on a box; whether it was done, and what was said.
fn run(sim: &mut Sim, dir: &Scratch, command: &Update) -> (bool, String) {
    run_with(sim, dir, &mut Paper::default(), &Asked(false), command)
}

fn run_with(
    sim: &mut Sim,
    dir: &Scratch,
    paper: &mut Paper,
    agent: &dyn Agent,
    command: &Update,
) -> (bool, String) {
    let place = Place { state_dir: dir.path().into(), run_dir: dir.path().into(), origin: "ttyS0".into() };
    let who = Identity::root();
    let done = carry_out(paper, sim, At { place: &place, who: &who, agent }, command).unwrap();
    (done, paper.said.join(" "))
}

/// Installs bytes as a bundle file.
fn install_file(dir: &Scratch, bytes: &[u8]) -> Update {
    let path = dir.path().join("x.bundle");
    std::fs::write(&path, bytes).unwrap();
    from_path(&path)
}

fn from_path(path: &Path) -> Update {
    Update::Install { from: BundleFrom::Text(path.to_str().unwrap().to_owned()), older: false }
}

#[test]
fn a_bundle_is_installed_activated_confirmed_and_rolled_back() {
    let dir = Scratch::new("update");
    let mut sim = Sim::new(None);
    let new = payload(700_001, 9);
    let install = install_file(&dir, &bundle(NEW, &new));
    let (done, said) = run(&mut sim, &dir, &install);
    assert!(done, "{said}");
    assert!(said.contains("Version 0.2.0 is in slot b, read back and verified"), "{said}");
    assert_eq!(*sim.check().state(SlotName::B), Held::Installed(image(NEW, &new)));
    assert_eq!(sim.disk.borrow().slots[1][..new.len()], new[..]);
    let status = show::status(&mut sim, dir.path()).lines.join("\n");
    assert!(
        status.contains("0.2.0 in slot b, installed") && status.contains("installed: 0.2.0 into slot b"),
        "{status}"
    );

    assert!(run(&mut sim, &dir, &Update::Activate).0);
    assert_eq!((sim.rebooted, sim.snapshots), (1, 1));
    let record = sim.power_up();
    assert_eq!((record.first(), record.tries()), (SlotName::B, Some(Tries::USUAL)));
    let (done, said) = run(&mut sim, &dir, &install);
    assert!(!done && said.contains("on trial"), "{said}");
    assert!(!run(&mut sim, &dir, &Update::Activate).0);
    assert!(run(&mut sim, &dir, &Update::Confirm).0);
    assert!(sim.check().state(SlotName::B).is_good());
    assert!(!run(&mut sim, &dir, &Update::Confirm).0, "only once");
    assert_eq!(sim.judged, 1);

    assert!(run(&mut sim, &dir, &Update::Rollback).0);
    assert_eq!(sim.rebooted, 2);
    assert_eq!(sim.power_up().first(), SlotName::A);
}

#[test]
fn payloads_of_every_awkward_length_arrive() {
    for length in [1, 4_096, 4_097, 5_000, 300_000, 1 << 20] {
        let dir = Scratch::new("update");
        let mut sim = Sim::new(None);
        let new = payload(length, 5);
        let install = install_file(&dir, &bundle(NEW, &new));
        let (done, said) = run(&mut sim, &dir, &install);
        assert!(done, "{length}: {said}");
        assert_eq!(sim.disk.borrow().slots[1][..length], new[..], "{length}");
        assert!(
            sim.disk.borrow().slots[1][length.max(4_096)..].iter().all(|byte| *byte == 0xee),
            "nothing behind it"
        );
        sim.check();
    }
}

#[test]
fn a_power_cut_at_any_operation_leaves_a_box_that_starts_and_can_be_updated() {
    let dir = Scratch::new("update");
    let (old_b, new) = (payload(300_000, 3), payload(700_001, 9));
    let install = install_file(&dir, &bundle(NEW, &new));
    let mut whole = Sim::new(Some(&old_b));
    whole.trouble(Trouble::None);
    assert!(run(&mut whole, &dir, &install).0);
    assert!(run(&mut whole, &dir, &Update::Activate).0);
    let operations = whole.operations();
    assert_eq!(operations, 14);
    let mut points = 0;
    for cut in 1..=operations {
        for seed in 1..=4 {
            let mut sim = Sim::new(Some(&old_b));
            sim.trouble(Trouble::Cut(cut));
            sim.disk.borrow_mut().seed = seed * 7_919;
            if run(&mut sim, &dir, &install).0 {
                run(&mut sim, &dir, &Update::Activate);
            }
            sim.power_up();
            let record = sim.check();
            points += 1;
            if record.state(SlotName::B).is_testing() {
                assert!(run(&mut sim, &dir, &Update::Rollback).0 || !record.state(SlotName::A).is_good());
                continue;
            }
            assert_eq!(record.first(), SlotName::A);
            let (done, said) = run(&mut sim, &dir, &install);
            assert!(done, "cut at {cut} of {operations}, seed {seed}: {said}");
            assert_eq!(*sim.check().state(SlotName::B), Held::Installed(image(NEW, &new)));
        }
    }
    println!("{points} power cuts at {operations} operations");
}

#[test]
fn a_disk_that_fails_at_any_operation_never_gets_an_unverified_slot_named() {
    let dir = Scratch::new("update");
    let (old_b, new) = (payload(300_000, 3), payload(700_001, 9));
    let install = install_file(&dir, &bundle(NEW, &new));
    let mut whole = Sim::new(Some(&old_b));
    whole.trouble(Trouble::None);
    assert!(run(&mut whole, &dir, &install).0);
    let operations = whole.operations();
    for at in 1..=operations {
        for trouble in
            [Trouble::Fails(at, libc::EIO), Trouble::Fails(at, libc::ENOSPC), Trouble::Doubtful(at)]
        {
            let mut sim = Sim::new(Some(&old_b));
            let before = sim.record().unwrap();
            sim.trouble(trouble);
            let (done, said) = run(&mut sim, &dir, &install);
            assert!(!done, "{trouble:?} and nobody noticed");
            let record = sim.check();
            let told = match record.state(SlotName::B) {
                Held::Empty => "Slot b is empty now",
                // The last write came to the medium, and the slot is whole.
                Held::Installed(_) if trouble == Trouble::Doubtful(operations) => "Slot b is installed now",
                _ if record == before => "Nothing was changed",
                other => panic!("{trouble:?}: {other:?}: {said}"),
            };
            assert!(said.contains(told), "{trouble:?}: {said}");
            assert_eq!(record.first(), SlotName::A);
            sim.power_up();
            assert!(run(&mut sim, &dir, &install).0, "{trouble:?}: it goes on afterwards");
        }
    }
}

#[test]
fn a_disk_that_keeps_something_else_than_it_was_given_is_found_out() {
    let dir = Scratch::new("update");
    let new = payload(700_001, 9);
    let install = install_file(&dir, &bundle(NEW, &new));
    let mut whole = Sim::new(None);
    whole.trouble(Trouble::None);
    assert!(run(&mut whole, &dir, &install).0);
    let mut lies = 0;
    for at in 1..=whole.operations() {
        let mut sim = Sim::new(None);
        sim.trouble(Trouble::Lies(at));
        let (done, said) = run(&mut sim, &dir, &install);
        let record = sim.check();
        if !done {
            assert!(said.contains("reads back as something else"), "{said}");
            assert_eq!(*record.state(SlotName::B), Held::Empty);
            lies += 1;
        }
    }
    assert_eq!(lies, 4, "three pieces of the payload and its head");
}

#[test]
fn bad_bundles_are_refused_and_slot_and_record_are_as_they_were() {
    let dir = Scratch::new("update");
    let old_b = payload(300_000, 3);
    let new = payload(100_000, 9);
    let good = bundle(NEW, &new);
    let of = |change: &dyn Fn(&mut Manifest)| {
        let mut manifest = manifest(NEW, &new);
        change(&mut manifest);
        [signed(&manifest.render(), &signer()), new.clone()].concat()
    };
    let stranger = SigningKey::from_bytes(&[8; 32]);
    let head = signed(&manifest(NEW, &new).render(), &signer()).len();
    let mut cases: Vec<(String, Vec<u8>, &str)> = vec![
        ("empty".into(), Vec::new(), "cut off"),
        ("junk".into(), payload(5_000, 4), "not a Bascule bundle"),
        (
            "stranger".into(),
            [signed(&manifest(NEW, &new).render(), &stranger), new.clone()].concat(),
            "trusts",
        ),
        ("trailing".into(), [&good[..], b"x"].concat(), "bytes long"),
        ("short by one".into(), good[..good.len() - 1].to_vec(), "bytes long"),
        ("board".into(), of(&|m| m.board = "aarch64".parse().unwrap()), "aarch64"),
        ("older".into(), of(&|m| m.version = Version::new(0, 0, 9)), "older"),
        ("min-from".into(), of(&|m| m.min_from = Version::new(0, 1, 5)), "0.1.5"),
        ("index".into(), of(&|m| m.rollback_index = RollbackIndex(0)), "rollback index"),
        ("too large".into(), bundle(NEW, &payload(ROOM + 1, 2)), "flash the new disk image"),
        ("length".into(), of(&|m| m.payload.length += 1), "bytes long"),
    ];
    for cut in [1, 15, 16, 40, head - 1, head] {
        cases.push((format!("cut at {cut}"), good[..cut].to_vec(), "refused"));
    }
    for at in (0..good.len()).step_by(good.len() / 1_000) {
        let mut tampered = good.clone();
        tampered[at] ^= 1 << (at % 8);
        cases.push((format!("byte {at}"), tampered, "refused"));
    }
    assert!(cases.len() > 1_000);
    let mut sim = Sim::new(Some(&old_b));
    let before = sim.record().unwrap();
    for (what, bytes, why) in cases {
        sim.trouble(Trouble::None);
        let (done, said) = run(&mut sim, &dir, &install_file(&dir, &bytes));
        assert!(!done && said.contains("refused") && said.contains(why), "{what}: {said}");
        assert!(said.contains("Nothing was changed."), "{what}: {said}");
        assert_eq!(sim.operations(), 0, "{what}: the disk was touched");
    }
    assert_eq!(sim.check(), before);
    assert!(run(&mut sim, &dir, &install_file(&dir, &good)).0);
}

#[test]
fn an_older_version_is_installed_when_that_is_meant() {
    let dir = Scratch::new("update");
    let new = payload(5_000, 9);
    let mut sim = Sim::new(None);
    sim.version = Version::new(0, 3, 0);
    let Update::Install { from, .. } = install_file(&dir, &bundle(NEW, &new)) else { panic!() };
    assert!(!run(&mut sim, &dir, &Update::Install { from: from.clone(), older: false }).0);
    assert!(run(&mut sim, &dir, &Update::Install { from, older: true }).0);
}

#[test]
fn states_that_are_not_plain_are_refused_before_anything_is_read() {
    let dir = Scratch::new("update");
    let install = install_file(&dir, &bundle(NEW, &payload(5_000, 9)));
    let refused = |sim: &mut Sim, agent: &Asked, why: &str| {
        sim.trouble(Trouble::None);
        let (done, said) = run_with(sim, &dir, &mut Paper::default(), agent, &install);
        assert!(!done && said.contains(why) && said.contains("Nothing was changed"), "{why}: {said}");
        assert_eq!(sim.operations(), 0, "{why}");
    };
    refused(&mut Sim::new(None), &Asked(true), "a commit waits");
    let mut sim = Sim::new(None);
    sim.at.generation = Generation::new(99);
    refused(&mut sim, &Asked(false), "record 99");
    sim.at.generation = None;
    refused(&mut sim, &Asked(false), "record none");
    let mut sim = Sim::new(None);
    sim.at.slot = SlotName::B;
    refused(&mut sim, &Asked(false), "slot b");
    let mut sim = Sim::new(None);
    let held = Lock::take(dir.path()).unwrap().unwrap();
    refused(&mut sim, &Asked(false), "another update runs");
    drop(held);
    assert!(run(&mut sim, &dir, &install).0);
    let (done, said) = run_with(&mut sim, &dir, &mut Paper::default(), &Asked(true), &Update::Activate);
    assert!(!done && said.contains("a commit waits"), "{said}");
    sim.can_snapshot = false;
    assert!(!run(&mut sim, &dir, &Update::Activate).0, "nothing to compare with");
    assert_eq!(sim.record().unwrap().first(), SlotName::A);
    assert_eq!(sim.rebooted, 0);
}

#[test]
fn ctrl_c_and_cancel_leave_an_empty_slot_or_an_untouched_one() {
    let dir = Scratch::new("update");
    let (old_b, new) = (payload(300_000, 3), payload(700_001, 9));
    let install = install_file(&dir, &bundle(NEW, &new));
    let (mut untouched, mut emptied) = (0, 0);
    for look in 0..40 {
        let mut sim = Sim::new(Some(&old_b));
        let before = sim.record().unwrap();
        let mut paper = Paper { interrupt: Some(look), ..Paper::default() };
        let (done, said) = run_with(&mut sim, &dir, &mut paper, &Asked(false), &install);
        if done {
            assert!(untouched > 0 && emptied > 0, "{untouched} {emptied}");
            break;
        }
        assert!(said.contains("cancelled"), "{said}");
        let record = sim.check();
        if said.contains("Slot b is empty now") {
            assert_eq!(*record.state(SlotName::B), Held::Empty);
            assert!(sim.disk.borrow().slots[1][..4_096].iter().all(|byte| *byte == 0), "its head is zeroed");
            emptied += 1;
        } else {
            assert_eq!(record, before);
            untouched += 1;
        }
        let (state, runs) = lock::look(dir.path());
        assert_eq!((state.unwrap().step.as_str(), runs), ("cancelled", false));
    }
    let mut sim = Sim::new(None);
    assert!(run(&mut sim, &dir, &install).0);
    assert!(run(&mut sim, &dir, &Update::Cancel).0);
    assert_eq!(*sim.check().state(SlotName::B), Held::Empty);
    assert!(!run(&mut sim, &dir, &Update::Cancel).0, "nothing is left to cancel");
}

#[test]
fn progress_is_a_bar_on_a_terminal_and_lines_elsewhere() {
    let dir = Scratch::new("update");
    let install = install_file(&dir, &bundle(NEW, &payload(1 << 20, 9)));
    let mut paper = Paper { terminal: true, ..Paper::default() };
    run_with(&mut Sim::new(None), &dir, &mut paper, &Asked(false), &install);
    assert!(
        paper.rows.iter().any(|row| row.contains("receiving") && row.contains("100%")),
        "{:?}",
        paper.rows
    );
    assert_eq!(paper.rows.last().map(String::as_str), Some(""), "the row is free at the end");
    assert!(paper.said.iter().any(|line| line.contains("signed by release-1")), "{:?}", paper.said);
    let mut paper = Paper::default();
    run_with(&mut Sim::new(None), &dir, &mut paper, &Asked(false), &install);
    assert!(paper.rows.iter().all(String::is_empty));
    assert!(paper.said.iter().any(|line| line.starts_with("reading back: 50%")), "{:?}", paper.said);
}
