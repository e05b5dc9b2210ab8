use super::*;
use crate::gate::{Pool, Sight};
use crate::release::{Sha256, Version};

fn at(seconds: u64) -> Instant {
    Instant::from_nanos((1_000 + seconds) * 1_000_000_000)
}

fn system(patch: u16) -> System {
    System { version: Version::new(0, 1, patch), sha256: Sha256([u8::try_from(patch).unwrap(); 32]) }
}

fn side(name: &str, role: Role) -> Side {
    let pool = Pool { usable: 3, pending: 0, in_kernel: true };
    Side {
        name: name.to_owned(),
        boot: format!("{name}-1"),
        board: "x86_64".parse().unwrap(),
        running: system(0),
        slots: Slots::Steady,
        reason: String::new(),
        gate: None,
        unconfirmed: false,
        aside: None,
        routers: [("front".parse().unwrap(), role)].into(),
        sync: true,
        sight: Sight { services: [("web".parse().unwrap(), pool)].into(), ..Sight::default() },
    }
}

fn lb1() -> Side {
    side("lb1", Role::Master)
}

fn lb2() -> Side {
    side("lb2", Role::Backup)
}

/// The other box after its restart.
fn lb2_new(slots: Slots) -> Side {
    Side { boot: "lb2-2".to_owned(), running: system(1), slots, ..lb2() }
}

fn seen(here: &Side, there: &Side) -> Event {
    Event::Seen { here: Ok(Box::new(here.clone())), there: Ok(Box::new(there.clone())) }
}

fn gone(here: &Side) -> Event {
    Event::Seen { here: Ok(Box::new(here.clone())), there: Err("lb2 does not answer".to_owned()) }
}

fn stop(next: &Next) -> &str {
    let Next::Stop(reason) = next else { panic!("it goes on: {next:?}") };
    reason
}

/// Up to the trial of the other box.
fn on_trial(lose_idle: bool) -> Pair {
    let mut pair = Pair::new(at(0), lose_idle);
    assert_eq!(pair.on(at(0), seen(&lb1(), &lb2())), Next::Do(Order::InstallHere));
    assert_eq!(pair.on(at(1), Event::Installed(system(1))), Next::Do(Order::InstallThere));
    assert_eq!(pair.on(at(2), Event::Installed(system(1))), Next::Do(Order::ActivateThere));
    assert_eq!(pair.on(at(3), Event::Done), Next::Soon(Order::Look));
    assert_eq!(pair.step(), Step::Trial);
    pair
}

/// Up to the counting of connections.
fn kept(lose_idle: bool) -> Pair {
    let mut pair = on_trial(lose_idle);
    assert_eq!(pair.on(at(60), seen(&lb1(), &lb2_new(Slots::Steady))), Next::Do(Order::Count));
    pair
}

/// Up to the watching.
fn handed() -> Pair {
    let mut pair = kept(false);
    let new = lb2_new(Slots::Steady);
    assert_eq!(pair.on(at(61), Event::Counted { established: 9, unknown: 0 }), Next::Do(Order::Look));
    assert_eq!(pair.on(at(61), seen(&lb1(), &new)), Next::Do(Order::HandOver));
    assert_eq!(pair.on(at(62), Event::Done), Next::Soon(Order::Look));
    assert_eq!(pair.on(at(63), seen(&lb1(), &new)), Next::Soon(Order::Look));
    assert_eq!(pair.on(at(64), seen(&after().0, &after().1)), Next::Do(Order::Look));
    pair
}

/// Both boxes after the hand-over.
fn after() -> (Side, Side) {
    let there = Side { routers: side("", Role::Master).routers, ..lb2_new(Slots::Steady) };
    (side("lb1", Role::Backup), there)
}

#[test]
fn the_other_box_is_tried_and_serves_before_this_one_restarts() {
    let mut pair = handed();
    let (here, there) = after();
    assert_eq!(pair.on(at(65), seen(&here, &there)), Next::Soon(Order::Look));
    assert_eq!(pair.on(at(74), seen(&here, &there)), Next::Soon(Order::Look));
    assert_eq!(pair.on(at(75), seen(&here, &there)), Next::Do(Order::ActivateHere));
    assert_eq!(pair.on(at(76), Event::Done), Next::Over);
}

