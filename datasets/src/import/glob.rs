//! Patterns for several files at once: `{0000..0099}` and `{a,b}` as shells expand them, `*`, `?` and `[..]`
//! as they match names.

use std::path::{Path, PathBuf};

/// Names that braces may stand for; more is a slip of the pen.
const MOST: usize = 1 << 20;

/// Whether a path is a pattern rather than a name.
pub(super) fn is_pattern(path: &Path) -> bool {
    let text = path.to_string_lossy();
    text.contains(['*', '?', '[']) || text.contains('{') && text.contains('}')
}

/// The files a pattern stands for: what braces name in their order, what matches sorted. A name from braces is
/// given whether there is such a file or not.
///
/// # Errors
/// Says what is wrong with the pattern.
pub(super) fn expand(pattern: &str) -> Result<Vec<PathBuf>, String> {
    let mut files = Vec::new();
    for name in braces(pattern)? {
        if !name.contains(['*', '?', '[']) {
            files.push(name.into());
            continue;
        }
        let matches = glob::glob(&name).map_err(|error| format!("`{name}`: {error}"))?;
        for path in matches {
            files.push(path.map_err(|error| error.to_string())?);
        }
    }
    Ok(files)
}

/// The texts that a text with braces stands for, the first brace varying slowest.
pub(super) fn braces(pattern: &str) -> Result<Vec<String>, String> {
    let mut done = Vec::new();
    // What is still to be expanded, the next one last.
    let mut open = vec![pattern.to_owned()];
    while let Some(text) = open.pop() {
        let start = text.find('{');
        let found = start.and_then(|start| Some((start, start + text[start..].find('}')?)));
        let Some((start, end)) = found else {
            done.push(text);
            continue;
        };
        let inner = &text[start + 1..end];
        if inner.contains('{') {
            return Err(format!("`{pattern}`: braces within braces"));
        }
        let words = match inner.split_once("..") {
            Some((first, last)) => range(first, last)?,
            None => inner.split(',').map(str::to_owned).collect(),
        };
        if done.len() + open.len() + words.len() > MOST {
            return Err(format!("`{pattern}` stands for more than {MOST} names"));
        }
        let with = |word: &String| [&text[..start], word, &text[end + 1..]].concat();
        open.extend(words.iter().rev().map(with));
    }
    Ok(done)
}

/// `first..last`, both included, padded with zeros where one of them is.
fn range(first: &str, last: &str) -> Result<Vec<String>, String> {
    let number = |text: &str| {
        text.parse::<u64>()
            .map_err(|_| format!("`{{{first}..{last}}}`: `{text}` is no number"))
    };
    let (from, to) = (number(first)?, number(last)?);
    if from > to || to - from >= MOST as u64 {
        return Err(format!(
            "`{{{first}..{last}}}`: expected a rising range of at most {MOST} numbers"
        ));
    }
    let padded = [first, last]
        .iter()
        .any(|text| text.len() > 1 && text.starts_with('0'));
    let width = if padded {
        first.len().max(last.len())
    } else {
        0
    };
    Ok((from..=to)
        .map(|number| format!("{number:0width$}"))
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn braces_expand_as_in_a_shell() {
        // Expected: what bash prints.
        for (pattern, expected) in [
            ("a", "a"),
            ("a-{8..11}.tar", "a-8.tar a-9.tar a-10.tar a-11.tar"),
            ("{08..10}", "08 09 10"),
            ("{a,b}{0..1}", "a0 a1 b0 b1"),
            ("{", "{"),
            ("}{", "}{"),
        ] {
            assert_eq!(braces(pattern).unwrap().join(" "), expected, "{pattern}");
        }
    }

    #[test]
    fn an_endless_or_unclear_pattern_is_refused() {
        for pattern in [
            "{0..18446744073709551615}",
            "{0..99999999}",
            "{0..999}{0..999}{0..999}{0..999}",
            "{a..b}",
            "{5..1}",
            "x{a,{b,c}}",
        ] {
            assert!(braces(pattern).is_err(), "{pattern}");
        }
    }
}
