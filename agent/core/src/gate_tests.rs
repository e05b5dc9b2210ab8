use super::*;

fn name(text: &str) -> Name {
    text.parse().expect("a name")
}

fn at(seconds: u64) -> Instant {
    Instant::ZERO + Duration::from_secs(1_000 + seconds)
}

fn sight() -> Sight {
    Sight {
        version: "1.0.0".to_owned(),
        generation: Some(7),
        agent_uptime: Duration::from_secs(3_600),
        routers: BTreeMap::from([(name("front"), None)]),
        services: BTreeMap::from([(name("web"), Pool { usable: 3, pending: 0, in_kernel: true })]),
        gateways: BTreeMap::from([(IpAddr::from([192, 0, 2, 1]), true)]),
        ..Sight::default()
    }
}

fn gate() -> Gate {
    Gate::new(sight(), at(0))
}

/// Looks at the same sight every second; the verdict that is not `Wait`, and when.
fn verdict(gate: &mut Gate, sight: Option<&Sight>) -> (u64, Verdict) {
    (0..=DEADLINE.as_secs() + 1)
        .find_map(|second| match gate.look(at(second), sight) {
            Verdict::Wait(_) => None,
            other @ (Verdict::Keep | Verdict::Refuse(_)) => Some((second, other)),
        })
        .expect("a verdict within the deadline")
}

fn wanting(change: impl Fn(&mut Sight)) -> Vec<String> {
    let mut now = sight();
    change(&mut now);
    match gate().look(at(0), Some(&now)) {
        Verdict::Wait(texts) => texts,
        other @ (Verdict::Keep | Verdict::Refuse(_)) => panic!("{other:?}"),
    }
}

#[test]
fn a_box_as_before_is_kept_after_it_has_been_so_for_half_a_minute() {
    assert_eq!(verdict(&mut gate(), Some(&sight())), (30, Verdict::Keep));
}

#[test]
fn the_half_minute_begins_again_after_every_break() {
    let mut gate = gate();
    for second in 0..29 {
        assert_eq!(gate.look(at(second), Some(&sight())), Verdict::Wait(vec![]));
    }
    assert!(
        matches!(gate.look(at(29), None), Verdict::Wait(texts) if texts == ["the agent does not answer"])
    );
    assert_eq!(gate.look(at(30), Some(&sight())), Verdict::Wait(vec![]));
    assert_eq!(gate.look(at(59), Some(&sight())), Verdict::Wait(vec![]));
    assert_eq!(gate.look(at(60), Some(&sight())), Verdict::Keep);
}

#[test]
fn an_agent_that_was_started_again_between_two_looks_begins_the_half_minute_anew() {
    let mut gate = gate();
    let young = |seconds| Sight { agent_uptime: Duration::from_secs(seconds), ..sight() };
    assert_eq!(gate.look(at(0), Some(&young(3))), Verdict::Wait(vec![]));
    assert_eq!(gate.look(at(20), Some(&young(23))), Verdict::Wait(vec![]));
    let texts = vec!["the agent was started again".to_owned()];
    assert_eq!(gate.look(at(21), Some(&young(0))), Verdict::Wait(texts));
    assert_eq!(gate.look(at(22), Some(&young(1))), Verdict::Wait(vec![]));
    assert_eq!(gate.look(at(51), Some(&young(30))), Verdict::Wait(vec![]));
    assert_eq!(gate.look(at(52), Some(&young(31))), Verdict::Keep);
}

#[test]
fn an_impatient_gate_refuses_sooner_and_never_later() {
    assert_eq!(verdict(&mut gate().within(Duration::from_secs(40)), None).0, 40);
    assert_eq!(verdict(&mut gate().within(Duration::from_secs(900)), None).0, DEADLINE.as_secs());
    assert_eq!(gate().within(Duration::from_secs(40)).left(at(10)), Duration::from_secs(30));
}

#[test]
fn what_never_becomes_as_before_is_refused_at_the_deadline_with_the_reason() {
    assert_eq!(
        verdict(&mut gate(), None),
        (180, Verdict::Refuse(vec!["the agent does not answer, after 180 s".to_owned()]))
    );
    let mut now = sight();
    now.services.get_mut(&name("web")).expect("it").usable = 1;
    let (second, verdict) = verdict(&mut gate(), Some(&now));
    let text = "service web has 1 usable real servers, before it had 3, after 180 s";
    assert_eq!((second, verdict), (180, Verdict::Refuse(vec![text.to_owned()])));
}

