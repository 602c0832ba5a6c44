//! Counts over a whole source that take no memory for each picture: sizes, objects, classes.

use super::gallery::Gallery;
use super::Looked;

/// Counts of numbers by their power of two: place `i` counts those from 2^i to below 2^(i + 1).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Histogram {
    counts: [u64; 32],
}

impl Histogram {
    fn add(&mut self, value: u32) {
        // Zero counts with one.
        self.counts[value.max(1).ilog2() as usize] += 1;
    }

    /// The bins from the first to the last that counts something: the least number in it, and the count.
    pub fn bins(&self) -> impl Iterator<Item = (u32, u64)> + '_ {
        let used = |&bin: &usize| self.counts[bin] > 0;
        let first = (0..32).find(used).unwrap_or(0);
        let end = (0..32).rev().find(used).map_or(0, |last| last + 1);
        (first..end).map(|bin| (1 << bin, self.counts[bin]))
    }
}

/// How often a class occurs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClassCount {
    /// The class's name.
    pub name: String,
    /// Pictures that it occurs in.
    pub pictures: u64,
    /// Labelled objects; the pictures themselves for classes of whole pictures.
    pub objects: u64,
}

/// Counts over the pictures that can be used.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Pictures.
    pub pictures: u64,
    /// Pictures without a labelled object.
    pub without_objects: u64,
    /// Labelled objects.
    pub objects: u64,
    /// Least and greatest width and height of a picture, in pixels.
    pub sizes: Option<[(u32, u32); 2]>,
    /// Shorter sides of pictures, in pixels.
    pub short_sides: Histogram,
    /// Square roots of the areas of boxes, in pixels of the picture as it is packed.
    pub box_sides: Histogram,
    /// Objects smaller than 32^2 pixels, smaller than 96^2, and larger: COCO's small, medium and large.
    pub small_medium_large: [u64; 3],
    /// Every class, of objects or of whole pictures.
    pub classes: Vec<ClassCount>,
    /// For each class the last picture it was seen in, counted from 1.
    last_seen: Vec<u64>,
}

impl Tally {
    pub(super) fn new(gallery: &Gallery) -> Self {
        let categories = gallery.categories().iter().map(|category| &category.name);
        let class = |name: &String| ClassCount {
            name: name.clone(),
            pictures: 0,
            objects: 0,
        };
        let classes: Vec<_> = categories.chain(gallery.labels()).map(class).collect();
        Self {
            last_seen: vec![0; classes.len()],
            classes,
            ..Self::default()
        }
    }

    /// `categories` is the number of categories of objects.
    pub(super) fn add(&mut self, seen: &Looked, categories: usize) {
        self.pictures += 1;
        let (width, height) = seen.size;
        let [least, greatest] = self.sizes.get_or_insert([(width, height); 2]);
        *least = (least.0.min(width), least.1.min(height));
        *greatest = (greatest.0.max(width), greatest.1.max(height));
        self.short_sides.add(width.min(height));
        self.without_objects += u64::from(seen.instances.is_empty());
        self.objects += seen.instances.len() as u64;
        for instance in &seen.instances {
            let side = (instance.bbox[2] * instance.bbox[3]).sqrt();
            self.box_sides.add(side as u32);
            let size = [32., 96.]
                .iter()
                .filter(|&&bound| instance.area.sqrt() >= bound);
            self.small_medium_large[size.count()] += 1;
            self.count(instance.category as usize);
        }
        if let Some(label) = seen.label {
            self.count(categories + label as usize);
        }
    }

    fn count(&mut self, class: usize) {
        // None is beyond the names: reading a packed set's record refuses that.
        if let (Some(count), Some(last)) =
            (self.classes.get_mut(class), self.last_seen.get_mut(class))
        {
            count.objects += 1;
            count.pictures += u64::from(*last != self.pictures);
            *last = self.pictures;
        }
    }

    /// Names of the classes that occur nowhere.
    pub fn empty_classes(&self) -> impl Iterator<Item = &str> {
        let empty = self.classes.iter().filter(|class| class.objects == 0);
        empty.map(|class| class.name.as_str())
    }
}
