//! Command lines, and the man pages and shell completions that come from the same definitions.

use clap::{Command, CommandFactory, FromArgMatches, Parser, ValueEnum};
use clap_mangen::Man;
use std::ffi::OsString;
use std::io::{self, Write};
use std::process::ExitCode;

/// What can be generated.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum Artifact {
    /// The man page, in roff.
    Man,
    /// Completions for bash.
    Bash,
    /// Completions for zsh.
    Zsh,
    /// Completions for fish.
    Fish,
}

/// Every tool's other command line, for whoever installs it.
#[derive(Debug, Parser)]
struct Generate {
    /// Print the man page or shell completions
    #[arg(long, value_enum, value_name = "WHAT")]
    generate: Artifact,
}

/// The tool's arguments. Messages about wrong ones, help, the version, and what `--generate` asks
/// for are printed.
///
/// # Errors
///
/// The exit code to leave with: `usage` for wrong arguments, else success.
pub fn parse<C: CommandFactory + FromArgMatches>(usage: u8) -> Result<C, ExitCode> {
    let mut command = C::command();
    let arguments: Vec<OsString> = std::env::args_os().collect();
    let complain = |error: clap::Error| complain(&error, usage);
    let first = arguments.get(1).and_then(|argument| argument.to_str()).unwrap_or_default();
    if first.split('=').next() == Some("--generate") {
        let Generate { generate } = Generate::try_parse_from(&arguments).map_err(complain)?;
        return Err(super::finish_output(print(generate, command), ExitCode::SUCCESS));
    }
    let mut matches = command.try_get_matches_from_mut(arguments).map_err(complain)?;
    C::from_arg_matches_mut(&mut matches).map_err(|e| complain(e.format(&mut command)))
}

/// Prints what is wrong with the arguments, or the help that was asked for; returns the exit code to
/// leave with.
#[must_use]
pub fn complain(error: &clap::Error, usage: u8) -> ExitCode {
    // Where even this cannot be printed there is nobody to tell.
    let _ = error.print();
    if error.use_stderr() { ExitCode::from(usage) } else { ExitCode::SUCCESS }
}

fn print(artifact: Artifact, mut command: Command) -> io::Result<()> {
    use clap_complete::Shell;
    let mut text = Vec::new();
    let name = command.get_name().to_owned();
    match artifact {
        Artifact::Man => man_page(command, &mut text)?,
        Artifact::Bash => clap_complete::generate(Shell::Bash, &mut command, name, &mut text),
        Artifact::Zsh => clap_complete::generate(Shell::Zsh, &mut command, name, &mut text),
        Artifact::Fish => clap_complete::generate(Shell::Fish, &mut command, name, &mut text),
    }
    io::stdout().write_all(&text)
}

/// One page for a tool and all its commands.
fn man_page(command: Command, page: &mut Vec<u8>) -> io::Result<()> {
    let mut command = command.disable_help_subcommand(true).subcommand_value_name("COMMAND");
    command.build();
    let commands: Vec<Command> = command.get_subcommands().cloned().collect();
    let man = Man::new(command);
    man.render_title(page)?;
    let mut sections = Vec::new();
    man.render_name_section(&mut sections)?;
    man.render_synopsis_section(&mut sections)?;
    man.render_description_section(&mut sections)?;
    man.render_options_section(&mut sections)?;
    write_sections(page, &sections, ".SH ")?;
    for command in commands {
        writeln!(page, ".SH {:?}", command.get_bin_name().unwrap_or_else(|| command.get_name()))?;
        let man = Man::new(command);
        let mut sections = Vec::new();
        man.render_synopsis_section(&mut sections)?;
        man.render_description_section(&mut sections)?;
        man.render_options_section(&mut sections)?;
        write_sections(page, &sections, ".SS ")?;
    }
    let mut sections = Vec::new();
    man.render_extra_section(&mut sections)?;
    man.render_version_section(&mut sections)?;
    write_sections(page, &sections, ".SH ")
}

/// Writes rendered sections with headings of another level. Every renderer starts with the same
/// definitions; a page needs them once, and has them with its title.
fn write_sections(page: &mut Vec<u8>, sections: &[u8], heading: &str) -> io::Result<()> {
    for line in String::from_utf8_lossy(sections).lines() {
        match line.strip_prefix(".SH ") {
            Some("EXTRA") => writeln!(page, "{heading}NOTES")?,
            Some(title) => writeln!(page, "{heading}{title}")?,
            None if line.starts_with(".ie ") || line.starts_with(".el ") => {}
            None => writeln!(page, "{line}")?,
        }
    }
    Ok(())
}
