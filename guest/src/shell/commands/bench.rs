//! The `bench` command: how fast the engine is here.
//!
//! The numbers are of this kernel on this processor, by its own clock, with warm caches and nothing
//! else running. Under an emulator they say little about hardware; as ratios to the line "copying
//! memory" they still say something about the engine.
//!
//! `bench commit` and `bench stale` are halves of a measurement whose other half is another kernel's
//! (`daxfs-latency`): they print a counter that both have.

use super::super::failure::{Context, Failure};
use super::super::{Shell, arguments, format};
use super::{Arguments, Outcome};
use crate::System;
use crate::fill::Stream;
use core::hint::black_box;
use core::time::Duration;
use daxfs::storage::TryVec;
use daxfs::{Attributes, BranchName, Error, FileType, LastLink, NewInode, Platform};

/// Size of the file, unless told otherwise.
const DEFAULT_SIZE: u64 = 16 << 20;
/// Bytes of a sequential access.
const PIECE: usize = 64 << 10;
/// Bytes of a random access.
const PAGE: usize = 4096;
/// Random accesses.
const RANDOM: u64 = 4096;
/// Files made and removed.
const FILES: u32 = 1000;
/// Branches made and ended.
const BRANCHES: u64 = 100;

const FILE: &[u8] = b"/.bench";
const DIRECTORY: &[u8] = b"/.bench.d";

/// Looks at a file between two looks whether to go on.
const LOOKS: u64 = 1 << 14;

/// Measures reading and writing.
pub fn bench<'w, P: Platform + 'static, S: System>(
    shell: &mut Shell<'_, P, S>,
    words: Arguments<'_, 'w>,
) -> Outcome<'w> {
    let size = match *words {
        [] => DEFAULT_SIZE,
        [b"commit"] => return commit(shell),
        [b"stale", path] => return stale(shell, path),
        [size] => arguments::size(size)?,
        _ => return Err(Failure::Usage),
    };
    if size < PIECE as u64 {
        return Err(Failure::Wrong("the size must be at least 64K"));
    }
    let file = shell.file_to_write(FILE)?;
    let measured = contents(shell, &file, size - size % PIECE as u64);
    shell.remove(FILE, false)?;
    measured?;
    let measured = names(shell);
    shell.remove(DIRECTORY, true)?;
    measured
}

/// Commits the mounted branch; prints the counter before and after.
fn commit<P: Platform + 'static, S: System>(shell: &mut Shell<'_, P, S>) -> Outcome<'static> {
    let before = shell.system.counter();
    shell.mount.commit()?;
    let after = shell.system.counter();
    shell.print(format_args!("{before} {after}\n"));
    Ok(())
}

/// Looks at a file until the mounted branch has ended; prints the counter, and how many counts a look took.
fn stale<'w, P: Platform + 'static, S: System>(
    shell: &mut Shell<'_, P, S>,
    path: &'w [u8],
) -> Outcome<'w> {
    let absolute = shell.path(path).at(path)?;
    let ino = shell.mount.resolve(&absolute, LastLink::Follow).at(path)?.ino;
    shell.print(format_args!("looking\n"));
    let (start, mut looks) = (shell.system.counter(), 0);
    loop {
        match shell.mount.getattr(ino) {
            Ok(_) => looks += 1,
            Err(Error::Stale) => break,
            Err(error) => return Err(error).at(path),
        }
        if looks % LOOKS == 0 && shell.interrupted() {
            return Err(Failure::Interrupted);
        }
    }
    let now = shell.system.counter();
    let look = now.saturating_sub(start) / (looks + 1);
    shell.print(format_args!("{now} {look}\n"));
    Ok(())
}

/// Measures a file's content.
fn contents<P: Platform + 'static, S: System>(
    shell: &mut Shell<'_, P, S>,
    file: &Attributes,
    size: u64,
) -> Outcome<'static> {
    let (mount, ino) = (shell.mount, file.ino);
    let mut buffer = TryVec::new();
    buffer.resize(PIECE, 0)?;
    Stream::new(1).fill(&mut buffer);
    let mut copy = TryVec::new();
    copy.resize(PIECE, 0_u8)?;
    let pieces = size / PIECE as u64;
    let pages = size / PAGE as u64;

    shell.measure(
        "copying memory",
        size,
        |_, i| {
            if let Some(first) = buffer.first_mut() {
                *first = i as u8;
            }
            copy.copy_from_slice(black_box(&buffer));
            black_box(&mut copy);
            Ok(())
        },
        pieces,
    )?;
    shell.measure(
        "write, sequential, new pages",
        size,
        |shell, i| shell.write_all(ino, i * PIECE as u64, &buffer),
        pieces,
    )?;
    shell.measure(
        "write, sequential, in place",
        size,
        |shell, i| shell.write_all(ino, i * PIECE as u64, &buffer),
        pieces,
    )?;
    shell.measure(
        "read, sequential",
        size,
        |_, i| mount.read(ino, i * PIECE as u64, &mut copy).map(|_| ()),
        pieces,
    )?;
    let attributes = mount.getattr(ino)?;
    let start = shell.system.uptime();
    shell.for_each_chunk(FILE, &attributes, size, &mut |_, chunk| {
        black_box(chunk);
    })?;
    shell.report("read, sequential, by extents", size, start);

    let (page, into) = (buffer.get(..PAGE).unwrap_or(&[]), copy.get_mut(..PAGE).unwrap_or(&mut []));
    let random_bytes = RANDOM * PAGE as u64;
    let mut places = Places::new(pages);
    shell.measure(
        "write, random, 4 KiB",
        random_bytes,
        |shell, _| shell.write_all(ino, places.next() * PAGE as u64, page),
        RANDOM,
    )?;
    shell.measure(
        "read, random, 4 KiB",
        random_bytes,
        |_, _| mount.read(ino, places.next() * PAGE as u64, into).map(|_| ()),
        RANDOM,
    )
}

