//! How much memory the process holds, where the system tells.

/// Most bytes ever held at once.
pub fn peak() -> Option<u64> {
    status("VmHWM:")
}

/// Bytes held now.
#[cfg(feature = "serve")]
pub fn resident() -> Option<u64> {
    status("VmRSS:")
}

/// Linux says it in `/proc/self/status`, in kB.
fn status(key: &str) -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(key))?;
    let kilobytes: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(1024 * kilobytes)
}
