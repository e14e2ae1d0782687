//! The commands on an image in a file.

use crate::args::FileAction;
use daxfs::std_platform::{MappedFile, StdPlatform};
use daxfs::{BranchName, Delta, Error, Geometry, MemberIndex, Region, Volume, upgrade};
use mkdaxfs::cli::{BranchTable, ImageFile, ToolError, print_json};
use std::path::Path;

pub(crate) fn run(path: &Path, action: &FileAction) -> Result<(), ToolError> {
    match action {
        FileAction::List { json } => list(&ImageFile::open(path)?, *json),
        FileAction::Create { name, parent } => {
            let image = ImageFile::open_writable(path)?;
            let region = image.region()?;
            make_segmented(&image, &region)?;
            let volume = open(&image, region)?;
            volume.create_branch(name, parent).map_err(|e| explain(&image, name, e))?;
            finish(&image, volume)
        }
        FileAction::Commit { name } => {
            let image = ImageFile::open_writable(path)?;
            let volume = open(&image, image.region()?)?;
            volume.commit(name).map_err(|e| explain(&image, name, e))?;
            finish(&image, volume)
        }
        FileAction::Abort { name } => {
            let image = ImageFile::open_writable(path)?;
            let volume = open(&image, image.region()?)?;
            volume.abort(name).map_err(|e| explain(&image, name, e))?;
            finish(&image, volume)
        }
        FileAction::Reap { member } => {
            let image = ImageFile::open_writable(path)?;
            let volume = open(&image, image.region()?)?;
            match member {
                Some(member) => volume.reap(MemberIndex::new(*member)).map_err(|reason| {
                    ToolError::Engine { subject: format!("member {member}"), reason }
                }),
                None => volume.reap_all().map_err(ToolError::about(image.name())),
            }?;
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
        Error::Owned { branch: owned } => ToolError::Other(format!(
            "{}: a mount is writing to branch '{owned}'; unmount it, or, if it does not run any \
             more, use daxfs-branch reap",
            image.name()
        )),
        error => ToolError::Engine { subject: format!("branch '{branch}'"), reason: error },
    }
}

fn list(image: &ImageFile, json: bool) -> Result<(), ToolError> {
    let branches = BranchTable::read(&open(image, image.region()?)?)
        .map_err(ToolError::about(image.name()))?;
    if json { Ok(print_json(&branches)?) } else { Ok(branches.print()?) }
}
