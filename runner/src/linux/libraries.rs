//! The shared libraries that a program needs, as the dynamic linker would find them here.

use crate::error::{Error, Result};
use lddtree::DependencyAnalyzer;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

/// A library, or the dynamic linker itself.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Library {
    /// The name by which it is looked for.
    pub(super) path: PathBuf,
    /// The file.
    pub(super) file: PathBuf,
}

/// What a program needs; nothing if it is none, or needs nothing. Libraries are looked for in these
/// folders, too.
///
/// # Errors
///
/// [`Error::Library`] if one of them is not here, [`Error::File`].
pub(crate) fn needed(program: &Path, folders: &[PathBuf]) -> Result<Vec<Library>> {
    let failed = |reason| Error::File { path: program.into(), action: "read it", reason };
    let mut magic = [0; 4];
    let mut file = File::open(program).map_err(failed)?;
    if file.read_exact(&mut magic).is_err() || magic != *b"\x7fELF" {
        return Ok(Vec::new());
    }
    let analyzer = DependencyAnalyzer::default().library_paths(folders.to_vec());
    let tree = analyzer.analyze(program).map_err(|reason| Error::Library {
        program: program.into(),
        reason: format!("its libraries cannot be found out: {reason}"),
    })?;
    let missing = |name: &str| Error::Library {
        program: program.into(),
        reason: format!("the library {name}, which it needs, is not here"),
    };
    let mut libraries = Vec::new();
    for (name, library) in tree.libraries {
        let file = library.realpath.ok_or_else(|| missing(&name))?;
        libraries.push(Library { path: library.path, file });
    }
    // Programs name the dynamic linker by its path, whatever other paths it has.
    if let Some(path) = tree.interpreter.map(PathBuf::from) {
        let file = fs::canonicalize(&path).map_err(|_| missing(&path.display().to_string()))?;
        libraries.push(Library { path, file });
    }
    libraries.sort();
    libraries.dedup();
    Ok(libraries)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_program_needs_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let script = folder.path().join("script");
        for content in ["#!/bin/sh\n", "", "\x7fEL"] {
            fs::write(&script, content).unwrap();
            assert_eq!(needed(&script, &[]).unwrap(), []);
        }
    }

    #[test]
    fn a_program_needs_its_linker_under_the_name_it_gives_it() {
        let needed = needed(&std::env::current_exe().unwrap(), &[]).unwrap();
        if cfg!(target_feature = "crt-static") {
            return;
        }
        assert!(needed.iter().any(|library| library.path.starts_with("/lib64")), "{needed:?}");
        assert!(needed.iter().all(|library| library.file.is_absolute()), "{needed:?}");
    }
}
