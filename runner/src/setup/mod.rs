//! Finds or makes what a run needs: QEMU, the bare-metal target, the guest kernel.
//!
//! Each is got in the shortest way that the machine offers; a way that does not work is reported in
//! one line and the next one is tried. What is made is kept in the user's cache folder, so that it is
//! made once; the system and the user's toolchain stay as they are (but `rustup` is asked to add the
//! target, as a user would).
//!
//! | needed | ways, in order |
//! |---|---|
//! | QEMU | `system-qemu`: on the `PATH`; `cached-qemu`: unpacked earlier; `debian-qemu`: the distribution's packages, unpacked into the cache |
//! | target | `installed-target`: in the toolchain; `cached-target`: built earlier; `rustup`: `rustup target add`; `local-rust-src`, then `debian-rust-src`: built from the library's source |
//! | linker | `toolchain-linker`: beside the compiler; `system-linker`: `ld.lld` on the `PATH`; `debian-linker`: as for QEMU |
//! | guest | `cargo build`, into a target folder of its own |
//!
//! # Environment
//!
//! | variable | meaning |
//! |---|---|
//! | `DAXFS_CACHE_DIR` | the cache folder; else `$XDG_CACHE_HOME/daxfs`, else `~/.cache/daxfs` |
//! | `DAXFS_SETUP_SKIP` | ways of the table above that are not to be used, separated by commas |
//! | `CARGO`, `RUSTC` | the programs to use; cargo sets the first for what it runs |
//!
//! # Cache folder
//!
//! | path | content |
//! |---|---|
//! | `locks/` | one file per thing being made, locked by who makes it |
//! | `staging/` | what is being made |
//! | `qemu/DISTRIBUTION/`, `lld/DISTRIBUTION/` | packages, unpacked |
//! | `sysroots/COMPILER/` | the bare-metal target's crates for one compiler |
//! | `rust-src/RELEASE/` | the standard library's source |
//! | `apt/` | package lists, where the system's are missing or lack something |
//!
//! # Invariants
//!
//! - Whatever has its final name is complete: it is made in `staging/` and renamed.
//! - Things are made under their lock, and looked for again when it is held: two processes at once
//!   make them once.
//! - Deleting the cache folder is always allowed while no run uses it.

mod apt;
mod cache;
mod error;
mod guest;
mod linker;
mod packages;
mod qemu;
mod rust_src;
mod rustc;
mod sysroot;
mod target;
mod tool;
mod way;

pub use cache::{Cache, Lock};
pub use error::SetupError;
pub use guest::{Guest, guest};
pub use qemu::{Qemu, qemu};
pub use target::{Target, bare_metal_target};

use std::fmt;

/// What the setup functions return.
type Result<T> = std::result::Result<T, SetupError>;

/// Is told what is being done.
pub trait Report {
    /// Something that takes time begins, or something worth knowing happened: one line.
    fn step(&self, text: &str);
}

/// Silence.
impl Report for () {
    fn step(&self, _: &str) {}
}

/// Where something was found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Found {
    /// It was there already.
    System,
    /// An earlier run put it into the cache.
    Cache,
    /// It was set up just now, in this way.
    Installed(&'static str),
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::System => f.write_str("installed"),
            Self::Cache => f.write_str("from the cache"),
            Self::Installed(how) => write!(f, "just set up: {how}"),
        }
    }
}
