//! The operations, each with what comes before it.

use crate::World;
use daxfs::{FileType, Ino, NewInode, RenameMode, Result, SetAttributes};
use daxfs_tests::builder::ino;
use daxfs_tests::image::{TestMount, name, read_write};

/// An operation.
pub struct Case {
    pub name: &'static str,
    /// What comes before it.
    pub prepare: fn(&World) -> Result<()>,
    pub act: fn(&World) -> Result<()>,
    /// Whether a part of it may have happened when memory is short.
    pub may_stop_between: bool,
}

const fn case(name: &'static str, act: fn(&World) -> Result<()>) -> Case {
    Case { name, prepare: some_files, act, may_stop_between: false }
}

const fn long(name: &'static str, act: fn(&World) -> Result<()>) -> Case {
    Case { may_stop_between: true, ..case(name, act) }
}

const fn after(
    name: &'static str,
    prepare: fn(&World) -> Result<()>,
    act: fn(&World) -> Result<()>,
) -> Case {
    Case { prepare, ..case(name, act) }
}

fn new(kind: FileType) -> NewInode {
    NewInode { mode: kind.mode_bits() | 0o640, uid: 1, gid: 2, rdev: 0 }
}

/// Makes an empty file.
pub fn make(mount: &TestMount, name: &[u8]) -> Result<()> {
    mount.create(Ino::ROOT, name, &new(FileType::Regular)).map(|_| ())
}

/// Makes a file with pages, a directory and a link.
fn some_files(world: &World) -> Result<()> {
    let mount = world.mount();
    let file = mount.create(Ino::ROOT, b"made", &new(FileType::Regular))?.ino;
    mount.write(file, 0, &[1; 20_000])?;
    let dir = mount.create(Ino::ROOT, b"folder", &new(FileType::Directory))?.ino;
    mount.create(dir, b"inner", &new(FileType::Regular))?;
    mount.symlink(Ino::ROOT, b"pointer", b"made", 1, 2).map(|_| ())
}

/// Many names and pages: tables are about to grow.
fn many_files(world: &World) -> Result<()> {
    some_files(world)?;
    let mount = world.mount();
    for i in 0..60 {
        let file =
            mount.create(Ino::ROOT, format!("f{i}").as_bytes(), &new(FileType::Regular))?.ino;
        mount.write(file, i * 4096, &[2; 5000])?;
    }
    Ok(())
}

/// A child branch that has changed something.
fn a_child(world: &World) -> Result<()> {
    some_files(world)?;
    world.mount().create_branch(&name("child"), None)?;
    anything_else(world.mount())
}

/// A branch beside, and one nobody writes to.
fn others(world: &World) -> Result<()> {
    some_files(world)?;
    world.volume()?.create_branch(&name("other"), &name("main")).map(|_| ())
}

/// The same, with a child.
fn others_child(world: &World) -> Result<()> {
    others(world)?;
    world.volume()?.create_branch(&name("leaf"), &name("other")).map(|_| ())
}

/// Somebody has died with a branch; its heartbeat was seen.
fn a_death(world: &World) -> Result<()> {
    some_files(world)?;
    let options = daxfs::MountOptions { keep: false, exclusive: false, ..read_write(Some("dead")) };
    let dead = world.scratch().mount(&options)?;
    anything_else(&dead)?;
    world.mount().tick(1)?;
    drop(dead);
    Ok(())
}

/// Another mount has changed a branch's parent.
fn a_commit_below(world: &World) -> Result<()> {
    some_files(world)?;
    let mount = world.mount();
    mount.create_branch(&name("child"), None)?;
    anything_else(mount)?;
    mount.commit()
}

fn find(mount: &TestMount, path: &str) -> Result<Ino> {
    mount.resolve(path.as_bytes(), daxfs::LastLink::Keep).map(|found| found.ino)
}

fn set(world: &World, ino: Ino, changes: SetAttributes) -> Result<()> {
    world.mount().setattr(ino, &changes).map(|_| ())
}

/// Something that is none of the cases, to see that the mount goes on.
pub fn anything_else(mount: &TestMount) -> Result<()> {
    let file = match mount.lookup(Ino::ROOT, b"else") {
        Ok(found) => found.ino,
        Err(_) => mount.create(Ino::ROOT, b"else", &new(FileType::Regular))?.ino,
    };
    mount.write(file, 5000, b"else")?;
    mount.write(Ino::new(ino::DIR_SUB_DEEP), 1, b"DEEP")?;
    mount.rename(Ino::ROOT, b"else", Ino::ROOT, b"moved", RenameMode::Replace)?;
    mount.rename(Ino::ROOT, b"moved", Ino::ROOT, b"else", RenameMode::Replace)
}

