//! Logs cut at every byte, chains that lead in circles or astray, entries that lie.

use crate::Victim;
use daxfs::Error;
use daxfs_format::branch::BranchRecord;
use daxfs_format::log::{Create, EntryType, Link, Write, WriteFlags};
use daxfs_format::segment::LogSegmentHeader;
use daxfs_tests::cases::Cases;
use daxfs_tests::entries::{LogEntry, log_entries, log_segments, segments};
use daxfs_tests::history;
use daxfs_tests::image::{Image, read_only};
use daxfs_tests::patch::LogTemplate;
use std::collections::HashSet;
use zerocopy::IntoBytes;

/// The last entry of each type of each log: what comes behind it is no shield for what is cut off.
fn one_of_each(image: &Image) -> Vec<LogEntry> {
    let mut seen = HashSet::new();
    let mut entries = log_entries(image);
    entries.reverse();
    entries.retain(|entry| seen.insert((entry.kind, entry.size)));
    entries
}

/// Cuts the log behind every byte of every entry, once by what the log says of its length and once
/// by what the entry says of its own.
fn cut(image: &Image, which: impl Fn(EntryType) -> bool, types: usize, least: u64) {
    let mut entries = one_of_each(image);
    entries.retain(|entry| which(entry.kind));
    let kinds: HashSet<_> = entries.iter().map(|entry| entry.kind).collect();
    assert!(kinds.len() >= types, "only {kinds:?}");
    let (mut cases, victim) = (Cases::new(), Victim::default());
    for entry in entries {
        // Of a long target the ends are enough.
        let bytes = (0..entry.size).filter(|byte| *byte < 200 || byte + 20 > entry.size);
        for byte in bytes {
            let name = format!("{:?} at {:#x} cut at {byte}", entry.kind, entry.at);
            let mut hostile = image.clone();
            hostile.set_number(entry.end_word, 8, entry.position + byte);
            cases.run(&format!("log of {name}"), || {
                victim.survive(&hostile);
                // A log may end between entries, and a linked one is longer than its link needs.
                if byte == 0 { Ok(()) } else { victim.refuse(&hostile) }
            });
            let mut hostile = image.clone();
            hostile.set_number(entry.at + 4, 4, byte);
            cases.run(&name, || victim.refuse_and_survive(&hostile));
        }
    }
    cases.finish(least);
}

#[test]
fn a_v3_log_that_is_cut_is_refused_and_harmless() {
    cut(&history::plain(), |_| true, 8, 1000);
}

#[test]
fn a_chain_that_is_cut_is_refused_and_harmless() {
    cut(&history::segmented(), |_| true, 9, 1500);
}

#[test]
fn a_snapshot_that_is_cut_is_refused_and_harmless() {
    cut(&history::compacted(), |kind| kind.raw() >= EntryType::Inode.raw(), 4, 800);
}

#[test]
fn the_next_segment_of_a_chain_is_no_other() {
    let image = history::segmented();
    let count = segments(&image).expect("a segmented image").count;
    let (mut cases, victim) = (Cases::new(), Victim::default());
    for log in log_segments(&image).iter().filter(|log| log.has_next) {
        let header: LogSegmentHeader = image.get(log.at);
        for next in (0..=u64::from(count) + 1).chain([u64::MAX, 1 << 32]) {
            if next == header.next.get() {
                continue;
            }
            let mut hostile = image.clone();
            hostile.set_number(log.at + 24, 8, next);
            let name = format!("segment {} goes on in {next} - 1", log.index);
            cases.run(&name, || victim.refuse_and_survive(&hostile));
        }
    }
    cases.finish(u64::from(count));
}

#[test]
fn a_chain_does_not_go_on_in_itself_for_ever() {
    let image = history::segmented();
    let (mut cases, victim) = (Cases::new(), Victim::default());
    for log in log_segments(&image) {
        for ordinal in [0, 1, 2, u64::from(u32::MAX)] {
            // The segment is its own successor, and more is published than it holds.
            let mut hostile = image.clone();
            hostile.set_number(log.at + 24, 8, u64::from(log.index) + 1);
            hostile.set_number(log.at + 32, 8, 64);
            hostile.set_number(log.at + 4, 4, ordinal);
            hostile.set_number(log.head + 40, 8, (u64::from(u32::MAX) << 32) | 64);
            let name = format!("segment {} follows itself as {ordinal}", log.index);
            cases.run(&name, || victim.refuse_and_survive(&hostile));
        }
    }
    cases.finish(8);
}

#[test]
fn a_link_leads_to_no_chain_that_leads_back() {
    let image = history::segmented();
    let heads: Vec<_> = log_segments(&image).into_iter().filter(|log| log.at == log.head).collect();
    let links: Vec<_> =
        log_entries(&image).into_iter().filter(|e| e.kind == EntryType::Link).collect();
    assert!(links.len() >= 2, "every chain but the first goes on from another");
    let (mut cases, victim) = (Cases::new(), Victim::default());
    for link in &links {
        let at = link.at + 24;
        let raw: Link = image.get(at);
        for head in &heads {
            if u64::from(head.index) == raw.head.get() {
                continue;
            }
            let header: LogSegmentHeader = image.get(head.at);
            for published in [raw.published.get(), header.published.get(), u64::MAX] {
                let mut hostile = image.clone();
                hostile.put(
                    at,
                    &Link {
                        head: u64::from(head.index).into(),
                        branch_id: header.writer.get().into(),
                        published: published.into(),
                        ..raw
                    },
                );
                let name = format!("link at {at:#x} to segment {} {published:#x}", head.index);
                // A link to an earlier chain may make sense; one to its own must not.
                let own = link.end_word == head.head + 40;
                cases.run(&name, || {
                    victim.survive(&hostile);
                    if own { victim.refuse(&hostile) } else { Ok(()) }
                });
            }
        }
    }
    cases.finish(6);
}

