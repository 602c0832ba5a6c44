//! A source as it is added to a set that exists.
//!
//! Categories, and classes of whole pictures, are the set's where they have the same name, letter by letter
//! (of several with that name, the one with the same id); others come after the set's. A new category keeps its
//! id if no other has it, else it gets the next one above all. The pictures keep their ids if the set has none of them; otherwise all of them are raised by
//! the same number, the set's highest id and one.

use std::collections::{BTreeMap, HashSet};
use std::io;
use std::path::Path;

use crate::error::{DatasetError, Result};
use crate::import::{Importer, Item, Source, Stamp};
use crate::journal::option_differences;
use crate::options::PackOptions;
use crate::packed_set::PackedSet;
use crate::quarantine::Quarantined;
use crate::sample::{Category, Namesake};

/// A source seen with the categories, classes and ids that it has in the set.
pub(crate) struct Appended {
    inner: Box<dyn Importer>,
    /// The set's, then those that are new.
    categories: Vec<Category>,
    /// For each of the source's categories its place in the above.
    category_places: Vec<u32>,
    labels: Vec<String>,
    label_places: Vec<u32>,
    /// What is added to each picture's id.
    raise: u64,
    refused: Vec<Quarantined>,
    note: Option<String>,
}

impl Appended {
    /// # Errors
    /// If the set at `out` was packed with other options or cannot be read, or if ids run out.
    pub fn new(
        inner: Box<dyn Importer>,
        source: &Source,
        out: &Path,
        options: &PackOptions,
    ) -> Result<Self> {
        let set = PackedSet::open(out)?;
        let wrong = |path: &Path, what: String| DatasetError::Output {
            path: path.into(),
            what,
        };
        let differences = option_differences(&set.manifest().options, options);
        if !differences.is_empty() {
            let what = format!(
                "was packed with other options ({}); append with the same",
                differences.join("; ")
            );
            return Err(wrong(out, what));
        }
        let (categories, category_places) = merge_categories(set.categories(), inner.categories())
            .map_err(|what| wrong(&source.path, what))?;
        let (labels, label_places) = merge_labels(set.labels(), inner.picture_labels());
        let raise = raise(&set, inner.as_ref())?.ok_or_else(|| {
            wrong(
                &source.path,
                "picture ids reach the highest there is".into(),
            )
        })?;
        let mut refused = inner.refused().to_vec();
        for id in refused
            .iter_mut()
            .filter_map(|entry| entry.image_id.as_mut())
        {
            *id = id.saturating_add(raise);
        }
        let note = match (set.categories().is_empty(), inner.categories().is_empty()) {
            (false, true) => Some(
                "the set has labelled objects, this source has none: its pictures count as empty",
            ),
            (true, false) => Some(
                "this source has labelled objects, the set had none: its pictures count as empty",
            ),
            _ => None,
        };
        Ok(Self {
            note: note.map(Into::into).or_else(|| inner.note()),
            inner,
            categories,
            category_places,
            labels,
            label_places,
            raise,
            refused,
        })
    }
}

/// The categories of both, and the places of the second's among them.
///
/// # Errors
/// In words, if ids run out, or if a name could be either of two of the first's.
fn merge_categories(
    first: &[Category],
    second: &[Category],
) -> std::result::Result<(Vec<Category>, Vec<u32>), String> {
    let mut merged = first.to_vec();
    let mut ids: HashSet<u32> = first.iter().map(|category| category.id).collect();
    let mut of_second = Vec::with_capacity(second.len());
    for category in second {
        let Category { id, name } = category;
        match category.among(first) {
            Namesake::One(place) => {
                of_second.push(place as u32);
                continue;
            }
            Namesake::None => {}
            Namesake::Several => {
                return Err(format!(
                    "several categories of the set are named `{name}`, none of them with the id {id} that it has here; rename one, or give it the id of the one that is meant"
                ))
            }
        }
        let id = if ids.contains(id) {
            let all = merged.iter().chain(second).map(|category| category.id);
            let next = all.max().and_then(|highest| highest.checked_add(1));
            next.ok_or("category ids reach the highest there is")?
        } else {
            *id
        };
        ids.insert(id);
        of_second.push(merged.len() as u32);
        merged.push(Category {
            id,
            name: name.clone(),
        });
    }
    Ok((merged, of_second))
}

