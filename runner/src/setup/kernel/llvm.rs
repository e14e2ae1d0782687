//! LLVM's compiler and tools: some of the kernel's checks of itself go with Rust only if the C part is
//! built with it.

use super::bindgen::LLVM;
use super::toolchain::Toolchain;
use crate::setup::error::Tried;
use crate::setup::way::{Way, Ways};
use crate::setup::{Cache, Lock, Report, Result, SetupError, apt, packages};
use std::path::{Path, PathBuf};

/// The programs that the build uses.
const PROGRAMS: [&str; 8] = [
    "clang",
    "ld.lld",
    "llvm-ar",
    "llvm-nm",
    "llvm-objcopy",
    "llvm-objdump",
    "llvm-readelf",
    "llvm-strip",
];

/// Which release.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Version {
    /// Any that will do.
    Any,
    /// This one.
    Major(u32),
}

/// A release that is there.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Llvm {
    /// Its programs have its number in their names, if this is one.
    number: Option<u32>,
}

impl Llvm {
    /// What make is told.
    pub(super) fn suffix(&self) -> String {
        self.number.map_or_else(|| "1".to_owned(), |number| format!("-{number}"))
    }

    /// What the programs' names end in.
    pub(super) fn program_suffix(&self) -> String {
        self.number.map(|number| format!("-{number}")).unwrap_or_default()
    }

    fn is_in(&self, toolchain: &Toolchain) -> bool {
        let suffix = self.program_suffix();
        PROGRAMS.iter().all(|program| toolchain.which(&format!("{program}{suffix}")).is_some())
    }
}

/// Adds it to a toolchain.
pub(super) fn add(
    toolchain: &mut Toolchain,
    cache: &Cache,
    version: Version,
    report: &dyn Report,
) -> Result<Llvm> {
    let ways = Ways::from_env()?;
    let candidates = match version {
        Version::Any => LLVM.to_vec(),
        Version::Major(number) => vec![number],
    };
    if ways.allow(Way::SystemLlvm) {
        let numbered = candidates.iter().map(|&number| Llvm { number: Some(number) });
        if let Some(llvm) = numbered.into_iter().find(|llvm| llvm.is_in(toolchain)) {
            return Ok(llvm);
        }
        let plain = Llvm { number: None };
        if plain.is_in(toolchain)
            && major(toolchain).is_some_and(|major| candidates.contains(&major))
        {
            return Ok(plain);
        }
    }
    let mut tried = Tried::default();
    for number in candidates {
        if let Some(root) = unpacked(cache, number, &ways, &mut tried, report)? {
            toolchain.path.push(root.join("usr/bin"));
            toolchain.libraries.extend(packages::library_folders(&root));
            return Ok(Llvm { number: Some(number) });
        }
    }
    let commands = [
        ("apt-get", "sudo apt-get install clang-19 lld-19 llvm-19"),
        ("dnf", "sudo dnf install clang lld llvm"),
        ("pacman", "sudo pacman -S clang lld llvm"),
        ("zypper", "sudo zypper install clang lld llvm"),
    ];
    let command =
        packages::install_command(&commands, "your package manager, to install clang, lld");
    Err(SetupError::Missing { what: "LLVM (clang, lld)", tried, command: command.to_owned() })
}

/// The release of the programs without a number.
fn major(toolchain: &Toolchain) -> Option<u32> {
    let said = toolchain.tool("clang").arg("-dumpversion").run("clang -dumpversion").ok()?;
    said.split('.').next()?.trim().parse().ok()
}

/// A release's packages, unpacked; nothing if there are none.
fn unpacked(
    cache: &Cache,
    number: u32,
    ways: &Ways,
    tried: &mut Tried,
    report: &dyn Report,
) -> Result<Option<PathBuf>> {
    let place = packages::place(&format!("llvm-{number}"));
    let root = cache.path().join(&place);
    if root.is_dir() {
        return Ok(Some(root));
    }
    if !ways.allow(Way::DebianLlvm) || !apt::available() {
        return Ok(None);
    }
    let lock = cache.lock("llvm", report)?;
    if root.is_dir() {
        return Ok(Some(root));
    }
    match from_packages(cache, &lock, number, &place, report) {
        Ok(root) => Ok(Some(root)),
        Err(error) => {
            report.step(&tried.add(&error));
            Ok(None)
        }
    }
}

fn from_packages(
    cache: &Cache,
    lock: &Lock,
    number: u32,
    place: &Path,
    report: &dyn Report,
) -> Result<PathBuf> {
    let staging = cache.staging(lock)?;
    let names = ["clang", "lld", "llvm"].map(|name| format!("{name}-{number}"));
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    let made = packages::tree(cache, staging.path(), &format!("LLVM {number}"), &names, report)?;
    cache.publish(lock, &made, place)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn make_is_told_of_numbers_in_names() {
        let numbered = Llvm { number: Some(19) };
        assert_eq!((numbered.suffix().as_str(), &*numbered.program_suffix()), ("-19", "-19"));
        let plain = Llvm { number: None };
        assert_eq!((plain.suffix().as_str(), &*plain.program_suffix()), ("1", ""));
    }
}
