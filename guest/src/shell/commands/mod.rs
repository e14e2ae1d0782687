//! The commands.
//!
//! | module | commands |
//! |---|---|
//! | [`contents`] | cat, write, append, fill, truncate, touch, hexdump, sha256sum |
//! | [`listing`] | ls, stat, tree, find, du, readlink |
//! | [`names`] | mkdir, rmdir, rm, mv, ln, mkfifo, chmod, chown, cd, pwd |
//! | [`branches`] | branch |
//! | [`status`] | df, mount, members, meminfo, date, uptime |
//! | [`control`] | help, echo, halt, crash |
//! | [`bench`] | bench |
//! | [`selftest`] | selftest |

mod bench;
mod branches;
mod contents;
mod control;
mod listing;
mod names;
mod selftest;
mod status;

use super::Shell;
use super::failure::Failure;
use crate::System;
use daxfs::Platform;

/// What a command is given: the words behind its name.
type Arguments<'a, 'w> = &'a [&'w [u8]];

/// How a command ends.
type Outcome<'w> = Result<(), Failure<'w>>;

/// A command.
pub struct Command<P: Platform + 'static, S: System> {
    /// The word that calls it.
    pub name: &'static str,
    /// What may follow the word.
    pub usage: &'static str,
    /// What it does.
    pub about: &'static str,
    /// Does it.
    pub run: for<'w> fn(&mut Shell<'_, P, S>, Arguments<'_, 'w>) -> Outcome<'w>,
}

macro_rules! commands {
    ($($name:literal $usage:literal $about:literal $run:path;)*) => {
        &[$(Command { name: $name, usage: $usage, about: $about, run: $run }),*]
    };
}

impl<P: Platform + 'static, S: System> Shell<'_, P, S> {
    /// All commands, as `help` lists them.
    const COMMANDS: &'static [Command<P, S>] = commands! {
        "ls" "[-alR] [PATH...]" "list directories" listing::ls;
        "tree" "[PATH]" "list everything below a directory" listing::tree;
        "find" "[PATH]" "list paths of everything below a directory" listing::find;
        "stat" "PATH..." "show attributes" listing::stat;
        "readlink" "PATH..." "print targets of symbolic links" listing::readlink;
        "du" "[PATH...]" "sum up space used" listing::du;
        "cat" "PATH..." "print files" contents::cat;
        "hexdump" "PATH [LEN]" "print a file in hexadecimal" contents::hexdump;
        "sha256sum" "PATH..." "print checksums" contents::sha256sum;
        "write" "PATH TEXT" "replace a file's content" contents::write;
        "append" "PATH TEXT" "add to the end of a file" contents::append;
        "fill" "PATH SIZE SEED" "replace a file's content by pseudo-random bytes" contents::fill;
        "truncate" "PATH SIZE" "make a file longer or shorter" contents::truncate;
        "touch" "PATH..." "make files, or set their times" contents::touch;
        "mkdir" "[-p] PATH..." "make directories" names::mkdir;
        "rmdir" "PATH..." "remove empty directories" names::rmdir;
        "rm" "[-fr] PATH..." "remove files, or (-r) everything" names::rm;
        "mv" "[-n] FROM... TO" "rename, or move to a directory" names::mv;
        "ln" "-s TARGET PATH" "make a symbolic link" names::ln;
        "mkfifo" "PATH..." "make named pipes" names::mkfifo;
        "chmod" "MODE PATH..." "set permissions, in octal" names::chmod;
        "chown" "UID:GID PATH..." "set owner and group" names::chown;
        "cd" "[PATH]" "change the working directory" names::cd;
        "pwd" "" "print the working directory" names::pwd;
        "branch" "list | create NAME [PARENT] | switch NAME | commit | abort | compact"
            "work with branches" branches::branch;
        "sync" "" "write down what only this kernel knows" status::sync;
        "df" "" "show space" status::df;
        "members" "" "list the mounts that share the image" status::members;
        "mount" "" "show what is mounted, and how" status::mount;
        "meminfo" "" "show the kernel's memory and address space" status::meminfo;
        "date" "" "print the time of day" status::date;
        "uptime" "" "print the time since the start" status::uptime;
        "bench" "[SIZE | commit | stale PATH]" "measure reading and writing" bench::bench;
        "selftest" "" "check the filesystem and the kernel" selftest::selftest;
        "echo" "[WORD...]" "print words" control::echo;
        "crash" "page-fault | null | ud2 | divide | panic | write-base | execute | stack"
            "bring the kernel down, to see its report" control::crash;
        "halt" "[STATUS]" "end the kernel" control::halt;
        "help" "[COMMAND...]" "list commands" control::help;
    };

    /// The command of that name.
    pub(super) fn command(name: &[u8]) -> Option<&'static Command<P, S>> {
        Self::COMMANDS.iter().find(|command| command.name.as_bytes() == name)
    }

    /// All commands.
    pub(super) const fn commands() -> &'static [Command<P, S>] {
        Self::COMMANDS
    }
}
