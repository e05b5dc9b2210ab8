use super::*;
use crate::scratch::Scratch;
use bascule_core::release::{RollbackIndex, Sha256, Version};
use bascule_core::slot::{Fallback, Image, LOADERS, SlotName, Tries, loader};

const LENGTH: usize = 64 << 10;

fn image(minor: u16) -> Image {
    let sha256 = Sha256::of(&minor.to_le_bytes());
    Image { version: Version::new(0, minor, 0), index: RollbackIndex(1), sha256 }
}

/// A state partition in memory whose power goes in the middle of a write, or that fails in other ways.
#[derive(Clone, Debug)]
struct Memory {
    bytes: Vec<u8>,
    /// Writes until the power goes, and how many bytes of the last one arrive.
    power: Option<(usize, usize)>,
    /// Written bytes are forgotten.
    lies: bool,
    writes: usize,
}

impl Memory {
    fn factory() -> Self {
        let mut bytes = vec![0; LENGTH];
        let record = Record::factory(image(1));
        for (offset, block) in [
            (RECORDS[0], record.print()),
            (RECORDS[1], slot::empty_block()),
            (LOADERS[0], slot::empty_block()),
            (LOADERS[1], slot::empty_block()),
        ] {
            let offset = usize::try_from(offset).unwrap();
            bytes[offset..offset + RECORD_LEN].copy_from_slice(&block);
        }
        Self { bytes, power: None, lies: false, writes: 0 }
    }

    fn block(&self, offset: u64) -> Block {
        let offset = usize::try_from(offset).unwrap();
        self.bytes[offset..offset + RECORD_LEN].try_into().unwrap()
    }

    fn start(&self) -> Evidence {
        let boot = loader::boot(
            &RECORDS.map(|offset| self.block(offset)),
            &LOADERS.map(|offset| self.block(offset)),
            |_| true,
            true,
        );
        boot.started.unwrap()
    }
}

impl Device for &mut Memory {
    fn read(&mut self, offset: u64) -> io::Result<Block> {
        Ok(self.block(offset))
    }

    fn write(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let offset = usize::try_from(offset).unwrap();
        let arrives = match self.power {
            Some((writes, _)) if self.writes > writes => 0,
            Some((writes, count)) if self.writes == writes => count.min(bytes.len()),
            Some(_) | None => bytes.len(),
        };
        self.writes += 1;
        if !self.lies {
            self.bytes[offset..offset + arrives].copy_from_slice(&bytes[..arrives]);
        }
        if arrives < bytes.len() { Err(io::Error::from_raw_os_error(libc::EIO)) } else { Ok(()) }
    }
}

#[test]
fn a_power_cut_at_any_sector_of_a_commit_leaves_the_old_record_or_the_new_one_for_both_readers() {
    let factory = Memory::factory();
    let at = factory.start();
    let mut outcomes = [0, 0];
    for write in 0..2 {
        for arrives in (0..RECORD_LEN - HEAD).step_by(512) {
            let mut device = Memory { power: Some((write, arrives)), ..factory.clone() };
            let state = State::load(&mut device).unwrap();
            let next = state.record().unwrap().begin_install(&at, &image(2)).unwrap();
            let committed = state.commit(&next).is_ok();
            let record = State::load(&mut device).unwrap().record().unwrap().clone();
            assert!(record == Record::factory(image(1)) || record == next, "write {write}, {arrives} bytes");
            assert!(!committed || record == next);
            assert_eq!(device.start().generation, Some(record.generation()));
            outcomes[usize::from(record == next)] += 1;
        }
    }
    println!("{} times the old record, {} times the new one", outcomes[0], outcomes[1]);
    assert!(outcomes.iter().all(|count| *count > 0), "{outcomes:?}");
}

#[test]
fn the_loaders_sector_is_written_last() {
    let mut device = Memory::factory();
    let at = device.start();
    let state = State::load(&mut device).unwrap();
    let next = state.record().unwrap().begin_install(&at, &image(2)).unwrap();
    device.power = Some((1, 0));
    assert!(matches!(
        State::load(&mut device).unwrap().commit(&next),
        Err(StateError::Io { what: "write", .. })
    ));
    let written = device.block(RECORDS[1]);
    assert!(written[..HEAD] == slot::empty_block()[..HEAD] && written[HEAD..] == next.print()[HEAD..]);
}

#[test]
fn a_disk_that_loses_what_was_written_is_found_out() {
    let mut device = Memory { lies: true, ..Memory::factory() };
    let at = device.start();
    let state = State::load(&mut device).unwrap();
    let next = state.record().unwrap().begin_install(&at, &image(2)).unwrap();
    let error = state.commit(&next).unwrap_err();
    assert!(matches!(error, StateError::Differs), "{error}");
}

#[test]
fn a_record_that_somebody_else_overtook_is_not_written() {
    let mut device = Memory::factory();
    let at = device.start();
    let state = State::load(&mut device).unwrap();
    let next = state.record().unwrap().begin_install(&at, &image(2)).unwrap();
    let state = state.commit(&next).unwrap();
    assert_eq!(state.record().unwrap(), &next);
    assert!(matches!(state.commit(&next), Err(StateError::Overtaken)));
}

