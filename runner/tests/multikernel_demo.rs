//! `runner multikernel`: Linux with its root on a branch, and guests beside it.

mod common;
#[path = "common/machine.rs"]
mod machine;
#[path = "common/pty.rs"]
mod pty;

use common::{errors, status};
use pty::Pty;
use runner::console::{Teller, Who};
use runner::multikernel::{root, steps};
use runner::story::{COMMAND, STATUS, STEP, Step, Story};
use std::fs;
use std::io::{self, Write};
use std::process::Output;

/// Runs it to its end.
fn multikernel(arguments: &[&str]) -> Output {
    machine::needed();
    let always = ["multikernel", "--timeout", "1200"];
    common::runner(&[&always[..], arguments].concat()).output().unwrap()
}

fn printed(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// What is right in a story that was told.
#[track_caller]
fn assert_story_is_right(output: &Output, guests: u32) {
    let text = printed(output);
    assert_eq!(status(output), 0, "{text}\n{}", errors(output));
    let right = text.lines().filter(|line| line.starts_with("  ok ")).count();
    // That of the look from outside is not one of the steps.
    assert_eq!(right, steps::steps(&root::base(), guests, false).len() + 1, "{text}");
    assert!(!text.contains("  wrong ") && !text.contains('\u{1b}'), "{text}");
    let last = format!("guest{} $ cat", guests - 1);
    assert!(text.contains(&last) && text.contains("linux $ cat"), "{text}");
}

#[test]
fn the_story_is_right_with_one_guest() {
    assert_story_is_right(&multikernel(&[]), 1);
}

#[test]
fn the_story_is_right_with_three_guests() {
    assert_story_is_right(&multikernel(&["--guests", "3"]), 3);
}

#[test]
fn the_story_is_right_on_a_tree_of_the_users() {
    let tree = tempfile::tempdir().unwrap();
    fs::create_dir(tree.path().join("data")).unwrap();
    fs::write(tree.path().join("data/numbers"), vec![7; 20_000_000]).unwrap();
    let output = multikernel(&["--rootfs", tree.path().to_str().unwrap()]);
    assert_story_is_right(&output, 1);
    assert!(printed(&output).contains("sha256sum /data/numbers"));
}

/// A step's commands: what each has printed, and its status.
type Told = Vec<Vec<(String, String)>>;

/// What kernels have printed that were told what `change` makes of the story's script.
fn told(steps: &[Step], change: impl Fn(&str) -> String) -> Told {
    let script = format!("daxfs-mk stop --all\n{}", change(&steps::script(steps)));
    let text = printed(&multikernel(&["--exec", &script]));
    let step = |step: &str| {
        let command = |command: &str| {
            let (output, status) = command.split_once(STATUS).unwrap();
            (output.to_owned(), status.trim().to_owned())
        };
        step.split(&format!("{COMMAND}\n")).skip(1).map(command).collect()
    };
    let mut told: Told = text.split(&format!("{STEP}\n")).map(step).collect();
    assert_eq!(told.pop(), Some(Vec::new()), "the last step is complete");
    told
}

/// What the story makes of it.
fn verdict(steps: &[Step], told: &Told) -> Result<(), String> {
    let mut story = Story::new(steps.to_vec(), Teller::to(io::sink()));
    for step in told {
        for (output, status) in step {
            write!(story, "{COMMAND}\n{output}{STATUS} {status}\n").unwrap();
        }
        writeln!(story, "{STEP}").unwrap();
    }
    story.finish().map(drop).map_err(|error| error.to_string())
}

#[test]
fn every_check_of_the_story_fails_if_what_it_checks_is_not_so() {
    let steps = steps::steps(&root::base(), 1, false);
    let right = told(&steps, str::to_owned);
    verdict(&steps, &right).unwrap();
    let mut changes = 0;
    let mut refused = |what: &str, change: &dyn Fn(&mut Told)| {
        let mut told = right.clone();
        change(&mut told);
        assert!(verdict(&steps, &told).is_err(), "{what} is not noticed");
        changes += 1;
    };
    for (s, step) in steps.iter().enumerate() {
        for (c, command) in step.commands.iter().enumerate() {
            let what = |change| format!("{}: {}: {change}", step.title, command.text);
            refused(&what("the other status"), &|told| {
                let status = &mut told[s][c].1;
                *status = if status == "0" { "1" } else { "0" }.into();
            });
            if command.prints.is_some() || !command.shows.is_empty() {
                refused(&what("nothing was printed"), &|told| told[s][c].0.clear());
            }
            if command.prints.is_some() || step.agree {
                refused(&what("another line"), &|told| told[s][c].0.push_str("guest9\n"));
            }
            for hidden in &command.hides {
                refused(&what("what must not be there"), &|told| told[s][c].0.push_str(hidden));
            }
            if let Some(range) = &command.number {
                let more = format!("{} KiB\n", range.end() + 1);
                refused(&what("too much"), &|told| told[s][c].0.clone_from(&more));
            }
        }
        refused("a step that is not told", &|told| drop(told.remove(s)));
    }
    assert!(changes > 100, "{changes}");
    // Not only what is told may be otherwise, but what happens.
    let commit = steps.iter().flat_map(|step| &step.commands);
    let commit = commit.filter(|command| command.text == "branch commit");
    assert!(commit.clone().all(|command| command.who == Who::Guest(0)) && commit.count() == 2);
    let other = told(&steps, |script| script.replace("'branch commit'", "'branch list'"));
    let error = verdict(&steps, &other).unwrap_err();
    assert!(error.contains("'A guest commits'"), "{error}");
}

#[test]
fn own_commands_run_in_all_kernels_and_print_what_they_print() {
    let linux = r#"
        sed -n 's/^none \/ \(daxfs\) .*,\(branch=[a-z]*\).*/\1 \2/p' /proc/mounts
        echo one >/one
        pwd
        cat /etc/hostname
        daxfs-mk run -p 1 'write /asked "in between\n"; cat /asked'
        echo complaint >&2
        exit 3
    "#;
    let guests = "mount; cat /etc/hostname; cat /one";
    let output = multikernel(&["--guests", "2", "--exec", linux, "--guest-exec", guests]);
    let text = printed(&output);
    assert_eq!(status(&output), 3, "{text}\n{}", errors(&output));
    let linux = "daxfs branch=linux\n/\nmultikernel\nin between\n";
    let (first, rest) = text.split_at(linux.len());
    assert_eq!(first, linux);
    for branch in ["guest0", "guest1"] {
        assert!(rest.contains(&format!("branch  {branch}\n")), "{text}");
    }
    assert_eq!(rest.matches("\nmultikernel\n").count(), 2, "{text}");
    assert_eq!(rest.matches("cat: /one: no such file").count(), 2, "{text}");
    assert!(errors(&output).contains("complaint\n"), "{}", errors(&output));
}

#[test]
fn the_status_of_a_guests_commands_is_the_runners() {
    let output = multikernel(&["--guest-exec", "echo here; nonsense"]);
    assert_eq!(status(&output), 127, "{}", errors(&output));
    assert!(printed(&output).starts_with("here\n"), "{}", printed(&output));
}

#[test]
fn a_user_at_linuxs_terminal_finds_the_guests_running() {
    machine::needed();
    let mut terminal = Pty::runner(&["multikernel", "--guests", "2", "--interactive"]);
    terminal.wait_for(&["place 1:", "mounted", "Talk to them", "linux$"]);
    terminal.press("daxfs-mk run -p 1 'echo answer from  $(branch)'\r");
    terminal.wait_for(&["\nanswer from $(branch)"]);
    terminal.press("daxfs-mk console -p 0\r");
    terminal.press("\r");
    terminal.wait_for(&["daxfs:guest0:/$"]);
    terminal.press("echo typed to  guest0\r");
    terminal.wait_for(&["\ntyped to guest0"]);
    terminal.press("\u{1d}");
    terminal.wait_for(&["daxfs:guest0:/$ linux$"]);
    terminal.press("exit 5\r");
    assert_eq!(terminal.end(), 5);
    assert!(terminal.is_usual());
}

#[test]
fn the_live_view_shows_all_kernels_and_leaves_the_story_behind() {
    machine::needed();
    let mut terminal = Pty::runner(&["multikernel", "--watch"]);
    terminal.wait_for(&["the shared range", "segments: ", "the kernel's log", " guest0 "]);
    terminal.wait_for(&["member 0 linux joined"]);
    // A branch with its member, the guest's own console, what is told.
    terminal.wait_for(&["\u{25a0} guest0", "alive", "daxfs:guest0:/$ mount", "guest0 $ mount"]);
    terminal.wait_for(&["ok the winner's is in 'work'"]);
    terminal.wait_for(&["done; q leaves"]);
    assert!(!terminal.is_usual());
    terminal.press("q");
    assert_eq!(terminal.end(), 0);
    terminal.wait_for(&["ok valid, and what was committed is there", "That was it."]);
    assert!(terminal.is_usual());
}

#[test]
fn who_leaves_the_live_view_ends_the_machine() {
    machine::needed();
    let commands = "echo begun; sleep 100000";
    let mut terminal = Pty::runner(&["multikernel", "--watch", "--exec", commands]);
    terminal.wait_for(&["q ends all", "begun", "daxfs:guest:/$"]);
    // Typed to the guest.
    terminal.press("\t\techo typed to  it\r");
    terminal.wait_for(&["typed to it"]);
    terminal.press("\u{3}");
    assert_eq!(terminal.end(), 130);
    terminal.wait_for(&["error: interrupted"]);
    assert!(terminal.is_usual());
}

#[test]
fn a_signal_ends_the_live_view_when_nothing_runs_any_more() {
    machine::needed();
    let mut terminal = Pty::runner(&["multikernel", "--watch", "--exec", "echo begun"]);
    terminal.wait_for(&["done; q leaves"]);
    terminal.terminate();
    assert_eq!(terminal.end(), 0);
    assert!(terminal.is_usual());
}

#[test]
fn what_makes_no_sense_is_refused() {
    machine::needed();
    for (arguments, why) in [
        (&["--watch"][..], "needs a terminal"),
        (&["--accel", "icount"], "one processor"),
        (&["--image", "/no/such/image"], "say what is to be done"),
        (&["--guests", "100"], "--guests"),
        (&["--watch", "--interactive"], "cannot be used with"),
    ] {
        let output = multikernel(arguments);
        assert_eq!(status(&output), 2, "{arguments:?}: {}", errors(&output));
        assert!(errors(&output).contains(why), "{arguments:?}: {}", errors(&output));
    }
}
