//! What `daxfs-branch` does.

use crate::args::{Arguments, Command};
use daxfs::std_platform::{MappedFile, StdPlatform};
use daxfs::{BranchInfo, BranchName, Delta, Error, Geometry, Region, Volume, upgrade};
use mkdaxfs::cli::{ImageFile, Printable, ToolError, branch_state, print_json};
use serde::Serialize;
use std::io::{self, Write};

pub(crate) fn run(args: &Arguments) -> Result<(), ToolError> {
    match &args.command {
        Command::List { json } => list(&ImageFile::open(&args.file)?, *json),
        Command::Create { name, parent } => {
            let image = ImageFile::open_writable(&args.file)?;
            let region = image.region()?;
            make_segmented(&image, &region)?;
            let volume = open(&image, region)?;
            volume.create_branch(name, parent).map_err(|e| explain(&image, name, e))?;
            finish(&image, volume)
        }
        Command::Commit { name } => {
            let image = ImageFile::open_writable(&args.file)?;
            let volume = open(&image, image.region()?)?;
            volume.commit(name).map_err(|e| explain(&image, name, e))?;
            finish(&image, volume)
        }
        Command::Abort { name } => {
            let image = ImageFile::open_writable(&args.file)?;
            let volume = open(&image, image.region()?)?;
            volume.abort(name).map_err(|e| explain(&image, name, e))?;
            finish(&image, volume)
        }
    }
}

/// As a first writable mount does.
fn make_segmented(image: &ImageFile, region: &Region<MappedFile>) -> Result<(), ToolError> {
    let geometry = Geometry::read(region).map_err(ToolError::about(image.name()))?;
    match geometry.delta {
        Delta::Plain(_) => upgrade::make_segmented(region, uuid::Uuid::new_v4().into_bytes())
            .map_err(ToolError::about(image.name())),
        Delta::None | Delta::Segmented(_) => Ok(()),
    }
}

fn open(image: &ImageFile, region: Region<MappedFile>) -> Result<Volume<StdPlatform>, ToolError> {
    Volume::open(StdPlatform, region).map_err(ToolError::about(image.name()))
}

fn finish(image: &ImageFile, volume: Volume<StdPlatform>) -> Result<(), ToolError> {
    drop(volume);
    image.sync()
}

fn explain(image: &ImageFile, branch: &BranchName, error: Error) -> ToolError {
    match error {
        Error::ReadOnly => ToolError::Other(format!(
            "{}: the image cannot be changed: it is static (make it with mkdaxfs -w), or has \
             features this tool does not know",
            image.name()
        )),
        error => ToolError::Engine { subject: format!("branch '{branch}'"), reason: error },
    }
}

fn list(image: &ImageFile, json: bool) -> Result<(), ToolError> {
    let volume = open(image, image.region()?)?;
    let mut branches = Vec::new();
    volume.branches(&mut |info| branches.push(*info)).map_err(ToolError::about(image.name()))?;
    let rows: Vec<Row> = branches.iter().map(|info| Row::new(info, &branches)).collect();
    if json {
        return Ok(print_json(&rows)?);
    }
    let mut out = io::BufWriter::new(io::stdout().lock());
    writeln!(out, "{:<32} {:>6} {:<32} {:<10} {:>8}", "NAME", "ID", "PARENT", "STATE", "SEGMENTS")?;
    for row in rows {
        let parent = row.parent.as_deref().unwrap_or("-");
        let Row { name, id, state, segments, .. } = &row;
        writeln!(out, "{name:<32} {id:>6} {parent:<32} {state:<10} {segments:>8}")?;
    }
    Ok(out.flush()?)
}

#[derive(Serialize)]
struct Row {
    name: String,
    id: u64,
    parent: Option<String>,
    parent_id: Option<u64>,
    state: &'static str,
    segments: u64,
}

impl Row {
    fn new(info: &BranchInfo, all: &[BranchInfo]) -> Self {
        let name = |info: &BranchInfo| Printable(info.name.as_bytes()).to_string();
        Self {
            name: name(info),
            id: info.id.get(),
            parent: info.parent.and_then(|id| all.iter().find(|b| b.id == id)).map(name),
            parent_id: info.parent.map(|id| id.get()),
            state: branch_state(info.state),
            segments: info.segments,
        }
    }
}
