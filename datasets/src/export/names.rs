//! Names for exported files: safe wherever they are unpacked, and each given once.

use std::collections::{HashMap, HashSet};

/// The names given so far.
#[derive(Default)]
pub(super) struct Names {
    /// In small letters: some file systems do not tell them from capitals.
    taken: HashSet<String>,
    /// The last number that each wanted name got: there may be a hundred thousand `rgb.png`.
    numbers: HashMap<String, usize>,
}

impl Names {
    /// Whether a name was not given yet.
    pub(super) fn is_free(&self, name: &str) -> bool {
        !self.taken.contains(&name.to_lowercase())
    }

    /// `wanted`, or that with a number where it was given before.
    pub(super) fn unique(&mut self, wanted: String) -> String {
        if self.taken.insert(wanted.to_lowercase()) {
            return wanted;
        }
        let number = self.numbers.entry(wanted.to_lowercase()).or_insert(1);
        loop {
            *number += 1;
            let name = format!("{wanted}-{number}");
            if self.taken.insert(name.to_lowercase()) {
                return name;
            }
        }
    }
}

/// A path below a folder, whatever the source's name was: no part leads upwards or to the root, is hidden, or has
/// a character that some system refuses.
pub(super) fn safe_path(source: &str) -> String {
    let parts = source.split(['/', '\\']);
    let parts: Vec<_> = parts
        .filter(|part| !matches!(*part, "" | "." | ".."))
        .map(safe_part)
        .collect();
    match parts.is_empty() {
        true => "unnamed".into(),
        false => parts.join("/"),
    }
}

/// One part of a path: of a name with slashes, too.
pub(super) fn safe_part(name: &str) -> String {
    let safe = |c: char| match c {
        '/' | '\\' | ':' | '*' | '?' | '"' | '<' | '>' | '|' => '_',
        c if c.is_control() => '_',
        c => c,
    };
    let name: String = name.chars().map(safe).collect();
    // What importers take for the system's own, and what Windows cuts off.
    match name.trim_end_matches(['.', ' ']) {
        "" => "_".into(),
        "__MACOSX" => "_MACOSX".into(),
        name => match name.strip_prefix('.') {
            Some(rest) => format!("_{rest}"),
            None => name.into(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_leads_out_of_the_folder() {
        for (source, expected) in [
            ("a/b c.jpg", "a/b c.jpg"),
            ("/etc/passwd", "etc/passwd"),
            ("../../x.png", "x.png"),
            ("C:\\data\\..\\x.png", "C_/data/x.png"),
            ("a/.hidden/..", "a/_hidden"),
            ("...", "_"),
            ("a\0b\n", "a_b_"),
            ("..", "unnamed"),
            ("", "unnamed"),
        ] {
            assert_eq!(safe_path(source), expected, "{source:?}");
        }
    }

    #[test]
    fn a_name_is_given_once() {
        let mut names = Names::default();
        let given = ["a", "A", "a-2", "a", "b"].map(|name| names.unique(name.into()));
        assert_eq!(given, ["a", "A-2", "a-2-2", "a-3", "b"]);
    }
}
