//! What the kernels of a story are asked to do.

use crate::World;
use crate::memory::{Member, MemberState, Memory, PLACES, SLOTS};
use crate::process::{Operation, Process, Step};

/// A kernel at the start.
#[derive(Clone)]
struct Kernel {
    /// It is a member already, in the place of its number.
    is_member: bool,
    /// The branch it looks at.
    view: Option<u8>,
    may_stop: bool,
    program: Vec<Operation>,
}

/// Kernels, and who owns what at the start.
#[derive(Clone)]
pub struct Scenario {
    pub title: &'static str,
    owners: [Option<u8>; SLOTS],
    kernels: Vec<Kernel>,
}

/// A member in the place of its number, on a branch or on none.
fn member(view: impl Into<Option<u8>>, program: &[Operation]) -> Kernel {
    Kernel { is_member: true, view: view.into(), may_stop: false, program: program.to_vec() }
}

/// One that is not a member yet.
fn stranger(program: &[Operation]) -> Kernel {
    Kernel { is_member: false, view: None, may_stop: false, program: program.to_vec() }
}

/// The same, which may stop at any moment.
fn mortal(kernel: Kernel) -> Kernel {
    Kernel { may_stop: true, ..kernel }
}

impl Scenario {
    /// All of them.
    pub fn all() -> Vec<Self> {
        use Operation::{Abort, Claim, Commit, Drain, Expire, Join, Reap, Refresh, Release};
        let owned = [None, Some(0), Some(1)];
        let scenario =
            |title, owners, kernels: &[Kernel]| Self { title, owners, kernels: kernels.to_vec() };
        vec![
            scenario(
                "siblings race to commit, either may stop, a third helps",
                owned,
                &[
                    mortal(member(1, &[Commit(1)])),
                    mortal(member(2, &[Commit(2)])),
                    member(None, &[Refresh, Refresh]),
                ],
            ),
            scenario(
                "a branch is given up, claimed and committed beside its sibling's commit",
                owned,
                &[
                    member(1, &[Release(1)]),
                    member(2, &[Commit(2)]),
                    member(None, &[Claim(1), Commit(1)]),
                ],
            ),
            scenario(
                "two claim a branch, and one of them another's sibling",
                [None, None, None],
                &[
                    member(None, &[Claim(1), Commit(1)]),
                    member(None, &[Claim(1), Abort(1)]),
                    member(None, &[Claim(2), Commit(2)]),
                ],
            ),
            scenario(
                "a branch is claimed and given up while others help, and claim it",
                [None, None, None],
                &[
                    member(None, &[Claim(1), Release(1)]),
                    member(None, &[Refresh]),
                    member(None, &[Claim(1)]),
                ],
            ),
            scenario(
                "a member is taken for dead, and goes on",
                owned,
                &[
                    member(1, &[Commit(1), Refresh]),
                    member(2, &[Expire(0), Commit(2)]),
                    member(None, &[Refresh, Claim(1)]),
                ],
            ),
            scenario(
                "a member stops, is reaped by two, and somebody takes its place and its branch",
                [None, Some(0), None],
                &[
                    mortal(member(1, &[Commit(1)])),
                    member(None, &[Reap(0)]),
                    member(None, &[Reap(0)]),
                    stranger(&[Join, Claim(2)]),
                ],
            ),
            scenario(
                "whoever expires a member sleeps while its place changes hands",
                [None, Some(0), None],
                &[
                    mortal(member(1, &[])),
                    member(None, &[Expire(0)]),
                    member(None, &[Reap(0)]),
                    stranger(&[Join, Claim(2)]),
                ],
            ),
            scenario(
                "a branch is aborted and drained while others look at it",
                [None, Some(0), None],
                &[
                    member(1, &[Abort(1), Refresh, Drain(1)]),
                    member(1, &[Refresh]),
                    mortal(member(None, &[Refresh, Drain(1)])),
                ],
            ),
            scenario(
                "an expired member still looks at what its peers give back",
                [None, Some(0), None],
                &[
                    member(1, &[Refresh]),
                    member(None, &[Expire(0), Drain(1)]),
                    member(None, &[Refresh, Drain(1)]),
                ],
            ),
            scenario(
                "a branch is claimed while its sibling is committed, and drained",
                [None, None, Some(1)],
                &[
                    member(None, &[Claim(1), Refresh]),
                    member(2, &[Commit(2), Refresh, Drain(1)]),
                    member(None, &[Refresh]),
                ],
            ),
        ]
    }

    /// Whether kernel `at` may stop.
    pub fn may_stop(&self, at: usize) -> bool {
        self.kernels[at].may_stop
    }

    /// The start.
    pub fn world(&self) -> World {
        let alive = core::array::from_fn::<_, PLACES, _>(|place| {
            self.kernels.get(place).is_some_and(|kernel| kernel.is_member)
        });
        let memory = Memory::new(self.owners, alive);
        let word = Member { state: MemberState::Alive, epoch: 0 };
        let processes = self.kernels.iter().zip(0_u8..).map(|(kernel, life)| Process {
            life,
            place: kernel.is_member.then_some((life, word)),
            program: kernel.program.clone(),
            done: 0,
            step: Step::Next,
            running: true,
            view: kernel.view,
            known: 0,
        });
        World { memory, processes: processes.collect() }
    }
}