#[test]
fn branches_that_descend_from_each_other_are_refused_and_harmless() {
    let image = history::segmented();
    let geometry = daxfs::Geometry::read(&image.region()).expect("a good image");
    let records: Vec<(u64, BranchRecord)> = (0..geometry.branch_slots)
        .map(|slot| geometry.branch_record(daxfs::Slot::new(slot)).expect("a slot").get())
        .map(|at| (at, image.get::<BranchRecord>(at)))
        .filter(|(_, record)| record.state.get() == 1)
        .collect();
    assert_eq!(records.len(), 3, "main, its child and its grandchild");
    let (mut cases, victim) = (Cases::new(), Victim::default());
    for (at, record) in &records {
        for (_, parent) in &records {
            let up = parent.branch_id.get();
            if up == record.parent_id.get() || (record.parent_id.get() > 1 && up == 1) {
                continue;
            }
            let mut hostile = image.clone();
            hostile.set_number(at + 8, 8, up);
            let name = format!("branch {} below {up}", record.branch_id.get());
            cases.run(&name, || victim.refuse_and_survive(&hostile));
        }
    }
    cases.finish(4);
}

#[test]
fn two_branches_do_not_share_a_log() {
    let image = history::segmented();
    let geometry = daxfs::Geometry::read(&image.region()).expect("a good image");
    let record = |slot| geometry.branch_record(daxfs::Slot::new(slot)).expect("a slot").get();
    let live: Vec<u64> = (0..geometry.branch_slots)
        .map(record)
        .filter(|at| image.get::<BranchRecord>(*at).state.get() == 1)
        .collect();
    let (mut cases, victim) = (Cases::new(), Victim::default());
    for from in &live {
        for to in live.iter().filter(|to| *to > from) {
            // A parent with its child's log: the segments are not the parent's.
            let mut hostile = image.clone();
            let log = image.number(to + 88, 8);
            hostile.set_number(from + 88, 8, log);
            let name = format!("record at {from:#x} with the log of {to:#x}");
            cases.run(&name, || victim.refuse_and_survive(&hostile));
        }
    }
    cases.finish(3);
}

/// Each entry is good by itself, and each file maps all pages there are: many of them would cost
/// many times the memory of the range.
#[test]
fn a_log_cannot_claim_more_pages_than_there_are() {
    let template = LogTemplate::new();
    let segments = segments(&template.with_log(&[])).expect("a segmented image");
    let mut log = Vec::new();
    for ino in 100..140_u64 {
        let new = Create {
            parent_ino: 1.into(),
            new_ino: ino.into(),
            mode: 0o100_644.into(),
            name_len: 8.into(),
            flags: 0.into(),
        };
        let name = format!("file-{ino}");
        log.extend(history::entry(EntryType::Create, ino, &[new.as_bytes(), name.as_bytes()]));
        for index in 0..u64::from(segments.count) {
            let flags = WriteFlags::BY_REFERENCE.bits().into();
            let offset = index * segments.size();
            let write =
                Write { offset: offset.into(), len: (segments.size() as u32).into(), flags };
            let reference = (segments.area.start.get() + offset).to_le_bytes();
            log.extend(history::entry(EntryType::Write, ino, &[write.as_bytes(), &reference]));
        }
    }
    let hostile = template.with_log(&log);
    assert!(!hostile.problems().is_empty());
    let refused = hostile.mount(&read_only(Some(history::GRANDCHILD))).err();
    let expected = "more pages of files than of the range";
    assert!(
        matches!(refused, Some(Error::Corrupt { what, .. }) if what == expected),
        "{refused:?}"
    );
}

/// A page number costs nothing to write down, and something to read.
#[test]
fn a_write_does_not_reach_out_of_a_segment() {
    let template = LogTemplate::new();
    let segments = segments(&template.with_log(&[])).expect("a segmented image");
    let new = Create {
        parent_ino: 1.into(),
        new_ino: 100.into(),
        mode: 0o100_644.into(),
        name_len: 8.into(),
        flags: 0.into(),
    };
    let len = segments.size() as u32;
    for (start, len, fits) in [(0, len, true), (0, len + 1, false), (4096, len, false)] {
        let mut log = history::entry(EntryType::Create, 100, &[new.as_bytes(), b"new-file"]);
        let flags = WriteFlags::BY_REFERENCE.bits().into();
        let write = Write { offset: 0.into(), len: len.into(), flags };
        let reference = (segments.area.start.get() + start).to_le_bytes();
        log.extend(history::entry(EntryType::Write, 100, &[write.as_bytes(), &reference]));
        let mounted = template.with_log(&log).mount(&read_only(Some(history::GRANDCHILD)));
        assert_eq!(mounted.is_ok(), fits, "{len} bytes from {start} on: {:?}", mounted.err());
    }
}
