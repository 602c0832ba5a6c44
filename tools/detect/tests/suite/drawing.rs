//! Drawn pictures.

use image::{Rgb, RgbImage};
use intertwine_detect::draw::{draw, draw_labels, draw_tracked};
use intertwine_detect::{Class, Detection};
use intertwine_rle::Rle;

fn classes(names: &[&str]) -> Vec<Class> {
    (0..)
        .zip(names)
        .map(|(id, name)| Class {
            id,
            name: name.to_string(),
        })
        .collect()
}

fn detection(bbox: [f32; 4], class: usize, mask: Option<Rle>) -> Detection {
    Detection {
        bbox,
        score: 0.875,
        class,
        mask,
    }
}

#[test]
fn without_detections_the_picture_is_only_enlarged() {
    let small = RgbImage::from_fn(30, 20, |x, y| Rgb([x as u8, y as u8, 5]));
    let drawn = draw(&small, &[], &classes(&["a"]));
    assert_eq!(drawn.dimensions(), (240, 160));
    assert!(drawn
        .enumerate_pixels()
        .all(|(x, y, p)| p == small.get_pixel(x / 8, y / 8)));
    // A strip is not enlarged into what neither memory nor a JPEG file holds.
    for (width, height, factor) in [(20_000, 100, 1), (1025, 10, 1), (1024, 10, 2), (10, 250, 8)] {
        let drawn = draw(&RgbImage::new(width, height), &[], &classes(&["a"]));
        assert_eq!(drawn.dimensions(), (width * factor, height * factor));
    }
    let large = RgbImage::new(700, 600);
    assert_eq!(draw(&large, &[], &classes(&["a"])), large);
}

#[test]
fn a_mask_tints_its_pixels_and_a_box_its_edge() {
    let (width, height) = (600u32, 500u32);
    let picture = RgbImage::from_pixel(width, height, Rgb([100; 3]));
    let inside = |x: u32, y: u32| (200..300).contains(&x) && (220..260).contains(&y);
    let bitmap: Vec<u8> = (0..width * height)
        .map(|at| inside(at % width, at / width).into())
        .collect();
    let mask = Rle::encode(&bitmap, height, width);
    let drawn = draw(
        &picture,
        &[detection([150.0, 200.0, 350.0, 300.0], 0, Some(mask))],
        &classes(&["a", "b"]),
    );
    let untouched = Rgb([100; 3]);
    // Clear of the label, which ends above the box, and of the box's line of two pixels.
    for (x, y) in [(210, 230), (299, 259), (310, 230), (210, 265), (400, 400)] {
        assert_eq!(
            *drawn.get_pixel(x, y) != untouched,
            inside(x, y),
            "at {x}, {y}"
        );
    }
    let edge = drawn.get_pixel(150, 250);
    assert_eq!(
        (drawn.get_pixel(349, 250), drawn.get_pixel(250, 299)),
        (edge, edge)
    );
    assert_ne!(*edge, untouched);
    assert_eq!(*drawn.get_pixel(152, 250), untouched);
}

#[test]
fn nothing_leaves_the_picture() {
    let name = "a class with a name much longer than the picture is wide, and \u{fc}\u{4e2d}";
    for (width, height) in [(1, 1), (3, 200), (500, 480), (900, 2)] {
        let picture = RgbImage::new(width, height);
        let (w, h) = (width as f32, height as f32);
        for bbox in [
            [0.0, 0.0, w, h],
            [w - 0.5, h - 0.5, w, h],
            [0.0, 0.0, 0.01, 0.01],
        ] {
            draw(&picture, &[detection(bbox, 0, None)], &classes(&[name]));
        }
    }
}

#[test]
fn a_thing_gets_one_name() {
    let picture = RgbImage::from_pixel(600, 500, Rgb([100; 3]));
    let names = classes(&["a", "b"]);
    let strong = detection([100.0, 100.0, 200.0, 200.0], 0, None);
    let other_name = detection([110.0, 100.0, 210.0, 200.0], 1, None);
    let elsewhere = detection([300.0, 300.0, 400.0, 400.0], 1, None);
    let beside = detection([170.0, 100.0, 270.0, 200.0], 1, None);
    let with = |detections: &[Detection]| draw(&picture, detections, &names);
    let alone = with(std::slice::from_ref(&strong));
    assert_eq!(with(&[strong.clone(), other_name]), alone);
    assert_ne!(with(&[strong.clone(), elsewhere]), alone);
    assert_ne!(with(&[strong, beside]), alone);
}

