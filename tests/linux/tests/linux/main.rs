//! Runs the checks of this crate in Linux, each as a test of its own.
//!
//! | variable | meaning |
//! |---|---|
//! | `DAXFS_KERNEL=debug` | the kernel that checks itself |
//! | `DAXFS_LONG=1` | everything takes its time: many more rounds |
//!
//! There are two machines, which run side by side: one for what programs see, one for programs that try
//! everything at random. Each is a process of its own, this very program, whose output the tests read. What
//! the kernels and the runner say lies in `target/linux-tests/`.

mod job;
mod machine;

use daxfs_linux_tests::check::Check;
use daxfs_linux_tests::suites;
use job::Job;
use libtest_mimic::{Arguments, Trial};
use machine::Machine;
use std::env;
use std::process::ExitCode;
use std::sync::Arc;

fn main() -> ExitCode {
    if let Some(job) = env::var_os(machine::JOB) {
        return machine::run(&job.to_string_lossy());
    }
    let arguments = Arguments::from_args();
    let mut trials = Vec::new();
    for job in &job::ALL {
        let checks: Vec<String> = suites::of(job.suites).map(|check| Check::name(&check)).collect();
        let wanted: Vec<String> =
            checks.iter().filter(|name| is_wanted(&arguments, name)).cloned().collect();
        let machine = Arc::new(if arguments.list || wanted.is_empty() {
            Machine::none()
        } else {
            Machine::start(job, wanted)
        });
        for name in checks {
            let machine = Arc::clone(&machine);
            trials.push(Trial::test(name.clone(), move || machine.result(&name)));
        }
        let name = format!("{}::the_kernel_has_no_complaint", job.name);
        trials.push(Trial::test(name, move || machine.end()));
    }
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// Whether a check is to be run: the same rule as for ordinary tests.
fn is_wanted(arguments: &Arguments, name: &str) -> bool {
    let matches = |filter: &String| {
        if arguments.exact { filter == name } else { name.contains(filter.as_str()) }
    };
    arguments.filter.as_ref().is_none_or(matches) && !arguments.skip.iter().any(matches)
}

/// What a job is, for the machine's process.
fn job(name: &str) -> Option<&'static Job> {
    job::ALL.iter().find(|job| job.name == name)
}
