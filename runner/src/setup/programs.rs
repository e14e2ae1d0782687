//! Programs for the Linux that the runner boots: the project's tools, and a shell.

use super::guest::{clean_environment, run_cargo};
use super::rustc::{Rustc, cargo, workspace};
use super::{Cache, Report, Result, kernel};
use std::path::PathBuf;
use std::process::Command;

/// The project's tools.
const TOOLS: [&str; 5] = ["mkdaxfs", "daxfs-inspect", "fsck-daxfs", "daxfs-branch", "daxfs-mk"];

/// Programs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Programs {
    /// A shell with all its tools in one program.
    pub busybox: PathBuf,
    /// The project's tools.
    pub tools: Vec<PathBuf>,
}

/// Builds the tools, so that they need no libraries, and finds a shell.
///
/// The target folder is one of its own, as for the guest: a cargo that waits for this program may hold
/// the lock of the usual one.
///
/// # Errors
///
/// [`super::SetupError::Cargo`], [`super::SetupError::Missing`], [`super::SetupError::NoRust`].
pub fn programs(cache: &Cache, report: &dyn Report) -> Result<Programs> {
    let busybox = kernel::busybox(cache, report)?;
    let built = build("mkdaxfs", "the user tools", report)?;
    build("daxfs-mk", "the starter of kernels", report)?;
    Ok(Programs { busybox, tools: TOOLS.map(|tool| built.join(tool)).into() })
}

/// Builds the program that measures file systems.
///
/// # Errors
///
/// As [`programs`].
pub fn bench(report: &dyn Report) -> Result<PathBuf> {
    Ok(build("daxfs-bench", "the measuring program", report)?.join("daxfs-bench"))
}

/// Builds a package's programs so that they need no libraries; returns the folder that they are in.
fn build(package: &str, what: &'static str, report: &dyn Report) -> Result<PathBuf> {
    let workspace = workspace()?;
    let folder = workspace.join("target/linux-build");
    let host = Rustc::find()?.host;
    let mut command = Command::new(cargo());
    clean_environment(&mut command);
    command.env("CARGO_ENCODED_RUSTFLAGS", "-Ctarget-feature=+crt-static");
    // Naming the target keeps the flags away from build scripts and macros.
    command.args(["build", "-p", package, "--bins", "--release", "--target", &host]);
    command.args(["--color", "never"]).arg("--target-dir").arg(&folder).current_dir(workspace);
    run_cargo(command, what, report)?;
    Ok(folder.join(host).join("release"))
}
