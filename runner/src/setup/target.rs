//! The crates of the bare-metal target, for the compiler in use.

use super::error::Tried;
use super::rustc::{Rustc, TARGET};
use super::tool::{QUESTION, Tool};
use super::way::{Way, Ways};
use super::{Cache, Found, Lock, Report, Result, SetupError, rust_src, sysroot};
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

/// How long rustup may take: where it cannot download, it may try for long.
const RUSTUP: Duration = Duration::from_secs(60);

/// The target `x86_64-unknown-none`, usable by the compiler in use.
#[derive(Clone, Debug)]
pub struct Target {
    /// Where it is (`rustc --sysroot`), if not in the compiler's own sysroot.
    pub sysroot: Option<PathBuf>,
    /// Where it was found.
    pub found: Found,
}

/// Finds the target's crates, or gets them.
///
/// # Errors
///
/// [`SetupError::NoTarget`], [`SetupError::NoRust`], [`SetupError::Cache`].
pub fn bare_metal_target(cache: &Cache, report: &dyn Report) -> Result<Target> {
    let ways = Ways::from_env()?;
    let rustc = Rustc::find()?;
    if let Some(target) = present(cache, &ways, &rustc) {
        return Ok(target);
    }
    let lock = cache.lock("target", report)?;
    if let Some(target) = present(cache, &ways, &rustc) {
        return Ok(target);
    }
    let mut tried = Tried::default();
    if ways.allow(Way::Rustup) {
        match rustup(&rustc, report) {
            Ok(Some(target)) => return Ok(target),
            Ok(None) => {}
            Err(error) => report.step(&tried.add(&error)),
        }
    }
    for way in [Way::LocalRustSrc, Way::DebianRustSrc] {
        if !ways.allow(way) {
            continue;
        }
        match build(way, cache, &lock, &rustc, report) {
            Ok(Some(target)) => return Ok(target),
            Ok(None) => {}
            Err(error) => report.step(&tried.add(&error)),
        }
    }
    let command = if rustup_toolchain(&rustc)?.is_some() {
        "rustup target add x86_64-unknown-none"
    } else if which::which("dnf").is_ok() {
        "sudo dnf install rust-std-static-x86_64-unknown-none"
    } else {
        "rustup target add x86_64-unknown-none (with a toolchain that rustup manages)"
    };
    Err(SetupError::NoTarget { tried, command })
}

/// The target, if it is there already.
fn present(cache: &Cache, ways: &Ways, rustc: &Rustc) -> Option<Target> {
    if ways.allow(Way::InstalledTarget) && installed(rustc) {
        return Some(Target { sysroot: None, found: Found::System });
    }
    let built = cache.path().join(sysroot::name(rustc));
    if ways.allow(Way::CachedTarget) && built.is_dir() {
        return Some(Target { sysroot: Some(built), found: Found::Cache });
    }
    None
}

/// Whether the toolchain has the target.
fn installed(rustc: &Rustc) -> bool {
    let folder = rustc.sysroot.join("lib/rustlib").join(TARGET).join("lib");
    let Ok(entries) = fs::read_dir(folder) else { return false };
    entries.flatten().any(|entry| {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        name.starts_with("libcore-") && name.ends_with(".rlib")
    })
}

/// Asks rustup for the target, if the compiler is one of its.
fn rustup(rustc: &Rustc, report: &dyn Report) -> Result<Option<Target>> {
    let Some(toolchain) = rustup_toolchain(rustc)? else { return Ok(None) };
    report.step(&format!("adding the target {TARGET} to {toolchain} (rustup)"));
    let tool = Tool::new("rustup", RUSTUP).args(["target", "add", "--toolchain", &toolchain]);
    tool.arg(TARGET).run("rustup target add")?;
    if !installed(rustc) {
        let output = "it left no crates behind".to_owned();
        return Err(SetupError::Failed { what: "rustup target add".to_owned(), output });
    }
    Ok(Some(Target { sysroot: None, found: Found::Installed("rustup") }))
}

/// The name of rustup's toolchain that the compiler is part of, if it is.
fn rustup_toolchain(rustc: &Rustc) -> Result<Option<String>> {
    if which::which("rustup").is_err() {
        return Ok(None);
    }
    let home = Tool::new("rustup", QUESTION).args(["show", "home"]).run("rustup show home")?;
    let toolchains = PathBuf::from(home.trim_end()).join("toolchains");
    let name = rustc.sysroot.strip_prefix(toolchains).ok();
    Ok(name.and_then(|name| name.to_str()).map(str::to_owned))
}

/// Builds the target's crates from the library's source, if there is a source of this kind.
fn build(
    way: Way,
    cache: &Cache,
    lock: &Lock,
    rustc: &Rustc,
    report: &dyn Report,
) -> Result<Option<Target>> {
    let source = match way {
        Way::DebianRustSrc => rust_src::from_packages(cache, lock, rustc, report)?,
        _ => rust_src::local(cache, rustc),
    };
    let Some(source) = source else { return Ok(None) };
    report.step(&format!("building the crates of {TARGET} (once, about a minute)"));
    let made = sysroot::build(cache, lock, rustc, &source)?;
    let found = Found::Installed("built from the library's source");
    Ok(Some(Target { sysroot: Some(made), found }))
}
