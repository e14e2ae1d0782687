//! Kernels that Linux starts beside itself, in QEMU: with `daxfs_mk.ko` and `daxfs-mk`, as a user does.
//!
//! Each test is one run of Linux, whose log must stay free of complaints, and whose modules must go at
//! the end.

mod common;
#[path = "common/machine.rs"]
mod machine;

use common::{errors, status};
use runner::image::{DEFAULT_SIZE, Image};
use runner::setup::{self, Cache};
use std::path::PathBuf;
use std::process::Output;
use std::sync::OnceLock;
use std::time::Duration;

/// How long a kernel may say nothing.
const LEASE: Duration = Duration::from_secs(60);

/// The kernel that is started.
fn guest() -> &'static PathBuf {
    static GUEST: OnceLock<PathBuf> = OnceLock::new();
    GUEST.get_or_init(|| {
        machine::needed();
        let cache = Cache::open().unwrap();
        let first = common::runner(&["linux", "--exec", "true"]).status().unwrap();
        assert!(first.success(), "{first}");
        setup::guest(&cache, &()).unwrap().elf
    })
}

/// The program that measures Linux's side of latencies. It is built with the tools.
fn latency() -> PathBuf {
    let tools = setup::programs(&Cache::open().unwrap(), &()).unwrap().tools;
    tools[0].with_file_name("daxfs-latency")
}

/// What all scripts begin with: places of 64 MiB from 768 MiB on, one for each processor but the first.
const BEGIN: &str = r#"
    set -u
    fail() { echo "FAILED: $*" >&2; daxfs-mk status >&2; dmesg | tail -n 20 >&2; exit 1; }
    try() { "$@" || fail "$*"; }
    refused() { ! "$@" 2>/tmp/refusal || fail "not refused: $*"; }
    is() { [ "$1" = "$2" ] || fail "'$1' is not '$2'"; }
    state() { daxfs-mk status -p "$1" --json | sed 's/.*"state":"\([a-z]*\)".*/\1/'; }
    processors() {
        for cpu in $(seq 1 "$1"); do
            [ "$(cat /sys/devices/system/cpu/cpu$cpu/online)" = 0 ] || echo 0 >/sys/devices/system/cpu/cpu$cpu/online
            ranges=${ranges:+$ranges,}64M@0x$(printf %x $((0x30000000 + (cpu - 1) * 0x4000000)))
        done
        try insmod /lib/modules/daxfs_mk.ko ranges=$ranges
    }
"#;

/// Runs a script on Linux with so many processors.
fn linux(cpus: u32, append: &str, script: &str) -> Output {
    let add = format!("{}:/daxfs-guest", guest().display());
    let measure = format!("{}:/usr/bin/daxfs-latency", latency().display());
    let append = format!("memmap={}M$0x30000000 no_ipi_broadcast=1 {append}", 64 * (cpus - 1));
    let (cpus, script) = (cpus.to_string(), format!("{BEGIN}\n{script}"));
    // Deaths are confirmed here; a machine that has others to serve is none.
    let image = Image::demo(DEFAULT_SIZE).and_then(|image| image.with_lease(LEASE)).unwrap();
    let image = image.path().to_str().unwrap();
    let arguments = [
        "linux",
        "--timeout",
        "1800",
        "--cpus",
        &cpus,
        "--append",
        &append,
        "--image",
        image,
        "--add",
        &add,
        "--add",
        &measure,
    ];
    common::runner(&[&arguments[..], flavour(), &["--exec", &script]].concat()).output().unwrap()
}

/// What a script prints that succeeds.
#[track_caller]
fn printed(cpus: u32, append: &str, script: &str) -> String {
    let output = linux(cpus, append, script);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(status(&output), 0, "{text}\n{}", errors(&output));
    text
}

