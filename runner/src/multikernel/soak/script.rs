//! What Linux does: its own rounds; guests started, stopped, and looked after.
//!
//! It says what has happened, in lines that [`super::Ledger`] reads:
//!
//! | line | |
//! |---|---|
//! | `round WRITER BASE ROUND` | a round is committed |
//! | `race WRITER BASE ROUND` | a base is going to be committed into `main` |
//! | `killed WRITER BASE BEFORE SAID FOUND WHERE` | a guest was stopped: the round it found; the last one it said it had committed; the one that is in its base; what it was doing. `-` for what is not known |
//! | `strange ...` | what should not be |

use super::work::SLOTS;
use crate::multikernel::places;

/// Rounds of Linux's between two commits into `main`.
const ROUNDS: u32 = 25;
/// Rounds that a guest is given. Nobody gets that far.
const MANY: u32 = 400;

/// The script, for `seconds`. `seed` chooses the moments.
#[must_use]
pub fn script(guests: u32, seconds: u64, seed: u64) -> String {
    let (ranges, last) = (places::ranges(guests), guests - 1);
    let seed = seed % 1_000_000;
    format!(
        r#"
insmod /lib/modules/daxfs_mk.ko ranges={ranges} || exit 125
mkdir -p /look /run/soak
mount -t daxfs -o $DAXFS_RANGE,ro none /look || exit 125
{FUNCTIONS}
for place in $(seq 0 {last}); do guest $place $(({seed} + place)) & done
linux &
sleep {seconds}
touch /run/soak/enough
wait
daxfs-mk stop --all || strange "a guest does not stop"
umount /look
exit 0
"#
    )
    .replace("SLOTS", &SLOTS.to_string())
    .replace("ROUNDS", &ROUNDS.to_string())
    .replace("MANY", &MANY.to_string())
}

const FUNCTIONS: &str = r#"
strange() { echo "strange $*"; }

# The base of a writer; nothing if it has none.
base() { daxfs-branch list -m /look | grep -o "\b$1\.[0-9]*" | tail -n 1; }

# The last round in base $1 of writer $2.
state() {
    mkdir -p /run/soak/$2
    mount -t daxfs -o $DAXFS_RANGE,ro,branch=$1 none /run/soak/$2 2>/run/soak/why-$2 || return 1
    found=$(cat /run/soak/$2/$2/state 2>&1)
    umount /run/soak/$2
    case $found in
        *"No such"*) echo 0 ;;
        *[!0-9]* | '') return 1 ;;
        *) echo $found ;;
    esac
}

# Commands for $1 guest's shell: rounds from $2 on.
commands() {
    writer=guest$1 n=$2 last=$(($2 + MANY))
    while [ $n -lt $last ]; do
        d=/$writer/d$((n % SLOTS)) seed=$((n * 64 + $1 + 1))
        echo "mkdir -p $d; fill $d/t $((n * 7919 % 150000 + 1)) $seed; mv $d/t $d/a"
        echo "fill $d/t 5000 $((seed + 32)); truncate $d/t $((n * 31 % 5000 + 1)); mv $d/t $d/b"
        echo "write $d/t \"$n\n\"; mv $d/t $d/round; write /$writer/t \"$n\n\"; mv /$writer/t /$writer/state"
        echo "echo c; branch commit; cat /$writer/state; branch create $writer"
        # Now and then it changes its mind, or tidies up.
        case $((n % 8)) in
            3) echo "fill /$writer/x 300000 1; rm -r $d; branch abort; branch create $writer" ;;
            5) echo "branch compact" ;;
        esac
        n=$((n + 1))
    done
}

# Starts and stops the guest in place $1; $2 chooses the moments.
guest() {
    place=$1 r=$2 writer=guest$1
    while [ ! -e /run/soak/enough ]; do
        base=$(base $writer)
        [ -n "$base" ] && before=$(state $base $writer) || { usleep 20000; continue; }
        commands $place $((before + 1)) >/run/soak/script$place
        daxfs-mk load -p $place -k /daxfs-guest -o $DAXFS_RANGE,branch=$writer,parent=$base,nokeep \
            --script /run/soak/script$place || strange "load"
        daxfs-mk start -p $place --cpu $((place + 1)) --no-wait || strange "start"
        r=$(((r * 1103515245 + 12345) % 2147483648))
        # Short lives, and longer ones.
        case $((r / 1024 % 5)) in
            0) usleep $((r / 8192 % 4000000)) ;;
            *) usleep $((r / 8192 % 800000)) ;;
        esac
        daxfs-mk stop -p $place || strange "stop"
        daxfs-mk console -p $place --so-far >/run/soak/said$place
        found=$(state $base $writer) || found=-
        said=$(grep -x '[0-9]*' /run/soak/said$place | tail -n 1)
        case $(tail -n 1 /run/soak/said$place) in
            '') where=boot ;;
            c) where=commit ;;
            *) where=other ;;
        esac
        # Whoever has lost its base may complain.
        [ $found = - ] || grep -vx 'c\|[0-9]*' /run/soak/said$place | head -n 3 >/run/soak/strange$place
        [ $found = - ] || while read -r line; do strange "$writer says: $line"; done </run/soak/strange$place
        echo "killed $writer $base $before ${said:--} $found $where"
    done
}

# A round of Linux's.
round() {
    n=$1 d=/mnt/linux/d$(($1 % SLOTS))
    a=$((1000000000 + n * 2 % 100000 * 10000)) b=$((1000000000 + (n * 2 + 1) % 100000 * 10000))
    mkdir -p $d &&
        seq $a $((a + n * 7919 % 150000 / 11)) >$d/t && mv $d/t $d/a &&
        seq $b $((b + n * 31 % 5000 / 11)) >$d/t && mv $d/t $d/b &&
        echo $n >$d/t && mv $d/t $d/round &&
        echo $n >/mnt/linux/t && mv /mnt/linux/t /mnt/linux/state &&
        daxfs-branch commit -m /mnt && [ "$(cat /mnt/linux/state)" = $n ] &&
        echo "round linux $base $n" && daxfs-branch create -m /mnt linux || return 1
    [ $((n % 8)) != 3 ] || {
        head -c 300000 /dev/zero >/mnt/linux/x && rm -r $d && daxfs-branch abort -m /mnt &&
            daxfs-branch create -m /mnt linux
    }
}

# What fails is strange, unless the base has ended.
failed() { ! state $base linux >/run/soak/state || strange "linux: $* $(tail -n 3 /run/soak/why)"; }

linux() {
    while [ ! -e /run/soak/enough ]; do
        base=$(base linux)
        [ -n "$base" ] && n=$(state $base linux) || { usleep 20000; continue; }
        mount -t daxfs -o $DAXFS_RANGE,rw,branch=linux,parent=$base none /mnt 2>/run/soak/why ||
            { failed mount; continue; }
        last=$((n + ROUNDS)) went=well
        while [ $n -lt $last ] && [ ! -e /run/soak/enough ]; do
            n=$((n + 1))
            round $n 2>/run/soak/why || { went=wrong; break; }
        done
        umount /mnt
        [ $went = well ] || { failed "round $n"; continue; }
        [ ! -e /run/soak/enough ] || break
        # Its base becomes main, and all others end.
        mount -t daxfs -o $DAXFS_RANGE,rw,branch=$base,keep none /mnt 2>/run/soak/why ||
            { failed "mount base"; continue; }
        echo "race linux $base $n"
        daxfs-branch commit -m /mnt 2>/run/soak/why || failed "race"
        umount /mnt
    done
}
"#;
