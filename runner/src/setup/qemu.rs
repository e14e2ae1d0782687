//! QEMU: the machine's own, or the distribution's packages unpacked into the cache.

use super::apt;
use super::error::Tried;
use super::tool::{QUESTION, Tool};
use super::way::{Way, Ways};
use super::{Cache, Found, Lock, Report, Result, SetupError, packages};
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

/// The program.
const PROGRAM: &str = "qemu-system-x86_64";

/// The packages that it consists of in Debian and its descendants.
const PACKAGES: [&str; 4] =
    ["qemu-system-x86", "qemu-system-common", "qemu-system-data", "seabios"];

/// A QEMU that works.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Qemu {
    /// The program.
    pub program: PathBuf,
    /// What its environment must have.
    pub environment: Vec<(OsString, OsString)>,
    /// Arguments that it must be given before all others.
    pub arguments: Vec<OsString>,
    /// Its version, as it says.
    pub version: String,
    /// Where it was found.
    pub found: Found,
}

/// Finds QEMU, or gets it.
///
/// # Errors
///
/// [`SetupError::NoQemu`], [`SetupError::Cache`].
pub fn qemu(cache: &Cache, report: &dyn Report) -> Result<Qemu> {
    let ways = Ways::from_env()?;
    let mut tried = Tried::default();
    if ways.allow(Way::SystemQemu)
        && let Ok(program) = which::which(PROGRAM)
    {
        match Qemu::plain(program) {
            Ok(qemu) => return Ok(qemu),
            Err(error) => report.step(&tried.add(&error)),
        }
    }
    if ways.allow(Way::CachedQemu)
        && let Some(qemu) = cached(cache)
    {
        return Ok(qemu);
    }
    if ways.allow(Way::DebianQemu) && apt::available() {
        let lock = cache.lock("qemu", report)?;
        if ways.allow(Way::CachedQemu)
            && let Some(qemu) = cached(cache)
        {
            return Ok(qemu);
        }
        match from_packages(cache, &lock, report) {
            Ok(qemu) => return Ok(qemu),
            Err(error) => report.step(&tried.add(&error)),
        }
    }
    Err(SetupError::NoQemu { tried, command: install_command() })
}

/// The command with which a user installs it.
fn install_command() -> &'static str {
    let commands = [
        ("apt-get", "sudo apt-get install qemu-system-x86"),
        ("dnf", "sudo dnf install qemu-system-x86-core"),
        ("pacman", "sudo pacman -S qemu-system-x86"),
        ("zypper", "sudo zypper install qemu-x86"),
        ("apk", "sudo apk add qemu-system-x86_64"),
    ];
    packages::install_command(&commands, "your package manager, to install qemu-system-x86_64")
}

/// What an earlier run unpacked, if it works (still).
fn cached(cache: &Cache) -> Option<Qemu> {
    Qemu::unpacked(&cache.path().join(packages::place("qemu")), Found::Cache).ok()
}

/// Unpacks the distribution's packages into the cache.
fn from_packages(cache: &Cache, lock: &Lock, report: &dyn Report) -> Result<Qemu> {
    let staging = cache.staging(lock)?;
    let made = packages::tree(cache, staging.path(), "QEMU", &PACKAGES, report)?;
    Qemu::unpacked(&made, Found::Cache)?.try_start()?;
    let root = cache.publish(lock, &made, &packages::place("qemu"))?;
    Qemu::unpacked(&root, Found::Installed("the distribution's packages, unpacked"))
}

impl Qemu {
    /// One that needs nothing but its program.
    fn plain(program: PathBuf) -> Result<Self> {
        let qemu = Self {
            program,
            environment: Vec::new(),
            arguments: Vec::new(),
            version: String::new(),
            found: Found::System,
        };
        qemu.with_version()
    }

    /// One whose packages are unpacked in a folder.
    fn unpacked(root: &Path, found: Found) -> Result<Self> {
        let mut environment = vec![packages::library_path(root)];
        environment.extend(modules(root).map(|path| ("QEMU_MODULE_DIR".into(), path.into())));
        let arguments = data_folders(root).flat_map(|path| ["-L".into(), path.into()]);
        let qemu = Self {
            program: root.join("usr/bin").join(PROGRAM),
            environment,
            arguments: arguments.collect(),
            version: String::new(),
            found,
        };
        qemu.with_version()
    }

    /// Asks for its version, which also shows that its libraries are there.
    fn with_version(mut self) -> Result<Self> {
        let said = self.tool().arg("--version").run("qemu-system-x86_64 --version")?;
        let first = said.lines().next().unwrap_or_default();
        self.version =
            first.rsplit_once("version ").map_or(first, |(_, version)| version).to_owned();
        Ok(self)
    }

    /// Makes a machine, with its firmware and the emulator, and leaves at once.
    fn try_start(&self) -> Result<()> {
        let tool = self.tool().args(&self.arguments);
        let tool = tool.args(["-machine", "pc,accel=tcg", "-nodefaults", "-display", "none", "-S"]);
        tool.args(["-monitor", "stdio"]).stdin("quit\n")?.run("starting QEMU").map(drop)
    }

    fn tool(&self) -> Tool {
        let tool = Tool::new(&self.program, QUESTION);
        tool.change(|command| {
            command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        })
    }
}

/// The folder of QEMU's own modules; each architecture has its own.
fn modules(root: &Path) -> Option<PathBuf> {
    let folders = fs::read_dir(root.join("usr/lib")).ok()?.flatten();
    let mut folders = folders.map(|folder| folder.path().join("qemu"));
    folders.find(|path| {
        let files = fs::read_dir(path).into_iter().flatten().flatten();
        files.map(|file| file.path()).any(|file| file.extension() == Some("so".as_ref()))
    })
}

/// The folders with firmware.
fn data_folders(root: &Path) -> impl Iterator<Item = PathBuf> {
    let folders = ["usr/share/qemu", "usr/share/seabios", "usr/lib/ipxe/qemu"];
    folders.map(|folder| root.join(folder)).into_iter().filter(|path| path.is_dir())
}
