// SPDX-License-Identifier: GPL-2.0

//! A mount, and what the VFS asks of it.

use crate::control;
use crate::error::{errno, IntoKernel, Reason};
use crate::options::{Ending, Options};
use crate::platform::{Linux, Shared};
use crate::range::{LinuxRange, Reader, Writer};
use daxfs::{
    Access, Changing, Ino, Mount, NewInode, Pages, Region, RenameMode, SetAttributes, Timestamp,
};
use kernel::prelude::*;
use kernel::seq_file::SeqFile;
use kernel::static_lock_class;
use kernel::str::{BStr, CStr, CString};
use kernel::sync::{Arc, UniqueArc};
use vfs::attr::{Attributes, Changes, Time};
use vfs::bad_memory::{self, FrameNumbers, Watch, Watcher};
use vfs::context::{Context, Parameter, Value, Wrong};
use vfs::dax::DaxDevice;
use vfs::file::{Argument, File, Seek};
use vfs::inode::Inode;
use vfs::mapping::{Mapped, Place};
use vfs::memory::{Frames, MemoryRange, Refused};
use vfs::namei::{Made, New, Rename};
use vfs::readdir::{Entries, Entry};
use vfs::super_block::{Statistics, SuperBlock};
use vfs::sync::RwSemaphore;
use vfs::system;
use vfs::uio::{Destination, Source};
use vfs::work::{Periodic, Work};
use vfs::FileSystem;

/// Bytes of a page.
const PAGE: u64 = daxfs::format::BLOCK_SIZE;

/// How often a mount shows that it lives, per lease.
const BEATS: u64 = 6;

/// A mounted image.
pub(crate) struct Daxfs {
    engine: Mount<Linux>,
    shared: Arc<Shared>,
    options: Options,
    /// Numbers up to this are files of the base image, whatever branch the mount is on.
    base_inodes: u64,
    company: RwSemaphore<Option<Company>>,
}

/// What runs beside the operations of a mount, as long as it is there.
struct Company {
    _heartbeat: Option<Periodic<Daxfs>>,
    _watcher: Watcher<Daxfs>,
}

impl Work for Daxfs {
    fn run(&self) {
        // Whether the branch has ended is told to whoever uses it.
        let _ = self.engine.tick(system::monotonic_ms());
    }
}

impl Watch for Daxfs {
    const PRIORITY: i32 = bad_memory::MOUNTS;

    fn gone_bad(&self, frames: &FrameNumbers) {
        if let Some(offset) = self.range().offset_of(frames) {
            pr_err!(
                "memory has gone bad at {:#x} of the range: using it is an I/O error\n",
                offset
            );
            self.engine.damaged();
        }
    }
}

impl Company {
    /// Begins what runs beside a mount.
    fn of(mount: &Arc<Daxfs>) -> Result<Self> {
        let heartbeat = mount.engine.lease_ms().map(|lease| {
            let interval = u32::try_from((lease / BEATS).max(1)).unwrap_or(u32::MAX);
            Periodic::start(mount.clone(), interval)
        });
        Ok(Self { _heartbeat: heartbeat.transpose()?, _watcher: Watcher::new(mount.clone())? })
    }
}

impl Daxfs {
    /// The engine's mount.
    pub(crate) fn engine(&self) -> &Mount<Linux> {
        &self.engine
    }

    /// Whether this mount may not write to the branch it is on.
    pub(crate) fn is_read_only(&self) -> bool {
        self.engine.info().access == Access::ReadOnly
    }

    fn range(&self) -> &MemoryRange {
        self.engine.volume().region().backing().memory()
    }

    /// What the VFS is told about an inode.
    fn told(&self, of: &daxfs::Attributes) -> Attributes {
        let time = |time: Timestamp| Time { seconds: time.sec, nanoseconds: time.nsec };
        let ino = of.ino.get();
        Attributes {
            ino,
            generation: if ino <= self.base_inodes { 0 } else { self.shared.life() as u32 },
            mode: of.mode,
            uid: of.uid,
            gid: of.gid,
            size: of.size,
            nlink: of.nlink,
            rdev: of.rdev,
            atime: time(of.atime),
            mtime: time(of.mtime),
            ctime: time(of.ctime),
            blocks: of.blocks,
        }
    }

