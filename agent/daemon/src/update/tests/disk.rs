//! A disk in memory that loses power, fails, doubts or lies at a chosen operation.

use super::*;

/// What goes wrong, counted over the operations of the whole disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
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
pub(super) struct Disk {
    pub(super) state: Vec<u8>,
    pub(super) slots: [Vec<u8>; 2],
    /// Written and not synced: slot, offset, bytes.
    pub(super) cached: Vec<(usize, usize, Vec<u8>)>,
    pub(super) operations: u64,
    pub(super) trouble: Trouble,
    pub(super) off: bool,
    pub(super) seed: u32,
}

impl Disk {
    pub(super) fn new(record: &Record, slots: [Vec<u8>; 2]) -> Self {
        let mut state = vec![0; 1 << 16];
        let put = |state: &mut Vec<u8>, at: u64, block: &Block| {
            let at = usize::try_from(at).unwrap();
            state[at..at + RECORD_LEN].copy_from_slice(block);
        };
        put(&mut state, PLACES[0].1, &record.print());
        put(&mut state, PLACES[1].1, &empty_block());
        Self { state, slots, cached: Vec::new(), operations: 0, trouble: Trouble::None, off: false, seed: 1 }
    }

    pub(super) fn random(&mut self) -> u32 {
        self.seed = self.seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        self.seed >> 8
    }

    /// Counts an operation: whether it is to be done, done in part, or not.
    pub(super) fn operation(&mut self) -> io::Result<Doing> {
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
pub(super) enum Doing {
    All,
    Torn,
    Wrong,
    Doubtful,
}

impl Doing {
    pub(super) fn result(self) -> io::Result<()> {
        match self {
            Self::All | Self::Wrong => Ok(()),
            Self::Torn => Err(dead()),
            Self::Doubtful => Err(io::Error::from_raw_os_error(libc::EIO)),
        }
    }
}

pub(super) fn dead() -> io::Error {
    io::Error::other("the power went")
}

pub(super) type Shared = Rc<RefCell<Disk>>;

/// The state partition.
pub(super) struct StatePart(pub(super) Shared);

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
pub(super) struct SlotPart(pub(super) Shared, pub(super) usize, pub(super) u64);

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
