//! Debian packages, unpacked without being installed.

use super::Result;
use super::cache::failed;
use super::tool::Tool;
use std::fs;
use std::path::Path;
use std::time::Duration;

/// How long one package may take.
const ONE: Duration = Duration::from_secs(5 * 60);

/// Unpacks all packages in a folder into one tree.
pub(super) fn all(packages: &Path, to: &Path) -> Result<()> {
    for entry in fs::read_dir(packages).map_err(failed(packages, "read it"))? {
        let path = entry.map_err(failed(packages, "read it"))?.path();
        if path.extension().is_some_and(|extension| extension == "deb") {
            let tool = Tool::new("dpkg-deb", ONE).arg("--extract").arg(&path).arg(to);
            tool.run(&format!("unpacking {}", path.display()))?;
        }
    }
    Ok(())
}
