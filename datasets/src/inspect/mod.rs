//! Looks a source over without writing anything: what is broken, what is there twice, what it consists of.
//!
//! # Layout
//! - `gallery`: what is looked at, a source or a packed set
//! - `hash`, `near`: two numbers for each picture, and finding those that are close
//! - `tally`: counts
//! - `text`, `html`: what was found, for a terminal and as a page with pictures
//!
//! # Memory
//! 48 bytes for each picture that can be used, some 30 more while looks are compared, the findings
//! themselves, what the source's own list takes, and on each thread one picture, decoded.

mod gallery;
mod hash;
mod html;
mod near;
mod tally;
mod text;

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::batches::in_order;
use crate::error::Result;
use crate::import::Source;
use crate::options::PackOptions;
use crate::pack::Progress;
use crate::quarantine::Quarantined;
use crate::sample::Instance;
use gallery::Gallery;
pub use tally::{ClassCount, Histogram, Tally};

/// Pictures of a group that are named.
const NAMED: usize = 12;

/// What was found in a source.
pub struct Inspection {
    gallery: Gallery,
    /// What it was held against, and where that is.
    against: Option<(Gallery, PathBuf)>,
    /// What would be left out or changed in packing, in the order of the source.
    pub quarantined: Vec<Quarantined>,
    /// For each of these the number of its picture, if it was found in one.
    places: Vec<Option<usize>>,
    /// Counts over the pictures that can be used.
    pub tally: Tally,
    /// Files in the source folder that are not pictures by their name, counted by extension.
    pub ignored: BTreeMap<String, usize>,
    /// Something to know about the source.
    pub note: Option<String>,
    /// Pictures of exactly the same pixels, group by group.
    pub same: Vec<Group>,
    /// Pictures that look alike: hashes of their looks differ in at most 4 of 64 bits, in chains. Of
    /// pictures with the same pixels one stands for all.
    pub alike: Vec<Group>,
    /// Pictures of the other source, or set, that could be read.
    pub others: u64,
}

/// Pictures that are the same or look alike.
#[derive(Clone, Debug)]
pub struct Group {
    /// The first of them.
    pub named: Vec<Member>,
    /// Number of those in the source.
    pub here: usize,
    /// Number of those in the source, or set, that it was held against.
    pub there: usize,
}

impl Group {
    /// Whether it has pictures of both.
    pub fn is_shared(&self) -> bool {
        self.here > 0 && self.there > 0
    }
}

/// A picture of a group.
#[derive(Clone, Debug)]
pub struct Member {
    /// Its path within its source.
    pub name: String,
    /// Whether it is of what the source was held against.
    pub there: bool,
    index: usize,
}

impl Inspection {
    /// Whether anything was found that one should look at: bad pictures or labels, pictures that are there
    /// twice or shared with the other source, classes that occur nowhere.
    pub fn found_something(&self) -> bool {
        let groups = self.same.len() + self.alike.len() + self.quarantined.len();
        groups > 0 || self.tally.empty_classes().next().is_some()
    }

    /// All that was found as one HTML page that needs no other file, with small pictures of the findings.
    pub fn html(&self) -> String {
        html::page(self)
    }
}

/// Reads and decodes every picture of `source`, checks every label, and compares all pictures with each
/// other, and with those of `against` if given. Either may be a packed set; of `source`, shards are then held against
/// their hashes too, so that all is found that [`PackedSet::verify`](crate::PackedSet::verify) finds.
///
/// Works on the threads of the current rayon pool; the result does not depend on their number.
///
/// # Errors
/// If a source cannot be opened. What is wrong with its pictures and labels is no error.
pub fn inspect(
    source: &Source,
    against: Option<&Source>,
    options: &PackOptions,
    progress: &(dyn Fn(Progress) + Sync),
) -> Result<Inspection> {
    options.validate()?;
    let gallery = Gallery::open(source)?;
    let other = against.map(Gallery::open).transpose()?;
    let mut so_far = Progress {
        done: 0,
        total: gallery.len() + other.as_ref().map_or(0, Gallery::len),
        quarantined: 0,
        bytes: 0,
    };
    let mut quarantined = gallery.refused();
    let mut places = vec![None; quarantined.len()];
    let mut tally = Tally::new(&gallery);
    let mut prints = Vec::new();
    let categories = gallery.categories().len();
    look_at(&gallery, options, |index, looked, entries| {
        places.resize(places.len() + entries.len(), Some(index));
        quarantined.extend(entries);
        if let Some(looked) = looked {
            tally.add(&looked, categories);
            prints.push(looked.print(index, false));
        }
        so_far.done += 1;
        so_far.quarantined = quarantined.len();
        progress(so_far);
    })?;
    let here = prints.len();
    if let Some(other) = &other {
        look_at(other, options, |index, looked, _| {
            prints.extend(looked.map(|looked| looked.print(index, true)));
            so_far.done += 1;
            progress(so_far);
        })?;
    }
    let others = (prints.len() - here) as u64;
    let name = |print: &Print| {
        let gallery = if print.there {
            other.as_ref()
        } else {
            Some(&gallery)
        };
        gallery.map_or_else(String::new, |gallery| gallery.name(print.index as usize))
    };
    let (same, alike) = groups(prints, name);
    let against = other.zip(against.map(|source| source.path.clone()));
    Ok(Inspection {
        ignored: gallery.ignored(),
        note: gallery.note(),
        gallery,
        against,
        quarantined,
        places,
        tally,
        same,
        alike,
        others,
    })
}

