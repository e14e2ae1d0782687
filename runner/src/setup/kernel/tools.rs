//! The small tools that building and booting Linux takes: a parser generator and the like.

use super::toolchain::{Toolchain, option};
use crate::linux::libraries::needed;
use crate::setup::error::Tried;
use crate::setup::tool::{QUESTION, Tool};
use crate::setup::way::{Way, Ways};
use crate::setup::{Cache, Lock, Report, Result, SetupError, apt, packages};
use std::path::{Path, PathBuf};

/// Programs that nobody can bring along: they need their surroundings.
const COMPILER: [&str; 3] = ["make", "gcc", "ld"];

/// Programs, and their packages in Debian and its descendants.
const PROGRAMS: [(&str, &str); 4] =
    [("flex", "flex"), ("bison", "bison"), ("bc", "bc"), ("m4", "m4")];

/// The packages of everything here.
const PACKAGES: [&str; 6] = ["flex", "bison", "bc", "m4", "libelf-dev", "busybox-static"];

/// The command that installs it all.
const COMMANDS: [(&str, &str); 4] = [
    ("apt-get", "sudo apt-get install build-essential flex bison bc libelf-dev busybox-static"),
    ("dnf", "sudo dnf install gcc make flex bison bc elfutils-libelf-devel busybox"),
    ("pacman", "sudo pacman -S base-devel bc libelf busybox"),
    ("zypper", "sudo zypper install gcc make flex bison bc libelf-devel busybox-static"),
];

/// Adds them to a toolchain.
pub(super) fn add(toolchain: &mut Toolchain, cache: &Cache, report: &dyn Report) -> Result<()> {
    if COMPILER.iter().any(|program| which::which(program).is_err()) {
        return Err(missing("a C compiler (gcc, make)", Tried::default()));
    }
    let ways = Ways::from_env()?;
    let installed = PROGRAMS.iter().all(|(program, _)| which::which(program).is_ok());
    if ways.allow(Way::SystemKernelTools) && installed && has_libelf() {
        return Ok(());
    }
    let root = unpacked(cache, &ways, report)?;
    toolchain.path.push(root.join("usr/bin"));
    toolchain.libraries.extend(packages::library_folders(&root));
    toolchain.variables.push(("BISON_PKGDATADIR", root.join("usr/share/bison").into()));
    toolchain.variables.push(("M4", root.join("usr/bin/m4").into()));
    toolchain.arguments.push(option("HOSTCFLAGS=-I", root.join("usr/include")));
    let folders = packages::library_folders(&root).into_iter();
    let folders: Vec<_> = folders.map(|folder| option("-L", folder)).collect();
    toolchain.arguments.push(option("HOSTLDFLAGS=", folders.join(" ".as_ref())));
    Ok(())
}

/// A shell with all its tools in one program, which needs no libraries: it also runs where there is nothing
/// else, as in a root file system that consists of it.
pub(in crate::setup) fn busybox(cache: &Cache, report: &dyn Report) -> Result<PathBuf> {
    let ways = Ways::from_env()?;
    if ways.allow(Way::SystemKernelTools)
        && let Ok(program) = which::which("busybox")
        && needed(&program, &[]).is_ok_and(|libraries| libraries.is_empty())
    {
        return Ok(program);
    }
    let root = unpacked(cache, &ways, report)?;
    ["usr/bin/busybox", "bin/busybox"]
        .iter()
        .map(|path| root.join(path))
        .find(|path| path.exists())
        .ok_or_else(|| missing("busybox", Tried::default()))
}

/// Whether programs can be built with libelf.
fn has_libelf() -> bool {
    let tool = Tool::new("gcc", QUESTION).args(["-fsyntax-only", "-x", "c", "-"]);
    tool.stdin("#include <gelf.h>\n").and_then(|tool| tool.run("a trial of libelf")).is_ok()
}

fn missing(what: &'static str, tried: Tried) -> SetupError {
    let command = packages::install_command(&COMMANDS, "your package manager, to install it");
    SetupError::Missing { what, tried, command: command.to_owned() }
}

/// The tree of packages.
fn unpacked(cache: &Cache, ways: &Ways, report: &dyn Report) -> Result<PathBuf> {
    let place = packages::place("kernel-tools");
    let root = cache.path().join(&place);
    if root.is_dir() {
        return Ok(root);
    }
    let mut tried = Tried::default();
    if ways.allow(Way::DebianKernelTools) && apt::available() {
        let lock = cache.lock("kernel-tools", report)?;
        if root.is_dir() {
            return Ok(root);
        }
        match from_packages(cache, &lock, &place, report) {
            Ok(root) => return Ok(root),
            Err(error) => report.step(&tried.add(&error)),
        }
    }
    Err(missing("one of flex, bison, bc, m4, libelf, busybox", tried))
}

fn from_packages(cache: &Cache, lock: &Lock, place: &Path, report: &dyn Report) -> Result<PathBuf> {
    let staging = cache.staging(lock)?;
    let what = "tools to build Linux with";
    let made = packages::tree(cache, staging.path(), what, &PACKAGES, report)?;
    packages::mend_links(&made)?;
    cache.publish(lock, &made, place)
}
