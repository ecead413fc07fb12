//! Several engines as one.

use std::time::{Duration, Instant};

use proptest::prelude::*;
use tidelake_core::ports::store::Progress;
use tidelake_core::{CommitSeq, Error};

use crate::fleet::{Fleet, Report, Standing};

const PATIENCE: Duration = Duration::from_secs(5);

fn report_of(engine: &str, instance: u64, seq: u64) -> Report {
    Report {
        engine: engine.into(),
        instance: format!("{engine}{instance}"),
        address: "127.0.0.1:1".into(),
        lineage: Some("b".into()),
        published: Progress { seq: CommitSeq(seq), ..Progress::default() },
        durable: CommitSeq(seq),
        horizon: CommitSeq::ZERO,
        awaiting: None,
    }
}

struct Timed {
    fleet: Fleet,
    start: Instant,
}

impl Timed {
    fn new(floor: Option<u64>) -> Timed {
        let start = Instant::now();
        let mut fleet = Fleet::new(PATIENCE, [], start);
        fleet.begin(Some("b".into()), floor.map(CommitSeq), start);
        Timed { fleet, start }
    }

    fn says(&mut self, at: u64, engine: &str, seq: u64) {
        self.fleet.report(report_of(engine, 1, seq), self.start + Duration::from_secs(at)).expect("reported");
    }

    fn showable(&self, at: u64) -> Option<u64> {
        self.fleet.showable(self.start + Duration::from_secs(at)).map(|next| next.published.seq.0)
    }

    /// Shows what it can, as a latch does.
    fn show(&mut self, at: u64) -> Option<u64> {
        let next = self.showable(at);
        if let Some(seq) = next {
            self.fleet.shown(CommitSeq(seq));
        }
        next
    }

    fn standing(&self, at: u64, engine: &str) -> Standing {
        let all = self.fleet.standings(self.start + Duration::from_secs(at));
        all.into_iter().find(|(report, _)| report.engine == engine).expect("known").1
    }
}

#[test]
fn what_is_shown_is_what_all_have() {
    let mut fleet = Timed::new(Some(0));
    assert_eq!(fleet.showable(0), None);
    fleet.says(0, "one", 9);
    fleet.says(0, "two", 7);
    assert_eq!(fleet.show(0), Some(7));
    fleet.says(1, "two", 12);
    assert_eq!(fleet.show(1), Some(9));
}

#[test]
fn nothing_is_shown_while_nobody_knows_what_was() {
    let mut fleet = Timed::new(None);
    fleet.says(0, "one", 9);
    assert_eq!(fleet.showable(100), None);
    assert_eq!(fleet.standing(0, "one"), Standing::Behind);
}

#[test]
fn inv7_an_engine_that_lost_something_is_not_waited_for() {
    let mut fleet = Timed::new(Some(0));
    fleet.says(0, "one", 9);
    fleet.says(0, "two", 9);
    assert_eq!(fleet.show(0), Some(9));
    // It was killed, and what was not durable is gone.
    fleet.fleet.report(report_of("two", 2, 5), fleet.start).expect("a new process");
    assert_eq!(fleet.standing(0, "two"), Standing::Behind);
    fleet.says(1, "one", 11);
    assert_eq!(fleet.show(1), Some(11), "the other goes on");
    fleet.fleet.report(report_of("two", 2, 10), fleet.start).expect("catches up");
    assert_eq!(fleet.showable(1), Some(11), "what was shown does not go back");
    fleet.fleet.report(report_of("two", 2, 11), fleet.start).expect("has caught up");
    assert_eq!(fleet.standing(1, "two"), Standing::InStep);
    fleet.says(2, "one", 20);
    assert_eq!(fleet.show(2), Some(11), "and is waited for again");
}

#[test]
fn an_engine_is_waited_for_as_long_as_the_patience() {
    let mut fleet = Timed::new(Some(0));
    fleet.says(0, "one", 9);
    fleet.says(0, "two", 9);
    assert_eq!(fleet.show(0), Some(9));
    fleet.says(10, "one", 10);
    assert_eq!(fleet.show(14), Some(9));
    assert_eq!(fleet.show(15), Some(10), "one had it five seconds ago");
    // A slow one that goes on holds readers back by the patience, not for ever.
    for at in 20..60 {
        fleet.says(at, "one", at * 10);
        fleet.says(at, "two", at);
        fleet.show(at);
    }
    assert_eq!(fleet.show(60), Some(590));
    assert_eq!(fleet.standing(60, "two"), Standing::Behind);
}

#[test]
fn the_last_one_is_no_worse_for_being_silent() {
    let mut fleet = Timed::new(Some(0));
    fleet.says(0, "one", 9);
    assert_eq!(fleet.show(0), Some(9));
    assert_eq!(fleet.show(1000), Some(9));
    assert_eq!(fleet.standing(1000, "one"), Standing::Away);
}

#[test]
fn those_that_were_there_may_come_back_first() {
    let start = Instant::now();
    let mut fleet = Fleet::new(PATIENCE, ["one".to_owned(), "two".to_owned()], start);
    fleet.begin(Some("b".into()), Some(CommitSeq(3)), start);
    let mut fleet = Timed { fleet, start };
    fleet.says(0, "one", 9);
    assert_eq!(fleet.showable(4), None);
    assert_eq!(fleet.showable(5), Some(9));
    fleet.says(1, "two", 7);
    assert_eq!(fleet.showable(1), Some(7), "all are back");
}