#[test]
fn a_kernel_starts_answers_stops_and_starts_again() {
    let output = printed(
        2,
        "",
        r#"
        processors 1
        is "$(state 0)" empty
        try daxfs-mk load --kernel /daxfs-guest -o $DAXFS_RANGE,branch=guest
        is "$(state 0)" loaded
        try daxfs-mk start --cpu 1
        is "$(state 0)" mounted
        try daxfs-mk run 'write /tmp/greeting hello; cat /tmp/greeting; mount'
        daxfs-mk run 'cat /nowhere'; is $? 1
        daxfs-mk run 'nonsense'; is $? 127
        # What was typed comes back at once; what it says starts a line.
        printf 'echo typed\r' | try daxfs-mk console --until "
typed" --timeout 600 >/tmp/console
        grep -q '^typed' /tmp/console || fail "console"

        # The branch is kept when its kernel is stopped, and there again for the next one.
        try daxfs-mk stop
        is "$(state 0)" stopped
        try daxfs-mk start --cpu 1
        try daxfs-mk run 'cat /tmp/greeting'
        try daxfs-mk restart
        try daxfs-mk run 'append /tmp/greeting again; cat /tmp/greeting'
        try daxfs-mk stop
        try daxfs-mk stop

        # The processor is Linux's again, and the module can go and come back.
        try daxfs-mk stop --online
        try sh -c 'echo 1 >/sys/devices/system/cpu/cpu1/online'
        is "$(cat /sys/devices/system/cpu/online)" 0-1
        try taskset 2 true
        try rmmod daxfs_mk
        ranges=
        processors 1
        try daxfs-mk start --cpu 1
        try daxfs-mk run 'cat /tmp/greeting'
        try daxfs-mk stop
        "#,
    );
    let lines: Vec<&str> = output.lines().collect();
    assert!(output.contains("hello"), "{output}");
    assert!(lines.iter().any(|line| line.contains("branch") && line.contains("guest")), "{output}");
    assert_eq!(output.matches("again").count(), 2, "{output}");
}

#[test]
fn what_must_not_be_is_refused() {
    printed(
        2,
        "",
        r#"
        # Memory that Linux uses, all or in part; nonsense.
        for ranges in 64M@0x10000000 128M@0x2e000000 64M@0x33000001 1M@0x30000000 64M 64M@0x30000000,64M@0x32000000 \
            0M@0x30000000 64M@0xfffffffffc000000; do
            refused insmod /lib/modules/daxfs_mk.ko ranges=$ranges
        done
        refused insmod /lib/modules/daxfs_mk.ko
        ranges=
        processors 1
        try daxfs-mk load --kernel /daxfs-guest -o $DAXFS_RANGE,branch=guest
        # Processors that are Linux's, or are not there, or are the first.
        echo 1 >/sys/devices/system/cpu/cpu1/online
        refused daxfs-mk start --cpu 1
        echo 0 >/sys/devices/system/cpu/cpu1/online
        refused daxfs-mk start --cpu 0
        refused daxfs-mk start --cpu 7
        # Other places; files that are no kernels; options that no kernel understands.
        refused daxfs-mk start -p 1 --cpu 1
        refused daxfs-mk load --kernel /bin/busybox -o $DAXFS_RANGE
        refused daxfs-mk load --kernel /init -o $DAXFS_RANGE
        refused daxfs-mk load --kernel /daxfs-guest -o $DAXFS_RANGE,nonsense
        refused daxfs-mk load --kernel /daxfs-guest -o phys=0x30000000,size=64M
        refused daxfs-mk run ls

        try daxfs-mk start --cpu 1
        # It runs: nobody takes its processor, its place or the module away.
        refused daxfs-mk start --cpu 1
        refused daxfs-mk load --kernel /daxfs-guest -o $DAXFS_RANGE
        refused sh -c 'echo 1 >/sys/devices/system/cpu/cpu1/online'
        refused rmmod daxfs_mk
        try daxfs-mk run 'echo still here'
        # Unprivileged programs see nothing of it.
        chmod 666 /dev/daxfs_mk
        refused su nobody -s /bin/sh -c 'daxfs-mk status'
        try daxfs-mk stop
        "#,
    );
}

