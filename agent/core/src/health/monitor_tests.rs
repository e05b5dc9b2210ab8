use super::*;

const MS: Duration = Duration::from_millis(1);
const INTERVAL: Duration = Duration::from_secs(2);
const TIMEOUT: Duration = Duration::from_secs(1);

fn at(millis: u64) -> Instant {
    Instant::ZERO + Duration::from_millis(millis)
}

fn target(host: u8) -> Target {
    Target {
        address: SocketAddr::from(([10, 0, 0, host], 80)),
        kind: ProbeKind::TcpConnect,
        interval: INTERVAL,
        timeout: TIMEOUT,
        rise: 2,
        fall: 3,
        start: Start::Pessimistic,
    }
}

fn watching(targets: impl IntoIterator<Item = Target>) -> Monitor {
    let mut monitor = Monitor::default();
    monitor.configure(at(0), targets.into_iter().collect());
    monitor
}

fn up(id: ProbeId) -> ProbeOutcome {
    ProbeOutcome { id, took: MS, verdict: Verdict::Up }
}

fn down(id: ProbeId) -> ProbeOutcome {
    ProbeOutcome { id, took: MS, verdict: Verdict::Down("connection refused".into()) }
}

/// Waits for the next probe and answers it a millisecond after it started.
fn answer(monitor: &mut Monitor, with: fn(ProbeId) -> ProbeOutcome) -> (Instant, Option<Change>) {
    let start = monitor.deadline().expect("something is due");
    let probes = monitor.poll(start);
    assert_eq!(probes.len(), 1, "one target, one probe");
    (start, monitor.outcome(start + MS, with(probes[0].id)))
}

fn standing(monitor: &Monitor) -> Standing {
    monitor.view(&target(1)).expect("watched").standing
}

#[test]
fn a_new_target_is_probed_at_once_and_is_out_until_it_has_risen() {
    let mut monitor = watching([target(1)]);
    assert!(!monitor.usable(&target(1)));
    assert_eq!(answer(&mut monitor, up), (at(0), None));
    assert!(!monitor.usable(&target(1)));
    let (_, change) = answer(&mut monitor, up);
    assert_eq!(change, Some(Change { target: target(1), down: None }));
    assert!(monitor.usable(&target(1)));
}

#[test]
fn an_optimistic_target_is_in_until_it_has_fallen() {
    let hopeful = Target { start: Start::Optimistic, ..target(1) };
    let mut monitor = watching([hopeful.clone()]);
    for _ in 0..2 {
        assert!(monitor.usable(&hopeful));
        assert_eq!(answer(&mut monitor, down).1, None);
    }
    let (_, change) = answer(&mut monitor, down);
    assert_eq!(change, Some(Change { target: hopeful.clone(), down: Some("connection refused".into()) }));
    assert!(!monitor.usable(&hopeful));
}

#[test]
fn only_failures_in_a_row_take_a_target_out() {
    let mut monitor = watching([target(1)]);
    answer(&mut monitor, up);
    answer(&mut monitor, up);
    for _ in 0..10 {
        answer(&mut monitor, down);
        answer(&mut monitor, down);
        assert_eq!(standing(&monitor), Standing::Up { bad: 2 });
        answer(&mut monitor, up);
        assert_eq!(standing(&monitor), Standing::Up { bad: 0 });
    }
}

#[test]
fn only_successes_in_a_row_bring_a_target_in() {
    let mut monitor = watching([target(1)]);
    for _ in 0..3 {
        answer(&mut monitor, down);
    }
    for _ in 0..10 {
        answer(&mut monitor, up);
        answer(&mut monitor, down);
        assert!(!monitor.usable(&target(1)));
    }
    answer(&mut monitor, up);
    answer(&mut monitor, up);
    assert_eq!(standing(&monitor), Standing::Up { bad: 0 });
}

