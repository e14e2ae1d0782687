//! Commands about the shell and the kernel as such.

use super::super::Shell;
use super::super::arguments;
use super::super::failure::Failure;
use super::{Arguments, Outcome};
use crate::{Crash, System};
use daxfs::Platform;

/// Lists commands, or says how the named ones are used.
pub fn help<'w, P: Platform + 'static, S: System>(
    shell: &mut Shell<'_, P, S>,
    words: Arguments<'_, 'w>,
) -> Outcome<'w> {
    if words.is_empty() {
        for command in Shell::<P, S>::commands() {
            shell.print(format_args!("{:<10} {}\n", command.name, command.about));
        }
        return Ok(());
    }
    for &word in words {
        let command = Shell::<P, S>::command(word);
        let command = command.ok_or(Failure::Argument(word, "unknown command"))?;
        let (name, usage, about) = (command.name, command.usage, command.about);
        shell.print(format_args!("{name} {usage}\n    {about}\n"));
    }
    Ok(())
}

/// Prints words.
pub fn echo<'w, P: Platform + 'static, S: System>(
    shell: &mut Shell<'_, P, S>,
    words: Arguments<'_, 'w>,
) -> Outcome<'w> {
    for (i, word) in words.iter().enumerate() {
        if i > 0 {
            shell.print_bytes(b" ");
        }
        shell.print_bytes(word);
    }
    shell.print_bytes(b"\n");
    Ok(())
}

/// Ends the shell; without a status, with that of the first command that failed.
pub fn halt<'w, P: Platform + 'static, S: System>(
    shell: &mut Shell<'_, P, S>,
    words: Arguments<'_, 'w>,
) -> Outcome<'w> {
    shell.halt = Some(match *words {
        [] => shell.status,
        [status] => u8::try_from(arguments::number(status)?)
            .map_err(|_| Failure::Argument(status, "not a status (0 to 255)"))?,
        _ => return Err(Failure::Usage),
    });
    Ok(())
}

/// Brings the kernel down.
pub fn crash<'w, P: Platform + 'static, S: System>(
    shell: &mut Shell<'_, P, S>,
    words: Arguments<'_, 'w>,
) -> Outcome<'w> {
    let base = shell.mount.info().geometry.base.start;
    let how = match *words {
        [b"page-fault"] => Crash::PageFault,
        [b"null"] => Crash::Null,
        [b"ud2"] => Crash::InvalidOpcode,
        [b"divide"] => Crash::Divide,
        [b"panic"] => Crash::Panic,
        [b"write-base"] => Crash::WriteBase(base),
        [b"execute"] => Crash::ExecuteShared(base),
        [b"stack"] => Crash::Stack,
        _ => return Err(Failure::Usage),
    };
    shell.system.crash(how);
    Err(Failure::Wrong("the kernel survived"))
}