#[test]
fn a_kernel_that_fails_takes_nobody_with_it() {
    printed(
        2,
        "",
        r#"
        processors 1
        try daxfs-mk load --kernel /daxfs-guest -o $DAXFS_RANGE,branch=guest,nokeep
        for how in page-fault null ud2 divide panic write-base execute stack; do
            try daxfs-mk start --cpu 1
            daxfs-mk run "crash $how" >/tmp/report
            status=$?
            case $how in panic) is $status 101 ;; *) is $status 102 ;; esac
            is "$(state 0)" ended
            daxfs-mk console --so-far >>/tmp/report
            grep -q 'EXCEPTION\|PANIC' /tmp/report || fail "no report of $how"
            try daxfs-mk stop
        done
        # One that cannot mount says so; one whose script is done has its status.
        try daxfs-mk load --kernel /daxfs-guest -o $DAXFS_RANGE,ro,branch=nobody
        refused daxfs-mk start --cpu 1
        grep -q 'Shell(32)' /tmp/refusal || fail "$(cat /tmp/refusal)"
        try daxfs-mk stop
        try daxfs-mk load --kernel /daxfs-guest -o $DAXFS_RANGE --exec 'echo scripted; halt 7'
        try daxfs-mk start --cpu 1 --no-wait
        daxfs-mk console </dev/null >/tmp/output
        is $? 7
        is "$(cat /tmp/output)" scripted
        try daxfs-mk stop
        "#,
    );
}

#[test]
fn three_kernels_and_linux_each_own_a_branch() {
    // Linux has never started the other processors.
    printed(
        4,
        "maxcpus=1",
        r#"
        processors 3
        try mount -t daxfs -o $DAXFS_RANGE,rw,branch=linux,parent=main none /mnt
        echo linux >/mnt/who
        for place in 0 1 2; do
            try daxfs-mk load -p $place --kernel /daxfs-guest -o $DAXFS_RANGE,branch=guest$place
            try daxfs-mk start -p $place --cpu $((place + 1))
            try daxfs-mk run -p $place "write /who guest$place"
        done
        for place in 0 1 2; do
            is "$(state $place)" mounted
            is "$(daxfs-mk run -p $place 'cat /who')" guest$place
            is "$(daxfs-mk run -p $place 'members' | grep -c alive)" 4
        done
        is "$(cat /mnt/who)" linux
        # All of them see the same base.
        ours=$(cd /mnt && find etc -type f | sort | head -n 1)
        sum=$(sha256sum <"/mnt/$ours" | cut -d ' ' -f 1)
        for place in 0 1 2; do
            is "$(daxfs-mk run -p $place "sha256sum /$ours" | cut -d ' ' -f 1)" "$sum"
        done
        # One is stopped: the others go on. Its processor can be another kernel's.
        try daxfs-mk stop -p 1
        is "$(daxfs-mk run -p 0 'cat /who')" guest0
        refused daxfs-mk start -p 1 --cpu 1
        try daxfs-mk start -p 1 --cpu 2
        is "$(daxfs-mk run -p 1 'cat /who')" guest1
        # One commits: the others' branches end.
        try daxfs-mk run -p 2 'branch commit'
        is "$(daxfs-mk run -p 2 'cat /who')" guest2
        daxfs-mk run -p 0 'cat /who' && fail "it has not ended"
        cat /mnt/who 2>/tmp/error && fail "it has not ended"
        grep -q Stale /tmp/error || fail "$(cat /tmp/error)"
        try umount /mnt
        try mount -t daxfs -o $DAXFS_RANGE none /mnt
        is "$(cat /mnt/who)" guest2
        try daxfs-mk stop --all
        "#,
    );
}

/// Which Linux: `DAXFS_KERNEL=debug` asks for the one that checks itself.
fn flavour() -> &'static [&'static str] {
    match std::env::var("DAXFS_KERNEL").as_deref() {
        Ok("debug") => &["--kernel-debug"],
        _ => &[],
    }
}

