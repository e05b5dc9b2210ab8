use std::process::ExitCode;

use bascule_core::overrides::Operation;

use super::testing::{Fake, shell};
use super::*;
use crate::people::Role;

fn session(fake: &Fake, chunks: &[&[u8]]) -> String {
    let (mut shell, printed) = shell(fake, true, chunks);
    shell.run().unwrap();
    let text = printed.lock().unwrap().clone();
    String::from_utf8(text).unwrap()
}

fn script(fake: &Fake, lines: &str) -> (String, String) {
    let (mut shell, printed) = shell(fake, false, &[lines.as_bytes()]);
    let code = run_script(&mut shell, &Words::Input).unwrap();
    let text = printed.lock().unwrap().clone();
    (String::from_utf8(text).unwrap(), format!("{code:?}"))
}

fn code(code: u8) -> String {
    format!("{:?}", ExitCode::from(code))
}

#[test]
fn what_ends_service_is_asked_first_and_only_yes_does_it() {
    for answer in [&b"\r"[..], b"n\r", b"yeah\r", b"\x03", b"\x04"] {
        let fake = Fake::lb1();
        let text = session(&fake, &[b"maintenance enter\r", answer]);
        assert!(text.contains("Take this box out of service? (y/N) "), "{text}");
        assert!(text.contains("Nothing was done."), "{answer:?} {text}");
        assert_eq!((fake.done(), fake.audited()), (vec![], vec![]));
    }
    let fake = Fake::lb1();
    session(&fake, &[b"maintenance enter\r", b"y\r"]);
    let user = "root".parse().unwrap();
    assert_eq!(fake.done(), [Request::Operate { user, operation: Operation::Maintenance(true) }]);
    assert_eq!(fake.audited(), ["root ttyS0 \"maintenance enter\" begun"]);
}

#[test]
fn only_a_box_can_be_switched_off() {
    let text = session(&Fake::lb1(), &[b"poweroff\r"]);
    assert!(text.contains("Only a console of a box can do this."), "{text}");
}

#[test]
fn whoever_may_only_read_changes_nothing_and_learns_why() {
    let fake = Fake::lb1();
    let (mut shell, printed) =
        shell(&fake, true, &[b"configure\r", b"reload\r", b"maintenance enter\r", b"exit\r"]);
    shell.on_box = true;
    shell.door = |_, _| {
        let name = "eve".parse().unwrap();
        Ok(Some(Identity { name, role: Role::ReadOnly }))
    };
    shell.run().unwrap();
    let text = String::from_utf8(printed.lock().unwrap().clone()).unwrap();
    assert_eq!(text.matches("eve may only read: this changes something.").count(), 3, "{text}");
    assert_eq!((fake.done(), fake.audited()), (vec![], vec![]));
}

#[test]
fn a_break_drops_the_line_and_leads_back_to_the_login_with_the_candidate_kept() {
    let fake = Fake::lb1();
    let typed: [&[u8]; 4] = [b"configure\r", b"set system hostname x\r", b"commit\xff\x00\x00\r", b""];
    let (mut shell, printed) = shell(&fake, true, &typed);
    shell.on_box = true;
    shell.door = |console, _| {
        console.say("login")?;
        Ok(Some(Identity::root()))
    };
    shell.run().unwrap();
    let text = String::from_utf8(printed.lock().unwrap().clone()).unwrap();
    assert_eq!(text.matches("login\r\n").count(), 2, "{text}");
    let done = fake.done();
    assert!(!done.iter().any(|request| matches!(request, Request::Commit { .. })), "{done:?}");
    assert_eq!(done.last(), Some(&Request::Close { session: SessionId(7), keep: true }));
}

#[test]
fn a_line_that_hangs_up_keeps_its_candidate_and_executes_nothing_unfinished() {
    let fake = Fake::lb1();
    session(&fake, &[b"configure\r", b"set system hostname x\r", b"commit"]);
    let done = fake.done();
    assert_eq!(done.len(), 3, "{done:?}");
    assert_eq!(done[2], Request::Close { session: SessionId(7), keep: true });
}

#[test]
fn leaving_configuration_mode_asks_before_it_discards() {
    let fake = Fake::lb1();
    let text = session(
        &fake,
        &[b"configure\r", b"set system hostname x\r", b"exit\r", b"n\r", b"commit\r", b"exit\r"],
    );
    assert!(text.contains("There are uncommitted changes. Discard them? (y/N) n"), "{text}");
    assert!(text.contains("lb1*# commit\r\nCommitted.\r\nlb1# exit\r\nlb1(MASTER)> "), "{text}");
    assert_eq!(fake.done().last(), Some(&Request::Close { session: SessionId(7), keep: false }));
}

#[test]
fn an_idle_prompt_follows_the_role_and_keeps_what_was_typed() {
    struct Turning(Fake, std::cell::Cell<u8>);
    impl Agent for Turning {
        fn ask(&self, request: &Request) -> Result<Reply, ControlError> {
            self.1.set(self.1.get() + 1);
            if self.1.get() == 2 {
                self.0.standing.lock().unwrap().role = "BACKUP".into();
            }
            self.0.ask(request)
        }
    }
    let (inner, printed) = shell(&Fake::lb1(), true, &[b"show", b" x"]);
    let Shell { desk, agent, place, .. } = inner;
    let memory = desk.into_terminal();
    Shell::new(memory, Turning(agent, std::cell::Cell::new(0)), place, false).run().unwrap();
    let mut screen = bascule_core::shell::screen::Screen::new(80, 24);
    screen.feed(&printed.lock().unwrap());
    assert!(screen.rows().contains(&"lb1(BACKUP)> show x".to_owned()), "{}", screen.text());
}

#[test]
fn a_script_speaks_the_same_grammar_without_prompt_echo_or_question() {
    let fake = Fake::lb1();
    let (text, ended) =
        script(&fake, "# a comment\nmaint enter; configure\nset system hostname x\ncommit\nexit\n");
    assert_eq!((text.as_str(), ended), ("Done.\nConfiguration mode.\nCommitted.\n", code(0)));
    assert_eq!(fake.audited().len(), 4);
    let (text, ended) = script(&Fake::lb1(), "configure\nshow | count\nshow | json\n");
    assert_eq!((text.as_str(), ended), ("Configuration mode.\n2 lines\nnull\n", code(0)));
}

#[test]
fn a_script_ends_at_the_first_command_that_fails_and_its_code_says_how() {
    let fake = Fake::lb1();
    assert_eq!(script(&fake, "configure\nset system hostname 9999999\ncommit\n").1, code(2));
    assert!(!fake.done().iter().any(|request| matches!(request, Request::Commit { .. })));
    assert_eq!(script(&Fake::lb1(), "reload\nhelp\n"), (String::new(), code(1)));
    assert_eq!(script(&Fake::lb1(), "shwo\nhelp\n"), (String::new(), code(2)));
}

#[test]
fn secrets_are_masked_in_the_audit() {
    let fake = Fake::lb1();
    script(&fake, "configure\nset system user bob password hunter2\n");
    assert_eq!(fake.audited()[1], "root ttyS0 \"set system user bob password *****\" begun");
}
