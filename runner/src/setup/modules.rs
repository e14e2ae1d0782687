//! The project's kernel modules, built for one kernel.
//!
//! They are built in a copy of their sources, in the target folder: the sources stay as they are, a build
//! by hand among them does no harm, and several kernels have their modules side by side.

use super::cache::failed;
use super::rustc::workspace;
use super::{Cache, Kernel, Report, Result, SetupError};
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

/// The folder of the modules, and those of the crates that are built into them.
const FOLDERS: [&str; 3] = ["host-kmod", "format", "driver"];

/// Names and extensions of sources.
const SOURCES: [&str; 10] =
    ["Kbuild", "Makefile", "Kconfig", "rs", "c", "h", "S", "lds", "sh", "toml"];

/// The file with the warnings of the last build, if it had any.
const WARNINGS: &str = "warnings";

/// Modules that have been built.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Modules {
    /// The modules.
    pub files: Vec<PathBuf>,
    /// The warnings of the build.
    pub warnings: Vec<String>,
}

/// Builds the modules.
///
/// # Errors
///
/// [`SetupError::Build`], [`SetupError::Start`], [`SetupError::Cache`].
pub fn modules(cache: &Cache, kernel: &Kernel, report: &dyn Report) -> Result<Modules> {
    let workspace = workspace()?;
    let key = kernel.key();
    let _lock = cache.lock(&format!("modules-{key}"), report)?;
    let folder = workspace.join("target/modules").join(key);
    let (log, known) = (folder.join("build.log"), folder.join(WARNINGS));
    let mut changed = copy_all(workspace, &folder)?;
    if changed && known.exists() {
        // A build of what has changed would be silent about the rest.
        fs::remove_dir_all(&folder).map_err(failed(&folder, "remove it"))?;
        changed = copy_all(workspace, &folder)?;
    }
    if changed {
        report.step(&format!("building the modules for Linux {}", kernel.release));
    }
    // Only the last build is of interest.
    fs::write(&log, "").map_err(failed(&log, "write it"))?;
    let built = folder.join("host-kmod");
    let mut warnings = kernel.make(&built, &log, "the modules").run(report)?;
    if let Ok(text) = fs::read_to_string(&known) {
        warnings.extend(text.lines().map(str::to_owned));
    }
    if !warnings.is_empty() {
        fs::write(&known, warnings.join("\n")).map_err(failed(&known, "write it"))?;
    }
    let entries = fs::read_dir(&built).map_err(failed(&built, "read it"))?.flatten();
    let files = entries.map(|entry| entry.path());
    let mut files: Vec<_> = files.filter(|path| path.extension() == Some("ko".as_ref())).collect();
    if files.is_empty() {
        let output = "it makes no module (*.ko)".to_owned();
        return Err(SetupError::Build { what: "the modules".to_owned(), log, output });
    }
    files.sort();
    Ok(Modules { files, warnings })
}

/// Copies all sources. Returns whether any had changed.
fn copy_all(workspace: &Path, folder: &Path) -> Result<bool> {
    let mut changed = false;
    for name in FOLDERS {
        changed |= copy(&workspace.join(name), &folder.join(name))?;
    }
    link_others(workspace, folder)?;
    Ok(changed)
}

/// Gives the copy the rest of the workspace: the build asks cargo where crates are.
fn link_others(workspace: &Path, folder: &Path) -> Result<()> {
    for name in ["Cargo.toml", "Cargo.lock", "guest", "mkdaxfs", "multikernel", "runner", "tests"] {
        let link = folder.join(name);
        if fs::symlink_metadata(&link).is_err() {
            symlink(workspace.join(name), &link).map_err(failed(&link, "make it"))?;
        }
    }
    Ok(())
}

/// Makes the sources in `to` those in `from`; what is built there stays. Returns whether any differed.
fn copy(from: &Path, to: &Path) -> Result<bool> {
    fs::create_dir_all(to).map_err(failed(to, "make it"))?;
    let mut changed = false;
    let mut names = BTreeSet::new();
    for entry in fs::read_dir(from).map_err(failed(from, "read it"))?.flatten() {
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        let folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
        if folder && entry.file_name() != "target" {
            changed |= copy(&source, &target)?;
        } else if !folder && is_source(&source) {
            names.insert(entry.file_name());
            let text = fs::read(&source).map_err(failed(&source, "read it"))?;
            // What is as it was keeps its time: make goes by that.
            if fs::read(&target).ok().as_ref() != Some(&text) {
                fs::write(&target, text).map_err(failed(&target, "write it"))?;
                changed = true;
            }
        }
    }
    for entry in fs::read_dir(to).map_err(failed(to, "read it"))?.flatten() {
        // Sources that make has made look like `daxfs.mod.c`.
        let made = entry.file_name().to_string_lossy().matches('.').count() > 1;
        if is_source(&entry.path()) && !made && !names.contains(&entry.file_name()) {
            fs::remove_file(entry.path()).map_err(failed(&entry.path(), "remove it"))?;
            changed = true;
        }
    }
    Ok(changed)
}

fn is_source(path: &Path) -> bool {
    let is = |part: Option<&std::ffi::OsStr>| {
        part.is_some_and(|part| SOURCES.iter().any(|source| part == *source))
    };
    is(path.extension()) || is(path.file_name())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_follows_its_sources_and_keeps_what_was_built() {
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (folder.path().join("from"), folder.path().join("to"));
        fs::create_dir_all(from.join("src")).unwrap();
        for (name, text) in
            [("Makefile", "all:"), ("src/a.rs", "a"), ("src/b.rs", "b"), ("a.o", "o")]
        {
            fs::write(from.join(name), text).unwrap();
        }
        assert!(copy(&from, &to).unwrap());
        assert!(!copy(&from, &to).unwrap());
        assert!(!to.join("a.o").exists());
        fs::write(to.join("daxfs.mod.c"), "made").unwrap();
        fs::write(to.join("src/a.o"), "made").unwrap();
        fs::remove_file(from.join("src/b.rs")).unwrap();
        let before = fs::metadata(to.join("src/a.rs")).unwrap().modified().unwrap();
        assert!(copy(&from, &to).unwrap());
        assert!(!to.join("src/b.rs").exists());
        assert!(to.join("daxfs.mod.c").exists() && to.join("src/a.o").exists());
        assert_eq!(fs::metadata(to.join("src/a.rs")).unwrap().modified().unwrap(), before);
    }
}
