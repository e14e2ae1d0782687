// SPDX-License-Identifier: GPL-2.0

//! Safe Rust over the VFS: what a file system in memory needs of it, and nothing else.
//!
//! The kernel has no Rust abstractions for file systems yet. Modules and types here have the names and
//! shapes of the abstractions that were proposed (`kernel::fs`), so that they can go when those come.
//! All `unsafe` of the module is here; a file system implements [`FileSystem`] in safe Rust.
//!
//! | module | what it wraps |
//! |---|---|
//! | [`context`] | `fs_context`, `file_system_type`: mounting |
//! | [`super_block`] | `super_block`, `super_operations` |
//! | [`inode`] | `inode` |
//! | [`namei`] | `inode_operations` of directories and links: names |
//! | [`attr`] | `inode_operations` of all others: attributes |
//! | [`dentry`] | `dentry`, `dentry_operations`: is a cached name still right? |
//! | [`file`] | `file`, `file_operations`, `kiocb` |
//! | [`readdir`] | `file_operations` of directories, `dir_context` |
//! | [`uio`] | `iov_iter` |
//! | [`mapping`] | `address_space`, `vm_operations_struct`: page faults |
//! | [`memory`] | `memremap`: the range |
//! | [`bad_memory`] | `mce_register_decode_chain`: memory of it that has gone bad |
//! | [`dax`], [`dma_buf`] | where a range can come from, too |
//! | [`sync`] | `rw_semaphore`, `memalloc_nofs` |
//! | [`system`] | time, randomness, capabilities, options of `/proc/mounts` |
//! | [`work`] | `delayed_work` |
//!
//! `helpers.c` has one line for each inline function and macro that is used.
//!
//! # What the file system and the VFS agree on
//!
//! - *Epochs*: what the VFS caches of a mount that others change too is right for one epoch. See
//!   [`dentry`].
//! - *Lives*: a mount that turns to another state, in which inode numbers mean other files, begins
//!   another life. Files opened before are stale.
//! - Files are used after their last name is gone; [`FileSystem::evict`] says when they are not any
//!   more.

#![no_std]

pub mod attr;
pub mod bad_memory;
pub mod context;
pub mod dax;
pub mod dentry;
#[cfg_attr(not(CONFIG_DMA_SHARED_BUFFER), path = "no_dma_buf.rs")]
pub mod dma_buf;
pub mod file;
mod helpers;
pub mod inode;
pub mod mapping;
pub mod memory;
pub mod namei;
pub mod readdir;
pub mod super_block;
pub mod sync;
pub mod system;
pub mod uio;
pub mod work;

use attr::{Attributes, Changes};
use context::{Context, Parameter, Value, Wrong};
use file::{Argument, File, Seek};
use inode::Inode;
use kernel::prelude::*;
use kernel::seq_file::SeqFile;
use kernel::str::CStr;
use kernel::sync::Arc;
use mapping::{Mapped, Place};
use memory::Frames;
use namei::{Made, New, Rename};
use readdir::Entries;
use super_block::{Statistics, SuperBlock};
use uio::{Destination, Source};

/// What messages to the kernel's log start with.
const __LOG_PREFIX: &[u8] = b"daxfs\0";

