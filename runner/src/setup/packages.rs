//! Debian packages, unpacked into the cache without being installed.

use super::apt::{Apt, os_release};
use super::cache::failed;
use super::rustc::file_name;
use super::tool::Tool;
use super::{Cache, Report, Result, SetupError};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{env, fs};

/// How long unpacking one package may take.
const ONE: Duration = Duration::from_secs(5 * 60);

/// The place of a program's packages in the cache. They use libraries of the system: another release
/// of it needs others.
pub(super) fn place(program: &str) -> PathBuf {
    let system = ["ID", "VERSION_ID", "VERSION_CODENAME"].map(os_release);
    let system = system.into_iter().flatten().collect::<Vec<_>>().join(" ");
    Path::new(program).join(file_name(&format!("{system} {}", env::consts::ARCH)))
}

/// Downloads packages of the distribution, and those that they depend on and the system lacks; returns
/// the tree that they make. `program` is for messages.
pub(super) fn tree(
    cache: &Cache,
    staging: &Path,
    program: &str,
    packages: &[&str],
    report: &dyn Report,
) -> Result<PathBuf> {
    let made = staging.join("made");
    fs::create_dir(&made).map_err(failed(&made, "make it"))?;
    let request = Request { program, packages, report };
    let downloaded = request.download(cache, staging)?;
    report.step(&format!("unpacking {program} into the cache"));
    unpack(&downloaded, &made)?;
    Ok(made)
}

struct Request<'a> {
    program: &'a str,
    packages: &'a [&'a str],
    report: &'a dyn Report,
}

impl Request<'_> {
    /// Downloads into a new folder.
    fn download(&self, cache: &Cache, staging: &Path) -> Result<PathBuf> {
        // The system's lists may be missing, or name packages that are not to be had any more.
        let folder = staging.join("packages");
        if self.download_with(&Apt::system(), &folder).is_ok() {
            return Ok(folder);
        }
        let (apt, updated) = Apt::refreshed(cache, self.report)?;
        let folder = staging.join("newer-packages");
        match self.download_with(&apt, &folder) {
            Ok(()) => Ok(folder),
            Err(error) => Err(updated.err().unwrap_or(error)),
        }
    }

    fn download_with(&self, apt: &Apt, to: &Path) -> Result<()> {
        fs::create_dir(to).map_err(failed(to, "make it"))?;
        let mut packages = apt.missing(self.packages)?;
        // The C library and the loader belong together, and the loader is the system's.
        packages.retain(|package| !package.starts_with("libc6="));
        if packages.is_empty() {
            let what = format!("looking for the packages of {}", self.program);
            return Err(SetupError::Failed { what, output: "no source has them".to_owned() });
        }
        self.report.step(&format!("downloading {} ({} packages)", self.program, packages.len()));
        apt.download(&packages, to)
    }
}

/// Unpacks all packages in a folder into one tree.
pub(super) fn unpack(packages: &Path, to: &Path) -> Result<()> {
    for entry in fs::read_dir(packages).map_err(failed(packages, "read it"))? {
        let path = entry.map_err(failed(packages, "read it"))?.path();
        if path.extension().is_some_and(|extension| extension == "deb") {
            let tool = Tool::new("dpkg-deb", ONE).arg("--extract").arg(&path).arg(to);
            tool.run(&format!("unpacking {}", path.display()))?;
        }
    }
    Ok(())
}

/// The folders of a tree that have libraries.
pub(super) fn library_folders(root: &Path) -> Vec<PathBuf> {
    let mut folders = Vec::new();
    for folder in ["lib", "usr/lib"] {
        // Some libraries are in folders of their own.
        find_libraries(&root.join(folder), 3, &mut folders);
    }
    folders
}

/// Makes links to libraries that are not in a tree, because the system has them, point to those: so
/// that programs can be built with what is in it.
pub(super) fn mend_links(root: &Path) -> Result<()> {
    for folder in library_folders(root) {
        for entry in fs::read_dir(&folder).map_err(failed(&folder, "read it"))?.flatten() {
            let path = entry.path();
            let Ok(target) = fs::read_link(&path) else { continue };
            let (false, Some(name)) = (path.exists(), target.file_name()) else { continue };
            let inside = folder.strip_prefix(root).unwrap_or(&folder);
            let places = [Path::new("/").join(inside), "/lib64".into(), "/usr/lib64".into()];
            // `lib` and `usr/lib` may be one folder there, or two.
            let other = Path::new("/").join(inside.strip_prefix("usr").unwrap_or(inside));
            let found = places.into_iter().chain([other]).map(|place| place.join(name));
            if let Some(found) = found.into_iter().find(|found| found.exists()) {
                fs::remove_file(&path).map_err(failed(&path, "remove it"))?;
                std::os::unix::fs::symlink(found, &path).map_err(failed(&path, "make it"))?;
            }
        }
    }
    Ok(())
}

/// The variable that lets programs of a tree find their libraries.
pub(super) fn library_path(root: &Path) -> (OsString, OsString) {
    let mut folders = library_folders(root);
    if let Some(old) = env::var_os("LD_LIBRARY_PATH") {
        folders.extend(env::split_paths(&old));
    }
    ("LD_LIBRARY_PATH".into(), env::join_paths(folders).unwrap_or_default())
}

fn find_libraries(folder: &Path, depth: u32, found: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    let mut has_libraries = false;
    for entry in entries.flatten() {
        if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            has_libraries |= name.starts_with("lib") && name.contains(".so");
        } else if depth > 0 {
            find_libraries(&entry.path(), depth - 1, found);
        }
    }
    if has_libraries {
        found.push(folder.to_owned());
    }
}

/// The command with which a user installs something, given those for each package manager.
pub(super) fn install_command(
    commands: &[(&str, &'static str)],
    otherwise: &'static str,
) -> &'static str {
    let here = commands.iter().find(|(manager, _)| which::which(manager).is_ok());
    here.map_or(otherwise, |&(_, command)| command)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_in_folders_of_their_own_are_found() {
        let root = tempfile::tempdir().unwrap();
        for path in ["usr/lib/cpu/libone.so.1", "usr/lib/cpu/two/libtwo.so", "usr/lib/x/data"] {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        let (_, folders) = library_path(root.path());
        let folders: Vec<_> = env::split_paths(&folders).collect();
        assert!(folders.contains(&root.path().join("usr/lib/cpu")));
        assert!(folders.contains(&root.path().join("usr/lib/cpu/two")));
        assert!(!folders.contains(&root.path().join("usr/lib/x")));
    }

    #[test]
    fn a_link_to_a_library_of_the_system_is_mended() {
        let here =
            fs::read_dir("/usr/lib/x86_64-linux-gnu").or_else(|_| fs::read_dir("/usr/lib64"));
        let Some(library) = here.ok().and_then(|mut files| {
            files.find_map(|file| {
                let name = file.ok()?.file_name();
                name.to_str().filter(|name| name.starts_with("libc.so.")).map(str::to_owned)
            })
        }) else {
            return;
        };
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("usr/lib/x86_64-linux-gnu");
        fs::create_dir_all(&folder).unwrap();
        std::os::unix::fs::symlink(&library, folder.join("libc.so")).unwrap();
        std::os::unix::fs::symlink("nowhere.so", folder.join("libx.so")).unwrap();
        mend_links(root.path()).unwrap();
        assert!(folder.join("libc.so").exists());
        assert_eq!(fs::read_link(folder.join("libx.so")).unwrap(), Path::new("nowhere.so"));
    }
}
