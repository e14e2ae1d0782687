//! Images that somebody has damaged on purpose, and neighbours that do it while they are mounted. Whatever
//! they say: the kernel lives, and has no complaint.

use crate::branch;
use crate::buffer::Buffer;
use crate::check::{is_debug_kernel, is_long, suite};
use crate::mapping::{Mapping, PAGE, Use};
use crate::mounted::Mounted;
use daxfs_tests::builder::{ImageBuilder, Kind};
use daxfs_tests::field::{Field, fields};
use daxfs_tests::history;
use daxfs_tests::image::Image;
use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::{FileExt, FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

suite!(
    "hostile",
    300,
    [
        damaged_static_images_do_no_harm,
        damaged_plain_images_do_no_harm,
        damaged_segmented_images_do_no_harm,
        damaged_snapshots_do_no_harm,
        random_images_do_no_harm,
        short_images_do_no_harm,
        a_neighbour_that_scribbles_does_no_harm,
        a_neighbour_that_changes_fields_does_no_harm,
    ]
);

/// How many damaged images of a kind are looked at, of some thousands.
fn cases() -> usize {
    match (is_long(), is_debug_kernel()) {
        (true, _) => usize::MAX,
        (false, true) => 80,
        (false, false) => 250,
    }
}

/// How long a neighbour is borne with.
fn patience() -> Duration {
    Duration::from_secs(if is_long() { 600 } else { 6 })
}

/// The values that a field is set to, its own left out.
fn values(image: &Image, field: &Field) -> Vec<u64> {
    let max = u64::MAX >> (64 - 8 * field.width);
    let old = image.number(field.at, field.width);
    let mut values = vec![
        0,
        1,
        max,
        old.wrapping_add(1) & max,
        old.wrapping_sub(1) & max,
        old ^ 1 << (8 * field.width - 1),
    ];
    values.sort_unstable();
    values.dedup();
    values.retain(|&value| value != old);
    values
}

/// Reads everything that can be reached, up to a bound; what is refused is passed over.
pub(super) fn look_around(mount: &Mounted) {
    let _ = rustix::fs::statvfs(mount.root());
    let mut folders = vec![mount.root().to_owned()];
    let mut left = 200;
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for entry in entries.take(100).flatten() {
            if left == 0 {
                return;
            }
            left -= 1;
            let path = entry.path();
            look_at(&path);
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                folders.push(path);
            }
        }
    }
    if let Ok(control) = File::open(mount.root()) {
        let _ = branch::list(&control);
    }
}

fn look_at(path: &Path) {
    let _ = fs::read_link(path);
    let Ok(about) = fs::symlink_metadata(path) else { return };
    // Others would wait for somebody, or be a device of this machine.
    if !about.is_file() || about.file_type().is_fifo() {
        return;
    }
    let nonblocking = rustix::fs::OFlags::NONBLOCK.bits() as i32;
    let Ok(file) = OpenOptions::new().read(true).custom_flags(nonblocking).open(path) else {
        return;
    };
    let mut bytes = [0; 2 * PAGE];
    for at in [0, 4000, about.len().saturating_sub(10), about.len() / 2] {
        let _ = file.read_at(&mut bytes, at);
    }
    let _ = rustix::fs::seek(&file, rustix::fs::SeekFrom::Hole(0));
    let _ = rustix::fs::seek(&file, rustix::fs::SeekFrom::Data(about.len() / 2));
    if let (Ok(memory), Ok((_reader, writer))) =
        (Mapping::new(&file, 0, 4 * PAGE, Use::Read), std::io::pipe())
    {
        // A bus error would be this process's end; for the kernel that looks there, it is an error.
        for at in [0, 2 * PAGE] {
            let _ = memory.send(at, PAGE, &writer);
        }
    }
}

/// Changes what can be changed.
fn change_around(mount: &Mounted) {
    let root = |name: &str| mount.path(name);
    let _ = fs::write(root("new"), [7; 10_000]);
    let _ = fs::create_dir(root("new-folder"));
    let _ = fs::rename(root("new"), root("new-folder/new"));
    let paths: Vec<PathBuf> = ["dir/file", "file", "dir", "link", "b-dir", "m-link", "empty"]
        .into_iter()
        .map(root)
        .collect();
    for path in &paths {
        let flags = rustix::fs::OFlags::NONBLOCK.bits() as i32;
        if let Ok(file) = OpenOptions::new().write(true).read(true).custom_flags(flags).open(path) {
            let _ = file.write_at(b"changed", 4090);
            let _ = file.set_len(5);
            let _ = file.set_len(9000);
            let _ = file.sync_all();
        }
        let _ = fs::rename(path, root("moved"));
        let _ = fs::rename(root("moved"), path);
    }
    for path in paths {
        let _ = fs::remove_file(&path);
        let _ = fs::remove_dir_all(&path);
    }
    if let Ok(control) = File::open(mount.root()) {
        let _ = branch::create(&control, "kid", None);
        let _ = fs::write(root("of-kid"), "x");
        let _ = branch::commit(&control);
        let _ = branch::abort(&control);
    }
}

