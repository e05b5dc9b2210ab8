use super::*;
use crate::scratch::Scratch;
use std::fs::File;
use std::os::unix::fs::PermissionsExt as _;

const STATE: &str = "PARTUUID=state";
const OWNER: &str = "PARTUUID=data";
const SECTOR: usize = 512;

/// A file as state partition, whose power goes after so many sectors that were written.
struct Cut {
    area: Area,
    sectors: usize,
    writes: usize,
}

impl Medium for Cut {
    fn read(&mut self, at: u64, length: usize) -> io::Result<Vec<u8>> {
        self.area.read(at, length)
    }

    fn write(&mut self, at: u64, bytes: &[u8]) -> io::Result<()> {
        self.writes += 1;
        let room = self.sectors.saturating_mul(SECTOR);
        if room < bytes.len() {
            self.sectors = 0;
            self.area.write(at, &bytes[..room])?;
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        self.sectors -= bytes.len().div_ceil(SECTOR);
        self.area.write(at, bytes)
    }
}

struct Bench {
    dir: Scratch,
}

impl Bench {
    fn new() -> Self {
        let dir = Scratch::new("spare");
        File::create(dir.path().join("disk")).unwrap().set_len(8 << 20).unwrap();
        let bench = Self { dir };
        fs::create_dir_all(bench.data().join("config")).unwrap();
        fs::create_dir_all(bench.data().join("state/configuration")).unwrap();
        bench
    }

    fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    fn put(&self, name: &str, content: &str) {
        fs::write(self.data().join(name), content).unwrap();
    }

    fn cut_after(&self, sectors: usize) -> Cut {
        Cut { area: Area::open(&self.dir.path().join("disk")).unwrap(), sectors, writes: 0 }
    }

    fn follow_on(&self, medium: &mut Cut) -> Result<Followed, SpareError> {
        let data = self.data();
        follow(medium, STATE, OWNER, &data, &traces(&data)?, 1_790_000_000, || false)
    }

    /// Follows with a disk that does not fail; how many writes it took.
    fn follow(&self) -> usize {
        let mut medium = self.cut_after(usize::MAX);
        assert_eq!(self.follow_on(&mut medium).unwrap(), Followed::Done(Vec::new()));
        medium.writes
    }

    fn found(&self) -> [Found; 2] {
        look(&mut self.cut_after(0), OWNER).unwrap()
    }

