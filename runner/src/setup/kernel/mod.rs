//! Linux, built with Rust support: for the modules, and to boot.
//!
//! A tree is built where it stays (a build knows its own path), and is complete when it has the file
//! [`COMPLETE`]: a build that was interrupted is continued. Its name has a hash of everything that it
//! depends on, so a new configuration or compiler makes a new tree, and old ones stay until the cache is
//! deleted.

mod bindgen;
mod config;
mod llvm;
mod make;
mod source;
mod toolchain;
mod tools;

pub(super) use make::Make;
pub(super) use tools::busybox;

use super::cache::failed;
use super::{Cache, Found, Lock, Report, Result, SetupError};
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::{env, fs, thread};
use toolchain::Toolchain;

/// The file that a complete tree has; it says which kernel it is.
const COMPLETE: &str = "daxfs-complete";

/// The kernel's image in a tree.
const IMAGE: &str = "arch/x86/boot/bzImage";

/// Which Linux.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Flavour {
    /// As a distribution would build it.
    Plain,
    /// One that checks itself: slow, and loud about bugs.
    Debug,
}

impl Flavour {
    const fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Debug => "debug",
        }
    }

    /// The variable that names an existing tree.
    const fn variable(self) -> &'static str {
        match self {
            Self::Plain => "KDIR",
            Self::Debug => "KDIR_DEBUG",
        }
    }
}

/// A Linux that has been built.
#[derive(Clone, Debug)]
pub struct Kernel {
    /// The build's tree, for modules (`KDIR`).
    pub tree: PathBuf,
    /// The image, to boot.
    pub image: PathBuf,
    /// Its version, as it says.
    pub release: String,
    /// Which one it is.
    pub flavour: Flavour,
    /// Where it was found.
    pub found: Found,
    toolchain: Toolchain,
}

/// Finds a Linux, or builds it.
///
/// # Errors
///
/// [`SetupError::Missing`], [`SetupError::Build`], [`SetupError::Kdir`], [`SetupError::NoRust`],
/// [`SetupError::Cache`].
pub fn kernel(cache: &Cache, flavour: Flavour, report: &dyn Report) -> Result<Kernel> {
    if let Some(tree) = env::var_os(flavour.variable()).filter(|tree| !tree.is_empty()) {
        return named(cache, flavour, &PathBuf::from(tree), report);
    }
    let version = match flavour {
        Flavour::Plain => None,
        Flavour::Debug => Some(llvm::Version::Any),
    };
    // What is most likely not to be had comes first.
    let source = source::find(cache, report)?;
    let toolchain = Toolchain::find(cache, version, report)?;
    let release = source.file_name().and_then(OsStr::to_str).unwrap_or_default();
    let fragment = config::fragment(flavour);
    let name = format!("{release}-{}-{}", flavour.name(), toolchain.key(&[release, &fragment])?);
    let tree = cache.folder("linux")?.join(&name);
    if !tree.join(COMPLETE).exists() {
        let lock = cache.lock(&format!("linux-{}", flavour.name()), report)?;
        if !tree.join(COMPLETE).exists() {
            let found = Found::Installed("built from the distribution's source");
            let build =
                Build { source: &source, tree: &tree, fragment: &fragment, toolchain: &toolchain };
            build.run(&lock, flavour, report)?;
            return Kernel::at(tree, flavour, found, toolchain);
        }
    }
    Kernel::at(tree, flavour, Found::Cache, toolchain)
}

/// A tree that the user names.
fn named(cache: &Cache, flavour: Flavour, tree: &Path, report: &dyn Report) -> Result<Kernel> {
    let wrong = |reason: String| SetupError::Kdir {
        variable: flavour.variable(),
        path: tree.to_owned(),
        reason,
    };
    let tree = fs::canonicalize(tree).map_err(|reason| wrong(reason.to_string()))?;
    for (part, command) in [
        ("Makefile", "make"),
        (IMAGE, "make bzImage"),
        ("Module.symvers", "make modules"),
        ("rust/libkernel.rmeta", "make LLVM=... rustavailable, and CONFIG_RUST=y"),
    ] {
        if !tree.join(part).exists() {
            return Err(wrong(format!("it has no {part} (made by: {command})")));
        }
    }
    let config = config::Config::read(&tree)?;
    let missing = config.lacks(&config::fragment(Flavour::Plain));
    if let Some(missing) = config::essential(&missing) {
        return Err(wrong(format!("its configuration lacks {missing}")));
    }
    let toolchain = Toolchain::find(cache, config.clang().map(llvm::Version::Major), report)?;
    Kernel::at(tree, flavour, Found::System, toolchain)
}

