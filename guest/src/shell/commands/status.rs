//! Commands that show how things are.

use super::super::failure::Failure;
use super::super::{Shell, access_name, format};
use super::{Arguments, Outcome};
use crate::{Protection, System};
use daxfs::{MemberInfo, MemberState, Platform};

const fn none<'w>(words: Arguments<'_, 'w>) -> Outcome<'w> {
    if words.is_empty() { Ok(()) } else { Err(Failure::Usage) }
}

/// Writes down what is known only in this kernel's memory.
pub fn sync<'w, P: Platform + 'static, S: System>(
    shell: &mut Shell<'_, P, S>,
    words: Arguments<'_, 'w>,
) -> Outcome<'w> {
    none(words)?;
    Ok(shell.mount.sync()?)
}

/// Shows space.
pub fn df<'w, P: Platform + 'static, S: System>(
    shell: &mut Shell<'_, P, S>,
    words: Arguments<'_, 'w>,
) -> Outcome<'w> {
    none(words)?;
    let stat = shell.mount.statfs()?;
    let total = format::Size(stat.total_blocks.saturating_mul(stat.block_size));
    let free = format::Size(stat.free_blocks.saturating_mul(stat.block_size));
    let base = format::Size(stat.base_bytes);
    shell.print(format_args!("size      {total}\nfree      {free}\nbase      {base}\n"));
    if stat.segments_total > 0 {
        let size = format::Size(stat.segment_size);
        let (free, total) = (stat.segments_free, stat.segments_total);
        shell.print(format_args!("segments  {free} of {total} free, {size} each\n"));
    }
    shell.print(format_args!("inodes    {}\n", stat.files));
    Ok(())
}

/// Shows what is mounted, and how.
pub fn mount<'w, P: Platform + 'static, S: System>(
    shell: &mut Shell<'_, P, S>,
    words: Arguments<'_, 'w>,
) -> Outcome<'w> {
    none(words)?;
    let info = shell.mount.info();
    let shared = shell.system.shared();
    let (phys, size) = (shared.phys, shared.size);
    shell.print(format_args!("range   phys={phys:#x},size={size:#x}\n"));
    let geometry = info.geometry;
    let (start, len) = (geometry.base.start, format::Size(geometry.base.len));
    shell.print(format_args!("base    {len} at {:#x}\n", start.get()));
    if geometry.uuid != [0; 16] {
        shell.print(format_args!("uuid    "));
        for (i, byte) in geometry.uuid.into_iter().enumerate() {
            let dash = if matches!(i, 4 | 6 | 8 | 10) { "-" } else { "" };
            shell.print(format_args!("{dash}{byte:02x}"));
        }
        shell.print(format_args!("\n"));
    }
    match info.branch {
        Some(branch) => shell.print(format_args!("branch  {branch}\n")),
        None => shell.print(format_args!("branch  none: the base image alone\n")),
    }
    if let Some(parent) = info.parent_id {
        let mut name = None;
        shell.mount.branches(&mut |branch| {
            name = name.or_else(|| (branch.id == parent).then_some(branch.name));
        })?;
        if let Some(name) = name {
            shell.print(format_args!("parent  {name}\n"));
        }
    }
    let keep = if info.keep { ", kept" } else { "" };
    shell.print(format_args!("access  {}{keep}\n", access_name(info.access)));
    Ok(())
}

/// Lists the mounts that share the image, this one with a star.
pub fn members<'w, P: Platform + 'static, S: System>(
    shell: &mut Shell<'_, P, S>,
    words: Arguments<'_, 'w>,
) -> Outcome<'w> {
    none(words)?;
    let mut members: daxfs::storage::TryVec<MemberInfo> = daxfs::storage::TryVec::new();
    let mut full = Ok(());
    shell.mount.members(&mut |member| {
        if full.is_ok() {
            full = members.push(*member);
        }
    })?;
    full?;
    let here = shell.mount.info().member;
    for member in members.iter() {
        let index = member.index.get();
        let mark = if Some(index) == here { '*' } else { ' ' };
        let state = match member.state {
            MemberState::Free => continue,
            MemberState::Joining => "joining",
            MemberState::Alive => "alive",
            MemberState::Expired => "expired",
        };
        let identity = member.identity;
        let name = identity.name.split(|&b| b == 0).next().unwrap_or(&[]);
        let (name, kernel) = (format::text(name), identity.kernel);
        shell.print(format_args!("{mark} {index} {name} (kernel {kernel:016x}), {state}"));
        shell.print(format_args!(", heartbeat {}\n", member.heartbeat));
    }
    Ok(())
}

/// Shows the kernel's memory and address space.
pub fn meminfo<'w, P: Platform + 'static, S: System>(
    shell: &mut Shell<'_, P, S>,
    words: Arguments<'_, 'w>,
) -> Outcome<'w> {
    none(words)?;
    let memory = shell.system.memory();
    let info = shell.mount.info();
    let (used, size) = (format::Size(memory.heap_used), format::Size(memory.heap_size));
    shell.print(format_args!("heap    {used} of {size} used\n"));
    let index = format::Size(info.memory as u64);
    let (inodes, names) = (info.changed_inodes, info.changed_names);
    shell.print(format_args!("index   {index}: {inodes} changed inodes, {names} names\n"));
    let (used, size) = (format::Size(memory.tables_used), format::Size(memory.tables_size));
    shell.print(format_args!("tables  {used} of {size} used\n"));
    shell.print(format_args!("stack   {}\n", format::Size(memory.stack_size)));
    let interrupts = shell.system.interrupts();
    let (ticks, stray) = (interrupts.ticks, interrupts.stray);
    shell.print(format_args!("ticks   {ticks}, and {stray} stray interrupts\n\n"));
    // Printing goes to the system that is asked for the mappings: they are collected first.
    let mut mappings = daxfs::storage::TryVec::new();
    let mut full = Ok(());
    shell.system.mappings(&mut |mapping| {
        if full.is_ok() {
            full = mappings.push(*mapping);
        }
    });
    full?;
    for mapping in mappings.iter() {
        let Protection { write, execute } = mapping.protection;
        let (write, execute) = (if write { 'w' } else { '-' }, if execute { 'x' } else { '-' });
        let (virt, phys) = (mapping.virt, mapping.phys);
        let (len, name) = (format::Size(mapping.len), mapping.name);
        shell.print(format_args!("{virt:016x} {phys:012x} r{write}{execute} {name}, {len}\n"));
    }
    Ok(())
}

/// Prints the time of day.
pub fn date<'w, P: Platform + 'static, S: System>(
    shell: &mut Shell<'_, P, S>,
    words: Arguments<'_, 'w>,
) -> Outcome<'w> {
    none(words)?;
    let now = shell.system.now();
    shell.print(format_args!("{} UTC\n", format::Time(now)));
    Ok(())
}

/// Prints the time since the start.
pub fn uptime<'w, P: Platform + 'static, S: System>(
    shell: &mut Shell<'_, P, S>,
    words: Arguments<'_, 'w>,
) -> Outcome<'w> {
    none(words)?;
    let uptime = shell.system.uptime();
    shell.print(format_args!("{}.{:03} s\n", uptime.as_secs(), uptime.subsec_millis()));
    Ok(())
}