    /// The configuration that a box without its data partition gets, and its directory.
    fn restored(&self) -> Option<String> {
        let memory = Scratch::new("memory");
        restore_from(&mut self.cut_after(0), OWNER, memory.path()).unwrap()?;
        Some(fs::read_to_string(memory.path().join("config/bascule.toml")).unwrap())
    }
}

fn set_up() -> Bench {
    let bench = Bench::new();
    bench.put("config/bascule.toml", "first");
    bench.put("config/ca.pem", "authority");
    bench.put("state/users.toml", "people");
    bench
}

#[test]
fn what_a_box_needs_comes_back_for_root_alone_and_nothing_else_does() {
    let bench = set_up();
    bench.put("config/bascule.toml.new", "half");
    bench.put("state/audit.log", "history");
    bench.put("state/peer.key", "secret");
    bench.put("state/maintenance", "entered by admin");
    bench.put("state/configuration/1", "revision");
    assert_eq!(bench.follow(), 2);
    let memory = Scratch::new("memory");
    let taken = restore_from(&mut bench.cut_after(0), OWNER, memory.path()).unwrap();
    assert_eq!(taken, Some(1_790_000_000));
    let mut names = Vec::new();
    for folder in ["config", "state"] {
        let folder = memory.path().join(folder);
        assert_eq!(fs::metadata(&folder).unwrap().permissions().mode() & 0o777, 0o700);
        for entry in fs::read_dir(folder).unwrap().flatten() {
            assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{entry:?}");
            names.push(entry.file_name().into_string().unwrap());
        }
    }
    names.sort();
    assert_eq!(names, ["bascule.toml", "ca.pem", "maintenance", "peer.key", "users.toml"]);
    assert_eq!(fs::read_to_string(memory.path().join("state/users.toml")).unwrap(), "people");
}

#[test]
fn what_is_there_is_not_written_again_and_no_place_keeps_what_was() {
    let bench = set_up();
    assert_eq!(bench.follow(), 2);
    assert_eq!(bench.follow(), 0);
    bench.put("state/users.toml", "other people");
    assert_eq!(bench.follow(), 2);
    let [zero, one] = bench.found();
    assert_eq!(zero.unwrap().contents, one.unwrap().contents, "an old password opens the box");
}

#[test]
fn a_power_cut_at_any_sector_leaves_the_copy_before_or_the_new_one() {
    let bench = set_up();
    bench.put("config/bascule.toml", &"first ".repeat(500));
    bench.follow();
    let before = fs::read(bench.dir.path().join("disk")).unwrap();
    let (old, new) = ("first ".repeat(500), "second ".repeat(600));
    bench.put("config/bascule.toml", &new);
    let mut cuts = 0;
    for sectors in 0.. {
        fs::write(bench.dir.path().join("disk"), &before).unwrap();
        let done = bench.follow_on(&mut bench.cut_after(sectors)).is_ok();
        let restored = bench.restored().expect("a copy");
        assert!(restored == new || (restored == old && !done), "cut after {sectors} sectors");
        // The next start brings both up to date.
        bench.follow();
        let [zero, one] = bench.found();
        assert_eq!(zero.unwrap().contents, one.unwrap().contents);
        if done {
            break;
        }
        cuts += 1;
    }
    assert!(cuts > 10, "{cuts}");
}

#[test]
fn a_data_partition_that_is_new_gets_nothing_of_an_earlier_life_and_leaves_nothing_of_it() {
    let bench = set_up();
    bench.follow();
    // As after a factory reset: nothing, and no mark.
    fs::remove_dir_all(bench.data()).unwrap();
    bench.follow();
    assert_eq!(bench.found(), [Err(spare::Damage::Empty), Err(spare::Damage::Empty)]);
    // A box that was set up before the first look, on which the wipe of the reset had failed.
    let bench = set_up();
    bench.follow();
    fs::remove_dir_all(bench.data()).unwrap();
    fs::create_dir_all(bench.data().join("config")).unwrap();
    bench.put("config/bascule.toml", "second life");
    for sectors in 0..20 {
        let _ = bench.follow_on(&mut bench.cut_after(sectors));
        assert!(bench.restored().is_none_or(|text| text == "second life") || sectors < 16, "after {sectors}");
    }
    bench.follow();
    assert_eq!(bench.restored().as_deref(), Some("second life"));
}

#[test]
fn a_file_system_that_lost_everything_leaves_the_copy() {
    let bench = set_up();
    bench.follow();
    for name in ["config/bascule.toml", "config/ca.pem", "state/users.toml"] {
        fs::remove_file(bench.data().join(name)).unwrap();
    }
    assert_eq!(bench.follow(), 0);
    assert_eq!(bench.restored().as_deref(), Some("first"));
}

#[test]
fn nothing_is_copied_while_a_commit_may_go_back_or_the_box_is_to_be_wiped() {
    let bench = set_up();
    let data = bench.data();
    let mut medium = bench.cut_after(usize::MAX);
    let waiting = follow(&mut medium, STATE, OWNER, &data, &traces(&data).unwrap(), 0, || true);
    assert_eq!(waiting.unwrap(), Followed::Later);
    bench.put("factory-reset", "");
    assert_eq!(bench.follow_on(&mut medium).unwrap(), Followed::Later);
    assert_eq!((medium.writes, bench.restored()), (0, None));
}

#[test]
fn a_wipe_reaches_every_byte_of_both_places_and_none_before_them() {
    let bench = set_up();
    let disk = bench.dir.path().join("disk");
    let mut bytes = vec![0xaa; 8 << 20];
    fs::write(&disk, &bytes).unwrap();
    assert!(wipe_on(&mut bench.cut_after(usize::MAX)).unwrap());
    bytes[usize::try_from(PLACES[0]).unwrap()..].fill(0);
    assert!(fs::read(&disk).unwrap() == bytes);
    assert!(!wipe_on(&mut bench.cut_after(usize::MAX)).unwrap());
}

#[test]
fn the_boot_records_are_never_written_to_and_a_small_partition_is_refused() {
    let bench = set_up();
    let disk = bench.dir.path().join("disk");
    let mut area = Area::open(&disk).unwrap();
    for at in [0, 8_192, PLACES[0] - 1, PLACES[1] + PLACE_LEN as u64] {
        assert!(area.write(at, b"x").is_err(), "{at}");
    }
    bench.follow();
    let start = usize::try_from(PLACES[0]).unwrap();
    assert!(fs::read(&disk).unwrap()[..start].iter().all(|byte| *byte == 0));
    File::create(&disk).unwrap().set_len((8 << 20) - 1).unwrap();
    assert!(matches!(Area::open(&disk), Err(SpareError::Small(_))));
}

#[test]
fn a_file_that_does_not_fit_is_named_and_the_configuration_is_kept() {
    let bench = set_up();
    bench.put("config/a.bin", &"x".repeat(PLACE_LEN));
    bench.put("config/b.bin", &"x".repeat(PLACE_LEN - 200));
    let followed = bench.follow_on(&mut bench.cut_after(usize::MAX)).unwrap();
    assert_eq!(followed, Followed::Done(vec!["config/a.bin".to_owned(), "config/b.bin".to_owned()]));
    assert_eq!(bench.restored().as_deref(), Some("first"));
}

#[test]
fn a_disk_that_lies_or_fails_is_told() {
    struct Liar(Cut);
    impl Medium for Liar {
        fn read(&mut self, at: u64, length: usize) -> io::Result<Vec<u8>> {
            self.0.read(at, length)
        }
        fn write(&mut self, at: u64, bytes: &[u8]) -> io::Result<()> {
            let mut stored = bytes.to_vec();
            stored.iter_mut().last().into_iter().for_each(|byte| *byte ^= 1);
            self.0.write(at, &stored)
        }
    }
    let bench = set_up();
    let data = bench.data();
    let mut liar = Liar(bench.cut_after(usize::MAX));
    let told = follow(&mut liar, STATE, OWNER, &data, &traces(&data).unwrap(), 0, || false);
    assert!(matches!(told, Err(SpareError::Differs)), "{told:?}");
    let failing = bench.follow_on(&mut bench.cut_after(0)).unwrap_err().to_string();
    assert!(failing.contains("write the spare copy") && failing.contains("replace the disk"), "{failing}");
}
