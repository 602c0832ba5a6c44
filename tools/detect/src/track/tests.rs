//! What ids do, on scenes made up of boxes.

use std::collections::HashSet;

use super::*;

/// A square of 20 pixels around a centre.
fn square(x: f32, y: f32, score: f32) -> Detection {
    Detection {
        bbox: [x - 10.0, y - 10.0, x + 10.0, y + 10.0],
        score,
        class: 0,
        mask: None,
    }
}

#[test]
fn two_things_that_cross_keep_their_ids() {
    // One goes right along y = 50, the other left along y = 56; the order of the detections changes as they meet.
    let mut tracker = Tracker::default();
    for frame in 0..40 {
        let right = square(20.0 + 4.0 * frame as f32, 50.0, 0.9);
        let left = square(180.0 - 4.0 * frame as f32, 56.0, 0.9);
        match frame < 20 {
            true => assert_eq!(tracker.update(&[right, left]), [Some(1), Some(2)]),
            false => assert_eq!(
                tracker.update(&[left, right]),
                [Some(2), Some(1)],
                "{frame}"
            ),
        }
    }
}

#[test]
fn a_thing_hidden_for_some_frames_keeps_its_id() {
    let mut tracker = Tracker::default();
    for frame in 0..40 {
        let thing = square(20.0 + 3.0 * frame as f32, 50.0, 0.9);
        // Hidden for 12 frames it moves 36 pixels: out of its last box, and only its velocity finds it again.
        match (15..27).contains(&frame) {
            true => assert!(tracker.update(&[]).is_empty()),
            false => assert_eq!(tracker.update(&[thing]), [Some(1)], "{frame}"),
        }
    }
}

#[test]
fn a_thing_hidden_for_too_long_is_a_new_one() {
    let options = TrackerOptions {
        keep_lost: 5,
        ..TrackerOptions::default()
    };
    for (hidden, id) in [(5, 1), (6, 2)] {
        let mut tracker = Tracker::new(options);
        let thing = [square(50.0, 50.0, 0.9)];
        tracker.update(&thing);
        tracker.update(&thing);
        for _ in 0..hidden {
            tracker.update(&[]);
        }
        assert_eq!(tracker.update(&thing), [Some(id)], "hidden for {hidden}");
    }
}

#[test]
fn frames_of_low_scores_are_bridged_but_begin_nothing() {
    let mut tracker = Tracker::new(TrackerOptions {
        keep_lost: 0,
        ..TrackerOptions::default()
    });
    for frame in 0..30 {
        let score = if frame % 5 > 1 { 0.2 } else { 0.9 };
        let thing = square(20.0 + 2.0 * frame as f32, 50.0, score);
        let noise = square(150.0, 150.0, 0.3);
        let dust = square(21.0 + 2.0 * frame as f32, 50.0, 0.05);
        let ids = tracker.update(&[noise, thing, dust]);
        assert_eq!(ids, [None, Some(1), None], "{frame}");
    }
}

#[test]
fn a_weak_detection_does_not_bring_a_lost_thing_back() {
    let mut tracker = Tracker::default();
    let strong = [square(50.0, 50.0, 0.9)];
    let weak = [square(50.0, 50.0, 0.3)];
    tracker.update(&strong);
    tracker.update(&strong);
    tracker.update(&[]);
    assert_eq!(tracker.update(&weak), [None]);
    assert_eq!(tracker.update(&strong), [Some(1)]);
}

#[test]
fn classes_are_followed_apart() {
    let mut tracker = Tracker::default();
    let dog = square(50.0, 50.0, 0.9);
    let cat = Detection {
        class: 1,
        ..dog.clone()
    };
    assert_eq!(
        tracker.update(&[dog.clone(), cat.clone()]),
        [Some(1), Some(2)]
    );
    assert_eq!(tracker.update(&[cat.clone(), dog]), [Some(2), Some(1)]);
    assert_eq!(tracker.update(&[cat]), [Some(2)]);
}

#[test]
fn ids_never_repeat() {
    // Things that appear and vanish everywhere, among them flickers of a single frame.
    let mut state = 5u32;
    let mut random = move || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 24) as f32
    };
    let mut tracker = Tracker::new(TrackerOptions {
        keep_lost: 2,
        ..TrackerOptions::default()
    });
    let mut highest = 0;
    for _ in 0..500 {
        let scene: Vec<Detection> = (0..(8.0 * random()) as usize)
            .map(|_| square(300.0 * random(), 300.0 * random(), random()))
            .collect();
        let ids: Vec<u64> = tracker.update(&scene).iter().flatten().copied().collect();
        let distinct: HashSet<u64> = ids.iter().copied().collect();
        assert_eq!(
            distinct.len(),
            ids.len(),
            "two things of one frame share an id"
        );
        // New ids come in order, so one above the highest was never given before.
        let mut new: Vec<u64> = ids.into_iter().filter(|&id| id > highest).collect();
        new.sort_unstable();
        let expected: Vec<u64> = (highest + 1..).take(new.len()).collect();
        assert_eq!(new, expected);
        highest += new.len() as u64;
    }
    assert!(highest > 300, "{highest}");
}

#[test]
fn a_frame_that_was_not_looked_at_moves_things_on() {
    let at = |frame: u32| [square(20.0 + 4.0 * frame as f32, 50.0, 0.9)];
    for (skipped, id) in [(true, 1), (false, 2)] {
        let mut tracker = Tracker::default();
        for frame in 0..20 {
            tracker.update(&at(frame));
        }
        // Ten frames are dropped: the thing is 44 pixels on.
        if skipped {
            tracker.skip(10);
        }
        assert_eq!(tracker.update(&at(30)), [Some(id)]);
    }
}

#[test]
fn hostile_values_get_no_id_and_do_no_harm() {
    let mut tracker = Tracker::default();
    let good = square(50.0, 50.0, 0.9);
    let (nan, big) = (f32::NAN, f32::MAX);
    let boxes = [
        [nan, 0.0, 5.0, 5.0],
        [0.0, 0.0, f32::INFINITY, 5.0],
        [9.0, 9.0, 3.0, 3.0],
        [5.0, 5.0, 5.0, 9.0],
    ];
    let mut scene: Vec<Detection> = boxes
        .map(|bbox| Detection {
            bbox,
            ..good.clone()
        })
        .to_vec();
    scene.push(Detection {
        score: nan,
        ..good.clone()
    });
    scene.push(good.clone());
    for _ in 0..5 {
        let ids = tracker.update(&scene);
        assert_eq!(ids, [None, None, None, None, None, Some(1)]);
    }
    // Boxes of any size, at any place, in any order: no panic, and the good one keeps its id.
    let tiny = f32::from_bits(1);
    for bbox in [
        [-big, -big, big, big],
        [0.0, 0.0, tiny, tiny],
        [0.0, 0.0, tiny, big],
        [big / 2.0, 0.0, big, tiny],
    ] {
        let wild = Detection {
            bbox,
            ..good.clone()
        };
        tracker = Tracker::default();
        tracker.update(std::slice::from_ref(&good));
        for _ in 0..3 {
            assert_eq!(tracker.update(&[wild.clone(), good.clone()])[1], Some(1));
        }
        tracker.skip(u64::MAX);
        for _ in 0..40 {
            tracker.update(&[]);
        }
    }
}
