//! The `selftest` command: whether the filesystem and the kernel do what they should, here and now.

use super::super::Shell;
use super::super::failure::Failure;
use super::{Arguments, Outcome};
use crate::fill::Stream;
use crate::{Protection, System};
use core::time::Duration;
use daxfs::format::BLOCK_SIZE;
use daxfs::storage::TryVec;
use daxfs::{
    Access, BranchName, Error, Extent, FileType, Ino, LastLink, MemberInfo, NewInode, Platform,
    RegionOffset, RenameMode, SetAttributes,
};

/// Where the filesystem is tried out; removed afterwards.
const SCRATCH: &[u8] = b"/.selftest";
/// How long the timer is given to tick.
const PATIENCE: Duration = Duration::from_secs(2);

/// A check of the kernel.
type KernelCheck<P, S> = fn(&mut Shell<'_, P, S>) -> Outcome<'static>;
/// A check of the filesystem, in an empty directory.
type FileCheck<P, S> = fn(&mut Shell<'_, P, S>, Ino) -> Outcome<'static>;

/// Runs all checks.
pub fn selftest<'w, P: Platform + 'static, S: System>(
    shell: &mut Shell<'_, P, S>,
    words: Arguments<'_, 'w>,
) -> Outcome<'w> {
    if !words.is_empty() {
        return Err(Failure::Usage);
    }
    let kernel: [(&str, KernelCheck<P, S>); 6] = [
        ("the timer ticks", timer_ticks),
        ("the timer shows that this kernel runs", heartbeat),
        ("an interrupt nobody expects does no harm", stray_interrupt),
        ("nothing is both writable and executable", write_or_execute),
        ("the base image cannot be written to", base_is_read_only),
        ("the range can be written to where the mount says so", delta_follows_the_mount),
    ];
    let files: [(&str, FileCheck<P, S>); 11] = [
        ("what is written is read back", contents_come_back),
        ("an overwritten piece changes nothing around it", overwriting_is_exact),
        ("growing shows zeros, never old content", growing_shows_zeros),
        ("appending goes to the end", appending),
        ("a directory lists what is in it, once", listing),
        ("names are moved, replaced, or not", renaming),
        ("links lead where they point, and not in circles", links),
        ("what cannot be done is refused", refusals),
        ("an aborted branch leaves nothing behind", aborting),
        ("a committed branch becomes its parent, others end", committing),
        ("a rewritten log says what the old one said", compacting),
    ];
    let mut failed = 0_u32;
    for (name, check) in kernel {
        let outcome = check(shell);
        failed += shell.verdict(name, outcome)?;
    }
    let mut count = kernel.len();
    if shell.mount.info().access == Access::ReadWrite {
        for (name, check) in files {
            let outcome = shell.in_scratch(check);
            failed += shell.verdict(name, outcome)?;
        }
        count += files.len();
    } else {
        shell.print(format_args!("read-only: the checks that write are left out\n"));
    }
    shell.print(format_args!("{count} checks, {failed} failed\n"));
    if failed > 0 { Err(Failure::Wrong("not everything is as it should be")) } else { Ok(()) }
}

impl<P: Platform + 'static, S: System> Shell<'_, P, S> {
    /// Prints how a check went; returns how many failures that is.
    fn verdict(&mut self, name: &str, outcome: Outcome<'static>) -> Result<u32, Failure<'static>> {
        match outcome {
            Ok(()) => self.print(format_args!("ok      {name}\n")),
            Err(Failure::Interrupted) => return Err(Failure::Interrupted),
            Err(Failure::Engine(error) | Failure::At(_, error)) => {
                self.print(format_args!("FAILED  {name}: {error}\n"));
            }
            Err(Failure::Wrong(what) | Failure::Argument(_, what)) => {
                self.print(format_args!("FAILED  {name}: {what}\n"));
            }
            Err(Failure::Usage) => self.print(format_args!("FAILED  {name}\n")),
        }
        Ok(u32::from(outcome.is_err()))
    }

    /// Runs a check in a directory of its own.
    fn in_scratch(&mut self, check: FileCheck<P, S>) -> Outcome<'static> {
        let (root, name) = self.mount.resolve_parent(SCRATCH)?;
        let dir = self.mount.create(root, name, &new(FileType::Directory))?.ino;
        let outcome = check(self, dir);
        self.remove(SCRATCH, true)?;
        outcome?;
        let gone = self.mount.lookup(root, name);
        expect(gone == Err(Error::NotFound), "the scratch directory is still there")
    }

    /// Makes a file.
    fn make_file(&self, dir: Ino, name: &[u8]) -> daxfs::Result<Ino> {
        Ok(self.mount.create(dir, name, &new(FileType::Regular))?.ino)
    }

    /// Checks that a file has exactly this content, by copies and by extents.
    fn expect_content(&self, ino: Ino, expected: &[u8]) -> Outcome<'static> {
        let size = self.mount.getattr(ino)?.size;
        expect(size == expected.len() as u64, "a file has the wrong size")?;
        let mut read = TryVec::new();
        read.resize(expected.len() + 1, 0xee)?;
        let len = self.mount.read(ino, 0, &mut read)?;
        expect(read.get(..len) == Some(expected), "a file reads wrong")?;
        let mut at = 0;
        while at < size {
            let extent = self.mount.extent(ino, at)?;
            let (Extent::Data { len, .. } | Extent::Hole { len } | Extent::Private { len }) =
                extent
            else {
                return Err(Failure::Wrong("a file's extents end before the file"));
            };
            let part = len.min(size - at);
            let expected = expected.get(at as usize..(at + part) as usize).unwrap_or(&[]);
            if let Extent::Data { at: start, .. } = extent {
                let bytes = read.get_mut(..part as usize).unwrap_or(&mut []);
                self.mount.volume().region().slice(start, part)?.copy_to(0, bytes)?;
                expect(bytes == expected, "an extent holds something else")?;
            } else if matches!(extent, Extent::Hole { .. }) {
                expect(expected.iter().all(|&byte| byte == 0), "a hole hides content")?;
            }
            at += part;
        }
        Ok(())
    }
}

