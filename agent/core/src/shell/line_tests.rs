use core::time::Duration;

use proptest::prelude::*;

use super::args::Names;
use super::command::{BundleFrom, Candidate, Command, Role, Show, Update, User, When};
use super::filter::Filter;
use super::grammar::{Hint, Mistake, Node, Token};
use super::line::{Completion, Context, Line, Mode, complete, hints, parse};
use super::reference;
use crate::config::edit::Edit;
use crate::control::Open;
use crate::overrides::{Operation, ServerOverride};

/// Two services and two virtual routers.
struct Live;

impl Names for Live {
    fn names(&self, path: &[&str]) -> Vec<String> {
        let names: &[&str] = match path {
            ["virtual-server"] => &["dns", "web", "web2"],
            ["virtual-server", "web", "real-server"] => &["10.1.0.21:80", "10.1.0.22:80"],
            ["vrrp"] => &["front", "hist"],
            ["interface"] => &["eth0", "eth1"],
            _ => &[],
        };
        names.iter().map(|name| (*name).to_owned()).collect()
    }
}

const OPERATIONAL: Context<'_> = Context { mode: Mode::Operational, level: &[], names: &Live };
const CONFIGURATION: Context<'_> = Context { mode: Mode::Configuration, level: &[], names: &Live };

fn line(text: &str, context: &Context<'_>) -> Line {
    parse(text, context).unwrap_or_else(|mistake| panic!("{text:?}: {mistake:?}")).expect("a command")
}

fn command(text: &str) -> Command {
    line(text, &OPERATIONAL).command
}

fn wrong(text: &str) -> Mistake {
    parse(text, &OPERATIONAL).expect_err(text)
}

fn words(hints: &[Hint]) -> Vec<&str> {
    hints.iter().map(|hint| &*hint.word).collect()
}

fn possible(text: &str) -> Vec<String> {
    hints(text, &OPERATIONAL).unwrap().into_iter().map(|hint| hint.word).collect()
}

fn endpoint() -> crate::net::Endpoint {
    "10.1.0.21:80".parse().unwrap()
}

#[test]
fn words_may_be_shortened_while_they_are_unique_in_both_modes() {
    for text in ["show status", "sh st", "  sh   sta "] {
        assert_eq!(command(text), Command::Show(Show::Status), "{text}");
    }
    assert_eq!(command("rel"), Command::Reload);
    assert_eq!(wrong("re").possible, ["real-server", "reboot", "reload", "restart"]);
    let commit = Candidate::Commit { comment: Some("why".into()), confirmed: None, guard: true };
    assert_eq!(line("comm comm why", &CONFIGURATION).command, Command::Candidate(commit));
    assert_eq!(line("ru sh st", &CONFIGURATION).command, Command::Run(Box::new(Command::Show(Show::Status))));
}

#[test]
fn an_exact_word_beats_longer_ones() {
    // `set` begins nothing else, `commit` and `confirm` share their beginning, `vrrp` is a word of two trees.
    assert_eq!(command("show vrrp"), Command::Show(Show::Vrrp(None)));
    assert_eq!(command("show system"), Command::Show(Show::System));
}

#[test]
fn conf_is_configure_and_confirm_is_spelt_out() {
    for text in ["con", "conf", "confi", "config"] {
        assert_eq!(command(text), Command::Configure(Open::Private), "{text}");
    }
    assert_eq!(command("conf exc"), Command::Configure(Open::Exclusive));
    for text in ["confir", "confirm"] {
        assert_eq!(command(text), Command::Candidate(Candidate::Confirm), "{text}");
    }
    // Whoever asks is told of both, and configuration mode has only the one.
    assert_eq!(possible("conf"), ["configure", "confirm"]);
    assert_eq!(line("conf", &CONFIGURATION).command, Command::Candidate(Candidate::Confirm));
}

#[test]
fn a_live_name_beats_the_beginning_of_a_keyword_and_loses_to_a_whole_one() {
    let router = |name: &str| Some(name.parse().unwrap());
    assert_eq!(command("show vrrp hist"), Command::Show(Show::Vrrp(router("hist"))));
    assert_eq!(command("show vrrp histo"), Command::Show(Show::VrrpHistory(None)));
    assert_eq!(command("show vrrp front hist"), Command::Show(Show::VrrpHistory(router("front"))));
    assert_eq!(command("show vrrp history"), Command::Show(Show::VrrpHistory(None)));
    assert_eq!(command("show vrrp other"), Command::Show(Show::Vrrp(router("other"))));
}

