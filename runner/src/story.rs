//! A story in steps, told while kernels live it, each step checked as it goes.
//!
//! The kernels run a script that prints marks: before each command, with its status behind it, and after
//! each step. By them what the commands print is told apart. A step whose output is not what it should be
//! is an error in the end, whatever else went right.

use crate::console::{Teller, Who};
use crate::error::{Error, Result};
use std::io::{self, Write};
use std::ops::RangeInclusive;

/// Stands before what a command prints. Nobody prints this by accident.
pub const COMMAND: &str = "--8<-- runner story command --8<--";
/// Stands behind what a command prints, with its exit status.
pub const STATUS: &str = "--8<-- runner story status --8<--";
/// Stands behind what a step prints.
pub const STEP: &str = "--8<-- runner story step --8<--";

/// A command, as it is shown, and what it has to do.
#[derive(Clone, Debug)]
pub struct Command {
    /// Who runs it.
    pub who: Who,
    /// What is typed.
    pub text: String,
    /// Whether it is to succeed. Only looked at where the script tells statuses.
    pub succeeds: bool,
    /// All of its output.
    pub prints: Option<String>,
    /// What its output must contain.
    pub shows: Vec<String>,
    /// What its output must not contain.
    pub hides: Vec<String>,
    /// Between what the first number in its output must be.
    pub number: Option<RangeInclusive<i64>>,
}

impl Command {
    /// A command that is to succeed.
    #[must_use]
    pub fn new(who: Who, text: impl Into<String>) -> Self {
        let (shows, hides) = (Vec::new(), Vec::new());
        Self { who, text: text.into(), succeeds: true, prints: None, shows, hides, number: None }
    }

    /// The same; its output must be `text`, and a line end.
    #[must_use]
    pub fn prints(mut self, text: impl Into<String>) -> Self {
        self.prints = Some(text.into());
        self
    }

    /// The same; its output must not contain `text`.
    #[must_use]
    pub fn hides(mut self, text: impl Into<String>) -> Self {
        self.hides.push(text.into());
        self
    }

    /// The same; the first number in its output must be one of these.
    #[must_use]
    pub fn number(mut self, range: RangeInclusive<i64>) -> Self {
        self.number = Some(range);
        self
    }

    /// The same; its output must contain `text`.
    #[must_use]
    pub fn shows(mut self, text: impl Into<String>) -> Self {
        self.shows.push(text.into());
        self
    }

    /// The same, but it is to fail, and to say `why`.
    #[must_use]
    pub fn fails(mut self, why: impl Into<String>) -> Self {
        self.succeeds = false;
        self.shows(why)
    }
}

impl Command {
    /// What its output should not be.
    fn wrong(&self, output: &str) -> Option<String> {
        let missing = self.shows.iter().find(|text| !output.contains(*text));
        let there = self.hides.iter().find(|text| output.contains(*text));
        if let Some(text) = self.prints.as_ref().filter(|text| output.trim_end() != **text) {
            Some(format!(" did not print '{text}'"))
        } else if let Some(text) = missing {
            Some(format!(": '{text}' is missing"))
        } else if let Some(text) = there {
            Some(format!(": '{text}' is there"))
        } else {
            let range = self.number.as_ref()?;
            match first_number(output) {
                Some(number) if range.contains(&number) => None,
                found => {
                    let found = found.map_or_else(|| "nothing".into(), |found| found.to_string());
                    let (start, end) = (range.start(), range.end());
                    Some(format!(" says {found}, and it should be {start} to {end}"))
                }
            }
        }
    }
}

/// The first word of a text that is a number.
fn first_number(text: &str) -> Option<i64> {
    text.split_whitespace().find_map(|word| word.parse().ok())
}

