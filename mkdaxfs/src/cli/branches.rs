//! The branches of an image, for people and programs.

use super::{Printable, branch_state};
use clap::builder::{OsStringValueParser, TypedValueParser};
use daxfs::{BranchInfo, BranchName, Platform, Volume};
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

    /// Prints them as a table.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn print(&self) -> io::Result<()> {
        let longest = |name: fn(&Row) -> &str| self.0.iter().map(|row| name(row).len()).max();
        let name_width = longest(|row| &row.name).unwrap_or(0).max(4);
        let parent_width = longest(Row::parent).unwrap_or(0).max(6);
        let mut out = io::BufWriter::new(io::stdout().lock());
        writeln!(
            out,
            "{:<name_width$}  {:>4}  {:<parent_width$}  {:<10}  {:>6}  {:>8}",
            "NAME", "ID", "PARENT", "STATE", "MEMBER", "SEGMENTS"
        )?;
        for row in &self.0 {
            let Row { name, id, state, segments, .. } = row;
            let parent = row.parent();
            let owner = row.owner.map_or_else(|| "-".to_owned(), |owner| owner.to_string());
            writeln!(
                out,
                "{name:<name_width$}  {id:>4}  {parent:<parent_width$}  {state:<10}  {owner:>6}  \
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
        }
    }

    fn parent(&self) -> &str {
        self.parent.as_deref().unwrap_or("-")
    }
}