    /// The engine's number of an inode, unless it is one of a branch that the mount has left. With the
    /// engine's lock held, this does not change.
    fn ino(&self, inode: &Inode<Self>) -> daxfs::Result<Ino> {
        match inode.generation() {
            0 => {}
            life if life == self.shared.life() as u32 => {}
            _ => return Err(daxfs::Error::Stale),
        }
        Ok(Ino::new(inode.ino()))
    }

    /// Changes something about an inode.
    fn change<R>(
        &self,
        inode: &Inode<Self>,
        change: impl FnOnce(&mut Changing<'_, Linux>, Ino) -> daxfs::Result<R>,
    ) -> Result<R> {
        // Who has lost its branch is told that, and not that the mount only looks at another.
        self.ino(inode).errno()?;
        self.engine.changing(|changing| change(changing, self.ino(inode)?)).errno()
    }

    /// The engine's number of an open file's inode, which [`Self::check`] is to be asked about.
    fn number(file: &File<'_, Self>) -> Ino {
        Ino::new(file.inode().ino())
    }

    /// The same, having asked once: see [`Self::change`].
    fn open(&self, file: &File<'_, Self>) -> Result<Ino> {
        self.check(file).errno()?;
        Ok(Self::number(file))
    }

    /// Whether an open file is one of the branch that the mount is on. With the engine's lock held, this
    /// does not change.
    fn check(&self, file: &File<'_, Self>) -> daxfs::Result<()> {
        if file.life() == self.shared.life() {
            Ok(())
        } else {
            Err(daxfs::Error::Stale)
        }
    }

    /// Maps the range that the options or the source name.
    fn map(options: &Options, context: &Context<Self>) -> Result<MemoryRange> {
        let (phys, size) = (options.parsed().phys, options.parsed().size);
        let device = context.source().filter(|source| source.starts_with(b"/"));
        let mapped = match (phys, options.buffer(), device) {
            (Some(phys), None, _) => {
                let Some(size) = size else {
                    context.error(fmt!("size= is missing: how large is the range at {phys:#x}?"));
                    return Err(EINVAL);
                };
                MemoryRange::physical(phys, size)
            }
            (None, Some(buffer), _) => {
                let mapped = buffer.map().inspect_err(|_| {
                    context.error(fmt!("the dma-buf cannot be mapped by this kernel"));
                })?;
                MemoryRange::buffer(mapped)
            }
            (None, None, Some(path)) => {
                let name = CString::try_from_fmt(fmt!("{}", BStr::from_bytes(path)))?;
                let device = DaxDevice::open(&name).inspect_err(|_| {
                    context.error(fmt!("{} is no DAX device", BStr::from_bytes(path)));
                })?;
                MemoryRange::device(device, size)
            }
            (None, None, None) => {
                context.error(fmt!("where is the image? phys= and size=, dmabuf, or a DAX device"));
                return Err(EINVAL);
            }
            (Some(_), Some(_), _) => {
                context.error(fmt!("phys= and dmabuf: the image is in one place only"));
                return Err(EINVAL);
            }
        };
        mapped.map_err(|refused| {
            let (why, error) = match refused {
                Refused::Misaligned => {
                    ("address and size are multiples of 4096, size not 0", EINVAL)
                }
                Refused::Beyond => {
                    ("it is not all there, or this processor cannot address it", EINVAL)
                }
                Refused::InUse => ("it is memory that this kernel uses", EBUSY),
                Refused::NoMapping => ("it cannot be mapped", ENOMEM),
            };
            context.error(fmt!("range: {why}"));
            error
        })
    }
}

impl FileSystem for Daxfs {
    const NAME: &'static CStr = c"daxfs";
    const MAGIC: u32 = daxfs::format::superblock::MAGIC;
    const MAX_NAME: u32 = daxfs::format::NAME_MAX as u32;
    const MAX_FILE_SIZE: i64 = daxfs::MAX_FILE_SIZE as i64;
    type Module = crate::DaxfsModule;
    type Options = Options;

    fn parameter(options: &mut Options, key: &[u8], value: &Value<'_>) -> Result<Parameter, Wrong> {
        options.set(key, value)
    }

