//! A model of what members do with the words they share: joining, claiming, giving up, committing and
//! aborting branches, expiring and reaping members, giving space back. One step is one access, so
//! every order of accesses of several kernels is tried, with a stop of a kernel at any of them, and
//! what must hold is looked at after each (docs/coordination.md, "How it is checked").
//!
//! The model is shown to be one: with any of the things left out that the protocol needs
//! (`mutation.rs`), a property fails.

mod memory;
mod mutation;
mod process;
mod scenario;

use memory::{Fault, Life, MemberState, Memory};
use mutation::Mutation;
use process::Process;
use scenario::Scenario;
use stateright::{Checker, Model, Property};

/// What is shared, and the kernels.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct World {
    memory: Memory,
    processes: Vec<Process>,
}

impl World {
    fn fault(&self) -> Option<Fault> {
        self.memory.truth.fault.or_else(|| self.memory.agrees())
    }
}

/// What happens next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Action {
    /// The kernel does its next access.
    Step(usize),
    /// The kernel stops for ever.
    Stop(usize),
}

/// Kernels with something to do.
#[derive(Clone)]
struct Protocol {
    scenario: Scenario,
    mutation: Mutation,
}

impl Model for Protocol {
    type State = World;
    type Action = Action;

    fn init_states(&self) -> Vec<World> {
        vec![self.scenario.world()]
    }

    fn actions(&self, world: &World, actions: &mut Vec<Action>) {
        for (at, process) in world.processes.iter().enumerate() {
            if !process.is_over() {
                actions.push(Action::Step(at));
            }
            if process.running && self.scenario.may_stop(at) {
                actions.push(Action::Stop(at));
            }
        }
    }

    fn next_state(&self, last: &World, action: Action) -> Option<World> {
        let mut world = last.clone();
        match action {
            Action::Stop(at) => world.processes[at].running = false,
            Action::Step(at) => {
                let stopped = |life: Life| {
                    last.processes.iter().any(|process| process.life == life && !process.running)
                };
                let looked_at = |slot| {
                    let others =
                        last.processes.iter().enumerate().filter(|&(other, _)| other != at);
                    others.into_iter().any(|(_, other)| other.running && other.view == Some(slot))
                };
                let World { memory, processes } = &mut world;
                processes[at].step(memory, self.mutation, stopped, looked_at);
            }
        }
        Some(world)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        fn without(fault: Fault) -> impl Fn(&World) -> bool {
            move |world| world.fault() != Some(fault)
        }
        vec![
            Property::always("a branch has one owner, and its record says who", |_, world| {
                without(Fault::SecondOwner)(world)
            }),
            Property::always(
                "of siblings one wins, and what was discarded stays so",
                |_, world| without(Fault::Winner)(world),
            ),
            Property::always("the parent says what was committed last", |_, world| {
                without(Fault::Lost)(world)
            }),
            Property::always("nothing happens to those that nobody took for dead", |_, world| {
                without(Fault::Innocent)(world)
            }),
            Property::always("a place that is free leaves nothing behind", |_, world| {
                without(Fault::Leftover)(world)
            }),
            Property::always("space is used again only when nobody looks at it", |_, world| {
                without(Fault::Reused)(world)
            }),
        ]
    }
}

/// Looks at every state; says how many there were, and what failed.
fn explore(scenario: &Scenario, mutation: Mutation) -> (usize, Option<&'static str>) {
    let model = Protocol { scenario: scenario.clone(), mutation };
    let checker = model.checker().threads(2).spawn_bfs().join();
    (checker.unique_state_count(), checker.discoveries().keys().next().copied())
}

#[test]
fn the_protocol_keeps_its_properties_in_every_order_of_accesses_and_stops() {
    let mut states = 0;
    for scenario in Scenario::all() {
        let (count, failed) = explore(&scenario, Mutation::None);
        println!("{}: {count} states", scenario.title);
        assert_eq!(failed, None, "{}", scenario.title);
        states += count;
    }
    println!("{states} states in all");
}

#[test]
fn whatever_is_left_out_of_the_protocol_is_missed() {
    let mut missed = Vec::new();
    for mutation in Mutation::ALL {
        let found = Scenario::all().into_iter().find_map(|scenario| {
            explore(&scenario, mutation).1.map(|property| (scenario.title, property))
        });
        println!("{mutation:?}: {found:?}");
        missed.extend(found.is_none().then_some(mutation));
    }
    assert_eq!(missed, [], "nothing fails without these");
}

/// A scenario in which nothing happens shows nothing.
#[test]
fn what_the_scenarios_are_about_happens_in_them() {
    fn happens(what: &str, holds: fn(&World) -> bool) {
        let found = Scenario::all().into_iter().any(|scenario| {
            let mut worlds = vec![scenario.world()];
            let mut seen = std::collections::HashSet::new();
            let model = Protocol { scenario, mutation: Mutation::None };
            while let Some(world) = worlds.pop() {
                if holds(&world) {
                    return true;
                }
                let mut actions = Vec::new();
                model.actions(&world, &mut actions);
                for action in actions {
                    let next = model.next_state(&world, action).expect("every action happens");
                    if seen.insert(next.clone()) {
                        worlds.push(next);
                    }
                }
            }
            false
        });
        assert!(found, "never: {what}");
    }
    happens("a commit", |world| world.memory.truth.won[1]);
    happens("the other commit", |world| world.memory.truth.won[2]);
    happens("a claim", |world| world.processes.iter().any(|p| p.life > 1 && p.view.is_some()));
    happens("an expiry of somebody who goes on", |world| {
        let expired = &world.memory.truth.expired;
        world.processes.iter().any(|p| p.running && expired.contains(&p.life))
    });
    happens("a place that is used again", |world| {
        let members = world.memory.members.iter();
        members.into_iter().any(|word| word.state == MemberState::Alive && word.epoch > 2)
    });
    happens("space that is given back", |world| {
        let record = world.memory.branches[1];
        record.state == memory::BranchState::Free && record.generation > 1
    });
}
