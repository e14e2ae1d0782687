//! The `branch` command.

use super::super::Shell;
use super::super::failure::{Context, Failure};
use super::{Arguments, Outcome};
use crate::System;
use daxfs::storage::TryVec;
use daxfs::{BranchInfo, BranchName, BranchState, Error, Platform};

/// Works with branches.
pub fn branch<'w, P: Platform + 'static, S: System>(
    shell: &mut Shell<'_, P, S>,
    words: Arguments<'_, 'w>,
) -> Outcome<'w> {
    match *words {
        [] | [b"list"] => list(shell),
        [b"create", name] => shell.mount.create_branch(&branch_name(name)?, None).at(name),
        [b"create", name, parent] => {
            let parent = branch_name(parent)?;
            shell.mount.create_branch(&branch_name(name)?, Some(&parent)).at(name)
        }
        [b"switch", name] => shell.mount.switch(&branch_name(name)?).at(name),
        [b"commit"] => Ok(shell.mount.commit()?),
        [b"abort"] => Ok(shell.mount.abort()?),
        [b"compact"] => Ok(shell.mount.compact()?),
        _ => Err(Failure::Usage),
    }
}

fn branch_name(word: &[u8]) -> Result<BranchName, Failure<'_>> {
    BranchName::new(word).ok_or(Failure::Argument(word, "not a branch name"))
}

/// Lists branches: parents by name, the mounted branch with a star.
fn list<'w, P: Platform + 'static, S: System>(shell: &mut Shell<'_, P, S>) -> Outcome<'w> {
    let mut branches: TryVec<BranchInfo> = TryVec::new();
    let mut full = Ok(());
    shell.mount.branches(&mut |branch| {
        if matches!(branch.state, BranchState::Active) && full.is_ok() {
            full = branches.push(*branch);
        }
    })?;
    full?;
    let here = shell.mount.info().branch_id;
    for branch in branches.iter() {
        let mark = if Some(branch.id) == here { '*' } else { ' ' };
        let (name, segments) = (branch.name, branch.segments);
        shell.print(format_args!("{mark} {name}"));
        if let Some(id) = branch.parent {
            let parent = branches.iter().find(|other| other.id == id);
            let missing = Error::Corrupt { what: "parent of a live branch", at: id.get() };
            shell.print(format_args!(" (from {})", parent.ok_or(missing)?.name));
        }
        shell.print(format_args!(", {segments} segments\n"));
    }
    Ok(())
}
