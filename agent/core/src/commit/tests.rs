use proptest::prelude::*;

use super::*;
use crate::config::Config;

const fn at(seconds: u64) -> Instant {
    Instant::from_nanos(seconds * 1_000_000_000)
}

const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn picture(router: RouterView, healthy: usize, configured: usize) -> Picture {
    let name = |text: &str| text.parse().expect("a name");
    Picture {
        routers: [(name("front"), router)].into(),
        services: [(name("web"), ServiceView { healthy, configured })].into(),
    }
}

fn good() -> Picture {
    picture(RouterView::Master, 4, 4)
}

fn bad() -> Picture {
    picture(RouterView::Master, 0, 4)
}

fn started(kept: &[(u64, bool)], left: Option<Pending>) -> (Timer, Option<GoBack>) {
    let kept: Vec<Kept> =
        kept.iter().map(|&(n, confirmed)| Kept { generation: Generation(n), confirmed }).collect();
    Timer::start(at(0), &kept, left)
}

fn waiting(guard: Option<Guard>) -> Timer {
    let (mut timer, _) = started(&[(1, true)], None);
    assert_eq!(timer.handle(at(0), Event::CommittedForNow(Generation(2), seconds(60), guard)), None);
    timer
}

fn back(from: u64, to: u64, why: Why) -> Option<GoBack> {
    Some(GoBack { from: Generation(from), to: Some(Generation(to)), why })
}

#[test]
fn what_nobody_confirms_goes_back_at_its_deadline_and_not_before() {
    let mut timer = waiting(None);
    assert_eq!(timer.deadline(), Some(at(60)));
    assert_eq!(timer.handle(Instant::from_nanos(at(60).as_nanos() - 1), Event::Timer), None);
    assert_eq!(timer.handle(at(60), Event::Timer), back(2, 1, Why::NotConfirmed(seconds(60))));
    assert_eq!((timer.handle(at(61), Event::Timer), timer.pending()), (None, None));
}

#[test]
fn what_was_confirmed_stays() {
    let mut timer = waiting(None);
    assert_eq!(timer.handle(at(59), Event::Confirmed), None);
    assert_eq!((timer.handle(at(99), Event::Timer), timer.deadline()), (None, None));
    timer.handle(at(100), Event::CommittedForNow(Generation(3), seconds(60), None));
    assert_eq!(timer.handle(at(160), Event::Timer), back(3, 2, Why::NotConfirmed(seconds(60))));
}

#[test]
fn a_plain_commit_confirms_all_and_a_second_unconfirmed_one_goes_back_behind_both() {
    let mut timer = waiting(None);
    timer.handle(at(10), Event::Committed(Generation(3)));
    assert_eq!(timer.handle(at(99), Event::Timer), None);
    let mut timer = waiting(Some(Guard::new(good(), seconds(5))));
    let second = Event::CommittedForNow(Generation(3), seconds(60), Some(Guard::new(bad(), seconds(5))));
    timer.handle(at(30), second);
    assert_eq!(timer.handle(at(60), Event::Timer), None);
    // Compared with the box before both.
    assert_eq!(timer.handle(at(61), Event::Looked(bad())), None);
    let worse = Why::Worse("virtual server web has 0 healthy real servers, 4 before".into());
    assert_eq!(timer.handle(at(66), Event::Looked(bad())), back(3, 1, worse));
}

#[test]
fn a_box_that_stays_worse_for_the_settle_time_goes_back_before_the_deadline() {
    let mut timer = waiting(Some(Guard::new(good(), seconds(5))));
    assert_eq!(timer.handle(at(1), Event::Looked(bad())), None);
    assert_eq!(timer.handle(at(4), Event::Looked(good())), None);
    assert_eq!(timer.handle(at(5), Event::Looked(bad())), None);
    assert_eq!(timer.handle(at(9), Event::Looked(bad())), None);
    let why = "virtual server web has 0 healthy real servers, 4 before";
    assert_eq!(timer.handle(at(10), Event::Looked(bad())), back(2, 1, Why::Worse(why.into())));
}

