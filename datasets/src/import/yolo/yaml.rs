//! `data.yaml`, which says where a YOLO data set's pictures are and what its classes are called.

use yaml_rust2::parser::{Event, Parser};
use yaml_rust2::{Yaml, YamlLoader};

/// Lists within lists; a data set needs two levels. Reading deeper ones would take stack for each level.
const DEEPEST: usize = 16;

/// The keys of a `data.yaml` that are of use here. (Ultralytics' documentation, "Dataset YAML".)
#[derive(Debug, Default, PartialEq)]
pub(crate) struct DataYaml {
    /// The folder that the splits are relative to.
    pub path: Option<String>,
    /// `train`, `val` and `test`, as far as they are there, each with its folders or lists.
    pub splits: Vec<(String, Vec<String>)>,
    /// Number and name of each class, sorted by number; empty if the file names none.
    pub names: Vec<(u32, String)>,
    /// Whether labels hold key points behind each box.
    pub keypoints: bool,
}

/// Reads the file.
///
/// # Errors
/// Says what is wrong: no YAML, no mapping, a key that holds something else than it should.
pub(crate) fn parse(text: &str) -> Result<DataYaml, String> {
    check_structure(text)?;
    let documents =
        YamlLoader::load_from_str(text).map_err(|error| format!("not YAML: {error}"))?;
    let Some(Yaml::Hash(top)) = documents.into_iter().next() else {
        return Err("expected keys such as `train` and `names`".into());
    };
    let get = |key: &str| match top.get(&Yaml::String(key.into())) {
        None | Some(Yaml::Null) => None,
        Some(value) => Some(value),
    };
    let mut yaml = DataYaml {
        keypoints: get("kpt_shape").is_some(),
        ..DataYaml::default()
    };
    if let Some(path) = get("path") {
        yaml.path = Some(scalar(path).ok_or("`path` is no folder's name")?);
    }
    for key in ["train", "val", "test"] {
        let Some(value) = get(key) else { continue };
        let places = match value {
            Yaml::Array(values) => values.iter().map(scalar).collect(),
            value => scalar(value).map(|value| vec![value]),
        };
        let places = places.filter(|places: &Vec<String>| !places.is_empty());
        let places =
            places.ok_or_else(|| format!("`{key}` is neither a path nor a list of paths"))?;
        yaml.splits.push((key.into(), places));
    }
    if let Some(value) = get("names") {
        yaml.names = names(value)?;
    }
    if let Some(value) = get("nc") {
        let count = value.as_i64().and_then(|count| u32::try_from(count).ok());
        let count = count.ok_or("`nc` is no number of classes")?;
        if !yaml.names.is_empty() && yaml.names.len() != count as usize {
            return Err(format!(
                "`nc` is {count}, but `names` has {}",
                yaml.names.len()
            ));
        }
    }
    Ok(yaml)
}

/// A list of names, or names by number.
fn names(value: &Yaml) -> Result<Vec<(u32, String)>, String> {
    let name = |value: &Yaml| scalar(value).ok_or("`names` holds something that is no name");
    let mut names = match value {
        Yaml::Array(values) => {
            let named = (0..).zip(values).map(|(id, value)| Ok((id, name(value)?)));
            named.collect::<Result<Vec<_>, String>>()?
        }
        Yaml::Hash(entries) => {
            let mut names = Vec::with_capacity(entries.len());
            for (key, value) in entries {
                let id = scalar(key).and_then(|key| key.parse().ok());
                names.push((id.ok_or("a key of `names` is no number")?, name(value)?));
            }
            names
        }
        _ => return Err("`names` is neither a list nor names by number".into()),
    };
    names.sort();
    match names.windows(2).find(|pair| pair[0].0 == pair[1].0) {
        Some(pair) => Err(format!("`names` has the number {} twice", pair[0].0)),
        None => Ok(names),
    }
}

/// A single value as text: a class may be called `5` or `true`.
fn scalar(value: &Yaml) -> Option<String> {
    match value {
        Yaml::String(text) | Yaml::Real(text) => Some(text.clone()),
        Yaml::Integer(number) => Some(number.to_string()),
        Yaml::Boolean(flag) => Some(flag.to_string()),
        _ => None,
    }
}

/// Refuses what could take memory or stack without bound: aliases, which may stand for ever more aliases, and
/// lists within lists.
fn check_structure(text: &str) -> Result<(), String> {
    let mut parser = Parser::new_from_str(text);
    let mut depth = 0usize;
    loop {
        let (event, at) = parser
            .next_token()
            .map_err(|error| format!("not YAML: {error}"))?;
        match event {
            Event::StreamEnd => return Ok(()),
            Event::Alias(_) => {
                return Err(format!(
                    "line {}: aliases (`*name`) are not read",
                    at.line()
                ))
            }
            Event::SequenceStart(..) | Event::MappingStart(..) if depth == DEEPEST => {
                return Err(format!(
                    "line {}: more than {DEEPEST} lists within lists",
                    at.line()
                ))
            }
            Event::SequenceStart(..) | Event::MappingStart(..) => depth += 1,
            Event::SequenceEnd | Event::MappingEnd => depth -= 1,
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_and_numbered_names() {
        let text = "# COCO\npath: ../datasets/coco8 # root\ntrain: images/train\nval: [images/val, more.txt]\ntest:\n\
                    names:\n  0: person\n  2: 5\n  1: true\n";
        let yaml = parse(text).unwrap();
        assert_eq!(yaml.path.as_deref(), Some("../datasets/coco8"));
        let split = |name: &str, places: &[&str]| {
            (
                name.to_owned(),
                places.iter().map(|&place| place.to_owned()).collect(),
            )
        };
        assert_eq!(
            yaml.splits,
            [
                split("train", &["images/train"]),
                split("val", &["images/val", "more.txt"])
            ]
        );
        let names: Vec<_> = yaml
            .names
            .iter()
            .map(|(id, name)| (*id, name.as_str()))
            .collect();
        assert_eq!(names, [(0, "person"), (1, "true"), (2, "5")]);
        assert!(!yaml.keypoints);
        let yaml = parse("nc: 2\nnames: ['a', \"b c\"]\nkpt_shape: [17, 3]").unwrap();
        assert_eq!((yaml.names[1].1.as_str(), yaml.keypoints), ("b c", true));
    }

    #[test]
    fn what_is_wrong_is_named() {
        let nested = format!("names: {}", "[".repeat(100));
        for (text, part) in [
            ("", "expected keys"),
            ("- 1", "expected keys"),
            ("a: [", "not YAML"),
            ("train: {a: b}", "`train` is neither"),
            ("names: x", "`names` is neither"),
            ("names: {a: b}", "no number"),
            ("names: {1: b, '1': c}", "1 twice"),
            ("nc: 3\nnames: [a]", "`nc` is 3, but `names` has 1"),
            ("a: &x 1\nb: *x", "aliases"),
            (&nested, "lists within lists"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(part), "{text:.40}: {error}");
        }
    }
}