const fn expect(holds: bool, otherwise: &'static str) -> Outcome<'static> {
    if holds { Ok(()) } else { Err(Failure::Wrong(otherwise)) }
}

const fn new(kind: FileType) -> NewInode {
    NewInode { mode: kind.mode_bits() | 0o755, uid: 0, gid: 0, rdev: 0 }
}

fn random(seed: u64, len: usize) -> daxfs::Result<TryVec<u8>> {
    let mut bytes = TryVec::new();
    bytes.resize(len, 0)?;
    Stream::new(seed).fill(&mut bytes);
    Ok(bytes)
}

fn timer_ticks<P: Platform + 'static, S: System>(shell: &mut Shell<'_, P, S>) -> Outcome<'static> {
    let start = (shell.system.interrupts().ticks, shell.system.uptime());
    let mut last = start.1;
    loop {
        let now = shell.system.uptime();
        expect(now >= last, "the clock went back")?;
        last = now;
        if shell.system.interrupts().ticks >= start.0 + 2 {
            return Ok(());
        }
        expect(now - start.1 < PATIENCE, "no tick in two seconds")?;
    }
}

fn heartbeat<P: Platform + 'static, S: System>(shell: &mut Shell<'_, P, S>) -> Outcome<'static> {
    let Some(me) = shell.mount.info().member else {
        // An image that never changes has no members.
        return Ok(());
    };
    let beats = |shell: &Shell<'_, P, S>| -> daxfs::Result<u64> {
        let mut beats = 0;
        let mut look = |member: &MemberInfo| {
            if member.index.get() == me {
                beats = member.heartbeat;
            }
        };
        shell.mount.members(&mut look)?;
        Ok(beats)
    };
    let (before, start) = (beats(shell)?, shell.system.uptime());
    while beats(shell)? == before {
        expect(shell.system.uptime() - start < PATIENCE, "no beat in two seconds")?;
    }
    Ok(())
}

