//! How long `mkdaxfs` takes, as a ratio to `cp -a` of the same tree onto tmpfs.
//!
//! ```text
//! cargo bench -p mkdaxfs --bench cp_ratio [-- small|large|DIR]...
//! ```
//!
//! - `small`: 50,000 files of 1 to 8 KiB in 500 directories;
//! - `large`: 2 GiB in 8 files;
//! - a directory of your own.
//!
//! Without an argument: the first two. The trees are made in the temporary folder (`TMPDIR`), and
//! everything is written to `/dev/shm`. Each round runs both programs once, in turns first, with the
//! tree in the page cache. The ratio is the median of the rounds' ratios: other work on the machine
//! that comes and goes slows both down.
//! Leaves with status 1 if a ratio is above 1.

use std::env;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

/// Rounds that are measured.
const ROUNDS: usize = 7;
/// Where results go: a tmpfs.
const TMPFS: &str = "/dev/shm";
/// The ratio that is aimed at.
const TARGET: f64 = 1.0;

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    if !arguments.iter().any(|argument| argument == "--bench") {
        println!("not measured: run `cargo bench -p mkdaxfs --bench cp_ratio`");
        return ExitCode::SUCCESS;
    }
    let mut trees: Vec<&str> =
        arguments.iter().map(String::as_str).filter(|a| !a.starts_with('-')).collect();
    if trees.is_empty() {
        trees = vec!["small", "large"];
    }
    println!("{:<12} {:>12} {:>12} {:>8}", "tree", "cp -a", "mkdaxfs", "ratio");
    let mut reached = true;
    for tree in trees {
        match measure(tree) {
            Ok(ratio) => reached &= ratio <= TARGET,
            Err(e) => {
                eprintln!("{tree}: {e}");
                return ExitCode::FAILURE;
            }
        }
    }
    if reached { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Compares the two on one tree; prints a line, returns the ratio.
fn measure(tree: &str) -> io::Result<f64> {
    let made = tempfile::tempdir()?;
    let source = match tree {
        "small" => small_files(made.path())?,
        "large" => large_files(made.path())?,
        directory => PathBuf::from(directory),
    };
    let mut copies = Vec::new();
    let mut images = Vec::new();
    // One round more than counts: the first brings the tree into the page cache.
    for round in 0..=ROUNDS {
        if round % 2 == 0 {
            copies.push(copy(&source)?);
            images.push(image(&source)?);
        } else {
            images.push(image(&source)?);
            copies.push(copy(&source)?);
        }
    }
    let seconds = |times: &[Duration]| times[1..].iter().map(Duration::as_secs_f64).collect();
    let (copies, images): (Vec<f64>, Vec<f64>) = (seconds(&copies), seconds(&images));
    let ratio = median(images.iter().zip(&copies).map(|(image, copy)| image / copy).collect());
    let (copy, image) = (median(copies), median(images));
    println!("{tree:<12} {copy:>10.3} s {image:>10.3} s {ratio:>8.2}");
    Ok(ratio)
}

fn copy(source: &Path) -> io::Result<Duration> {
    let folder = tempfile::tempdir_in(TMPFS)?;
    time(Command::new("cp").arg("-a").arg(source).arg(folder.path().join("copy")))
}

fn image(source: &Path) -> io::Result<Duration> {
    let folder = tempfile::tempdir_in(TMPFS)?;
    let mut command = Command::new(env!("CARGO_BIN_EXE_mkdaxfs"));
    time(command.arg("-q").arg("-d").arg(source).arg("-o").arg(folder.path().join("image")))
}

fn time(command: &mut Command) -> io::Result<Duration> {
    let started = Instant::now();
    let status = command.status()?;
    let elapsed = started.elapsed();
    if status.success() {
        Ok(elapsed)
    } else {
        Err(io::Error::other(format!("{command:?}: {status}")))
    }
}

fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_unstable_by(f64::total_cmp);
    numbers[numbers.len() / 2]
}

fn small_files(folder: &Path) -> io::Result<PathBuf> {
    let root = folder.join("small");
    let mut noise = Noise(1);
    for directory in 0..500 {
        let directory = root.join(format!("directory-{directory}"));
        fs::create_dir_all(&directory)?;
        for file in 0..100 {
            let len = 1024 + noise.next() as usize % (7 * 1024 + 1);
            fs::write(directory.join(format!("file-{file}")), noise.bytes(len))?;
        }
    }
    Ok(root)
}

fn large_files(folder: &Path) -> io::Result<PathBuf> {
    let root = folder.join("large");
    fs::create_dir(&root)?;
    let mut noise = Noise(2);
    for file in 0..8 {
        let mut file = BufWriter::new(File::create(root.join(format!("file-{file}")))?);
        for _ in 0..256 {
            file.write_all(&noise.bytes(1 << 20))?;
        }
        file.flush()?;
    }
    Ok(root)
}

/// Content without repetition: xorshift64.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn bytes(&mut self, len: usize) -> Vec<u8> {
        let mut bytes: Vec<u8> =
            (0..len.div_ceil(8)).flat_map(|_| self.next().to_le_bytes()).collect();
        bytes.truncate(len);
        bytes
    }
}
