use bascule_core::control::Form;

use super::*;
use crate::run::view::view;
use crate::scratch::Scratch;

const BASE: &str = "[system]\nhostname = \"lb1\"\n\n[virtual-server.web]\naddress = \"192.0.2.1\"\nport = 80\n\n\
                    [virtual-server.mail]\naddress = \"192.0.2.1\"\nport = 25\n";

fn at(minutes: u64) -> Instant {
    Instant::from_nanos(minutes * 60_000_000_000)
}

fn user(name: &str) -> Name {
    name.parse().unwrap()
}

fn set(line: &str) -> Edit {
    Edit::Set(line.split(' ').map(str::to_owned).collect())
}

fn delete(line: &str) -> Edit {
    Edit::Delete(line.split(' ').map(str::to_owned).collect())
}

struct Desk {
    scratch: Scratch,
    sessions: Sessions,
    running: Running,
}

impl Desk {
    fn new() -> Self {
        let scratch = Scratch::new("sessions");
        let sessions = Sessions::resume(scratch.path(), [1; 16]);
        Self { scratch, sessions, running: Running::new(BASE) }
    }

    fn open(&mut self, name: &str, how: Open) -> Result<SessionId, Refusal> {
        self.sessions.open(at(0), &user(name), how, &self.running).map(|(id, _)| id)
    }

    fn edit(&mut self, id: SessionId, line: &str) {
        self.sessions.edit(at(0), id, &set(line), &self.running).unwrap();
    }

    fn commit(&mut self, id: SessionId) -> Result<(), Vec<String>> {
        match self.sessions.merged(at(0), id, &self.running) {
            Ok((_, Some(merged))) => {
                self.running = Running::new(&merged.print());
                self.sessions.committed(id, &self.running);
                Ok(())
            }
            Ok((_, None)) => Ok(()),
            Err(Refusal::Lines(lines)) => Err(lines),
            Err(Refusal::Misedit(misedit)) => panic!("{misedit:?}"),
        }
    }

    fn shown(&mut self, id: SessionId) -> String {
        self.sessions.candidate(at(0), id, &self.running).unwrap().print()
    }

    /// The agent is started again.
    fn restart(&mut self) {
        self.sessions = Sessions::resume(self.scratch.path(), [1; 16]);
    }
}

fn refusal(result: Result<impl std::fmt::Debug, Refusal>) -> String {
    match result.unwrap_err() {
        Refusal::Lines(lines) => lines.join("\n"),
        Refusal::Misedit(misedit) => misedit.reason,
    }
}

#[test]
fn a_candidate_is_changed_committed_and_then_is_what_runs() {
    let mut desk = Desk::new();
    let id = desk.open("anna", Open::Private).unwrap();
    assert!(!desk.sessions.uncommitted(id));
    desk.edit(id, "virtual-server web port 81");
    assert!(desk.sessions.uncommitted(id) && desk.running.text() == BASE);
    desk.commit(id).unwrap();
    assert!(!desk.sessions.uncommitted(id) && desk.running.text().contains("port = 81"));
    let wrong = desk.sessions.edit(at(0), id, &set("virtual-server web prox 81"), &desk.running);
    assert!(matches!(wrong, Err(Refusal::Misedit(Misedit { word: 2, .. }))), "{wrong:?}");
    assert!(!desk.sessions.uncommitted(id), "a wrong edit changes nothing");
}

#[test]
fn changes_to_different_objects_are_merged_and_to_the_same_one_refused() {
    let mut desk = Desk::new();
    let (a, b, c) = (
        desk.open("anna", Open::Private).unwrap(),
        desk.open("ben", Open::Private).unwrap(),
        desk.open("carl", Open::Private).unwrap(),
    );
    desk.edit(a, "virtual-server web port 81");
    desk.edit(b, "virtual-server mail port 26");
    desk.edit(c, "virtual-server web scheduler rr");
    desk.commit(a).unwrap();
    desk.commit(b).unwrap();
    assert!(desk.running.text().contains("port = 81") && desk.running.text().contains("port = 26"));
    let lines = desk.commit(c).unwrap_err();
    assert_eq!(lines[0], "virtual-server web was changed by another commit meanwhile");
    assert!(lines[1].contains("discard") && !desk.running.text().contains("rr"));
    desk.sessions.discard(at(0), c, &desk.running).unwrap();
    desk.edit(c, "virtual-server web scheduler rr");
    desk.commit(c).unwrap();
    assert!(desk.running.text().contains("port = 81") && desk.running.text().contains("scheduler = \"rr\""));
}

#[test]
fn the_same_change_by_two_is_no_conflict_and_a_deletion_is_merged_too() {
    let mut desk = Desk::new();
    let (a, b) = (desk.open("anna", Open::Private).unwrap(), desk.open("ben", Open::Private).unwrap());
    desk.edit(a, "virtual-server web port 81");
    desk.edit(b, "virtual-server web port 81");
    desk.sessions.edit(at(0), b, &delete("virtual-server mail"), &desk.running).unwrap();
    desk.commit(a).unwrap();
    desk.commit(b).unwrap();
    assert!(desk.running.text().contains("port = 81") && !desk.running.text().contains("mail"));
}

