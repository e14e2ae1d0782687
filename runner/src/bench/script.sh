# What `runner bench` has Linux do: the same work in one file system after the other. Standard output
# has the results, in lines of a file system's name, a row's and a number, separated by tabs.
#
# Settings: PASSES, how often everything is done; FIO, whether fio is there and wanted; SUBJECTS, the file
# systems.
set -e

say() {
    echo "bench: $*" >&2
}

wanted() {
    case " $SUBJECTS " in *" $1 "*) true ;; *) false ;; esac
}

# The range's base image, for copies of its tree.
mkdir /base /work /erofs /upper
mount -t daxfs -o "$DAXFS_RANGE,ro" none /base
if command -v mkfs.erofs >/dev/null && { wanted erofs || wanted overlay; }; then
    mkfs.erofs /run/erofs /base >/dev/null
    erofs=$(losetup -f)
    losetup -r "$erofs" /run/erofs
    mount -t erofs "$erofs" /erofs
fi

# Mounts one on /work, with the base's tree in it.
prepare_tmpfs() {
    mount -t tmpfs -o size=400M none /work
    cp -a /base/. /work
}
prepare_ext4_dax() {
    mkfs.ext4 -q -b 4096 -E lazy_itable_init=0,lazy_journal_init=0 /dev/pmem0
    mount -t ext4 -o dax /dev/pmem0 /work
    cp -a /base/. /work
    sync
}
prepare_erofs() {
    mount --bind /erofs /work
}
prepare_overlay() {
    mount -t tmpfs -o size=400M none /upper
    mkdir /upper/upper /upper/work
    mount -t overlay -o lowerdir=/erofs,upperdir=/upper/upper,workdir=/upper/work none /work
}
prepare_daxfs() {
    mount -t daxfs -o "$DAXFS_RANGE,rw,branch=bench,parent=main" none /work
}

tidy() {
    cd /
    umount /work
    if [ "$1" = overlay ]; then
        umount /upper
    fi
}

# FILE-SYSTEM KIND-OF-WORK...
measure() {
    subject=$1
    shift
    wanted "$subject" || return 0
    say "$subject (pass $pass of $PASSES)"
    "prepare_$(echo "$subject" | tr - _)"
    for kind; do
        daxfs-bench "$subject" "$kind" /work
    done
    if [ -n "$FIO" ] && [ "$pass" = "$PASSES" ]; then
        run_fio "$subject"
    fi
    tidy "$subject"
}

# FILE-SYSTEM ROW FIELD OPTION...: the field is where fio prints the throughput.
throughput() {
    subject=$1 row=$2 field=$3
    shift 3
    fio --minimal --name=job --ioengine=psync --size=16m --time_based --runtime=1 "$@" |
        cut -d ';' -f "$field" | sed "s/^/$subject\tfio: $row\t/"
}

# The base's file is read, and another written.
run_fio() {
    throughput "$1" "base, seq read 4k" 7 --filename=/work/medium --readonly --rw=read --bs=4k
    throughput "$1" "base, rand read 4k" 7 --filename=/work/medium --readonly --rw=randread --bs=4k
    throughput "$1" "base, seq read 1M" 7 --filename=/work/medium --readonly --rw=read --bs=1m
    [ "$1" != erofs ] || return 0
    throughput "$1" "seq write 4k" 48 --filename=/work/fio --rw=write --bs=4k
    throughput "$1" "rand write 4k" 48 --filename=/work/fio --rw=randwrite --bs=4k
    throughput "$1" "rand read 4k" 7 --filename=/work/fio --rw=randread --bs=4k
    throughput "$1" "seq write 1M" 48 --filename=/work/fio --rw=write --bs=1m
}

pass=1
while [ "$pass" -le "$PASSES" ]; do
    measure tmpfs files base change names
    if command -v mkfs.ext4 >/dev/null; then
        measure ext4-dax files base change names
    fi
    if [ -n "$erofs" ]; then
        measure erofs base
        measure overlay files base change names
    fi
    measure daxfs files base change names
    if wanted daxfs; then
        mount -t daxfs -o "$DAXFS_RANGE,rw,branch=main" none /work
        daxfs-bench daxfs branches /work
        tidy daxfs
    fi
    pass=$((pass + 1))
done
