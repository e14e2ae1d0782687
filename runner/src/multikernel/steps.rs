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

use super::root::{LARGE, LARGE_BYTES};
use crate::console::Who;
use crate::story::{COMMAND, Command, STATUS, STEP, Step};
use std::fmt::Write;

/// The file that everybody writes to.
pub const WHO: &str = "/srv/who";
/// What is in it, in main, at the end.
pub const OUTCOME: &str = "linux\nand the next\n";

/// What Linux says of a branch that has ended.
const STALE: &str = "Stale file handle";

/// The steps, for so many guests.
#[must_use]
pub fn steps(guests: u32) -> Vec<Step> {
    let places = || 0..guests;
    let linux = |text: &str| Command::new(Who::Linux, text);
    let guest = |place, text: &str| Command::new(Who::Guest(place), text);
    let everybody = |text: &str| {
        let all = places().map(|place| guest(place, text));
        std::iter::once(linux(text)).chain(all).collect::<Vec<_>>()
    };
    let kernels = match guests {
        1 => "a second kernel".to_owned(),
        _ => format!("{guests} more kernels"),
    };
    let load = |place| {
        format!(
            "daxfs-mk load -p {place} -k daxfs-guest -o $DAXFS_RANGE,branch=guest{place},parent=work,nokeep"
        )
    };
    let mut start = vec![linux("cat /sys/devices/system/cpu/online").shows("0\n")];
    for place in places() {
        start.push(linux(&load(place)));
        start.push(linux(&format!("daxfs-mk start -p {place} --cpu {}", place + 1)));
    }
    start.push(linux("daxfs-mk status").shows("mounted"));
    start.extend(places().map(|place| guest(place, "mount").shows(format!("guest{place}"))));

    let mut writing = vec![linux(&format!("echo linux >{WHO}"))];
    writing.extend(places().map(|p| guest(p, &format!("write {WHO} \"guest{p}\\n\""))));
    writing.push(linux(&format!("cat {WHO}")).shows("linux\n"));
    writing.extend(places().map(|p| guest(p, &format!("cat {WHO}")).shows(format!("guest{p}\n"))));
    writing.push(linux("daxfs-branch list -m /").shows("linux").shows("work").shows("guest0"));

    let mut commit = vec![
        linux("echo side >/run/side/srv/who"),
        guest(0, "branch commit"),
        guest(0, &format!("cat {WHO}")).shows("guest0\n"),
        linux("cat /run/side/srv/who").fails(STALE),
    ];
    commit.extend((1..guests).map(|p| guest(p, &format!("cat {WHO}")).fails("ESTALE")));
    commit.push(linux("mount -t daxfs -o $DAXFS_RANGE,ro,branch=work none /run/work"));
    commit.push(linux("cat /run/work/srv/who").shows("guest0\n"));
    commit.push(linux(&format!("cat {WHO}")).shows("linux\n"));

    vec![
        Step {
            title: "Linux's root is a branch",
            why: "Linux has mounted the range where it lies in memory, and made a branch of the base\n\
                  image its root. There is no page cache, and no disk."
                .into(),
            commands: vec![
                linux("grep ' / ' /proc/mounts").shows("daxfs").shows("branch=linux"),
                linux("cat /etc/motd").shows("One root file system"),
            ],
            ..Step::default()
        },
        Step {
            title: "Other kernels start",
            why: format!(
                "Linux never started the other processors. It puts {kernels} into memory that was\n\
                 kept free, and starts them there: bare metal, written in Rust, 512 KiB."
            ),
            commands: start,
            ..Step::default()
        },
        Step {
            title: "All see the same base",
            why: "Each kernel reads the file by itself, from the same bytes of memory.".into(),
            commands: everybody(&format!("sha256sum {LARGE}")),
            agree: true,
            ..Step::default()
        },
        Step {
            title: "There is one copy of it",
            why: format!(
                "However many kernels read it: {} MiB, once. 'taken' tells by how much the command after\n\
                 it makes Linux's free memory smaller.",
                LARGE_BYTES >> 20
            ),
            commands: std::iter::once(linux(&format!("taken cat {LARGE}")).shows("taken: "))
                .chain(places().map(|place| guest(place, "meminfo").shows("heap")))
                .collect(),
            ..Step::default()
        },
        Step {
            title: "Each writes for itself",
            why: "What a kernel writes goes to its branch. The others do not see it.".into(),
            commands: writing,
            ..Step::default()
        },
        Step {
            title: "A kernel dies in the middle of its work",
            why: "It is not asked: its processor is reset while it writes. Linux confirms the death to the\n\
                  member table. What the dead had not committed is gone, its space is free again, and a\n\
                  new kernel starts from what is there."
                .into(),
            commands: vec![
                linux("daxfs-mk run -p 0 'fill /srv/big 100M 7' 2>/dev/null & wait_until_used 16"),
                linux("daxfs-mk stop -p 0"),
                linux("wait_until_free 16").shows("free again"),
                linux(&format!("cat {WHO}")).shows("linux\n"),
                linux("daxfs-mk start -p 0 --cpu 1"),
                guest(0, "ls /srv"),
                guest(0, &format!("write {WHO} \"guest0\\n\"")),
            ],
            hides: vec!["big\n".into()],
            ..Step::default()
        },
        Step {
            title: "A guest commits",
            why: "One compare-and-swap makes its branch the parent, 'work'. Its rivals, Linux's other mount\n\
                  among them, are told: their branches have ended. Linux's root is no rival of it."
                .into(),
            commands: commit,
            ..Step::default()
        },
        Step {
            title: "Linux commits",
            why: "Now Linux's root becomes main. 'work' was its sibling: the guest, which owns it, is told."
                .into(),
            commands: vec![
                linux("daxfs-branch commit -m /"),
                linux(&format!("cat {WHO}")).shows("linux\n"),
                guest(0, &format!("cat {WHO}")).fails("ESTALE"),
                linux("cat /run/work/srv/who").fails(STALE),
                linux("daxfs-branch list -m /").shows("main"),
            ],
            hides: vec!["work (".into(), "guest0 (".into()],
            ..Step::default()
        },
        Step {
            title: "The next kernel goes on from there",
            why: "It starts from what Linux has committed. When it commits itself, Linux, whose root follows\n\
                  main now, sees it at once: nothing is mounted again."
                .into(),
            commands: vec![
                linux("daxfs-mk stop --all"),
                linux("daxfs-mk load -k daxfs-guest -o $DAXFS_RANGE,branch=next,parent=main,validate"),
                linux("daxfs-mk start --cpu 1"),
                guest(0, &format!("cat {WHO}")).shows("linux\n"),
                guest(0, &format!("append {WHO} \"and the next\\n\"")),
                guest(0, "branch commit"),
                linux(&format!("cat {WHO}")).shows(OUTCOME),
                linux("daxfs-mk stop --all"),
            ],
            ..Step::default()
        },
    ]
}

/// Shell functions for what has no command of its own.
const FUNCTIONS: &str = r#"
available() { sed -n 's/^MemAvailable: *\([0-9]*\) .*/\1/p' /proc/meminfo; }
taken() {
    before=$(available)
    "$@" >/dev/null || return
    after=$(available)
    echo "taken: $((before - after)) KiB of memory"
    [ $((before - after)) -lt 8192 ]
}
space() { echo $(($(stat -f -c '%f' /) / 256)); }
wait_until_used() {
    until [ "$(space)" -le $((free - $1)) ]; do :; done
    echo "$((free - $(space))) MiB used"
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
         mount -t daxfs -o $DAXFS_RANGE,rw,branch=side,parent=work none /run/side || exit 1\n\
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
