//! What Linux and its guests do in the demonstration of several kernels, and the script that has them do
//! it.
//!
//! The branches:
//!
//! ```text
//! main                      the base image
//! +-- linux                 Linux's root
//! +-- work
//!     +-- guest0, guest1..  the guests'
//!     +-- side              another mount of Linux's
//! ```
//!
//! So a guest that commits wins against the other guests and Linux's other mount, and Linux, which
//! commits last, wins against all of them.

use super::places;
use crate::console::Who;
use crate::story::{COMMAND, Command, STATUS, STEP, Step};
use std::fmt::Write;

/// The file that everybody writes to.
pub const WHO: &str = "/who";
/// What is in it, in main, at the end.
pub const OUTCOME: &str = "linux\nand the next\n";

/// By how many KiB the memory that Linux has changes by itself, at most.
const MEMORY_NOISE: i64 = 6 << 10;

/// What Linux says of a branch that has ended.
const STALE: &str = "Stale file handle";

/// What the base image has to show.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Base {
    /// A large file.
    pub large: String,
    /// Its bytes.
    pub bytes: u64,
}

/// The steps, for so many guests, if `ports` with serial ports.
#[must_use]
pub fn steps(base: &Base, guests: u32, ports: bool) -> Vec<Step> {
    let Base { large, bytes } = base;
    let all = || 0..guests;
    let linux = |text: &str| Command::new(Who::Linux, text);
    let guest = |place, text: &str| Command::new(Who::Guest(place), text);
    let everybody = |text: &str| {
        let guests = all().map(|place| guest(place, text));
        std::iter::once(linux(text)).chain(guests).collect::<Vec<_>>()
    };
    let kernels = match guests {
        1 => "a second kernel".to_owned(),
        _ => format!("{guests} more kernels"),
    };
    let port = |place| places::port(place, ports);
    let start = |place| {
        let options =
            format!("$DAXFS_RANGE,branch=guest{place},parent=work,nokeep,name=guest{place}");
        [
            linux(&format!("daxfs-mk load -p {place} -k daxfs-guest -o {options}{}", port(place))),
            linux(&format!("daxfs-mk start -p {place} --cpu {}", place + 1)),
        ]
    };
    let write_own = |place| guest(place, &format!("write {WHO} \"guest{place}\\n\""));
    let read = format!("cat {WHO}");
    let has_own = |place| guest(place, &read).prints(format!("guest{place}"));
    let sizes = -MEMORY_NOISE..=MEMORY_NOISE;
    let whole = i64::try_from(bytes >> 10).unwrap_or(i64::MAX);

    vec![
        Step {
            title: "Linux's root is a branch",
            why: "Linux has mounted the range where it lies in memory, and made a branch of the base\n\
                  image its root. There is no page cache, and no disk."
                .into(),
            commands: vec![
                linux("grep ' / ' /proc/mounts").shows(" / daxfs rw,").shows("branch=linux"),
                linux(&format!("ls -l {large}")).shows(bytes.to_string()),
            ],
            right: "the root is branch 'linux'".into(),
            ..Step::default()
        },
        Step {
            title: "Other kernels start",
            why: format!(
                "Linux never started the other processors. It puts {kernels} into memory that was\n\
                 kept free, and starts them there: bare metal, written in Rust, half a MiB."
            ),
            commands: std::iter::once(linux("cat /sys/devices/system/cpu/online").prints("0"))
                .chain(all().flat_map(start))
                .chain(all().map(|place| guest(place, "mount").shows(format!("branch  guest{place}\n"))))
                .chain([linux("daxfs-mk status | grep -c mounted").prints(guests.to_string())])
                .collect(),
            right: format!("{} kernels run on {} processors", guests + 1, guests + 1),
            ..Step::default()
        },
        Step {
            title: "All see the same base",
            why: "Each kernel computes the sum by itself, from the same bytes of memory.".into(),
            commands: everybody(&format!("sha256sum {large}")),
            agree: true,
            right: "the sums are the same".into(),
            ..Step::default()
        },
        Step {
            title: "There is one copy of it",
            why: format!(
                "{} MiB, once, however many kernels read it. 'taken' tells how much less memory Linux has\n\
                 after a command: nothing for reading and mapping, all of it for a copy in tmpfs.",
                bytes >> 20
            ),
            commands: [
                linux(&format!("taken cat {large}")).number(sizes.clone()),
                linux(&format!("daxfs-bench root mapping {large}")).number(sizes.clone()),
                linux(&format!("taken cp {large} /tmp"))
                    .number(whole - MEMORY_NOISE..=whole + MEMORY_NOISE),
                linux(&format!("rm /tmp/{}", large.rsplit('/').next().unwrap_or(large))),
            ]
            .into_iter()
            // Their heaps have some KiB in them, not a copy.
            .chain(all().map(|place| {
                linux(&format!("daxfs-mk run -p {place} meminfo | grep ^heap")).shows(" KiB of ")
            }))
            .collect(),
            right: "reading it takes no memory, in no kernel".into(),
            ..Step::default()
        },
        Step {
            title: "Each writes for itself",
            why: "What a kernel writes goes to its branch. The others do not see it.".into(),
            commands: std::iter::once(linux(&format!("echo linux >{WHO}")))
                .chain(all().map(write_own))
                .chain([linux(&read).prints("linux")])
                .chain(all().map(has_own))
                .chain([linux("daxfs-branch list -m /").shows("linux").shows("work").shows("guest0")])
                .collect(),
            right: "each kernel reads what it wrote, and nobody else's".into(),
            ..Step::default()
        },
        Step {
            title: "A kernel dies in the middle of its work",
            why: "It is not asked: its processor is reset while it writes. Linux confirms the death to the\n\
                  member table. What the dead had not committed is gone, its space is free again, and a\n\
                  new kernel starts from what is there."
                .into(),
            commands: vec![
                linux("daxfs-mk run -p 0 'fill /big 100M 7' 2>/dev/null & wait_until_used 16"),
                linux("daxfs-mk stop -p 0"),
                linux("daxfs-branch list -m /").shows("linux").hides("guest0"),
                linux("wait_until_free 16").shows("free again"),
                linux(&read).prints("linux"),
                linux("daxfs-mk start -p 0 --cpu 1"),
                guest(0, "ls /big").fails("no such file"),
                write_own(0),
                has_own(0),
            ],
            right: "Linux went on, the dead's branch and space are back, its successor works".into(),
            ..Step::default()
        },
        Step {
            title: "A guest commits",
            why: "One compare-and-swap makes its branch the parent, 'work'. Its rivals, Linux's other mount\n\
                  among them, are told: their branches have ended. Linux's root is no rival of it."
                .into(),
            commands: [
                linux("echo side >/run/side/who"),
                linux("cat /run/side/who").prints("side"),
                guest(0, "branch commit"),
                has_own(0),
                linux("cat /run/side/who").fails(STALE),
            ]
            .into_iter()
            .chain((1..guests).map(|place| guest(place, &read).fails("ESTALE")))
            .chain([
                linux("mount -t daxfs -o $DAXFS_RANGE,ro,branch=work none /run/work"),
                linux("cat /run/work/who").prints("guest0"),
                linux(&read).prints("linux"),
            ])
            .collect(),
            right: "the winner's is in 'work', the losers were told".into(),
            ..Step::default()
        },
        Step {
            title: "Linux commits",
            why: "Now Linux's root becomes main. 'work' was its sibling: the guest, which owns it, is told."
                .into(),
            commands: vec![
                linux("daxfs-branch commit -m /"),
                linux(&read).prints("linux"),
                guest(0, &read).fails("ESTALE"),
                linux("cat /run/work/who").fails(STALE),
                linux("umount /run/work"),
                linux("daxfs-branch list -m /").shows("* main").hides("work").hides("guest0"),
                linux("mount -t daxfs -o $DAXFS_RANGE none /run/work"),
                linux("cat /run/work/who").prints("linux"),
                linux("umount /run/work"),
            ],
            right: "main is what Linux's root was: a new mount shows it".into(),
            ..Step::default()
        },
        Step {
            title: "The next kernel goes on from there",
            why: "It starts from what Linux has committed. When it commits itself, Linux, whose root follows\n\
                  main now, sees it at once: nothing is mounted again."
                .into(),
            commands: vec![
                linux("daxfs-mk stop --all"),
                linux(&format!(
                    "daxfs-mk load -k daxfs-guest -o $DAXFS_RANGE,branch=next,parent=main,name=next,validate{}",
                    port(0)
                )),
                linux("daxfs-mk start --cpu 1"),
                guest(0, &read).prints("linux"),
                guest(0, &format!("append {WHO} \"and the next\\n\"")),
                linux(&read).prints("linux"),
                guest(0, "branch commit"),
                linux(&read).prints(OUTCOME.trim_end()),
                linux("daxfs-mk stop --all"),
            ],
            right: "Linux sees it the moment it is committed, and not before".into(),
            ..Step::default()
        },
    ]
}

