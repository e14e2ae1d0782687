//! `tree`.
//!
//! # Invariants
//!
//! Ends on any image: a directory that is met a second time (a hostile entry can name an ancestor)
//! is an error.

use crate::args::Subject;
use crate::document::FileDocument;
use crate::view::{Entry, View};
use daxfs::{Attributes, FileType, Ino, LastLink};
use mkdaxfs::cli::{Printable, ToolError, count, print_json};
use std::collections::HashSet;
use std::ffi::OsStr;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;

/// A directory on the way to where the walk is.
struct Level {
    path: Vec<u8>,
    /// What is still to be visited, last first.
    rest: Vec<Entry>,
}

pub(crate) fn run(subject: &Subject, path: &OsStr, json: bool) -> Result<(), ToolError> {
    let view = View::open(subject)?;
    let start = view.resolve(path, LastLink::Follow)?;
    let root = path.as_bytes().to_vec();
    let mut files = vec![FileDocument::new(&view, Printable(&root).to_string(), &start)?];
    if json {
        walk(&view, root, &start, |_, path, attributes| {
            files.push(FileDocument::new(&view, Printable(path).to_string(), attributes)?);
            Ok(())
        })?;
        return Ok(print_json(&files)?);
    }

    let mut out = io::BufWriter::new(io::stdout().lock());
    writeln!(out, "{}", files[0].label())?;
    let (mut directories, mut others) = (0_u64, 0_u64);
    walk(&view, root, &start, |levels, path, attributes| {
        // What is above in the same column goes on below if its directory has more entries.
        let (last, above) = levels.split_last().unwrap_or((&false, &[]));
        for more in above {
            out.write_all(if *more { "│   " } else { "    " }.as_bytes())?;
        }
        out.write_all(if *last { "├── " } else { "└── " }.as_bytes())?;
        let name = path.rsplit(|&b| b == b'/').next().unwrap_or(path);
        let file = FileDocument::new(&view, Printable(name).to_string(), attributes)?;
        writeln!(out, "{}", file.label())?;
        if attributes.kind == FileType::Directory {
            directories += 1;
        } else {
            others += 1;
        }
        Ok(())
    })?;
    writeln!(out, "\n{}, {}", count(directories, "directory"), count(others, "file"))?;
    Ok(out.flush()?)
}

/// Calls `visit` for everything below a directory, a directory before what is in it: with, for each
/// level down to it, whether more entries follow there; its path; its attributes.
fn walk(
    view: &View,
    path: Vec<u8>,
    start: &Attributes,
    mut visit: impl FnMut(&[bool], &[u8], &Attributes) -> Result<(), ToolError>,
) -> Result<(), ToolError> {
    let mut seen = HashSet::new();
    let mut levels = Vec::new();
    if start.kind == FileType::Directory {
        levels.push(enter(view, &mut seen, path, start.ino)?);
    }
    while let Some(level) = levels.last_mut() {
        let Some(entry) = level.rest.pop() else {
            levels.pop();
            continue;
        };
        let mut path = level.path.clone();
        if path.last() != Some(&b'/') {
            path.push(b'/');
        }
        path.extend_from_slice(&entry.name);
        let attributes = view.attributes(entry.ino)?;
        let more: Vec<bool> = levels.iter().map(|level| !level.rest.is_empty()).collect();
        visit(&more, &path, &attributes)?;
        if attributes.kind == FileType::Directory {
            levels.push(enter(view, &mut seen, path, entry.ino)?);
        }
    }
    Ok(())
}

fn enter(
    view: &View,
    seen: &mut HashSet<Ino>,
    path: Vec<u8>,
    directory: Ino,
) -> Result<Level, ToolError> {
    if !seen.insert(directory) {
        return Err(ToolError::Other(format!(
            "{}: the directory (inode {}) is in the tree twice; run fsck-daxfs",
            Printable(&path),
            directory.get()
        )));
    }
    let mut rest = view.entries(directory)?;
    rest.reverse();
    Ok(Level { path, rest })
}
