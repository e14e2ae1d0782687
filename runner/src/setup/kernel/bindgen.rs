//! bindgen, which makes Rust of C headers, and the parser that it uses (libclang).

use super::toolchain::Toolchain;
use crate::setup::error::Tried;
use crate::setup::guest::clean_environment;
use crate::setup::rustc::cargo;
use crate::setup::tool::Tool;
use crate::setup::way::{Way, Ways};
use crate::setup::{Cache, Lock, Report, Result, SetupError, apt, packages};
use std::env;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The release that is installed where there is none.
const RELEASE: &str = "0.72.1";

/// The oldest one that this Linux takes.
const OLDEST: (u32, u32) = (0, 71);

/// How long building it may take.
const BUILD: Duration = Duration::from_secs(20 * 60);

/// Releases of LLVM that this Linux takes, the one that was tried first.
pub(super) const LLVM: [u32; 5] = [19, 20, 21, 18, 17];

/// Adds both to a toolchain.
pub(super) fn add(toolchain: &mut Toolchain, cache: &Cache, report: &dyn Report) -> Result<()> {
    let ways = Ways::from_env()?;
    add_libclang(toolchain, cache, &ways, report)?;
    if ways.allow(Way::SystemBindgen) && is_usable(toolchain) {
        return Ok(());
    }
    let place = Path::new("bindgen").join(RELEASE);
    let root = cache.path().join(&place);
    if !root.is_dir() {
        let lock = cache.lock("bindgen", report)?;
        if !root.is_dir() {
            install(cache, &lock, &place, &ways, report)?;
        }
    }
    toolchain.path.insert(0, root.join("bin"));
    if is_usable(toolchain) {
        return Ok(());
    }
    let output = "it does not run".to_owned();
    Err(SetupError::Failed { what: format!("{}/bin/bindgen --version", root.display()), output })
}

/// Whether the bindgen that would be used runs, and is new enough.
fn is_usable(toolchain: &Toolchain) -> bool {
    let said = toolchain.tool("bindgen").arg("--version").run("bindgen --version");
    said.is_ok_and(|said| release(&said).is_some_and(|release| release >= OLDEST))
}

/// `bindgen 0.72.1`.
fn release(said: &str) -> Option<(u32, u32)> {
    let mut numbers = said.trim().rsplit_once(' ')?.1.split('.').map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

fn install(
    cache: &Cache,
    lock: &Lock,
    place: &Path,
    ways: &Ways,
    report: &dyn Report,
) -> Result<()> {
    let mut tried = Tried::default();
    if ways.allow(Way::CargoBindgen) {
        report.step(&format!("building bindgen {RELEASE} (once, about a minute)"));
        let staging = cache.staging(lock)?;
        let made = staging.path().join("made");
        let tool = Tool::new(cargo(), BUILD).change(clean_environment);
        let tool =
            tool.args(["install", "--quiet", "--locked", "--version", RELEASE, "--no-track"]);
        let tool = tool.arg("--target-dir").arg(staging.path().join("target"));
        match tool.arg("--root").arg(&made).arg("bindgen-cli").run("cargo install bindgen-cli") {
            Ok(_) => return cache.publish(lock, &made, place).map(drop),
            Err(error) => report.step(&tried.add(&error)),
        }
    }
    let command = format!("cargo install bindgen-cli --version {RELEASE} --locked");
    Err(SetupError::Missing { what: "bindgen", tried, command })
}

/// Finds the library, or gets it.
fn add_libclang(
    toolchain: &mut Toolchain,
    cache: &Cache,
    ways: &Ways,
    report: &dyn Report,
) -> Result<()> {
    if env::var_os("LIBCLANG_PATH").is_some() {
        return Ok(());
    }
    if ways.allow(Way::SystemLibclang)
        && let Some(folder) = LLVM.iter().find_map(|version| installed(*version))
    {
        toolchain.variables.push(("LIBCLANG_PATH", folder.into()));
        return Ok(());
    }
    let place = packages::place("libclang");
    let root = cache.path().join(&place);
    if !root.is_dir() {
        let lock = cache.lock("libclang", report)?;
        if !root.is_dir() {
            get_libclang(cache, &lock, &place, ways, report)?;
        }
    }
    let folders = packages::library_folders(&root);
    let folder = folders.iter().find(|folder| has_libclang(folder));
    let folder = folder.ok_or_else(|| no_libclang(Tried::default()))?;
    toolchain.variables.push(("LIBCLANG_PATH", folder.into()));
    toolchain.libraries.extend(folders);
    Ok(())
}

/// Where a distribution puts a release of LLVM.
fn installed(version: u32) -> Option<PathBuf> {
    let places = [format!("/usr/lib/llvm-{version}/lib"), format!("/usr/lib64/llvm{version}/lib")];
    places.into_iter().map(PathBuf::from).find(|folder| has_libclang(folder))
}

fn has_libclang(folder: &Path) -> bool {
    let Ok(files) = folder.read_dir() else { return false };
    files.flatten().any(|file| {
        let name = file.file_name();
        let name = name.to_string_lossy();
        name.starts_with("libclang.so") || name.starts_with("libclang-") && name.contains(".so")
    })
}

fn no_libclang(tried: Tried) -> SetupError {
    let commands = [
        ("apt-get", "sudo apt-get install libclang-19-dev"),
        ("dnf", "sudo dnf install clang-devel"),
        ("pacman", "sudo pacman -S clang"),
        ("zypper", "sudo zypper install clang-devel"),
    ];
    let command = packages::install_command(&commands, "your package manager, to install libclang");
    SetupError::Missing { what: "libclang", tried, command: command.to_owned() }
}

fn get_libclang(
    cache: &Cache,
    lock: &Lock,
    place: &Path,
    ways: &Ways,
    report: &dyn Report,
) -> Result<()> {
    let mut tried = Tried::default();
    if ways.allow(Way::DebianLibclang) && apt::available() {
        for version in LLVM {
            let staging = cache.staging(lock)?;
            let package = format!("libclang1-{version}");
            match packages::tree(cache, staging.path(), "libclang", &[&package], report) {
                Ok(made) => return cache.publish(lock, &made, place).map(drop),
                Err(error) => report.step(&tried.add(&error)),
            }
        }
    }
    Err(no_libclang(tried))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_release_is_read_from_what_it_says() {
        assert_eq!(release("bindgen 0.72.1\n"), Some((0, 72)));
        assert_eq!(release("something else"), None);
        assert!(release("bindgen 0.69.5").unwrap() < OLDEST);
    }
}
