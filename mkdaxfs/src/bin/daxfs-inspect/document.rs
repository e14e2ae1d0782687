//! Files as documents: what `--json` prints of them, and the text that says the same.

use crate::view::View;
use daxfs::Attributes;
use daxfs::format::base::decode_dev;
use daxfs::format::mode::mode_string;
use mkdaxfs::cli::{ToolError, kind_name, time};
use serde::Serialize;
use std::io::{self, Write};

/// A file, directory, link or special file.
#[derive(Debug, Serialize)]
pub(crate) struct FileDocument {
    /// Its name, or the path it was found at.
    pub(crate) name: String,
    ino: u64,
    kind: &'static str,
    /// Permissions, octal.
    mode: String,
    uid: u32,
    gid: u32,
    size: u64,
    nlink: u32,
    /// Units of 512 bytes.
    blocks: u64,
    modified: String,
    accessed: String,
    changed: String,
    /// A device node's numbers.
    #[serde(skip_serializing_if = "Option::is_none")]
    device: Option<Device>,
    /// A symbolic link's target.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) target: Option<String>,
    /// As `ls -l` shows it.
    #[serde(skip)]
    mode_text: String,
}

#[derive(Clone, Copy, Debug, Serialize)]
struct Device {
    major: u32,
    minor: u32,
}

impl FileDocument {
    pub(crate) fn new(
        view: &View,
        name: String,
        attributes: &Attributes,
    ) -> Result<Self, ToolError> {
        let (major, minor) = decode_dev(attributes.rdev);
        Ok(Self {
            name,
            ino: attributes.ino.get(),
            kind: kind_name(attributes.kind),
            mode: format!("{:04o}", attributes.mode & daxfs::format::mode::PERMISSIONS),
            uid: attributes.uid,
            gid: attributes.gid,
            size: attributes.size,
            nlink: attributes.nlink,
            blocks: attributes.blocks,
            modified: time(attributes.mtime),
            accessed: time(attributes.atime),
            changed: time(attributes.ctime),
            device: attributes.kind.is_device().then_some(Device { major, minor }),
            target: view.link_target(attributes)?,
            mode_text: mode_string(attributes.mode).map(char::from).iter().collect(),
        })
    }

    /// Its name, and where it points to.
    pub(crate) fn label(&self) -> String {
        match &self.target {
            Some(target) => format!("{} -> {target}", self.name),
            None => self.name.clone(),
        }
    }

    /// Prints all of it.
    pub(crate) fn print(&self, out: &mut impl Write) -> io::Result<()> {
        writeln!(out, "    Path: {}", self.label())?;
        writeln!(out, "   Inode: {}", self.ino)?;
        writeln!(out, "    Type: {}", self.kind)?;
        writeln!(out, "    Mode: {} ({})", self.mode, self.mode_text)?;
        writeln!(out, "   Owner: {}:{}", self.uid, self.gid)?;
        writeln!(out, "    Size: {} bytes, {} blocks of 512", self.size, self.blocks)?;
        writeln!(out, "   Links: {}", self.nlink)?;
        if let Some(Device { major, minor }) = self.device {
            writeln!(out, "  Device: {major}:{minor}")?;
        }
        writeln!(out, "Modified: {}", self.modified)?;
        writeln!(out, "Accessed: {}", self.accessed)?;
        writeln!(out, " Changed: {}", self.changed)
    }

    fn size_text(&self) -> String {
        match self.device {
            Some(Device { major, minor }) => format!("{major}, {minor}"),
            None => self.size.to_string(),
        }
    }
}

/// Prints files as `ls -l` does, in columns as wide as needed.
pub(crate) fn print_long(files: &[FileDocument], out: &mut impl Write) -> io::Result<()> {
    let width = |text: fn(&FileDocument) -> String| {
        files.iter().map(|file| text(file).len()).max().unwrap_or(0)
    };
    let links = width(|file| file.nlink.to_string());
    let (uid, gid) = (width(|file| file.uid.to_string()), width(|file| file.gid.to_string()));
    let (size, modified) = (width(FileDocument::size_text), width(|file| file.modified.clone()));
    for file in files {
        writeln!(
            out,
            "{} {:>links$} {:>uid$} {:>gid$} {:>size$} {:<modified$} {}",
            file.mode_text,
            file.nlink,
            file.uid,
            file.gid,
            file.size_text(),
            file.modified,
            file.label(),
        )?;
    }
    Ok(())
}