#[test]
fn names_are_never_shortened() {
    let server = wrong("real-server drain we/10.1.0.21");
    assert!(server.reason.contains("unknown word"), "{server:?}");
    let show = command("show virtual-servers we");
    assert_eq!(show, Command::Show(Show::VirtualServers(Some("we".parse().unwrap()))));
}

#[test]
fn options_come_in_any_order_and_once() {
    let wanted = Command::Candidate(Candidate::Commit {
        comment: Some("new web".into()),
        confirmed: Some(Duration::from_secs(300)),
        guard: false,
    });
    for text in ["commit confirmed 5 no-guard comment \"new web\"", "commit comm \"new web\" no conf 5m"] {
        assert_eq!(line(text, &CONFIGURATION).command, wanted);
    }
    let twice = parse("commit no-guard no-guard", &CONFIGURATION).unwrap_err();
    assert_eq!((twice.column, &*twice.reason), (16, "unknown word"));
    assert_eq!(twice.possible, ["comment", "confirmed"]);
    let unfinished = parse("commit confirmed", &CONFIGURATION).unwrap_err();
    assert_eq!((unfinished.column, unfinished.possible), (17, vec!["<TIME>".to_owned()]));
}

#[test]
fn a_real_server_is_named_in_one_word_or_two() {
    let to = ServerOverride::Drain { deadline: Some(Duration::from_secs(90)) };
    let drain = Operation::RealServer { service: "web".parse().unwrap(), server: endpoint(), to };
    for text in ["real-server drain web/10.1.0.21:80 deadline 90s", "real dr web 10.1.0.21:80 dead 90s"] {
        assert_eq!(command(text), Command::Operate(drain.clone()), "{text}");
    }
    assert_eq!(wrong("real-server drain web 10.1.0.21:80 deadline soon").column, 44);
}

#[test]
fn the_caret_column_is_that_of_the_bad_word() {
    let unknown = wrong("show  satus");
    assert_eq!((unknown.column, &*unknown.reason), (6, "unknown word"));
    assert!(unknown.possible.contains(&"status".to_owned()));
    let missing = wrong("show ");
    assert_eq!((missing.column, &*missing.reason), (5, "something is missing here"));
    let surplus = wrong("show version now");
    assert_eq!((surplus.column, &*surplus.reason), (13, "nothing more belongs here"));
    let number = wrong("ping 10.0.0.1 count many");
    assert_eq!((number.column, &*number.reason), (20, "not a whole number from 1 to 1000000"));
    let quote = wrong("show connections \"10.1");
    assert_eq!((quote.column, &*quote.reason), (17, "nothing closes this quote"));
}

#[test]
fn filters_follow_what_prints_and_nothing_else() {
    let filtered = line("show log 50 | match eth0|except up | count", &OPERATIONAL);
    let wanted = [Filter::Match("eth0".into()), Filter::Except("up".into()), Filter::Count];
    assert_eq!(
        (filtered.command, &filtered.filters[..]),
        (Command::Show(Show::Log { lines: Some(50) }), &wanted[..])
    );
    assert_eq!(wrong("show log | sort").column, 11);
    assert_eq!(wrong("show log |").column, 11);
    assert_eq!(wrong("| count").column, 0);
    assert_eq!(wrong("reboot | count").column, 7);
    let set = line("show configuration virtual-server web | set", &OPERATIONAL).command;
    let path = ["virtual-server", "web"].map(str::to_owned).to_vec();
    assert_eq!(set, Command::Show(Show::Configuration { path, set: true }));
    assert_eq!(wrong("show log | set").column, 9);
}

