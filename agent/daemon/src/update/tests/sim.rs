//! A box in memory, and who sits at it.

use super::*;

/// A box that runs slot A.
pub(super) struct Sim {
    pub(super) disk: Shared,
    pub(super) at: Evidence,
    pub(super) version: Version,
    pub(super) room: u64,
    pub(super) rebooted: u32,
    pub(super) snapshots: u32,
    pub(super) judged: u32,
    pub(super) can_snapshot: bool,
}

impl Sim {
    /// Slot A good, slot B as given.
    pub(super) fn new(b: Option<&[u8]>) -> Self {
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

    pub(super) fn trouble(&self, trouble: Trouble) {
        let mut disk = self.disk.borrow_mut();
        (disk.operations, disk.trouble) = (0, trouble);
    }

    pub(super) fn operations(&self) -> u64 {
        self.disk.borrow().operations
    }

    /// The power comes back, and the loader starts what the record says.
    pub(super) fn power_up(&mut self) -> Record {
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
    pub(super) fn check(&mut self) -> Record {
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
pub(super) struct Asked(pub(super) bool);

impl Agent for Asked {
    fn ask(&self, request: &Request) -> Result<Reply, ControlError> {
        assert_eq!(*request, Request::Standing(None));
        let confirm = self.0.then_some(Duration::from_secs(60));
        Ok(Reply::Standing(Standing { confirm, ..Standing::default() }))
    }
}

#[derive(Default)]
pub(super) struct Paper {
    pub(super) said: Vec<String>,
    pub(super) rows: Vec<String>,
    pub(super) terminal: bool,
    /// Ctrl-C at this look.
    pub(super) interrupt: Option<u32>,
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
pub(super) fn run(sim: &mut Sim, dir: &Scratch, command: &Update) -> (bool, String) {
    run_with(sim, dir, &mut Paper::default(), &Asked(false), command)
}

pub(super) fn run_with(
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
pub(super) fn install_file(dir: &Scratch, bytes: &[u8]) -> Update {
    let path = dir.path().join("x.bundle");
    std::fs::write(&path, bytes).unwrap();
    from_path(&path)
}

pub(super) fn from_path(path: &Path) -> Update {
    Update::Install { from: BundleFrom::Text(path.to_str().unwrap().to_owned()), older: false }
}
