//! QEMU: the machine's own, or the distribution's packages unpacked into the cache.

use super::apt::{self, Apt, os_release};
use super::cache::failed;
use super::error::Tried;
use super::rustc::file_name;
use super::tool::{QUESTION, Tool};
use super::way::{Way, Ways};
use super::{Cache, Found, Lock, Report, Result, SetupError, unpack};
use std::env;
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
        ("brew", "brew install qemu"),
    ];
    let here = commands.iter().find(|(manager, _)| which::which(manager).is_ok());
    here.map_or("your package manager, to install qemu-system-x86_64", |(_, command)| command)
}

/// The place in the cache. Unpacked packages use libraries of the system: another release of it needs
/// others.
fn name() -> PathBuf {
    let system = ["ID", "VERSION_ID", "VERSION_CODENAME"].map(os_release);
    let system = system.into_iter().flatten().collect::<Vec<_>>().join(" ");
    Path::new("qemu").join(file_name(&format!("{system} {}", env::consts::ARCH)))
}

/// What an earlier run unpacked, if it works (still).
fn cached(cache: &Cache) -> Option<Qemu> {
    Qemu::unpacked(&cache.path().join(name()), Found::Cache).ok()
}

/// Unpacks the distribution's packages into the cache.
fn from_packages(cache: &Cache, lock: &Lock, report: &dyn Report) -> Result<Qemu> {
    let staging = cache.staging(lock)?;
    let made = staging.path().join("made");
    let packages = download(cache, staging.path(), report)?;
    report.step("unpacking QEMU into the cache");
    unpack::all(&packages, &made)?;
    Qemu::unpacked(&made, Found::Cache)?.try_start()?;
    let root = cache.publish(lock, &made, &name())?;
    Qemu::unpacked(&root, Found::Installed("the distribution's packages, unpacked"))
}

/// Downloads the packages into a new folder.
fn download(cache: &Cache, staging: &Path, report: &dyn Report) -> Result<PathBuf> {
    // The system's lists may be missing, or name packages that are not to be had any more.
    let packages = staging.join("packages");
    if download_with(&Apt::system(), &packages, report).is_ok() {
        return Ok(packages);
    }
    let (apt, updated) = Apt::refreshed(cache, report)?;
    let packages = staging.join("newer-packages");
    match download_with(&apt, &packages, report) {
        Ok(()) => Ok(packages),
        Err(error) => Err(updated.err().unwrap_or(error)),
    }
}

/// Downloads the packages, and those that they depend on and the system lacks.
fn download_with(apt: &Apt, to: &Path, report: &dyn Report) -> Result<()> {
    fs::create_dir(to).map_err(failed(to, "make it"))?;
    let mut packages = apt.missing(&PACKAGES)?;
    // The C library and the loader belong together, and the loader is the system's.
    packages.retain(|package| !package.starts_with("libc6="));
    if packages.is_empty() {
        let output = "no source has them".to_owned();
        return Err(SetupError::Failed { what: "looking for QEMU's packages".to_owned(), output });
    }
    report.step(&format!("downloading QEMU ({} packages)", packages.len()));
    apt.download(&packages, to)
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
        let mut libraries = Vec::new();
        let mut modules = None;
        for folder in ["lib", "usr/lib"] {
            // Some libraries are in folders of their own.
            find_libraries(&root.join(folder), 3, &mut libraries, &mut modules);
        }
        if let Some(old) = env::var_os("LD_LIBRARY_PATH") {
            libraries.extend(env::split_paths(&old));
        }
        let libraries = env::join_paths(libraries).unwrap_or_default();
        let mut environment = vec![("LD_LIBRARY_PATH".into(), libraries)];
        environment.extend(modules.map(|path| ("QEMU_MODULE_DIR".into(), path.into())));
        let arguments = apt::data_folders(root).flat_map(|path| ["-L".into(), path.into()]);
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

/// Finds folders with libraries, and the one with QEMU's own modules.
fn find_libraries(
    folder: &Path,
    depth: u32,
    libraries: &mut Vec<PathBuf>,
    modules: &mut Option<PathBuf>,
) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    let mut has_libraries = false;
    for entry in entries.flatten() {
        let (path, name) = (entry.path(), entry.file_name());
        let name = name.to_string_lossy();
        if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            has_libraries |= name.starts_with("lib") && name.contains(".so");
        } else if name == "qemu" && path.join("accel-tcg-x86_64.so").exists() {
            *modules = Some(path);
        } else if depth > 0 {
            find_libraries(&path, depth - 1, libraries, modules);
        }
    }
    if has_libraries {
        libraries.push(folder.to_owned());
    }
}
