//! An image that members race on, and what has to hold when they are done.

use crate::builder::{ImageBuilder, Kind};
use crate::image::{TestMount, name, problems, read_write};
use crate::racer::{ARENA, Event, Racer, State};
use daxfs::std_platform::{MappedFile, StdPlatform};
use daxfs::{Access, Ino, MemberState, Mount, MountOptions, NewInode, Region, Volume};
use daxfs_format::extension::{EXTENSION_OFFSET, ExtensionHeader};
use std::collections::BTreeMap;
use std::fs::File;

/// An image with a branch `arena` that nobody owns, in a file of memory.
pub struct Arena {
    file: File,
}

impl Arena {
    /// A fresh arena with a delta region of `delta` bytes, whose members are taken for dead after
    /// `lease_ms`.
    ///
    /// # Panics
    ///
    /// If the engine cannot do that.
    #[must_use]
    pub fn new(delta: u64, lease_ms: u32) -> Self {
        let mut image = ImageBuilder::new(Kind::Segmented).roomy(delta).build();
        let mut header: ExtensionHeader = image.get(EXTENSION_OFFSET);
        header.lease_ms = lease_ms.into();
        image.put(EXTENSION_OFFSET, &header);
        let arena = Self { file: image.file() };
        let mount = arena.mount(&read_write(Some(ARENA)));
        let new = NewInode { mode: 0o100_600, uid: 0, gid: 0, rdev: 0 };
        let ino = mount.create(Ino::ROOT, b".state", &new).expect("a first file").ino;
        let mut racer = Racer::new(&arena.file, "start", 0);
        let text = format!("0 {}\n", racer.digest_of(&mount));
        mount.write(ino, 0, text.as_bytes()).expect("room for a line");
        mount.unmount().expect("the first state is kept");
        arena
    }

    /// The file, for members to map.
    #[must_use]
    pub const fn file(&self) -> &File {
        &self.file
    }

    fn region(&self) -> Region<MappedFile> {
        Region::new(MappedFile::new(&self.file, true).expect("mapping the image"))
    }

    /// Mounts the image.
    ///
    /// # Panics
    ///
    /// If it cannot be mounted.
    #[must_use]
    pub fn mount(&self, options: &MountOptions) -> TestMount {
        Mount::new(StdPlatform, self.region(), options).expect("mounting the arena")
    }

    /// The image, not mounted.
    ///
    /// # Panics
    ///
    /// If it is none.
    #[must_use]
    pub fn volume(&self) -> Volume<StdPlatform> {
        Volume::open(StdPlatform, self.region()).expect("an image")
    }

    /// Cleans up after the member called `title`, of which the caller knows that it has ended.
    ///
    /// # Panics
    ///
    /// If that fails.
    pub fn reap(&self, title: &str) {
        let volume = self.volume();
        let mut found = Vec::new();
        let mut look = |info: &daxfs::MemberInfo| {
            let text = info.identity.name.split(|&byte| byte == 0).next();
            if text == Some(title.as_bytes()) {
                found.push(info.index);
            }
        };
        volume.members(&mut look).expect("members can be listed");
        for member in found {
            volume.reap(member).expect("a member that ended can be reaped");
        }
    }

    /// Checks, when no member is left, that no commit was lost and nothing else is left of them.
    /// `events` are all that they told. Returns the last state.
    ///
    /// # Panics
    ///
    /// If it was.
    pub fn check(&self, events: &[Event]) -> State {
        let members = {
            let mut states = Vec::new();
            let mut look = |info: &daxfs::MemberInfo| states.push((info.identity, info.state));
            self.volume().members(&mut look).expect("members can be listed");
            states
        };
        assert_eq!(members, [], "members that ended have left");
        assert_eq!(problems(&self.region()), [] as [String; 0]);

        let mut committed = BTreeMap::new();
        let mut tried: BTreeMap<u64, Vec<&State>> = BTreeMap::new();
        for event in events {
            match event {
                Event::Trying(state) => tried.entry(state.number).or_default().push(state),
                Event::Committed(state) => {
                    let other = committed.insert(state.number, state);
                    assert_eq!(other, None, "two commits made state {}", state.number);
                }
                Event::Lost => {}
            }
        }
        let look = MountOptions {
            branch: Some(name("check")),
            parent: Some(name(ARENA)),
            access: Access::ReadWrite,
            ..Default::default()
        };
        let mount = self.mount(&look);
        let last = Racer::new(&self.file, "check", 0).state(&mount).expect("nobody is in the way");
        mount.unmount().expect("the branch is discarded");
        for number in 1..=last.number {
            // Who was killed in its commit may not have told that it got through.
            let known = committed.contains_key(&number) || tried.contains_key(&number);
            assert!(known, "nobody made state {number}");
        }
        let newest = committed.keys().last().copied().unwrap_or(0);
        assert!(newest <= last.number, "state {newest} was lost; {} is there", last.number);
        let made = committed.get(&last.number).copied();
        let made = made.or_else(|| tried.get(&last.number)?.iter().find(|s| ***s == last).copied());
        assert!(last.number == 0 || made == Some(&last), "{last:?} is nobody's, {made:?} was made");
        self.check_space();
        last
    }

    /// Everything but what the two branches say is free.
    fn check_space(&self) {
        let volume = self.volume();
        let mut names = Vec::new();
        volume.branches(&mut |branch| names.push(branch.name.to_string())).expect("branches");
        names.sort();
        assert_eq!(names, [ARENA, "main"], "branches of members have ended");
        let mount = self.mount(&read_write(Some(ARENA)));
        mount.compact().expect("room for a snapshot");
        mount.tick(1).expect("alive");
        let stat = mount.statfs().expect("statfs");
        let files = mount.info().changed_inodes as u32;
        mount.unmount().expect("kept");
        // A segment or two of log; and files are shorter than a segment, so that each lies in two at
        // most for each time that it was written to.
        let used = stat.segments_total - stat.segments_free;
        let most = 2 + 2 * files;
        assert!(used <= most, "{used} segments are in use, for a tree that needs {most}");
    }

    /// Whether a member called `title` is in the table, and in which state.
    ///
    /// # Panics
    ///
    /// If the table cannot be read.
    #[must_use]
    pub fn member(&self, title: &str) -> Option<MemberState> {
        let mut state = None;
        let mut look = |info: &daxfs::MemberInfo| {
            if info.identity.name.split(|&byte| byte == 0).next() == Some(title.as_bytes()) {
                state = Some(info.state);
            }
        };
        self.volume().members(&mut look).expect("members can be listed");
        state
    }
}
