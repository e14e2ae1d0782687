//! The runner's arguments.

use clap::{Args, Parser, Subcommand};
use runner::bench::SUBJECTS;
use runner::commands::options::{Outcome, Range, Source, Work};
use runner::commands::{bench, guest, linux, multikernel, pool, soak, takeover};
use runner::multikernel::kernel::Kind;
use runner::multikernel::places;
use runner::qemu::AccelChoice;
use runner::qemu::machine::MOST_MIB;
use runner::setup::Flavour;
use std::path::PathBuf;
use std::time::Duration;

/// Runs the DAXFS guest kernel, and Linux with the DAXFS module, in QEMU. Without a command: a
/// demonstration.
#[derive(Debug, Parser)]
#[command(name = "runner", version, after_help = AFTER, args_override_self = true)]
pub struct Cli {
    /// Say nothing about what is being set up
    #[arg(short, long, global = true)]
    pub quiet: bool,
    #[command(subcommand)]
    pub command: Option<Command>,
}

const AFTER: &str = "\
Exit status: guest: that of the first command that failed (1 failure, 2 wrong use, 127 no such command),
else 0; linux: that of the commands, as a shell runs them. 32 if the guest cannot mount the image, 101 if
a kernel panics, 102 if the guest raises an exception, 103 if Linux reports a bug (a WARNING, a BUG, a lock
or memory fault) even if the commands succeed, 124 after --timeout, 125 if the runner fails, 128 + N after
signal N.";

const LINUX_AFTER: &str = "\
In the machine: the shared range is at physical address 0x100000000 ($DAXFS_RANGE has phys= and size=, for
mount -o), daxfs.ko is loaded, the tools and busybox are on the PATH. Example:

    runner linux --rootfs DIR --exec 'mount -t daxfs -o $DAXFS_RANGE,rw,branch=b1,parent=main none /mnt; ls /mnt'

The kernel is built once and cached; KDIR=TREE (KDIR_DEBUG=TREE with --kernel-debug) names a built tree to
use instead.";

const MULTIKERNEL_AFTER: &str = "\
With --exec, the guests run, and own the branches guest (or guest0, guest1, ...), before the commands do;
with --guest-exec, each guest's shell runs those commands at the same time, and what they print follows
what Linux's print. In Linux, 'daxfs-mk' talks to the guests: daxfs-mk run -p 0 'ls /', or, with
--interactive, daxfs-mk console. What the runner brings is in /run/runner. With --watch, Tab goes from one
part of the view to the next, which then gets what is typed; q ends.

Exit status: 0 only if every step of the demonstration was right; else as for linux.";

const BENCH_AFTER: &str = "\
Without --accel there are two machines, one after the other: the emulator counting instructions, where one
instruction takes one nanosecond and numbers are the same again, and whatever is best here. Other file
systems' tools and fio come from the distribution's packages; what cannot be had is left out.";

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the guest kernel on an image
    Guest(GuestArgs),
    /// Run Linux, with the file system's module, on an image
    #[command(after_help = LINUX_AFTER)]
    Linux(LinuxArgs),
    /// Run Linux, its root a branch, and guest kernels beside it, on processors of their own. Without
    /// anything to do: a demonstration
    #[command(after_help = MULTIKERNEL_AFTER)]
    Multikernel(MultikernelArgs),
    /// Measure the file system in Linux, beside tmpfs, ext4 with DAX, erofs and overlayfs
    #[command(after_help = BENCH_AFTER)]
    Bench(BenchArgs),
    /// Run machines that share memory, kill one after another while they work, and have the others carry on
    Pool(PoolArgs),
    /// Kill kernels that save checkpoints, and have the next one find the last
    Takeover(TakeoverArgs),
    /// Kill kernels of all kinds while they work on one range, and verify all they have committed
    Soak(SoakArgs),
    /// Set up everything a run needs, and say where it is
    Setup {
        /// Also what `linux` needs
        #[arg(long)]
        linux: bool,
        /// Also what `linux --kernel-debug` needs
        #[arg(long)]
        kernel_debug: bool,
        /// Fail if building the modules gives warnings
        #[arg(long)]
        deny_warnings: bool,
    },
    /// Print what a shell needs to build the modules by hand: eval "$(runner env)"; make -C host-kmod
    Env {
        /// For the kernel of `linux --kernel-debug`
        #[arg(long)]
        kernel_debug: bool,
    },
}

