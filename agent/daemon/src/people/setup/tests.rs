use super::super::scripted::Scripted;
use super::*;
use crate::scratch::Scratch;
use bascule_core::config::document::Document;
use std::cell::RefCell;

const PASSWORD: &str = "correct horse";

/// A box with an agent that accepts everything and notes what it was asked.
struct Box_ {
    dir: Scratch,
    running: String,
    /// What the agent answers to the commit.
    commit: Reply,
    asked: RefCell<Vec<Request>>,
}

impl Box_ {
    fn new(running: &str) -> Self {
        let (dir, asked) = (Scratch::new("setup"), RefCell::default());
        Self { dir, running: running.to_owned(), commit: Reply::Done("Committed.".into()), asked }
    }

    fn place(&self) -> Place {
        let at = |name: &str| self.dir.path().join(name);
        Place { state_dir: at("state"), run_dir: at("run"), origin: "ttyS0".to_owned() }
    }

    fn with<T>(&self, act: impl FnOnce(&Desk<'_>) -> T) -> T {
        let place = self.place();
        let ask = |request: &Request| {
            self.asked.borrow_mut().push(request.clone());
            Ok(match request {
                Request::Configuration => Reply::Lines(self.running.lines().map(str::to_owned).collect()),
                Request::Open { .. } => Reply::Session(SessionId(7), String::new()),
                Request::Commit { .. } => self.commit.clone(),
                _ => Reply::Done(String::new()),
            })
        };
        let ports = || {
            let port = |name: &str, carrier| Port { name: name.parse().unwrap(), carrier };
            vec![port("eth0", false), port("eth1", true), port("eth2", false)]
        };
        let reset = || Ok(());
        act(&Desk { place: &place, now: &monotonic, ask: &ask, ports: &ports, reset: &reset })
    }

    fn first(&self, console: &mut Scripted) -> io::Result<Option<Identity>> {
        self.with(|desk| desk.login(console))
    }

    /// The edits that reached the agent, as they would be typed.
    fn edits(&self) -> Vec<String> {
        let asked = self.asked.borrow();
        asked
            .iter()
            .filter_map(|r| if let Request::Edit { edit, .. } = r { Some(plan::words(edit)) } else { None })
            .collect()
    }

    fn users(&self) -> Found {
        users::load(&self.place().state_dir)
    }
}

const ALL: [&str; 10] = [
    "lb7",
    PASSWORD,
    PASSWORD,
    "eth0",
    "100",
    "192.0.2.11/24",
    "192.0.2.1",
    "192.0.2.53 192.0.2.54",
    "ntp.example.net, 192.0.2.123",
    "eth2 169.254.1.1/30",
];

const ALL_EDITS: [&str; 12] = [
    "set system hostname lb7",
    "set interface eth0.100 vlan parent eth0",
    "set interface eth0.100 vlan id 100",
    "set interface eth0.100 addresses 192.0.2.11/24",
    "set route default to 0.0.0.0/0",
    "set route default via 192.0.2.1",
    "set system name-servers 192.0.2.53",
    "set system name-servers 192.0.2.54",
    "set system ntp-servers ntp.example.net",
    "set system ntp-servers 192.0.2.123",
    "set interface eth2 addresses 169.254.1.1/30",
    "set sync interface eth2",
];

/// What the factory's configuration becomes by `ALL_EDITS`.
const ALL_CONFIG: &str = r#"
[system]
hostname = "lb7"
name-servers = ["192.0.2.53", "192.0.2.54"]
ntp-servers = ["ntp.example.net", "192.0.2.123"]
[interface."eth0.100"]
vlan = { parent = "eth0", id = 100 }
addresses = ["192.0.2.11/24"]
[interface.eth2]
addresses = ["169.254.1.1/30"]
[route.default]
to = "0.0.0.0/0"
via = "192.0.2.1"
[sync]
interface = "eth2"
"#;

#[test]
fn ten_answers_make_a_user_and_an_ordinary_commit_and_log_in() {
    let new = Box_::new("[system]\nhostname = \"bascule\"\n");
    let mut console = Scripted::new(&ALL);
    let who = new.first(&mut console).unwrap().unwrap();
    assert_eq!((who.name.as_str(), who.role), ("admin", Role::Admin));
    assert_eq!(console.asked.len(), 10);
    let hidden: Vec<usize> = (0..10).filter(|&n| !console.asked[n].1).collect();
    assert_eq!(hidden, [1, 2], "only the password is not shown");
    assert!(!console.text().contains(PASSWORD));
    assert_eq!(new.edits(), ALL_EDITS);
    for edit in ALL_EDITS {
        assert!(console.text().contains(edit), "{edit} is told: {}", console.text());
    }
    let asked = new.asked.borrow();
    assert_eq!(asked[1], Request::Open { user: who.name.clone(), how: Open::Private });
    let [.., commit, close] = &asked[..] else { panic!() };
    let comment = Some("setup".to_owned());
    assert_eq!(*commit, Request::Commit { session: SessionId(7), comment, confirmed: None, guard: false });
    assert_eq!(*close, Request::Close { session: SessionId(7), keep: false });
    let Found::Users(users, None) = new.users() else { panic!() };
    assert!(users.authenticate("admin", PASSWORD).is_some());
}

#[test]
fn every_prompt_has_a_default_in_brackets_and_enter_takes_it() {
    let new = Box_::new("");
    let mut console = Scripted::new(&["", PASSWORD, PASSWORD, "", "", "", "", "", "", ""]);
    new.first(&mut console).unwrap().unwrap();
    for (prompt, _) in console.asked.iter().filter(|(_, shown)| *shown) {
        assert!(prompt.trim_end().ends_with("]:"), "{prompt}");
    }
    assert!(
        console.asked[3].0.contains("(eth0 eth1 eth2) [eth1]"),
        "the one with a cable: {:?}",
        console.asked[3]
    );
    assert_eq!(new.edits(), ["set system hostname lb1"]);
}

#[test]
fn ctrl_c_at_any_prompt_leaves_everything_as_it_was() {
    for at in 0..ALL.len() {
        let new = Box_::new("");
        let mut console = Scripted::new(&[&ALL[..at], &["^C"]].concat());
        assert_eq!(new.first(&mut console).unwrap(), None, "at {at}");
        assert_eq!(console.said.last().unwrap(), "Nothing was changed.");
        assert_eq!((new.users(), new.edits()), (Found::Nobody, vec![]), "at {at}");
        assert!(!new.asked.borrow().iter().any(|r| matches!(r, Request::Open { .. })), "at {at}");
    }
}

#[test]
fn wrong_input_is_asked_again_with_the_reason_and_loses_nothing() {
    let mistakes: [(usize, &[&str], &str); 10] = [
        (0, &["no name", "-x", "a b", "name_that_is_longer_than_31_characters"], "is not a name"),
        (1, &["short", "password", "admin123", ""], "characters"),
        (2, &["another"], "differ"),
        (3, &["eth9", "eth 0", "/"], "This box has|this box has|interface name"),
        (4, &["0", "4095", "-1", "ten"], "4094"),
        (
            5,
            &[
                "192.0.2.11",
                "192.0.2.0/24",
                "192.0.2.255/24",
                "224.0.0.1/24",
                "300.1.1.1/24",
                "x/24",
                "1.2.3.4/40",
            ],
            "192.0.2|prefix",
        ),
        (6, &["192.0.3.1", "192.0.2.11", "2001:db8::1", "gateway"], "write"),
        (
            7,
            &["1.1.1.1 2.2.2.2 3.3.3.3 4.4.4.4", "dns.example", "224.0.0.1", "0.0.0.0"],
            "most|not an address",
        ),
        (8, &["a b c d e", "ntp server!", "192.0.2.300"], "most|host name"),
        (
            9,
            &["eth9", "eth2", "eth2 x", "eth2 192.0.2.11/24", "eth2 1.2.3.4/24 more", "eth2 2001:db8::1/64"],
            "eth|Write|write",
        ),
    ];
    for (at, wrong, reason) in mistakes {
        let new = Box_::new("");
        let mut console = Scripted::new(&[&ALL[..at], wrong, &ALL[at..]].concat());
        assert!(new.first(&mut console).unwrap().is_some(), "at {at}: {}", console.text());
        assert_eq!(console.asked.len(), ALL.len() + wrong.len(), "each is asked again: {}", console.text());
        let prompts: Vec<&String> =
            console.asked[at..=at + wrong.len()].iter().map(|(prompt, _)| prompt).collect();
        assert!(prompts.windows(2).all(|pair| pair[0] == pair[1]), "{prompts:?}");
        assert!(
            reason.split('|').any(|reason| console.text().contains(reason)),
            "at {at}: {}",
            console.text()
        );
        assert_eq!(new.edits(), ALL_EDITS, "at {at}");
    }
}

#[test]
fn an_empty_repetition_goes_back_to_the_password() {
    let new = Box_::new("");
    let answers = ["lb1", "mistyped horse", "", PASSWORD, PASSWORD, "", "", "", "", "", "", ""];
    let mut console = Scripted::new(&answers);
    assert!(new.first(&mut console).unwrap().is_some());
    let Found::Users(users, None) = new.users() else { panic!() };
    assert!(users.authenticate("admin", PASSWORD).is_some());
    assert!(users.authenticate("admin", "mistyped horse").is_none());
}

#[test]
fn a_box_without_an_address_takes_no_gateway() {
    let new = Box_::new("");
    let answers = ["", PASSWORD, PASSWORD, "", "", "none", "192.0.2.1", "none", "", "", "eth1", "none"];
    let mut console = Scripted::new(&answers);
    assert!(new.first(&mut console).unwrap().is_some());
    assert!(console.text().contains("reaches no gateway"), "{}", console.text());
    assert!(console.text().contains("eth1 needs an IPv4 address"), "{}", console.text());
}

#[test]
fn setup_again_offers_what_runs_and_changes_only_what_is_answered_otherwise() {
    let again = |answers: &[&str]| {
        let old = Box_::new(ALL_CONFIG);
        let admin: Name = "admin".parse().unwrap();
        Users::first(admin.clone(), Hash::new(PASSWORD).unwrap()).save(&old.place().state_dir).unwrap();
        let mut console = Scripted::new(answers);
        old.with(|desk| desk.setup(&mut console, &Identity { name: admin, role: Role::Admin })).unwrap();
        assert!(console.done(), "{}", console.text());
        (old, console)
    };
    let (old, console) = again(&[""; 9]);
    assert_eq!(old.edits(), Vec::<String>::new());
    assert!(console.text().contains("like that already"), "{}", console.text());
    assert!(console.asked[4].0.contains("[192.0.2.11/24]"), "{:?}", console.asked);

    let (old, _) = again(&["", "", "", "", "192.0.2.12/24", "", "", "none", "none"]);
    assert_eq!(
        old.edits(),
        [
            "delete interface eth0.100 addresses 192.0.2.11/24",
            "set interface eth0.100 addresses 192.0.2.12/24",
            "delete system ntp-servers",
            "delete sync",
        ]
    );
    let (old, _) = again(&["", "", "", "none", "198.51.100.2/24", "", "", "", ""]);
    assert_eq!(
        old.edits(),
        [
            "delete interface eth0.100 addresses 192.0.2.11/24",
            "set interface eth0 addresses 198.51.100.2/24",
            "delete route default",
        ]
    );
    let (old, _) = again(&["", "another horse", "another horse", "", "", "", "", "", "", ""]);
    let Found::Users(users, None) = old.users() else { panic!() };
    assert!(users.authenticate("admin", "another horse").is_some());
}

#[test]
fn a_reader_cannot_run_setup() {
    let old = Box_::new(ALL_CONFIG);
    let mut console = Scripted::new(&[]);
    let eve = Identity { name: "eve".parse().unwrap(), role: Role::ReadOnly };
    old.with(|desk| desk.setup(&mut console, &eve)).unwrap();
    assert_eq!(console.said, ["Only an admin can do this."]);
}

#[test]
fn a_refused_commit_is_told_and_the_owner_is_in_all_the_same() {
    let mut new = Box_::new("");
    new.commit = Reply::Refused(vec!["interface.eth0: the reason".to_owned()]);
    let mut console = Scripted::new(&ALL);
    assert!(new.first(&mut console).unwrap().is_some());
    assert!(
        console.text().contains("the reason") && console.text().contains("not changed"),
        "{}",
        console.text()
    );
    assert_eq!(new.asked.borrow().last(), Some(&Request::Close { session: SessionId(7), keep: false }));
}

#[test]
fn the_second_of_two_consoles_changes_nothing() {
    let new = Box_::new("");
    assert!(new.first(&mut Scripted::new(&ALL)).unwrap().is_some());
    // It was asking its last question meanwhile.
    let mut late = Scripted::new(&["late", "other horse", "other horse", "", "", "", "", "", "", ""]);
    assert_eq!(new.with(|desk| first(desk, &mut late)).unwrap(), None);
    assert!(late.text().contains("on another console"), "{}", late.text());
    let Found::Users(users, None) = new.users() else { panic!() };
    assert!(users.authenticate("admin", PASSWORD).is_some());
}

/// The configuration that these edits make of `before`.
fn applied(before: &str, edits: &[Edit]) -> Config {
    let mut document = Document::parse(before, "before").unwrap();
    for edit in edits {
        document.apply(edit).unwrap_or_else(|misedit| panic!("{}: {misedit:?}", plan::words(edit)));
    }
    let checked = document.check().unwrap_or_else(|problems| panic!("{problems:?}"));
    assert!(checked.warnings.is_empty(), "{:?}", checked.warnings);
    checked.config
}

fn parsed(text: &str) -> Config {
    Config::parse(text, "test").unwrap_or_else(|problems| panic!("{problems:?}")).config
}

/// What the answers make of a configuration.
fn outcome(before: &str, answers: &[&str]) -> Config {
    let box_ = Box_::new(before);
    box_.first(&mut Scripted::new(answers)).unwrap().unwrap();
    let asked = box_.asked.borrow();
    let edits: Vec<Edit> = asked
        .iter()
        .filter_map(|r| if let Request::Edit { edit, .. } = r { Some(edit.clone()) } else { None })
        .collect();
    applied(before, &edits)
}

#[test]
fn the_edits_make_the_configuration_that_was_answered_from_any_before() {
    let factory = "[system]\nhostname = \"bascule\"\n";
    assert_eq!(outcome(factory, &ALL), parsed(ALL_CONFIG));
    assert_eq!(outcome("", &ALL), parsed(ALL_CONFIG));
    assert_eq!(outcome(ALL_CONFIG, &ALL), parsed(ALL_CONFIG));
    // From everything to nothing but a name.
    let least = ["lb8", PASSWORD, PASSWORD, "eth1", "none", "none", "none", "none", "none", "none"];
    let found = outcome(ALL_CONFIG, &least);
    assert_eq!(found.system, parsed("system.hostname = \"lb8\"").system);
    assert!(found.route.is_empty() && found.sync.is_none(), "{found:?}");
    let v6 = [
        "lb8",
        PASSWORD,
        PASSWORD,
        "eth1",
        "none",
        "2001:db8::2/64",
        "2001:db8::1",
        "2001:db8::53",
        "none",
        "none",
    ];
    let found = outcome(ALL_CONFIG, &v6);
    let routes: Vec<String> =
        found.route.values().map(|route| format!("{} {}", route.to, route.via)).collect();
    assert!(routes.contains(&"::/0 2001:db8::1".to_owned()), "{routes:?}");
}
