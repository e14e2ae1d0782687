#!/bin/busybox sh
# The first process of the Linux that the runner boots: makes a system, runs the commands, tells the
# runner how they ended. What it tells goes through the kernel's log, behind a mark of this run.
#
# If the root is to be a branch, this goes on there, from its beginning: then with what the runner brought
# in /run/runner.
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root USER=root LOGNAME=root SHELL=/bin/sh
moved=/run/runner
if [ -e "$moved/settings" ]; then
    runner=$moved
    PATH=$PATH:$moved/bin
else
    runner=/runner
fi
. "$runner/settings"

make_system() {
    /bin/busybox --install -s 2>/dev/null
    mount -t proc proc /proc
    mount -t sysfs sysfs /sys
    mount -t devtmpfs devtmpfs /dev 2>/dev/null
    mkdir -p /dev/pts /dev/shm
    mount -t devpts devpts /dev/pts
    mount -t tmpfs tmpfs /dev/shm
    mount -t tmpfs tmpfs /tmp
    mount -t tmpfs tmpfs /run
    mount -t debugfs debugfs /sys/kernel/debug
    ln -sf /proc/self/fd /dev/fd
    ln -sf /proc/self/fd/0 /dev/stdin
    ln -sf /proc/self/fd/1 /dev/stdout
    ln -sf /proc/self/fd/2 /dev/stderr
    hostname linux
    ifconfig lo up 2>/dev/null
}

say() {
    echo "<5>$MARK $*" >/dev/kmsg
}

# From now on the console, which is slow, gets what is worth knowing; dmesg has everything.
begin() {
    say begin
    [ -n "$ALL_OF_THE_LOG" ] || dmesg -n 6
}

problem() {
    echo "<4>WARNING: runner: $*" >/dev/kmsg
}

# Persistent memory devices, from the lowest in memory to the highest.
namespaces() {
    grep -H . namespace*/resource | sed 's/\(.*\)\/resource:\(.*\)/\2 \1/' | sort | cut -d ' ' -f 2
}