/// Where a machine's image comes from, and what becomes of it.
#[derive(Debug, Args)]
struct RangeArgs {
    /// The image in the shared range [default: one of a small demonstration tree]
    #[arg(long, value_name = "FILE", conflicts_with = "rootfs")]
    image: Option<PathBuf>,
    /// Make a writable image of this directory
    #[arg(long, value_name = "DIR")]
    rootfs: Option<PathBuf>,
    /// Bytes of the shared range, with K, M or G [default: the image's, or 256M]
    #[arg(long, value_parser = size)]
    size: Option<u64>,
    /// Work on the image file itself, not on a copy
    #[arg(long, requires = "image", conflicts_with = "save")]
    in_place: bool,
    /// Write the shared range to this file afterwards
    #[arg(long, value_name = "FILE")]
    save: Option<PathBuf>,
}

impl RangeArgs {
    fn range(&self) -> Range {
        Range {
            source: source(self.image.as_ref(), self.rootfs.as_ref()),
            size: self.size,
            outcome: match &self.save {
                Some(path) => Outcome::Saved(path.clone()),
                None if self.in_place => Outcome::InPlace,
                None => Outcome::Dropped,
            },
        }
    }
}

/// The image that is meant.
fn source(image: Option<&PathBuf>, rootfs: Option<&PathBuf>) -> Source {
    match (image, rootfs) {
        (Some(image), _) => Source::Image(image.clone()),
        (None, Some(root)) => Source::Tree(root.clone()),
        (None, None) => Source::Demo,
    }
}

/// What a machine does, and for how long.
#[derive(Debug, Args)]
struct WorkArgs {
    /// Commands to run; their output is the runner's
    #[arg(long, value_name = "COMMANDS", conflicts_with = "interactive")]
    exec: Option<String>,
    /// Give the machine the terminal (Ctrl-A X ends it); the default if there is one
    #[arg(long)]
    interactive: bool,
    /// Give up after so many seconds [default: 300 with commands, never with a terminal]
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..))]
    timeout: Option<u64>,
    /// What executes the machine's instructions
    #[arg(long, value_enum, default_value_t)]
    accel: AccelChoice,
    /// Show QEMU's command line
    #[arg(short, long)]
    verbose: bool,
}

impl WorkArgs {
    fn work(&self) -> Work {
        match &self.exec {
            Some(text) => Work::Script(text.clone()),
            None if self.interactive => Work::Interactive,
            None => Work::StandardInput,
        }
    }

    fn timeout(&self) -> Option<Duration> {
        match (self.timeout, &self.exec) {
            (Some(seconds), _) => Some(Duration::from_secs(seconds)),
            (None, Some(_)) => Some(Duration::from_secs(300)),
            (None, None) => None,
        }
    }
}

#[derive(Debug, Args)]
pub struct GuestArgs {
    #[command(flatten)]
    range: RangeArgs,
    /// The branch to own, made from main if it does not exist
    #[arg(long, value_name = "NAME", default_value = "guest", value_parser = branch)]
    branch: String,
    /// Check the whole image before mounting it
    #[arg(long)]
    validate: bool,
    #[command(flatten)]
    work: WorkArgs,
    /// MiB of memory of the guest's own
    #[arg(long, value_name = "MIB", default_value_t = 256, value_parser = own_mib(16))]
    memory: u32,
}

impl GuestArgs {
    /// What the arguments mean together.
    pub fn options(&self) -> guest::Options {
        guest::Options {
            range: self.range.range(),
            branch: self.branch.clone(),
            validate: self.validate,
            accel: self.work.accel,
            work: self.work.work(),
            timeout: self.work.timeout(),
            memory: self.memory,
            verbose: self.work.verbose,
        }
    }
}

