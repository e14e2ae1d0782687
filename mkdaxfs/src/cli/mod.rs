//! What the command-line tools share: arguments, images, messages, man pages and completions.
//!
//! Not part of the library's interface.

mod generate;
mod image;
mod message;
mod text;

pub use generate::{Artifact, Generate, parse};
pub use image::{ImageFile, ToolError};
pub use message::{Tool, finish_output, print_json};
pub use text::{Printable, branch_state, kind_name, time};
