//! Memory of this process, where the system tells: Linux, in `/proc/self/status`.

/// Bytes that it holds now.
#[cfg(feature = "serve")]
pub fn resident() -> Option<u64> {
    status("VmRSS:")
}

/// The most bytes that it ever held.
pub fn peak() -> Option<u64> {
    status("VmHWM:")
}

/// A line of the file, which counts in kB.
fn status(name: &str) -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    let kilobytes: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(1024 * kilobytes)
}
