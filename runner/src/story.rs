//! A story in steps, told while kernels live it, each step checked as it goes.
//!
//! The kernels run a script that prints marks: before each command, with its status behind it, and after
//! each step. By them what the commands print is told apart. A step whose output is not what it should be
//! is an error in the end, whatever else went right.

use crate::console::{self, Who};
use crate::error::{Error, Result};
use std::io::{self, Write};

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
    /// What its output must contain.
    pub shows: Vec<String>,
}

impl Command {
    /// A command that is to succeed.
    #[must_use]
    pub fn new(who: Who, text: impl Into<String>) -> Self {
        Self { who, text: text.into(), succeeds: true, shows: Vec::new() }
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
}

/// Takes what the kernels print, and tells it.
#[derive(Debug)]
pub struct Story {
    steps: Vec<Step>,
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
    /// A story that has not begun.
    #[must_use]
    pub const fn new(steps: Vec<Step>) -> Self {
        Self { steps, step: 0, commands: 0, line: Vec::new(), outputs: Vec::new(), failure: None }
    }

    fn line(&mut self, line: &str) {
        let Some(step) = self.steps.get(self.step) else { return };
        if line == COMMAND {
            if self.commands == 0 {
                console::heading(format_args!("{}. {}", self.step + 1, step.title));
                console::explain(&step.why);
            }
            if let Some(command) = step.commands.get(self.commands) {
                console::command(command.who, &command.text);
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
            anstream::println!("    {line}");
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
            let missing = command.shows.iter().filter(|text| !output.contains(*text));
            wrong.extend(missing.map(|text| format!("'{}': '{text}' is missing", command.text)));
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
        match wrong.into_iter().next() {
            Some(what) => self.fail(what),
            None if known => {}
            None => console::right("checked"),
        }
        self.outputs.clear();
        self.commands = 0;
        self.step += 1;
    }

    fn fail(&mut self, what: String) {
        let step = self.steps.get(self.step).map_or("", |step| step.title);
        self.failure.get_or_insert(Error::Demo { step, what });
    }

    /// Whether all steps came, and were right.
    ///
    /// # Errors
    ///
    /// [`Error::Demo`] for the first that was not.
    pub fn finish(self) -> Result<()> {
        if let Some(failure) = self.failure {
            return Err(failure);
        }
        match self.steps.get(self.step) {
            None => Ok(()),
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
                Command::new(Who::Only, "cat /none").fails("not found"),
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
        let mut story = Story::new(self::steps());
        for step in steps {
            for (output, status) in *step {
                write!(story, "{COMMAND}\n{output}\n{STATUS} {status}\n").unwrap();
            }
            writeln!(story, "{STEP}").unwrap();
        }
        story.finish()
    }

    const RIGHT: [&[(&str, u8)]; 2] =
        [&[("branch  main", 0), ("cat: not found", 1)], &[("x", 0), ("x", 0)]];

    #[test]
    fn a_story_that_goes_as_it_should_is_one() {
        told(&RIGHT).unwrap();
    }

    #[test]
    fn whatever_goes_wrong_is_noticed() {
        type Printed<'a> = &'a [(&'a str, u8)];
        let wrong: [(&str, [Printed<'_>; 2]); 7] = [
            ("'branch  main' is missing", [&[("branch  other", 0), ("not found", 1)], RIGHT[1]]),
            ("'mount' failed (1)", [&[("branch  main", 1), ("not found", 1)], RIGHT[1]]),
            ("'cat /none' succeeded (0)", [&[("branch  main", 0), ("not found", 0)], RIGHT[1]]),
            ("'not found' is missing", [&[("branch  main", 0), ("", 1)], RIGHT[1]]),
            ("'secret' is there", [&[("branch  main", 0), ("secret: not found", 1)], RIGHT[1]]),
            ("not all commands were run", [&[("branch  main", 0)], RIGHT[1]]),
            ("the kernels do not agree", [RIGHT[0], &[("x", 0), ("y", 0)]]),
        ];
        for (what, steps) in wrong {
            let error = told(&steps).unwrap_err().to_string();
            assert!(error.contains(what), "{what}: {error}");
        }
    }

    #[test]
    fn a_story_that_breaks_off_is_noticed() {
        let error = told(&RIGHT[..1]).unwrap_err().to_string();
        assert!(error.contains("'two'"), "{error}");
    }
}
