//! The compiler in use: which one it is, and where its parts are.

use super::tool::{QUESTION, Tool};
use super::{Result, SetupError};
use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// The target of the guest kernel.
pub(super) const TARGET: &str = "x86_64-unknown-none";

/// The compiler that cargo uses when it is called from here.
#[derive(Clone, Debug)]
pub(super) struct Rustc {
    program: OsString,
    /// As `rustc --version` says: crates can be used by the compiler that has the same one.
    pub(super) version: String,
    /// For example `1.95.0`.
    pub(super) release: String,
    pub(super) host: String,
    pub(super) sysroot: PathBuf,
}

impl Rustc {
    /// Asks it.
    pub(super) fn find() -> Result<Self> {
        let program = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
        let ask = |question: &[&str]| {
            let tool = Tool::new(&program, QUESTION).args(question).folder(workspace()?);
            tool.run(&format!("rustc {}", question.join(" "))).map_err(no_rust)
        };
        let about = ask(&["-vV"])?;
        let sysroot = PathBuf::from(ask(&["--print", "sysroot"])?.trim_end());
        let part = |name: &str| {
            about.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default().to_owned()
        };
        Ok(Self {
            version: about.lines().next().unwrap_or_default().to_owned(),
            release: part("release: "),
            host: part("host: "),
            sysroot,
            program,
        })
    }

    pub(super) fn tool(&self) -> Tool {
        Tool::new(&self.program, QUESTION)
    }

    pub(super) fn program(&self) -> &OsString {
        &self.program
    }

    /// The version as a file name.
    pub(super) fn key(&self) -> String {
        file_name(&self.version)
    }

    /// Whether a sysroot holds the target's crates, usable by this compiler.
    pub(super) fn has_target(&self, sysroot: &Path) -> bool {
        // Asking for a compilation finds crates of another version, too.
        let source = "#![no_std]\nextern crate alloc;\npub use alloc::vec::Vec;\n";
        let tool = self.tool().arg("--sysroot").arg(sysroot).args(["--target", TARGET]);
        let tool = tool.args(["--edition", "2021", "--crate-type", "lib", "--emit", "metadata"]);
        let tool = tool.args(["--crate-name", "trial", "-o", "-", "-"]);
        tool.stdin(source).and_then(|tool| tool.run("a trial of the target")).is_ok()
    }
}

/// The cargo that called us, or else the one on the `PATH`.
pub(super) fn cargo() -> OsString {
    env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}

/// The workspace that this program was built from. Toolchain overrides depend on the folder.
pub(super) fn workspace() -> Result<&'static Path> {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    match package.parent() {
        Some(path) if path.join("Cargo.toml").is_file() => Ok(path),
        _ => Err(SetupError::NoSources { path: package.to_owned() }),
    }
}

/// Says in place of "cannot run" what to do.
pub(super) fn no_rust(error: SetupError) -> SetupError {
    match error {
        SetupError::Start { program, reason } => SetupError::NoRust { program, reason },
        other => other,
    }
}

/// A text as a file name: words of letters and digits, joined.
pub(super) fn file_name(text: &str) -> String {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '.');
    words.filter(|word| !word.is_empty()).collect::<Vec<_>>().join("-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn different_compilers_have_different_keys() {
        let upstream = file_name("rustc 1.95.0 (59807616e 2026-04-14)");
        assert_eq!(upstream, "rustc-1.95.0-59807616e-2026-04-14");
        let tarball = "rustc 1.95.0 (59807616e 2026-04-14) (built from a source tarball)";
        assert_ne!(file_name(tarball), upstream);
    }

    #[test]
    fn the_compiler_that_builds_this_is_found() {
        let rustc = Rustc::find().unwrap();
        assert!(rustc.version.contains(&rustc.release), "{rustc:?}");
        assert!(rustc.sysroot.join("lib/rustlib").join(&rustc.host).is_dir(), "{rustc:?}");
        assert!(!rustc.has_target(Path::new("/nonexistent")));
    }
}
