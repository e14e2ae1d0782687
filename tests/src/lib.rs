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
//! | [`mod@reference`] | a filesystem in ordinary memory: what the engine is compared with |
//! | [`lie`] | what a hostile peer would store in a field |
//! | [`script`] | members and lies as a list of bytes: what fuzzers change |
//! | [`operation`] | operations on files, for the engine and the reference alike |
//! | [`compare`] | whether a mount shows what the reference says |
//! | [`racer`] | a member at work beside others, on a branch that says of itself whether it is whole |
//! | [`checkpoint`] | a program that saves its state, to be killed |
//! | [`processes`] | members in processes of their own |
//! | [`arena`] | an image that members race on, and what has to hold when they are done |

#![forbid(unsafe_code)]

pub mod arena;
pub mod builder;
pub mod cases;
pub mod checkpoint;
pub mod compare;
pub mod entries;
pub mod field;
pub mod history;
pub mod image;
pub mod lie;
pub mod operation;
pub mod patch;
pub mod processes;
pub mod racer;
pub mod reference;
pub mod script;
pub mod walk;