#[test]
fn probes_keep_their_interval_when_all_is_well_and_hurry_after_a_failure() {
    let mut monitor = watching([target(1)]);
    answer(&mut monitor, up);
    assert_eq!(monitor.deadline(), Some(at(400)), "still pending: a fifth of the interval");
    answer(&mut monitor, up);
    assert_eq!(monitor.deadline(), Some(at(2_400)));
    answer(&mut monitor, up);
    assert_eq!(monitor.deadline(), Some(at(4_400)));
    answer(&mut monitor, down);
    assert_eq!(monitor.deadline(), Some(at(4_800)));
    answer(&mut monitor, up);
    assert_eq!(monitor.deadline(), Some(at(6_800)));
}

#[test]
fn a_slow_failure_does_not_delay_the_next_probe_further() {
    let mut monitor = watching([target(1)]);
    let probe = monitor.poll(at(0)).remove(0);
    monitor.outcome(at(1_000), down(probe.id));
    assert_eq!(monitor.deadline(), Some(at(1_000)), "400 ms after its start are long over");
}

#[test]
fn the_first_round_is_ten_milliseconds_apart_or_spread_over_the_interval() {
    let few = watching((1..=3).map(target));
    let starts: Vec<Instant> = few.queue.iter().map(|(at, _)| *at).collect();
    assert_eq!(starts, [at(0), at(10), at(20)]);
    let many = watching((0..=255).map(|host| Target { interval: Duration::from_secs(1), ..target(host) }));
    let last = many.queue.last().expect("many").0;
    assert!(last < at(1_000) && last > at(990), "{last:?}");
}

#[test]
fn phases_survive_a_stall_of_the_agent() {
    let mut monitor = watching((1..=3).map(target));
    for ms in [0, 10, 20] {
        let probe = monitor.poll(at(ms)).remove(0);
        monitor.outcome(at(ms + 1), up(probe.id));
    }
    for probe in monitor.poll(at(7_015)) {
        monitor.outcome(at(7_016), up(probe.id));
    }
    let starts: Vec<Instant> = monitor.queue.iter().map(|(at, _)| *at).collect();
    assert_eq!(starts, [at(8_400), at(8_410), at(8_420)]);
}

#[test]
fn one_target_is_never_probed_twice_at_a_time() {
    let mut monitor = watching([Target { interval: 100 * MS, ..target(1) }]);
    assert_eq!(monitor.poll(at(0)).len(), 1);
    assert_eq!(monitor.poll(at(0)).len(), 0, "a repeated timer");
    assert_eq!(monitor.poll(at(1_999)).len(), 0, "its answer may still come");
    assert_eq!(monitor.poll(at(2_000)).len(), 1, "timeout and grace are over");
}

#[test]
fn a_probe_that_is_never_answered_says_nothing_but_is_shown() {
    let mut monitor = watching([target(1)]);
    answer(&mut monitor, up);
    answer(&mut monitor, up);
    for _ in 0..20 {
        let due = monitor.deadline().expect("due");
        monitor.poll(due);
    }
    assert_eq!(standing(&monitor), Standing::Up { bad: 0 });
    let detail = monitor.view(&target(1)).expect("watched").detail;
    assert!(detail.contains("the prober does not answer"), "{detail}");
    let due = monitor.deadline().expect("due");
    let probe = monitor.poll(due).remove(0);
    monitor.outcome(due + MS, up(probe.id));
    assert_eq!(monitor.view(&target(1)).expect("watched").detail, "answered in 1.0 ms");
}

#[test]
fn a_late_or_repeated_answer_does_nothing() {
    let mut monitor = watching([target(1)]);
    let probe = monitor.poll(at(0)).remove(0);
    assert_eq!(monitor.poll(at(2_000)).len(), 1);
    monitor.outcome(at(2_001), down(probe.id));
    assert_eq!(standing(&monitor), Standing::NEW, "the first answer came after its grace");
    assert_eq!(monitor.outcome(at(2_002), up(ProbeId(77))), None);
}

#[test]
fn a_restarted_prober_gets_the_lost_probes_again() {
    let mut monitor = watching((1..=3).map(target));
    let lost = monitor.poll(at(20));
    assert_eq!(lost.len(), 3);
    monitor.prober_restarted(at(500));
    let again = monitor.poll(at(520));
    assert_eq!(again.len(), 3);
    assert!(again.iter().all(|probe| lost.iter().all(|old| old.id != probe.id)));
    assert_eq!(monitor.outcome(at(521), up(lost[0].id)), None);
    assert_eq!(standing(&monitor), Standing::NEW);
}

