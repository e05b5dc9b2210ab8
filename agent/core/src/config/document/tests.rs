//! Documents: the text and back, commands, edits, differences.

use super::*;
use crate::config::edit::Edit;

fn document(text: &str) -> Document {
    match Document::parse(text, "f") {
        Ok(document) => document,
        Err(problems) => panic!("{}", problems.iter().map(Problem::render).collect::<String>()),
    }
}

fn words(line: &str) -> Vec<String> {
    crate::config::words::split(line).into_iter().map(|word| word.text).collect()
}

/// Applies `set` lines to nothing.
fn made(lines: &[&str]) -> Document {
    let mut document = Document::default();
    for line in lines {
        set(&mut document, line).unwrap_or_else(|misedit| panic!("{line}: {misedit:?}"));
    }
    document
}

fn set(document: &mut Document, line: &str) -> Result<(), Misedit> {
    document.apply(&Edit::Set(words(line)))
}

const WEB: [&str; 9] = [
    "system hostname lb1",
    "interface eth0 addresses 192.0.2.11/24",
    "vrrp web interface eth0 vrid 51 priority 150",
    "vrrp web addresses 192.0.2.100/24",
    "vrrp web addresses 10.1.0.1/24 interface eth1",
    "virtual-server web address 192.0.2.100 port 80",
    "virtual-server web check kind tcp",
    "virtual-server web real-server 10.1.0.21:80 weight 2",
    "virtual-server web real-server 10.1.0.22:80",
];

const WEB_TEXT: &str = "[system]\n\
    hostname = \"lb1\"\n\
    \n\
    [interface.eth0]\n\
    addresses = [\"192.0.2.11/24\"]\n\
    \n\
    [vrrp.web]\n\
    interface = \"eth0\"\n\
    vrid = 51\n\
    priority = 150\n\
    addresses = [\"192.0.2.100/24\", { address = \"10.1.0.1/24\", interface = \"eth1\" }]\n\
    \n\
    [virtual-server.web]\n\
    address = \"192.0.2.100\"\n\
    port = 80\n\
    check = { kind = \"tcp\" }\n\
    real-server.\"10.1.0.21:80\" = { weight = 2 }\n\
    real-server.\"10.1.0.22:80\" = {}\n";

#[test]
fn set_lines_make_the_canonical_text_that_the_model_reads() {
    let document = made(&WEB);
    assert_eq!(document.print(), WEB_TEXT);
    assert_eq!(Document::parse(WEB_TEXT, "f"), Ok(document.clone()));
    assert!(document.check().is_ok(), "{:?}", document.check());
}

/// Applies an edit that is possible.
fn edited(document: &Document, edit: Edit) -> Document {
    let mut document = document.clone();
    document.apply(&edit).unwrap_or_else(|misedit| panic!("{edit:?}: {misedit:?}"));
    document
}

/// The wrong word and the reason of a `set` that is refused.
fn refused(line: &str) -> (usize, String) {
    let mut document = made(&WEB);
    let misedit = set(&mut document, line).expect_err("it is refused");
    assert_eq!(document, made(&WEB), "nothing was changed");
    (misedit.word, misedit.reason)
}

/// The shell's view of an edit that cannot be.
fn misedit(edit: Edit) -> (usize, String) {
    let misedit = made(&WEB).apply(&edit).expect_err("it is refused");
    (misedit.word, misedit.reason)
}

#[test]
fn keys_may_be_abbreviated_and_names_may_not() {
    let mut document = made(&["virtual-server web address 192.0.2.100 port 80"]);
    set(&mut document, "virt web real 10.1.0.21:80 wei 3").expect("unique prefixes");
    assert_eq!(document.names(&["virtual-server", "web", "real-server"]), ["10.1.0.21:80"]);
    set(&mut document, "virt we port 81").expect("a new name");
    assert_eq!(document.names(&["virtual-server"]), ["web", "we"], "never guessed");
    let (word, reason) = refused("v web port 80");
    assert_eq!((word, reason.as_str()), (0, "\"v\" can mean vrrp, virtual-server"));
}

