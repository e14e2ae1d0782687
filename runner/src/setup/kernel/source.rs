//! The kernel's source: the distribution's package.

use crate::setup::apt;
use crate::setup::error::Tried;
use crate::setup::rustc::file_name;
use crate::setup::tool::Tool;
use crate::setup::way::{Way, Ways};
use crate::setup::{Cache, Lock, Report, Result, SetupError, packages};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The series that the modules are written for: interfaces inside of the kernel change.
const SERIES: &str = "7.3";

/// How long unpacking may take.
const UNPACK: Duration = Duration::from_secs(20 * 60);

/// The source's folder in the cache; it is called after its release.
pub(super) fn find(cache: &Cache, report: &dyn Report) -> Result<PathBuf> {
    let folder = cache.folder("linux-source")?;
    if let Some(source) = newest(&folder) {
        return Ok(source);
    }
    let mut tried = Tried::default();
    if Ways::from_env()?.allow(Way::DebianLinuxSource) && apt::available() {
        let lock = cache.lock("linux-source", report)?;
        if let Some(source) = newest(&folder) {
            return Ok(source);
        }
        match from_packages(cache, &lock, report) {
            Ok(source) => return Ok(source),
            Err(error) => report.step(&tried.add(&error)),
        }
    }
    let command = format!("KDIR=TREE with the same command, where TREE is a built Linux {SERIES}");
    Err(SetupError::Missing { what: "the source of Linux", tried, command })
}

/// What is there. All releases of the series will do.
fn newest(folder: &Path) -> Option<PathBuf> {
    let found = fs::read_dir(folder).ok()?.flatten().map(|entry| entry.path());
    found.filter(|path| path.join("Kbuild").is_file()).max()
}

fn from_packages(cache: &Cache, lock: &Lock, report: &dyn Report) -> Result<PathBuf> {
    let name = format!("linux-source-{SERIES}");
    let what = format!("the source of Linux {SERIES}");
    let found =
        apt::search(cache, &what, report, |apt| apt.versions(&name).ok()?.into_iter().next());
    let (apt, version) = found?.ok_or_else(|| {
        let output = "no suite of the distribution's mirror has it".to_owned();
        SetupError::Failed { what: format!("looking for {name}"), output }
    })?;
    let staging = cache.staging(lock)?;
    report.step(&format!("downloading {what} (about 160 MB)"));
    apt.download(&[format!("{name}={version}")], staging.path())?;
    let unpacked = staging.path().join("unpacked");
    packages::unpack(staging.path(), &unpacked)?;
    report.step(&format!("unpacking {what}"));
    let archive = unpacked.join("usr/src").join(format!("{name}.tar.xz"));
    let tool = Tool::new("tar", UNPACK).arg("-xf").arg(&archive).arg("-C").arg(staging.path());
    tool.run(&format!("unpacking {what}"))?;
    let release = version.split_once('-').map_or(&*version, |(release, _)| release);
    let place = Path::new("linux-source").join(file_name(release));
    cache.publish(lock, &staging.path().join(&name), &place)
}
