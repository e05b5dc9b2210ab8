use std::fs;
use std::time::Duration;

use bascule_core::commit::{Event, Guard, Pending, Picture};
use bascule_core::time::Instant;

use super::*;
use crate::scratch::Scratch;
use crate::store::files::Disk;

const GOOD: &str = "[system]\nhostname = \"lb1\"\n";
const BETTER: &str = "[system]\nhostname = \"lb2\"\n";
const BAD: &str = "[system]\nhostnam = \"lb1\"\n[other]\n";

fn at(seconds: u64) -> Instant {
    Instant::from_nanos(seconds * 1_000_000_000)
}

struct Place(Scratch);

impl Place {
    fn new() -> Self {
        let place = Self(Scratch::new("source"));
        fs::write(place.path("factory.toml"), "[system]\nhostname = \"new\"\n[vrrp.x]\ninterface = \"eth0\"\nvrid = 1\naddresses = [\"192.0.2.1/24\"]\n").unwrap();
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, text: &str) {
        fs::write(self.path("bascule.toml"), text).unwrap();
    }

    fn file(&self) -> String {
        fs::read_to_string(self.path("bascule.toml")).unwrap()
    }

    fn source(&self) -> Source<Disk> {
        let store = Revisions::new(Disk, self.path("state/configuration"));
        Source::new(self.path("bascule.toml"), Some(self.path("factory.toml")), store)
    }

    /// A boot.
    fn boot(&self) -> (Source<Disk>, Start) {
        let mut source = self.source();
        let start = source.start(at(0), 1, None);
        (source, start)
    }

    fn booted(&self, text: &str) -> Source<Disk> {
        self.write(text);
        self.boot().0
    }
}

fn hostname(loaded: &Loaded) -> String {
    loaded.config.system.hostname.as_ref().map(ToString::to_string).unwrap_or_default()
}

fn made(user: &str) -> Made {
    Made { user: user.to_owned(), comment: "why".to_owned(), time: 5 }
}

fn named(name: &str) -> String {
    format!("[system]\nhostname = \"{name}\"\n")
}

fn lines(source: &Source<Disk>) -> Vec<(u32, u64, String, bool)> {
    source.commits().into_iter().map(|c| (c.revision, c.generation, c.user, c.unconfirmed)).collect()
}

#[test]
fn a_file_becomes_a_revision_once_and_keeps_the_operators_words() {
    let place = Place::new();
    let text = format!("# mine\n{GOOD}");
    place.write(&text);
    for _ in 0..3 {
        let (source, start) = place.boot();
        assert_eq!((&*hostname(&start.loaded), start.refused), ("lb1", None));
        assert_eq!(lines(&source), [(0, 1, "file".to_owned(), false)]);
        assert_eq!((place.file(), source.alarms()), (text.clone(), &[][..]));
        assert!(start.loaded.origin.contains("bascule.toml"));
    }
}

#[test]
fn a_commit_is_in_the_file_and_in_the_store_and_boots() {
    let place = Place::new();
    let mut source = place.booted(GOOD);
    let loaded = source.commit(BETTER, made("anna"), true).unwrap();
    assert_eq!(hostname(&loaded), "lb2");
    assert!(
        place.file().contains("#: user anna\n#: comment why\n#: confirmed\n[system]\n"),
        "{}",
        place.file()
    );
    let (source, start) = place.boot();
    assert_eq!((&*hostname(&start.loaded), start.refused, source.alarms()), ("lb2", None, &[][..]));
    let expected = [(0, 2, "anna".to_owned(), false), (1, 1, "file".to_owned(), false)];
    assert_eq!(lines(&source), expected);
    assert_eq!((source.text(0).as_deref(), source.text(1).as_deref()), (Ok(BETTER), Ok(GOOD)));
    assert!(source.text(2).unwrap_err().contains("no revision 2"));
    // A file that is lost is made again.
    fs::remove_file(place.path("bascule.toml")).unwrap();
    assert_eq!(hostname(&place.boot().1.loaded), "lb2");
    assert!(place.file().contains("lb2"));
}