/// All of them.
pub const CASES: &[Case] = &[
    case("create", |w| w.mount().create(Ino::ROOT, b"new", &new(FileType::Regular)).map(|_| ())),
    case("create in a base directory", |w| {
        w.mount().create(Ino::new(ino::DIR_SUB), b"new", &new(FileType::Fifo)).map(|_| ())
    }),
    after("create among many", many_files, |w| {
        w.mount().create(Ino::ROOT, b"new", &new(FileType::Regular)).map(|_| ())
    }),
    case("mkdir", |w| w.mount().create(Ino::ROOT, b"new", &new(FileType::Directory)).map(|_| ())),
    case("symlink", |w| w.mount().symlink(Ino::ROOT, b"new", &[b't'; 3000], 1, 2).map(|_| ())),
    case("write over", |w| w.mount().write(find(w.mount(), "/made")?, 10, b"over").map(|_| ())),
    case("write behind", |w| w.mount().write(find(w.mount(), "/made")?, 90_000, b"x").map(|_| ())),
    case("write to a base file", |w| {
        w.mount().write(Ino::new(ino::DIR_FILE), 5000, b"x").map(|_| ())
    }),
    long("write much", |w| {
        w.mount().write(find(w.mount(), "/folder/inner")?, 100, &[3; 600_000]).map(|_| ())
    }),
    case("append", |w| w.mount().append(find(w.mount(), "/made")?, &[4; 9000]).map(|_| ())),
    case("a store through a mapping", |w| {
        w.mount().own_page(Ino::new(ino::DIR_FILE), 1, || Ok(()), |_| ())
    }),
    case("truncate", |w| {
        let size = Some(5);
        set(w, find(w.mount(), "/made")?, SetAttributes { size, ..Default::default() })
    }),
    case("punch", |w| {
        w.mount().punch(find(w.mount(), "/made")?, 5000, 20_000, &|| Ok(())).map(|_| ())
    }),
    case("punch the end of a base file", |w| {
        w.mount().punch(Ino::new(ino::DIR_FILE), 0, 1 << 20, &|| Ok(())).map(|_| ())
    }),
    case("grow", |w| {
        let size = Some(1 << 30);
        set(w, Ino::new(ino::DIR_SUB_DEEP), SetAttributes { size, ..Default::default() })?;
        let size = Some(5);
        set(w, Ino::new(ino::DIR_SUB_DEEP), SetAttributes { size, ..Default::default() })
    }),
    case("chmod of a base file", |w| {
        let mode = Some(0o600);
        set(w, Ino::new(ino::DEVICE), SetAttributes { mode, ..Default::default() })
    }),
    case("unlink", |w| w.mount().unlink(Ino::ROOT, b"made")),
    case("unlink of a base file", |w| w.mount().unlink(Ino::new(ino::DIR), b"file")),
    case("rmdir of a base directory", |w| w.mount().rmdir(Ino::ROOT, b"emptydir")),
    case("rename", |w| {
        let folder = find(w.mount(), "/folder")?;
        w.mount().rename(Ino::ROOT, b"made", folder, b"new", RenameMode::Replace)
    }),
    case("rename over a base file", |w| {
        w.mount().rename(Ino::ROOT, b"made", Ino::new(ino::DIR), b"file", RenameMode::Replace)
    }),
    case("rename of a base directory", |w| {
        let folder = find(w.mount(), "/folder")?;
        w.mount().rename(Ino::new(ino::DIR), b"sub", folder, b"sub", RenameMode::NoReplace)
    }),
    case("exchange", |w| {
        let root = Ino::ROOT;
        w.mount().rename(root, b"made", Ino::new(ino::DIR), b"sub", RenameMode::Exchange)
    }),
    case("look at everything", |w| {
        let mount = w.mount();
        mount.readdir(Ino::ROOT, 0, &mut |_| true)?;
        mount.parent_of(Ino::new(ino::DIR_SUB))?;
        mount.statfs()?;
        mount.branches(&mut |_| ())?;
        mount.members(&mut |_| ())?;
        mount.volume().log(&name("work"), &mut |_, _| true)
    }),
    case("sync", |w| {
        w.mount().write(find(w.mount(), "/made")?, 1, b"in place")?;
        w.mount().sync()
    }),
    after("compact", many_files, |w| w.mount().compact()),
    case("tick", |w| w.mount().tick(1)),
    after("reap", a_death, |w| w.volume()?.reap(daxfs::MemberIndex::new(1))),
    // Where expiring stops in the middle, reaping goes on.
    after("tick after a death, and reap", a_death, |w| {
        w.mount().tick(1 << 40)?;
        w.volume()?.reap(daxfs::MemberIndex::new(1))
    }),
    case("create a branch", |w| w.mount().create_branch(&name("child"), None)),
    after("create a branch elsewhere", others, |w| {
        w.mount().create_branch(&name("child"), Some(&name("other")))
    }),
    after("create a branch for others", others, |w| {
        w.volume()?.create_branch(&name("child"), &name("other")).map(|_| ())
    }),
    after("commit", a_child, |w| w.mount().commit()),
    after("commit to main", others, |w| w.mount().commit()),
    after("abort", a_child, |w| w.mount().abort()),
    after("switch", others, |w| w.mount().switch(&name("other"))),
    after("commit of others", others_child, |w| w.volume()?.commit(&name("leaf"))),
    after("write after a commit", a_commit_below, |w| {
        w.mount().write(find(w.mount(), "/made")?, 0, b"x").map(|_| ())
    }),
];