#[derive(Debug, Args)]
pub struct LinuxArgs {
    #[command(flatten)]
    range: RangeArgs,
    /// Put a file or folder of this machine into Linux's initial file system; programs bring their libraries
    #[arg(long, value_name = "SRC[:DST]", value_parser = addition)]
    add: Vec<(PathBuf, String)>,
    /// Put a package of the distribution into it, for example fio or stress-ng
    #[arg(long, value_name = "NAME")]
    package: Vec<String>,
    /// Boot the kernel that checks itself (KASAN, lockdep, ...): slow, loud about bugs
    #[arg(long)]
    kernel_debug: bool,
    /// Leave the file system's module out
    #[arg(long)]
    no_modules: bool,
    /// Further arguments for the kernel's command line
    #[arg(long, value_name = "ARGUMENTS", default_value = "")]
    append: String,
    /// Write the kernel's log to this file
    #[arg(long, value_name = "FILE")]
    kernel_log: Option<PathBuf>,
    #[command(flatten)]
    work: WorkArgs,
    /// Give Linux a persistent memory device of so many bytes for file systems: /dev/pmem0
    #[arg(long, value_name = "SIZE", value_parser = size)]
    pmem: Option<u64>,
    /// Give Linux a persistent memory device of so many bytes for programs to map: /dev/dax, which is /dev/dax0.0, or dax1.0 with --pmem
    #[arg(long, value_name = "SIZE", value_parser = size)]
    dax: Option<u64>,
    /// Processors
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=64))]
    cpus: u32,
    /// MiB of memory of Linux's own
    #[arg(long, value_name = "MIB", default_value_t = 1024, value_parser = own_mib(128))]
    memory: u32,
}

impl LinuxArgs {
    /// What the arguments mean together.
    pub fn options(&self) -> linux::Options {
        linux::Options {
            range: self.range.range(),
            additions: self.add.clone(),
            packages: self.package.clone(),
            flavour: flavour(self.kernel_debug),
            no_modules: self.no_modules,
            append: self.append.clone(),
            log: self.kernel_log.clone(),
            accel: self.work.accel,
            work: self.work.work(),
            timeout: self.work.timeout(),
            cpus: self.cpus,
            memory: self.memory,
            pmem: self.pmem.unwrap_or(0),
            dax: self.dax.unwrap_or(0),
            verbose: self.work.verbose,
        }
    }
}

#[derive(Debug, Args)]
pub struct MultikernelArgs {
    /// The image in the shared range, with a root file system [default: a small one]
    #[arg(long, value_name = "FILE", conflicts_with = "rootfs")]
    image: Option<PathBuf>,
    /// Make a writable image of this directory, a root file system
    #[arg(long, value_name = "DIR")]
    rootfs: Option<PathBuf>,
    /// Bytes of the shared range, with K, M or G [default: the image's, or 256M]
    #[arg(long, value_parser = size)]
    size: Option<u64>,
    /// Guest kernels
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=i64::from(places::MOST)))]
    guests: u32,
    /// Commands for each guest's shell
    #[arg(long, value_name = "COMMANDS", conflicts_with = "interactive")]
    guest_exec: Option<String>,
    /// Show everything in a live view: what is told or printed, the guests' consoles, the shared range
    #[arg(long, conflicts_with = "interactive")]
    watch: bool,
    /// Boot the Linux that checks itself (KASAN, lockdep, ...)
    #[arg(long)]
    kernel_debug: bool,
    /// Write Linux's log to this file
    #[arg(long, value_name = "FILE")]
    kernel_log: Option<PathBuf>,
    #[command(flatten)]
    work: WorkArgs,
}

