//! The rows of the table, and what is wanted of them.

/// What a row counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unit {
    /// Microseconds per operation.
    Microseconds,
    /// Memory of the kernel's, in KiB.
    Kibibytes,
}

/// What is wanted of DAXFS in a row: at most this.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Goal {
    /// So many times what tmpfs takes.
    Ratio(f64),
    /// What another file system takes.
    Peer(&'static str),
    /// So much.
    Value(f64),
}

/// A row.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Row {
    /// Its name, which says what is measured.
    pub name: &'static str,
    /// What it counts.
    pub unit: Unit,
    /// What is wanted.
    pub goal: Goal,
}

const fn row(name: &'static str, goal: Goal) -> Row {
    Row { name, unit: Unit::Microseconds, goal }
}

use Goal::{Peer, Ratio, Value};

/// All of them, in the order of the table.
///
/// The ratios are those of the best file system of this kind (the reference implementation and DAX file
/// systems included) that was measured when this project began; some go beyond all of them, because the
/// design allows it.
pub static ROWS: &[Row] = &[
    row("seq write 4k, first", Ratio(0.51)),
    row("seq write 64k, first", Ratio(0.24)),
    row("seq write 1M, first", Ratio(0.22)),
    row("seq rewrite 4k", Ratio(0.77)),
    row("rand write 4k", Ratio(0.85)),
    row("seq read 4k", Ratio(0.68)),
    row("seq read 64k", Ratio(0.57)),
    row("seq read 1M", Ratio(0.56)),
    row("rand read 4k", Ratio(0.71)),
    row("written in random order: seq read 4k", Ratio(0.68)),
    row("written in random order: seq read 64k", Ratio(0.57)),
    row("written in random order: seq read 1M", Ratio(0.56)),
    row("written in random order: rand read 4k", Ratio(0.71)),
    row("mmap, per MiB, first touch", Ratio(0.5)),
    row("base: seq read 4k", Ratio(0.68)),
    row("base: seq read 64k", Ratio(0.57)),
    row("base: seq read 1M", Ratio(0.56)),
    row("base: rand read 4k", Ratio(0.71)),
    row("base: mmap, per MiB, first touch", Ratio(0.5)),
    row("base, not aligned: mmap, per MiB, first touch", Ratio(0.5)),
    row("base, 1 page in 2 changed: rand write 4k, first", Ratio(2.0)),
    row("base, 1 page in 2 changed: seq read 4k", Ratio(0.68)),
    row("base, 1 page in 2 changed: seq read 64k", Ratio(0.57)),
    row("base, 1 page in 2 changed: seq read 1M", Ratio(0.56)),
    row("base, 1 page in 2 changed: rand read 4k", Ratio(0.71)),
    row("1 byte changed in a 64 MiB base file", Ratio(2.0)),
    row("create (1000 in a dir)", Ratio(0.98)),
    row("stat, warm", Ratio(1.0)),
    row("stat after drop_caches", Ratio(1.79)),
    row("readdir, per entry", Ratio(1.0)),
    row("unlink", Ratio(0.73)),
    row("base: stat, cold, dir of 1000", Peer("erofs")),
    row("base: readdir, per entry", Ratio(0.64)),
    Row {
        name: "base: kernel memory after reading 64 MiB",
        unit: Unit::Kibibytes,
        goal: Value(0.0),
    },
    Row {
        name: "base: kernel memory after mapping 64 MiB",
        unit: Unit::Kibibytes,
        goal: Value(0.0),
    },
    row("branch create", Value(15.0)),
    row("commit, 1 MiB", Value(50.0)),
    row("commit, 8 MiB", Value(50.0)),
    row("commit, 64 MiB", Value(50.0)),
    row("abort, 1 MiB", Value(100.0)),
    row("abort, 8 MiB", Value(100.0)),
    row("abort, 64 MiB", Value(100.0)),
];

/// The row of this name.
#[must_use]
pub fn find(name: &str) -> Option<&'static Row> {
    ROWS.iter().find(|row| row.name == name)
}