/// How often a kernel is killed; `DAXFS_KILLS` asks for more.
fn kills() -> u32 {
    std::env::var("DAXFS_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(40)
}

/// What the kernel that is killed does: a bit of everything, and little but commits, renames and
/// compactions. It says before what it is going to do: `c`, `r`, `k`, and `o` for all else.
const LOADS: &str = r#"
        for n in $(seq 1 300); do
            echo "mkdir -p /load/d$n; fill /load/d$n/a 300000 $n; write /load/d$n/b text; mv /load/d$n/b /load/c"
            echo "branch create work; fill /load/e 200000 $n; rm /load/c; append /load/f text"
            echo "echo c; branch commit; echo o"
            echo "truncate /load/e 100; rm -r /load/d$n; branch create work; fill /load/e 5000 $n; branch abort"
        done >/tmp/mixed
        echo "mkdir /load; touch /load/e" >/tmp/ends
        for n in $(seq 1 1000); do
            echo "branch create work; mv /load/e /load/g; echo c; branch commit; echo o"
            echo "branch create work; touch /load/n$n; echo c; branch commit"
            echo "echo r; mv /load/g /load/h; mv /load/n$n /load/g; mv /load/h /load/e; echo o"
            [ $((n % 3)) != 0 ] || echo "echo k; branch compact; echo o"
        done >>/tmp/ends
"#;

#[test]
fn a_kernel_killed_at_any_moment_leaves_linux_working_and_no_trace() {
    let script = r#"
        processors 1
        LOADS
        begin() { try mount -t daxfs -o $DAXFS_RANGE,rw,branch=linux,parent=main none /mnt; mkdir /mnt/own; }
        begin
        free=$(stat -f -c %f /mnt)
        (
            n=0
            while [ ! -e /tmp/enough ]; do
                n=$((n + 1))
                head -c $((n % 50 * 7000 + 1)) /dev/urandom >/tmp/data
                cp /tmp/data /mnt/own/f && cmp /tmp/data /mnt/own/f && mv /mnt/own/f /mnt/own/g && rm /mnt/own/g ||
                    { echo "round $n" >/tmp/damage; break; }
            done
            echo $n >/tmp/rounds
        ) 2>/tmp/damage-said &
        boot=0 c=0 r=0 k=0 o=0
        for kill in $(seq 1 KILLS); do
            # One of four is killed while it boots, or soon after.
            load=/tmp/ends wait=
            case $((kill % 4)) in
                0) load=/tmp/mixed ;;
                1) wait=--no-wait ;;
            esac
            try daxfs-mk load --kernel /daxfs-guest -o $DAXFS_RANGE,branch=guest,nokeep --script $load
            try daxfs-mk start --cpu 1 $wait
            usleep $(($(od -An -N2 -tu2 /dev/urandom) * 4))
            try daxfs-mk stop
            [ ! -e /tmp/damage ] || fail "$(cat /tmp/damage /tmp/damage-said)"
            daxfs-branch list -m /mnt >/tmp/branches || fail "list"
            ! grep -q 'guest\|work' /tmp/branches || fail "after kill $kill: $(cat /tmp/branches)"
            daxfs-mk console --so-far >/tmp/said
            ! grep -vx '[crko]' /tmp/said || fail "complaints"
            in=$(tail -n 1 /tmp/said)
            in=${in:-boot}
            eval "$in=\$(($in + 1))"
        done
        touch /tmp/enough
        wait
        [ ! -e /tmp/damage ] || fail "$(cat /tmp/damage /tmp/damage-said)"
        # What Linux itself has logged meanwhile goes with its branch. Then nothing may be missing, at the
        # latest when Linux has looked for what nobody needs any more.
        try umount /mnt
        begin
        for wait in $(seq 1 60); do
            now=$(stat -f -c %f /mnt)
            [ "$now" != "$free" ] || break
            sleep 1
        done
        echo "killed KILLS times: in a commit $c, in renames $r, in a compaction $k, elsewhere $o, before that $boot"
        echo "$(cat /tmp/rounds) rounds of Linux's; free $free, now $now"
        is "$now" "$free"
        # One in seven or so each, so that one of both is sure; compactions are too short.
        [ $((c + r)) -gt 0 ] || fail "not killed where it matters"
        try umount /mnt
        try mount -t daxfs -o $DAXFS_RANGE,validate none /mnt
    "#;
    let script = script.replace("LOADS", LOADS).replace("KILLS", &kills().to_string());
    println!("{}", printed(2, "", &script));
}

/// The middle one and the least of some numbers.
fn middle(numbers: &[f64]) -> (f64, f64) {
    let mut sorted = numbers.to_vec();
    sorted.sort_by(f64::total_cmp);
    (sorted[sorted.len() / 2], sorted[0])
}

