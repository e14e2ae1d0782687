//! A host: a kernel in a machine of its own that has the shared range mounted, and how each kind of kernel
//! is told what to do.

use super::kernel::{Answer, Kernel, Killer, Kind};
use crate::error::{Error, Result};
use std::time::Duration;

/// How long a kernel may take to answer, boot included, on a machine that does much else.
pub const LIMIT: Duration = Duration::from_secs(300);

/// Where Linux mounts the range.
const LINUX_MOUNT: &str = "/mnt";

/// A file that is in every demonstration image.
const OF_THE_BASE: &str = "etc/hostname";

/// A host. Its kernel is killed when it is dropped.
#[derive(Debug)]
pub struct Host {
    kernel: Kernel,
}

impl Host {
    /// A host whose kernel has been started. A guest mounts by itself; Linux has to be told
    /// ([`Self::mount`]).
    #[must_use]
    pub const fn new(kernel: Kernel) -> Self {
        Self { kernel }
    }

    /// What it is called.
    #[must_use]
    pub fn name(&self) -> &str {
        self.kernel.name()
    }

    /// What kernel it has.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        self.kernel.kind()
    }

    /// The kernel.
    #[must_use]
    pub fn into_kernel(self) -> Kernel {
        self.kernel
    }

    /// What kills it while it works.
    ///
    /// # Errors
    ///
    /// [`Error::System`].
    pub fn killer(&self) -> Result<Killer> {
        self.kernel.killer()
    }

    /// Waits until the range is mounted. A guest has done it with the options it was started with.
    ///
    /// # Errors
    ///
    /// As [`Self::must`].
    pub fn mount(&mut self, options: &str) -> Result<()> {
        let mount = match self.kind() {
            Kind::Guest => "mount".into(),
            Kind::Linux => format!("mount -t daxfs -o $DAXFS_RANGE,{options} none {LINUX_MOUNT}"),
        };
        self.must(&[mount]).map(|_| ())
    }

    /// Runs commands. Nothing if it was killed before it answered.
    ///
    /// # Errors
    ///
    /// As [`Kernel::ask`].
    pub fn ask(&mut self, commands: &[String]) -> Result<Option<Answer>> {
        let text = match self.kind() {
            Kind::Guest => commands.join(";"),
            // As the guest's shell: it goes on, and the status is that of the first that failed.
            Kind::Linux => {
                let each =
                    |command| format!("{command} || {{ s=$?; [ $first != 0 ] || first=$s; }}\n");
                let all: String = commands.iter().map(each).collect();
                format!("first=0\n{all}exit $first\n")
            }
        };
        self.kernel.ask(&text, LIMIT)
    }

    /// Runs commands that have to succeed. Returns what they print.
    ///
    /// # Errors
    ///
    /// [`Error::Story`] if one fails, or the host has been killed; else as [`Kernel::ask`].
    pub fn must(&mut self, commands: &[String]) -> Result<Vec<u8>> {
        let Some(answer) = self.ask(commands)? else {
            return Err(Error::Story(format!("{} was killed", self.name())));
        };
        if answer.status == 0 {
            return Ok(answer.output);
        }
        let (name, status, text) = (self.name(), answer.status, answer.text());
        let asked = commands.join("; ");
        Err(Error::Story(format!("{name}: '{asked}' failed ({status}): {}", text.trim_end())))
    }

    /// Whether its branch has ended: it is told ESTALE when it asks for anything.
    ///
    /// # Errors
    ///
    /// [`Error::Story`] if it fails otherwise; else as [`Kernel::ask`].
    pub fn is_stale(&mut self) -> Result<bool> {
        // To read from a file is to ask the engine. (`ls` need not say that reading a directory has failed,
        // and Linux knows attributes by itself.)
        let look = vec![format!("cat {}{OF_THE_BASE}", self.directory())];
        match self.ask(&look)? {
            Some(answer) if answer.status == 0 => Ok(false),
            Some(answer) if answer.text().contains(self.stale()) => Ok(true),
            _ => self.must(&look).map(|_| false),
        }
    }

    /// How it says ESTALE.
    const fn stale(&self) -> &'static str {
        match self.kind() {
            Kind::Guest => "(ESTALE)",
            Kind::Linux => "Stale file handle",
        }
    }

    /// The root of the mount, with a slash at the end.
    #[must_use]
    pub const fn directory(&self) -> &'static str {
        match self.kind() {
            Kind::Guest => "/",
            Kind::Linux => "/mnt/",
        }
    }

    /// The command that commits its branch; the mount shows the parent afterwards.
    #[must_use]
    pub fn commit(&self) -> String {
        self.branch("commit")
    }

    /// The command that makes a branch of main, and moves the mount there.
    #[must_use]
    pub fn create(&self, name: &str) -> String {
        match self.kind() {
            Kind::Guest => format!("branch create {name} main"),
            Kind::Linux => self.branch(&format!("create -p main {name}")),
        }
    }

    /// The command that moves the mount to a branch that is nobody's.
    #[must_use]
    pub fn switch(&self, name: &str) -> String {
        self.branch(&format!("switch {name}"))
    }

    fn branch(&self, what: &str) -> String {
        match self.kind() {
            Kind::Guest => format!("branch {what}"),
            Kind::Linux => format!("daxfs-branch -m {LINUX_MOUNT} {what}"),
        }
    }

    /// Mounts anew, where the mount's branch has ended. A guest's kernel has one mount in its life: it
    /// has to be started again instead.
    ///
    /// # Errors
    ///
    /// As [`Self::must`].
    pub fn mount_again(&mut self, options: &str) -> Result<()> {
        self.must(&[format!("umount {LINUX_MOUNT}")])?;
        self.mount(options)
    }
}
