//! Programs of the distribution for the Linux that the runner boots, unpacked into the cache.

use super::way::{Way, Ways};
use super::{Cache, Report, Result, SetupError, apt, packages};
use std::path::{Path, PathBuf};

/// A package, with what it depends on and this system lacks.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Package {
    /// The files, as they would be in the system.
    pub root: PathBuf,
    /// Folders with libraries among them.
    pub libraries: Vec<PathBuf>,
}

/// Gets a package of the distribution.
///
/// # Errors
///
/// [`SetupError::NoPackage`], [`SetupError::Cache`].
pub fn package(cache: &Cache, name: &str, report: &dyn Report) -> Result<Package> {
    let known = |c: char| c.is_ascii_alphanumeric() || "+-.".contains(c);
    if !name.starts_with(|c: char| c.is_ascii_alphanumeric()) || !name.chars().all(known) {
        let reason = "that is no name of a package".to_owned();
        return Err(SetupError::NoPackage { name: name.to_owned(), reason });
    }
    let place = Path::new("packages").join(packages::place(name));
    let root = cache.path().join(&place);
    if !root.is_dir() {
        let failed = |reason: String| SetupError::NoPackage { name: name.to_owned(), reason };
        if !Ways::from_env()?.allow(Way::DebianPackages) || !apt::available() {
            return Err(failed("packages are not Debian's here".to_owned()));
        }
        let lock = cache.lock("packages", report)?;
        if !root.is_dir() {
            let staging = cache.staging(&lock)?;
            let made = packages::tree(cache, staging.path(), name, &[name], report);
            cache.publish(&lock, &made.map_err(|error| failed(error.to_string()))?, &place)?;
        }
    }
    Ok(Package { libraries: packages::library_folders(&root), root })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_no_names() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::at(folder.path().to_owned()).unwrap();
        for name in ["", "--option", "../up", "a b"] {
            let error = package(&cache, name, &()).unwrap_err();
            assert!(error.to_string().contains("no name of a package"), "{error}");
        }
    }
}