#[test]
fn latencies_between_kernels_are_measured() {
    let output = printed(
        3,
        "",
        r#"
        ranges=
        echo 0 >/sys/devices/system/cpu/cpu2/online
        try insmod /lib/modules/daxfs_mk.ko ranges=64M@0x30000000
        begin() { try mount -t daxfs -o $DAXFS_RANGE,rw,branch=linux,parent=main none /mnt; echo text >/mnt/f; }
        looking() { until grep -q looking $1; do :; done; }
        times="1 2 3 4 5 6 7"
        for n in $times; do echo "unit $(daxfs-latency bounce)"; done

        for n in $times; do
            for validate in "" ,validate; do
                try daxfs-mk load -k /daxfs-guest -o $DAXFS_RANGE,branch=start,nokeep$validate
                echo "start$validate $(daxfs-mk start --cpu 2 --timing | grep -o '[0-9.]*' | tr '\n' ' ')"
                try daxfs-mk stop
            done
        done

        # The guest commits, Linux looks.
        try daxfs-mk load -k /daxfs-guest -o $DAXFS_RANGE,branch=guest
        try daxfs-mk start --cpu 2
        for n in $times; do
            begin
            # What is left of the last time must not be taken for this one's.
            : >/tmp/stale
            daxfs-latency stale /mnt/f >/tmp/stale &
            looking /tmp/stale
            committed=$(try daxfs-mk run "touch /f; bench commit")
            wait
            echo "guest-linux $committed $(tail -n 1 /tmp/stale)"
            try daxfs-mk run "branch create guest"
            try umount /mnt
        done
        try daxfs-mk stop

        # Linux commits, the guest looks.
        for n in $times; do
            begin
            try daxfs-mk load -k /daxfs-guest -o $DAXFS_RANGE,branch=guest,nokeep
            try daxfs-mk start --cpu 2
            : >/tmp/stale
            daxfs-mk run "touch /f; bench stale /f" >/tmp/stale &
            looking /tmp/stale
            committed=$(try daxfs-latency commit /mnt)
            wait
            echo "linux-guest $committed $(tail -n 1 /tmp/stale)"
            try umount /mnt
            try daxfs-mk stop
        done
        "#,
    );
    let rows = |what: &str| -> Vec<Vec<f64>> {
        let rows = output.lines().filter_map(|line| line.strip_prefix(what)?.strip_prefix(' '));
        rows.map(|row| row.split_whitespace().map(|word| word.parse().unwrap()).collect()).collect()
    };
    let column = |what: &str, of: &dyn Fn(&[f64]) -> f64| {
        let numbers: Vec<f64> = rows(what).iter().map(|row| of(row)).collect();
        assert_eq!(numbers.len(), 7, "{output}");
        middle(&numbers)
    };
    let [(bounce, _), (load, _), (microsecond, _)] =
        [0, 1, 2].map(|n| column("unit", &move |row: &[f64]| row[n]));
    println!(
        "a line from processor to processor: {:.0} ns; an atomic load: {:.1} ns",
        bounce / microsecond * 1e3,
        load / microsecond * 1e3
    );
    for what in ["guest-linux", "linux-guest"] {
        let (usual, least) = column(what, &|row| (row[2] - row[0]) / microsecond);
        let bounces = usual * microsecond / bounce;
        println!("{what}: seen after {usual:.0} us ({least:.0}), {bounces:.1} bounces");
        let (commit, _) = column(what, &|row| (row[1] - row[0]) / microsecond);
        let (look, _) = column(what, &|row| row[3] / microsecond);
        println!("{what}: the commit takes {commit:.0} us, a look {look:.1} us");
        // It has seen it after it was begun.
        assert!(column(what, &|row| row[2] - row[0]).1 > 0.0, "{output}");
    }
    for what in ["start", "start,validate"] {
        let names = ["the ioctl is done", "running", "first byte", "mounted"];
        for (n, name) in names.into_iter().enumerate() {
            let (usual, least) = column(what, &|row| row[n]);
            println!("{what}, until {name}: {usual:.1} ms ({least:.1})");
        }
    }
}
