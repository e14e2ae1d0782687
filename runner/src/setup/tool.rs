//! Programs that do parts of the work: run for a bounded time, quiet unless they fail.

use super::{Result, SetupError};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read, Seek};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// How long a program may take that only answers a question.
pub(super) const QUESTION: Duration = Duration::from_secs(30);

/// A program to run. Its output goes to files, so that it is never held up, and neither are we if a
/// program that it started lives on.
#[derive(Debug)]
pub(super) struct Tool {
    command: Command,
    limit: Duration,
}

impl Tool {
    pub(super) fn new(program: impl AsRef<OsStr>, limit: Duration) -> Self {
        let mut command = Command::new(program);
        command.stdin(Stdio::null());
        Self { command, limit }
    }

    pub(super) fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.command.arg(arg);
        self
    }

    pub(super) fn args<A: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.command.args(args);
        self
    }

    pub(super) fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    pub(super) fn stdin(mut self, text: &str) -> Result<Self> {
        let file = text_file(text).map_err(|reason| self.start_error(reason))?;
        self.command.stdin(file);
        Ok(self)
    }

    pub(super) fn folder(mut self, path: &Path) -> Self {
        self.command.current_dir(path);
        self
    }

    pub(super) fn change(mut self, change: impl FnOnce(&mut Command)) -> Self {
        change(&mut self.command);
        self
    }

    /// Runs it to its end and returns its standard output. `what` is for messages.
    pub(super) fn run(mut self, what: &str) -> Result<String> {
        let (status, mut output, mut messages) =
            self.finish().map_err(|reason| self.start_error(reason))?;
        let text = |file: &mut File| read(file).map_err(|reason| self.start_error(reason));
        let output = text(&mut output)?;
        match status {
            None => {
                Err(SetupError::TooSlow { what: what.to_owned(), seconds: self.limit.as_secs() })
            }
            Some(status) if status.success() => Ok(output),
            Some(status) => {
                let mut said = text(&mut messages)?.trim().to_owned();
                if said.is_empty() {
                    said = output.trim().to_owned();
                }
                if said.is_empty() {
                    said = status.to_string();
                }
                Err(SetupError::Failed { what: what.to_owned(), output: said })
            }
        }
    }

    fn finish(&mut self) -> io::Result<(Option<ExitStatus>, File, File)> {
        let (output, messages) = (tempfile::tempfile()?, tempfile::tempfile()?);
        self.command.stdout(output.try_clone()?).stderr(messages.try_clone()?);
        let mut child = self.command.spawn()?;
        let status = wait(&mut child, self.limit);
        if !matches!(status, Ok(Some(_))) {
            // It may have ended by now; then there is nothing to kill.
            let _ = child.kill();
            child.wait()?;
        }
        Ok((status?, output, messages))
    }

    fn start_error(&self, reason: io::Error) -> SetupError {
        let program = self.command.get_program().to_string_lossy().into_owned();
        SetupError::Start { program, reason }
    }
}

/// Waits for a process, but not for ever.
fn wait(child: &mut Child, limit: Duration) -> io::Result<Option<ExitStatus>> {
    let handle = pidfd_open(Pid::from_child(child), PidfdFlags::empty())?;
    let end = Instant::now() + limit;
    loop {
        let left = end.saturating_duration_since(Instant::now());
        let timeout = Timespec::try_from(left).map_err(io::Error::other)?;
        match poll(&mut [PollFd::new(&handle, PollFlags::IN)], Some(&timeout)) {
            Ok(0) => return child.try_wait(),
            Ok(_) => return child.wait().map(Some),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

fn text_file(text: &str) -> io::Result<File> {
    let mut file = tempfile::tempfile()?;
    io::Write::write_all(&mut file, text.as_bytes())?;
    file.rewind()?;
    Ok(file)
}

fn read(file: &mut File) -> io::Result<String> {
    let mut bytes = Vec::new();
    file.rewind()?;
    file.read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str, limit: Duration) -> Result<String> {
        Tool::new("sh", limit).arg("-c").arg(script).run("a script")
    }

    #[test]
    fn the_output_of_a_program_that_succeeds_is_returned() {
        assert_eq!(shell("echo noise >&2; echo yes", QUESTION).unwrap(), "yes\n");
        let tool = Tool::new("cat", QUESTION).stdin("text").unwrap();
        assert_eq!(tool.run("cat").unwrap(), "text");
    }

    #[test]
    fn a_program_that_fails_is_quoted() {
        let error = shell("echo out; echo no such thing >&2; exit 3", QUESTION).unwrap_err();
        assert_eq!(error.to_string(), "a script failed: no such thing");
    }

    #[test]
    fn a_program_that_takes_too_long_is_ended_even_if_it_left_others_behind() {
        let begin = Instant::now();
        let error = shell("sleep 10 & sleep 30", Duration::from_millis(100)).unwrap_err();
        assert!(matches!(error, SetupError::TooSlow { .. }), "{error}");
        assert!(begin.elapsed() < Duration::from_secs(8));
    }

    #[test]
    fn a_program_that_is_missing_is_named() {
        let error = Tool::new("no-such-program", QUESTION).run("it").unwrap_err();
        assert!(error.to_string().starts_with("cannot run no-such-program: "), "{error}");
    }
}
