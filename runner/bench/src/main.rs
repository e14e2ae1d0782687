//! The program: does one kind of work in one file system, and prints what it measured.
//!
//! # Module structure
//!
//! | module | what it owns |
//! |---|---|
//! | [`report`] | time, and the lines that are printed |
//! | [`file`] | what is measured of one open file |
//! | [`content`] | files, those of the base among them |
//! | [`names`] | directories |
//! | [`branches`] | branches |
//! | [`kernel`] | the kernel's memory and caches |

mod branches;
mod content;
mod file;
mod kernel;
mod names;
mod report;

use report::Report;
use std::env;
use std::path::Path;
use std::process::ExitCode;

const USAGE: &str = "\
usage: daxfs-bench SUBJECT WORK DIR
  prints lines of SUBJECT, a row's name and a number, separated by tabs
  WORK is
    files     write and read files in DIR
    base      read the tree in DIR that the base image has, or a copy of it
    change    change its files
    names     make, look at and remove files in DIR
    branches  make, commit and discard branches of the DAXFS mounted on DIR
    mapping   map and read the file that DIR is here, once; prints a sentence";

/// What can go wrong.
type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [subject, work, folder] = arguments.as_slice() else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    let report = Report::new(subject);
    let folder = Path::new(folder);
    let outcome = match work.as_str() {
        "files" => content::files(folder, &report),
        "base" => content::base(folder, &report).and_then(|()| names::base(folder, &report)),
        "change" => content::change(folder, &report),
        "names" => names::all(folder, &report),
        "branches" => branches::all(folder, &report),
        "mapping" => content::mapping(folder),
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("daxfs-bench: {subject}, {work}: {error}");
            ExitCode::FAILURE
        }
    }
}