#[test]
fn worse_is_a_new_fault_a_lost_master_and_more_than_one_server_or_one_in_five() {
    use RouterView::{Alone, Backup, Master};
    let fault = || RouterView::Fault("interface eth7 does not exist".into());
    let worse = |before, after| picture(before, 1, 1).worse(&picture(after, 1, 1));
    assert_eq!(
        worse(Backup, fault()).as_deref(),
        Some("virtual router front is in Fault: interface eth7 does not exist")
    );
    let nobody = "virtual router front is Master no more, and no other box is";
    assert_eq!(worse(Master, Alone).as_deref(), Some(nobody));
    for (before, after) in [(Master, Backup), (fault(), fault()), (fault(), Alone), (Backup, Alone)] {
        assert_eq!(worse(before, after), None);
    }
    let lost = |before, healthy, configured| {
        picture(Master, before, before).worse(&picture(Master, healthy, configured)).is_some()
    };
    assert!(!lost(4, 3, 4) && lost(4, 2, 4), "one less is no reason, two are");
    assert!(!lost(20, 16, 20) && lost(20, 15, 20), "one in five is no reason, more is");
    assert!(lost(1, 0, 1), "the last one is a reason");
    assert!(
        !lost(4, 2, 2) && !lost(4, 0, 0) && lost(4, 0, 1),
        "what was taken out on purpose does not count"
    );
    assert_eq!(good().worse(&Picture::default()), None);
}

#[test]
fn the_settle_time_covers_checks_and_elections_within_its_bounds() {
    let text = |interval: &str| {
        format!(
            "[virtual-server.web]\naddress = \"192.0.2.1\"\nport = 80\n\
             check = {{ kind = \"tcp\", interval = \"{interval}\", timeout = \"1s\", rise = 2, fall = 3 }}\n"
        )
    };
    let of = |text: &str| settle(&Config::parse(text, "t").expect("good").config);
    assert_eq!(of(""), seconds(5));
    assert_eq!(of(&text("3s")), seconds(13));
    assert_eq!(of(&text("1h")), seconds(60));
}

#[test]
fn a_boot_goes_back_at_once_and_a_restart_of_the_agent_goes_on() {
    let kept = [(2, false), (1, true)];
    let (timer, decision) = started(&kept, None);
    assert_eq!((decision, timer.pending()), (back(2, 1, Why::Restarted), None));
    let left = waiting(None).pending().cloned();
    let (mut timer, decision) = started(&kept, left.clone());
    assert_eq!((decision, timer.deadline()), (None, Some(at(60))));
    assert!(timer.handle(at(60), Event::Timer).is_some());
    // What was left is about another generation, or was confirmed meanwhile.
    assert_eq!(started(&[(3, false), (1, true)], left.clone()).1, back(3, 1, Why::Restarted));
    assert_eq!(started(&[(2, true), (1, true)], left).1, None);
    let nowhere = GoBack { from: Generation(2), to: None, why: Why::Restarted };
    assert_eq!(started(&[(2, false)], None).1, Some(nowhere));
}

#[test]
fn reasons_are_sentences() {
    assert_eq!(Why::NotConfirmed(seconds(600)).to_string(), "not confirmed within 10 min");
    assert_eq!(Why::NotConfirmed(seconds(90)).to_string(), "not confirmed within 1 min 30 s");
    assert_eq!(Why::NotConfirmed(seconds(20)).to_string(), "not confirmed within 20 s");
}

/// What may happen in one step of a life.
#[derive(Clone, Debug)]
enum Step {
    Commit,
    ForNow { within: u64, guarded: bool },
    Confirm,
    Look { worse: bool },
    Wait(u64),
    RestartAgent,
    LosePower,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        Just(Step::Commit),
        (1_u64..30, any::<bool>()).prop_map(|(within, guarded)| Step::ForNow { within, guarded }),
        Just(Step::Confirm),
        any::<bool>().prop_map(|worse| Step::Look { worse }),
        (0_u64..20).prop_map(Step::Wait),
        Just(Step::RestartAgent),
        Just(Step::LosePower),
    ]
}

