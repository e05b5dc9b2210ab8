//! The file that a crashed agent's successor resumes from: the router's snapshot, written by the real-time
//! thread after every turn that changed it.
//!
//! The file lies on a tmpfs, so a write is a memory copy. It has two slots that are written in turn, so a
//! process killed in the middle of a write leaves the one before. A slot is
//! `magic 4 | boot id 16 | sequence u64 | length u32 | postcard | CRC-32`, integers little endian, the CRC over
//! all before it. The boot id makes a file of an earlier boot void: its instants mean nothing now.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use bascule_core::router::Snapshot;
use thiserror::Error;

const MAGIC: [u8; 4] = *b"BVS1";
const HEADER: usize = 4 + 16 + 8 + 4;
/// Room for about a thousand virtual routers.
const SLOT: usize = 64 * 1024;

/// Identity of this boot.
pub type BootId = [u8; 16];

/// Why a snapshot could not be written.
#[derive(Debug, Error)]
pub enum SnapshotError {
    /// Too many virtual routers for a slot.
    #[error("the state of the virtual routers does not fit {SLOT} bytes: a restart will not be hitless")]
    TooLarge,
    /// The file system refused.
    #[error("cannot write the state of the virtual routers: {0}")]
    Io(#[from] io::Error),
}

/// The identity of this boot (`/proc/sys/kernel/random/boot_id`).
///
/// # Errors
/// When `/proc` is not mounted.
pub fn boot_id() -> io::Result<BootId> {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id")?;
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    let mut id = BootId::default();
    for (byte, pair) in id.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = std::str::from_utf8(pair).ok().and_then(|hex| u8::from_str_radix(hex, 16).ok()).unwrap_or(0);
    }
    Ok(id)
}

/// Reads the newest whole snapshot of this boot; `None` when there is none.
#[must_use]
pub fn load(path: &Path, boot: &BootId) -> Option<Snapshot> {
    let bytes = std::fs::read(path).ok()?;
    let slots = bytes.chunks(SLOT).filter_map(|slot| decode(slot, boot));
    slots.max_by_key(|(sequence, _)| *sequence).map(|(_, snapshot)| snapshot)
}

/// The open file.
#[derive(Debug)]
pub struct SnapshotFile {
    file: File,
    boot: BootId,
    sequence: u64,
    buffer: Vec<u8>,
}

impl SnapshotFile {
    /// Opens or makes the file at `path` and takes all the memory that writing will ever need.
    ///
    /// # Errors
    /// When the directory does not exist or is full.
    pub fn open(path: &Path, boot: BootId) -> io::Result<Self> {
        let file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
        let mut whole = vec![0; 2 * SLOT];
        let found = file.read_at(&mut whole, 0)?;
        let newest = whole.chunks(SLOT).filter_map(|slot| decode(slot, &boot)).map(|(sequence, _)| sequence);
        let sequence = newest.max().unwrap_or(0);
        if found < whole.len() {
            file.write_all_at(&vec![0; whole.len() - found], found as u64)?;
        }
        Ok(Self { file, boot, sequence, buffer: vec![0; SLOT] })
    }

    /// Writes the newest snapshot over the older of the two slots.
    ///
    /// # Errors
    /// When it is too large or the file system refuses.
    pub fn write(&mut self, snapshot: &Snapshot) -> Result<(), SnapshotError> {
        let sequence = self.sequence + 1;
        let length =
            encode(&mut self.buffer, &self.boot, sequence, snapshot).ok_or(SnapshotError::TooLarge)?;
        let slot = self.buffer.get(..length).ok_or(SnapshotError::TooLarge)?;
        self.file.write_all_at(slot, (sequence % 2) * SLOT as u64)?;
        self.sequence = sequence;
        Ok(())
    }
}

/// Writes a slot into `buffer`; its length, or `None` when it does not fit.
fn encode(buffer: &mut [u8], boot: &BootId, sequence: u64, snapshot: &Snapshot) -> Option<usize> {
    let room = buffer.len().checked_sub(4)?;
    let payload = postcard::to_slice(snapshot, buffer.get_mut(HEADER..room)?).ok()?.len();
    let header = buffer.get_mut(..HEADER)?;
    header[..4].copy_from_slice(&MAGIC);
    header[4..20].copy_from_slice(boot);
    header[20..28].copy_from_slice(&sequence.to_le_bytes());
    header[28..32].copy_from_slice(&u32::try_from(payload).ok()?.to_le_bytes());
    let end = HEADER + payload;
    let crc = crc32fast::hash(buffer.get(..end)?);
    buffer.get_mut(end..end + 4)?.copy_from_slice(&crc.to_le_bytes());
    Some(end + 4)
}