    fn mount(options: &Options, context: &mut Context<Self>) -> Result<Arc<Self>> {
        if options.ending().is_some() {
            context.error(fmt!("commit and abort are for remounts"));
            return Err(EINVAL);
        }
        let memory = Arc::new(Self::map(options, context)?, GFP_KERNEL)?;
        let shared = Arc::new(Shared::new()?, GFP_KERNEL)?;
        let region = Region::new(LinuxRange::new(memory, true));
        let region = region.on(options.parsed().persistence);
        let wanted = options.for_engine(context);
        let company = RwSemaphore::new(None, c"daxfs_company", static_lock_class!())?;
        let options = options.for_mount();
        // From here on the image knows of the mount: nothing fails without taking that back. And the
        // mount is where it stays before it is filled, because it is too large for a stack.
        let place = UniqueArc::new_uninit(GFP_KERNEL)?;
        let mut refused = |error: daxfs::Error| {
            context.error(fmt!("{}", Reason(&error)));
            errno(&error)
        };
        let engine =
            Mount::prepare(Linux(shared.clone()), region, &wanted).map_err(&mut refused)?;
        let base_inodes = u64::from(engine.volume().base().inode_count());
        let this = Self { engine, shared, options, base_inodes, company };
        let this = Arc::<Self>::from(place.write(this));
        this.engine.enter(&wanted).map_err(&mut refused)?;
        let company = Company::of(&this).inspect_err(|_| {
            // The error is the one to tell.
            let _ = this.engine.leave();
        })?;
        *this.company.write() = Some(company);
        if this.is_read_only() {
            context.set_read_only();
        }
        Ok(this)
    }

    fn reconfigure(
        sb: &SuperBlock<Self>,
        options: &Options,
        context: &mut Context<Self>,
    ) -> Result {
        let fs = sb.data();
        let branch = fs.engine.info().branch;
        if let Err(what) = fs.options.admits(options, branch.as_ref()) {
            context.error(fmt!("{what}"));
            return Err(EINVAL);
        }
        let ended = match options.ending() {
            Some(Ending::Commit) => fs.engine.commit(),
            Some(Ending::Abort) => fs.engine.abort(),
            None => {
                if !context.is_read_only() && fs.is_read_only() && context.asks_for_writing() {
                    context.error(fmt!("a mount that looks only cannot be made a writer"));
                    return Err(EROFS);
                }
                fs.engine.sync()
            }
        };
        if let Err(error) = ended {
            context.error(fmt!("{}", Reason(&error)));
            return Err(errno(&error));
        }
        if fs.is_read_only() {
            context.set_read_only();
            sb.set_read_only_reconfiguring(true);
        }
        Ok(())
    }

    fn unmount(this: Arc<Self>) {
        // Waits for a beat to end, and for a report.
        drop(this.company.write().take());
        if let Err(error) = this.engine.leave() {
            pr_warn!("unmount: {}\n", Reason(&error));
        }
    }

    fn root(sb: &SuperBlock<Self>) -> Result<Attributes> {
        let fs = sb.data();
        fs.engine.getattr(Ino::ROOT).map(|root| fs.told(&root)).errno()
    }

    fn statistics(sb: &SuperBlock<Self>) -> Result<Statistics> {
        let fs = sb.data();
        let stat = fs.engine.statfs().errno()?;
        Ok(Statistics {
            id: fs.range().id() ^ fs.engine.info().branch_id.map_or(0, |id| id.get()),
            block_size: stat.block_size,
            blocks: stat.total_blocks,
            free: stat.free_blocks,
            files: stat.files,
        })
    }

    fn sync(sb: &SuperBlock<Self>) -> Result {
        sb.data().engine.sync().errno()
    }

    fn show_options(sb: &SuperBlock<Self>, to: &SeqFile) {
        let fs = sb.data();
        let branch = fs.engine.info().branch;
        fs.options.show(branch.as_ref().map(|branch| branch.as_bytes()), to);
    }

    fn ioctl(sb: &SuperBlock<Self>, command: u32, argument: &Argument) -> Result<i32> {
        control::ioctl(sb, command, argument)
    }

    fn is_follower(sb: &SuperBlock<Self>) -> bool {
        sb.is_read_only()
    }

    fn epoch(sb: &SuperBlock<Self>) -> u64 {
        sb.data().shared.epoch()
    }

    fn life(sb: &SuperBlock<Self>) -> usize {
        sb.data().shared.life()
    }

