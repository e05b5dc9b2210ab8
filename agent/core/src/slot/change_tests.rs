//! What each operation writes and refuses.

use super::*;

/// Release 0.N.0 with rollback index `index`.
pub(super) fn image(minor: u16, index: u32) -> Image {
    let sha256 = Sha256::of(&minor.to_le_bytes());
    Image { version: Version::new(0, minor, 0), index: RollbackIndex(index), sha256 }
}

/// How the loader starts the first slot by a record.
fn started(record: &Record) -> Evidence {
    let tried = u8::from(record.tries().is_some());
    let generation = Some(record.generation());
    Evidence { slot: record.first(), generation, tried, fallback: None, failsafe: false }
}

/// How the loader falls back by a record.
fn fell_back(record: &Record, fallback: Fallback) -> Evidence {
    let slot = record.other().expect("a slot to fall back to");
    Evidence {
        slot,
        generation: Some(record.generation()),
        tried: 0,
        fallback: Some(fallback),
        failsafe: false,
    }
}

/// A box with 0.1.0 in slot A on which 0.2.0 is installed in slot B, and its evidence.
fn installed() -> (Record, Evidence) {
    let factory = Record::factory(image(1, 1));
    let at = started(&factory);
    let begun = factory.begin_install(&at, &image(2, 2)).unwrap();
    (begun.installed(&at, image(2, 2)).unwrap(), at)
}

/// A box that runs 0.2.0 in slot B on trial.
fn trial() -> (Record, Evidence) {
    let (record, at) = installed();
    let record = record.activate(&at, Tries::USUAL).unwrap();
    let at = started(&record);
    (record, at)
}

/// A box that was updated to 0.2.0 in slot B.
fn updated() -> (Record, Evidence) {
    let (record, at) = trial();
    let record = record.confirm(&at, "as good as before").unwrap();
    (record.clone(), started(&record))
}

#[test]
fn an_update_goes_from_empty_over_installed_and_testing_to_good() {
    let factory = Record::factory(image(1, 1));
    assert_eq!((factory.first(), factory.other(), factory.floor()), (SlotName::A, None, RollbackIndex(1)));
    let (record, at) = installed();
    assert_eq!(record.state(SlotName::B), &State::Installed(image(2, 2)));
    assert_eq!((record.first(), record.other(), record.tries()), (SlotName::A, None, None));
    assert_eq!(record.generation().get(), 3);

    let trial = record.activate(&at, Tries::USUAL).unwrap();
    assert_eq!(
        (trial.first(), trial.other(), trial.tries()),
        (SlotName::B, Some(SlotName::A), Some(Tries::USUAL))
    );
    assert_eq!(trial.now(&at), Ok(Now::Activated));
    let at = started(&trial);
    assert_eq!(trial.now(&at), Ok(Now::Trial));
    assert_eq!(trial.floor(), RollbackIndex(1));

    let good = trial.confirm(&at, "as good as before").unwrap();
    assert_eq!((good.first(), good.other(), good.tries()), (SlotName::B, Some(SlotName::A), None));
    assert_eq!((good.floor(), good.reason().as_str()), (RollbackIndex(2), "as good as before"));
    assert_eq!(good.now(&at), Ok(Now::Steady));
}

#[test]
fn a_slot_that_is_overwritten_is_nothing_to_fall_back_to() {
    let (record, at) = updated();
    assert_eq!(record.other(), Some(SlotName::A));
    let begun = record.begin_install(&at, &image(3, 2)).unwrap();
    assert_eq!((begun.first(), begun.other()), (SlotName::B, None));
    assert_eq!(begun.state(SlotName::A), &State::Empty);
}

#[test]
fn the_floor_rises_with_a_confirmation_only_and_never_falls() {
    let (record, at) = updated();
    assert_eq!(
        record.begin_install(&at, &image(3, 1)).unwrap_err().to_string(),
        "rollback index 1 is below 2, the lowest that this box takes: use a later release"
    );
    let record = record.begin_install(&at, &image(3, 7)).unwrap();
    assert!(matches!(record.installed(&at, image(3, 1)), Err(Refusal::Rollback { .. })));
    let record = record.installed(&at, image(3, 7)).unwrap().activate(&at, Tries::USUAL).unwrap();
    assert_eq!(record.floor(), RollbackIndex(2));
    let refused = record.roll_back(&started(&record), "no health checks pass").unwrap();
    assert_eq!(refused.floor(), RollbackIndex(2));
    let kept = record.confirm(&started(&record), "fine").unwrap();
    assert_eq!(kept.floor(), RollbackIndex(7));
}