#[test]
fn a_new_configuration_keeps_the_state_of_unchanged_and_of_retuned_targets() {
    let mut monitor = watching([target(1), target(2)]);
    for _ in 0..2 {
        let due = monitor.deadline().expect("due") + STAGGER;
        for probe in monitor.poll(due) {
            monitor.outcome(due + MS, up(probe.id));
        }
    }
    let flying = monitor.poll(at(5_000));
    assert_eq!(flying.len(), 2);
    let retuned = Target { fall: 9, interval: 5 * INTERVAL, ..target(2) };
    monitor.configure(at(5_001), BTreeSet::from([target(1), retuned.clone(), target(3)]));
    assert!(monitor.usable(&target(1)) && monitor.usable(&retuned) && !monitor.usable(&target(3)));
    let own = flying.iter().find(|probe| probe.target == target(1).address).expect("it flies");
    monitor.outcome(at(5_002), down(own.id));
    assert_eq!(standing(&monitor), Standing::Up { bad: 1 }, "the probe in flight still counts");
}

#[test]
fn a_target_that_is_no_longer_configured_is_forgotten() {
    let mut monitor = watching([target(1), target(2)]);
    let probe = monitor.poll(at(0)).remove(0);
    monitor.configure(at(1), BTreeSet::from([target(2)]));
    assert_eq!(monitor.outcome(at(2), up(probe.id)), None);
    assert_eq!(monitor.view(&target(1)), None);
    assert_eq!(monitor.queue.len(), 1);
}

#[test]
fn a_successor_knows_what_was_decided_and_probes_at_once() {
    let mut monitor = watching([target(1), target(2), target(3)]);
    for _ in 0..3 {
        let due = monitor.deadline().expect("due") + STAGGER + STAGGER;
        for probe in monitor.poll(due) {
            let verdict = if probe.target == target(1).address { up } else { down };
            if probe.target != target(3).address {
                monitor.outcome(due + MS, verdict(probe.id));
            }
        }
    }
    let bytes = postcard::to_stdvec(&monitor.snapshot()).expect("it fits");
    let mut successor = Monitor::resume(postcard::from_bytes(&bytes).expect("the same"));
    successor.configure(at(60_000), [target(1), target(2), target(3)].into());
    assert!(successor.usable(&target(1)));
    assert_eq!(
        successor.view(&target(2)).expect("watched").standing,
        Standing::Down { good: 0, reason: "connection refused".into() }
    );
    assert_eq!(successor.view(&target(3)).expect("watched").standing, Standing::NEW);
    assert_eq!(successor.deadline(), Some(at(60_000)));
}

#[test]
fn extreme_durations_and_early_timers_do_no_harm() {
    let odd = Target { interval: Duration::ZERO, timeout: Duration::MAX, rise: 0, fall: 0, ..target(1) };
    let mut monitor = watching([odd]);
    assert_eq!(monitor.poll(at(0)).len(), 1);
    assert_eq!(monitor.poll(at(1_000_000)).len(), 0);
    assert_eq!(watching([]).deadline(), None);
}

#[test]
fn a_state_is_as_old_as_its_change_and_survives_a_retuned_check() {
    let mut monitor = watching([target(1)]);
    answer(&mut monitor, up);
    let (start, change) = answer(&mut monitor, up);
    assert!(change.is_some());
    let risen = start + MS;
    answer(&mut monitor, up);
    let view = |monitor: &Monitor, target: &Target| monitor.view(target).expect("watched");
    assert_eq!((view(&monitor, &target(1)).since, view(&monitor, &target(1)).latency), (risen, Some(MS)));
    answer(&mut monitor, down);
    // Still in, but the last probe has no latency.
    assert_eq!((view(&monitor, &target(1)).since, view(&monitor, &target(1)).latency), (risen, None));
    let retuned = Target { fall: 5, ..target(1) };
    monitor.configure(at(60_000), [retuned.clone()].into());
    assert_eq!(view(&monitor, &retuned).since, risen);
}