/// Mounts whatever is in the buffer, in every way; `refill` puts it there again.
fn try_all(buffer: &Buffer, refill: &dyn Fn()) {
    for options in
        ["ro", "ro,validate", "rw,branch=main", "rw,branch=fresh", "rw,branch=b,validate"]
    {
        refill();
        let Ok(mount) = buffer.mount(options) else { continue };
        look_around(&mount);
        if options.starts_with("rw") {
            change_around(&mount);
        }
        mount.unmount();
    }
}

/// Every field of an image, one at a time; as many of them as there is time for.
fn damaged(images: &[Image]) {
    for image in images {
        let buffer = Buffer::new(image.bytes.len());
        let all: Vec<(Field, u64)> = fields(image)
            .into_iter()
            .flat_map(|field| values(image, &field).into_iter().map(move |value| (field, value)))
            .collect();
        assert!(all.len() > 500, "{} values", all.len());
        let step = (all.len() / (cases() / images.len())).max(1);
        // Another part of them is looked at by each kernel.
        let first = usize::from(is_debug_kernel()) * step / 2;
        for (field, value) in all.iter().skip(first).step_by(step) {
            let mut hostile = image.clone();
            hostile.set_number(field.at, field.width, *value);
            let start = Instant::now();
            try_all(&buffer, &|| buffer.fill(&hostile.bytes));
            let limit = Duration::from_secs(if is_debug_kernel() { 120 } else { 30 });
            assert!(start.elapsed() < limit, "{field} = {value:#x} takes {:?}", start.elapsed());
        }
    }
}

fn damaged_static_images_do_no_harm() {
    let builder = ImageBuilder::new(Kind::Static);
    damaged(&[builder.build(), builder.unsorted().build()]);
}

fn damaged_plain_images_do_no_harm() {
    damaged(&[ImageBuilder::new(Kind::Plain).build(), history::plain()]);
}

fn damaged_segmented_images_do_no_harm() {
    damaged(&[ImageBuilder::new(Kind::Segmented).build(), history::segmented()]);
}

fn damaged_snapshots_do_no_harm() {
    damaged(&[history::compacted()]);
}

fn random_images_do_no_harm() {
    let good = history::segmented();
    let buffer = Buffer::new(good.bytes.len());
    let mut random = fastrand::Rng::with_seed(99);
    for _ in 0..cases().min(20_000) / 4 {
        let mut image = good.clone();
        for _ in 0..random.usize(1..30) {
            let at = match random.u8(0..4) {
                0 => random.usize(0..4096),
                1 => random.usize(0..65536),
                _ => random.usize(0..image.bytes.len()),
            };
            image.bytes[at] = random.u8(..);
        }
        try_all(&buffer, &|| buffer.fill(&image.bytes));
    }
}

fn short_images_do_no_harm() {
    let good = history::segmented();
    for pages in [1, 2, 3, 5, 9, 17, 40, good.bytes.len() / PAGE - 1] {
        let piece = &good.bytes[..pages * PAGE];
        let buffer = Buffer::new(piece.len());
        try_all(&buffer, &|| buffer.fill(piece));
    }
}

/// Uses a mounted image while a neighbour does something to it again and again.
fn beside(neighbour: impl Fn(&Mapping, &mut fastrand::Rng) + Sync) {
    let good = history::segmented();
    let buffer = Buffer::of(&good.bytes);
    let enough = AtomicBool::new(false);
    let file = File::from(buffer.fd().try_clone_to_owned().unwrap());
    let start = Instant::now();
    let mut mounts = 0;
    thread::scope(|scope| {
        scope.spawn(|| {
            let memory = Mapping::new(&file, 0, good.bytes.len(), Use::Write).unwrap();
            let mut random = fastrand::Rng::with_seed(5);
            while !enough.load(Ordering::Relaxed) {
                neighbour(&memory, &mut random);
            }
        });
        let mut random = fastrand::Rng::with_seed(6);
        while start.elapsed() < patience() {
            let options = ["ro", "rw,branch=main", "rw,branch=fresh"][random.usize(0..3)];
            if let Ok(mount) = buffer.mount(options) {
                mounts += 1;
                look_around(&mount);
                change_around(&mount);
                mount.unmount();
            }
            // It has to begin with something good again and again.
            buffer.fill(&good.bytes);
        }
        enough.store(true, Ordering::Relaxed);
    });
    assert!(mounts > 0, "nothing was ever mounted");
}

fn a_neighbour_that_scribbles_does_no_harm() {
    beside(|memory, random| {
        let at = random.usize(0..memory.len());
        memory.set(at, random.u8(..));
        // Not so fast that nothing can ever be mounted.
        thread::sleep(Duration::from_micros(random.u64(0..2000)));
    });
}

fn a_neighbour_that_changes_fields_does_no_harm() {
    let image = history::segmented();
    let fields = fields(&image);
    beside(|memory, random| {
        let field = &fields[random.usize(0..fields.len())];
        let values = values(&image, field);
        let Some(value) = random.choice(&values) else { return };
        memory.put(field.at as usize, &value.to_le_bytes()[..field.width]);
        thread::sleep(Duration::from_micros(random.u64(0..500)));
        let old = image.number(field.at, field.width);
        memory.put(field.at as usize, &old.to_le_bytes()[..field.width]);
    });
}
