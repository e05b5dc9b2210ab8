//! The power goes at every operation of a commit, and the disk fails at every one: the box boots with the old or the
//! new configuration, whole, and what was promised is there.

use std::path::PathBuf;
use std::time::Duration;

use bascule_core::time::Instant;

use super::source::{Made, Source};
use crate::store::files::Files;
use crate::store::revision::digest;
use crate::store::revisions::{KEEP, Revisions};
use crate::store::simulated::{Fault, Simulated};

const FILE: &str = "/data/config/bascule.toml";
const EIO: i32 = nix::libc::EIO;
const ENOSPC: i32 = nix::libc::ENOSPC;
const EROFS: i32 = nix::libc::EROFS;

fn source(disk: &Simulated) -> Source<Simulated> {
    let store = Revisions::new(disk.clone(), PathBuf::from("/data/state/configuration"));
    Source::new(PathBuf::from(FILE), None, store)
}

/// A configuration that is only whole with its last line.
fn text(name: &str) -> String {
    let mut text = format!("[system]\nhostname = \"{name}\"\n");
    for number in 0..6 {
        text += &format!("[route.r{number}]\nto = \"10.{number}.0.0/16\"\nvia = \"192.0.2.1\"\n");
    }
    text + "[interface.last]\naddresses = [\"192.0.2.2/24\"]\n"
}

fn made() -> Made {
    Made { user: "anna".into(), comment: "why".into(), time: 7 }
}

/// Boots the disk: the name of the configuration that runs, which is whole and no failsafe, and its source.
fn boot(disk: &Simulated) -> (String, Source<Simulated>) {
    let mut source = source(disk);
    let loaded = source.start(Instant::ZERO, 9, None).loaded;
    let name = loaded.config.system.hostname.as_ref().map(ToString::to_string).unwrap_or_default();
    assert!(!source.failsafe(), "failsafe: {:?}", source.alarms());
    assert_eq!(loaded.config.route.len(), 6, "not whole");
    assert_eq!(loaded.config.interface.len(), 1, "not whole");
    (name, source)
}

/// A disk of a box that runs `old`, after so many commits.
fn disk(commits: usize) -> Simulated {
    let disk = Simulated::new();
    disk.write(FILE.as_ref(), text("old").as_bytes()).unwrap();
    let (_, mut source) = boot(&disk);
    for number in 1..commits {
        source.commit(&text(&format!("old{number}")), made(), true).unwrap();
    }
    source.commit(&text("old"), made(), true).unwrap();
    disk.copy()
}

/// Something that changes the store; whether it says that it is done.
type Act = fn(&Simulated) -> bool;

struct Scene {
    what: &'static str,
    before: fn() -> Simulated,
    act: Act,
    /// What may run at a boot after a power cut on the way.
    on_the_way: &'static [&'static str],
    /// What runs at a boot once it said that it is done.
    done: &'static str,
}

fn commit(disk: &Simulated) -> bool {
    boot(disk).1.commit(&text("new"), made(), true).is_ok()
}

fn commit_confirmed(disk: &Simulated) -> bool {
    boot(disk).1.commit(&text("new"), made(), false).is_ok()
}

fn confirm(disk: &Simulated) -> bool {
    let mut source = boot(disk).1;
    source.commit(&text("new"), made(), false).is_ok() && source.confirm().is_ok()
}

fn go_back(disk: &Simulated) -> bool {
    boot(disk).0 == "old"
}

fn edited() -> Simulated {
    let disk = disk(3);
    disk.write(FILE.as_ref(), text("new").as_bytes()).unwrap();
    disk.copy()
}

fn unconfirmed() -> Simulated {
    let disk = disk(3);
    assert!(commit_confirmed(&disk));
    disk.copy()
}

fn nearly_full() -> Simulated {
    let disk = disk(3);
    disk.leave_room(300);
    disk
}

fn rescue(disk: &Simulated) -> bool {
    boot(disk).1.save_rescue(made()).is_ok()
}

const SCENES: &[Scene] = &[
    Scene { what: "commit", before: || disk(3), act: commit, on_the_way: &["old", "new"], done: "new" },
    Scene {
        what: "commit that drops the oldest of 50",
        before: || disk(KEEP + 2),
        act: commit,
        on_the_way: &["old", "new"],
        done: "new",
    },
    Scene {
        what: "commit on a full disk",
        before: nearly_full,
        act: commit,
        on_the_way: &["old", "new"],
        done: "new",
    },
    Scene {
        what: "commit confirmed",
        before: || disk(3),
        act: commit_confirmed,
        on_the_way: &["old"],
        done: "old",
    },
    Scene { what: "confirm", before: || disk(3), act: confirm, on_the_way: &["old", "new"], done: "new" },
    Scene {
        what: "boot with an unconfirmed revision",
        before: unconfirmed,
        act: go_back,
        on_the_way: &["old"],
        done: "old",
    },
    Scene {
        what: "boot with an edited file",
        before: edited,
        act: |disk| boot(disk).0 == "new",
        on_the_way: &["new"],
        done: "new",
    },
    Scene { what: "save rescue", before: || disk(3), act: rescue, on_the_way: &["old"], done: "old" },
];

