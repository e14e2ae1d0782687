//! Every field of every structure set to 0, 1, its largest value, and one more and less than it was.

use crate::Victim;
use crate::free::free;
use daxfs_format::log::EntryType;
use daxfs_tests::builder::{ImageBuilder, Kind};
use daxfs_tests::cases::Cases;
use daxfs_tests::field::{Field, Structure, fields};
use daxfs_tests::history;
use daxfs_tests::image::Image;

/// The values a field is set to, its own left out.
fn values(image: &Image, field: &Field) -> Vec<u64> {
    let max = u64::MAX >> (64 - 8 * field.width);
    let old = image.number(field.at, field.width);
    let mut values = vec![0, 1, max, old.wrapping_add(1) & max, old.wrapping_sub(1) & max];
    values.sort_unstable();
    values.dedup();
    values.retain(|&value| value != old);
    values
}

/// Sets every field of `image` that `which` picks to every value, one at a time.
fn mutate(image: &Image, which: impl Fn(&Field) -> bool, least: u64) {
    assert_eq!(image.problems(), Vec::<String>::new(), "the image is good to start with");
    let (mut cases, victim) = (Cases::new(), Victim::default());
    let mut allowed = 0_u64;
    for field in fields(image).into_iter().filter(which) {
        for value in values(image, &field) {
            let mut hostile = image.clone();
            hostile.set_number(field.at, field.width, value);
            cases.run(&format!("{field} = {value:#x}"), || {
                victim.survive(&hostile);
                if free(image, &field, value).is_some() {
                    allowed += 1;
                    return Ok(());
                }
                victim.refuse(&hostile)
            });
        }
    }
    println!("{allowed} values are any image's right");
    cases.finish(least);
}

#[test]
fn every_field_of_a_sorted_static_image() {
    mutate(&ImageBuilder::new(Kind::Static).build(), |_| true, 800);
}

#[test]
fn every_field_of_an_unsorted_static_image() {
    mutate(&ImageBuilder::new(Kind::Static).unsorted().build(), |_| true, 800);
}

#[test]
fn every_field_of_a_fresh_plain_image() {
    mutate(&ImageBuilder::new(Kind::Plain).build(), |_| true, 800);
}

#[test]
fn every_field_of_a_plain_image_with_a_log() {
    mutate(&history::plain(), |_| true, 1000);
}

#[test]
fn every_field_of_a_fresh_segmented_image() {
    mutate(&ImageBuilder::new(Kind::Segmented).build(), |_| true, 1000);
}

fn is_entry(field: &Field) -> bool {
    matches!(field.structure, Structure::Entry { .. })
}

#[test]
fn every_field_of_a_segmented_image_with_branches() {
    mutate(&history::segmented(), |field| !is_entry(field), 1500);
}

#[test]
fn every_field_of_snapshots() {
    mutate(
        &history::compacted(),
        |field| match field.structure {
            Structure::Entry { kind, .. } => kind.raw() >= EntryType::Inode.raw(),
            _ => false,
        },
        300,
    );
}

#[test]
fn every_field_of_log_entries() {
    mutate(&history::segmented(), is_entry, 1500);
}