#[test]
fn a_box_that_flaps_until_the_deadline_is_refused() {
    let mut gate = gate();
    let verdicts = (0..=180).map(|second| {
        let sight = (second % 20 != 19).then(sight);
        gate.look(at(second), sight.as_ref())
    });
    let last = verdicts.into_iter().last().expect("one");
    assert_eq!(last, Verdict::Refuse(vec!["within 180 s it did not hold for long enough".to_owned()]));
}

#[test]
fn an_oops_or_an_older_configuration_refuses_at_once_and_a_newer_one_does_not() {
    let committed = Sight { generation: Some(8), ..sight() };
    assert_eq!(gate().look(at(0), Some(&committed)), Verdict::Wait(vec![]));
    let now = Sight { oops: true, ..sight() };
    assert_eq!(gate().look(at(0), Some(&now)), Verdict::Refuse(vec!["the kernel had an oops".to_owned()]));
    for (generation, word) in [(Some(6), "6"), (None, "none of the operator's")] {
        let now = Sight { generation, ..sight() };
        let text = format!("configuration generation 7 ran before, now {word}");
        assert_eq!(gate().look(at(0), Some(&now)), Verdict::Refuse(vec![text]));
    }
}

#[test]
fn every_loss_is_named() {
    let web = name("web");
    type Loss<'a> = (&'a dyn Fn(&mut Sight), &'a str);
    let cases: [Loss<'_>; 7] = [
        (&|now| now.problems = BTreeSet::from(["no eth7".to_owned()]), "no eth7"),
        (
            &|now| drop(now.routers.insert(name("front"), Some("no link".to_owned()))),
            "virtual router front has a fault: no link",
        ),
        (&|now| now.routers.clear(), "virtual router front is gone"),
        (&|now| now.services.clear(), "service web is gone"),
        (
            &|now| now.services.get_mut(&web).expect("it").pending = 2,
            "service web: 2 real servers are not checked yet",
        ),
        (
            &|now| now.services.get_mut(&web).expect("it").in_kernel = false,
            "service web is not in the kernel as it should be",
        ),
        (&|now| now.gateways.clear(), "gateway 192.0.2.1 answered before and does not answer"),
    ];
    for (change, text) in cases {
        assert_eq!(wanting(change), [text]);
    }
}

#[test]
fn faults_that_were_there_before_are_no_reason() {
    let mut before = sight();
    before.routers.insert(name("front"), Some("no link".to_owned()));
    before.problems.insert("no eth7".to_owned());
    before.gateways.insert(IpAddr::from([192, 0, 2, 1]), false);
    before.services.insert(name("web"), Pool { usable: 0, pending: 0, in_kernel: false });
    before.oops = true;
    let mut gate = Gate::new(before.clone(), at(0));
    assert_eq!(verdict(&mut gate, Some(&before)), (30, Verdict::Keep));
}

#[test]
fn one_server_or_a_fifth_of_them_may_be_missing_but_never_all() {
    let serves = |before, now| {
        let pool = |usable| Pool { usable, pending: 0, in_kernel: true };
        pool(now).serves_as(&pool(before))
    };
    for (before, least) in [(0, 0), (1, 1), (2, 1), (3, 2), (5, 4), (10, 8), (100, 80)] {
        assert!(serves(before, least), "{before} {least}");
        assert!(least == 0 || !serves(before, least - 1), "{before} {least}");
        assert!(serves(before, before + 1));
    }
}

#[test]
fn without_a_sight_from_before_a_healthy_box_is_kept_and_one_with_problems_is_not() {
    let gate = || Gate::new(Sight::default(), at(0));
    assert_eq!(verdict(&mut gate(), Some(&sight())), (30, Verdict::Keep));
    let now = Sight { problems: BTreeSet::from(["no eth7".to_owned()]), ..sight() };
    assert!(matches!(verdict(&mut gate(), Some(&now)), (180, Verdict::Refuse(_))));
}
