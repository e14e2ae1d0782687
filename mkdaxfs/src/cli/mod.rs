//! What the command-line tools share: arguments, images, messages, man pages and completions.
//!
//! Not part of the library's interface.

mod branches;
mod generate;
mod image;
mod message;
mod text;

pub use crate::text::{Printable, branch_state};
pub use branches::{BranchTable, branch_name};
pub use generate::{complain, parse};
pub use image::{ImageFile, ToolError};
pub use message::{Tool, finish_output, print_json};
pub use text::{address, count, kind_name, size, time};
