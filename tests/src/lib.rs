//! What the integration tests and the fuzz targets share: images made in memory without mkdaxfs,
//! a catalogue of every field in them, and a bounded walk that does everything a mount can do.
//!
//! | module | what it owns |
//! |---|---|
//! | [`image`] | an image as bytes: patched, mapped, mounted, validated |
//! | [`builder`] | base images and whole images, made from the format crate's structures |
//! | [`history`] | logs: by real operations on a mount, and by hand for plain v3 images |
//! | [`field`] | where every field of every structure of an image lies |
//! | [`entries`] | where log entries lie |
//! | [`walk`] | every operation on everything, bounded |
//! | [`cases`] | many small cases, each of which may neither panic nor hang |
//! | [`patch`] | images as a template and patches: what fuzzers change |

#![forbid(unsafe_code)]

pub mod builder;
pub mod cases;
pub mod entries;
pub mod field;
pub mod history;
pub mod image;
pub mod patch;
pub mod walk;