/// Cuts the power after every operation, and boots every disk that may be left.
fn cut_everywhere(scene: &Scene) -> usize {
    let whole = (scene.before)();
    let before = whole.operations();
    assert!((scene.act)(&whole), "{}: it fails without any power cut", scene.what);
    let operations = whole.operations() - before;
    assert!(operations > 4, "{}: nothing was written", scene.what);
    let mut points = 0;
    for cut in 0..=operations {
        let disk = (scene.before)();
        disk.cut_after(disk.operations() + cut);
        let done = (scene.act)(&disk) && cut == operations;
        for left in disk.crashes() {
            points += 1;
            let (name, mut source) = boot(&left);
            let at = format!("{}, cut after {cut} of {operations} operations", scene.what);
            if done {
                assert_eq!(name, scene.done, "{at}: it said that it is done");
            } else {
                assert!(scene.on_the_way.contains(&&*name), "{at}: {name} runs");
            }
            // And the box goes on: the next commit is as good as any.
            let next = source.commit(&text("next"), made(), true);
            assert!(next.is_ok(), "{at}: the next commit fails: {next:?}");
            assert_eq!(boot(&left.copy()).0, "next", "{at}");
        }
    }
    points
}

#[test]
fn after_a_power_cut_at_any_operation_the_box_boots_with_the_old_or_the_new_configuration_whole() {
    let mut all = 0;
    for scene in SCENES {
        let points = cut_everywhere(scene);
        println!("{points:6} power cuts: {}", scene.what);
        all += points;
    }
    println!("{all:6} power cuts: together");
    assert!(all > 1_000, "{all}");
}

#[test]
fn a_disk_that_fails_at_any_operation_of_a_commit_loses_nothing_and_the_error_says_what_to_do() {
    let mut points = 0;
    for (errno, way_out) in [(EIO, "failing"), (ENOSPC, "disk is full"), (EROFS, "no writes")] {
        for lasting in [false, true] {
            for after in 0..200 {
                let disk = disk(3);
                let (_, mut source) = boot(&disk);
                let fault = Fault { at: disk.operations() + after, errno, lasting };
                disk.fail(fault);
                let before = disk.operations();
                let done = source.commit(&text("new"), made(), true);
                if disk.operations() - before <= after {
                    assert!(done.is_ok(), "nothing failed: {done:?}");
                    break;
                }
                points += 1;
                let at = format!("errno {errno} at operation {after}, lasting: {lasting}");
                match &done {
                    Ok(_) => {
                        // What is beside the store may have failed: said, and mended by the next start.
                        let told = source.alarms().iter().any(|alarm| alarm.contains(way_out));
                        assert!(told || !lasting, "{at}: nothing is said");
                    }
                    Err(lines) => {
                        let text = lines.join("\n");
                        assert!(text.contains("/data/") && text.contains(way_out), "{at}: {text}");
                        assert!(text.contains("as it was"), "{at}: {text}");
                    }
                }
                // The disk works again after a restart.
                let name = boot(&disk.copy()).0;
                let said = |words: &str| done.as_ref().is_err_and(|l| l.concat().contains(words));
                let expected = if done.is_ok() { "new" } else { "old" };
                assert!(name == expected || said("next boot may"), "{at}: {name} runs after {done:?}");
            }
        }
    }
    println!("{points:6} failures of the disk");
    assert!(points > 60, "{points}");
}

#[test]
fn a_commit_on_a_full_disk_takes_the_reserve_which_is_made_again_when_there_is_room() {
    let disk = disk(3);
    let (_, mut source) = boot(&disk);
    disk.leave_room(100);
    source.commit(&text("new"), made(), true).unwrap();
    assert_eq!(boot(&disk.copy()).0, "new");
    let told = source.alarms().iter().any(|alarm| alarm.contains("commit on a full disk may fail"));
    assert!(told, "{:?}", source.alarms());
    disk.leave_room(4 << 20);
    source.commit(&text("newer"), made(), true).unwrap();
    assert!(source.alarms().is_empty(), "{:?}", source.alarms());
}

#[test]
fn a_cut_within_the_cut_goes_back_too() {
    // The power goes while a boot takes an unconfirmed revision back, and again while the next boot does.
    let mut points = 0;
    for first in 0..30 {
        let disk = unconfirmed();
        disk.cut_after(disk.operations() + first);
        let _ = source(&disk).start(Instant::ZERO, 9, None);
        for left in disk.crashes().into_iter().step_by(7) {
            for second in (0..30).step_by(3) {
                let again = left.copy();
                again.cut_after(second);
                let _ = source(&again).start(Instant::ZERO + Duration::from_secs(1), 9, None);
                for left in again.crashes().into_iter().step_by(5) {
                    points += 1;
                    assert_eq!(boot(&left).0, "old", "cut after {first} and {second}");
                }
            }
        }
    }
    println!("{points:6} double power cuts");
}

#[test]
fn a_file_that_is_ours_is_never_taken_for_an_edited_one() {
    // Else a power cut between store and file would undo a commit.
    let disk = disk(3);
    let (_, mut source) = boot(&disk);
    let old = disk.read(FILE.as_ref(), 9_999).unwrap();
    source.commit(&text("new"), made(), true).unwrap();
    let seen = PathBuf::from("/data/state/configuration/seen");
    disk.write(FILE.as_ref(), &old).unwrap();
    disk.write(&seen, digest(&old).as_bytes()).unwrap();
    assert_eq!(boot(&disk.copy()).0, "new");
}