#[test]
fn a_refused_trial_is_bad_and_the_old_slot_starts_next() {
    let (record, at) = trial();
    let back = record.roll_back(&at, "2 of 3 servers are healthy, before it were 3").unwrap();
    assert_eq!(back.state(SlotName::B), &State::Bad(image(2, 2)));
    assert_eq!((back.first(), back.other(), back.tries()), (SlotName::A, None, None));
    assert_eq!(back.now(&at), Ok(Now::Leaving));
    let text = back.begin_install(&at, &image(3, 2)).unwrap_err().to_string();
    assert_eq!(text, "slot a starts next: type \"reboot\" first");
    // A bad slot is never activated again.
    let at = started(&back);
    assert!(matches!(back.activate(&at, Tries::USUAL), Err(Refusal::NotInstalled { state: "bad", .. })));
    assert!(back.begin_install(&at, &image(3, 2)).is_ok());
}

#[test]
fn an_operator_may_go_back_to_a_good_slot_unless_it_is_below_the_floor() {
    let (record, at) = updated();
    let text = record.roll_back(&at, "typed").unwrap_err().to_string();
    assert!(text.contains("index 1 is below 2"), "{text}");

    let mut same = Record::factory(image(1, 1));
    same.b = State::Good(image(2, 1));
    let at = started(&same);
    let back = same.roll_back(&at, "typed").unwrap();
    assert_eq!((back.first(), back.other()), (SlotName::B, Some(SlotName::A)));
    // Nothing to go back to.
    let factory = Record::factory(image(1, 1));
    let text = factory.roll_back(&at, "typed").unwrap_err().to_string();
    assert_eq!(
        text,
        "slot b is empty, not good: there is nothing to go back to. Install a release that works"
    );
}

#[test]
fn nothing_else_happens_while_a_system_is_on_trial() {
    let (record, at) = trial();
    let install = record.begin_install(&at, &image(3, 3)).unwrap_err().to_string();
    assert!(install.starts_with("slot b runs on trial: wait for its verdict"), "{install}");
    assert_eq!(record.activate(&at, Tries::USUAL), Err(Refusal::Trial(SlotName::B)));
    assert_eq!(record.cancel(&at), Err(Refusal::Trial(SlotName::B)));
    assert_eq!(record.crashed(&at, "panic"), Ok(None));
    assert_eq!(record.stable(&at), Ok(None));
    let (record, at) = updated();
    assert_eq!(record.confirm(&at, ""), Err(Refusal::NoTrial(SlotName::B)));
}

#[test]
fn an_activation_can_be_taken_back_until_the_reboot() {
    let (record, at) = installed();
    let active = record.activate(&at, Tries::USUAL).unwrap();
    assert_eq!(active.begin_install(&at, &image(3, 3)), Err(Refusal::Activated(SlotName::B)));
    let taken = active.cancel(&at).unwrap();
    assert_eq!((taken.first(), taken.tries(), taken.state(SlotName::B)), (SlotName::A, None, &State::Empty));
    assert!(matches!(taken.cancel(&at), Err(Refusal::NothingToCancel { state: "empty", .. })));
    assert_eq!(record.cancel(&at).unwrap().state(SlotName::B), &State::Empty);
    let (record, at) = updated();
    assert!(matches!(record.cancel(&at), Err(Refusal::NothingToCancel { state: "good", .. })));
}