fn stray_interrupt<P: Platform + 'static, S: System>(
    shell: &mut Shell<'_, P, S>,
) -> Outcome<'static> {
    let before = shell.system.interrupts().stray;
    if !shell.system.raise_stray_interrupt() {
        // Nobody can interrupt a kernel without an interrupt controller.
        return Ok(());
    }
    let start = shell.system.uptime();
    while shell.system.interrupts().stray == before {
        expect(shell.system.uptime() - start < PATIENCE, "it did not arrive in two seconds")?;
    }
    Ok(())
}

fn write_or_execute<P: Platform + 'static, S: System>(
    shell: &mut Shell<'_, P, S>,
) -> Outcome<'static> {
    let (mut both, mut null) = (false, false);
    shell.system.mappings(&mut |mapping| {
        both |= mapping.protection.write && mapping.protection.execute;
        null |= mapping.virt < BLOCK_SIZE;
    });
    expect(!both, "some page is")?;
    expect(!null, "the null page is mapped")
}

fn base_is_read_only<P: Platform + 'static, S: System>(
    shell: &mut Shell<'_, P, S>,
) -> Outcome<'static> {
    let base = shell.mount.info().geometry.base;
    let mut at = base.start.get();
    // The last page may be shared with what follows.
    while at + BLOCK_SIZE <= base.end() {
        let found = shell.system.shared_protection(RegionOffset::new(at));
        let expected = Protection { write: false, execute: false };
        expect(found == Some(expected), "a page of it permits more, or less, than reading")?;
        at += BLOCK_SIZE;
    }
    Ok(())
}

fn delta_follows_the_mount<P: Platform + 'static, S: System>(
    shell: &mut Shell<'_, P, S>,
) -> Outcome<'static> {
    let info = shell.mount.info();
    let write = info.access == Access::ReadWrite;
    let Ok(segments) = info.geometry.segments() else {
        return expect(!write, "the mount writes to an image that has no room for it");
    };
    if !write {
        // A mount that could write before (to a branch that is committed now) may keep its pages.
        return Ok(());
    }
    let size = segments.size();
    for index in 0..u64::from(segments.count) {
        let at = segments.area.start.checked_add(index * size);
        let at = at.ok_or(Failure::Wrong("a segment lies nowhere"))?;
        let expected = Protection { write, execute: false };
        let found = shell.system.shared_protection(at);
        expect(found == Some(expected), "a segment is protected otherwise")?;
    }
    Ok(())
}

fn contents_come_back<P: Platform + 'static, S: System>(
    shell: &mut Shell<'_, P, S>,
    dir: Ino,
) -> Outcome<'static> {
    for (i, len) in [0, 1, 4095, 4096, 4097, 100_000].into_iter().enumerate() {
        let ino = shell.make_file(dir, &[b'a' + i as u8])?;
        let data = random(i as u64, len)?;
        shell.write_all(ino, 0, &data)?;
        shell.expect_content(ino, &data)?;
    }
    Ok(())
}

fn overwriting_is_exact<P: Platform + 'static, S: System>(
    shell: &mut Shell<'_, P, S>,
    dir: Ino,
) -> Outcome<'static> {
    let ino = shell.make_file(dir, b"f")?;
    let mut data = random(1, 20_000)?;
    shell.write_all(ino, 0, &data)?;
    for (start, len) in [(0, 1), (4090, 12), (8192, 4096), (19_999, 1), (3, 15_000)] {
        let piece = random(start as u64, len)?;
        shell.write_all(ino, start as u64, &piece)?;
        if let Some(part) = data.get_mut(start..start + len) {
            part.copy_from_slice(&piece);
        }
        shell.expect_content(ino, &data)?;
    }
    Ok(())
}

fn growing_shows_zeros<P: Platform + 'static, S: System>(
    shell: &mut Shell<'_, P, S>,
    dir: Ino,
) -> Outcome<'static> {
    let ino = shell.make_file(dir, b"f")?;
    let mut data = random(2, 10_000)?;
    shell.write_all(ino, 0, &data)?;
    for size in [5000, 9000, 4096, 30_000] {
        let changes = SetAttributes { size: Some(size), ..SetAttributes::default() };
        shell.mount.setattr(ino, &changes)?;
        data.truncate(size as usize);
        data.resize(size as usize, 0)?;
        shell.expect_content(ino, &data)?;
    }
    // A write far behind the end leaves zeros between.
    shell.write_all(ino, 50_001, b"x")?;
    data.resize(50_001, 0)?;
    data.push(b'x')?;
    shell.expect_content(ino, &data)
}

