//! `log`.

use crate::args::Subject;
use crate::view;
use daxfs::std_platform::StdPlatform;
use daxfs::{
    BranchName, FileType, LogEntry, LogOperation, Name, NewInode, RegionOffset, SetAttributes,
    Volume, WriteSource,
};
use mkdaxfs::cli::{Printable, ToolError, kind_name, print_json, time};
use serde::Serialize;
use std::io::{self, Write};

#[derive(Serialize)]
struct Document {
    /// Where the entry starts, from the image's start.
    at: u64,
    time: String,
    ino: u64,
    #[serde(flatten)]
    operation: Operation,
}

#[derive(Serialize)]
#[serde(tag = "operation", rename_all = "snake_case")]
enum Operation {
    Write { offset: u64, len: u32, stored: &'static str, data_at: u64 },
    Create { parent: u64, name: String, kind: &'static str, mode: String, uid: u32, gid: u32 },
    Symlink { parent: u64, name: String, target: String },
    Delete { parent: u64, name: String },
    Truncate { size: u64 },
    Hole { offset: u64, len: u64 },
    Rename { old_parent: u64, old_name: String, new_parent: u64, new_name: String, exchange: bool },
    Setattr { changes: Vec<String> },
    SnapshotInode { kind: &'static str, mode: String, uid: u32, gid: u32, size: u64, nlink: u32 },
    SnapshotName { parent: u64, name: String, whiteout: bool },
    SnapshotPages { page: u64, pages: u64, data_at: u64 },
    SnapshotEnd { inodes: u64, names: u64, next_ino: u64 },
    Link { branch: u64, head_segment: u32, published_segment: u32, published_offset: u32 },
}

pub(crate) fn run(subject: &Subject, branch: &BranchName, json: bool) -> Result<(), ToolError> {
    let volume = view::volume(subject)?;
    let about = || ToolError::about(format!("branch '{branch}'"));
    let mut documents = Vec::new();
    let mut failed = None;
    let emit = &mut |at: RegionOffset, entry: &LogEntry<'_>| match document(&volume, at, entry) {
        Ok(document) => {
            documents.push(document);
            true
        }
        Err(error) => {
            failed = Some(error);
            false
        }
    };
    volume.log(branch, emit).map_err(about())?;
    if let Some(error) = failed {
        return Err(about()(error));
    }
    if json {
        return Ok(print_json(&documents)?);
    }
    let mut out = io::BufWriter::new(io::stdout().lock());
    for Document { at, time, ino, operation } in &documents {
        writeln!(out, "{at:#012x} {time} inode {ino}: {}", operation.text())?;
    }
    Ok(out.flush()?)
}

fn document(
    volume: &Volume<StdPlatform>,
    at: RegionOffset,
    entry: &LogEntry<'_>,
) -> daxfs::Result<Document> {
    let text = |name: &Name<'_>| Printable(name.as_bytes()).to_string();
    let operation = match &entry.operation {
        LogOperation::Write { offset, len, source } => {
            let (stored, data) = match source {
                WriteSource::Inline(data) => ("inline", data),
                WriteSource::Pages(data) => ("pages", data),
            };
            Operation::Write { offset: *offset, len: *len, stored, data_at: data.get() }
        }
        LogOperation::Create { parent, name, new: NewInode { mode, uid, gid, .. } } => {
            Operation::Create {
                parent: parent.get(),
                name: text(name),
                kind: kind(*mode),
                mode: permissions(*mode),
                uid: *uid,
                gid: *gid,
            }
        }
        LogOperation::Symlink { parent, name, target, target_len, .. } => {
            let mut bytes = vec![0; usize::from(*target_len)];
            volume.region().copy_out(*target, &mut bytes)?;
            let target = Printable(&bytes).to_string();
            Operation::Symlink { parent: parent.get(), name: text(name), target }
        }
        LogOperation::Delete { parent, name } => {
            Operation::Delete { parent: parent.get(), name: text(name) }
        }
        LogOperation::Truncate { size } => Operation::Truncate { size: *size },
        LogOperation::Hole { offset, len } => Operation::Hole { offset: *offset, len: *len },
        LogOperation::Rename { old_parent, old_name, new_parent, new_name, exchange } => {
            Operation::Rename {
                old_parent: old_parent.get(),
                old_name: text(old_name),
                new_parent: new_parent.get(),
                new_name: text(new_name),
                exchange: *exchange,
            }
        }
        LogOperation::Setattr(changes) => Operation::Setattr { changes: changed(changes) },
        LogOperation::Inode(inode) => Operation::SnapshotInode {
            kind: kind(inode.new.mode),
            mode: permissions(inode.new.mode),
            uid: inode.new.uid,
            gid: inode.new.gid,
            size: inode.size,
            nlink: inode.nlink,
        },
        LogOperation::Name { parent, name, whiteout, .. } => {
            Operation::SnapshotName { parent: parent.get(), name: text(name), whiteout: *whiteout }
        }
        LogOperation::Extent { page, pages, at } => {
            Operation::SnapshotPages { page: *page, pages: *pages, data_at: at.get() }
        }
        LogOperation::SnapshotEnd { next_ino, inodes, names } => {
            Operation::SnapshotEnd { inodes: *inodes, names: *names, next_ino: next_ino.get() }
        }
        LogOperation::Link { branch, head, published, .. } => Operation::Link {
            branch: branch.get(),
            head_segment: head.get(),
            published_segment: published.ordinal(),
            published_offset: published.offset(),
        },
    };
    Ok(Document { at: at.get(), time: time(entry.time), ino: entry.ino.get(), operation })
}

fn kind(mode: u32) -> &'static str {
    FileType::from_mode(mode).map_or("unknown", kind_name)
}

fn permissions(mode: u32) -> String {
    format!("{:04o}", mode & daxfs::format::mode::PERMISSIONS)
}

fn changed(changes: &SetAttributes) -> Vec<String> {
    let SetAttributes { mode, uid, gid, size, atime, mtime } = changes;
    [
        mode.map(|mode| format!("mode={}", permissions(mode))),
        uid.map(|uid| format!("uid={uid}")),
        gid.map(|gid| format!("gid={gid}")),
        size.map(|size| format!("size={size}")),
        atime.map(|at| format!("atime={}", time(at))),
        mtime.map(|at| format!("mtime={}", time(at))),
    ]
    .into_iter()
    .flatten()
    .collect()
}

impl Operation {
    fn text(&self) -> String {
        match self {
            Self::Write { offset, len, stored, data_at } => {
                format!("write {len} bytes at {offset}, {stored} at {data_at:#x}")
            }
            Self::Create { parent, name, kind, mode, uid, gid } => {
                format!("create {kind} '{name}' in {parent}, mode {mode}, owner {uid}:{gid}")
            }
            Self::Symlink { parent, name, target } => {
                format!("create symbolic link '{name}' in {parent}, to '{target}'")
            }
            Self::Delete { parent, name } => format!("delete '{name}' from {parent}"),
            Self::Truncate { size } => format!("set the size to {size}"),
            Self::Hole { offset, len } => format!("make a hole of {len} bytes at {offset}"),
            Self::Rename { old_parent, old_name, new_parent, new_name, exchange } => {
                let verb = if *exchange { "exchange" } else { "rename" };
                let with = if *exchange { "with" } else { "to" };
                format!("{verb} '{old_name}' in {old_parent} {with} '{new_name}' in {new_parent}")
            }
            Self::Setattr { changes } => format!("set {}", changes.join(" ")),
            Self::SnapshotInode { kind, mode, uid, gid, size, nlink } => format!(
                "snapshot: {kind}, mode {mode}, owner {uid}:{gid}, {size} bytes, {nlink} links"
            ),
            Self::SnapshotName { parent, name, whiteout: false } => {
                format!("snapshot: '{name}' in {parent}")
            }
            Self::SnapshotName { parent, name, whiteout: true } => {
                format!("snapshot: no '{name}' in {parent}")
            }
            Self::SnapshotPages { page, pages, data_at } => {
                format!("snapshot: {pages} pages from page {page}, at {data_at:#x}")
            }
            Self::SnapshotEnd { inodes, names, next_ino } => format!(
                "snapshot complete: {inodes} inodes, {names} names, next new inode {next_ino}"
            ),
            Self::Link { branch, head_segment, published_segment, published_offset } => format!(
                "everything of branch {branch}: segment {head_segment} on, \
                 up to {published_offset:#x} in its segment {published_segment}"
            ),
        }
    }
}