/// Measures making, finding and removing names.
fn names<P: Platform + 'static, S: System>(shell: &mut Shell<'_, P, S>) -> Outcome<'static> {
    let mount = shell.mount;
    let (root, name) = mount.resolve_parent(DIRECTORY)?;
    let new = |kind: FileType| NewInode { mode: kind.mode_bits() | 0o755, uid: 0, gid: 0, rdev: 0 };
    let dir = mount.create(root, name, &new(FileType::Directory))?.ino;
    let names = u64::from(FILES);
    shell.measure_rate("create", names, |i| {
        mount.create(dir, &file_name(i), &new(FileType::Regular)).map(|_| ())
    })?;
    shell.measure_rate("look up", names, |i| mount.lookup(dir, &file_name(i)).map(|_| ()))?;
    shell.measure_rate("unlink", names, |i| mount.unlink(dir, &file_name(i)))?;
    let branch = BranchName::new(b"bench").ok_or(Failure::Usage)?;
    shell.measure_rate("create and abort a branch", BRANCHES, |_| {
        mount.create_branch(&branch, None)?;
        mount.abort()
    })?;
    shell.measure_rate("create and commit a branch", BRANCHES, |i| {
        mount.create_branch(&branch, None)?;
        mount.create(dir, &file_name(i), &new(FileType::Regular))?;
        mount.commit()
    })
}

fn file_name(index: u64) -> [u8; 8] {
    let mut name = *b"f0000000";
    let mut rest = index;
    for digit in name.iter_mut().skip(1).rev() {
        *digit = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    name
}

/// Pages in an unpredictable order.
struct Places {
    stream: Stream,
    pages: u64,
}

impl Places {
    const fn new(pages: u64) -> Self {
        Self { stream: Stream::new(2), pages }
    }

    fn next(&mut self) -> u64 {
        let mut bytes = [0; 8];
        self.stream.fill(&mut bytes);
        u64::from_le_bytes(bytes) % self.pages
    }
}

impl<P: Platform + 'static, S: System> Shell<'_, P, S> {
    /// Runs `step` `count` times, which moves `bytes` in all, and says how fast that was.
    fn measure(
        &mut self,
        what: &str,
        bytes: u64,
        mut step: impl FnMut(&mut Self, u64) -> daxfs::Result<()>,
        count: u64,
    ) -> Outcome<'static> {
        let start = self.system.uptime();
        for i in 0..count {
            step(self, i)?;
            if self.interrupted() {
                return Err(Failure::Interrupted);
            }
        }
        self.report(what, bytes, start);
        Ok(())
    }

    /// Says how fast moving `bytes` since `start` was.
    fn report(&mut self, what: &str, bytes: u64, start: Duration) {
        let took = self.system.uptime().saturating_sub(start);
        let per_second = u128::from(bytes) * 1_000_000_000 / took.as_nanos().max(1);
        let tenths = per_second / 100_000;
        let (size, milliseconds) = (format::Size(bytes), took.as_millis());
        self.print(format_args!(
            "{what:<30} {:>7}.{} MB/s  ({size} in {milliseconds} ms)\n",
            tenths / 10,
            tenths % 10
        ));
    }

    /// Runs `step` `count` times and says how often that is in a second.
    fn measure_rate(
        &mut self,
        what: &str,
        count: u64,
        mut step: impl FnMut(u64) -> daxfs::Result<()>,
    ) -> Outcome<'static> {
        let start = self.system.uptime();
        for i in 0..count {
            step(i).at(DIRECTORY)?;
            if self.interrupted() {
                return Err(Failure::Interrupted);
            }
        }
        let took = self.system.uptime().saturating_sub(start);
        let rate = u128::from(count) * 1_000_000_000 / took.as_nanos().max(1);
        let milliseconds = took.as_millis();
        self.print(format_args!("{what:<30} {rate:>9} /s    ({count} in {milliseconds} ms)\n"));
        Ok(())
    }
}
