//! Everything that Linux is built with, and the environment that makes its build find it.

use super::llvm::{self, Llvm};
use super::{bindgen, tools};
use crate::setup::rustc::Rustc;
use crate::setup::tool::{QUESTION, Tool};
use crate::setup::{Cache, Report, Result, rust_src};
use std::env;
use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::process::Command;

/// The tools for one kernel.
#[derive(Clone, Default, Debug)]
pub(super) struct Toolchain {
    /// Folders before those of the `PATH`.
    pub(super) path: Vec<PathBuf>,
    /// Folders with libraries of programs there.
    pub(super) libraries: Vec<PathBuf>,
    /// Variables.
    pub(super) variables: Vec<(&'static str, OsString)>,
    /// Arguments for make.
    pub(super) arguments: Vec<OsString>,
    llvm: Option<Llvm>,
}

impl Toolchain {
    /// Finds the tools, or gets them. With a version of LLVM the kernel is built with that, else with
    /// GCC.
    pub(super) fn find(
        cache: &Cache,
        version: Option<llvm::Version>,
        report: &dyn Report,
    ) -> Result<Self> {
        let rustc = Rustc::find()?;
        let mut toolchain = Self::default();
        // The build asks for rustc, rustfmt and clippy-driver by name.
        toolchain.path.push(rustc.sysroot.join("bin"));
        tools::add(&mut toolchain, cache, report)?;
        bindgen::add(&mut toolchain, cache, report)?;
        let library = rust_src::find(cache, &rustc, report)?;
        toolchain.variables.push(("RUST_LIB_SRC", library.into()));
        if let Some(version) = version {
            let llvm = llvm::add(&mut toolchain, cache, version, report)?;
            toolchain.arguments.push(format!("LLVM={}", llvm.suffix()).into());
            toolchain.llvm = Some(llvm);
        }
        Ok(toolchain)
    }

    /// The variables with which programs find the tools.
    pub(super) fn environment(&self) -> Vec<(&'static str, OsString)> {
        let prepend = |name: &str, folders: &[PathBuf]| {
            let old = env::var_os(name).unwrap_or_default();
            let old_folders =
                env::split_paths(&old).filter(|folder| !folder.as_os_str().is_empty());
            let folders = folders.iter().cloned().chain(old_folders);
            // A folder with a colon cannot be in such a list.
            env::join_paths(folders).unwrap_or_else(|_| old.clone())
        };
        let mut variables = vec![("PATH", prepend("PATH", &self.path))];
        if !self.libraries.is_empty() {
            variables.push(("LD_LIBRARY_PATH", prepend("LD_LIBRARY_PATH", &self.libraries)));
        }
        variables.extend(self.variables.iter().cloned());
        variables
    }

    /// Makes a make find the tools.
    pub(super) fn apply(&self, make: &mut Command) {
        make.envs(self.environment()).args(&self.arguments);
    }

    /// A program of it that answers a question.
    pub(super) fn tool(&self, program: &str) -> Tool {
        let path = self.which(program).unwrap_or_else(|| program.into());
        Tool::new(path, QUESTION).change(|command| {
            command.envs(self.environment());
        })
    }

    /// Where a program is.
    pub(super) fn which(&self, program: &str) -> Option<PathBuf> {
        let own = env::join_paths(&self.path).ok()?;
        let here = env::current_dir().unwrap_or_default();
        which::which_in(program, Some(own), here).or_else(|_| which::which(program)).ok()
    }

    /// A short text that stands for these tools and whatever else is given.
    pub(super) fn key(&self, besides: &[&str]) -> Result<String> {
        let compiler = match &self.llvm {
            Some(llvm) => format!("clang{}", llvm.program_suffix()),
            None => "gcc".to_owned(),
        };
        let mut texts: Vec<_> = besides.iter().map(|&text| text.to_owned()).collect();
        for program in ["rustc", "bindgen", &compiler] {
            texts.push(self.tool(program).arg("--version").run(&format!("{program} --version"))?);
        }
        let texts: Vec<_> = texts.iter().map(String::as_str).collect();
        Ok(hash(&texts))
    }
}

/// A short text that stands for others.
pub(super) fn hash(texts: &[&str]) -> String {
    let mut hasher = blake3::Hasher::new();
    for text in texts {
        hasher.update(&(text.len() as u64).to_le_bytes()).update(text.as_bytes());
    }
    hasher.finalize().to_hex()[..12].to_owned()
}

/// A folder as the option of a compiler.
pub(super) fn option(name: &str, folder: impl AsRef<OsStr>) -> OsString {
    let mut option = OsString::from(name);
    option.push(folder);
    option
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn different_texts_have_different_keys() {
        assert_ne!(hash(&["ab", "c"]), hash(&["a", "bc"]));
        assert_eq!(hash(&["ab", "c"]).len(), 12);
    }

    #[test]
    fn a_tool_of_the_toolchain_stands_before_that_of_the_system() {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("sh");
        std::os::unix::fs::symlink("/bin/true", &program).unwrap();
        let mut toolchain = Toolchain::default();
        assert_ne!(toolchain.which("sh"), Some(program.clone()));
        toolchain.path.push(folder.path().to_owned());
        assert_eq!(toolchain.which("sh"), Some(program));
        assert!(toolchain.which("cat").is_some());
    }
}
