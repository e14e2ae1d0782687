//! What a build did.

use serde::{Serialize, Serializer};
use std::time::Duration;

/// What a build did.
#[derive(Clone, PartialEq, Debug, Serialize)]
#[non_exhaustive]
pub struct BuildReport {
    /// Bytes of the image.
    pub image_bytes: u64,
    /// Bytes of the base image in it.
    pub base_bytes: u64,
    /// Bytes of the delta region; 0 in a static image.
    pub delta_bytes: u64,
    /// Regular files.
    pub files: u64,
    /// Directories, the root included.
    pub directories: u64,
    /// Symbolic links.
    pub symlinks: u64,
    /// Fifos, sockets and device nodes.
    pub special: u64,
    /// Bytes of content of all regular files.
    pub data_bytes: u64,
    /// Bytes of content stored for them.
    pub stored_bytes: u64,
    /// Regular files whose content is stored with another file's: hard links and duplicates.
    pub deduplicated_files: u64,
    /// Bytes of content that did not have to be stored: `data_bytes - stored_bytes`.
    pub saved_bytes: u64,
    /// A writable image's identity.
    #[serde(serialize_with = "uuid_text")]
    pub uuid: Option<[u8; 16]>,
    /// How long it took.
    #[serde(rename = "elapsed_seconds", serialize_with = "seconds")]
    pub elapsed: Duration,
}

fn seconds<S: Serializer>(elapsed: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(elapsed.as_secs_f64())
}

fn uuid_text<S: Serializer>(uuid: &Option<[u8; 16]>, serializer: S) -> Result<S::Ok, S::Error> {
    match uuid {
        Some(bytes) => serializer.collect_str(&uuid::Uuid::from_bytes(*bytes)),
        None => serializer.serialize_none(),
    }
}