/// Shell functions for what has no command of its own.
const FUNCTIONS: &str = r#"
# So that a processor keeps hardly any free memory to itself, where it is not counted.
echo 2000 >/proc/sys/vm/percpu_pagelist_high_fraction
available() { sed -n 's/^MemAvailable: *\([0-9]*\) .*/\1/p' /proc/meminfo; }
taken() {
    before=$(available)
    "$@" >/dev/null || return
    echo "$((before - $(available))) KiB of memory are taken"
}
space() {
    blocks=$(stat -f -c '%f' /) || exit 1
    echo $((blocks / 256))
}
wait_until_used() {
    for attempt in $(seq 1 100000); do
        if [ "$(space)" -le $((free - $1)) ]; then
            echo "$((free - $(space))) MiB used"
            return 0
        fi
    done
    return 1
}
wait_until_free() {
    for attempt in $(seq 1 600); do
        if [ "$(space)" -gt $((free - $1)) ]; then
            echo "free again: $(space) MiB, as before: $free MiB"
            return 0
        fi
        usleep 100000
    done
    echo "still used: $((free - $(space))) MiB"
    return 1
}
"#;

/// What Linux runs. The module has to be loaded.
#[must_use]
pub fn script(steps: &[Step]) -> String {
    let mut script = String::from(FUNCTIONS);
    script.push_str(
        "cd /run/runner\nmkdir -p /run/side /run/work\n\
         mount -t daxfs -o $DAXFS_RANGE,rw,branch=work,parent=main,keep none /run/work || exit 1\n\
         umount /run/work\n\
         mount -t daxfs -o $DAXFS_RANGE,rw,branch=side,parent=work,name=linux-side none /run/side || exit 1\n\
         free=$(space)\n",
    );
    for step in steps {
        for command in &step.commands {
            let text = match command.who {
                Who::Guest(place) => {
                    format!("daxfs-mk run -p {place} '{}'", command.text.replace('\'', r"'\''"))
                }
                Who::Linux | Who::Only => command.text.clone(),
            };
            // Writing to a string does not fail.
            let _ = write!(script, "echo '{COMMAND}'\n{{ {text}\n}} 2>&1\necho '{STATUS}' $?\n");
        }
        let _ = writeln!(script, "echo '{STEP}'");
    }
    script
}
