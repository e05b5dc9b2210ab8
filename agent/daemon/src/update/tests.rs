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

mod disk;
mod sim;

use disk::{Disk, Shared, SlotPart, StatePart, Trouble};
use sim::{Asked, Paper, Sim, install_file, run, run_with};

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
