//! `watch`.

use crate::args::Subject;
use crate::view;
use mkdaxfs::cli::ToolError;
use mkdaxfs::watch::{self, Watch};
use signal_hook::consts::{SIGHUP, SIGTERM};
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Columns and lines of one look as text.
const PAGE: (u16, u16) = (120, 40);

pub(crate) fn run(subject: &Subject, interval: u64, once: bool) -> Result<(), ToolError> {
    let title = subject.file.display().to_string();
    let mut watch = Watch::new(title, view::volume(subject)?);
    if once {
        watch.refresh(Duration::ZERO);
        if let Some(problem) = watch.problem() {
            return Err(ToolError::Other(format!("{}: {problem}", subject.file.display())));
        }
        return Ok(io::stdout().write_all(watch.text(PAGE.0, PAGE.1).as_bytes())?);
    }
    let ended = Arc::new(AtomicBool::new(false));
    for signal in [SIGTERM, SIGHUP] {
        signal_hook::flag::register(signal, Arc::clone(&ended))?;
    }
    let interval = Duration::from_millis(interval);
    watch::run(&mut watch, &mut [], &|| ended.load(Ordering::Relaxed), interval)
        .map_err(|e| ToolError::Other(format!("{e} (--once prints one look as text)")))
}