/// One step.
#[derive(Clone, Default, Debug)]
pub struct Step {
    /// Its heading.
    pub title: &'static str,
    /// What is going on, in a few lines.
    pub why: String,
    /// What is done.
    pub commands: Vec<Command>,
    /// What the output of all commands together must contain.
    pub shows: Vec<String>,
    /// What it must not contain.
    pub hides: Vec<String>,
    /// Whether all commands must print the same.
    pub agree: bool,
    /// What is proved if all that is so.
    pub right: String,
}

/// Takes what the kernels print, and tells it.
#[derive(Debug)]
pub struct Story {
    steps: Vec<Step>,
    teller: Teller,
    /// The step whose output is coming.
    step: usize,
    /// Its commands that have been begun.
    commands: usize,
    /// Bytes of a line that is not complete.
    line: Vec<u8>,
    /// What the step has printed so far, command by command.
    outputs: Vec<String>,
    failure: Option<Error>,
}

impl Story {
    /// A story that has not begun, to be told there.
    #[must_use]
    pub fn new(steps: Vec<Step>, teller: Teller) -> Self {
        let (line, outputs) = (Vec::new(), Vec::new());
        Self { steps, teller, step: 0, commands: 0, line, outputs, failure: None }
    }

    fn line(&mut self, line: &str) {
        let Some(step) = self.steps.get(self.step) else { return };
        if line == COMMAND {
            if self.commands == 0 {
                self.teller.heading(format_args!("{}. {}", self.step + 1, step.title));
                self.teller.explain(&step.why);
            }
            if let Some(command) = step.commands.get(self.commands) {
                self.teller.command(command.who, &command.text);
            }
            self.commands += 1;
            self.outputs.push(String::new());
        } else if line == STEP {
            self.end_step();
        } else if let Some(status) = line.strip_prefix(STATUS) {
            let succeeded = status.trim() == "0";
            let wanted = step.commands.get(self.commands.wrapping_sub(1));
            if let Some(command) = wanted.filter(|command| command.succeeds != succeeded) {
                let how = if succeeded { "succeeded" } else { "failed" };
                let what = format!("'{}' {how} ({})", command.text, status.trim());
                self.fail(what);
            }
        } else {
            let speaker = step.commands.get(self.commands.wrapping_sub(1));
            self.teller.line(speaker.map_or(Who::Only, |command| command.who), line);
            if let Some(output) = self.outputs.last_mut() {
                output.push_str(line);
                output.push('\n');
            }
        }
    }

    /// Whether the step has shown what it should.
    fn end_step(&mut self) {
        let Some(step) = self.steps.get(self.step) else { return };
        let known = self.failure.is_some();
        let all = self.outputs.concat();
        let mut wrong = Vec::new();
        for (command, output) in step.commands.iter().zip(&self.outputs) {
            wrong.extend(command.wrong(output).map(|what| format!("'{}'{what}", command.text)));
        }
        let missing = step.shows.iter().filter(|text| !all.contains(*text));
        wrong.extend(missing.map(|text| format!("'{text}' is missing")));
        let superfluous = step.hides.iter().filter(|text| all.contains(*text));
        wrong.extend(superfluous.map(|text| format!("'{text}' is there")));
        if step.agree && self.outputs.iter().any(|output| Some(output) != self.outputs.first()) {
            wrong.push("the kernels do not agree".into());
        }
        if self.commands != step.commands.len() {
            wrong.push("not all commands were run".into());
        }
        let right = if step.right.is_empty() { "checked" } else { &step.right };
        match wrong.into_iter().next() {
            Some(what) => self.fail(what),
            None if known => {}
            None => self.teller.right(right),
        }
        self.outputs.clear();
        self.commands = 0;
        self.step += 1;
    }

    fn fail(&mut self, what: String) {
        let step = self.steps.get(self.step).map_or("", |step| step.title);
        self.teller.wrong(&what);
        self.failure.get_or_insert(Error::Demo { step, what });
    }

