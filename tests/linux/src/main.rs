//! The program that runs inside of Linux.

use daxfs_linux_tests::check::{self, Check};
use daxfs_linux_tests::{suites, worker};
use std::env;
use std::process::ExitCode;

const USAGE: &str = "\
usage: daxfs-linux-tests list | run [NAME...] | check NAME | work NAME [ARGUMENT...]
  list   names all checks
  run    runs these checks, or all, each in a process of its own
  check  runs one, here
  work   takes part in a check, as another process of it";

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments.as_slice() {
        ["list"] => {
            suites::all().for_each(|check| println!("{}", check.name()));
            ExitCode::SUCCESS
        }
        ["run", names @ ..] => {
            let wanted = |check: &Check| names.is_empty() || names.contains(&&*check.name());
            check::run_all(suites::all().filter(wanted))
        }
        ["check", name] => match suites::all().find(|check| check.name() == *name) {
            Some(check) => {
                check.run();
                ExitCode::SUCCESS
            }
            None => wrong(&format!("there is no check {name}")),
        },
        ["work", name, rest @ ..] => {
            worker::work(name, rest);
            ExitCode::SUCCESS
        }
        _ => wrong(USAGE),
    }
}

fn wrong(what: &str) -> ExitCode {
    eprintln!("{what}");
    ExitCode::from(2)
}