#[test]
fn a_value_is_checked_by_its_type_when_it_is_typed() {
    let told = [
        (
            "virtual-server web real-server 10.1.0.21:80 weight 70000",
            5,
            "weight 70000 is out of range: use 0 (no new connections) to 65535",
        ),
        (
            "virtual-server web real-server 10.1.0.21:80 weight many",
            5,
            "string \"many\" cannot stand here: write a whole number from 0 to 65535",
        ),
        ("virtual-server web real-server 10.1.0.21:0", 3, "port 0 cannot carry a service: use 1 to 65535"),
        (
            "vrrp w,b vrid 3",
            1,
            "\"w,b\" is not a name: 1 to 31 of a-z A-Z 0-9 . _ -, first a letter or digit",
        ),
        ("vrrp web preempt perhaps", 3, "string \"perhaps\" cannot stand here: write true or false"),
        ("virtual-server web protocol udpp", 3, "\"udpp\" is not possible here: did you mean \"udp\"?"),
        (
            "interface eth0 addresses 192.0.2.300/24",
            3,
            "\"192.0.2.300/24\" is not an address with prefix length: write 192.0.2.1/24 or 2001:db8::1/64",
        ),
        (
            "vrrp web addresses 10.1.0.2/24 interface a/b",
            5,
            "\"a/b\" is not an interface name: 1 to 15 characters, no blank, no '/'",
        ),
        (
            "vrrp web vrid 51 priority 300",
            5,
            "priority 300 is out of range: use 1 to 254 (255 only on the owner of the addresses)",
        ),
    ];
    for (line, word, reason) in told {
        assert_eq!(refused(line), (word, reason.to_owned()), "{line}");
    }
}

#[test]
fn a_word_that_is_missing_is_told_with_what_can_follow() {
    assert_eq!(refused("vrrp"), (1, "a name is missing: <name>".to_owned()));
    assert_eq!(refused("vrrp web vrid"), (3, "a value is missing: <1-255>".to_owned()));
    assert_eq!(refused("vrrp web addresses"), (3, "an element is missing: <address/length>".to_owned()));
    assert_eq!(refused(""), (0, "a path is missing".to_owned()));
    assert_eq!(refused("vrrp web vird 3"), (2, "unknown key \"vird\": did you mean vrid?".to_owned()));
    let mut document = Document::default();
    let misedit = set(&mut document, "virtual-server web forward").expect_err("no value");
    assert_eq!(misedit.possible, ["nat", "dr"]);
}

#[test]
fn one_spelling_of_a_value_is_kept() {
    let document = made(&[
        "interface eth0 addresses 2001:DB8:0::1/64",
        "virtual-server web real-server [2001:DB8::0:21]:80",
        "vrrp web preempt-delay 60s",
    ]);
    assert_eq!(document.names(&["interface", "eth0", "addresses"]), ["2001:db8::1/64"]);
    assert_eq!(document.names(&["virtual-server", "web", "real-server"]), ["[2001:db8::21]:80"]);
    assert!(document.print().contains("preempt-delay = \"1m\""), "{}", document.print());
    let gone = edited(&document, Edit::Delete(words("interface eth0 addresses 2001:db8::0:1/64")));
    assert_eq!(gone.names(&["interface", "eth0", "addresses"]), [""; 0]);
    let file = document.print().replace("2001:db8::1/64", "2001:DB8:0:0::1/64");
    assert_eq!(self::document(&file), document);
}

#[test]
fn setting_a_list_adds_and_deleting_takes_one_element() {
    let two = made(&["interface eth0 addresses 192.0.2.11/24", "interface eth0 addresses 192.0.2.12/24"]);
    assert_eq!(two.names(&["interface", "eth0", "addresses"]), ["192.0.2.11/24", "192.0.2.12/24"]);
    let again = edited(&two, Edit::Set(words("interface eth0 addresses 192.0.2.11/24")));
    assert_eq!(again, two, "once is enough");
    let one = edited(&two, Edit::Delete(words("interface eth0 addresses 192.0.2.11/24")));
    assert_eq!(one.print(), "[interface.eth0]\naddresses = [\"192.0.2.12/24\"]\n");
    let none = edited(&one, Edit::Delete(words("int eth0 addresses 192.0.2.12/24")));
    assert_eq!(none.print(), "[interface.eth0]\n", "the interface stays, an empty list says nothing");
}

