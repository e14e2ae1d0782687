//! Several members on one image against a reference in ordinary memory: random operations on files,
//! nested branches, followers, commits, aborts, crashes, members that rest until the others take them
//! for dead, and reaping, on a clock of the test's own.
//!
//! Each member is an engine of its own over the same memory. The reference knows the rules of
//! `docs/coordination.md` and nothing of how they are kept: every outcome is compared with what it
//! says, after each step the branch tree, and after every change of the tree, and every few steps, all
//! that all members show. In the end everything is given up, and the space has to be back.
//!
//! | module | what it owns |
//! |---|---|
//! | [`step`] | what may happen |
//! | [`model`] | what has to come of it |
//! | [`world`] | the engine's side, and the comparison |
//!
//! `PROPTEST_CASES=N cargo test -p daxfs-tests --test members_model` runs N cases of each story instead of
//! the number below, which takes about half a minute on two cores. A case that fails is made as short as
//! possible and then printed.

mod model;
mod step;
mod world;

use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;
use step::{Story, step};
use world::World;

/// Cases of each story, unless told otherwise.
const CASES: u32 = 1200;
/// Steps of a case, at most.
const STEPS: usize = 120;

fn config() -> ProptestConfig {
    let told = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok());
    // Tests in files of one name would share the usual one.
    let failures = FileFailurePersistence::Direct("tests/members_model/regressions.txt");
    ProptestConfig {
        max_shrink_iters: 4000,
        failure_persistence: Some(Box::new(failures)),
        ..ProptestConfig::with_cases(told.unwrap_or(CASES))
    }
}

fn run(steps: &[step::Step]) -> Result<(), TestCaseError> {
    let mut world = World::new();
    for (number, step) in steps.iter().enumerate() {
        world
            .step(step)
            .map_err(|what| TestCaseError::fail(format!("step {number}, {step:?}: {what}")))?;
    }
    world.finish().map_err(TestCaseError::fail)
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn members_that_work_together_see_what_the_reference_says(
        steps in prop::collection::vec(step(Story::Work), 1..STEPS)
    ) {
        run(&steps)?;
    }

    #[test]
    fn members_that_die_and_rest_see_what_the_reference_says(
        steps in prop::collection::vec(step(Story::Death), 1..STEPS)
    ) {
        run(&steps)?;
    }
}
