//! The guests' places in a machine with Linux, and what Linux is told so that kernels run there.
//!
//! Each guest has a place, memory that Linux leaves alone, and a processor that Linux never starts: place
//! *n* goes with processor *n* + 1.

use std::fmt::Write;

/// Where the guests' memory begins; Linux has what lies below and behind it.
const PLACES: u64 = 0x3000_0000;
/// MiB of memory of a guest.
const PLACE_MIB: u32 = 64;
/// MiB that Linux has, at least, behind the guests' memory.
const BEHIND_MIB: u32 = 256;

/// The most guests: their memory has to fit below the shared range.
pub const MOST: u32 = 15;

/// MiB of memory of a machine with so many guests.
#[must_use]
pub const fn machine_mib(guests: u32) -> u32 {
    (PLACES >> 20) as u32 + PLACE_MIB * guests + BEHIND_MIB
}

/// What Linux is told when it boots.
#[must_use]
pub fn reservation(guests: u32) -> String {
    let reserved = PLACE_MIB * guests;
    format!("maxcpus=1 no_ipi_broadcast=1 memmap={reserved}M${PLACES:#x}")
}

/// Commands that load the module, with a range for each guest.
#[must_use]
pub fn module(guests: u32) -> String {
    let ranges = ranges(guests);
    format!("insmod /run/runner/modules/daxfs_mk.ko ranges={ranges} || exit 125\n")
}

/// The module's parameter: a range for each guest.
#[must_use]
pub fn ranges(guests: u32) -> String {
    let range = |n| format!("{PLACE_MIB}M@{:#x}", PLACES + (u64::from(PLACE_MIB * n) << 20));
    (0..guests).map(range).collect::<Vec<_>>().join(",")
}

/// Commands that load the module and start all guests, if `ports` with serial ports.
#[must_use]
pub fn start(guests: u32, ports: bool) -> String {
    let mut script = module(guests);
    for place in 0..guests {
        let (branch, cpu) = (branch(guests, place), place + 1);
        // Writing to a string does not fail.
        let _ = writeln!(
            script,
            "daxfs-mk load -p {place} -k /run/runner/daxfs-guest -o $DAXFS_RANGE,branch={branch},name=guest{place}{} >&2 &&\n    \
             daxfs-mk start -p {place} --cpu {cpu} >&2 || exit 125",
            port(place, ports)
        );
    }
    script
}

/// The branch of a guest, if it has nothing else to do with branches.
fn branch(guests: u32, place: u32) -> String {
    if guests == 1 { "guest".into() } else { format!("guest{place}") }
}

/// I/O ports of the serial ports that Linux does not use.
const PORTS: [u16; 3] = [0x2f8, 0x3e8, 0x2e8];

/// How many guests have a serial port.
pub const WITH_PORT: u32 = PORTS.len() as u32;

/// What `daxfs-mk load` is told besides, so that a guest has a serial port, if that is wanted and there is
/// one for it.
#[must_use]
pub fn port(place: u32, wanted: bool) -> String {
    let port = PORTS.get(place as usize).filter(|_| wanted);
    port.map_or_else(String::new, |port| format!(" --uart {port:#x}"))
}

/// What Linux does that has commands of its own, and the guests theirs: they run at the same time, and those
/// of the guests print when Linux's are done. The status is that of the first that failed.
#[must_use]
pub fn script(guests: u32, ports: bool, guest_exec: Option<&str>, commands: &str) -> String {
    let mut script = start(guests, ports);
    let quoted = |text: &str| format!("'{}'", text.replace('\'', r"'\''"));
    let last = guests - 1;
    if let Some(text) = guest_exec {
        let _ = writeln!(
            script,
            "for place in $(seq 0 {last}); do\n    daxfs-mk run -p $place --timeout 100000000 {} \
             >/run/guest$place.out 2>/run/guest$place.err &\n    eval \"guest$place=$!\"\ndone",
            quoted(text)
        );
    }
    let _ = writeln!(
        script,
        "shell=/bin/sh\n[ -x $shell ] || shell=sh\n(cd /; exec $shell -c {})\nstatus=$?",
        quoted(commands)
    );
    if guest_exec.is_some() {
        let _ = writeln!(
            script,
            "for place in $(seq 0 {last}); do\n    eval \"wait \\$guest$place\"\n    ended=$?\n    \
             cat /run/guest$place.out\n    cat /run/guest$place.err >&2\n    \
             [ $status != 0 ] || status=$ended\ndone"
        );
    }
    script.push_str("daxfs-mk stop --all >/dev/null\nexit $status\n");
    script
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::qemu::machine::MOST_MIB;

    #[test]
    fn the_most_guests_fit() {
        assert!(machine_mib(MOST) <= MOST_MIB, "{}", machine_mib(MOST));
    }

    #[test]
    fn places_lie_side_by_side() {
        let command = module(3);
        assert!(
            command.contains("ranges=64M@0x30000000,64M@0x34000000,64M@0x38000000 "),
            "{command}"
        );
        assert!(reservation(3).ends_with("memmap=192M$0x30000000"), "{}", reservation(3));
    }

    #[test]
    fn quotes_in_commands_survive() {
        let script = script(1, false, Some("echo 'a b'"), "echo 'c d'");
        assert!(script.contains(r"'echo '\''a b'\'''") && script.contains(r"'echo '\''c d'\'''"));
    }
}
