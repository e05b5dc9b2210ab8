//! Deadlines to the nanosecond, and what a long wait or a late look does to them.

use super::*;

#[test]
fn a_backup_follows_its_masters_interval_and_takes_its_own_when_promoted() {
    let mut machine = backup(settings(100, true));
    machine.handle(at(0), advert(200, 4 * SECOND, 1));
    let down = Rfc9568::master_down(100, 4 * SECOND);
    assert_eq!(machine.deadline(), Some(at(0) + down));
    assert_eq!(sent(&machine.handle(at(0) + down, Event::Timer)), [100]);
    assert_eq!(machine.deadline(), Some(at(0) + down + SECOND));
}

#[test]
fn a_late_advert_still_counts_when_the_timer_has_not_been_handled() {
    let mut machine = backup(settings(100, true));
    let late = at(5_000_000);
    machine.handle(late, advert(200, SECOND, 1));
    assert_eq!(sent(&machine.handle(late, Event::Timer)), [0; 0]);
    assert_eq!(machine.deadline(), Some(late + Rfc9568::master_down(100, SECOND)));
}

#[test]
fn a_farewell_never_prolongs_the_wait() {
    let mut machine = backup(settings(100, true));
    machine.handle(at(0), advert(200, SECOND, 1));
    machine.handle(at(1_000_000), advert(0, SECOND, 1));
    assert_eq!(machine.deadline(), Some(at(1_609_375)));
    machine.handle(at(1_500_000), advert(0, SECOND, 1));
    assert_eq!(machine.deadline(), Some(at(1_609_375)));
}

#[test]
fn a_wait_before_preempting_begins_with_the_first_lower_advert() {
    let waiting = Settings { preempt_delay: 10 * SECOND, ..settings(100, true) };
    let mut machine = backup(waiting);
    for second in 1..=10 {
        machine.handle(at(second * 1_000_000), advert(50, SECOND, 1));
    }
    assert_eq!(machine.deadline(), Some(at(13_609_375)), "adverts still count before 11 s");
    machine.handle(at(11_000_000), advert(50, SECOND, 1));
    machine.handle(at(12_000_000), advert(50, SECOND, 1));
    assert_eq!(machine.deadline(), Some(at(13_609_375)), "and no longer after");
    assert_eq!(sent(&machine.handle(at(13_609_375), Event::Timer)), [100]);
}

#[test]
fn a_wait_before_preempting_is_cancelled_by_an_equal_or_higher_priority() {
    for priority in [100, 101, 255] {
        let waiting = Settings { preempt_delay: 10 * SECOND, ..settings(100, true) };
        let mut machine = backup(waiting);
        machine.handle(at(1_000_000), advert(50, SECOND, 1));
        machine.handle(at(10_000_000), advert(priority, SECOND, 2));
        machine.handle(at(12_000_000), advert(50, SECOND, 1));
        let down = at(12_000_000) + Rfc9568::master_down(100, SECOND);
        assert_eq!(machine.deadline(), Some(down), "priority {priority}");
    }
}

#[test]
fn a_dead_master_is_replaced_whatever_the_wait_before_preempting() {
    let waiting = Settings { preempt_delay: 1_000 * SECOND, ..settings(100, true) };
    let mut machine = backup(waiting);
    machine.handle(at(1_000_000), advert(50, SECOND, 1));
    assert_eq!(sent(&machine.handle(at(4_609_375), Event::Timer)), [100]);
}

#[test]
fn a_changed_priority_moves_the_running_timer_by_the_change_in_skew() {
    for (before, after) in [(100, 200), (200, 100), (1, 254), (254, 1)] {
        let mut machine = backup(settings(before, true));
        machine.handle(at(1_000_000), advert(254, 3 * SECOND, 1));
        machine.handle(at(2_000_000), Event::Configure(settings(after, true)));
        let down = Rfc9568::master_down(u8::try_from(after).expect("a byte"), 3 * SECOND);
        assert_eq!(machine.deadline(), Some(at(1_000_000) + down), "{before} to {after}");
    }
}

#[test]
fn a_changed_interval_counts_at_once_while_no_master_was_heard() {
    let mut machine = backup(settings(100, true));
    let short =
        Settings { interval: AdvertInterval::from_centis(10).expect("1 to 4095"), ..settings(100, true) };
    machine.handle(at(100_000), Event::Configure(short));
    assert_eq!(machine.deadline(), Some(at(0) + Rfc9568::master_down(100, Duration::from_millis(100))));
}

#[test]
fn an_owner_that_becomes_an_ordinary_router_stays_master() {
    let mut machine = Machine::new(settings(255, true));
    assert_eq!(sent(&machine.handle(at(0), up())), [255]);
    assert_eq!(sent(&machine.handle(at(1), Event::Configure(settings(100, true)))), [0; 0]);
    assert_eq!(sent(&machine.handle(at(1_000_000), Event::Timer)), [100]);
}

#[test]
fn changed_addresses_of_a_master_are_announced_again() {
    let mut machine = machine(Kind::Master, true);
    let mut more = settings(100, true);
    more.addresses.push(("eth0".parse().expect("an interface name"), IpAddr::from([192, 0, 2, 2])));
    machine.handle(at(4_500_000), Event::Configure(more));
    let due = at(9_500_000);
    let mut rounds = Vec::new();
    while let Some(deadline) = machine.deadline().filter(|d| *d < at(20_000_000)) {
        if machine.handle(deadline, Event::Timer).contains(&Output::Announce) {
            rounds.push(deadline.since(due).as_millis());
        }
    }
    assert_eq!(rounds, [0, 100, 200, 300, 400]);
}

#[test]
fn without_preemption_a_master_that_slept_yields_to_whoever_took_over() {
    for (silent_us, preempt, after) in [
        (2_999_999, false, Kind::Master),
        (3_000_000, false, Kind::Backup),
        (3_000_000, true, Kind::Master),
        (60_000_000, true, Kind::Master),
    ] {
        let mut machine = machine(Kind::Master, preempt);
        machine.handle(at(3_609_375 + silent_us), advert(99, SECOND, 1));
        assert_eq!(kind(&machine), after, "{silent_us} us, preempt {preempt}");
    }
}

#[test]
fn a_rival_that_does_not_hear_us_gets_one_answer_an_interval_and_announcements_every_five_seconds() {
    let mut machine = machine(Kind::Master, true);
    let start = at(10_000_000);
    while machine.deadline().is_some_and(|deadline| deadline < start) {
        let deadline = machine.deadline().expect("a deadline");
        machine.handle(deadline, Event::Timer);
    }
    let mut adverts = 0;
    let mut announcements = 0;
    let mut count = |outputs: &[Output]| {
        adverts += sent(outputs).len();
        announcements += outputs.iter().filter(|o| **o == Output::Announce).count();
    };
    for step in 0..20_000_u64 {
        let now = start + Duration::from_millis(step);
        count(&machine.handle(now, advert(99, SECOND, 1)));
        count(&machine.handle(now, Event::Timer));
    }
    assert_eq!(adverts, 20 + 20);
    assert_eq!(announcements, 4 * 5);
    assert_eq!(machine.counters().rivals, 20_000);
}
