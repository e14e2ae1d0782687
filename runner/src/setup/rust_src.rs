//! The source of the standard library that belongs to the compiler in use.

use super::apt::{self, Apt};
use super::cache::failed;
use super::error::Tried;
use super::rustc::Rustc;
use super::way::{Way, Ways};
use super::{Cache, Lock, Report, Result, SetupError, packages};
use std::fs;
use std::path::{Path, PathBuf};

/// Its place in the cache.
fn name(rustc: &Rustc) -> PathBuf {
    Path::new("rust-src").join(&rustc.release)
}

/// The `library` folder of the source, found or downloaded.
pub(super) fn find(cache: &Cache, rustc: &Rustc, report: &dyn Report) -> Result<PathBuf> {
    let ways = Ways::from_env()?;
    let here = || local(cache, rustc).filter(|_| ways.allow(Way::LocalRustSrc));
    if let Some(source) = here() {
        return Ok(source);
    }
    let mut tried = Tried::default();
    if ways.allow(Way::DebianRustSrc) {
        let lock = cache.lock("rust-src", report)?;
        if let Some(source) = here() {
            return Ok(source);
        }
        match from_packages(cache, &lock, rustc, report) {
            Ok(Some(source)) => return Ok(source),
            Ok(None) => {}
            Err(error) => report.step(&tried.add(&error)),
        }
    }
    let command = "rustup component add rust-src".to_owned();
    Err(SetupError::Missing { what: "the source of Rust's standard library", tried, command })
}

/// The `library` folder of a source that is on this machine already.
pub(super) fn local(cache: &Cache, rustc: &Rustc) -> Option<PathBuf> {
    let packaged = PathBuf::from(format!("/usr/src/rustc-{}", rustc.release));
    let places =
        [rustc.sysroot.join("lib/rustlib/src/rust"), packaged, cache.path().join(name(rustc))];
    let mut sources =
        places.iter().filter(|place| place.join("library/alloc/src/lib.rs").is_file());
    sources.next().map(|place| place.join("library"))
}

/// The `library` folder of a distribution's package of the very release, downloaded and unpacked; if
/// packages are Debian's here, and there is one.
pub(super) fn from_packages(
    cache: &Cache,
    lock: &Lock,
    rustc: &Rustc,
    report: &dyn Report,
) -> Result<Option<PathBuf>> {
    if !apt::available() || rustc.release.contains('-') {
        // There are no packages of beta and nightly releases.
        return Ok(None);
    }
    let Some((apt, package)) = package(cache, rustc, report)? else { return Ok(None) };
    let staging = cache.staging(lock)?;
    report.step(&format!("downloading {package}"));
    apt.download(&[package], staging.path())?;
    let unpacked = staging.path().join("unpacked");
    packages::unpack(staging.path(), &unpacked)?;
    let source = unpacked.join("usr/src").join(format!("rustc-{}", rustc.release));
    let made = staging.path().join("made");
    fs::create_dir(&made).map_err(failed(&made, "make it"))?;
    let library = source.join("library");
    fs::rename(&library, made.join("library")).map_err(failed(&library, "move it"))?;
    Ok(Some(cache.publish(lock, &made, &name(rustc))?.join("library")))
}

/// The package, and where to get it: as the machine is set up, or in another suite of its mirror.
fn package(cache: &Cache, rustc: &Rustc, report: &dyn Report) -> Result<Option<(Apt, String)>> {
    // Ubuntu has packages of several releases side by side, named after them.
    let minor = rustc.release.rsplit_once('.').map_or("", |(minor, _)| minor);
    let names = ["rust-src".to_owned(), format!("rust-{minor}-src")];
    apt::search(cache, &format!("the source of Rust {}", rustc.release), report, |apt| {
        names.iter().find_map(|name| {
            let versions = apt.versions(name).ok()?;
            let version = versions.into_iter().find(|version| is_release(version, &rustc.release));
            version.map(|version| format!("{name}={version}"))
        })
    })
}

/// Whether a package's version is of this release of Rust.
fn is_release(version: &str, release: &str) -> bool {
    let without_epoch = version.split_once(':').map_or(version, |(_, rest)| rest);
    let upstream = without_epoch.rsplit_once('-').map_or(without_epoch, |(upstream, _)| upstream);
    match upstream.strip_prefix(release) {
        Some(rest) => rest.is_empty() || rest.starts_with('+'),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_of_the_very_release_are_told_from_others() {
        assert!(is_release("1.95.0+dfsg1-2~bpo13+1", "1.95.0"));
        assert!(is_release("1:1.95.0-1", "1.95.0"));
        assert!(is_release("1.95.0", "1.95.0"));
        assert!(!is_release("1.95.0~beta.2+dfsg1-1", "1.95.0"));
        assert!(!is_release("1.95.1+dfsg1-1", "1.95.0"));
        assert!(!is_release("11.95.0+dfsg1-1", "1.95.0"));
        assert!(!is_release("1.95.01-1", "1.95.0"));
    }
}
