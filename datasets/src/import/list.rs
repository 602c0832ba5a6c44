//! A text file with a picture's path on each line and, after a tab or a space, its class, if it has one.

use std::io;
use std::path::{Path, PathBuf};

use super::{
    by_value, index_names, picture_folder, read_file, read_text, yolo, Importer, Item, Stamp,
};
use crate::error::{DatasetError, Result};
use crate::quarantine::Quarantined;

/// The pictures of a list, in its order.
pub(super) struct List {
    /// Path as the list has it, and where it is.
    pictures: Vec<(String, PathBuf)>,
    labels: Vec<String>,
    classes: Vec<Option<u32>>,
}

impl List {
    /// Paths are relative to `images`, or else to the folder the list lies in.
    pub(super) fn open(path: &Path, images: Option<&Path>) -> Result<Self> {
        let folder = match images {
            Some(images) => picture_folder::given(images)?,
            None => path.parent().unwrap_or(Path::new("")).to_owned(),
        };
        let text = read_text(path).map_err(DatasetError::io("read", path))?;
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
        let entries: Vec<_> = lines
            .map(|line| entry(line, |name| locate(&folder, name).is_file()))
            .collect();
        if entries.is_empty() {
            let what = "a list without a line; expected a picture's path on each, and after it its class, if any";
            return Err(DatasetError::source(path, what));
        }
        let pictures: Vec<_> = entries
            .iter()
            .map(|(name, _)| ((*name).to_owned(), locate(&folder, name)))
            .collect();
        if !pictures.iter().any(|(_, path)| path.is_file()) {
            let what = format!(
                "none of its {} pictures was found, such as `{}`; give the folder its paths are relative to with \
                 --images DIR",
                pictures.len(),
                pictures[0].1.display()
            );
            return Err(DatasetError::source(path, what));
        }
        let (labels, classes) = index_names(entries.iter().map(|(_, class)| *class), by_value);
        Ok(Self {
            pictures,
            labels,
            classes,
        })
    }
}

/// The file of this name; absolute names stand for themselves.
fn locate(folder: &Path, name: &str) -> PathBuf {
    folder.join(name.replace('\\', "/"))
}

/// Path and class of a line. A space may also be part of the path: it is, if there is such a file.
pub(crate) fn entry(line: &str, is_file: impl Fn(&str) -> bool) -> (&str, Option<&str>) {
    let cut = match line.split_once('\t') {
        Some(cut) => Some(cut),
        None if is_file(line) => None,
        None => line.rsplit_once(char::is_whitespace),
    };
    match cut.map(|(name, class)| (name.trim(), class.trim())) {
        Some((name, class)) if !name.is_empty() && !class.is_empty() => (name, Some(class)),
        Some((name, _)) if !name.is_empty() => (name, None),
        _ => (line, None),
    }
}

impl Importer for List {
    fn len(&self) -> usize {
        self.pictures.len()
    }

    fn picture_labels(&self) -> &[String] {
        &self.labels
    }

    fn refused(&self) -> &[Quarantined] {
        &[]
    }

    fn note(&self) -> Option<String> {
        let (_, first) = self.pictures.iter().find(|(_, path)| path.is_file())?;
        let labels = yolo::label_file(first)?;
        let labels = labels.display();
        Some(format!("packed without objects; to pack those of YOLO files such as {labels}, use --format yolo"))
    }

    fn item(&self, index: usize) -> Item {
        Item {
            image_id: index as u64,
            source: self.pictures[index].0.clone(),
            stated_size: None,
            label: self.classes[index],
            objects: Vec::new(),
            refused: Vec::new(),
        }
    }

    fn image_id(&self, index: usize) -> u64 {
        index as u64
    }

    fn stamp(&self, index: usize) -> Stamp {
        Stamp::of(&self.pictures[index].1)
    }

    fn read(&self, index: usize) -> io::Result<Vec<u8>> {
        read_file(&self.pictures[index].1)
    }
}

#[cfg(test)]
mod tests {
    use super::entry;

    #[test]
    fn a_class_follows_a_tab_or_the_last_space() {
        for (line, expected) in [
            ("a.jpg", ("a.jpg", None)),
            ("a.jpg 3", ("a.jpg", Some("3"))),
            ("my photo.jpg", ("my photo.jpg", None)),
            ("my photo.jpg cat", ("my photo.jpg", Some("cat"))),
            ("my photo.jpg\tgrey cat", ("my photo.jpg", Some("grey cat"))),
            ("gone.jpg\t", ("gone.jpg", None)),
        ] {
            let is_file = |name: &str| ["a.jpg", "my photo.jpg"].contains(&name);
            assert_eq!(entry(line, is_file), expected, "{line}");
        }
    }
}
