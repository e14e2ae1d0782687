//! Random bytes, images cut short, and a peer that writes while we look.

use crate::Victim;
use daxfs::std_platform::{MappedFile, StdPlatform};
use daxfs::{Error, Mount, Region, RegionOffset, validate};
use daxfs_tests::builder::{ImageBuilder, Kind};
use daxfs_tests::cases::Cases;
use daxfs_tests::history;
use daxfs_tests::image::{Image, Scratch, problems, read_only, read_write};
use daxfs_tests::patch::{PATCH_SIZE, Template};
use daxfs_tests::walk::{look, look_and_change};
use std::sync::atomic::{AtomicBool, Ordering};

/// Random patches of the structures of every kind of image.
#[test]
fn random_patches_of_structures_are_harmless() {
    let (mut cases, victim) = (Cases::new(), Victim::default());
    let mut random = fastrand::Rng::with_seed(0x0da7_f500);
    let templates = Template::all();
    for case in 0..2500 {
        let template = &templates[case % templates.len()];
        let patches: Vec<u8> =
            (0..PATCH_SIZE * random.usize(1..6)).map(|_| random.u8(..)).collect();
        let hostile = template.patched(&patches);
        let name = format!("image {} with patches {patches:02x?}", case % templates.len());
        cases.run(&name, || {
            // What it says is its business; that it says something, in time, is ours.
            let _ = validate(&StdPlatform, &hostile.region(), &mut |problem| {
                assert!(!problem.to_string().is_empty());
            });
            victim.survive(&hostile);
            Ok(())
        });
    }
    cases.finish(2500);
}

/// Random single bits anywhere.
#[test]
fn random_bits_are_harmless() {
    let (mut cases, victim) = (Cases::new(), Victim::default());
    let mut random = fastrand::Rng::with_seed(0x0b17_f11b);
    let images = [ImageBuilder::new(Kind::Static).build(), history::plain(), history::segmented()];
    for case in 0..1500 {
        let image = &images[case % images.len()];
        let mut hostile = image.clone();
        let mut flips = Vec::new();
        for _ in 0..random.usize(1..40) {
            let (byte, bit) = (random.usize(..image.bytes.len()), random.u8(..8));
            hostile.bytes[byte] ^= 1 << bit;
            flips.push((byte, bit));
        }
        cases.run(&format!("image {} with {flips:x?}", case % images.len()), || {
            victim.survive(&hostile);
            Ok(())
        });
    }
    cases.finish(1500);
}

/// The first `len` bytes of an image; `told`, it says that it has no more.
fn cut(image: &Image, len: u64, told: bool) -> Image {
    let mut bytes = image.bytes.clone();
    bytes.truncate(len as usize);
    let mut hostile = Image { bytes };
    if told && len >= 24 {
        hostile.set_number(16, 8, len);
    }
    hostile
}

#[test]
fn images_that_are_cut_short_are_refused_and_harmless() {
    let (mut cases, victim) = (Cases::new(), Victim::default());
    for (kind, image) in [
        ("static", ImageBuilder::new(Kind::Static).build()),
        ("plain", history::plain()),
        ("segmented", history::segmented()),
    ] {
        let size = image.bytes.len() as u64;
        let steps = (1..size).step_by((size / 60) as usize);
        for len in steps.chain([8, 128, 255, 4095, 4096, 4097, 8192, size - 4096, size - 1]) {
            for told in [false, true] {
                let hostile = cut(&image, len, told);
                let name = format!("{kind}, {len} of {size} bytes, told {told}");
                cases.run(&name, || victim.refuse_and_survive(&hostile));
            }
        }
    }
    cases.finish(300);
}

/// The other side: what the walks do to a good image leaves a good image.
#[test]
fn a_good_image_is_accepted_and_stays_good_whatever_is_done_with_it() {
    for image in [
        ImageBuilder::new(Kind::Plain).build(),
        ImageBuilder::new(Kind::Segmented).build(),
        history::segmented(),
        history::compacted(),
    ] {
        for branch in [None, Some("b"), Some("c"), Some("new")] {
            let scratch = Scratch::new();
            scratch.fill(&image);
            assert_eq!(problems(&scratch.fixed()), Vec::<String>::new());
            // A child freezes its parent: mounts of it see little change, and have to say so.
            let mount = scratch.mount(&read_write(branch)).expect("a good image");
            let steps = look_and_change(&mount);
            assert!(steps > 500, "the walk did only {steps} things");
            assert_eq!(problems(&scratch.fixed()), Vec::<String>::new(), "while it is mounted");
            mount.unmount().expect("unmount");
            assert_eq!(problems(&scratch.fixed()), Vec::<String>::new(), "after {branch:?}");
        }
    }
}

#[test]
fn a_range_without_an_image_is_refused() {
    for (bytes, byte) in [(1, 0), (4095, 0xff), (4096, 0), (65536, 0xff), (65536, 0x64)] {
        let image = Image { bytes: vec![byte; bytes] };
        for options in [read_only(None), read_write(None)] {
            let refused = image.mount(&options).err();
            assert!(matches!(refused, Some(Error::NotDaxfs { .. })), "{refused:?}");
        }
        assert!(!image.problems().is_empty());
    }
}

/// One thread does everything with mounts of an image while another writes random words all over
/// it: the worst a kernel with access to the range can do.
#[test]
fn a_peer_that_scribbles_over_everything_is_harmless() {
    const ROUNDS: u64 = 40;
    let image = history::segmented();
    let template = Template::new(image.clone());
    let mut cases = Cases::new();
    for round in 0..ROUNDS {
        let scratch = Scratch::new();
        scratch.fill(&image);
        let done = AtomicBool::new(false);
        cases.run(&format!("round {round}"), || {
            std::thread::scope(|scope| {
                scope.spawn(|| scribble(&scratch, &template, round, &done));
                // Also when it panics, so that the other thread ends.
                let _end = Done(&done);
                for branch in [Some("c"), Some("new"), None] {
                    let mount = Mount::new(StdPlatform, scratch.region(), &read_write(branch));
                    if let Ok(mount) = mount {
                        look_and_change(&mount);
                        let _ = mount.unmount();
                    }
                    if let Ok(mount) = Mount::new(StdPlatform, scratch.region(), &read_only(branch))
                    {
                        look(&mount);
                    }
                    let region = scratch.fixed();
                    let _ = validate(&StdPlatform, &region, &mut |_| {});
                }
            });
            Ok(())
        });
    }
    cases.finish(ROUNDS);
}

/// Ends the other thread.
struct Done<'d>(&'d AtomicBool);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Writes good and bad bytes in turns, so that much of the image makes sense at any time.
fn scribble(scratch: &Scratch, template: &Template, seed: u64, done: &AtomicBool) {
    let mut random = fastrand::Rng::with_seed(seed);
    let region: Region<MappedFile> = scratch.region();
    while !done.load(Ordering::Relaxed) {
        let at = template.offset(random.u64(..)) & !7;
        let bytes: [u8; 8] = match random.u8(..4) {
            0 => random.u64(..).to_le_bytes(),
            1 => random.u64(..16).to_le_bytes(),
            _ => template.image.get(at),
        };
        region.copy_in(RegionOffset::new(at), &bytes).expect("inside the image");
        if random.u8(..) == 0 {
            std::thread::yield_now();
        }
    }
}
