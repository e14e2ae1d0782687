//! The commands on a mount: ioctls of this kernel's file system.

use crate::args::MountAction;
use daxfs::BranchName;
use mkdaxfs::MountControl;
use mkdaxfs::cli::{BranchTable, ToolError, print_json};
use std::path::Path;

pub(crate) fn run(path: &Path, action: &MountAction) -> Result<(), ToolError> {
    let mount = MountControl::open(path)?;
    match action {
        MountAction::List { json } => list(&mount, *json),
        MountAction::Create { name, parent } => Ok(mount.create(name, parent.as_ref())?),
        MountAction::Switch { name } => Ok(mount.switch(name)?),
        MountAction::Commit { expected } => {
            expect(&mount, expected.as_ref())?;
            Ok(mount.commit()?)
        }
        MountAction::Abort { expected } => {
            expect(&mount, expected.as_ref())?;
            Ok(mount.abort()?)
        }
    }
}

fn list(mount: &MountControl, json: bool) -> Result<(), ToolError> {
    let branches = BranchTable::of_mount(&mount.branches()?);
    if json { Ok(print_json(&branches)?) } else { Ok(branches.print()?) }
}

/// Makes sure that the mount is on the branch that is to end, if one was named.
fn expect(mount: &MountControl, name: Option<&BranchName>) -> Result<(), ToolError> {
    let Some(name) = name else { return Ok(()) };
    let branches = mount.branches()?;
    match branches.iter().find(|branch| branch.is_current) {
        Some(current) if current.name == *name => Ok(()),
        current => Err(ToolError::Other(format!(
            "{}: the mount is on {}, not on branch '{name}'; use daxfs-branch switch first",
            mount.path().display(),
            current.map_or_else(
                || "no live branch".to_owned(),
                |branch| format!("branch '{}'", branch.name)
            ),
        ))),
    }
}