#[test]
fn seqs_of_another_buffer_do_not_count() {
    let mut fleet = Timed::new(Some(0));
    fleet.says(0, "one", 9);
    let other = Report { lineage: Some("a".into()), ..report_of("two", 1, 5000) };
    fleet.fleet.report(other, fleet.start).expect("reported");
    assert_eq!(fleet.show(0), Some(9));
    assert_eq!(fleet.showable(100), Some(9), "it is not waited for, and nobody for it");
    assert_eq!(fleet.standing(0, "two"), Standing::Foreign);
}

#[test]
fn two_engines_of_one_name_are_found_out() {
    let mut fleet = Timed::new(Some(0));
    let mut say = |instance| fleet.fleet.report(report_of("one", instance, 9), fleet.start);
    assert!(say(1).expect("new"));
    assert!(!say(2).expect("restarted"));
    assert!(matches!(say(1), Err(Error::Invalid(why)) if why.contains("engine-name")));
    assert!(!say(2).expect("the newer one counts"));
}

#[test]
fn one_that_is_gone_for_good_is_forgotten() {
    let start = Instant::now();
    let mut fleet = Fleet::new(PATIENCE, ["gone".to_owned()], start);
    fleet.begin(Some("b".into()), Some(CommitSeq(3)), start);
    let mut fleet = Timed { fleet, start };
    fleet.says(0, "one", 9);
    fleet.says(0, "two", 7);
    assert_eq!(fleet.showable(1), None, "one that was there may come back");
    assert!(fleet.fleet.forget("gone", start).expect("it says nothing"));
    assert_eq!(fleet.show(1), Some(7), "nobody waits for it");
    assert!(!fleet.fleet.forget("gone", start).expect("it is no more"));
    // One that still says something would be there again at once.
    let at = |seconds| start + Duration::from_secs(seconds);
    assert!(matches!(fleet.fleet.forget("two", at(2)), Err(Error::Invalid(why)) if why.contains("end it first")));
    fleet.says(4, "one", 12);
    assert!(fleet.fleet.forget("two", at(4)).expect("silent since"));
    assert_eq!(fleet.show(4), Some(12));
    // It comes back with less than was shown: a new one, which counts once it has that.
    assert!(fleet.fleet.report(report_of("two", 1, 7), at(5)).expect("reported"), "new");
    assert_eq!((fleet.showable(5), fleet.standing(5, "two")), (Some(12), Standing::Behind));
    fleet.says(5, "one", 13);
    fleet.says(6, "two", 12);
    assert_eq!((fleet.show(6), fleet.standing(6, "two")), (Some(12), Standing::InStep));
}

#[derive(Clone, Debug)]
enum Step {
    Publish(usize, u64),
    Lose(usize, u64),
    Wait(u64),
    /// It says nothing from now on, or says something again.
    Turn(usize),
    Forget(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (0..3_usize, 1..9_u64).prop_map(|(engine, more)| Step::Publish(engine, more)),
        1 => (0..3_usize, 1..50_u64).prop_map(|(engine, less)| Step::Lose(engine, less)),
        2 => (0..4000_u64).prop_map(Step::Wait),
        1 => (0..3_usize).prop_map(Step::Turn),
        1 => (0..3_usize).prop_map(Step::Forget),
    ];
    prop::collection::vec(step, 1..200)
}

proptest! {
    /// Whatever engines do: what is shown never goes back, and every engine in step has it.
    #[test]
    fn inv7_what_is_shown_never_goes_back(steps in steps()) {
        let names = ["one", "two", "three"];
        let (mut now, start) = (Instant::now(), Instant::now());
        let mut fleet = Fleet::new(PATIENCE, [], start);
        fleet.begin(Some("b".into()), Some(CommitSeq::ZERO), start);
        let (mut has, mut instances, mut silent, mut shown) = ([0_u64; 3], [0_u64; 3], [None; 3], 0);
        for step in steps {
            match step {
                Step::Wait(ms) => now += Duration::from_millis(ms),
                Step::Publish(engine, more) => has[engine] += more,
                Step::Lose(engine, less) => {
                    has[engine] = has[engine].saturating_sub(less);
                    instances[engine] += 1;
                }
                Step::Turn(engine) => silent[engine] = if silent[engine].is_none() { Some(now) } else { None },
                Step::Forget(engine) => {
                    let away = silent[engine].is_some_and(|since| now.duration_since(since) > Duration::from_secs(3));
                    let forgotten = fleet.forget(names[engine], now);
                    prop_assert!(forgotten.is_ok() || !away);
                    let known = fleet.standings(now).iter().any(|(report, _)| report.engine == names[engine]);
                    prop_assert!(!known || forgotten.is_err());
                }
            }
            for (at, name) in names.iter().enumerate().filter(|(at, _)| silent[*at].is_none()) {
                fleet.report(report_of(name, instances[at], has[at]), now).expect("reported");
            }
            if let Some(next) = fleet.showable(now) {
                let seq = next.published.seq.0;
                prop_assert!(seq >= shown, "{seq} after {shown}");
                shown = seq;
                fleet.shown(CommitSeq(shown));
            }
            for (report, standing) in fleet.standings(now) {
                prop_assert!(standing != Standing::InStep || report.published.seq.0 >= shown);
            }
            if silent.iter().all(Option::is_none) {
                prop_assert!(shown <= *has.iter().max().expect("three") || has.iter().all(|h| *h < shown));
            }
        }
    }
}
