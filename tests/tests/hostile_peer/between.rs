//! The peer acts between two accesses: after each single one in turn, or at random ones.

use crate::lying::{Peer, Plan, Range};
use crate::story::{Measure, Story};
use crate::{begin, deadline, in_a_child};
use daxfs_tests::cases::Cases;
use daxfs_tests::image::Image;
use std::time::{Duration, Instant};

/// A story with its image, and how many accesses it takes if nobody lies.
struct Honest {
    story: Story,
    image: Image,
    range: Range,
    accesses: u64,
    /// Rounds so far, and how long they took.
    rounds: u64,
    spent: Duration,
}

impl Honest {
    fn of(story: Story) -> Self {
        let image = story.image();
        let range = Range::new(&image);
        let peer = Peer::new(Plan::Honest, 0);
        story.tell(&range, &peer, &mut Measure::new());
        let accesses = peer.accesses();
        Self { story, image, range, accesses, rounds: 0, spent: Duration::ZERO }
    }
}

/// What a test did, so that one that did nothing is seen.
#[derive(Default, Debug)]
struct Counts {
    lies: u64,
    mounts: u64,
    operations: u64,
    memory: u64,
    time: Duration,
}

impl Counts {
    fn case(&mut self, honest: &Honest, plan: Plan, seed: u64) -> Result<(), String> {
        honest.range.fill(&honest.image);
        let peer = Peer::new(plan, seed);
        let mut measure = Measure::new();
        honest.story.tell(&honest.range, &peer, &mut measure);
        self.lies += peer.lies();
        self.mounts += measure.mounts;
        self.operations += measure.operations;
        self.memory = self.memory.max(measure.memory());
        self.time = self.time.max(measure.time);
        measure.verdict(&honest.image)
    }
}

/// Rounds of each story there are at least, however slow the machine is.
const FEWEST: u64 = 4;

/// Runs the plans that `plan` makes for each round, until the time is up. Each story gets its share.
fn until_the_end(test: &str, plan: impl Fn(&Honest, u64) -> Plan) {
    let (end, mut cases, mut counts) = (deadline(), Cases::new(), Counts::default());
    let mut stories = Story::ALL.map(Honest::of);
    loop {
        let next = stories.iter_mut().min_by_key(|s| (s.rounds.min(FEWEST), s.spent));
        let honest = next.expect("there are stories");
        let (began, round) = (Instant::now(), honest.rounds);
        if round >= FEWEST && began >= end {
            break;
        }
        let plan = plan(honest, round);
        let name = format!("{test}: {:?}, {plan:?}, seed {round}", honest.story);
        begin(&name);
        cases.run(&name, || counts.case(honest, plan, round));
        honest.rounds += 1;
        honest.spent += began.elapsed();
    }
    let told = stories.each_ref().map(|s| format!("{:?} {} times", s.story, s.rounds));
    let accesses = stories.each_ref().map(|s| format!("{:?} {}", s.story, s.accesses));
    println!("hostile: {test}: {}; accesses: {}", told.join(", "), accesses.join(", "));
    println!("hostile: {test}: {counts:?}");
    assert!(counts.lies >= stories[0].rounds, "hardly a lie was told");
    assert!(counts.mounts > stories[0].rounds, "hardly anything was mounted");
    assert!(counts.memory > 10_000, "the allocator does not count");
    cases.finish(Story::ALL.len() as u64 * FEWEST);
}

#[test]
fn what_changes_after_it_was_read_harms_nothing() {
    in_a_child("between::what_changes_after_it_was_read_harms_nothing", || {
        until_the_end("changes", |honest, round| {
            // Steps that are prime to most counts come everywhere in the end, far apart at first.
            Plan::Changed { at: round.wrapping_mul(0x9e37_79b9) % honest.accesses }
        });
    });
}

#[test]
fn what_is_something_else_each_time_it_is_read_harms_nothing() {
    in_a_child("between::what_is_something_else_each_time_it_is_read_harms_nothing", || {
        until_the_end("lies", |_, round| Plan::Told {
            one_in: [10_000, 1000, 300, 100, 30, 10, 3, 1][round as usize % 8],
        });
    });
}