#[test]
fn a_trial_without_tries_is_bad_once_the_other_slot_runs() {
    let (record, _) = trial();
    for (fallback, words) in [
        (Fallback::Tries, "0.2.0 in slot b used its 2 tries without being confirmed"),
        (Fallback::Load, "0.2.0 in slot b does not load"),
        (Fallback::Count, "0.2.0 in slot b was not tried: the boot loader cannot write to the disk"),
    ] {
        let at = fell_back(&record, fallback);
        assert_eq!(record.now(&at), Err(Refusal::Unsettled(SlotName::A)));
        let settled = record.booted(&at).unwrap().unwrap();
        assert_eq!(settled.state(SlotName::B), &State::Bad(image(2, 2)));
        assert_eq!((settled.first(), settled.other(), settled.tries()), (SlotName::A, None, None));
        assert_eq!(settled.reason().as_str(), words);
        assert_eq!(settled.now(&at), Ok(Now::Steady));
        assert_eq!(settled.booted(&at), Ok(None), "settled once");
        assert_eq!(settled.crashed(&at, "watchdog"), Ok(None), "the one on trial crashed, not this one");
        assert!(settled.begin_install(&at, &image(3, 2)).is_ok());
    }
}

#[test]
fn a_good_slot_that_does_not_load_stays_the_one_to_fall_back_to() {
    let (record, _) = updated();
    let at = fell_back(&record, Fallback::Load);
    let settled = record.booted(&at).unwrap().unwrap();
    assert_eq!((settled.first(), settled.other()), (SlotName::A, Some(SlotName::B)));
    assert_eq!(settled.now(&at), Ok(Now::Steady));
}

#[test]
fn updates_stay_off_when_the_loader_went_by_another_record() {
    let (record, at) = updated();
    for generation in [Some(Generation::FIRST), None, Generation::new(2)] {
        let at = Evidence { generation, ..at };
        let text = record.begin_install(&at, &image(3, 3)).unwrap_err().to_string();
        assert!(text.contains("the disk holds record 5: updates stay off"), "{text}");
        assert!(matches!(record.booted(&at), Err(Refusal::OtherRecord { .. })));
    }
    // The right record, and something that it does not say.
    for at in [
        Evidence { slot: SlotName::A, ..at },
        Evidence { tried: 1, ..at },
        Evidence { fallback: Some(Fallback::Load), ..at },
    ] {
        assert!(matches!(record.now(&at), Err(Refusal::Contradiction { .. })), "{at}");
        assert!(matches!(record.booted(&at), Err(Refusal::Contradiction { .. })), "{at}");
    }
}

#[test]
fn a_record_that_outlived_a_newer_one_counts_again_from_the_next_start() {
    let (record, _) = installed();
    let (lost, at) = trial();
    assert!(lost.generation() > record.generation());
    let settled = record.booted(&at).unwrap().unwrap();
    assert!(settled.generation() > lost.generation());
    assert_eq!(
        (settled.first(), settled.reason().as_str()),
        (SlotName::A, "record 4 is damaged; record 3 is used again")
    );
    assert!(matches!(settled.now(&at), Err(Refusal::OtherRecord { .. })));
    assert_eq!(settled.now(&started(&settled)), Ok(Now::Steady));
}

#[test]
fn three_crashes_in_a_row_give_way_to_the_other_good_slot() {
    let (record, at) = updated();
    let one = record.crashed(&at, "panic").unwrap().unwrap();
    let two = one.crashed(&at, "panic").unwrap().unwrap();
    assert_eq!((two.first(), two.crashes()), (SlotName::B, 2));
    let three = two.crashed(&at, "watchdog").unwrap().unwrap();
    assert_eq!((three.first(), three.other(), three.crashes()), (SlotName::A, Some(SlotName::B), 0));
    assert_eq!(three.reason().as_str(), "slot b crashed 3 times in a row: watchdog");
    assert_eq!(three.now(&at), Ok(Now::Leaving));
    // Calm in between.
    let calm = two.stable(&at).unwrap().unwrap();
    assert_eq!((calm.crashes(), calm.reason()), (0, two.reason()));
    assert_eq!(calm.stable(&at), Ok(None));
}

#[test]
fn without_another_good_slot_crashes_are_counted_and_change_nothing() {
    let mut record = Record::factory(image(1, 1));
    let at = started(&record);
    for count in 1..=CRASHES_MAX {
        record = record.crashed(&at, "panic").unwrap().unwrap();
        assert_eq!((record.first(), record.crashes()), (SlotName::A, count));
    }
    assert_eq!(record.crashed(&at, "panic"), Ok(None), "the disk is not worn out");
}