#[test]
fn a_virtual_address_on_another_interface_is_one_line_of_words() {
    let document = made(&["vrrp web addresses 10.1.0.1/24 interface eth1"]);
    assert_eq!(document.set_lines(), ["set vrrp web addresses 10.1.0.1/24 interface eth1"]);
    let here = edited(&document, Edit::Delete(words("vrrp web addresses 10.1.0.1/24 interface")));
    assert_eq!(here.print(), "[vrrp.web]\naddresses = [\"10.1.0.1/24\"]\n", "back to the adverts' interface");
    let (word, reason) = refused("vrrp web addresses 10.1.0.1/24 address 10.1.0.2/24");
    assert_eq!((word, reason.as_str()), (4, "unknown key \"address\""), "the element is its address");
}

#[test]
fn deleting_takes_fixed_tables_that_are_left_empty_and_keeps_named_objects() {
    let document = made(&WEB);
    let less = edited(&document, Edit::Delete(words("system hostname")));
    assert_eq!(less.names::<&str>(&[]), ["interface", "vrrp", "virtual-server"]);
    let less = edited(&less, Edit::Delete(words("virtual-server web check kind")));
    assert!(!less.contains(&["virtual-server", "web", "check"]));
    let less = edited(&less, Edit::Delete(words("virtual-server web real-server 10.1.0.21:80 weight 2")));
    assert!(
        less.contains(&["virtual-server", "web", "real-server", "10.1.0.21:80"]),
        "a server is not its weight"
    );
    let less = edited(&less, Edit::Delete(words("vrrp web")));
    assert!(!less.contains(&["vrrp"]), "no virtual router is no section");
}

#[test]
fn what_is_not_there_cannot_be_deleted_and_the_nearest_is_named() {
    assert_eq!(
        misedit(Edit::Delete(words("virtual-server wbe"))),
        (1, "virtual-server has no wbe: did you mean web?".to_owned())
    );
    assert_eq!(
        misedit(Edit::Delete(words("vrrp web priority 100"))),
        (3, "the value is 150".to_owned()),
        "a value that is named is the one that is meant"
    );
    assert_eq!(misedit(Edit::Delete(vec![])).0, 0, "not everything by mistake");
    let (word, reason) = misedit(Edit::Deactivate(words("sync")));
    assert_eq!((word, reason.as_str()), (0, "the configuration has no sync"));
}

#[test]
fn what_is_deactivated_stays_in_the_text_and_counts_no_more() {
    let document = made(&WEB);
    let without = edited(&document, Edit::Deactivate(words("virtual-server web real-server 10.1.0.21:80")));
    let line = "#~ real-server.\"10.1.0.21:80\" = { weight = 2 }\n";
    assert!(without.print().contains(line), "{}", without.print());
    let checked = without.check().expect("valid");
    assert_eq!(checked.config.virtual_server.values().next().map(|web| web.real_server.len()), Some(1));
    assert_eq!(
        without.json()["virtual-server"]["web"]["real-server"].as_object().map(|map| map.len()),
        Some(1)
    );
    assert_eq!(self::document(&without.print()), without);
    assert_eq!(
        edited(&without, Edit::Activate(words("virtual-server web real-server 10.1.0.21:80"))),
        document
    );

    let alone = edited(&document, Edit::Deactivate(words("vrrp web addresses 10.1.0.1/24")));
    let line = "addresses = [\n    \"192.0.2.100/24\",\n#~     { address = \"10.1.0.1/24\", interface = \"eth1\" },\n]\n";
    assert!(alone.print().contains(line), "{}", alone.print());
    assert_eq!(self::document(&alone.print()), alone);
}

#[test]
fn a_deactivated_object_remembers_what_was_deactivated_in_it() {
    let inner = edited(&made(&WEB), Edit::Deactivate(words("vrrp web priority")));
    let outer = edited(&inner, Edit::Deactivate(words("vrrp web")));
    assert!(outer.print().contains("#~ [vrrp.web]\n#~ interface = \"eth0\"\n#~ vrid = 51\n#~ #~ priority"));
    let read = self::document(&outer.print());
    assert_eq!(edited(&read, Edit::Activate(words("vrrp web"))), inner);
    let map = edited(&made(&WEB), Edit::Deactivate(words("vrrp")));
    assert!(map.check().expect("valid").config.vrrp.is_empty());
    assert_eq!(self::document(&map.print()), map);
}

#[test]
fn a_value_set_anew_counts_again() {
    let mut document = edited(&made(&WEB), Edit::Deactivate(words("vrrp web priority")));
    set(&mut document, "vrrp web priority 120").expect("set");
    assert_eq!(
        document.check().expect("valid").config.vrrp.values().next().map(|w| w.priority.get()),
        Some(120)
    );
}