/// Reads a slot: its sequence number and snapshot, or `None` when it is torn, foreign or of another boot.
fn decode(slot: &[u8], boot: &BootId) -> Option<(u64, Snapshot)> {
    let header = slot.get(..HEADER)?;
    if header[..4] != MAGIC || header[4..20] != *boot {
        return None;
    }
    let sequence = u64::from_le_bytes(header[20..28].try_into().ok()?);
    let length = usize::try_from(u32::from_le_bytes(header[28..32].try_into().ok()?)).ok()?;
    let end = HEADER.checked_add(length)?;
    let crc = slot.get(end..end.checked_add(4)?)?;
    if crc != crc32fast::hash(slot.get(..end)?).to_le_bytes() {
        return None;
    }
    Some((sequence, postcard::from_bytes(slot.get(HEADER..end)?).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use bascule_core::net::{Family, Vrid};
    use bascule_core::time::Instant;
    use bascule_core::vrrp::{Identity, Survival, Survivor};
    use std::time::Duration;

    const BOOT: BootId = [7; 16];

    fn snapshot(nanos: u64) -> Snapshot {
        let vrid = Vrid::MIN;
        let identity = Identity { interface: "eth0".parse().expect("a name"), family: Family::V4, vrid };
        let last_advert = Instant::from_nanos(nanos);
        let state = Survival::Master { last_advert, interval: Duration::from_secs(1) };
        let survivor = Survivor { identity, since: Instant::ZERO, state };
        Snapshot { routers: [("front".parse().expect("a name"), survivor)].into() }
    }

    /// A path that no other test uses.
    fn path(test: &str) -> std::path::PathBuf {
        std::env::temp_dir().join(format!("bascule-snapshot-{}-{test}", std::process::id()))
    }

    #[test]
    fn the_newest_of_many_snapshots_is_loaded_also_after_reopening() {
        let path = path("newest");
        for round in 0..3 {
            let mut file = SnapshotFile::open(&path, BOOT).expect("a file");
            for step in 0..4 {
                file.write(&snapshot(round * 10 + step)).expect("written");
                assert_eq!(load(&path, &BOOT), Some(snapshot(round * 10 + step)));
            }
        }
        std::fs::remove_file(path).expect("removed");
    }

    #[test]
    fn a_torn_write_leaves_the_snapshot_before_it() {
        let path = path("torn");
        let mut file = SnapshotFile::open(&path, BOOT).expect("a file");
        file.write(&snapshot(1)).expect("written");
        file.write(&snapshot(2)).expect("written");
        // The second write went to slot 0.
        file.file.write_all_at(&[0xff], HEADER as u64 + 2).expect("written");
        assert_eq!(load(&path, &BOOT), Some(snapshot(1)));
        std::fs::remove_file(path).expect("removed");
    }

    #[test]
    fn a_snapshot_of_another_boot_is_void() {
        let path = path("boot");
        SnapshotFile::open(&path, BOOT).expect("a file").write(&snapshot(1)).expect("written");
        assert_eq!(load(&path, &[8; 16]), None);
        assert_eq!(load(&path, &BOOT), Some(snapshot(1)));
        std::fs::remove_file(path).expect("removed");
    }

    #[test]
    fn a_slot_with_any_flipped_or_missing_byte_is_refused() {
        let mut slot = vec![0; SLOT];
        let length = encode(&mut slot, &BOOT, 3, &snapshot(5)).expect("room");
        assert_eq!(decode(&slot, &BOOT), Some((3, snapshot(5))));
        for at in 0..length {
            let mut bad = slot.clone();
            bad[at] ^= 0x40;
            assert_eq!(decode(&bad, &BOOT), None, "byte {at} flipped");
            assert_eq!(decode(&slot[..at], &BOOT), None, "{at} bytes");
        }
    }

    #[test]
    fn what_does_not_fit_is_refused_and_not_cut() {
        for room in 0..40 {
            assert_eq!(encode(&mut vec![0; room], &BOOT, 1, &snapshot(1)), None, "{room} bytes");
        }
    }

    #[test]
    fn the_boot_id_is_read_from_the_kernel() {
        assert_ne!(boot_id().expect("/proc"), BootId::default());
    }
}