#[test]
fn a_candidate_without_changes_follows_what_runs() {
    let mut desk = Desk::new();
    let (a, b) = (desk.open("anna", Open::Private).unwrap(), desk.open("ben", Open::Private).unwrap());
    desk.edit(a, "virtual-server web port 81");
    desk.commit(a).unwrap();
    assert!(!desk.sessions.uncommitted(b) && desk.shown(b).contains("port = 81"));
}

#[test]
fn a_bad_candidate_is_refused_with_every_error_and_the_words_of_the_shell() {
    let mut desk = Desk::new();
    let id = desk.open("anna", Open::Private).unwrap();
    desk.sessions.edit(at(0), id, &delete("virtual-server web port"), &desk.running).unwrap();
    desk.sessions.edit(at(0), id, &delete("virtual-server mail address"), &desk.running).unwrap();
    let lines = desk.commit(id).unwrap_err();
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(
        lines.iter().any(|line| line.starts_with("virtual-server web") && line.contains("port")),
        "{lines:?}"
    );
    assert_eq!(desk.running.text(), BASE);
}

#[test]
fn who_works_alone_keeps_others_out_until_the_line_is_gone() {
    let mut desk = Desk::new();
    let a = desk.open("anna", Open::Private).unwrap();
    assert!(refusal(desk.open("ben", Open::Exclusive)).contains("anna works on the configuration"));
    desk.sessions.close(at(0), a, false).unwrap();
    let b = desk.open("ben", Open::Exclusive).unwrap();
    desk.edit(b, "virtual-server web port 81");
    assert!(refusal(desk.open("anna", Open::Private)).contains("ben works on the configuration alone"));
    assert!(desk.sessions.close(at(0), b, true).unwrap().contains("30 min"));
    let a = desk.open("anna", Open::Private).unwrap();
    assert!(
        refusal(desk.open("anna", Open::Resume).map(|_| ()).and(desk.open("carl", Open::Resume)))
            .contains("no candidate")
    );
    assert!(desk.sessions.close(at(0), a, true).is_err(), "it was taken over");
}

#[test]
fn a_candidate_outlives_its_line_for_30_minutes_and_the_agent() {
    let mut desk = Desk::new();
    let id = desk.open("anna", Open::Private).unwrap();
    desk.edit(id, "virtual-server web port 81");
    desk.restart();
    assert!(desk.sessions.uncommitted(id) && desk.shown(id).contains("port = 81"));
    desk.sessions.close(at(0), id, true).unwrap();
    desk.restart();
    desk.sessions.expire(at(29));
    let (again, told) = desk.sessions.open(at(29), &user("anna"), Open::Resume, &desk.running).unwrap();
    assert!(again != id && told.contains("29 min ago") && desk.shown(again).contains("port = 81"));
    assert!(refusal(desk.sessions.close(at(29), id, true)).contains("gone"));
    desk.sessions.close(at(30), again, true).unwrap();
    desk.sessions.expire(at(60));
    assert!(refusal(desk.open("anna", Open::Resume)).contains("no candidate of yours is kept"));
    // Another boot finds nothing.
    desk.open("anna", Open::Private).unwrap();
    assert!(Sessions::resume(desk.scratch.path(), [2; 16]).open.is_empty());
}

#[test]
fn a_resumed_candidate_is_still_merged_with_what_was_committed_meanwhile() {
    let mut desk = Desk::new();
    let (a, b) = (desk.open("anna", Open::Private).unwrap(), desk.open("ben", Open::Private).unwrap());
    desk.edit(a, "virtual-server web port 81");
    desk.sessions.close(at(0), a, true).unwrap();
    desk.edit(b, "virtual-server mail port 26");
    desk.commit(b).unwrap();
    desk.restart();
    let a = desk.open("anna", Open::Resume).unwrap();
    desk.commit(a).unwrap();
    assert!(desk.running.text().contains("port = 81") && desk.running.text().contains("port = 26"));
}

#[test]
fn candidates_are_bounded_in_number() {
    let mut desk = Desk::new();
    for _ in 0..MOST {
        desk.open("anna", Open::Private).unwrap();
    }
    assert!(refusal(desk.open("anna", Open::Private)).contains("32 candidates"));
}

#[test]
fn an_older_revision_replaces_the_candidate_and_is_compared() {
    let mut desk = Desk::new();
    let id = desk.open("anna", Open::Private).unwrap();
    let older = Document::parse("[system]\nhostname = \"old\"\n", "old").unwrap();
    desk.sessions.load(at(0), id, &desk.running, older).unwrap();
    let candidate = desk.sessions.candidate(at(0), id, &desk.running).unwrap();
    let lines = view(candidate, &[], Form::Compare(0), desk.running.document()).unwrap();
    assert!(lines.iter().any(|line| line.starts_with("+") && line.contains("old")), "{lines:?}");
    let path = ["system".to_owned()];
    let only = view(candidate, &path, Form::Compare(0), desk.running.document()).unwrap();
    assert!(!only.is_empty() && only.len() < lines.len(), "{only:?}");
    let set = view(candidate, &[], Form::Set, desk.running.document()).unwrap();
    assert_eq!(set, ["set system hostname old"]);
    let json = view(candidate, &[], Form::Json, desk.running.document()).unwrap().concat();
    assert!(json.contains("\"hostname\": \"old\""), "{json}");
    let missing = view(candidate, &["virtual-server".to_owned()], Form::Text, desk.running.document());
    assert!(matches!(missing, Err(Refusal::Misedit(_))), "{missing:?}");
}
