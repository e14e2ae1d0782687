//! `ls`, `cat` and `stat`.

use crate::args::Subject;
use crate::document::{FileDocument, print_long};
use crate::view::{View, about};
use daxfs::{FileType, LastLink};
use mkdaxfs::cli::{Printable, ToolError, print_json};
use std::ffi::OsStr;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;

/// Bytes of content handled at a time.
const WINDOW: usize = 1 << 20;

pub(crate) fn list(
    subject: &Subject,
    path: &OsStr,
    long: bool,
    json: bool,
) -> Result<(), ToolError> {
    let view = View::open(subject)?;
    let mut found = view.resolve(path, LastLink::Keep)?;
    if found.kind == FileType::Symlink {
        // A link to a directory shows the directory; any other link is shown itself.
        found = match view.resolve(path, LastLink::Follow) {
            Ok(target) if target.kind == FileType::Directory => target,
            _ => found,
        };
    }
    let mut files = Vec::new();
    if found.kind == FileType::Directory {
        for entry in view.entries(found.ino)? {
            let name = Printable(&entry.name).to_string();
            files.push(FileDocument::new(&view, name, &view.attributes(entry.ino)?)?);
        }
    } else {
        let name = Printable(path.as_bytes()).to_string();
        files.push(FileDocument::new(&view, name, &found)?);
    }
    if json {
        return Ok(print_json(&files)?);
    }
    let mut out = io::BufWriter::new(io::stdout().lock());
    if long {
        print_long(&files, &mut out)?;
    } else {
        for file in &files {
            writeln!(out, "{}", file.name)?;
        }
    }
    Ok(out.flush()?)
}

pub(crate) fn cat(subject: &Subject, path: &OsStr) -> Result<(), ToolError> {
    let view = View::open(subject)?;
    let ino = view.resolve(path, LastLink::Follow)?.ino;
    let mut out = io::stdout().lock();
    let mut window = vec![0; WINDOW];
    let mut offset = 0;
    loop {
        match view.mount().read(ino, offset, &mut window).map_err(about(path))? {
            0 => break,
            count => {
                out.write_all(&window[..count])?;
                offset += count as u64;
            }
        }
    }
    Ok(out.flush()?)
}

pub(crate) fn stat(subject: &Subject, path: &OsStr, json: bool) -> Result<(), ToolError> {
    let view = View::open(subject)?;
    let found = view.resolve(path, LastLink::Keep)?;
    let file = FileDocument::new(&view, Printable(path.as_bytes()).to_string(), &found)?;
    if json { Ok(print_json(&file)?) } else { Ok(file.print(&mut io::stdout().lock())?) }
}