/// A file system; its values are mounts of it.
///
/// Operations on names run with the directories locked by the VFS, writing with the file locked. All
/// may wait, but those that say otherwise.
pub trait FileSystem: Send + Sync + Sized + 'static {
    /// What `/proc/filesystems` calls it.
    const NAME: &'static CStr;
    /// What `statfs` calls it.
    const MAGIC: u32;
    /// The longest name.
    const MAX_NAME: u32;
    /// The largest file.
    const MAX_FILE_SIZE: i64;
    /// The module it is in.
    type Module: kernel::ModuleMetadata;
    /// What is gathered from the parameters of a mount.
    type Options: Default + Send;

    /// Takes a parameter.
    fn parameter(
        options: &mut Self::Options,
        key: &[u8],
        value: &Value<'_>,
    ) -> Result<Parameter, Wrong>;
    /// Mounts. What is wrong is said to the context.
    fn mount(options: &Self::Options, context: &mut Context<Self>) -> Result<Arc<Self>>;
    /// Changes a mount.
    fn reconfigure(
        sb: &SuperBlock<Self>,
        options: &Self::Options,
        context: &mut Context<Self>,
    ) -> Result;
    /// Ends a mount: nothing of it is used any more.
    fn unmount(this: Arc<Self>);
    /// The root directory.
    fn root(sb: &SuperBlock<Self>) -> Result<Attributes>;
    /// Numbers for `statfs`.
    fn statistics(sb: &SuperBlock<Self>) -> Result<Statistics>;
    /// Makes everything written so far durable.
    fn sync(sb: &SuperBlock<Self>) -> Result;
    /// Writes the options that differ from the defaults, each behind a comma.
    fn show_options(sb: &SuperBlock<Self>, to: &SeqFile);
    /// An ioctl on any file or directory.
    fn ioctl(sb: &SuperBlock<Self>, command: u32, argument: &Argument) -> Result<i32>;

    /// Whether others may change what this mount shows at any time. Does not wait.
    fn is_follower(sb: &SuperBlock<Self>) -> bool;
    /// The epoch. Does not wait.
    fn epoch(sb: &SuperBlock<Self>) -> u64;
    /// The life. Does not wait.
    fn life(sb: &SuperBlock<Self>) -> usize;
    /// Finds out what others did; the epoch goes up if it was something.
    fn look(sb: &SuperBlock<Self>) -> Result;

    /// What a name refers to.
    fn lookup(dir: &Inode<Self>, name: &[u8]) -> Result<Option<Attributes>>;
    /// What `stat` says.
    fn attributes(inode: &Inode<Self>) -> Result<Attributes>;
    /// Changes attributes; says what they are then.
    fn set_attributes(inode: &Inode<Self>, changes: &Changes) -> Result<Attributes>;
    /// Makes a file, a directory or a special file.
    fn create(dir: &Inode<Self>, name: &[u8], new: &New) -> Result<Made>;
    /// Makes a symbolic link.
    fn symlink(dir: &Inode<Self>, name: &[u8], target: &[u8], new: &New) -> Result<Made>;
    /// The target of a symbolic link, copied into `into`; its length.
    fn read_link(inode: &Inode<Self>, into: &mut [u8]) -> Result<usize>;
    /// Removes a name of anything but a directory.
    fn unlink(dir: &Inode<Self>, name: &[u8]) -> Result<Made>;
    /// Removes an empty directory; says what its parent is then.
    fn rmdir(dir: &Inode<Self>, name: &[u8]) -> Result<Attributes>;
    /// Moves a name.
    fn rename(from: &Inode<Self>, old: &[u8], to: &Inode<Self>, new: &[u8], mode: Rename)
        -> Result;
    /// Gathers entries of a directory from behind `cookie` on, as many as there is room for.
    fn list(dir: &Inode<Self>, cookie: u64, entries: &mut Entries) -> Result;
    /// The VFS gives an inode up. If it has no name any more, its content may go.
    fn evict(inode: &Inode<Self>);

    /// Reads at most `len` bytes at `offset`; returns how many were put.
    fn read(file: &File<'_, Self>, offset: u64, len: u64, to: &mut Destination<'_>) -> Result<u64>;
    /// Writes at `offset`; returns how many bytes were written, and what the file is then.
    fn write(
        file: &File<'_, Self>,
        offset: u64,
        from: &mut Source<'_>,
    ) -> Result<(u64, Attributes)>;
    /// Makes the file at least `offset + len` bytes long, and gives the holes among these bytes space;
    /// says what the file is then.
    fn allocate(file: &File<'_, Self>, offset: u64, len: u64) -> Result<Attributes>;
    /// Makes data zeros, and no hole data; says what the file is then.
    fn zero(file: &File<'_, Self>, offset: u64, len: u64) -> Result<Attributes>;
    /// Makes a hole of data; says what the file is then.
    fn punch(file: &File<'_, Self>, offset: u64, len: u64) -> Result<Attributes>;
    /// The next data or hole.
    fn seek(file: &File<'_, Self>, offset: u64, wanted: Seek) -> Result<Option<u64>>;

    /// The files of this mount that were mapped.
    fn mapped(this: &Self) -> &Mapped;
    /// Calls `map` with where the page is, and at most `most` pages from it on, holding it there until
    /// `map` returns.
    fn locate(file: &File<'_, Self>, page: u64, most: u64, map: &mut dyn FnMut(Place)) -> Result;
    /// Makes a page one that may be stored to, and calls `map` with where it is, holding it there until
    /// `map` returns.
    fn own(file: &File<'_, Self>, page: u64, map: &mut dyn FnMut(Frames)) -> Result;
    /// The file may have been stored to through pages that [`Self::own`] gave: its times change, and
    /// these pages are taken out of page tables.
    fn stored(file: &File<'_, Self>) -> Result;
    /// Reads a page of a file; what is behind its end is zeros.
    fn read_page(file: &File<'_, Self>, page: u64, into: &mut [u8]) -> Result;
}
