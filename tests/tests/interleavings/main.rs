//! Two kernels, and what the second does happens between any two accesses of the first to the range:
//! for every pair of operations, and every point in the first. That is one context switch; the model
//! (`model_protocol`) has any number of them, of less of the engine.
//!
//! Every story runs against the engine itself, on one thread, and so always in the same way.
//! `DAXFS_INTERLEAVINGS=all` runs all of them; otherwise, in long operations, some points are left out.

mod check;
mod gate;
mod operation;
mod stage;

use operation::{ALL, Operation};
use stage::{Actor, Stage};
use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::rc::Rc;

/// The two kernels, `second` acting when `first` has accessed the range `at` times. Says whether
/// `first` was not over by then.
fn meet(stage: &Stage, first: Operation, second: Operation, at: u64) -> bool {
    stage.reset();
    let mut x = Actor::new(stage, "x", first);
    let mut y = Actor::new(stage, "y", second);
    x.meet(stage, "y");
    y.meet(stage, "x");
    // Both have seen each other, and know since when nothing was heard of the others.
    for _ in 0..2 {
        x.mount().tick(1).expect("alive");
        y.mount().tick(1).expect("alive");
    }
    for (actor, other) in [(&x, &y), (&y, &x)] {
        if other.operation != Operation::ExpirePeer {
            [&actor.mount, &actor.follower].into_iter().flatten().for_each(|mount| mount.beat());
        }
    }
    let y = Rc::new(RefCell::new(y));
    let meanwhile = Rc::clone(&y);
    let inside = gate::run(at, || x.act(), move || meanwhile.borrow_mut().act());
    let mut y = y.borrow_mut();
    check::while_up(stage, [&x, &y]);
    for actor in [&mut x, &mut *y] {
        // Every second time they die, and are cleaned up after.
        for mount in [actor.mount.take(), actor.follower.take()].into_iter().flatten() {
            if at.is_multiple_of(2) {
                // Who was taken for dead is told.
                let _ = mount.unmount();
            }
        }
    }
    check::when_over(stage, [&x, &y]);
    inside
}

/// Everything that can come between while a kernel does `first`.
fn meets_everything(first: Operation) {
    let stage = Stage::new();
    let all = std::env::var_os("DAXFS_INTERLEAVINGS").is_some_and(|which| which == "all");
    let mut stories = 0;
    for second in ALL {
        let mut at = 0;
        loop {
            let told = catch_unwind(AssertUnwindSafe(|| meet(&stage, first, second, at)));
            let inside = told.unwrap_or_else(|panic| {
                eprintln!("{second:?} before access {at} of {first:?}");
                resume_unwind(panic)
            });
            stories += 1;
            if !inside {
                break;
            }
            // Without a common divisor with what repeats itself.
            at += if all || at < 32 { 1 } else { 7 };
        }
    }
    println!("{first:?}: {stories} interleavings with {} operations", ALL.len());
}

macro_rules! meetings {
    ($($name:ident: $operation:ident;)*) => {$(
        #[test]
        fn $name() {
            meets_everything(Operation::$operation);
        }
    )*};
}

meetings! {
    creating_a_child_meets_everything: CreateChild;
    creating_meets_everything: Create;
    claiming_meets_everything: Claim;
    giving_up_meets_everything: Release;
    unmounting_meets_everything: Unmount;
    committing_meets_everything: Commit;
    aborting_meets_everything: Abort;
    expiring_the_dead_meets_everything: Expire;
    expiring_the_slow_meets_everything: ExpirePeer;
    reaping_meets_everything: Reap;
    joining_meets_everything: Join;
    writing_meets_everything: Write;
    recycling_meets_everything: Recycle;
    following_meets_everything: Follow;
    giving_back_meets_everything: Tick;
    compacting_meets_everything: Compact;
}