    fn look(sb: &SuperBlock<Self>) -> Result {
        sb.data().engine.look().errno()
    }

    fn lookup(dir: &Inode<Self>, name: &[u8]) -> Result<Option<Attributes>> {
        let fs = dir.super_block().data();
        let found = fs.engine.looking(|look| {
            let found = look.lookup(fs.ino(dir)?, name)?;
            Ok(fs.told(&found))
        });
        match found {
            Ok(found) => Ok(Some(found)),
            Err(daxfs::Error::NotFound) => Ok(None),
            Err(error) => Err(errno(&error)),
        }
    }

    fn attributes(inode: &Inode<Self>) -> Result<Attributes> {
        let fs = inode.super_block().data();
        let told = fs.engine.looking(|look| {
            let found = look.getattr(fs.ino(inode)?)?;
            Ok(fs.told(&found))
        });
        told.errno()
    }

    fn set_attributes(inode: &Inode<Self>, changes: &Changes) -> Result<Attributes> {
        let fs = inode.super_block().data();
        let time = |time: Time| Timestamp::new(time.seconds, time.nanoseconds);
        let changes = SetAttributes {
            mode: changes.mode,
            uid: changes.uid,
            gid: changes.gid,
            size: changes.size,
            atime: changes.atime.map(time),
            mtime: changes.mtime.map(time),
        };
        fs.change(inode, |change, ino| change.setattr(ino, &changes).map(|now| fs.told(&now)))
    }

    fn create(dir: &Inode<Self>, name: &[u8], new: &New) -> Result<Made> {
        let fs = dir.super_block().data();
        let new = NewInode { mode: new.mode, uid: new.uid, gid: new.gid, rdev: new.rdev };
        fs.change(dir, |change, dir| {
            let made = change.create(dir, name, &new)?;
            Ok(Made { inode: fs.told(&made), dir: fs.told(&change.look().getattr(dir)?) })
        })
    }

    fn symlink(dir: &Inode<Self>, name: &[u8], target: &[u8], new: &New) -> Result<Made> {
        let fs = dir.super_block().data();
        fs.change(dir, |change, dir| {
            let made = change.symlink(dir, name, target, (new.uid, new.gid))?;
            Ok(Made { inode: fs.told(&made), dir: fs.told(&change.look().getattr(dir)?) })
        })
    }

    fn read_link(inode: &Inode<Self>, into: &mut [u8]) -> Result<usize> {
        let fs = inode.super_block().data();
        fs.engine.looking(|look| look.readlink(fs.ino(inode)?, into)).errno()
    }

    fn unlink(dir: &Inode<Self>, name: &[u8]) -> Result<Made> {
        let fs = dir.super_block().data();
        fs.change(dir, |change, dir| {
            let removed = change.unlink(dir, name)?;
            let look = change.look();
            Ok(Made { inode: fs.told(&look.getattr(removed)?), dir: fs.told(&look.getattr(dir)?) })
        })
    }

    fn rmdir(dir: &Inode<Self>, name: &[u8]) -> Result<Attributes> {
        let fs = dir.super_block().data();
        fs.change(dir, |change, dir| {
            change.rmdir(dir, name)?;
            Ok(fs.told(&change.look().getattr(dir)?))
        })
    }

    fn rename(
        from: &Inode<Self>,
        old: &[u8],
        to: &Inode<Self>,
        new: &[u8],
        mode: Rename,
    ) -> Result {
        let fs = from.super_block().data();
        let mode = match mode {
            Rename::Replace => RenameMode::Replace,
            Rename::NoReplace => RenameMode::NoReplace,
            Rename::Exchange => RenameMode::Exchange,
        };
        fs.change(from, |change, from| change.rename((from, old), (fs.ino(to)?, new), mode))
    }

    fn list(dir: &Inode<Self>, cookie: u64, entries: &mut Entries) -> Result {
        let fs = dir.super_block().data();
        let mut push = |entry: &daxfs::DirEntry<'_>| {
            entries.push(&Entry {
                name: entry.name,
                ino: entry.ino.get(),
                mode: entry.kind.mode_bits(),
                next: entry.next,
            })
        };
        fs.engine.looking(|look| look.readdir(fs.ino(dir)?, cookie, &mut push)).errno()
    }

