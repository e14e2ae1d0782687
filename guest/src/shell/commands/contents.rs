//! Commands about what is in files.

use super::super::failure::{Context, Failure};
use super::super::{Shell, arguments, format};
use super::{Arguments, Outcome};
use crate::System;
use crate::fill::Stream;
use daxfs::format::BLOCK_SIZE;
use daxfs::storage::TryVec;
use daxfs::{
    Attributes, Error, Extent, FileType, Ino, LastLink, NewInode, Platform, SetAttributes,
};
use sha2::{Digest, Sha256};

/// Bytes taken out of the range at a time, into a buffer on the stack.
const CHUNK: usize = 4096;
/// Bytes written at a time.
const PIECE: usize = 64 << 10;
/// Chunks between two looks whether the operator wants to go on.
const PATIENCE: u32 = 64;

/// Prints files.
pub fn cat<'w, P: Platform + 'static, S: System>(
    shell: &mut Shell<'_, P, S>,
    words: Arguments<'_, 'w>,
) -> Outcome<'w> {
    at_least_one(words)?;
    for &word in words {
        let file = shell.file(word)?;
        shell.for_each_chunk(word, &file, file.size, &mut |shell, chunk| {
            shell.print_bytes(chunk);
        })?;
    }
    Ok(())
}

/// Prints SHA-256 checksums, in the format of sha256sum(1).
pub fn sha256sum<'w, P: Platform + 'static, S: System>(
    shell: &mut Shell<'_, P, S>,
    words: Arguments<'_, 'w>,
) -> Outcome<'w> {
    at_least_one(words)?;
    for &word in words {
        let file = shell.file(word)?;
        let mut hash = Sha256::new();
        shell.for_each_chunk(word, &file, file.size, &mut |_, chunk| hash.update(chunk))?;
        for byte in hash.finalize() {
            shell.print(format_args!("{byte:02x}"));
        }
        shell.print_bytes(b"  ");
        shell.print_bytes(word);
        shell.print_bytes(b"\n");
    }
    Ok(())
}

/// Prints the start of a file, or all of it, in hexadecimal, in the format of `hexdump -C`.
pub fn hexdump<'w, P: Platform + 'static, S: System>(
    shell: &mut Shell<'_, P, S>,
    words: Arguments<'_, 'w>,
) -> Outcome<'w> {
    let (word, len) = match *words {
        [word] => (word, u64::MAX),
        [word, len] => (word, arguments::size(len)?),
        _ => return Err(Failure::Usage),
    };
    let file = shell.file(word)?;
    let mut line = [0; 16];
    let mut at = 0_u64;
    shell.for_each_chunk(word, &file, len.min(file.size), &mut |shell, chunk| {
        for &byte in chunk {
            line[(at % 16) as usize] = byte;
            at += 1;
            if at.is_multiple_of(16) {
                hex_line(shell, at - 16, &line);
            }
        }
    })?;
    let rest = line.get(..(at % 16) as usize).unwrap_or(&[]);
    if !rest.is_empty() {
        hex_line(shell, at - rest.len() as u64, rest);
    }
    shell.print(format_args!("{at:08x}\n"));
    Ok(())
}

fn hex_line<P: Platform + 'static, S: System>(shell: &mut Shell<'_, P, S>, at: u64, bytes: &[u8]) {
    // "00000010  " and 16 columns of three, one more blank in the middle and at the end.
    shell.print(format_args!("{at:08x} "));
    for column in 0..16 {
        let gap = if column == 0 || column == 8 { " " } else { "" };
        match bytes.get(column) {
            Some(byte) => shell.print(format_args!("{gap}{byte:02x} ")),
            None => shell.print(format_args!("{gap}   ")),
        }
    }
    let mut letters = [b'.'; 16];
    for (letter, &byte) in letters.iter_mut().zip(bytes) {
        if (b' '..=b'~').contains(&byte) {
            *letter = byte;
        }
    }
    let letters = letters.get(..bytes.len()).unwrap_or(&[]);
    shell.print(format_args!(" |{}|\n", format::text(letters)));
}

/// Replaces the content of a file, making it if it does not exist.
pub fn write<'w, P: Platform + 'static, S: System>(
    shell: &mut Shell<'_, P, S>,
    words: Arguments<'_, 'w>,
) -> Outcome<'w> {
    let &[word, text] = words else { return Err(Failure::Usage) };
    let file = shell.file_to_write(word)?;
    shell.set_size(file.ino, 0).at(word)?;
    shell.write_all(file.ino, 0, text).at(word)
}

/// Adds to the end of a file, making it if it does not exist.
pub fn append<'w, P: Platform + 'static, S: System>(
    shell: &mut Shell<'_, P, S>,
    words: Arguments<'_, 'w>,
) -> Outcome<'w> {
    let &[word, text] = words else { return Err(Failure::Usage) };
    let file = shell.file_to_write(word)?;
    let (_, mut written) = shell.mount.append(file.ino, text).at(word)?;
    // A short write says that the rest did not fit; asking for the rest says why.
    while let Some(rest) = text.get(written..).filter(|rest| !rest.is_empty()) {
        written += shell.mount.append(file.ino, rest).at(word)?.1;
    }
    Ok(())
}

/// Replaces the content of a file by the stream of a seed (see [`crate::fill`]).
pub fn fill<'w, P: Platform + 'static, S: System>(
    shell: &mut Shell<'_, P, S>,
    words: Arguments<'_, 'w>,
) -> Outcome<'w> {
    let &[word, size, seed] = words else { return Err(Failure::Usage) };
    let (size, seed) = (arguments::size(size)?, arguments::number(seed)?);
    let file = shell.file_to_write(word)?;
    shell.set_size(file.ino, 0).at(word)?;
    let mut stream = Stream::new(seed);
    let mut piece = TryVec::new();
    piece.resize(PIECE, 0).at(word)?;
    let mut done = 0;
    while done < size {
        if shell.interrupted() {
            return Err(Failure::Interrupted);
        }
        let len = (size - done).min(PIECE as u64);
        let piece = piece.get_mut(..len as usize).unwrap_or(&mut []);
        stream.fill(piece);
        shell.write_all(file.ino, done, piece).at(word)?;
        done += len;
    }
    Ok(())
}