#[test]
fn records_go_over_the_older_copy_by_turns_on_a_real_file() {
    let dir = Scratch::new("record");
    let path = dir.path().join("state");
    fs::write(&path, Memory::factory().bytes).unwrap();
    let at = Memory::factory().start();
    let open = || State::load(Partition::open(&path).unwrap()).unwrap();
    let begun = open().record().unwrap().begin_install(&at, &image(2)).unwrap();
    open().commit(&begun).unwrap();
    let installed = open().record().unwrap().installed(&at, image(2)).unwrap();
    open().commit(&installed).unwrap();
    let bytes = fs::read(&path).unwrap();
    let copy = |offset: u64| {
        let offset = usize::try_from(offset).unwrap();
        Record::parse(bytes[offset..offset + RECORD_LEN].try_into().unwrap()).unwrap()
    };
    assert_eq!((copy(RECORDS[0]), copy(RECORDS[1])), (installed, begun));
}

#[test]
fn the_record_is_read_and_written_by_one_process_at_a_time() {
    let dir = Scratch::new("record");
    let path = dir.path().join("state");
    fs::write(&path, Memory::factory().bytes).unwrap();
    let first = Partition::open(&path).unwrap();
    let waits = std::thread::spawn({
        let path = path.clone();
        move || Partition::open(&path).is_ok()
    });
    sleep(Duration::from_millis(100));
    assert!(!waits.is_finished());
    drop(first);
    assert!(waits.join().unwrap());
}

#[test]
fn a_start_that_fell_back_is_written_down_once() {
    let mut device = Memory::factory();
    let at = device.start();
    let mut state = State::load(&mut device).unwrap();
    for next in [
        (|record, at| Record::begin_install(record, at, &image(2))) as fn(&Record, &Evidence) -> _,
        |record, at| record.installed(at, image(2)),
        |record, at| record.activate(at, Tries::USUAL),
    ] {
        let next = next(state.record().unwrap(), &at).unwrap();
        state = state.commit(&next).unwrap();
    }
    let at = Evidence {
        slot: SlotName::A,
        generation: Some(state.record().unwrap().generation()),
        tried: 0,
        fallback: Some(Fallback::Tries),
        failsafe: false,
    };
    let writes = |device: &Memory| device.writes;
    let before = writes(&device);
    let Settled::Agreed { record, now, alarm } =
        settle_with(State::load(&mut device).unwrap(), &at, unasked).unwrap()
    else {
        panic!("not settled")
    };
    assert_eq!(now, Some(Now::Steady));
    assert_eq!(alarm.as_deref(), Some("0.2.0 in slot b used its 2 tries without being confirmed"));
    assert_eq!(record.state(SlotName::B), &slot::State::Bad(image(2)));
    assert_eq!(writes(&device), before + 2);
    // The agent asks again, and the next start is an ordinary one.
    for at in [at, device.start()] {
        let settled = settle_with(State::load(&mut device).unwrap(), &at, unasked).unwrap();
        assert!(
            matches!(settled, Settled::Agreed { now: Some(Now::Steady), alarm: None, .. }),
            "{settled:?}"
        );
    }
    assert_eq!(writes(&device), before + 2);
}

#[test]
fn a_loader_of_another_disk_keeps_updates_off_and_nothing_is_written() {
    let mut device = Memory::factory();
    let at = Evidence { slot: SlotName::B, ..device.start() };
    let error = settle_with(State::load(&mut device).unwrap(), &at, unasked).unwrap_err().to_string();
    assert!(error.contains("updates stay off. Remove other disks"), "{error}");
    assert_eq!(device.writes, 0);
}

fn unasked() -> Result<Image, String> {
    Err("nobody should ask".to_owned())
}

#[test]
fn a_box_that_lost_both_copies_writes_a_new_record_of_what_runs() {
    let mut device = Memory::factory();
    for offset in RECORDS {
        let offset = usize::try_from(offset).unwrap();
        device.bytes[offset..offset + RECORD_LEN].fill(0);
    }
    let at = device.start();
    assert_eq!((at.generation, at.slot), (None, SlotName::A));
    let error = settle_with(State::load(&mut device).unwrap(), &at, || Err("no archive".to_owned()));
    assert!(error.unwrap_err().to_string().contains("(no archive): flash the box anew"));
    assert_eq!(device.writes, 0);
    let settled = settle_with(State::load(&mut device).unwrap(), &at, || Ok(image(7))).unwrap();
    assert!(settled.alarm().unwrap().contains("updates work after a restart"), "{settled:?}");
    let at = device.start();
    let settled = settle_with(State::load(&mut device).unwrap(), &at, unasked).unwrap();
    let Settled::Agreed { record, now: Some(Now::Steady), alarm: None } = settled else {
        panic!("{settled:?}")
    };
    assert_eq!(record.state(SlotName::A), &slot::State::Good(image(7)));
}

#[test]
fn a_record_that_the_loader_read_and_this_system_cannot_is_left_alone() {
    let mut device = Memory::factory();
    let at = device.start();
    device.bytes.fill(0);
    let error = settle_with(State::load(&mut device).unwrap(), &at, unasked).unwrap_err().to_string();
    assert!(error.contains("no copy of the boot record can be used (it is empty; it is empty)"), "{error}");
    assert_eq!(device.writes, 0);
}
