//! What the commands that run a machine have in common.

use crate::error::{Error, Result};
use crate::image::{DEFAULT_SIZE, Image};
use crate::memory::SharedMemory;
use std::io::{self, IsTerminal, Read};
use std::path::PathBuf;

/// Where a machine's image comes from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Source {
    /// A small root file system made for showing things.
    Demo,
    /// An image file.
    Image(PathBuf),
    /// A directory.
    Tree(PathBuf),
}

/// What happens to the range afterwards.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// It is forgotten.
    Dropped,
    /// It is the image file itself.
    InPlace,
    /// It is written to a file.
    Saved(PathBuf),
}

/// A range, from its image to what is left of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Range {
    /// The image.
    pub source: Source,
    /// Bytes of the range.
    pub size: Option<u64>,
    /// What happens to it.
    pub outcome: Outcome,
}

impl Range {
    /// The memory for a run.
    ///
    /// # Errors
    ///
    /// [`Error::Usage`], and those of [`SharedMemory`] and [`Image`].
    pub fn memory(&self) -> Result<SharedMemory> {
        match (&self.source, &self.outcome) {
            (Source::Image(path), Outcome::InPlace) => match self.size {
                None => SharedMemory::in_place(path),
                Some(_) => Err(Error::Usage("--size makes no sense with --in-place".into())),
            },
            (_, Outcome::InPlace) => {
                Err(Error::Usage("--in-place needs an image file: --image FILE".into()))
            }
            (Source::Image(path), _) => SharedMemory::copy_of(path, self.size),
            (Source::Tree(root), _) => {
                let size = self.size.unwrap_or(DEFAULT_SIZE);
                SharedMemory::copy_of(Image::of_tree(root, size)?.path(), Some(size))
            }
            (Source::Demo, _) => {
                let size = self.size.unwrap_or(DEFAULT_SIZE);
                SharedMemory::copy_of(Image::demo(size)?.path(), Some(size))
            }
        }
    }

    /// After the run: writes the range out, if that is wanted.
    ///
    /// # Errors
    ///
    /// [`Error::File`].
    pub fn keep(&self, memory: &SharedMemory) -> Result<()> {
        match &self.outcome {
            Outcome::Saved(target) => memory.save(target),
            Outcome::Dropped | Outcome::InPlace => Ok(()),
        }
    }
}

/// What a machine does.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Work {
    /// Commands.
    Script(String),
    /// What the user types.
    Interactive,
    /// What the user types, or else the commands on standard input.
    StandardInput,
}

impl Work {
    /// The commands; nothing if the user is to type them.
    ///
    /// # Errors
    ///
    /// [`Error::System`] if standard input cannot be read.
    pub fn script(&self) -> Result<Option<String>> {
        match self {
            Self::Script(text) => Ok(Some(text.clone())),
            Self::Interactive => Ok(None),
            Self::StandardInput if io::stdin().is_terminal() => Ok(None),
            Self::StandardInput => {
                let mut text = String::new();
                io::stdin()
                    .read_to_string(&mut text)
                    .map_err(|reason| Error::System { action: "read commands", reason })?;
                Ok(Some(text))
            }
        }
    }
}