fn appending<P: Platform + 'static, S: System>(
    shell: &mut Shell<'_, P, S>,
    dir: Ino,
) -> Outcome<'static> {
    let ino = shell.make_file(dir, b"f")?;
    let mut data = TryVec::new();
    for i in 0..50 {
        let piece = random(i, 333)?;
        let (at, len) = shell.mount.append(ino, &piece)?;
        expect((at, len) == (data.len() as u64, piece.len()), "it went elsewhere")?;
        data.extend_from_slice(&piece)?;
    }
    shell.expect_content(ino, &data)
}

fn listing<P: Platform + 'static, S: System>(
    shell: &mut Shell<'_, P, S>,
    dir: Ino,
) -> Outcome<'static> {
    const COUNT: u8 = 200;
    for i in 0..COUNT {
        shell.make_file(dir, &[b'n', b'0' + i / 16, b'0' + i % 16])?;
    }
    let mut seen = [0_u8; COUNT as usize];
    let mut foreign = false;
    let mut cookie = 0;
    // Resumed after every few entries, as a reader with a small buffer does.
    loop {
        let (before, mut left) = (cookie, 7);
        shell.mount.readdir(dir, cookie, &mut |entry| {
            let index = match *entry.name {
                [b'n', high, low] => {
                    high.wrapping_sub(b'0').wrapping_mul(16).wrapping_add(low.wrapping_sub(b'0'))
                }
                _ => u8::MAX,
            };
            match seen.get_mut(usize::from(index)) {
                Some(seen) => *seen += 1,
                None => foreign = true,
            }
            cookie = entry.next;
            left -= 1;
            left > 0
        })?;
        if cookie == before {
            break;
        }
    }
    expect(!foreign && seen.iter().all(|&count| count == 1), "it lists something else")
}

fn renaming<P: Platform + 'static, S: System>(
    shell: &mut Shell<'_, P, S>,
    dir: Ino,
) -> Outcome<'static> {
    let mount = shell.mount;
    let (a, b) = (shell.make_file(dir, b"a")?, shell.make_file(dir, b"b")?);
    let refused = mount.rename(dir, b"a", dir, b"b", RenameMode::NoReplace);
    expect(refused == Err(Error::Exists), "a name was replaced against the order")?;
    mount.rename(dir, b"a", dir, b"b", RenameMode::Exchange)?;
    expect(mount.lookup(dir, b"a")?.ino == b, "two names did not change places")?;
    mount.rename(dir, b"b", dir, b"a", RenameMode::Replace)?;
    expect(mount.lookup(dir, b"a")?.ino == a, "a name was not replaced")?;
    expect(mount.lookup(dir, b"b") == Err(Error::NotFound), "the old name is still there")?;
    let sub = mount.create(dir, b"d", &new(FileType::Directory))?.ino;
    mount.rename(dir, b"a", sub, b"c", RenameMode::Replace)?;
    expect(mount.lookup(sub, b"c")?.ino == a, "a file did not move")?;
    let into_itself = mount.rename(dir, b"d", sub, b"e", RenameMode::Replace);
    expect(into_itself.is_err(), "a directory moved below itself")
}

fn links<P: Platform + 'static, S: System>(
    shell: &mut Shell<'_, P, S>,
    dir: Ino,
) -> Outcome<'static> {
    let mount = shell.mount;
    let file = shell.make_file(dir, b"f")?;
    mount.symlink(dir, b"l", b"../.selftest/./f", 0, 0)?;
    let found = mount.resolve(b"/.selftest/l", LastLink::Follow)?.ino;
    expect(found == file, "a link leads elsewhere")?;
    let found = mount.resolve(b"/.selftest/l", LastLink::Keep)?.kind;
    expect(found == FileType::Symlink, "a link that was meant itself was followed")?;
    mount.symlink(dir, b"x", b"y", 0, 0)?;
    mount.symlink(dir, b"y", b"x", 0, 0)?;
    let circle = mount.resolve(b"/.selftest/x", LastLink::Follow);
    expect(circle == Err(Error::Loop), "a circle of links was not noticed")
}

