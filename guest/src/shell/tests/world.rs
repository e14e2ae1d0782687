//! A small image in memory, and a system that remembers what it was told.

use crate::shell::Shell;
use crate::{Crash, Interrupts, Mapping, Memory, Protection, SharedRange, System};
use core::cell::Cell;
use core::time::Duration;
use daxfs::format::base::{
    self, BaseDirent, BaseFeatures, BaseInode, BaseSuperblock, FEATURES_MAGIC, INODE_SIZE,
};
use daxfs::format::branch::MAX_BRANCHES;
use daxfs::format::superblock::{self, Superblock};
use daxfs::format::{BLOCK_SIZE, VERSION};
use daxfs::std_platform::{MappedFile, StdPlatform};
use daxfs::{Access, BranchName, Mount, MountOptions, Region, RegionOffset, Timestamp};
use std::boxed::Box;
use std::string::String;
use std::sync::Arc;
use std::vec::Vec;
use zerocopy::{FromZeros, Immutable, IntoBytes};

/// Bytes of the range.
const SIZE: u64 = 8 << 20;
const BASE: u64 = 10 * BLOCK_SIZE;
const DELTA: u64 = 32 * BLOCK_SIZE;
/// Where the base's data area starts, from the base's start.
const DATA: u64 = 2 * BLOCK_SIZE;

/// The content of `/etc/hostname`.
pub const HOSTNAME: &[u8] = b"dax\n";

/// A writable image with
///
/// ```text
/// /etc/hostname    4 bytes
/// /etc/null        character device 1,3
/// /link            -> etc/hostname
/// ```
fn image() -> Region<MappedFile> {
    let region = Region::new(MappedFile::anonymous(SIZE).unwrap());
    let put = |at: u64, value: &dyn Fn() -> Vec<u8>| {
        region.copy_in(RegionOffset::new(at), &value()).unwrap();
    };
    fn bytes(value: &(impl IntoBytes + Immutable)) -> Vec<u8> {
        value.as_bytes().to_vec()
    }
    let mut superblock = Superblock::new_zeroed();
    superblock.magic = superblock::MAGIC.into();
    superblock.version = VERSION.into();
    superblock.block_size = (BLOCK_SIZE as u32).into();
    superblock.total_size = SIZE.into();
    superblock.base_offset = BASE.into();
    superblock.base_size = (DATA + 5 * BLOCK_SIZE).into();
    superblock.branch_table_offset = BLOCK_SIZE.into();
    superblock.branch_table_entries = MAX_BRANCHES.into();
    superblock.delta_region_offset = DELTA.into();
    superblock.delta_region_size = (SIZE - DELTA).into();
    put(0, &|| bytes(&superblock));

    let mut header = BaseSuperblock::new_zeroed();
    header.magic = base::MAGIC.into();
    header.version = VERSION.into();
    header.block_size = (BLOCK_SIZE as u32).into();
    header.total_size = superblock.base_size;
    header.inode_offset = BLOCK_SIZE.into();
    header.inode_count = 5.into();
    header.root_inode = 1.into();
    header.data_offset = DATA.into();
    header.features_magic = FEATURES_MAGIC.into();
    header.features = (BaseFeatures::SORTED | BaseFeatures::INODE_EXTRA).bits().into();
    put(BASE, &|| bytes(&header));

    let dirent = |ino: u32, mode: u32, name: &[u8]| {
        let mut dirent = BaseDirent::new_zeroed();
        dirent.ino = ino.into();
        dirent.mode = mode.into();
        dirent.name_len = (name.len() as u16).into();
        dirent.name[..name.len()].copy_from_slice(name);
        bytes(&dirent)
    };
    let (directory, file, device, link) = (0o040_755, 0o100_644, 0o020_666, 0o120_777);
    let root = [dirent(2, directory, b"etc"), dirent(5, link, b"link")].concat();
    let etc = [dirent(3, file, b"hostname"), dirent(4, device, b"null")].concat();
    let contents: [(u32, u32, &[u8], u64); 5] = [
        (directory, 3, &root, root.len() as u64),
        (directory, 2, &etc, etc.len() as u64),
        (file, 1, HOSTNAME, HOSTNAME.len() as u64),
        (device, 1, b"", 0),
        (link, 1, b"etc/hostname\0", 12),
    ];
    for (i, (mode, nlink, data, size)) in (0_u64..).zip(contents) {
        let mut inode = BaseInode::new_zeroed();
        inode.ino = (i as u32 + 1).into();
        inode.mode = mode.into();
        inode.nlink = nlink.into();
        inode.size = size.into();
        inode.mtime_sec = 1_000_000_000.into();
        if mode == device {
            inode.rdev = base::encode_dev(1, 3).into();
        } else {
            inode.data_offset = (DATA + i * BLOCK_SIZE).into();
            put(BASE + DATA + i * BLOCK_SIZE, &|| data.to_vec());
        }
        put(BASE + BLOCK_SIZE + i * INODE_SIZE, &|| bytes(&inode));
    }
    region
}