#[test]
fn comments_of_a_file_edited_by_hand_stay_with_what_they_stand_above() {
    let text = "# The box in the cellar.\n\n# who\n[system]\nhostname = \"lb1\" # also in DNS\n\n[vrrp.web]\n\
                interface = \"eth0\"\naddresses = [\n  # clients\n  \"192.0.2.100/24\", # old\n  # last\n]\n# done\n";
    let document = document(text);
    let want = "# The box in the cellar.\n\n# who\n[system]\n# also in DNS\nhostname = \"lb1\"\n\n[vrrp.web]\n\
                interface = \"eth0\"\n# last\naddresses = [\n    # clients\n    # old\n    \"192.0.2.100/24\",\n]\n\n# done\n";
    assert_eq!(document.print(), want);
    assert_eq!(self::document(want), document);
}

#[test]
fn a_comment_at_the_end_of_a_text_comes_first_in_commands_and_is_not_lost() {
    let ended = document("# rack 4\n\n[system]\nhostname = \"lb1\"\n\n# done\n");
    assert_eq!(ended.set_lines()[0], "annotate \"rack 4\\ndone\"");
    let mut typed = Document::default();
    typed.apply(&Edit::Replace(ended.set_lines().join("\n"))).expect("its own commands");
    assert_eq!(typed.print(), "# rack 4\n# done\n\n[system]\nhostname = \"lb1\"\n");
    assert_eq!(typed.set_lines(), ended.set_lines());
}

#[test]
fn annotations_are_comments_of_the_file_and_an_empty_one_goes() {
    let note = Edit::Annotate(words("vrrp web"), "since 2024,\tby \u{7}ops".to_owned());
    let noted = edited(&made(&WEB), note);
    assert!(noted.print().contains("\n# since 2024, by  ops\n[vrrp.web]\n"), "{}", noted.print());
    assert_eq!(edited(&noted, Edit::Annotate(words("vrrp web"), String::new())), made(&WEB));
    let head = edited(&made(&WEB), Edit::Annotate(vec![], "lb1, rack 4".to_owned()));
    assert!(head.print().starts_with("# lb1, rack 4\n\n[system]\n"));
    let (word, reason) =
        misedit(Edit::Annotate(words("vrrp web addresses 10.1.0.1/24 interface"), "x".to_owned()));
    assert_eq!((word, reason.as_str()), (4, "only the element as a whole"));
}

#[test]
fn a_copy_has_everything_of_its_original_and_stands_behind_it() {
    let original = edited(&made(&WEB), Edit::Annotate(words("virtual-server web"), "shop".to_owned()));
    let original = edited(&original, Edit::Deactivate(words("virtual-server web check")));
    let copied = edited(&original, Edit::Copy(words("virt web"), "api".to_owned()));
    assert_eq!(copied.names(&["virtual-server"]), ["web", "api"]);
    let renamed = edited(&original, Edit::Rename(words("virtual-server web"), "api".to_owned()));
    let only = edited(&copied, Edit::Delete(words("virtual-server web")));
    assert_eq!(only.print(), renamed.print(), "comments and deactivated parts come along");
}

#[test]
fn only_a_free_and_good_name_can_be_given() {
    let rename = |path: &str, name: &str| misedit(Edit::Rename(words(path), name.to_owned()));
    assert_eq!(rename("vrrp web", "web"), (2, "vrrp web is already there".to_owned()));
    assert!(rename("vrrp web", "a b").1.starts_with("\"a b\" is not a name"));
    assert_eq!(rename("vrrp web vrid", "id").0, 2);
    assert_eq!(rename("vrrp wen", "id").0, 1);
    let port0 = rename("virtual-server web real-server 10.1.0.21:80", "10.1.0.23:0");
    assert_eq!(port0, (4, "port 0 cannot carry a service: use 1 to 65535".to_owned()));
}

#[test]
fn a_renamed_interface_takes_its_references_along() {
    let document = made(&WEB);
    let moved = edited(&document, Edit::Rename(words("interface eth0"), "bond0".to_owned()));
    assert!(moved.print().contains("[interface.bond0]") && moved.print().contains("interface = \"bond0\""));
    assert!(!moved.print().contains("eth0"), "{}", moved.print());
    assert!(moved.print().contains("interface = \"eth1\""), "the other one stays");
    let named = made(&["system hostname web", "vrrp web interface eth0"]);
    let renamed = edited(&named, Edit::Rename(words("vrrp web"), "eth0".to_owned()));
    assert!(renamed.print().contains("hostname = \"web\""), "a name is no reference");
}