#[test]
fn a_pair_that_is_not_plain_is_not_touched() {
    let cases: [(&str, Side, Side); 9] = [
        ("lb2 is Master: type this there", side("lb1", Role::Backup), side("lb2", Role::Master)),
        ("virtual router front is Master on lb2", lb1(), side("lb2", Role::Master)),
        ("virtual router front is in FAULT on lb2", lb1(), side("lb2", Role::Fault("no link".into()))),
        ("lb2 runs 0.1.0 on trial", lb1(), Side { slots: Slots::Trial, ..lb2() }),
        (
            "lb1: slot b is activated",
            Side { slots: Slots::Busy("slot b is activated".into()), ..lb1() },
            lb2(),
        ),
        ("on lb2 a commit waits", lb1(), Side { unconfirmed: true, ..lb2() }),
        ("lb2 is in maintenance", lb1(), Side { aside: Some("in maintenance".into()), ..lb2() }),
        ("lb2 does not synchronise connections", lb1(), Side { sync: false, ..lb2() }),
        ("cannot take the same bundle", lb1(), Side { board: "aarch64".parse().unwrap(), ..lb2() }),
    ];
    for (wanted, here, there) in cases {
        let mut pair = Pair::new(at(0), false);
        let next = pair.on(at(0), seen(&here, &there));
        assert!(stop(&next).contains(wanted), "{wanted}: {next:?}");
        assert_eq!(pair.left(), "Nothing was changed.");
    }
    let mut pair = Pair::new(at(0), false);
    assert_eq!(stop(&pair.on(at(0), gone(&lb1()))), "lb2 does not answer");
}

#[test]
fn a_box_that_goes_back_stops_it_with_its_reason_and_this_one_goes_on_serving() {
    let mut pair = on_trial(false);
    let trial = Side { gate: Some("service web has 0 usable".into()), ..lb2_new(Slots::Trial) };
    assert_eq!(pair.on(at(4), seen(&lb1(), &lb2())), Next::Soon(Order::Look));
    assert_eq!(pair.waits(), "it has not restarted yet");
    assert_eq!(pair.on(at(10), gone(&lb1())), Next::Soon(Order::Look));
    assert_eq!(pair.on(at(40), seen(&lb1(), &trial)), Next::Soon(Order::Look));
    assert_eq!(pair.waits(), "service web has 0 usable");
    let back = Side { boot: "lb2-3".into(), reason: "the gate refused it".into(), ..lb2() };
    assert_eq!(stop(&pair.on(at(200), seen(&lb1(), &back))), "lb2 went back to 0.1.0: the gate refused it");
    assert!(pair.left().starts_with("lb1 serves, on 0.1.0."));
}

#[test]
fn a_box_that_does_not_come_back_is_waited_for_until_the_deadline_only() {
    let mut pair = on_trial(false);
    assert_eq!(pair.on(at(2 + TRIAL.as_secs()), gone(&lb1())), Next::Soon(Order::Look));
    assert!(stop(&pair.on(at(3 + TRIAL.as_secs()), gone(&lb1()))).contains("lb2 does not answer"));
    let mut pair = on_trial(false);
    let lost = side("lb1", Role::Backup);
    assert_eq!(stop(&pair.on(at(9), gone(&lost))), "lb1 is not Master of all any more");
}

#[test]
fn connections_that_the_other_box_does_not_know_are_not_given_up_unless_the_operator_said_so() {
    let cold = Event::Counted { established: 12, unknown: 2 };
    for lose_idle in [false, true] {
        let mut pair = kept(lose_idle);
        assert_eq!(pair.on(at(61), cold.clone()), Next::Soon(Order::Count));
        assert_eq!(pair.waits(), "2 of 12 established connections are not known there");
        assert_eq!(pair.on(at(59 + WARM.as_secs()), cold.clone()), Next::Soon(Order::Count));
        let next = pair.on(at(60 + WARM.as_secs()), cold.clone());
        if lose_idle {
            assert_eq!(next, Next::Do(Order::Look));
        } else {
            assert!(stop(&next).starts_with("2 of 12 established connections"));
            assert!(pair.left().contains("lose-idle"));
        }
    }
}

#[test]
fn nothing_is_handed_to_a_box_that_cannot_take_it() {
    let mut pair = kept(false);
    pair.on(at(61), Event::Counted { established: 1, unknown: 0 });
    let fault = Side { routers: side("", Role::Fault("no link".into())).routers, ..lb2_new(Slots::Steady) };
    assert!(stop(&pair.on(at(61), seen(&lb1(), &fault))).contains("in FAULT on lb2"));
}

#[test]
fn a_hand_over_that_does_not_end_is_taken_back() {
    let mut pair = kept(false);
    let new = lb2_new(Slots::Steady);
    pair.on(at(61), Event::Counted { established: 1, unknown: 0 });
    assert_eq!(pair.on(at(61), seen(&lb1(), &new)), Next::Do(Order::HandOver));
    pair.on(at(61), Event::Done);
    let next = pair.on(at(61 + HAND_OVER.as_secs()), seen(&lb1(), &new));
    assert_eq!((next, pair.step()), (Next::Do(Order::TakeBack), Step::Back));
    assert!(stop(&pair.on(at(99), Event::Done)).contains("lb2 is not Master of all yet"));
}

