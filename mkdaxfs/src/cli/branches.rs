//! The branches of an image, for people and programs.

use super::{Printable, branch_state};
use crate::control::MountedBranch;
use clap::builder::{OsStringValueParser, TypedValueParser};
use daxfs::{BranchInfo, BranchName, BranchState, Platform, Volume};
use serde::Serialize;
use std::ffi::OsString;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;

/// Parses an argument that is a branch's name.
pub fn branch_name() -> impl TypedValueParser<Value = BranchName> {
    OsStringValueParser::new().try_map(|text: OsString| {
        BranchName::new(text.as_bytes())
            .ok_or("a branch name has 1 to 31 bytes, and no '/', ',' or control character")
    })
}

/// The branches of an image, in the order of its table.
#[derive(Debug, Serialize)]
#[serde(transparent)]
pub struct BranchTable(Vec<Row>);

#[derive(Debug, Serialize)]
struct Row {
    name: String,
    id: u64,
    parent: Option<String>,
    parent_id: Option<u64>,
    state: &'static str,
    /// The member that writes to it.
    owner: Option<u8>,
    segments: u64,
    /// Whether the mount that was asked is on it.
    #[serde(skip_serializing_if = "Option::is_none")]
    current: Option<bool>,
}

impl BranchTable {
    /// Reads them.
    ///
    /// # Errors
    ///
    /// The engine's.
    pub fn read<P: Platform>(volume: &Volume<P>) -> daxfs::Result<Self> {
        let mut branches = Vec::new();
        volume.branches(&mut |info| branches.push(*info))?;
        Ok(Self(branches.iter().map(|info| Row::new(info, &branches)).collect()))
    }

    /// What a mount tells of them.
    #[must_use]
    pub fn of_mount(branches: &[MountedBranch]) -> Self {
        Self(branches.iter().map(|branch| Row::mounted(branch, branches)).collect())
    }

    /// Prints them as a table. That of a mount marks the branch it is on.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn print(&self) -> io::Result<()> {
        let longest = |name: fn(&Row) -> &str| self.0.iter().map(|row| name(row).len()).max();
        let name_width = longest(|row| &row.name).unwrap_or(0).max(4);
        let parent_width = longest(Row::parent).unwrap_or(0).max(6);
        let mut out = io::BufWriter::new(io::stdout().lock());
        let mark =
            |current: Option<bool>, mark| current.map_or("", |is| if is { mark } else { "  " });
        let margin = mark(self.0.first().and_then(|row| row.current).map(|_| false), "");
        writeln!(
            out,
            "{margin}{:<name_width$}  {:>4}  {:<parent_width$}  {:<10}  {:>6}  {:>8}",
            "NAME", "ID", "PARENT", "STATE", "MEMBER", "SEGMENTS"
        )?;
        for row in &self.0 {
            let Row { name, id, state, segments, .. } = row;
            let mark = mark(row.current, "* ");
            let parent = row.parent();
            let owner = row.owner.map_or_else(|| "-".to_owned(), |owner| owner.to_string());
            writeln!(
                out,
                "{mark}{name:<name_width$}  {id:>4}  {parent:<parent_width$}  {state:<10}  {owner:>6}  \
                 {segments:>8}"
            )?;
        }
        out.flush()
    }
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
            owner: info.owner.map(|member| member.get()),
            segments: info.segments,
            current: None,
        }
    }

    fn mounted(branch: &MountedBranch, all: &[MountedBranch]) -> Self {
        let name = |branch: &MountedBranch| Printable(branch.name.as_bytes()).to_string();
        Self {
            name: name(branch),
            id: branch.id,
            parent: branch.parent.and_then(|id| all.iter().find(|b| b.id == id)).map(name),
            parent_id: branch.parent,
            // It tells of no others.
            state: branch_state(BranchState::Active),
            owner: branch.owner,
            segments: branch.segments,
            current: Some(branch.is_current),
        }
    }

    fn parent(&self) -> &str {
        self.parent.as_deref().unwrap_or("-")
    }
}
