//! The checks.

mod attributes;
mod bad_memory;
mod branches;
mod data;
mod directories;
mod exercise;
mod forms;
mod hostile;
mod mapped;
mod names;
mod options;
mod processes;
mod reference;
mod shortage;
mod special;

use crate::check::{Check, Suite};
use crate::worker::Job;

/// The suites, those first that tell most.
static SUITES: [&Suite; 15] = [
    &names::SUITE,
    &attributes::SUITE,
    &data::SUITE,
    &directories::SUITE,
    &special::SUITE,
    &processes::SUITE,
    &options::SUITE,
    &forms::SUITE,
    &mapped::SUITE,
    &branches::SUITE,
    &reference::SUITE,
    &hostile::SUITE,
    &shortage::SUITE,
    &bad_memory::SUITE,
    &exercise::SUITE,
];

/// All checks.
pub fn all() -> impl Iterator<Item = Check> {
    SUITES.into_iter().flat_map(Suite::checks)
}

/// The checks of these suites.
pub fn of(names: &[&str]) -> impl Iterator<Item = Check> {
    SUITES.into_iter().filter(|suite| names.contains(&suite.name)).flat_map(Suite::checks)
}

/// What workers can do.
pub fn jobs() -> impl Iterator<Item = Job> {
    [processes::JOBS, mapped::JOBS, branches::JOBS].into_iter().flatten().copied()
}
