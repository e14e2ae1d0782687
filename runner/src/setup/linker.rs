//! The linker for the bare-metal target: LLVM's, which most toolchains bring along.

use super::error::Tried;
use super::rustc::Rustc;
use super::tool::{QUESTION, Tool};
use super::way::{Way, Ways};
use super::{Cache, Lock, Report, Result, SetupError, apt, packages};
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// The program, where the toolchain does not have it as `rust-lld`.
const PROGRAM: &str = "ld.lld";

/// A linker that is not the toolchain's.
#[derive(Debug)]
pub(super) struct Linker {
    pub(super) program: PathBuf,
    /// What its environment must have.
    pub(super) environment: Option<(OsString, OsString)>,
}

/// The linker to use, if it is not the one that the compiler takes by itself.
pub(super) fn linker(cache: &Cache, rustc: &Rustc, report: &dyn Report) -> Result<Option<Linker>> {
    let ways = Ways::from_env()?;
    let own = rustc.sysroot.join("lib/rustlib").join(&rustc.host).join("bin/rust-lld");
    if ways.allow(Way::ToolchainLinker) && (own.exists() || which::which("rust-lld").is_ok()) {
        return Ok(None);
    }
    if ways.allow(Way::SystemLinker)
        && let Ok(program) = which::which(PROGRAM)
    {
        return Ok(Some(Linker { program, environment: None }));
    }
    let place = packages::place("lld");
    let cached = cache.path().join(&place);
    if let Ok(linker) = unpacked(&cached) {
        return Ok(Some(linker));
    }
    let mut tried = Tried::default();
    if ways.allow(Way::DebianLinker) && apt::available() {
        let lock = cache.lock("linker", report)?;
        if let Ok(linker) = unpacked(&cached) {
            return Ok(Some(linker));
        }
        match from_packages(cache, &lock, &place, report) {
            Ok(linker) => return Ok(Some(linker)),
            Err(error) => report.step(&tried.add(&error)),
        }
    }
    let commands = [
        ("apt-get", "sudo apt-get install lld"),
        ("dnf", "sudo dnf install lld"),
        ("pacman", "sudo pacman -S lld"),
        ("zypper", "sudo zypper install lld"),
        ("apk", "sudo apk add lld"),
    ];
    let command = packages::install_command(&commands, "your package manager, to install lld");
    Err(SetupError::NoLinker { tried, command })
}

fn from_packages(cache: &Cache, lock: &Lock, place: &Path, report: &dyn Report) -> Result<Linker> {
    let staging = cache.staging(lock)?;
    let made = packages::tree(cache, staging.path(), "the linker lld", &["lld"], report)?;
    unpacked(&made)?;
    unpacked(&cache.publish(lock, &made, place)?)
}

/// The linker in a tree of packages, if it works.
fn unpacked(root: &Path) -> Result<Linker> {
    let program = root.join("usr/bin").join(PROGRAM);
    let (name, value) = packages::library_path(root);
    let tool = Tool::new(&program, QUESTION).change(|command| {
        command.env(&name, &value);
    });
    tool.arg("--version").run("ld.lld --version")?;
    Ok(Linker { program, environment: Some((name, value)) })
}