#[test]
fn a_lost_record_is_built_again_from_what_runs() {
    let at = Evidence { slot: SlotName::B, generation: None, tried: 0, fallback: None, failsafe: false };
    let record = Record::rebuilt(image(2, 2), &at, Generation::new(40)).unwrap();
    assert_eq!((record.generation().get(), record.first(), record.other()), (41, SlotName::B, None));
    assert_eq!(record.now(&started(&record)), Ok(Now::Steady));
    assert!(record.now(&at).unwrap_err().to_string().contains("by record none"));
}

#[test]
fn records_end_with_the_last_generation() {
    let record = Record { generation: Generation::LAST, ..Record::factory(image(1, 1)) };
    assert_eq!(record.begin_install(&started(&record), &image(2, 1)), Err(Refusal::Exhausted));
}

#[test]
fn a_record_is_read_as_it_was_written() {
    for (record, _) in [installed(), trial(), updated()] {
        let block = record.print();
        assert_eq!(Record::parse(&block), Ok(record));
        assert!(block[..HEAD].ends_with(b"###\n") && block.ends_with(b"###"));
    }
    let (record, _) = trial();
    let block = record.print();
    let text = str::from_utf8(&block).unwrap();
    assert!(
        text.starts_with("# GRUB Environment Block\ngen=4\nfirst=b\nother=a\ntries=2\nend=4\n#"),
        "{text}"
    );
    let rest = text[HEAD..].trim_end_matches('#');
    let hash = image(1, 1).sha256;
    assert!(rest.starts_with(&format!("format=1\na=good 0.1.0 1 {hash}\nb=testing 0.2.0 2 ")), "{rest}");
    assert!(
        rest.contains("\nfloor=1\nreason=0.2.0 in slot b is activated\ncrashes=0\nboot=1\ncrc="),
        "{rest}"
    );
}

#[test]
fn a_record_of_a_later_release_is_read_as_far_as_it_is_known() {
    let (record, _) = updated();
    let text = String::from_utf8(record.print().to_vec()).unwrap();
    let (body, _) = text.split_once("crc=").unwrap();
    let sealed = |body: &str| {
        let (head, rest) = body.split_at(HEAD);
        let lines = head.trim_end_matches(['#', '\n']).to_owned() + "\n";
        let mut block = [b'#'; RECORD_LEN];
        let text = format!("{body}crc={:08x}\n", crc32fast::hash((lines + rest).as_bytes()));
        block[..text.len()].copy_from_slice(text.as_bytes());
        block
    };
    assert_eq!(Record::parse(&sealed(&format!("{body}colour=red\n"))), Ok(record.clone()));
    // Older releases did not write these.
    let older = body.replace("crashes=0\n", "").replace("boot=4\n", "");
    assert_eq!(Record::parse(&sealed(&older)).unwrap(), Record { boot: None, ..record });
    for (from, to, error) in [
        ("format=1", "format=2", RecordError::Format),
        ("first=b", "first=c", RecordError::Line("first")),
        ("other=a", "other=none", RecordError::Line("other")),
        ("tries=0", "tries=6", RecordError::Line("tries")),
        (
            "tries=0",
            "tries=1",
            RecordError::Flaw("tries are counted exactly when the first slot is on trial"),
        ),
        ("b=good", "b=bad", RecordError::Flaw("the first slot is neither good nor on trial")),
        ("a=good", "a=testing", RecordError::Line("other")),
        ("a=good", "a=great", RecordError::Line("a")),
        ("floor=2\n", "", RecordError::Line("floor")),
        ("gen=5", "gen=05", RecordError::Line("gen")),
        ("end=5", "end=6", RecordError::Torn),
    ] {
        assert!(body.contains(from));
        let mut changed = body.replacen(from, to, 1);
        // The loader's sector keeps its length.
        match body.find(from).filter(|at| *at < HEAD) {
            Some(_) if to.len() > from.len() => {
                changed = changed.replacen(&"#".repeat(1 + to.len() - from.len()), "#", 1)
            }
            Some(_) | None => {}
        }
        assert_eq!(Record::parse(&sealed(&changed)), Err(error), "{from} -> {to}");
    }
}

