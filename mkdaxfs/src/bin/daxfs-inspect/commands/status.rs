//! `status`.

use crate::args::Subject;
use crate::view::View;
use daxfs::format::base::BaseFeatures;
use daxfs::{Delta, MemberInfo, MemberState};
use mkdaxfs::cli::{Printable, ToolError, print_json};
use mkdaxfs::format_size;
use serde::Serialize;
use std::io::{self, Write};
use uuid::Uuid;

#[derive(Serialize)]
struct Document {
    file: String,
    kind: &'static str,
    uuid: Option<Uuid>,
    image_bytes: u64,
    base: Base,
    branches: u64,
    delta: Option<DeltaRegion>,
    segments: Option<Segments>,
    /// Mounts of the image, of all kernels.
    members: Vec<Member>,
    /// The branch that the rest is about; `None` is the base alone.
    branch: Option<String>,
    /// Inodes of the base image, and numbers the branch has used since.
    inodes: u64,
    /// Inodes and names that differ from the base image's.
    changed_inodes: u64,
    changed_names: u64,
    /// Bytes that a writer of the branch could still fill.
    free_bytes: u64,
}

#[derive(Serialize)]
struct Base {
    offset: u64,
    bytes: u64,
    inodes: u32,
    features: Vec<String>,
}

#[derive(Serialize)]
struct DeltaRegion {
    offset: u64,
    bytes: u64,
}

#[derive(Serialize)]
struct Segments {
    bytes_each: u64,
    total: u32,
    free: u32,
}

#[derive(Serialize)]
struct Member {
    number: u8,
    name: String,
    kernel: u64,
    state: &'static str,
    heartbeat: u64,
}

pub(crate) fn run(subject: &Subject, json: bool) -> Result<(), ToolError> {
    let document = Document::new(subject)?;
    if json { Ok(print_json(&document)?) } else { Ok(document.print(&mut io::stdout().lock())?) }
}

impl Document {
    fn new(subject: &Subject) -> Result<Self, ToolError> {
        let file = subject.file.display().to_string();
        let view = View::open(subject)?;
        let mount = view.mount();
        let stat = mount.statfs().map_err(ToolError::about(&file))?;
        let info = mount.info();
        let (geometry, base) = (info.geometry, mount.volume().base());
        let mut branches = 0;
        mount.branches(&mut |_| branches += 1).map_err(ToolError::about(&file))?;
        let mut members = Vec::new();
        mount
            .members(&mut |info| members.push(Member::new(info)))
            .map_err(ToolError::about(&file))?;
        let (kind, delta, segments) = match geometry.delta {
            Delta::None => ("static", None, None),
            Delta::Plain(delta) => ("plain writable", Some(delta), None),
            Delta::Segmented(segments) => ("segmented", Some(segments.delta), Some(segments)),
        };
        Ok(Self {
            file,
            kind,
            uuid: segments.is_some().then(|| Uuid::from_bytes(geometry.uuid)),
            image_bytes: geometry.total_size,
            base: Base {
                offset: geometry.base.start.get(),
                bytes: geometry.base.len,
                inodes: base.inode_count(),
                features: feature_names(base.features()),
            },
            branches,
            delta: delta.map(|delta| DeltaRegion { offset: delta.start.get(), bytes: delta.len }),
            segments: segments.map(|segments| Segments {
                bytes_each: segments.size(),
                total: stat.segments_total,
                free: stat.segments_free,
            }),
            members,
            branch: info.branch.map(|name| Printable(name.as_bytes()).to_string()),
            inodes: stat.files,
            changed_inodes: info.changed_inodes as u64,
            changed_names: info.changed_names as u64,
            free_bytes: stat.free_blocks * stat.block_size,
        })
    }

    fn print(&self, out: &mut impl Write) -> io::Result<()> {
        writeln!(out, "   Image: {}", self.file)?;
        writeln!(out, "    Kind: {}", self.kind)?;
        if let Some(uuid) = &self.uuid {
            writeln!(out, "    Uuid: {uuid}")?;
        }
        writeln!(out, "    Size: {}", format_size(self.image_bytes))?;
        let Base { offset, bytes, inodes, features } = &self.base;
        let features = if features.is_empty() { "none".to_owned() } else { features.join(", ") };
        writeln!(
            out,
            "    Base: {} at {offset:#x}, {inodes} inodes, features: {features}",
            format_size(*bytes)
        )?;
        if let Some(DeltaRegion { offset, bytes }) = &self.delta {
            writeln!(out, "   Delta: {} at {offset:#x}", format_size(*bytes))?;
        }
        if let Some(Segments { bytes_each, total, free }) = &self.segments {
            let each = format_size(*bytes_each);
            writeln!(out, "Segments: {free} of {total} free, {each} each")?;
        }
        for Member { number, name, kernel, state, .. } in &self.members {
            writeln!(out, "  Member: {number}, '{name}' in kernel {kernel:#x}, {state}")?;
        }
        writeln!(out, "Branches: {}", self.branches)?;
        let shown = self.branch.as_deref().unwrap_or("none, the base image is shown");
        writeln!(out, "  Branch: {shown}")?;
        writeln!(
            out,
            " Changes: {} inodes and {} names differ from the base image",
            self.changed_inodes, self.changed_names
        )?;
        writeln!(out, "    Free: {}", format_size(self.free_bytes))
    }
}

impl Member {
    fn new(info: &MemberInfo) -> Self {
        let name = info.identity.name.split(|&b| b == 0).next().unwrap_or_default();
        Self {
            number: info.index.get(),
            name: Printable(name).to_string(),
            kernel: info.identity.kernel,
            state: match info.state {
                MemberState::Free => "free",
                MemberState::Joining => "joining",
                MemberState::Alive => "alive",
                MemberState::Expired => "expired",
            },
            heartbeat: info.heartbeat,
        }
    }
}

fn feature_names(features: BaseFeatures) -> Vec<String> {
    features.iter_names().map(|(name, _)| name.to_ascii_lowercase()).collect()
}