#[test]
fn the_difference_names_each_object_once_with_its_changed_lines() {
    let old = made(&WEB);
    let mut new = old.clone();
    for line in
        ["vrrp web priority 200", "virtual-server web real-server 10.1.0.23:80", "route a to 10.0.0.0/8"]
    {
        set(&mut new, line).expect(line);
    }
    for edit in [
        Edit::Delete(words("virtual-server web real-server 10.1.0.22:80")),
        Edit::Deactivate(words("virtual-server web check")),
        Edit::Annotate(words("interface eth0"), "to the clients".to_owned()),
    ] {
        new = edited(&new, edit);
    }
    assert_eq!(
        new.compare(&old),
        [
            "[interface eth0]",
            "+ annotate \"to the clients\"",
            "[route a]",
            "+ to 10.0.0.0/8",
            "[vrrp web]",
            "- priority 150",
            "+ priority 200",
            "[virtual-server web]",
            "- real-server 10.1.0.22:80",
            "+ deactivate check",
            "+ real-server 10.1.0.23:80",
        ]
    );
    assert_eq!(old.compare(&old), [""; 0]);
    let changed: Vec<String> = new.changed(&old).iter().map(|path| path.join(" ")).collect();
    assert_eq!(
        changed,
        [
            "interface eth0",
            "route a to",
            "virtual-server web check",
            "virtual-server web real-server 10.1.0.22:80",
            "virtual-server web real-server 10.1.0.23:80",
            "vrrp web priority",
        ]
    );
}

#[test]
fn another_order_of_addresses_is_a_difference() {
    let one = made(&["interface eth0 addresses 192.0.2.1/24", "interface eth0 addresses 192.0.2.2/24"]);
    let other = made(&["interface eth0 addresses 192.0.2.2/24", "interface eth0 addresses 192.0.2.1/24"]);
    assert_eq!(other.compare(&one).len(), 5, "{:?}", other.compare(&one));
    assert_eq!(other.changed(&one).len(), 1);
}

#[test]
fn toml_and_commands_are_merged_whole_or_not_at_all() {
    let mut document = made(&WEB);
    let toml =
        "[virtual-server.web]\nport = 81\nreal-server.\"10.1.0.24:80\" = {}\n\n#~ [vrrp.api]\n#~ vrid = 52\n";
    document.apply(&Edit::Merge(toml.to_owned())).expect("merged");
    assert_eq!(document.names(&["virtual-server", "web", "real-server"]).len(), 3);
    assert!(document.print().contains("port = 81\n") && document.print().contains("#~ [vrrp.api]\n"));
    let commands = "# a change\n\nset virtual-server web port 80\ndelete vrrp api\n\
                    delete virtual-server web real-server 10.1.0.24:80\n";
    document.apply(&Edit::Merge(commands.to_owned())).expect("merged");
    assert_eq!(document, made(&WEB));

    let bad = "set vrrp web priority 3\nset vrrp web vrid 256\n";
    let misedit = document.apply(&Edit::Merge(bad.to_owned())).expect_err("refused");
    assert_eq!(document, made(&WEB), "nothing of it");
    assert_eq!(
        misedit.reason,
        "line 2: virtual router id 256 is out of range: use 1 to 255\n  set vrrp web vrid 256\n                    ^^^"
    );
    let misedit = document.apply(&Edit::Merge("[vrrp.web]\nvird = 3\n".to_owned())).expect_err("refused");
    assert!(
        misedit.reason.contains("text:2:1") && misedit.reason.contains("2 | vird = 3"),
        "{}",
        misedit.reason
    );
    let hidden = "#~ [vrrp.web]\n#~ vrid = 300\n";
    let misedit = document.apply(&Edit::Replace(hidden.to_owned())).expect_err("refused");
    assert!(misedit.reason.contains("virtual router id 300"), "what is deactivated is checked too");
}