impl MultikernelArgs {
    /// What the arguments mean together.
    pub fn options(&self) -> multikernel::Options {
        let work = match self.work.work() {
            Work::StandardInput => None,
            work => Some(work),
        };
        multikernel::Options {
            source: source(self.image.as_ref(), self.rootfs.as_ref()),
            size: self.size,
            guests: self.guests,
            guest_exec: self.guest_exec.clone(),
            watch: self.watch,
            flavour: flavour(self.kernel_debug),
            log: self.kernel_log.clone(),
            accel: self.work.accel,
            timeout: match (&work, self.work.timeout()) {
                (Some(Work::Interactive), timeout) => timeout,
                (_, timeout) => timeout.or(Some(Duration::from_secs(600))),
            },
            work,
            verbose: self.work.verbose,
        }
    }
}

#[derive(Debug, Args)]
pub struct BenchArgs {
    /// What executes the machine's instructions
    #[arg(long, value_enum)]
    accel: Option<AccelChoice>,
    /// How often everything is done; medians are shown [default: 1 with counted instructions, else 3]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    passes: Option<u32>,
    /// Measure only these file systems: tmpfs, ext4-dax, erofs, overlay, daxfs
    #[arg(long, value_name = "NAME,...", value_delimiter = ',', value_parser = subject)]
    only: Vec<&'static str>,
    /// Leave fio out
    #[arg(long)]
    no_fio: bool,
    /// Print the results for programs
    #[arg(long)]
    json: bool,
    /// Give up after so many seconds, for each machine
    #[arg(long, value_name = "SECONDS", default_value_t = 3600, value_parser = clap::value_parser!(u64).range(1..))]
    timeout: u64,
    /// Show QEMU's command line and all of the kernel's log
    #[arg(short, long)]
    verbose: bool,
}

impl BenchArgs {
    /// What the arguments mean together.
    pub fn options(&self) -> bench::Options {
        bench::Options {
            accel: self.accel,
            passes: self.passes,
            only: self.only.clone(),
            no_fio: self.no_fio,
            json: self.json,
            timeout: Duration::from_secs(self.timeout),
            verbose: self.verbose,
        }
    }
}

#[derive(Debug, Args)]
pub struct PoolArgs {
    /// The hosts' kernels (guest, linux): two at least
    #[arg(long, value_name = "KIND,...", value_delimiter = ',', value_parser = kind, default_value = "guest,linux")]
    kernels: Vec<Kind>,
    /// How many hosts are killed
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Bytes of the shared range, with K, M or G
    #[arg(long, value_parser = size, default_value = "32M")]
    size: u64,
    /// What executes the machines' instructions
    #[arg(long, value_enum, default_value_t)]
    accel: AccelChoice,
    /// Show QEMU's command line, and Linux's log
    #[arg(short, long)]
    verbose: bool,
}

impl PoolArgs {
    /// What the arguments mean together.
    pub fn options(&self) -> pool::Options {
        pool::Options {
            kernels: self.kernels.clone(),
            rounds: self.rounds,
            size: self.size,
            accel: self.accel,
            verbose: self.verbose,
        }
    }
}

#[derive(Debug, Args)]
pub struct TakeoverArgs {
    /// The kernels, one after another (guest, linux); the first follows the last
    #[arg(long, value_name = "KIND,...", value_delimiter = ',', value_parser = kind, default_value = "guest")]
    kernels: Vec<Kind>,
    /// Have the next kernel run, and wait, while one is killed
    #[arg(long)]
    standby: bool,
    /// How many kernels are killed
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// What executes the machine's instructions
    #[arg(long, value_enum, default_value_t)]
    accel: AccelChoice,
    /// Show QEMU's command line
    #[arg(short, long)]
    verbose: bool,
}

impl TakeoverArgs {
    /// What the arguments mean together.
    pub fn options(&self) -> takeover::Options {
        takeover::Options {
            kernels: self.kernels.clone(),
            rounds: self.rounds,
            standby: self.standby,
            accel: self.accel,
            verbose: self.verbose,
        }
    }
}

