//! Man pages and shell completions, from the same definitions that parse the arguments.

use clap::{Args, CommandFactory, FromArgMatches, ValueEnum};
use std::io::{self, Write};
use std::process::ExitCode;

/// What can be generated.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum Artifact {
    /// The man page, in roff.
    Man,
    /// Completions for bash.
    Bash,
    /// Completions for zsh.
    Zsh,
    /// Completions for fish.
    Fish,
}

/// The hidden option every tool has, for whoever installs it.
#[derive(Clone, Copy, Debug, Args)]
pub struct Generate {
    /// Print the man page or shell completions
    #[arg(long, value_enum, value_name = "WHAT", exclusive = true, hide = true)]
    pub generate: Option<Artifact>,
}

/// The tool's arguments; messages about wrong ones, help, the version, and what is to be generated
/// are printed.
///
/// # Errors
///
/// The exit code to leave with: `usage` for wrong arguments, else success.
pub fn parse<C: CommandFactory + FromArgMatches>(usage: u8) -> Result<C, ExitCode> {
    let mut command = C::command();
    let complain = |error: clap::Error| {
        // Where even this cannot be printed there is nobody to tell.
        let _ = error.print();
        if error.use_stderr() { ExitCode::from(usage) } else { ExitCode::SUCCESS }
    };
    let mut matches = command.try_get_matches_from_mut(std::env::args_os()).map_err(complain)?;
    if let Some(artifact) = matches.remove_one::<Artifact>("generate") {
        return Err(super::finish_output(print(artifact, C::command()), ExitCode::SUCCESS));
    }
    C::from_arg_matches_mut(&mut matches).map_err(|e| complain(e.format(&mut command)))
}

fn print(artifact: Artifact, mut command: clap::Command) -> io::Result<()> {
    use clap_complete::Shell;
    let mut text = Vec::new();
    let name = command.get_name().to_owned();
    match artifact {
        Artifact::Man => clap_mangen::Man::new(command).render(&mut text)?,
        Artifact::Bash => clap_complete::generate(Shell::Bash, &mut command, name, &mut text),
        Artifact::Zsh => clap_complete::generate(Shell::Zsh, &mut command, name, &mut text),
        Artifact::Fish => clap_complete::generate(Shell::Fish, &mut command, name, &mut text),
    }
    io::stdout().write_all(&text)
}