/// What is built of what.
struct Build<'a> {
    source: &'a Path,
    tree: &'a Path,
    fragment: &'a str,
    toolchain: &'a Toolchain,
}

impl Build<'_> {
    fn run(&self, _lock: &Lock, flavour: Flavour, report: &dyn Report) -> Result<()> {
        fs::create_dir_all(self.tree).map_err(failed(self.tree, "make it"))?;
        let log = self.tree.join("daxfs-build.log");
        let what = match flavour {
            Flavour::Plain => "Linux",
            Flavour::Debug => "the Linux that checks itself",
        };
        report.step(&format!("building {what} (once, some minutes; log: {})", log.display()));
        self.make(&log, what).arg("rustavailable").run(report)?;
        let fragment = self.tree.join("daxfs.config");
        fs::write(&fragment, self.fragment).map_err(failed(&fragment, "write it"))?;
        let make = self.make(&log, what).arg("allnoconfig");
        make.arg(option("KCONFIG_ALLCONFIG=", fragment)).run(report)?;
        let missing = config::Config::read(self.tree)?.lacks(self.fragment);
        if !missing.is_empty() {
            let output = format!("its rules refuse {}", missing.join(" "));
            return Err(SetupError::Build { what: what.to_owned(), log, output });
        }
        let jobs = thread::available_parallelism().map_or(1, |count| count.get());
        let make = self.make(&log, what).arg(format!("-j{jobs}")).args(["bzImage", "modules"]);
        make.long().run(report)?;
        let complete = self.tree.join(COMPLETE);
        fs::write(&complete, self.source.as_os_str().as_encoded_bytes())
            .map_err(failed(&complete, "write it"))
    }

    fn make(&self, log: &Path, what: &str) -> Make {
        let make = Make::new(self.source, log, what).environment(self.toolchain);
        make.arg(option("O=", self.tree.to_owned()))
    }
}

impl Kernel {
    fn at(tree: PathBuf, flavour: Flavour, found: Found, toolchain: Toolchain) -> Result<Self> {
        let file = tree.join("include/config/kernel.release");
        let release = fs::read_to_string(&file).map_err(failed(&file, "read it"))?;
        let image = tree.join(IMAGE);
        Ok(Self { image, tree, release: release.trim().to_owned(), flavour, found, toolchain })
    }

    /// Something made with the tools that the kernel was made with.
    pub(super) fn make(&self, folder: &Path, log: &Path, what: &str) -> Make {
        let make = Make::new(folder, log, what).environment(&self.toolchain);
        make.arg(option("KDIR=", self.tree.clone()))
    }

    /// The variables with which a make by hand builds modules for it.
    #[must_use]
    pub fn environment(&self) -> Vec<(String, OsString)> {
        let variables = self.toolchain.environment().into_iter();
        let mut variables: Vec<_> =
            variables.map(|(name, value)| (name.to_owned(), value)).collect();
        variables.push(("KDIR".to_owned(), self.tree.clone().into()));
        let arguments = self.toolchain.arguments.iter().filter_map(|argument| argument.to_str());
        let arguments = arguments.filter_map(|argument| argument.split_once('='));
        variables.extend(arguments.map(|(name, value)| (name.to_owned(), value.into())));
        variables
    }

    /// A name for what is built for this kernel.
    pub(super) fn key(&self) -> String {
        let name = self.tree.file_name().unwrap_or_default().to_string_lossy();
        format!("{name}-{}", toolchain::hash(&[&self.tree.to_string_lossy()]))
    }
}

fn option(name: &str, value: PathBuf) -> OsString {
    let mut option = OsString::from(name);
    option.push(value);
    option
}