#[derive(Debug, Args)]
pub struct SoakArgs {
    /// How long; the last machine ends in order, which takes its time
    #[arg(long, value_name = "N", default_value_t = 10.0, value_parser = minutes)]
    minutes: f64,
    /// Guest kernels beside Linux
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=i64::from(places::MOST)))]
    guests: u32,
    /// Boot the Linux that checks itself (KASAN, lockdep, ...)
    #[arg(long)]
    kernel_debug: bool,
    /// Chooses the moments of the kills
    #[arg(long, value_name = "S")]
    seed: Option<u64>,
    /// Print the counts for programs
    #[arg(long)]
    json: bool,
    /// What executes the machine's instructions
    #[arg(long, value_enum, default_value_t)]
    accel: AccelChoice,
    /// Show QEMU's command line and all of Linux's log
    #[arg(short, long)]
    verbose: bool,
}

impl SoakArgs {
    /// What the arguments mean together.
    pub fn options(&self) -> soak::Options {
        soak::Options {
            time: Duration::from_secs_f64(self.minutes * 60.0),
            guests: self.guests,
            flavour: flavour(self.kernel_debug),
            seed: self.seed,
            json: self.json,
            accel: self.accel,
            verbose: self.verbose,
        }
    }
}

fn minutes(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(minutes) if (0.0..=100_000.0).contains(&minutes) => Ok(minutes),
        _ => Err("a number of minutes".into()),
    }
}

/// The kernel that is meant.
pub const fn flavour(debug: bool) -> Flavour {
    if debug { Flavour::Debug } else { Flavour::Plain }
}

/// `SRC:DST`, `SRC:` for the same path there, or `SRC` alone for that, too.
fn addition(text: &str) -> Result<(PathBuf, String), String> {
    let (source, target) = text.split_once(':').unwrap_or((text, ""));
    let absolute = std::path::absolute(source).map_err(|error| error.to_string())?;
    let target = if target.is_empty() { absolute.to_str() } else { Some(target) };
    let target = target.ok_or("the name is not UTF-8: give another one, SRC:DST")?;
    if !target.starts_with('/') {
        return Err("DST is a path from the root: /...".into());
    }
    match (target.ends_with('/'), absolute.file_name().and_then(|name| name.to_str())) {
        (true, Some(name)) => Ok((absolute.clone(), format!("{target}{name}"))),
        _ => Ok((absolute.clone(), target.to_owned())),
    }
}

/// Memory of a machine's own lies below the shared range.
fn own_mib(least: u32) -> clap::builder::RangedI64ValueParser<u32> {
    clap::value_parser!(u32).range(i64::from(least)..=i64::from(MOST_MIB))
}

fn size(text: &str) -> Result<u64, String> {
    match daxfs::parse_size(text.as_bytes()) {
        Some(0) | None => Err("a number of bytes above 0, with K, M or G if you like".into()),
        Some(bytes) => Ok(bytes),
    }
}

fn kind(text: &str) -> Result<Kind, String> {
    let known = [Kind::Guest, Kind::Linux].into_iter().find(|kind| kind.to_string() == text);
    known.ok_or_else(|| "guest or linux".into())
}

fn subject(text: &str) -> Result<&'static str, String> {
    let known = SUBJECTS.into_iter().find(|&subject| subject == text);
    known.ok_or_else(|| format!("one of {}", SUBJECTS.join(", ")))
}

fn branch(text: &str) -> Result<String, String> {
    match daxfs::BranchName::new(text.as_bytes()) {
        Some(_) => Ok(text.to_owned()),
        None => Err("a branch name has 1 to 31 bytes, without '/' and ','".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_arguments_make_sense_to_clap() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }

    #[test]
    fn what_is_added_has_a_place() {
        for (text, source, target) in [
            ("/a/b", "/a/b", "/a/b"),
            ("/a/b:", "/a/b", "/a/b"),
            ("/a/b:/c", "/a/b", "/c"),
            ("/a/b:/c/", "/a/b", "/c/b"),
        ] {
            assert_eq!(
                addition(text).unwrap(),
                (PathBuf::from(source), target.to_owned()),
                "{text}"
            );
        }
        assert!(addition("/a:b").is_err());
    }
}
