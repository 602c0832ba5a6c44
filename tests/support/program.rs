//! The program, run in a folder.

use std::path::Path;
use std::process::Command;

/// Whether it ended well, what it printed, and what it said beside.
pub fn intertwine(dir: &Path, args: &[&str]) -> (bool, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_intertwine"))
        .current_dir(dir)
        .args(args)
        .output()
        .unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (
        output.status.success(),
        text(output.stdout),
        text(output.stderr),
    )
}