    /// Whether all steps came, and were right. Returns where the story was told.
    ///
    /// # Errors
    ///
    /// [`Error::Demo`] for the first that was not.
    pub fn finish(self) -> Result<Teller> {
        if let Some(failure) = self.failure {
            return Err(failure);
        }
        match self.steps.get(self.step) {
            None => Ok(self.teller),
            Some(step) => {
                Err(Error::Demo { step: step.title, what: "it did not get there".into() })
            }
        }
    }
}

impl Write for Story {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        for &byte in bytes {
            if byte == b'\n' {
                let line = std::mem::take(&mut self.line);
                self.line(&String::from_utf8_lossy(&line));
            } else {
                self.line.push(byte);
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn steps() -> Vec<Step> {
        let one = Step {
            title: "one",
            commands: vec![
                Command::new(Who::Only, "mount").shows("branch  main"),
                Command::new(Who::Only, "cat /none").fails("not found").hides("found it"),
                Command::new(Who::Only, "cat /one").prints("one"),
                Command::new(Who::Only, "wc").number(-5..=5),
            ],
            hides: vec!["secret".into()],
            ..Step::default()
        };
        let two = Step {
            title: "two",
            commands: vec![Command::new(Who::Only, "a"), Command::new(Who::Only, "b")],
            agree: true,
            ..Step::default()
        };
        vec![one, two]
    }

    /// What a script prints whose commands print and leave as told.
    fn told(steps: &[&[(&str, u8)]]) -> Result<()> {
        let mut story = Story::new(self::steps(), Teller::to(io::sink()));
        for step in steps {
            for (output, status) in *step {
                write!(story, "{COMMAND}\n{output}\n{STATUS} {status}\n").unwrap();
            }
            writeln!(story, "{STEP}").unwrap();
        }
        story.finish().map(drop)
    }

    const FIRST: [(&str, u8); 4] =
        [("branch  main", 0), ("cat: not found", 1), ("one", 0), ("-4 words in 2 lines", 0)];
    const SECOND: [(&str, u8); 2] = [("x", 0), ("x", 0)];

    #[test]
    fn a_story_that_goes_as_it_should_is_one() {
        told(&[&FIRST, &SECOND]).unwrap();
    }

    #[test]
    fn whatever_goes_wrong_is_noticed() {
        type Printed<'a> = &'a [(&'a str, u8)];
        let (mount, none, one, few) = (FIRST[0], FIRST[1], FIRST[2], FIRST[3]);
        let first: [(&str, Printed<'_>); 9] = [
            ("'branch  main' is missing", &[("branch  x", 0), none, one, few]),
            ("'mount' failed (1)", &[(mount.0, 1), none, one, few]),
            ("'cat /none' succeeded (0)", &[mount, (none.0, 0), one, few]),
            ("'not found' is missing", &[mount, ("", 1), one, few]),
            ("'found it' is there", &[mount, ("not found it", 1), one, few]),
            ("'cat /one' did not print 'one'", &[mount, none, ("one\ntwo", 0), few]),
            ("'secret' is there", &[mount, ("secret: not found", 1), one, few]),
            ("'wc' says 11, and it should be -5 to 5", &[mount, none, one, ("11 words", 0)]),
            ("not all commands were run", &[mount, none, one]),
        ];
        for (what, first) in first {
            let error = told(&[first, &SECOND]).unwrap_err().to_string();
            assert!(error.contains(what), "{what}: {error}");
        }
        let second: [(&str, Printed<'_>); 2] = [
            ("the kernels do not agree", &[("x", 0), ("y", 0)]),
            ("'b' failed (2)", &[("x", 0), ("x", 2)]),
        ];
        for (what, second) in second {
            let error = told(&[&FIRST, second]).unwrap_err().to_string();
            assert!(error.contains(what), "{what}: {error}");
        }
    }

    #[test]
    fn a_story_that_breaks_off_is_noticed() {
        let error = told(&[&FIRST]).unwrap_err().to_string();
        assert!(error.contains("'two'"), "{error}");
    }
}