#[test]
fn paths_begin_at_the_level_that_edit_went_to() {
    let level = ["virtual-server", "web"].map(str::to_owned);
    let context = Context { level: &level, ..CONFIGURATION };
    let set = line("set real-server 10.1.0.21:80 weight  2", &context);
    let words = ["virtual-server", "web", "real-server", "10.1.0.21:80", "weight", "2"].map(str::to_owned);
    assert_eq!(set.command, Command::Candidate(Candidate::Edit(Edit::Set(words.to_vec()))));
    assert_eq!((set.columns, set.end), (vec![4, 16, 29, 37], 39));
    let annotate = line("annotate \"the shop\"", &context).command;
    let wanted = Edit::Annotate(level.to_vec(), "the shop".into());
    assert_eq!(annotate, Command::Candidate(Candidate::Edit(wanted)));
    assert!(parse("delete", &context).is_err(), "the whole level is never meant by nothing");
}

#[test]
fn a_renaming_needs_the_word_to() {
    let rename = line("rename virtual-server web to shop", &CONFIGURATION).command;
    let path = ["virtual-server", "web"].map(str::to_owned).to_vec();
    assert_eq!(rename, Command::Candidate(Candidate::Edit(Edit::Rename(path, "shop".into()))));
    for text in ["rename virtual-server web shop", "copy virtual-server web", "copy to shop"] {
        let mistake = parse(text, &CONFIGURATION).unwrap_err();
        assert_eq!((mistake.column, mistake.possible), (text.len() + 1, vec!["to".to_owned()]), "{text}");
    }
}

#[test]
fn ipvsadm_gets_the_rest_of_the_line() {
    assert_eq!(command("ipv -L -n"), Command::Ipvsadm(vec!["-L".into(), "-n".into()]));
    assert_eq!(command("ipvsadm"), Command::Ipvsadm(vec![]));
    assert_eq!(line("ipvsadm -Ln | match web", &OPERATIONAL).filters.len(), 1);
}

#[test]
fn times_are_minutes_or_have_a_unit() {
    let minutes = |count: u64| Command::Reboot(When::In(Duration::from_secs(count * 60)));
    assert_eq!([command("reboot in 5"), command("reboot in 2h")], [minutes(5), minutes(120)]);
    assert_eq!(command("reboot can"), Command::Reboot(When::Cancel));
    assert_eq!(wrong("reboot in soon").column, 10);
    assert_eq!(wrong("reboot now").column, 7);
    let add = User::Add("bob".parse().unwrap(), Role::ReadOnly);
    assert_eq!(command("user add bob read"), Command::User(add));
}

#[test]
fn help_lists_what_can_follow_with_live_names_and_the_end_of_the_line() {
    assert_eq!(possible("maintenance "), ["enter", "leave"]);
    assert_eq!(possible("show v"), ["version", "virtual-servers", "vrrp"]);
    assert_eq!(possible("show virtual-servers "), ["dns", "web", "web2", "<Enter>", "|"]);
    assert_eq!(possible("show virtual-servers web"), ["web", "web2"]);
    assert_eq!(possible("check web "), ["10.1.0.21:80", "10.1.0.22:80"]);
    assert_eq!(possible("check "), ["web/10.1.0.21:80", "web/10.1.0.22:80", "dns", "web", "web2"]);
    assert_eq!(possible("ping 10.0.0.1 "), ["count", "<Enter>"]);
    assert_eq!(
        possible("show log | "),
        ["match", "except", "begin", "last", "count", "json", "set", "no-more"]
    );
    assert_eq!(possible("reload "), ["<Enter>"]);
    assert_eq!(hints("nonsense x ", &OPERATIONAL).unwrap_err().column, 0);
}

#[test]
fn tab_completes_to_the_last_sure_letter() {
    let tab = |text: &str| complete(text, &OPERATIONAL);
    assert_eq!(tab("sho"), Completion::Insert("w ".into()));
    assert_eq!(tab("show ver"), Completion::Insert("sion ".into()));
    assert_eq!(tab("show virtual-servers w"), Completion::Insert("eb".into()));
    assert_eq!(tab("check d"), Completion::Insert("ns ".into()));
    assert_eq!(tab("check web/"), Completion::Insert("10.1.0.2".into()));
    assert_eq!(tab("restart "), Completion::Insert("agent ".into()));
    let Completion::Choices(choices) = tab("show virtual-servers web") else { panic!("two are possible") };
    assert_eq!(words(&choices), ["web", "web2"]);
    assert_eq!(tab("xyz"), Completion::Nothing);
    assert_eq!(tab("ping \"a"), Completion::Nothing);
}

