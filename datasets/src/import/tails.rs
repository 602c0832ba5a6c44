//! The tails of the file names in a label file, by which a picture is found that is not where its name says.
//!
//! A tail is the last parts of a name: `/a/b/1.jpg` has `a/b/1.jpg`, `b/1.jpg` and `1.jpg`. Where several names end in
//! the same tail, it does not tell whose picture it is, and is not used: no labels go to the picture of another name.

use std::collections::hash_map::DefaultHasher;
use std::collections::HashSet;
use std::hash::{Hash, Hasher};
use std::path::{Component, Path};

/// The parts of a name. An absolute one begins with an empty part.
pub(super) fn parts(name: &str) -> Vec<&str> {
    let parts = name.split(['/', '\\']).enumerate();
    let parts = parts.filter(|&(i, part)| if part.is_empty() { i == 0 } else { part != "." });
    parts.map(|(_, part)| part).collect()
}

/// Whether it names a file or folder in another: no root, drive or way up.
fn is_plain(part: &str) -> bool {
    matches!(
        Path::new(part).components().next(),
        Some(Component::Normal(_))
    )
}

/// Whether a name has a root, a drive or a way up, and so is not of the folder that the pictures are in. Label files
/// come from other systems: a drive is one here too.
pub(super) fn leads_elsewhere(parts: &[&str]) -> bool {
    let is_drive = |part: &&str| part.ends_with(':');
    parts.first().is_some_and(is_drive) || !parts.iter().all(|part| is_plain(part))
}

/// The tails of a name, the shortest first, each with a number that stands for it. One that leads out of the folder
/// is none.
fn tails<'a>(parts: &'a [&'a str]) -> impl Iterator<Item = (u64, &'a [&'a str])> {
    let mut hasher = DefaultHasher::new();
    let plain = (0..parts.len()).rev().take_while(|&i| is_plain(parts[i]));
    plain.map(move |start| {
        parts[start].hash(&mut hasher);
        (hasher.finish(), &parts[start..])
    })
}

/// The tails in which more than one name of a label file ends.
#[derive(Default)]
pub(super) struct SharedTails(HashSet<u64>);

impl SharedTails {
    /// Those of all names of a label file; the same name counts once.
    pub fn of(names: &[&str]) -> Self {
        // A name of one part has no tail but itself.
        if !names.iter().any(|name| name.contains(['/', '\\'])) {
            return Self::default();
        }
        let (mut seen, mut numbers) = (HashSet::new(), Vec::new());
        for name in names {
            let parts = parts(name);
            let mut hasher = DefaultHasher::new();
            parts.hash(&mut hasher);
            if seen.insert(hasher.finish()) {
                numbers.extend(tails(&parts).map(|(number, _)| number));
            }
        }
        numbers.sort_unstable();
        let equal = numbers.chunk_by(|a, b| a == b);
        Self(
            equal
                .filter(|equal| equal.len() > 1)
                .map(|equal| equal[0])
                .collect(),
        )
    }

    /// The name itself, unless it leads out of the folder, and the tails that are its alone; the longest first.
    pub fn own<'a>(&self, parts: &'a [&'a str]) -> Vec<&'a [&'a str]> {
        let own = |&(number, tail): &(u64, &[&str])| {
            tail.len() == parts.len() || !self.0.contains(&number)
        };
        let mut own: Vec<_> = tails(parts).filter(own).map(|(_, tail)| tail).collect();
        own.reverse();
        own
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_tails_of_one_name_are_used() {
        let names = [
            "/abs/a/0.jpg",
            "/abs/b/0.jpg",
            "C:\\set\\a\\1.jpg",
            "./c//2.jpg",
            "c/2.jpg",
            "up/../3.jpg",
            "4.jpg",
            "d/4.jpg",
            "..",
            "",
        ];
        let shared = SharedTails::of(&names);
        let own = |name: &str| -> Vec<String> {
            let parts = parts(name);
            let own = shared.own(&parts).into_iter();
            own.map(|tail| tail.join("/")).collect()
        };
        assert_eq!(own(names[0]), ["abs/a/0.jpg", "a/0.jpg"]);
        assert_eq!(own(names[1]), ["abs/b/0.jpg", "b/0.jpg"]);
        assert!(own(names[2])
            .join(" ")
            .ends_with("set/a/1.jpg a/1.jpg 1.jpg"));
        assert_eq!(
            own(names[3]),
            ["c/2.jpg", "2.jpg"],
            "one name, written in two ways"
        );
        assert_eq!(own(names[5]), ["3.jpg"]);
        assert_eq!(own(names[6]), ["4.jpg"], "a name itself, whoever ends so");
        assert_eq!(own(names[7]), ["d/4.jpg"]);
        assert!(own(names[8]).is_empty() && own(names[9]).is_empty());
        assert!(SharedTails::of(&["a", "b", "a"]).0.is_empty());
    }
}