    fn evict(inode: &Inode<Self>) {
        if inode.nlink() > 0 || inode.is_directory() {
            return;
        }
        let fs = inode.super_block().data();
        // If it cannot be done, the next owner of the branch does it.
        let _ = fs.engine.forget(Ino::new(inode.ino()), || fs.ino(inode).map(|_| ()));
    }

    fn read(file: &File<'_, Self>, offset: u64, len: u64, to: &mut Destination<'_>) -> Result<u64> {
        let fs = file.inode().super_block().data();
        let mut to = Reader { memory: fs.range(), to };
        let read = fs.engine.looking(|look| {
            fs.check(file)?;
            look.read_to(Self::number(file), offset, len, &mut to)
        });
        read.errno()
    }

    fn write(
        file: &File<'_, Self>,
        offset: u64,
        from: &mut Source<'_>,
    ) -> Result<(u64, Attributes)> {
        let fs = file.inode().super_block().data();
        let mut from = Writer { memory: fs.range(), from, check: || fs.check(file) };
        let written = fs.engine.write_from(Self::number(file), offset, &mut from);
        written.map(|(count, now)| (count, fs.told(&now))).errno()
    }

    fn allocate(file: &File<'_, Self>, offset: u64, len: u64) -> Result<Attributes> {
        let fs = file.inode().super_block().data();
        let now = fs.engine.allocate(fs.open(file)?, offset, len, &|| fs.check(file));
        now.map(|now| fs.told(&now)).errno()
    }

    fn zero(file: &File<'_, Self>, offset: u64, len: u64) -> Result<Attributes> {
        let fs = file.inode().super_block().data();
        let now = fs.engine.zero(fs.open(file)?, offset, len, &|| fs.check(file));
        now.map(|now| fs.told(&now)).errno()
    }

    fn punch(file: &File<'_, Self>, offset: u64, len: u64) -> Result<Attributes> {
        let fs = file.inode().super_block().data();
        let now = fs.engine.punch(fs.open(file)?, offset, len, &|| fs.check(file));
        now.map(|now| fs.told(&now)).errno()
    }

    fn seek(file: &File<'_, Self>, offset: u64, wanted: Seek) -> Result<Option<u64>> {
        let fs = file.inode().super_block().data();
        let wanted = match wanted {
            Seek::Data => daxfs::Seek::Data,
            Seek::Hole => daxfs::Seek::Hole,
        };
        let found = fs.engine.looking(|look| {
            fs.check(file)?;
            look.seek(Self::number(file), offset, wanted)
        });
        found.errno()
    }

    fn mapped(this: &Self) -> &Mapped {
        &this.shared.mapped
    }

    fn locate(file: &File<'_, Self>, page: u64, most: u64, map: &mut dyn FnMut(Place)) -> Result {
        let fs = file.inode().super_block().data();
        let located = fs.engine.looking(|look| {
            fs.check(file)?;
            look.with_pages(Self::number(file), page, most, |pages| {
                map(match pages {
                    Pages::At { at, pages } => Place::Frames(fs.range().frames(at.get(), pages)?),
                    Pages::Hole { .. } => Place::Hole,
                    Pages::Pieces => Place::Pieces,
                    Pages::End => return Err(EFAULT),
                });
                Ok(())
            })
        });
        located.errno()?
    }

    fn own(file: &File<'_, Self>, page: u64, map: &mut dyn FnMut(Frames)) -> Result {
        let fs = file.inode().super_block().data();
        let owned = fs.engine.own_page(
            Self::number(file),
            page,
            || fs.check(file),
            |at| fs.range().frames(at.get(), 1).map(map),
        );
        owned.errno()?
    }

    fn stored(file: &File<'_, Self>) -> Result {
        let fs = file.inode().super_block().data();
        fs.engine.stored(fs.open(file)?, || fs.check(file)).errno()
    }

    fn read_page(file: &File<'_, Self>, page: u64, into: &mut [u8]) -> Result {
        let fs = file.inode().super_block().data();
        let offset = page.checked_mul(PAGE).ok_or(EFAULT)?;
        let read = fs.engine.looking(|look| {
            fs.check(file)?;
            look.read(Self::number(file), offset, into)
        });
        let read = read.errno()?;
        if read == 0 {
            return Err(EFAULT);
        }
        into.get_mut(read..).unwrap_or(&mut []).fill(0);
        Ok(())
    }
}