# Gives a device a header that says what it is for, with a UUID, and the driver for that; Linux then has
# page structures for the rest: without them nobody can map it.
claim() {
    namespace=$1 purpose=$2 driver=$3
    region=region${namespace#namespace}
    seed=$(cat "${region%.*}/${purpose}_seed")
    echo "$namespace" >/sys/bus/nd/drivers/nd_pmem/unbind
    cat /proc/sys/kernel/random/uuid >"$seed/uuid"
    echo ram >"$seed/mode"
    echo "$namespace" >"$seed/namespace"
    echo "$seed" >"/sys/bus/nd/drivers/$driver/bind"
}

# The first is for file systems if one is, the last for programs to map.
persistent_memory() {
    cd /sys/bus/nd/devices || return
    if [ -n "$PMEM" ]; then
        claim "$(namespaces | head -n 1)" pfn nd_pmem
    fi
    if [ -n "$DAX" ]; then
        claim "$(namespaces | tail -n 1)" dax dax_pmem
        ln -s "$(ls /sys/bus/dax/devices)" /dev/dax
    fi
    cd /
}

# Makes a branch the root, and goes on there. What the runner brought comes along, in memory: in the
# branch is only what is the user's.
change_root() {
    mkdir -p /newroot "$moved/bin"
    if ! mount -t daxfs -o "$DAXFS_RANGE,rw,$ROOT" none /newroot; then
        problem "the root file system cannot be mounted"
        poweroff -f
    fi
    cp -r "$runner"/* /lib/modules /init "$moved"
    find /bin /usr/bin /usr/sbin -type f -exec cp {} "$moved/bin" \;
    "$moved/bin/busybox" --install -s "$moved/bin"
    for folder in proc sys dev run tmp; do
        mkdir -p "/newroot/$folder"
        mount -o move "/$folder" "/newroot/$folder"
    done
    exec switch_root /newroot "$moved/bin/busybox" sh "$moved/init"
}

if [ "$runner" != "$moved" ]; then
    make_system
    [ -z "$PMEM$DAX" ] || persistent_memory
    if [ -e /lib/modules/daxfs.ko ]; then
        insmod /lib/modules/daxfs.ko || problem "daxfs.ko cannot be loaded"
    fi
    [ -z "$ROOT" ] || change_root
fi
own_mounts=$(wc -l </proc/mounts)

# Ends whatever the commands left behind. Kernel threads have no program.
end_others() {
    for process in /proc/[0-9]*; do
        pid=${process#/proc/}
        case " 1 $* " in *" $pid "*) continue ;; esac
        [ -e "$process/exe" ] && kill -9 "$pid" 2>/dev/null
    done
}

# Removes a module. Processes that were killed may take a while to let go of it.
unload() {
    for attempt in $(seq 30); do
        rmmod "$1" 2>/dev/null && return
        sleep 1
    done
    return 1
}

# Undoes the commands' mounts, the last one first, and removes the modules, but for the one that the root
# needs: what still holds on to something then has a bug.
tidy() {
    cd /
    sed "1,${own_mounts}d" /proc/mounts | cut -d ' ' -f 2 | tac >/run/mounts
    while read -r folder; do
        umount "$(printf '%b' "$folder")" || umount -l "$(printf '%b' "$folder")"
    done </run/mounts
    # The youngest comes first there.
    cut -d ' ' -f 1 /proc/modules >/run/modules
    while read -r module; do
        [ -n "$ROOT" ] && [ "$module" = daxfs ] && continue
        unload "$module" || problem "the module $module is still in use after the last unmount"
    done </run/modules
}

# The port of this name.
port() {
    grep -lx "$1" /sys/class/virtio-ports/*/name | cut -d / -f 5
}

# How many bytes went out through a port.
sent() {
    sed -n 's/^bytes_sent: //p' "/sys/kernel/debug/virtio-ports/$1"
}

# The commands' output goes through pipes, so that they can open it again by name. The runner is told how
# much there is of it, to know when it has everything.
script() {
    mkfifo /run/out /run/err
    output=$(port output) errors=$(port errors)
    cat /run/out >"/dev/$output" &
    out=$!
    cat /run/err >"/dev/$errors" &
    err=$!
    begin
    setsid sh "$runner/script" </dev/null >/run/out 2>/run/err
    status=$?
    # Commands that failed did not get as far as stopping the kernels beside this one.
    [ $status = 0 ] || [ ! -e /dev/daxfs_mk ] || daxfs-mk stop --all >/dev/null 2>&1
    end_others "$out" "$err"
    wait "$out" "$err"
    tidy
    say "end $status $(sent "$output") $(sent "$errors")"
    # The runner ends the machine when it has everything.
    while :; do sleep 1000; done
}

# Runs one text of commands after another. Each comes through the port behind a line with its length; the
# answer is a line with status and length, and what was printed. Length 0: there are no more.
commands() {
    exec 3<>"/dev/$(port commands)"
    begin
    cd /root || cd /
    while read -r length <&3 && [ "$length" -gt 0 ]; do
        head -c "$length" <&3 >/run/commands
        # What earlier commands left running may still write to theirs.
        rm -f /run/answer
        (. /run/commands) </dev/null >/run/answer 2>&1 3>&-
        echo "$? $(wc -c </run/answer)" >&3
        cat /run/answer >&3
    done
    exec 3>&-
    end_others
    tidy
    say "end 0 0 0"
    poweroff -f
}

interactive() {
    begin
    cd /root || cd /
    sh "$runner/script" </dev/null >/dev/hvc0 2>&1
    # That of the root, if it has one.
    shell=/bin/sh
    [ -x "$shell" ] || shell=sh
    setsid -c sh -lc "stty rows $ROWS cols $COLUMNS; exec $shell -l" </dev/hvc0 >/dev/hvc0 2>&1
    status=$?
    # Who leaves need not stop the kernels beside this one.
    [ ! -e /dev/daxfs_mk ] || daxfs-mk stop --all
    end_others
    tidy
    say "end $status 0 0"
    poweroff -f
}

case $MODE in
    script) script ;;
    commands) commands ;;
    *) interactive ;;
esac