#[test]
fn comments_and_empty_lines_do_nothing() {
    for text in ["", "   ", "# reboot", "  ! reboot"] {
        assert_eq!(parse(text, &OPERATIONAL), Ok(None), "{text:?}");
    }
}

/// Every command has its line in the reference, and the line is a command: the same one however its keywords are cut.
#[test]
fn every_line_of_the_reference_parses_and_so_do_its_abbreviations() {
    let parts = [(reference::operational(), OPERATIONAL), (reference::configuration(), CONFIGURATION)];
    for (entries, context) in parts {
        assert!(entries.len() > 20);
        for entry in entries {
            let whole = line(&entry.example, &context).command;
            for word in entry.example.split(' ').filter(|word| word.len() > 3 && word.is_ascii()) {
                let cut = entry.example.replacen(word, &word[..word.len() - 1], 1);
                if let Ok(Some(cut)) = parse(&cut, &context)
                    && !entry.syntax.contains(char::is_uppercase)
                {
                    assert_eq!(cut.command, whole, "{}", entry.example);
                }
            }
            assert!(entry.help.len() <= 55 && !entry.help.ends_with('.'), "{}: {}", entry.syntax, entry.help);
        }
    }
    for entry in reference::filters() {
        if entry.syntax != "set" {
            assert_eq!(line(&format!("show log | {}", entry.example), &OPERATIONAL).filters.len(), 1);
        }
    }
}

#[test]
fn no_two_words_of_one_place_are_the_same() {
    fn check<T>(nodes: &'static [Node<T>]) -> usize {
        let mut words: Vec<&str> = nodes
            .iter()
            .filter_map(|node| match node.token {
                Token::Word(word) => Some(word),
                Token::Arg(..) => None,
            })
            .collect();
        let count = words.len();
        words.sort_unstable();
        words.dedup();
        assert_eq!(words.len(), count, "{words:?}");
        nodes.len() + nodes.iter().map(|node| check(node.next) + check(node.options)).sum::<usize>()
    }
    assert!(check(super::tree::OPERATIONAL) > 100);
    check(super::edit_tree::CONFIGURATION);
    check(super::edit_tree::FILTERS);
}

fn vocabulary() -> impl Strategy<Value = String> {
    let known = reference::operational().into_iter().chain(reference::configuration());
    let mut words: Vec<String> =
        known.flat_map(|entry| entry.example.split(' ').map(str::to_owned).collect::<Vec<_>>()).collect();
    words.extend(["|", "count", "json", "\"", "web", "?", ";", "to"].map(str::to_owned));
    prop_oneof![4 => proptest::sample::select(words), 1 => "[ -~]{0,9}", 1 => any::<String>()]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]
    #[test]
    fn no_line_makes_it_fall_over(words in proptest::collection::vec(vocabulary(), 0..8), cut in 0_usize..200) {
        let text = words.join(" ");
        let end = text.char_indices().map(|(at, _)| at).chain([text.len()]).nth(cut).unwrap_or(text.len());
        for context in [OPERATIONAL, CONFIGURATION] {
            if let Err(mistake) = parse(&text[..end], &context) {
                prop_assert!(mistake.column <= end + 1, "{mistake:?}");
                prop_assert!(!mistake.reason.is_empty());
            }
            let _ = hints(&text[..end], &context);
            if let Completion::Insert(more) = complete(&text[..end], &context) {
                let longer = text[..end].to_owned() + &more;
                prop_assert!(hints(&longer, &context).is_ok(), "{longer}");
            }
        }
    }
}

#[test]
fn a_bundle_comes_from_the_line_or_from_a_file_that_may_be_called_the_same() {
    let install = |from, older| Command::Update(Update::Install { from, older });
    let file = |text: &str| BundleFrom::Text(text.to_owned());
    assert_eq!(command("update install serial"), install(BundleFrom::Serial, false));
    assert_eq!(command("upd inst seri"), install(BundleFrom::Serial, false));
    assert_eq!(command("update install \"serial\""), install(file("serial"), false));
    assert_eq!(command("update install usb:x.bundle older"), install(file("usb:x.bundle"), true));
    assert_eq!(command("update stat | json").clone(), Command::Update(Update::Status));
    assert_eq!(wrong("update install").reason, "something is missing here");
    assert_eq!(possible("update install "), ["serial", "<BUNDLE>"]);
}
