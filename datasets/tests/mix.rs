//! Several packed sets as one stream: shares, order and errors, from outside.

mod support;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use intertwine_datasets::{Mix, MixError, PackOptions, PackedSet, Permutation, Source, WINDOW};
use support::{draw, pack_quietly, save};

/// A packed set of so many pictures, `folder/name`.
fn set(folder: &Path, name: &str, pictures: u32) -> Arc<PackedSet> {
    let drawn = folder.join(format!("{name}-drawn"));
    for i in 0..pictures {
        save(&drawn.join(format!("{i:02}.png")), &draw(8 + i, 8, i));
    }
    let out = folder.join(name);
    pack_quietly(&Source::new(drawn), &PackOptions::default(), &out);
    Arc::new(PackedSet::open(&out).unwrap())
}

/// How often each (epoch, record) comes in these positions.
fn counted(mix: &Mix, positions: std::ops::Range<u64>) -> BTreeMap<(u64, usize), u32> {
    let mut counts = BTreeMap::new();
    for position in positions {
        let place = mix.at(position, 7);
        *counts.entry((place.epoch, place.record)).or_default() += 1;
    }
    counts
}

#[test]
fn a_single_set_is_shuffled_anew_each_epoch() {
    let folder = tempfile::tempdir().unwrap();
    let mix = Mix::from(set(folder.path(), "a", 7));
    for position in 0..21 {
        let (epoch, index) = (position / 7, position % 7);
        let record = Permutation::new(7, 3, epoch, 0).get(index) as usize;
        let place = mix.at(position, 3);
        assert_eq!((place.epoch, place.record), (epoch, record));
    }
    assert_eq!(counted(&mix, 0..21).len(), 21);
}

#[test]
fn without_shares_an_epoch_passes_every_set_once() {
    let folder = tempfile::tempdir().unwrap();
    let (a, b) = (set(folder.path(), "a", 7), set(folder.path(), "b", 3));
    let mix = Mix::new(vec![(a, None), (b.clone(), None)]).unwrap();
    assert_eq!(mix.len(), 10);
    for epoch in 0..3 {
        let counts = counted(&mix, epoch * 10..(epoch + 1) * 10);
        assert_eq!(
            Vec::from_iter(counts.keys().copied()),
            Vec::from_iter((0..10).map(|record| (epoch, record))),
        );
    }
    let (found, number) = mix.locate(8);
    assert_eq!((found.folder(), number), (b.folder(), 1));
    assert!(
        mix.locate(10).0.image_size(mix.locate(10).1).is_err(),
        "a record past the end"
    );
}

#[test]
fn a_share_is_kept_exactly_and_every_pass_is_whole() {
    let folder = tempfile::tempdir().unwrap();
    let (a, b) = (set(folder.path(), "a", 7), set(folder.path(), "b", 3));
    let mix = Mix::new(vec![(a, None), (b, Some(0.3))]).unwrap();
    let counts = counted(&mix, 2 * WINDOW..3 * WINDOW);
    let of_b = counts.iter().filter(|((_, record), _)| *record >= 7);
    assert_eq!(of_b.map(|(_, n)| n).sum::<u32>(), 3000);
    // From the start, so that no pass is cut at the front: all but the last pass of a set are whole.
    let counts = counted(&mix, 0..1000);
    for ((epoch, record), n) in &counts {
        assert_eq!(*n, 1, "record {record} twice in epoch {epoch} of its set");
        if *epoch > 0 {
            assert!(
                counts.contains_key(&(epoch - 1, *record)),
                "a pass skips {record}"
            );
        }
    }
}

#[test]
fn what_is_read_changes_the_fingerprint() {
    let folder = tempfile::tempdir().unwrap();
    let (a, b) = (set(folder.path(), "a", 7), set(folder.path(), "b", 3));
    let mix = |share| {
        Mix::new(vec![(a.clone(), None), (b.clone(), share)])
            .unwrap()
            .fingerprint()
    };
    let alone = Mix::from(a.clone()).fingerprint();
    let prints = [
        alone.clone(),
        Mix::from(b.clone()).fingerprint(),
        mix(None),
        mix(Some(0.3)),
        mix(Some(0.31)),
    ];
    for (i, print) in prints.iter().enumerate() {
        assert!(!prints[..i].contains(print), "{print}");
    }
    let one = Mix::new(vec![(a.clone(), None)]).unwrap();
    assert_eq!(one.fingerprint(), alone, "a single set is itself");
}

#[test]
fn a_set_named_twice_is_refused_with_a_remedy() {
    let folder = tempfile::tempdir().unwrap();
    let a = set(folder.path(), "a", 2);
    let again = folder.path().join("a/../a");
    let again = Arc::new(PackedSet::open(&again).unwrap());
    let Err(error) = Mix::new(vec![(a, None), (again, None)]) else {
        panic!("the same set twice")
    };
    assert!(matches!(error, MixError::Twice { .. }));
    assert!(error.to_string().contains("give it a share"), "{error}");
}
