//! Programs that rely on a file system in all their ways, on a branch in Linux: data bases, version control,
//! archives.

mod common;
#[path = "common/machine.rs"]
mod machine;

use common::{errors, status};

/// Runs a script with these packages, on a branch that is mounted at /mnt and looked at afterwards.
#[track_caller]
fn on_a_branch(packages: &[&str], script: &str) {
    machine::needed();
    let script = format!(
        r#"
        set -eu
        # The shell has a tool of its own for most names: this is the package's.
        package_s() {{ for tool in /usr/bin/$1 /bin/$1; do [ -L $tool ] || [ ! -x $tool ] || echo $tool; done; }}
        is() {{ [ "$1" = "$2" ] || {{ echo "'$1' is not '$2'" >&2; exit 1; }}; }}
        mount -t daxfs -o $DAXFS_RANGE,rw,branch=work,parent=main none /mnt
        cd /mnt
        {script}
        cd /
        find /mnt -type f | sort | xargs sha256sum >/tmp/before
        daxfs-branch commit -m /mnt
        umount /mnt
        mount -t daxfs -o $DAXFS_RANGE,ro,validate none /mnt
        find /mnt -type f | sort | xargs sha256sum >/tmp/after
        cmp /tmp/before /tmp/after
        "#
    );
    let packages = packages.iter().flat_map(|package| ["--package", package]);
    let mut arguments = vec!["linux", "--timeout", "900"];
    arguments.extend(packages);
    arguments.extend(["--exec", &script]);
    let output = common::runner(&arguments).output().unwrap();
    let printed = String::from_utf8_lossy(&output.stdout);
    assert_eq!(status(&output), 0, "{printed}\n{}", errors(&output));
}

#[test]
fn a_data_base_is_whole_with_every_kind_of_journal_and_several_writers() {
    on_a_branch(
        &["sqlite3"],
        r#"
        for mode in delete truncate persist wal; do
            sqlite3 $mode.db "
                PRAGMA journal_mode=$mode;
                CREATE TABLE t(a INTEGER PRIMARY KEY, b TEXT);
                WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c WHERE x < 5000)
                    INSERT INTO t SELECT x, hex(randomblob(50)) FROM c;
                UPDATE t SET b = 'x' || b WHERE a % 3 = 0;
                DELETE FROM t WHERE a % 5 = 0;
                CREATE INDEX i ON t(b);" >/dev/null
            is "$(sqlite3 $mode.db 'PRAGMA integrity_check; SELECT count(*) FROM t;')" "ok
4000"
        done
        # The log of this one, and what its writers share about it, are mapped memory.
        for writer in 1 2 3 4; do
            for row in $(seq 1 20); do
                sqlite3 -cmd '.timeout 100000' wal.db "INSERT INTO t(b) VALUES('p$writer-$row');" || exit 1
            done &
        done
        wait
        is "$(sqlite3 wal.db "SELECT count(*) FROM t WHERE b LIKE 'p%'; PRAGMA integrity_check;")" "80
ok"
        sqlite3 wal.db 'VACUUM;'
        is "$(sqlite3 wal.db 'PRAGMA integrity_check;')" ok
        "#,
    );
}

#[test]
fn a_repository_is_whole_after_commits_packing_and_cloning() {
    on_a_branch(
        &["git", "diffutils"],
        r#"
        export GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@b GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a@b
        git init -q repository
        cd repository
        for n in $(seq 1 200); do mkdir -p d$((n % 10)); echo "file $n" >d$((n % 10))/f$n; done
        git add -A
        git commit -qm one
        for n in $(seq 1 50); do echo more >>d$((n % 10))/f$n; done
        git commit -qam two
        git gc -q
        git fsck --full
        git clone -q /mnt/repository /mnt/clone
        cd /mnt/clone
        is "$(git rev-list --count HEAD)" 2
        git checkout -q HEAD~1
        is "$(git status --short)" ""
        is "$(cat d1/f1)" "file 1"
        git checkout -q -
        $(package_s diff) -r -x .git /mnt/repository /mnt/clone
        "#,
    );
}

#[test]
fn trees_are_the_same_after_archiving_copying_and_synchronizing() {
    on_a_branch(
        &["rsync", "tar", "coreutils", "diffutils", "perl"],
        r#"
        tar=$(package_s tar) cp=$(package_s cp) diff=$(package_s diff)
        mkdir -p tree/deep/er
        for n in $(seq 1 100); do head -c $((n * 997)) /dev/urandom >tree/deep/f$n; done
        dd if=/dev/urandom of=tree/sparse bs=4096 count=3 seek=1000 2>/dev/null
        ln -s deep/f1 tree/link
        mkfifo tree/fifo
        mknod tree/device c 1 3
        chmod 4711 tree/deep/f1
        chown 12:34 tree/deep/f2
        touch -d '2001-02-03 04:05:06' tree/deep/f3
        $tar -cf archive.tar tree
        mkdir unpacked
        $tar -C unpacked -xf archive.tar
        rsync -a tree/ synchronized/
        $cp -a tree copied
        about() { (cd $1 && find . -exec stat -c '%n %a %u %g %F %s %Y %t %T' {} + | grep -v '^\. ' | sort); }
        about tree >/tmp/tree
        for other in unpacked/tree synchronized copied; do
            $diff -r --no-dereference -x fifo -x device tree $other
            about $other >/tmp/other
            $diff /tmp/tree /tmp/other
        done
        # What changed is found again, and nothing else.
        echo changed >tree/deep/f7
        is "$(rsync -ai tree/ synchronized/ | grep -c '^>f')" 1
        perl -e '
            use Fcntl ":flock";
            open F, ">", "locked" or die; flock F, LOCK_EX or die; print F "x" x 100000; close F or die;
            rename "locked", "renamed" or die; -s "renamed" == 100000 or die;
            truncate "renamed", 5 or die; -s "renamed" == 5 or die;
            @found = glob "tree/deep/f*"; @found == 100 or die;'
        "#,
    );
}
