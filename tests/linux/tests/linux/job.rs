//! What the machines do.

/// Suites that run in one machine.
#[derive(Debug)]
pub struct Job {
    /// Its name.
    pub name: &'static str,
    /// The suites.
    pub suites: &'static [&'static str],
    /// Packages of the distribution that they need.
    pub packages: &'static [&'static str],
    /// Programs of crates.io that they need, and their releases.
    pub programs: &'static [(&'static str, &'static str)],
}

/// All of them.
pub static ALL: [Job; 2] = [
    Job {
        name: "functions",
        suites: &[
            "names",
            "attributes",
            "data",
            "directories",
            "special",
            "processes",
            "options",
            "forms",
            "mapped",
            "branches",
            "reference_faults",
            "hostile",
            "shortage",
            // What it does to memory lasts.
            "bad_memory",
        ],
        packages: &[],
        programs: &[],
    },
    Job {
        name: "exercises",
        suites: &["exercise"],
        packages: &["fio", "stress-ng"],
        programs: &[("fsx", "0.3.2")],
    },
];