/// A box with its store, as the daemon would drive the timer.
struct Life {
    now: Instant,
    kept: Vec<Kept>,
    timer: Timer,
    /// The generation that runs.
    runs: Generation,
}

impl Life {
    fn store(&mut self, confirmed: bool) -> Generation {
        let generation = Generation(self.kept.first().map_or(1, |kept| kept.generation.0 + 1));
        self.kept.insert(0, Kept { generation, confirmed });
        self.runs = generation;
        generation
    }

    /// A generation that goes back leaves a copy of the older one on top.
    fn obey(&mut self, decision: Option<GoBack>, truth: &mut Truth) {
        let Some(back) = decision else { return };
        assert_eq!(back.from, self.runs, "only what runs goes back");
        assert_eq!(back.to, Some(truth.confirmed), "it goes back to the newest confirmed one");
        let due = truth.deadline.is_some_and(|deadline| self.now >= deadline);
        match back.why {
            Why::NotConfirmed(_) => assert!(due, "not before its time"),
            Why::Restarted => assert!(truth.lost_power, "a restart of the agent is none of the box"),
            Why::Worse(_) => {
                assert!(truth.guarded && truth.worse, "only a guarded one, and while it is worse")
            }
        }
        truth.confirmed = self.store(true);
        truth.deadline = None;
        self.timer.handle(self.now, Event::Committed(truth.confirmed));
    }
}

/// What must be true, kept apart from the timer.
#[derive(Debug)]
struct Truth {
    confirmed: Generation,
    deadline: Option<Instant>,
    guarded: bool,
    worse: bool,
    lost_power: bool,
}

fn live(steps: &[Step]) {
    let kept = vec![Kept { generation: Generation(1), confirmed: true }];
    let (timer, _) = Timer::start(at(0), &kept, None);
    let mut life = Life { now: at(0), kept, timer, runs: Generation(1) };
    let mut truth =
        Truth { confirmed: Generation(1), deadline: None, guarded: false, worse: false, lost_power: false };
    for step in steps {
        let decision;
        match step {
            Step::Commit => {
                truth.confirmed = life.store(true);
                truth.deadline = None;
                decision = life.timer.handle(life.now, Event::Committed(truth.confirmed));
            }
            Step::ForNow { within, guarded } => {
                let generation = life.store(false);
                (truth.deadline, truth.guarded) = (Some(life.now + seconds(*within)), *guarded);
                let guard = guarded.then(|| Guard::new(good(), seconds(3)));
                let event = Event::CommittedForNow(generation, seconds(*within), guard);
                decision = life.timer.handle(life.now, event);
            }
            Step::Confirm => {
                if life.timer.pending().is_some() {
                    life.kept[0].confirmed = true;
                    truth.confirmed = life.runs;
                    truth.deadline = None;
                }
                decision = life.timer.handle(life.now, Event::Confirmed);
            }
            Step::Look { worse } => {
                truth.worse = *worse;
                let looked = if *worse { bad() } else { good() };
                decision = life.timer.handle(life.now, Event::Looked(looked));
            }
            Step::Wait(long) => {
                life.now += seconds(*long);
                decision = life.timer.handle(life.now, Event::Timer);
            }
            Step::RestartAgent => {
                let left = life.timer.pending().cloned();
                (life.timer, decision) = Timer::start(life.now, &life.kept, left);
            }
            Step::LosePower => {
                truth.lost_power = true;
                (life.timer, decision) = Timer::start(life.now, &life.kept, None);
                assert_eq!(decision.is_some(), truth.deadline.is_some(), "an unconfirmed one never boots");
            }
        }
        life.obey(decision, &mut truth);
        truth.lost_power = false;
        assert_eq!(life.timer.deadline(), truth.deadline);
        assert!(truth.deadline.is_none_or(|deadline| deadline > life.now), "{step:?} overslept its deadline");
        assert_eq!(life.runs != truth.confirmed, truth.deadline.is_some(), "what runs is confirmed or waits");
    }
}

proptest! {
    #[test]
    fn in_any_life_what_runs_is_confirmed_or_will_go_back(
        steps in proptest::collection::vec(step(), 1..60)
    ) {
        live(&steps);
    }
}