/// A system that remembers what it was told.
#[derive(Default)]
pub struct FakeSystem {
    pub printed: Vec<u8>,
    pub messages: Vec<u8>,
    pub crashed: Option<Crash>,
    /// After how many questions the operator interrupts.
    pub patience: Option<u32>,
    /// What the page tables are said to permit in the base.
    pub base_writable: bool,
    /// What the timer does besides counting.
    pub timer: Option<Box<dyn Fn()>>,
    /// The clock advances whenever it is looked at.
    time: Cell<u64>,
    stray: u64,
}

impl System for FakeSystem {
    fn output(&mut self, bytes: &[u8]) {
        self.printed.extend_from_slice(bytes);
    }
    fn message(&mut self, bytes: &[u8]) {
        self.messages.extend_from_slice(bytes);
    }
    fn interrupted(&mut self) -> bool {
        match &mut self.patience {
            Some(0) => true,
            Some(left) => {
                *left -= 1;
                false
            }
            None => false,
        }
    }
    fn uptime(&self) -> Duration {
        self.time.set(self.time.get() + 1);
        if let (Some(timer), 0) = (&self.timer, self.time.get() % 10) {
            timer();
        }
        Duration::from_millis(self.time.get())
    }
    fn counter(&self) -> u64 {
        self.uptime().as_nanos() as u64
    }
    fn now(&self) -> Timestamp {
        Timestamp::new(951_782_400, 0)
    }
    fn interrupts(&self) -> Interrupts {
        Interrupts { ticks: self.time.get() / 10, stray: self.stray }
    }
    fn raise_stray_interrupt(&mut self) -> bool {
        self.stray += 1;
        true
    }
    fn memory(&self) -> Memory {
        Memory { heap_size: 1 << 20, heap_used: 1 << 10, ..Memory::default() }
    }
    fn shared(&self) -> SharedRange {
        SharedRange { phys: 1 << 32, size: SIZE }
    }
    fn shared_protection(&self, at: RegionOffset) -> Option<Protection> {
        let base = (BASE..DELTA).contains(&at.get());
        Some(Protection { write: !base || self.base_writable, execute: false })
    }
    fn mappings(&self, emit: &mut dyn FnMut(&Mapping)) {
        let protection = Protection { write: false, execute: true };
        emit(&Mapping { virt: 1 << 21, phys: 1 << 21, len: 4096, protection, name: "code" });
    }
    fn crash(&mut self, how: Crash) {
        self.crashed = Some(how);
    }
}

/// A mounted image and a system.
pub struct World {
    pub mount: Arc<Mount<StdPlatform>>,
    pub system: FakeSystem,
}

impl World {
    /// With a branch of its own, as a guest has it.
    pub fn new() -> Self {
        Self::mounted(&MountOptions {
            branch: BranchName::new(b"guest"),
            access: Access::ReadWrite,
            keep: true,
            ..MountOptions::default()
        })
    }

    /// Mounted otherwise.
    pub fn mounted(options: &MountOptions) -> Self {
        let mount = Arc::new(Mount::new(StdPlatform, image(), options).unwrap());
        let heart = Arc::clone(&mount);
        let timer: Option<Box<dyn Fn()>> = Some(Box::new(move || heart.beat()));
        Self { mount, system: FakeSystem { timer, ..FakeSystem::default() } }
    }

    /// Runs a script; returns its status.
    pub fn run(&mut self, script: &str) -> u8 {
        self.system.printed.clear();
        self.system.messages.clear();
        Shell::new(&self.mount, &mut self.system).run_script(script.as_bytes())
    }

    /// Runs a script that has to succeed, silently; returns what it printed.
    #[track_caller]
    pub fn ok(&mut self, script: &str) -> String {
        let status = self.run(script);
        assert_eq!((status, self.messages().as_str()), (0, ""), "{script}");
        String::from_utf8(self.system.printed.clone()).unwrap()
    }

    /// Runs a script that has to fail with this status; returns what it said.
    #[track_caller]
    pub fn fails(&mut self, status: u8, script: &str) -> String {
        assert_eq!(self.run(script), status, "{script}");
        self.messages()
    }

    fn messages(&self) -> String {
        String::from_utf8(self.system.messages.clone()).unwrap()
    }
}