fn refusals<P: Platform + 'static, S: System>(
    shell: &mut Shell<'_, P, S>,
    dir: Ino,
) -> Outcome<'static> {
    let mount = shell.mount;
    let file = shell.make_file(dir, b"f")?;
    let sub = mount.create(dir, b"d", &new(FileType::Directory))?.ino;
    shell.make_file(sub, b"g")?;
    let regular = new(FileType::Regular);
    let long = [b'x'; 129];
    for (outcome, expected) in [
        (mount.create(dir, b"f", &regular).map(|_| ()), Error::Exists),
        (mount.create(dir, &long, &regular).map(|_| ()), Error::NameTooLong),
        (mount.create(dir, b"..", &regular).map(|_| ()), Error::InvalidName),
        (mount.create(dir, b"a/b", &regular).map(|_| ()), Error::InvalidName),
        (mount.create(file, b"x", &regular).map(|_| ()), Error::NotDirectory),
        (mount.unlink(dir, b"d"), Error::IsDirectory),
        (mount.unlink(dir, b"x"), Error::NotFound),
        (mount.rmdir(dir, b"d"), Error::NotEmpty),
        (mount.rmdir(dir, b"f"), Error::NotDirectory),
        (mount.write(sub, 0, b"x").map(|_| ()), Error::IsDirectory),
        (mount.write(file, u64::MAX, b"x").map(|_| ()), Error::FileTooBig),
    ] {
        expect(outcome == Err(expected), "something was not refused, or for another reason")?;
    }
    Ok(())
}

/// A branch of the mounted branch, for a check; the mount comes back to where it was.
fn scratch_branch() -> BranchName {
    BranchName::new(b"selftest").unwrap_or(BranchName::main())
}

fn aborting<P: Platform + 'static, S: System>(
    shell: &mut Shell<'_, P, S>,
    dir: Ino,
) -> Outcome<'static> {
    let mount = shell.mount;
    let file = shell.make_file(dir, b"f")?;
    let before = random(11, 3 * BLOCK_SIZE as usize)?;
    mount.write(file, 0, &before)?;
    mount.create_branch(&scratch_branch(), None)?;
    mount.write(file, 100, &random(12, 9000)?)?;
    shell.make_file(dir, b"g")?;
    mount.abort()?;
    shell.expect_content(file, &before)?;
    expect(mount.lookup(dir, b"g") == Err(Error::NotFound), "a file of the branch is there")?;
    mount.write(file, 0, b"x")?;
    Ok(())
}

fn committing<P: Platform + 'static, S: System>(
    shell: &mut Shell<'_, P, S>,
    dir: Ino,
) -> Outcome<'static> {
    let mount = shell.mount;
    let file = shell.make_file(dir, b"f")?;
    let here = mount.info().branch_id;
    mount.create_branch(&scratch_branch(), None)?;
    let after = random(13, 2 * BLOCK_SIZE as usize + 5)?;
    mount.write(file, 0, &after)?;
    mount.commit()?;
    expect(mount.info().branch_id == here, "the mount is not on the parent")?;
    shell.expect_content(file, &after)?;
    let mut left = false;
    mount.branches(&mut |branch| left |= branch.name == scratch_branch() && branch.is_live())?;
    expect(!left, "the branch is still there")?;
    mount.append(file, b"goes on")?;
    let size = mount.getattr(file)?.size;
    expect(size == after.len() as u64 + 7, "the parent cannot be written to")
}

fn compacting<P: Platform + 'static, S: System>(
    shell: &mut Shell<'_, P, S>,
    dir: Ino,
) -> Outcome<'static> {
    let mount = shell.mount;
    let file = shell.make_file(dir, b"f")?;
    let content = random(14, 5 * BLOCK_SIZE as usize)?;
    mount.write(file, 0, &content)?;
    mount.rename(dir, b"f", dir, b"g", RenameMode::Replace)?;
    mount.compact()?;
    mount.write(file, 0, &content)?;
    let found = mount.lookup(dir, b"g")?.ino;
    expect(found == file, "a name leads elsewhere")?;
    shell.expect_content(file, &content)
}