#[test]
fn one_changed_bit_anywhere_is_found_or_changes_nothing() {
    let (record, _) = trial();
    let block = record.print();
    for at in 0..RECORD_LEN {
        for bit in 0..8 {
            let mut changed = block;
            changed[at] ^= 1 << bit;
            let read = Record::parse(&changed);
            let padding = (61..HEAD).contains(&at);
            assert!(
                if padding { read.as_ref() == Ok(&record) } else { read.is_err() },
                "byte {at} bit {bit}"
            );
        }
    }
    assert_eq!(Record::parse(&[0; RECORD_LEN]), Err(RecordError::Empty));
    assert_eq!(Record::parse(&empty_block()), Err(RecordError::Empty));
}

#[test]
fn of_two_whole_copies_the_newer_counts_and_the_older_is_overwritten() {
    let (old, at) = installed();
    let new = old.activate(&at, Tries::USUAL).unwrap();
    let (one, two) = (old.print(), new.print());
    let chosen = |copies| {
        let choice = choose(&copies);
        (choice.record.map(|record| record.generation().get()).ok(), choice.next)
    };
    assert_eq!(chosen([one, two]), (Some(4), 0));
    assert_eq!(chosen([two, one]), (Some(4), 1));
    assert_eq!(chosen([one, empty_block()]), (Some(3), 1));
    assert_eq!(chosen([empty_block(), one]), (Some(3), 0));
    let mut torn = two;
    torn[HEAD + 20] ^= 1;
    assert_eq!(chosen([torn, one]), (Some(3), 0));
    let choice = choose(&[torn, empty_block()]);
    assert_eq!(
        (choice.record, choice.seen),
        (Err([RecordError::Torn, RecordError::Empty]), Generation::new(4))
    );
}

#[test]
fn a_reason_is_one_printable_line() {
    let reason = Reason::new(&format!(" no \u{e9}cho\nfrom C:\\ {}", "x".repeat(300)));
    assert!(reason.as_str().starts_with("no ?cho?from C:? xxx") && reason.as_str().len() == Reason::MAX);
}

#[test]
fn evidence_is_read_as_the_loader_writes_it() {
    let cases = [
        ("bascule.slot=a bascule.gen=17 bascule.try=0", Some((SlotName::A, 17, 0, None, false))),
        ("bascule.slot=b bascule.gen=18 bascule.try=2", Some((SlotName::B, 18, 2, None, false))),
        (
            "bascule.slot=a bascule.gen=18 bascule.try=0 bascule.fallback=tries",
            Some((SlotName::A, 18, 0, Some(Fallback::Tries), false)),
        ),
        (
            "bascule.slot=b bascule.gen=18 bascule.try=0 bascule.failsafe=tries",
            Some((SlotName::B, 18, 0, None, true)),
        ),
    ];
    for (text, wanted) in cases {
        let at = Evidence::of(text.split(' ')).unwrap();
        let got = (at.slot, at.generation.map_or(0, Generation::get), at.tried, at.fallback, at.failsafe);
        assert_eq!(Some(got), wanted);
        assert_eq!(at.to_string(), text);
    }
    let none = Evidence::of(["quiet", "bascule.slot=b", "bascule.record=none"]).unwrap();
    assert_eq!((none.slot, none.generation), (SlotName::B, None));
    assert_eq!(Evidence::of(["quiet"]), Err(EvidenceError::None));
    for text in [
        "bascule.slot=c bascule.gen=1",
        "bascule.slot=a",
        "bascule.slot=a bascule.gen=0",
        "bascule.slot=a bascule.gen=1 bascule.record=none",
        "bascule.slot=a bascule.gen=1 bascule.try=x",
        "bascule.slot=a bascule.gen=1 bascule.fallback=luck",
    ] {
        assert!(matches!(Evidence::of(text.split(' ')), Err(EvidenceError::Word { .. })), "{text}");
    }
}