#[test]
fn a_file_that_was_edited_on_a_pc_is_taken_at_a_boot_and_at_a_reload() {
    let place = Place::new();
    let mut source = place.booted(GOOD);
    source.commit(BETTER, made("anna"), true).unwrap();
    place.write(&place.file().replace("lb2", "lb3"));
    let (mut source, start) = place.boot();
    assert_eq!((&*hostname(&start.loaded), start.refused), ("lb3", None));
    assert_eq!(source.text(0), Ok(named("lb3")));
    place.write(&place.file().replace("lb3", "lb4"));
    assert_eq!(hostname(&source.reload(9, false).unwrap()), "lb4");
    assert_eq!(hostname(&source.reload(9, false).unwrap()), "lb4");
    let made_by: Vec<_> = source.commits().into_iter().map(|c| (c.generation, c.user)).collect();
    let expected = [(4, "file"), (3, "file"), (2, "anna"), (1, "file")];
    assert_eq!(made_by, expected.map(|(generation, user)| (generation, user.to_owned())));
    // Also when it is an older one that comes back.
    place.write(GOOD);
    assert_eq!(hostname(&place.boot().1.loaded), "lb1");
}

#[test]
fn a_bad_file_is_refused_with_every_reason_and_the_newest_revision_runs() {
    let place = Place::new();
    let mut source = place.booted(GOOD);
    place.write(BAD);
    let lines = source.reload(9, false).unwrap_err();
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(lines[0].contains("bascule.toml:2") && lines[0].contains("hostnam"), "{lines:?}");
    let (source, start) = place.boot();
    assert_eq!((&*hostname(&start.loaded), start.refused), ("lb1", Some(lines)));
    assert!(!source.failsafe());
    place.write("# \u{fffd}");
    fs::write(place.path("bascule.toml"), b"# \xff").unwrap();
    assert!(place.source().reload(9, false).unwrap_err()[0].ends_with("is not UTF-8 text at byte 2"));
}

#[test]
fn without_file_and_revisions_the_factory_configuration_runs_and_its_text_is_the_first_revision() {
    let place = Place::new();
    let (mut source, start) = place.boot();
    assert_eq!((&*hostname(&start.loaded), start.refused, source.failsafe()), ("new", None, false));
    assert_eq!(start.loaded.config.vrrp.len(), 1);
    source.commit(BETTER, made("anna"), true).unwrap();
    assert_eq!(lines(&source)[1], (1, 1, "bascule".to_owned(), false));
    assert!(source.text(1).unwrap().contains("new"));
}

#[test]
fn with_a_bad_file_and_nothing_else_failsafe_runs_without_any_service() {
    let place = Place::new();
    place.write(BAD);
    let (source, start) = place.boot();
    assert_eq!((&*hostname(&start.loaded), source.failsafe()), ("new", true));
    assert!(start.loaded.config.vrrp.is_empty() && start.refused.is_some_and(|lines| lines.len() == 2));
    assert!(start.loaded.origin.contains("factory.toml"), "{}", start.loaded.origin);
    assert!(source.save_rescue(made("anna")).unwrap_err().contains("failsafe"));
    fs::remove_file(place.path("factory.toml")).unwrap();
    let (source, start) = place.boot();
    assert_eq!((*start.loaded.config).clone(), Config::default());
    assert!(source.failsafe() && start.loaded.origin.contains("no configuration"));
}

fn damage(place: &Place, name: &str) {
    let path = place.path("state/configuration").join(name);
    let mut bytes = fs::read(&path).unwrap();
    let at = bytes.len() / 2;
    bytes[at] ^= 1;
    fs::write(path, bytes).unwrap();
}

#[test]
fn a_boot_falls_from_the_newest_to_the_previous_to_rescue_to_failsafe_and_says_so_each_time() {
    let place = Place::new();
    let mut source = place.booted(GOOD);
    source.save_rescue(made("anna")).unwrap();
    for name in ["lb2", "lb3"] {
        source.commit(&named(name), made("anna"), true).unwrap();
    }
    damage(&place, "0000000003.toml");
    let (source, start) = place.boot();
    assert_eq!(hostname(&start.loaded), "lb2");
    assert!(start.loaded.origin.contains("newer ones cannot be used"), "{}", start.loaded.origin);
    assert!(source.alarms()[0].contains("revision 3") && source.alarms()[0].contains("SHA-256"));
    damage(&place, "0000000002.toml");
    damage(&place, "0000000001.toml");
    let (source, start) = place.boot();
    assert_eq!((&*hostname(&start.loaded), source.failsafe()), ("lb1", false));
    assert!(start.loaded.origin.contains("rescue") && source.alarms().len() == 4, "{:?}", source.alarms());
    damage(&place, "rescue.toml");
    let (mut source, start) = place.boot();
    assert_eq!((&*hostname(&start.loaded), source.failsafe()), ("new", true));
    assert!(source.alarms().iter().any(|alarm| alarm.starts_with("failsafe")), "{:?}", source.alarms());
    // And out of it by a commit.
    source.commit(BETTER, made("anna"), true).unwrap();
    assert_eq!((source.failsafe(), source.alarms()), (false, &[][..]));
    assert_eq!(hostname(&place.boot().1.loaded), "lb2");
}