#[test]
fn of_labels_all_are_drawn_and_no_score_is_written() {
    let picture = RgbImage::from_pixel(600, 500, Rgb([100; 3]));
    let names = classes(&["a", "b"]);
    let one = detection([100.0, 100.0, 200.0, 200.0], 0, None);
    let other = detection([110.0, 100.0, 210.0, 200.0], 1, None);
    let alone = draw_labels(&picture, std::slice::from_ref(&one), &names);
    assert_ne!(draw_labels(&picture, &[one.clone(), other], &names), alone);
    // Without " 88%", four characters.
    let found = draw(&picture, &[one], &names);
    let end = |drawn: &RgbImage| {
        let ink = |x: &u32| *drawn.get_pixel(*x, 98) != Rgb([100; 3]);
        (0..600).rev().find(ink).unwrap() + 1 - 100
    };
    let (name, with_score) = (end(&alone), end(&found));
    let letter = (with_score - name) / 4;
    assert_eq!(with_score - name, 4 * letter);
    assert!(name < 2 * letter, "{name} {with_score}");
}

/// Below the box's upper left corner a label's bar is as wide as the label, in the box's colour.
#[test]
fn labels_are_not_written_over_one_another() {
    let picture = RgbImage::from_pixel(600, 500, Rgb([100; 3]));
    let names = classes(&["aaaa", "bbbb", "cccc"]);
    // Their labels belong in the same place, above their common corner.
    let corner =
        |side: f32, class| detection([100.0, 100.0, 100.0 + side, 100.0 + side], class, None);
    let found = [corner(300.0, 0), corner(200.0, 1), corner(100.0, 2)];
    let with = |count: usize| draw(&picture, &found[..count], &names);
    let (one, two, three) = (with(1), with(2), with(3));
    let bar = |drawn: &RgbImage, first: u32| {
        let rows = (first..first + 18).flat_map(|y| (100..150).map(move |x| (x, y)));
        Vec::from_iter(rows.map(|(x, y)| *drawn.get_pixel(x, y)))
    };
    let above = bar(&one, 100 - 18);
    assert!(!above.contains(&Rgb([100; 3])), "all of it is the label's");
    assert_eq!((bar(&two, 82), bar(&three, 82)), (above.clone(), above));
    // The second is in its box, the third below its own.
    let inside = bar(&two, 100);
    assert!(!inside.contains(&Rgb([100; 3])));
    assert_eq!(bar(&three, 100), inside);
    assert!(!bar(&three, 200).contains(&Rgb([100; 3])));
    // Where there is no room, a box has no label: of sixteen in one place some are not written, and those that are stay.
    let crowd = vec![corner(20.0, 0); 16];
    let drawn = |count: usize| draw(&picture, &crowd[..count], &names);
    assert_eq!(drawn(16), drawn(15));
    assert_ne!(drawn(2), drawn(1));
}

#[test]
fn a_track_has_its_id_in_the_label_and_keeps_its_colour() {
    let picture = RgbImage::from_pixel(600, 500, Rgb([100; 3]));
    let names = classes(&["a", "b"]);
    let at = |left: f32, class| detection([left, 200.0, left + 100.0, 300.0], class, None);
    let tracked = |found: &Detection, id| draw_tracked(&picture, [(found, id)].into_iter(), &names);
    // Elsewhere, or taken for something else, the box of a track is of the same colour; another track's is not.
    let edge = |drawn: &RgbImage, left: f32| *drawn.get_pixel(left as u32, 250);
    let first = edge(&tracked(&at(150.0, 0), Some(3)), 150.0);
    assert_eq!(edge(&tracked(&at(300.0, 1), Some(3)), 300.0), first);
    assert_ne!(edge(&tracked(&at(150.0, 0), Some(4)), 150.0), first);
    // The id makes the label longer by as much as it is long: " #3" and " #123".
    let end = |id| {
        let drawn = tracked(&at(150.0, 0), id);
        let ink = |x: &u32| *drawn.get_pixel(*x, 198) != Rgb([100; 3]);
        (0..600).rev().find(ink).unwrap()
    };
    let (none, short, long) = (end(None), end(Some(3)), end(Some(123)));
    let letter = (short - none) / 3;
    assert!(
        letter > 0 && short - none == 3 * letter && long - none == 5 * letter,
        "{none} {short} {long}"
    );
}