/// What is taken from a picture before it is dropped.
struct Looked {
    size: (u32, u32),
    instances: Vec<Instance>,
    label: Option<u32>,
    exact: u128,
    look: Option<u64>,
}

impl Looked {
    fn print(&self, index: usize, there: bool) -> Print {
        Print {
            exact: self.exact,
            look: self.look,
            index: index as u32,
            there,
        }
    }
}

/// What is kept of each picture.
struct Print {
    exact: u128,
    look: Option<u64>,
    index: u32,
    there: bool,
}

/// Looks at each picture on all threads; `take` gets its number, what was seen, and what is wrong, in order.
fn look_at(
    gallery: &Gallery,
    options: &PackOptions,
    mut take: impl FnMut(usize, Option<Looked>, Vec<Quarantined>) + Send,
) -> Result<()> {
    let work = |index: usize| {
        let (seen, quarantined) = gallery.look(index, options);
        let looked = seen.map(|seen| Looked {
            size: seen.image.dimensions(),
            exact: hash::exact(&seen.image),
            look: hash::perceptual(&seen.image),
            instances: seen.instances,
            label: seen.label,
        });
        Ok((index, looked, quarantined))
    };
    // What was seen of a picture is little.
    let bytes = |_: &_| 0;
    in_order(0..gallery.len(), work, bytes, |all| {
        all.into_iter()
            .for_each(|(index, looked, quarantined)| take(index, looked, quarantined));
        Ok(())
    })
}

/// The groups of pictures with the same pixels, and of those that look alike, that have one of the source;
/// in its order.
fn groups(mut prints: Vec<Print>, name: impl Fn(&Print) -> String) -> (Vec<Group>, Vec<Group>) {
    prints.sort_by_key(|print| (print.exact, print.there, print.index));
    let group = |mut members: Vec<&Print>| {
        members.sort_by_key(|print| (print.there, print.index));
        let there = members.iter().filter(|print| print.there).count();
        let named = members.iter().take(NAMED).map(|print| Member {
            name: name(print),
            there: print.there,
            index: print.index as usize,
        });
        Group {
            named: named.collect(),
            here: members.len() - there,
            there,
        }
    };
    let in_order = |mut groups: Vec<Group>| {
        groups.retain(|group| group.here > 0);
        groups.sort_by_key(|group| group.named[0].index);
        groups
    };
    let mut same = Vec::new();
    let mut distinct: Vec<(u64, &Print)> = Vec::new();
    for equal in prints.chunk_by(|a, b| a.exact == b.exact) {
        distinct.extend(equal[0].look.map(|look| (look, &equal[0])));
        if equal.len() > 1 {
            same.push(group(equal.iter().collect()));
        }
    }

    // Equal looks are joined first: any number of them would make as many pairs as it has, squared.
    distinct.sort_by_key(|&(look, print)| (look, print.there, print.index));
    let mut looks: Vec<u64> = distinct.iter().map(|&(look, _)| look).collect();
    looks.dedup();
    let mut sets = near::Groups::new(looks.len());
    near::pairs(&looks, |i, j| sets.join(i, j));
    let mut members = BTreeMap::<usize, Vec<&Print>>::new();
    let mut place = 0;
    for &(look, print) in &distinct {
        place += usize::from(looks[place] != look);
        members.entry(sets.first(place)).or_default().push(print);
    }
    let alike = members.into_values().filter(|members| members.len() > 1);
    let alike = alike.map(group).collect();
    (in_order(same), in_order(alike))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_join_what_is_the_same_and_what_looks_alike() {
        let print = |exact, look, index, there| Print {
            exact,
            look,
            index,
            there,
        };
        let prints = vec![
            print(1, Some(0), 0, false),
            print(2, Some(0b111), 1, false),
            print(1, Some(0), 2, false),
            print(3, Some(u64::MAX), 3, false),
            print(4, None, 4, false),
            print(5, None, 5, false),
            print(3, Some(u64::MAX), 0, true),
            print(6, Some(0xff << 30), 1, true),
            print(7, Some(0xff << 30), 2, true),
        ];
        let name =
            |print: &Print| format!("{}{}", if print.there { "b" } else { "a" }, print.index);
        let (same, alike) = groups(prints, name);
        let names = |groups: &[Group]| -> Vec<String> {
            let names = |group: &Group| {
                let names: Vec<_> = group
                    .named
                    .iter()
                    .map(|member| member.name.as_str())
                    .collect();
                names.join(" ")
            };
            groups.iter().map(names).collect()
        };
        assert_eq!(names(&same), ["a0 a2", "a3 b0"]);
        assert_eq!((same[0].is_shared(), same[1].is_shared()), (false, true));
        assert_eq!(
            names(&alike),
            ["a0 a1"],
            "not flat pictures, nor the other's own"
        );
    }
}
