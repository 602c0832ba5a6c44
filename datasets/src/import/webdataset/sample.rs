//! The members of an archive, put together to samples by their names.

use std::collections::BTreeMap;

use super::super::folder::is_picture_extension;
use super::tar_index::Member;

/// Where a member lies in its archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    pub offset: u64,
    pub len: u64,
}

/// The members of a sample that are of use.
#[derive(Debug, Default)]
pub(super) struct Members {
    /// Folder and name up to the first dot.
    pub key: String,
    /// Name within the archive, and place.
    pub picture: Option<(String, Span)>,
    pub class: Option<Span>,
    pub text: Option<Span>,
    pub json: Option<Span>,
    /// The name of a member that was there before.
    pub twice: Option<String>,
}

/// Puts members that follow one another and share a key together. Others of their members, counted by
/// extension, go to `ignored`.
pub(super) fn group(members: Vec<Member>, ignored: &mut BTreeMap<String, usize>) -> Vec<Members> {
    let mut samples: Vec<Members> = Vec::new();
    for member in members {
        let (key, extension) = split(&member.name);
        // The system's own files (`._x.jpg`), and what readers of WebDataset take for no sample.
        if key.is_empty() || key.ends_with('/') {
            *ignored.entry("hidden".into()).or_insert(0) += 1;
            continue;
        }
        if samples.last().is_none_or(|last| last.key != key) {
            let key = key.to_owned();
            samples.push(Members {
                key,
                ..Members::default()
            });
        }
        let Some(sample) = samples.last_mut() else {
            continue;
        };
        let span = Span {
            offset: member.offset,
            len: member.len,
        };
        let extension = extension.to_ascii_lowercase();
        let place = match extension.as_str() {
            "cls" => &mut sample.class,
            "txt" => &mut sample.text,
            "json" => &mut sample.json,
            _ if is_picture(&extension) => {
                // `jpg` goes before `left.jpg`, the first before those after it.
                match &mut sample.picture {
                    None => sample.picture = Some((member.name, span)),
                    Some((name, _)) if *name == member.name => sample.twice = Some(member.name),
                    Some(first) if split(&first.0).1.contains('.') && !extension.contains('.') => {
                        let other = split(&first.0).1.to_ascii_lowercase();
                        *ignored.entry(format!(".{other}")).or_insert(0) += 1;
                        *first = (member.name, span);
                    }
                    Some(_) => *ignored.entry(format!(".{extension}")).or_insert(0) += 1,
                }
                continue;
            }
            _ => {
                *ignored.entry(format!(".{extension}")).or_insert(0) += 1;
                continue;
            }
        };
        match place {
            None => *place = Some(span),
            Some(_) => sample.twice = Some(member.name),
        }
    }
    samples
}

/// Key and extension: before and after the first dot of the last part of the name.
fn split(name: &str) -> (&str, &str) {
    let start = name.rfind('/').map_or(0, |slash| slash + 1);
    match name[start..].find('.') {
        Some(dot) => (&name[..start + dot], &name[start + dot + 1..]),
        None => (name, ""),
    }
}

fn is_picture(extension: &str) -> bool {
    let last = extension.rsplit('.').next().unwrap_or_default();
    is_picture_extension(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_of_a_key_are_one_sample() {
        let names = [
            "a/1.left.jpg",
            "a/1.PNG",
            "a/1.cls",
            "a/1.json",
            "a/1.seg.png",
            "b/1.jpg",
            "b/1.cls",
            "b/1.cls",
            "b/1.pyd",
            "2.txt",
            "a/._1.jpg",
            "3.5.jpg",
            "a/1.jpg",
        ];
        let members = names.iter().zip(0..).map(|(&name, offset)| Member {
            name: name.into(),
            offset,
            len: 1,
        });
        let mut ignored = BTreeMap::new();
        let samples = group(members.collect(), &mut ignored);
        let found: Vec<_> = samples
            .iter()
            .map(|s| {
                (
                    s.key.as_str(),
                    s.picture.as_ref().map(|(_, span)| span.offset),
                )
            })
            .collect();
        assert_eq!(
            found,
            [
                ("a/1", Some(1)),
                ("b/1", Some(5)),
                ("2", None),
                ("3", Some(11)),
                ("a/1", Some(12))
            ]
        );
        assert_eq!(samples[0].class.unwrap().offset, 2);
        assert_eq!(samples[0].json.unwrap().offset, 3);
        assert_eq!(samples[1].twice.as_deref(), Some("b/1.cls"));
        let ignored: Vec<_> = ignored.into_iter().collect();
        let counts = [
            (".left.jpg", 1),
            (".pyd", 1),
            (".seg.png", 1),
            ("hidden", 1),
        ];
        assert_eq!(
            ignored,
            counts.map(|(name, count)| (name.to_owned(), count))
        );
    }
}
