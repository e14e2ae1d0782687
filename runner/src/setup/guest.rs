//! The guest kernel's ELF file, built by cargo.

use super::linker::linker;
use super::rustc::{Rustc, TARGET, cargo, no_rust, workspace};
use super::{Cache, Report, Result, SetupError, bare_metal_target};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// What is built, for messages.
const WHAT: &str = "the guest kernel";

/// A guest kernel that QEMU can start.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Guest {
    /// The file.
    pub elf: PathBuf,
    /// Its length.
    pub bytes: u64,
}

/// Builds the guest kernel; gets the target for it, if it is missing.
///
/// The target folder is one of its own, `target/guest-build` in the workspace: a cargo that waits
/// for this program may hold the lock of the usual one.
///
/// # Errors
///
/// [`SetupError::Cargo`], and those of [`bare_metal_target`].
pub fn guest(cache: &Cache, report: &dyn Report) -> Result<Guest> {
    let target = bare_metal_target(cache, report)?;
    let linker = linker(cache, &Rustc::find()?, report)?;
    let workspace = workspace()?;
    let folder = workspace.join("target/guest-build");
    let mut command = Command::new(cargo());
    clean_environment(&mut command);
    let mut flags = Vec::new();
    if let Some(sysroot) = target.sysroot {
        flags.extend(["--sysroot".into(), sysroot.into_os_string()]);
    }
    if let Some(linker) = linker {
        flags.extend(["-C".into(), option("linker=", linker.program)]);
        command.envs(linker.environment);
    }
    if !flags.is_empty() {
        command.env("CARGO_ENCODED_RUSTFLAGS", flags.join(OsStr::new("\x1f")));
    }
    command.args(["build", "-p", "daxfs-guest", "--profile", "guest", "--target", TARGET]);
    command.args(["--color", "never"]).arg("--target-dir").arg(&folder).current_dir(workspace);
    run_cargo(command, WHAT, report)?;
    let elf = folder.join(TARGET).join("guest/daxfs-guest");
    match fs::metadata(&elf) {
        Ok(about) => Ok(Guest { elf, bytes: about.len() }),
        Err(error) => {
            let output = format!("{}: {error}", elf.display());
            Err(SetupError::Cargo { what: WHAT, output })
        }
    }
}

fn option(name: &str, value: PathBuf) -> OsString {
    let mut option = OsString::from(name);
    option.push(value);
    option
}

/// Runs cargo. It is quiet unless it fails, but for one line when there is something to do.
pub(super) fn run_cargo(
    mut command: Command,
    what: &'static str,
    report: &dyn Report,
) -> Result<()> {
    let program = command.get_program().to_string_lossy().into_owned();
    let failed = |reason| no_rust(SetupError::Start { program: program.clone(), reason });
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(failed)?;
    let mut output = String::new();
    let mut steps = Steps::default();
    if let Some(stderr) = child.stderr.take() {
        for line in BufReader::new(stderr).split(b'\n') {
            let line = line.map_err(failed)?;
            let line = String::from_utf8_lossy(&line);
            if let Some(step) = steps.next(&line) {
                report.step(&format!("{step} {what}"));
            }
            output.push_str(&line);
            output.push('\n');
        }
    }
    let status = child.wait().map_err(failed)?;
    if status.success() { Ok(()) } else { Err(SetupError::Cargo { what, output }) }
}

/// Turns cargo's lines into few.
#[derive(Default)]
struct Steps {
    last: Option<&'static str>,
}

impl Steps {
    fn next(&mut self, line: &str) -> Option<&'static str> {
        let step = match line.split_whitespace().next()? {
            "Compiling" => "building",
            "Downloading" => "downloading dependencies of",
            "Blocking" => "waiting for another build of",
            _ => return None,
        };
        (self.last.replace(step) != Some(step)).then_some(step)
    }
}

/// Removes from the environment of a cargo what is meant for the user's own build: flags and
/// wrappers for hosted programs (instrumentation, a native CPU) break a kernel, and a target folder
/// that is in use would be waited for.
pub(super) fn clean_environment(command: &mut Command) {
    for (name, _) in std::env::vars_os() {
        if leaks(&name) {
            command.env_remove(name);
        }
    }
}

fn leaks(name: &OsStr) -> bool {
    const NAMES: [&str; 11] = [
        "CARGO_BUILD_BUILD_DIR",
        "CARGO_BUILD_RUSTFLAGS",
        "CARGO_BUILD_RUSTC_WRAPPER",
        "CARGO_BUILD_RUSTC_WORKSPACE_WRAPPER",
        "CARGO_BUILD_TARGET",
        "CARGO_BUILD_TARGET_DIR",
        "CARGO_ENCODED_RUSTFLAGS",
        "CARGO_TARGET_DIR",
        "RUSTC_WORKSPACE_WRAPPER",
        "RUSTC_WRAPPER",
        "RUSTFLAGS",
    ];
    const PREFIXES: [&str; 5] = [
        "CARGO_INCREMENTAL",
        "CARGO_PROFILE_",
        "CARGO_TARGET_X86_64_UNKNOWN_NONE_",
        "CARGO_TERM_",
        "CARGO_UNSTABLE_",
    ];
    let Some(name) = name.to_str() else { return false };
    NAMES.contains(&name) || PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_of_the_users_own_build_do_not_reach_the_guests() {
        for name in ["RUSTFLAGS", "CARGO_TARGET_DIR", "CARGO_PROFILE_RELEASE_LTO"] {
            assert!(leaks(OsStr::new(name)), "{name}");
        }
        for name in ["PATH", "CARGO_HOME", "RUSTUP_TOOLCHAIN", "CARGO_BUILD_JOBS", "RUSTC"] {
            assert!(!leaks(OsStr::new(name)), "{name}");
        }
    }

    #[test]
    fn of_many_lines_of_cargo_few_are_told() {
        let mut steps = Steps::default();
        assert_eq!(steps.next("    Blocking waiting for file lock on artifact directory"), {
            Some("waiting for another build of")
        });
        assert_eq!(steps.next("   Compiling daxfs v0.1.0"), Some("building"));
        assert_eq!(steps.next("   Compiling daxfs-guest v0.1.0"), None);
        assert_eq!(steps.next("    Finished `guest` profile"), None);
        assert_eq!(steps.next(""), None);
    }
}
