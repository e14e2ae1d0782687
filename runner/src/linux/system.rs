//! What the initial file system of a run consists of.

use super::initramfs::Initramfs;
use crate::error::Result;
use crate::qemu::machine::SHARED_PHYS;
use crate::setup::Package;
use std::collections::BTreeSet;
use std::env;
use std::fmt::Write;
use std::path::{Path, PathBuf};

/// The first process.
const INIT: &str = include_str!("init.sh");

/// Programs that other systems' tools call by other names.
const OTHER_NAMES: [(&str, &str); 2] =
    [("/usr/sbin/mkfs.daxfs", "/usr/bin/mkdaxfs"), ("/usr/sbin/fsck.daxfs", "/usr/bin/fsck-daxfs")];

/// What is put into the system, from outside.
#[derive(Clone, Debug)]
pub struct Parts<'a> {
    /// The shell and its tools.
    pub busybox: &'a Path,
    /// Programs, for `/usr/bin`.
    pub tools: &'a [PathBuf],
    /// Modules, for `/lib/modules`; `daxfs.ko` is loaded.
    pub modules: &'a [PathBuf],
    /// Packages.
    pub packages: &'a [Package],
    /// What the user adds: a file or folder of this machine, and its path in the system.
    pub additions: &'a [(PathBuf, String)],
}

/// A system that can be booted, but for what it is to do.
#[derive(Clone, Debug)]
pub struct System {
    files: Initramfs,
}

/// What a system does.
pub(super) enum Mode<'a> {
    /// Run commands.
    Script(&'a str),
    /// Run texts of commands one after another, as they come through a port.
    Commands,
    /// Give a shell to the terminal.
    Interactive {
        /// Its rows and columns.
        size: Option<(u16, u16)>,
        /// Commands before that.
        first: &'a str,
    },
}

/// What else a system is told.
pub(super) struct Job<'a> {
    /// What stands before messages to the runner.
    pub(super) mark: &'a str,
    /// Bytes of the shared range.
    pub(super) range: u64,
    /// Mount options of the branch that is the root; the initial file system is it otherwise.
    pub(super) root: Option<&'a str>,
    /// Whether the first persistent memory device is for file systems.
    pub(super) pmem: bool,
    /// Whether the last one is for programs to map.
    pub(super) dax: bool,
    /// Whether the log gets details while the commands run.
    pub(super) all_of_the_log: bool,
}

impl System {
    /// Puts a system together.
    ///
    /// # Errors
    ///
    /// As [`Initramfs::add`].
    pub fn new(parts: &Parts<'_>) -> Result<Self> {
        let mut files = Initramfs::new();
        for (path, permissions) in [
            ("/proc", 0o555),
            ("/sys", 0o555),
            ("/dev", 0o755),
            ("/root", 0o700),
            ("/run", 0o755),
            ("/tmp", 0o1777),
            ("/mnt", 0o755),
            ("/bin", 0o755),
            ("/sbin", 0o755),
            ("/usr/bin", 0o755),
            ("/usr/sbin", 0o755),
        ] {
            files.folder(path, permissions);
        }
        files.file(
            "/etc/passwd",
            0o644,
            "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534::/:/bin/sh\n",
        );
        files.file("/etc/group", 0o644, "root:x:0:\nnogroup:x:65534:\n");
        files.add(parts.busybox, "/bin/busybox")?;
        files.file("/init", 0o755, INIT);
        for tool in parts.tools {
            files.add(tool, &format!("/usr/bin/{}", name(tool)))?;
        }
        for (other, program) in OTHER_NAMES {
            if parts.tools.iter().any(|tool| Path::new(program).ends_with(name(tool))) {
                files.link(other, program);
            }
        }
        for module in parts.modules {
            files.add(module, &format!("/lib/modules/{}", name(module)))?;
        }
        for package in parts.packages {
            files.add_package(&package.root, &package.libraries)?;
        }
        for (source, path) in parts.additions {
            files.add(source, path)?;
        }
        Ok(Self { files })
    }

    /// The whole, with what it is to do.
    pub(super) fn archive(&self, mode: &Mode<'_>, job: &Job<'_>) -> Initramfs {
        let mut files = self.files.clone();
        let Job { mark, range, root, pmem, dax, all_of_the_log } = job;
        // Writing to a string does not fail.
        let mut settings = format!("MARK={mark}\n");
        for (is, name) in [(pmem, "PMEM"), (dax, "DAX"), (all_of_the_log, "ALL_OF_THE_LOG")] {
            if *is {
                let _ = writeln!(settings, "{name}=yes");
            }
        }
        if let Some(options) = root {
            let _ = writeln!(settings, "ROOT={options}");
        }
        match mode {
            Mode::Script(text) => {
                settings.push_str("MODE=script\n");
                files.file("/runner/script", 0o644, format!("{text}\n"));
            }
            Mode::Commands => settings.push_str("MODE=commands\n"),
            Mode::Interactive { size, first } => {
                let (rows, columns) = size.unwrap_or((24, 80));
                settings.push_str("MODE=interactive\n");
                files.file("/runner/script", 0o644, format!("{first}\n"));
                let _ = writeln!(settings, "ROWS={rows} COLUMNS={columns}");
                if let Ok(kind) = env::var("TERM").as_deref()
                    && kind
                        .bytes()
                        .all(|byte| byte.is_ascii_alphanumeric() || b"-+.".contains(&byte))
                {
                    let _ = writeln!(settings, "export TERM={kind}");
                }
            }
        }
        let _ = writeln!(settings, "export DAXFS_RANGE=phys={SHARED_PHYS:#x},size={range:#x}");
        let folders = library_path(files.library_folders());
        if !folders.is_empty() {
            let _ = writeln!(settings, "export LD_LIBRARY_PATH='{folders}'");
        }
        files.file("/runner/settings", 0o644, settings);
        files
    }
}

fn name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// The folders in which the dynamic linker has to look. Those with a quote would end the text.
fn library_path(folders: &BTreeSet<PathBuf>) -> String {
    let folders = folders.iter().filter_map(|folder| folder.to_str());
    folders.filter(|folder| !folder.contains(['\'', ':'])).collect::<Vec<_>>().join(":")
}