/// The names of both, and the places of the second's among them.
fn merge_labels(first: &[String], second: &[String]) -> (Vec<String>, Vec<u32>) {
    let mut merged = first.to_vec();
    let place = |name: &String| match merged.iter().position(|known| known == name) {
        Some(place) => place as u32,
        None => {
            merged.push(name.clone());
            merged.len() as u32 - 1
        }
    };
    let places = second.iter().map(place).collect();
    (merged, places)
}

/// What must be added to the new pictures' ids; none if ids run out.
fn raise(set: &PackedSet, new: &dyn Importer) -> Result<Option<u64>> {
    let taken: HashSet<u64> = (0..set.len())
        .map(|i| set.image_id(i))
        .collect::<Result<_>>()?;
    let ids = || (0..new.len()).map(|index| new.image_id(index));
    if !ids().any(|id| taken.contains(&id)) {
        return Ok(Some(0));
    }
    let above = taken.iter().max().and_then(|id| id.checked_add(1));
    let fits = |raise: &u64| ids().all(|id| id.checked_add(*raise).is_some());
    Ok(above.filter(fits))
}

impl Importer for Appended {
    fn len(&self) -> usize {
        self.inner.len()
    }

    fn categories(&self) -> &[Category] {
        &self.categories
    }

    fn picture_labels(&self) -> &[String] {
        &self.labels
    }

    fn refused(&self) -> &[Quarantined] {
        &self.refused
    }

    fn ignored(&self) -> BTreeMap<String, usize> {
        self.inner.ignored()
    }

    fn note(&self) -> Option<String> {
        self.note.clone()
    }

    fn item(&self, index: usize) -> Item {
        let mut item = self.inner.item(index);
        item.image_id += self.raise;
        item.label = item.label.map(|label| self.label_places[label as usize]);
        for object in &mut item.objects {
            object.category = self.category_places[object.category as usize];
        }
        item
    }

    fn image_id(&self, index: usize) -> u64 {
        self.inner.image_id(index) + self.raise
    }

    fn stamp(&self, index: usize) -> Stamp {
        self.inner.stamp(index)
    }

    fn read(&self, index: usize) -> io::Result<Vec<u8>> {
        self.inner.read(index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn categories_are_joined_by_name() {
        let list = |entries: &[(u32, &str)]| -> Vec<Category> {
            let category = |&(id, name): &(u32, &str)| Category {
                id,
                name: name.into(),
            };
            entries.iter().map(category).collect()
        };
        let set = list(&[(1, "cat"), (18, "dog")]);
        let source = list(&[(0, "dog"), (1, "bird"), (5, "fish"), (7, "Cat")]);
        let (merged, places) = merge_categories(&set, &source).unwrap();
        let expected = list(&[
            (1, "cat"),
            (18, "dog"),
            (19, "bird"),
            (5, "fish"),
            (7, "Cat"),
        ]);
        assert_eq!((merged, places), (expected, vec![1, 2, 3, 4]));
        let last = list(&[(u32::MAX, "x")]);
        assert!(merge_categories(&last, &list(&[(u32::MAX, "y")])).is_err());

        // Two of one name stay two: which is meant, their ids say.
        let pair = list(&[(0, "hole"), (1, "hole")]);
        assert_eq!(
            merge_categories(&pair, &pair),
            Ok((pair.clone(), vec![0, 1]))
        );
        assert_eq!(
            merge_categories(&set, &list(&[(5, "fish"), (6, "fish")]))
                .unwrap()
                .1,
            [2, 3]
        );
        let unclear = merge_categories(&pair, &list(&[(2, "hole")])).unwrap_err();
        assert!(
            unclear.contains("`hole`") && unclear.contains("id 2"),
            "{unclear}"
        );
    }
}