#[test]
fn an_unconfirmed_revision_goes_back_at_a_boot_and_stays_over_a_restart_of_the_agent() {
    let place = Place::new();
    let mut source = place.booted(GOOD);
    source.commit(BETTER, made("anna"), false).unwrap();
    let (generation, previous, within) = (Generation(2), Generation(1), Duration::from_secs(60));
    let guard = Some(Guard::new(Picture::default(), within));
    let left = Pending { generation, previous, within, deadline: at(60), guard };
    let mut restarted = place.source();
    let start = restarted.start(at(59), 9, Some(left.clone()));
    assert_eq!((&*hostname(&start.loaded), start.timer.pending()), ("lb2", Some(&left)));
    // A file that comes now waits.
    place.write(&named("lb9"));
    assert!(restarted.reload(9, true).unwrap_err()[0].contains("confirm"));
    place.write(&restarted.running.as_ref().unwrap().print());
    let (source, start) = place.boot();
    assert_eq!((&*hostname(&start.loaded), start.timer.pending()), ("lb1", None));
    assert!(source.alarms()[0].contains("revision 2 went back: not confirmed before the box restarted"));
    let expected =
        [(0, 3, "bascule".into(), false), (1, 2, "anna".into(), true), (2, 1, "file".into(), false)];
    assert_eq!(lines(&source), expected);
    assert!(place.file().contains("lb1"), "the file goes back too");
    assert_eq!(place.boot().0.generation(), Some(Generation(3)), "once");
}

#[test]
fn a_confirmed_one_boots() {
    let place = Place::new();
    let mut source = place.booted(GOOD);
    source.commit(BETTER, made("anna"), false).unwrap();
    source.confirm().unwrap();
    let (source, start) = place.boot();
    assert_eq!((&*hostname(&start.loaded), source.generation()), ("lb2", Some(Generation(2))));
    let mut timer = start.timer;
    assert_eq!(timer.handle(at(999), Event::Timer), None);
}

#[test]
fn a_state_directory_that_cannot_be_written_does_not_refuse_a_good_file() {
    let place = Place::new();
    place.write(GOOD);
    fs::write(place.path("state"), "in the way").unwrap();
    let (mut source, start) = place.boot();
    assert_eq!(hostname(&start.loaded), "lb1");
    assert!(!source.alarms().is_empty());
    let lines = source.commit(BETTER, made("anna"), true).unwrap_err();
    assert_eq!(lines.last().map(String::as_str), Some("the running configuration is as it was"));
    place.write(BETTER);
    assert_eq!(hostname(&source.reload(9, false).unwrap()), "lb2");
}

#[test]
fn a_candidate_that_is_not_good_is_not_kept() {
    let place = Place::new();
    let mut source = place.booted(GOOD);
    assert_eq!(source.commit(BAD, made("anna"), true).unwrap_err().len(), 2);
    assert_eq!((source.commits().len(), place.file().as_str()), (1, GOOD));
}

#[test]
fn failsafe_that_was_wanted_reads_nothing_of_the_operators_and_changes_nothing_in_the_store() {
    let place = Place::new();
    place.booted(GOOD).commit(&named("lb2"), made("anna"), true).unwrap();
    let mut source = place.source();
    let start = source.start_failsafe(Instant::ZERO, "asked for on ttyS0");
    assert_eq!((&*hostname(&start.loaded), source.failsafe()), ("new", true));
    assert!(start.loaded.config.vrrp.is_empty() && start.loaded.config.virtual_server.is_empty());
    assert!(
        source.alarms().iter().any(|alarm| alarm.contains("asked for on ttyS0")),
        "{:?}",
        source.alarms()
    );
    assert_eq!(hostname(&place.boot().1.loaded), "lb2", "the next start is an ordinary one");
}