#[test]
fn a_box_that_serves_worse_than_this_one_did_gives_the_addresses_back() {
    let (here, there) = after();
    let mut poor = there.clone();
    poor.sight.services.values_mut().for_each(|pool| pool.usable = 0);
    let mut pair = handed();
    assert_eq!(pair.on(at(65), seen(&here, &there)), Next::Soon(Order::Look));
    assert_eq!(pair.on(at(70), seen(&here, &poor)), Next::Soon(Order::Look));
    assert!(pair.waits().contains("0 usable real servers"));
    assert_eq!(pair.on(at(76), seen(&here, &there)), Next::Soon(Order::Look), "the calm begins anew");
    assert_eq!(pair.on(at(80), gone(&here)), Next::Soon(Order::Look));
    assert_eq!(pair.on(at(64 + WATCH.as_secs()), seen(&here, &poor)), Next::Do(Order::TakeBack));
    assert!(stop(&pair.on(at(130), Event::Failed("no agent".into()))).contains("no agent"));
    assert!(pair.left().contains("takes its addresses back"));
}

#[test]
fn a_pair_of_which_one_box_is_updated_already_goes_on_with_the_other() {
    let mut pair = Pair::new(at(0), false);
    let there = Side { running: system(1), ..lb2() };
    pair.on(at(0), seen(&lb1(), &there));
    assert_eq!(pair.on(at(1), Event::Installed(system(1))), Next::Do(Order::Count));
}

#[test]
fn another_system_on_the_other_box_is_no_pair() {
    let mut pair = Pair::new(at(0), false);
    pair.on(at(0), seen(&lb1(), &lb2()));
    pair.on(at(1), Event::Installed(system(1)));
    assert!(stop(&pair.on(at(2), Event::Installed(system(2)))).contains("another system"));
}

/// A pair in each step.
fn all() -> Vec<Pair> {
    let look = Pair::new(at(0), false);
    let mut install_here = look.clone();
    install_here.on(at(0), seen(&lb1(), &lb2()));
    let mut install_there = install_here.clone();
    install_there.on(at(0), Event::Installed(system(1)));
    let mut activate = install_there.clone();
    activate.on(at(0), Event::Installed(system(1)));
    let mut hand_over = kept(false);
    hand_over.on(at(61), Event::Counted { established: 0, unknown: 0 });
    let mut yielded = hand_over.clone();
    yielded.on(at(61), seen(&lb1(), &lb2_new(Slots::Steady)));
    let mut restart = handed();
    restart.on(at(65), seen(&after().0, &after().1));
    restart.on(at(75), seen(&after().0, &after().1));
    let mut back = handed();
    back.on(at(65), Event::Interrupted);
    vec![
        look,
        install_here,
        install_there,
        activate,
        on_trial(false),
        kept(false),
        hand_over,
        yielded,
        handed(),
        restart,
        back,
    ]
}

#[test]
fn whatever_fails_and_whoever_interrupts_the_addresses_stay_or_come_back() {
    for pair in all() {
        let mut failed = pair.clone();
        let next = failed.on(at(100), Event::Failed("broken".into()));
        let given = pair.yielded || matches!(pair.step(), Step::Watch | Step::Restart);
        match (given, pair.step()) {
            (_, Step::Back) => assert!(stop(&next).contains("broken")),
            (true, _) => assert_eq!(next, Next::Do(Order::TakeBack), "{:?}", pair.step()),
            (false, _) => assert_eq!(stop(&next), "broken"),
        }
        let mut interrupted = pair.clone();
        let next = interrupted.on(at(100), Event::Interrupted);
        match (given, pair.step()) {
            (_, Step::Back) => assert_eq!(next, Next::Do(Order::TakeBack)),
            (_, Step::Restart) => assert_eq!(next, Next::Do(Order::ActivateHere)),
            (true, _) => assert_eq!(next, Next::Do(Order::TakeBack)),
            (false, _) => assert_eq!(stop(&next), "stopped by the operator"),
        }
        assert!(!interrupted.left().is_empty());
    }
}

#[test]
fn an_answer_that_nobody_asked_for_never_restarts_this_box() {
    let events = [
        seen(&lb1(), &lb2()),
        gone(&lb1()),
        Event::Seen { here: Err("no agent".into()), there: Err("x".into()) },
        Event::Installed(system(1)),
        Event::Done,
        Event::Counted { established: 1, unknown: 0 },
    ];
    for pair in all() {
        for event in &events {
            let next = pair.clone().on(at(100), event.clone());
            assert_ne!(next, Next::Do(Order::ActivateHere), "{:?} {event:?}", pair.step());
        }
    }
}
