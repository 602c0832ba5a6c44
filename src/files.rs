//! Files with errors that name them.

use std::path::Path;

use anyhow::Context;

/// Writes a file, whole or not at all.
///
/// # Errors
/// What the file system says.
pub fn save(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    intertwine_files::bytes(path, bytes).with_context(|| cannot_write(path))
}

/// Makes room for a file before the work that it is to hold is done: makes its folder, and tries whether it can be written.
///
/// # Errors
/// If it cannot, or what is there is a folder.
pub fn make_room(path: &Path) -> anyhow::Result<()> {
    intertwine_files::make_room(path).with_context(|| cannot_write(path))
}

fn cannot_write(path: &Path) -> String {
    format!("cannot write {}", path.display())
}