#[test]
fn a_text_replaces_the_candidate() {
    let mut document = made(&WEB);
    document.apply(&Edit::Replace("[system]\nhostname = \"lb9\"\n".to_owned())).expect("replaced");
    assert_eq!(document.set_lines(), ["set system hostname lb9"]);
    document.apply(&Edit::Replace(String::new())).expect("by nothing");
    assert!(document.is_empty());
}

#[test]
fn lines_that_are_marked_only_in_part_are_refused_with_the_place() {
    let problems =
        Document::parse("[system]\n#~ [vrrp.web]\nhostname = \"lb1\"\n", "f").expect_err("ambiguous");
    assert_eq!(problems.len(), 1);
    assert_eq!((problems[0].line, problems[0].column), (3, 1));
    assert!(problems[0].help.contains("every line"), "{}", problems[0].help);
    assert!(Config::parse("[system]\n#~ [vrrp.web]\nhostname = \"lb1\"\n", "f").is_ok());
}

#[test]
fn marks_that_cannot_be_told_apart_are_comments_in_what_runs() {
    let text = "[system]\n#~ [vrrp.web]\nhostname = \"lb1\"\n";
    let running = Document::of_running(text, "f").expect("the model reads it");
    assert_eq!(running.print(), "[system]\n# ~ [vrrp.web]\nhostname = \"lb1\"\n");
}

#[test]
fn a_part_is_shown_with_the_tables_that_it_lies_in() {
    let document = made(&WEB);
    let part = document.part(&["virtual-server", "web", "real-server", "10.1.0.21:80"]).expect("there");
    assert_eq!(part.print(), "[virtual-server.web]\nreal-server.\"10.1.0.21:80\" = { weight = 2 }\n");
    assert_eq!(part.set_lines(), ["set virtual-server web real-server 10.1.0.21:80 weight 2"]);
    assert_eq!(document.part(&["vrrp", "api"]).map_err(|misedit| misedit.word), Err(1));
}

#[test]
fn problems_of_a_candidate_are_told_with_the_words_of_the_shell() {
    let mut document = made(&WEB);
    set(&mut document, "virtual-server web real-server 192.0.2.100:80 weight 1").expect("by itself good");
    set(&mut document, "vrrp web addresses 127.0.0.1/8 interface eth1").expect("by itself good");
    let problems = document.check().expect_err("the virtual address itself");
    let words: Vec<String> = problems.iter().map(|problem| problem.words.join(" ")).collect();
    assert!(words.contains(&"vrrp web addresses 127.0.0.1/8".to_owned()), "{words:?}");
    assert!(words.contains(&"virtual-server web real-server 192.0.2.100:80".to_owned()), "{words:?}");
}

#[test]
fn the_help_of_set_comes_from_the_model() {
    use crate::config::paths::{ChoiceKind, Purpose, follow};
    let words_of = |line: &str| {
        let follow = follow(&words(line), Purpose::Set).expect(line);
        let choices: Vec<String> = follow.choices.into_iter().map(|choice| choice.word).collect();
        (follow.complete, choices.join(" "))
    };
    assert_eq!(words_of("").1, "system interface route vrrp sync peer virtual-server");
    assert_eq!(words_of("virtual-server"), (false, "<name>".to_owned()));
    assert_eq!(words_of("virtual-server web prot"), (false, "tcp udp".to_owned()));
    assert_eq!(words_of("vrrp web preempt"), (false, "true false".to_owned()));
    assert_eq!(words_of("vrrp web vrid"), (false, "<1-255>".to_owned()));
    assert_eq!(words_of("vrrp web preempt-delay"), (false, "<duration>".to_owned()));
    assert_eq!(words_of("vrrp web addresses"), (false, "<address/length>".to_owned()));
    assert_eq!(words_of("vrrp web addresses 10.1.0.1/24"), (true, "interface".to_owned()));
    assert_eq!(words_of("virtual-server web real-server"), (false, "<address:port>".to_owned()));
    assert_eq!(words_of("virtual-server web real-server 10.1.0.21:80 weight 3"), (true, "weight".to_owned()));
    let weight =
        follow(&words("virtual-server web real-server 10.1.0.21:80 weight"), Purpose::Set).expect("known");
    assert_eq!(weight.choices[0].help, "Share of new connections; 0 takes none (default 1)");
    assert_eq!(weight.choices[0].kind, ChoiceKind::Value);
    assert_eq!(weight.path.join(" "), "virtual-server web real-server 10.1.0.21:80 weight");
}
