//! Yielding and standing aside.

use super::*;

fn told(stance: Stance) -> Settings {
    Settings { stance, ..settings(100, false) }
}

/// Runs timers until `until`; every output.
fn run(machine: &mut Machine, until: Instant) -> Vec<Output> {
    let mut all = Vec::new();
    for _ in 0..1_000 {
        let Some(due) = machine.deadline().filter(|due| *due <= until) else { return all };
        all.extend(machine.handle(due, Event::Timer));
    }
    panic!("the machine never rests")
}

#[test]
fn who_yields_says_farewell_every_interval_and_goes_on_as_master_if_nobody_takes_over() {
    let mut machine = machine(Kind::Yielding, true);
    let gives_up = at(TOLD + 3_609_375);
    let outputs = run(&mut machine, gives_up - Duration::from_nanos(1));
    assert_eq!((sent(&outputs), kind(&machine)), (vec![0, 0, 0], Kind::Yielding));
    let outputs = run(&mut machine, gives_up);
    assert_eq!((sent(&outputs), kind(&machine)), (vec![100], Kind::Master));
    let stays = |o: &Output| matches!(o, Output::Tell(Notice::NobodyTookOver { stays: true, .. }));
    assert!(outputs.iter().any(stays), "and says so: {outputs:?}");
    let outputs = run(&mut machine, gives_up + 3 * SECOND);
    assert_eq!((sent(&outputs), kind(&machine)), (vec![100; 3], Kind::Master), "for good");
}

#[test]
fn who_stands_aside_hands_over_first_and_leaves_even_if_nobody_takes_over() {
    let mut machine = machine(Kind::Master, true);
    machine.handle(at(NOW), Event::Configure(told(Stance::Aside { told: at(NOW) })));
    let outputs = run(&mut machine, at(NOW) + 10 * SECOND);
    assert_eq!((sent(&outputs), kind(&machine)), (vec![0; 3], Kind::Aside));
    let nowhere = |o: &Output| matches!(o, Output::Tell(Notice::NobodyTookOver { stays: false, .. }));
    assert!(outputs.iter().any(nowhere), "{outputs:?}");
    assert_eq!(machine.deadline(), None, "whatever happens");
}

#[test]
fn who_stands_aside_lingers_as_anybody_and_is_aside_then() {
    let mut machine = machine(Kind::Master, true);
    machine.handle(at(NOW), Event::Configure(told(Stance::Aside { told: at(NOW) })));
    machine.handle(at(NOW + 300_000), advert(1, SECOND, 9));
    assert_eq!(kind(&machine), Kind::Lingering);
    run(&mut machine, at(NOW + 500_000));
    assert_eq!(kind(&machine), Kind::Aside);
}

#[test]
fn who_has_yielded_takes_over_when_the_other_dies_and_does_not_preempt_before() {
    let mut machine = machine(Kind::Lingering, false);
    run(&mut machine, at(LINGERING_END));
    for step in 1..20 {
        machine.handle(at(LINGERING_END) + HALF * step, advert(1, HALF, 9));
        run(&mut machine, at(LINGERING_END) + HALF * step);
        assert_eq!(kind(&machine), Kind::Backup, "priority 1 is heeded");
    }
    let last = at(LINGERING_END) + HALF * 19;
    let outputs = run(&mut machine, last + Rfc9568::master_down(100, HALF));
    assert_eq!((sent(&outputs), kind(&machine)), (vec![100], Kind::Master));
}

#[test]
fn a_backup_told_to_yield_in_the_last_moment_of_its_wait_leaves_room_for_one_advert() {
    let mut machine = backup(settings(100, true));
    machine.handle(at(0), advert(50, SECOND, 1));
    let late = at(3_609_375) - Duration::from_nanos(1);
    machine.handle(late, Event::Configure(told(Stance::Yield { told: late })));
    assert_eq!(machine.deadline(), Some(late + SECOND + Rfc9568::skew(100, SECOND)));
    machine.handle(at(4_000_000), advert(50, SECOND, 1));
    assert_eq!(machine.deadline(), Some(at(4_000_000) + Rfc9568::master_down(100, SECOND)));
}

#[test]
fn who_starts_while_it_is_to_stand_aside_does_so_and_an_owner_does_not() {
    let aside = Stance::Aside { told: at(0) };
    let mut machine = Machine::new(told(aside));
    machine.handle(at(0), up());
    assert_eq!((kind(&machine), machine.deadline()), (Kind::Aside, None));
    let mut owner = Machine::new(Settings { stance: aside, ..settings(255, true) });
    assert_eq!(sent(&owner.handle(at(0), up())), [255]);
    owner.handle(
        at(5),
        Event::Configure(Settings { stance: Stance::Yield { told: at(5) }, ..settings(255, true) }),
    );
    assert_eq!(kind(&owner), Kind::Master, "nor does it yield");
}

#[test]
fn a_restart_while_handing_over_goes_on_with_it_and_one_after_it_does_not_begin_again() {
    let stance = Stance::Yield { told: at(TOLD) };
    let restart = |from: &Machine, stance, now| {
        let survival = from.survival().expect("it takes part");
        let mut successor = Machine::new(told(stance));
        let (resumed, outputs) = successor.resume(now, OWN.into(), &survival);
        (kind(&successor), resumed, sent(&outputs), successor.deadline())
    };
    let yielding = machine(Kind::Yielding, true);
    let (now, next) = (at(NOW), Some(at(NOW) + SECOND));
    assert_eq!(restart(&yielding, stance, now), (Kind::Yielding, true, vec![0], next));
    // Its last farewell is older than three intervals: another may be Master, it starts afresh.
    let late = at(TOLD + 3_000_000);
    assert_eq!(restart(&yielding, stance, late).0, Kind::Backup);
    // The command was taken back while it was dead.
    assert_eq!(restart(&yielding, Stance::Normal, now), (Kind::Master, true, vec![100], next));
    // A Master since then: the command is long past.
    let later = at(TOLD + 20_000_000);
    let mut master = machine(Kind::Yielding, true);
    run(&mut master, later);
    assert_eq!(restart(&master, stance, later), (Kind::Master, true, vec![100], Some(later + SECOND)));
    // Another has it: Backup, with what was heard.
    let lingering = machine(Kind::Lingering, true);
    let down = at(HEARD) + Rfc9568::master_down(100, HALF);
    assert_eq!(restart(&lingering, stance, now), (Kind::Backup, true, vec![], Some(down)));
    let aside = machine(Kind::Aside, true);
    let set_aside = Stance::Aside { told: at(TOLD) };
    assert_eq!(restart(&aside, set_aside, now), (Kind::Aside, true, vec![], None));
    assert_eq!(restart(&aside, Stance::Normal, now).0, Kind::Backup);
    assert_eq!(restart(&machine(Kind::Backup, true), set_aside, now).0, Kind::Aside);
}
