//! Finds or makes what a run needs: QEMU, the bare-metal target, the guest kernel; Linux, its modules, and
//! programs for it.
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
//! | Linux | the tree that `KDIR` or `KDIR_DEBUG` names; built earlier; `debian-linux-source`: built from the distribution's source package |
//! | flex, bison, bc, libelf, busybox | `system-kernel-tools`: on the `PATH`; `debian-kernel-tools`: as for QEMU |
//! | libclang | where `LIBCLANG_PATH` says; `system-libclang`: where distributions put it; `debian-libclang`: as for QEMU |
//! | bindgen | `system-bindgen`: on the `PATH`; built earlier; `cargo-bindgen`: `cargo install`, into the cache |
//! | source of Rust's library | `local-rust-src`, then `debian-rust-src`, as for the target |
//! | LLVM, for the Linux that checks itself | `system-llvm`: on the `PATH`; `debian-llvm`: as for QEMU |
//! | modules | `make`, in a copy of their sources in the workspace's target folder |
//! | other programs for Linux | `debian-packages`: as for QEMU |
//! | user tools and measuring program for Linux | `cargo build`, into a target folder of its own, without shared libraries |
//!
//! # Environment
//!
//! | variable | meaning |
//! |---|---|
//! | `DAXFS_CACHE_DIR` | the cache folder; else `$XDG_CACHE_HOME/daxfs`, else `~/.cache/daxfs` |
//! | `DAXFS_SETUP_SKIP` | ways of the table above that are not to be used, separated by commas |
//! | `KDIR`, `KDIR_DEBUG` | a built tree of Linux to use, and one that checks itself |
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
//! | `kernel-tools/`, `libclang/`, `llvm-N/` | packages, unpacked, as above |
//! | `bindgen/RELEASE/` | bindgen |
//! | `packages/NAME/DISTRIBUTION/` | programs for Linux |
//! | `linux-source/RELEASE/` | Linux's source |
//! | `linux/RELEASE-KIND-HASH/` | a Linux, with `daxfs-build.log`; the hash is of its configuration and tools |
//! | `apt/` | package lists, where the system's are missing or lack something |
//!
//! # Invariants
//!
//! - Whatever has its final name is complete: it is made in `staging/` and renamed. But a Linux is built
//!   where it stays, and complete when it has a file that says so: see the module `kernel`.
//! - Things are made under their lock, and looked for again when it is held: two processes at once
//!   make them once.
//! - Deleting the cache folder is always allowed while no run uses it.

mod apt;
mod cache;
mod distribution;
mod error;
mod guest;
mod kernel;
mod linker;
mod modules;
mod packages;
mod programs;
mod qemu;
mod rust_src;
mod rustc;
mod sysroot;
mod target;
mod tool;
mod way;

pub use cache::{Cache, Lock};
pub use distribution::{Package, package};
pub use error::SetupError;
pub use guest::{Guest, guest};
pub use kernel::{Flavour, Kernel, kernel};
pub use modules::{Modules, modules};
pub use programs::{Programs, bench, programs};
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
