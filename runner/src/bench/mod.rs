//! Measurements in Linux: DAXFS beside other file systems, in one boot.
//!
//! A script mounts one file system after the other and has the program `daxfs-bench` work there; what that
//! measures is compared with what tmpfs takes. The numbers that count instructions are the same again on
//! any machine; the others are worth what the machine is worth.

mod results;
mod table;

pub use results::{Results, Unreadable};
pub use table::Table;

/// What Linux does.
const SCRIPT: &str = include_str!("script.sh");

/// File systems, in the order of the table; the first is the one that the others are compared with.
pub const SUBJECTS: [&str; 5] = ["tmpfs", "ext4-dax", "erofs", "overlay", "daxfs"];

/// Packages of the distribution with the other file systems' tools.
pub const PACKAGES: [&str; 2] = ["e2fsprogs", "erofs-utils"];

/// The package with fio.
pub const FIO: &str = "fio";

/// What is to be measured.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Plan {
    /// How often everything is done.
    pub passes: u32,
    /// Whether fio measures, too.
    pub fio: bool,
    /// The file systems, of [`SUBJECTS`].
    pub subjects: Vec<&'static str>,
}

impl Plan {
    /// The commands for Linux.
    #[must_use]
    pub fn script(&self) -> String {
        let fio = if self.fio { "yes" } else { "" };
        let subjects = self.subjects.join(" ");
        format!("PASSES={} FIO={fio} SUBJECTS='{subjects}'\n{SCRIPT}", self.passes)
    }
}