/// Makes a file longer or shorter, making it if it does not exist.
pub fn truncate<'w, P: Platform + 'static, S: System>(
    shell: &mut Shell<'_, P, S>,
    words: Arguments<'_, 'w>,
) -> Outcome<'w> {
    let &[word, size] = words else { return Err(Failure::Usage) };
    let size = arguments::size(size)?;
    let file = shell.file_to_write(word)?;
    shell.set_size(file.ino, size).at(word)
}

/// Makes files that do not exist, and sets the times of those that do.
pub fn touch<'w, P: Platform + 'static, S: System>(
    shell: &mut Shell<'_, P, S>,
    words: Arguments<'_, 'w>,
) -> Outcome<'w> {
    at_least_one(words)?;
    for &word in words {
        let path = shell.path(word).at(word)?;
        match shell.mount.resolve(&path, LastLink::Follow) {
            Ok(file) => {
                let now = Some(shell.system.now());
                let changes = SetAttributes { atime: now, mtime: now, ..SetAttributes::default() };
                shell.mount.setattr(file.ino, &changes).at(word)?;
            }
            Err(Error::NotFound) => {
                shell.file_to_write(word)?;
            }
            Err(error) => return Err(Failure::At(word, error)),
        }
    }
    Ok(())
}

pub(super) const fn at_least_one<'w>(words: Arguments<'_, 'w>) -> Outcome<'w> {
    if words.is_empty() { Err(Failure::Usage) } else { Ok(()) }
}

impl<P: Platform + 'static, S: System> Shell<'_, P, S> {
    /// The regular file at a path.
    fn file<'w>(&self, word: &'w [u8]) -> Result<Attributes, Failure<'w>> {
        let path = self.path(word).at(word)?;
        let file = self.mount.resolve(&path, LastLink::Follow).at(word)?;
        match file.kind {
            FileType::Regular => Ok(file),
            FileType::Directory => Err(Failure::At(word, Error::IsDirectory)),
            _ => Err(Failure::Argument(word, "not a regular file")),
        }
    }

    /// The regular file at a path, made if there is none.
    pub(super) fn file_to_write<'w>(&self, word: &'w [u8]) -> Result<Attributes, Failure<'w>> {
        match self.file(word) {
            Err(Failure::At(_, Error::NotFound)) => {}
            found => return found,
        }
        let path = self.path(word).at(word)?;
        let (dir, name) = self.mount.resolve_parent(&path).at(word)?;
        let mode = FileType::Regular.mode_bits() | 0o644;
        self.mount.create(dir, name, &NewInode { mode, uid: 0, gid: 0, rdev: 0 }).at(word)
    }

    fn set_size(&self, ino: Ino, size: u64) -> daxfs::Result<()> {
        let changes = SetAttributes { size: Some(size), ..SetAttributes::default() };
        self.mount.setattr(ino, &changes).map(|_| ())
    }

    /// Writes all of `data`.
    pub(super) fn write_all(&self, ino: Ino, offset: u64, data: &[u8]) -> daxfs::Result<()> {
        let mut done = 0;
        while let Some(rest) = data.get(done..).filter(|rest| !rest.is_empty()) {
            // Short only when the region is full, which the next call says.
            done += self.mount.write(ino, offset + done as u64, rest)?;
        }
        Ok(())
    }

    /// Calls `take` with the first `len` bytes of a file, in order, straight from the shared range:
    /// a small buffer on the stack is all that is between.
    pub(super) fn for_each_chunk<'w>(
        &mut self,
        word: &'w [u8],
        file: &Attributes,
        len: u64,
        take: &mut dyn FnMut(&mut Self, &[u8]),
    ) -> Outcome<'w> {
        let mount = self.mount;
        let region = mount.volume().region();
        let mut buffer = [0; CHUNK];
        let mut at = 0;
        let mut chunks = 0_u32;
        while at < len {
            let extent = mount.extent(file.ino, at).at(word)?;
            let extent_len = match extent {
                Extent::Data { len, .. } | Extent::Hole { len } | Extent::Private { len } => len,
                // It became shorter in the meantime.
                Extent::End => return Ok(()),
            };
            let extent_len = extent_len.min(len - at);
            let slice = match extent {
                Extent::Data { at: start, .. } => Some(region.slice(start, extent_len).at(word)?),
                _ => None,
            };
            let mut done = 0;
            while done < extent_len {
                chunks = chunks.wrapping_add(1);
                if chunks.is_multiple_of(PATIENCE) && self.interrupted() {
                    return Err(Failure::Interrupted);
                }
                // Up to a page boundary, so that what follows is aligned.
                let room = CHUNK as u64 - (at + done) % BLOCK_SIZE;
                let part = (extent_len - done).min(room);
                let buffer = buffer.get_mut(..part as usize).unwrap_or(&mut []);
                match (&slice, extent) {
                    (Some(slice), _) => slice.copy_to(done, buffer).at(word)?,
                    (None, Extent::Private { .. }) => {
                        let read = mount.read(file.ino, at + done, buffer).at(word)?;
                        if read < buffer.len() {
                            return Ok(());
                        }
                    }
                    (None, _) => buffer.fill(0),
                }
                take(self, buffer);
                done += part;
            }
            at += extent_len;
        }
        Ok(())
    }
}
