//! The rows of a YOLO label file: `class x y width height`, the box's middle and size, or
//! `class x1 y1 x2 y2 x3 y3 ..`, an outline; all but the class in fractions of the picture's width and height.
//! (Ultralytics' documentation, "Object Detection Datasets" and "Instance Segmentation Datasets".)

use crate::quarantine::Reason;

/// Beyond the picture by more than this fraction, a number is no fraction of the picture.
const SLACK: f64 = 0.01;

/// A labelled object.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Row {
    pub class: u32,
    /// `[x, y, width, height]` from the top left corner, in fractions of the picture.
    pub bbox: [f64; 4],
    /// `[x1, y1, x2, y2, ..]` in fractions of the picture.
    pub polygon: Option<Vec<f64>>,
}

/// The rows of a file that are not blank.
pub(crate) fn rows(text: &str) -> impl Iterator<Item = &str> {
    text.lines().map(str::trim).filter(|line| !line.is_empty())
}

/// The numbers of a row; none if it holds something else.
pub(crate) fn numbers(row: &str) -> Option<Vec<f64>> {
    let numbers = row.split_whitespace().map(|number| number.parse().ok());
    numbers.collect()
}

/// Whether the values behind a class may be a box and, as pairs or with a third number, points of which most lie in it.
/// (Ultralytics' documentation, "Pose Estimation Datasets".) Four pairs are more often the corners of an outline.
pub(crate) fn looks_like_pose(values: &[f64]) -> bool {
    let &[x, y, width, height, ref points @ ..] = values else {
        return false;
    };
    let reaches = |middle: f64, size: f64| (middle - size / 2., middle + size / 2.);
    let is_within = |(low, high): (f64, f64)| -SLACK <= low && low < high && high <= 1. + SLACK;
    let lies_in =
        |point: &&[f64]| (point[0] - x).abs() <= width / 2. && (point[1] - y).abs() <= height / 2.;
    let are_points = |length: usize| {
        // One that is not seen stands at 0 0.
        let seen = || (points.chunks_exact(length)).filter(|point| point[..2] != [0., 0.]);
        points.len() % length == 0 && 2 * seen().filter(lies_in).count() >= seen().count()
    };
    let is_box = is_within(reaches(x, width)) && is_within(reaches(y, height));
    points.len() > 4 && is_box && (are_points(2) || are_points(3))
}

/// Reads a row. With `keypoints`, what follows the box is a pose, and passed over.
pub(crate) fn parse(row: &str, keypoints: bool) -> Result<Row, (Reason, String)> {
    let malformed = |what: &str| Err((Reason::Malformed, format!("{what}, in `{}`", shorten(row))));
    let Some(numbers) = numbers(row) else {
        return malformed("expected numbers between spaces");
    };
    let Some((&class, mut values)) = numbers.split_first() else {
        return malformed("an empty row");
    };
    // Some writers state the class as 3.0.
    if class.fract() != 0. || !(0. ..=f64::from(u32::MAX)).contains(&class) {
        return malformed("expected the class as a whole number from 0");
    }
    if keypoints && values.len() > 4 {
        values = &values[..4];
    }
    match values.len() {
        4 => {}
        5 => return malformed("six numbers: a result with its confidence, not a label"),
        count if count < 6 || count % 2 == 1 => {
            return malformed("expected a class and x y width height, or three or more pairs x y")
        }
        _ => {}
    }
    // NaN is in no range.
    if !values
        .iter()
        .all(|value| (-SLACK..=1. + SLACK).contains(value))
    {
        let detail = format!(
            "expected fractions of the picture, 0 to 1, in `{}`; are these pixels?",
            shorten(row)
        );
        return Err((Reason::BoxInvalid, detail));
    }
    let class = class as u32;
    if let &[x, y, width, height] = values {
        let bbox = [x - width / 2., y - height / 2., width, height];
        return Ok(Row {
            class,
            bbox,
            polygon: None,
        });
    }
    let span = |axis: usize| {
        let along = values.iter().skip(axis).step_by(2);
        let ends = along.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), &value| {
            (low.min(value), high.max(value))
        });
        (ends.0, ends.1 - ends.0)
    };
    let ((x, width), (y, height)) = (span(0), span(1));
    Ok(Row {
        class,
        bbox: [x, y, width, height],
        polygon: Some(values.to_vec()),
    })
}

fn shorten(row: &str) -> String {
    match row.char_indices().nth(60) {
        Some((at, _)) => format!("{}..", &row[..at]),
        None => row.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boxes_and_outlines() {
        let row = parse("2 0.5 0.25 0.5 0.125", false).unwrap();
        assert_eq!(
            (row.class, row.bbox, row.polygon),
            (2, [0.25, 0.1875, 0.5, 0.125], None)
        );
        let row = parse("0.0 0.25 0.5 0.75 0.5 0.5 1", false).unwrap();
        assert_eq!((row.class, row.bbox), (0, [0.25, 0.5, 0.5, 0.5]));
        assert_eq!(row.polygon.unwrap(), [0.25, 0.5, 0.75, 0.5, 0.5, 1.]);
        let row = parse("1 0.5 0.5 1 1 0.1 0.1 2 0.3 0.3 0", true).unwrap();
        assert_eq!((row.bbox, row.polygon), ([0., 0., 1., 1.], None));
    }

    #[test]
    fn poses_are_told_from_outlines() {
        for (values, is_pose) in [
            // Three points in a box, one of them not seen, one beside it; then with how well each is seen.
            (
                &[0.5, 0.5, 0.2, 0.4, 0.45, 0.35, 0., 0., 0.7, 0.5][..],
                true,
            ),
            (&[0.5, 0.5, 0.2, 0.4, 0.45, 0.35, 2., 0.5, 0.4, 1.], true),
            (
                &[0.5, 0.5, 0.2, 0.4, 0.45, 0.35, 2., 0.5, 0.4, 1., 0., 0., 0.],
                true,
            ),
            (&[0.5, 0.5, 0.2, 0.4, 0.15, 0.35, 0.8, 0.1, 0.7, 0.5], false),
            // A box that leaves the picture.
            (&[0.9, 0.5, 0.4, 0.4, 0.9, 0.5, 0.9, 0.5, 0.9, 0.5], false),
            // A number is left over; an outline of four corners.
            (&[0.5, 0.5, 0.2, 0.4, 0.5, 0.5, 0.5, 0.5, 0.5], false),
            (&[0.5, 0.5, 0.5, 0.6, 0.6, 0.6, 0.6, 0.5], false),
            (&[0.5, 0.5, 0.2, 0.4], false),
            (
                &[f64::NAN, 0.5, 0.2, 0.4, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5],
                false,
            ),
        ] {
            assert_eq!(looks_like_pose(values), is_pose, "{values:?}");
        }
    }

    #[test]
    fn rows_that_are_no_labels_say_why() {
        for (row, reason, part) in [
            ("0 0.5 0.5 0.1 0.1 0.9", Reason::Malformed, "confidence"),
            ("0 0.5 0.5 0.1", Reason::Malformed, "expected a class"),
            ("0 0.1 0.1 0.2 0.2 0.3 0.3 0.4", Reason::Malformed, "pairs"),
            ("-1 0.5 0.5 0.1 0.1", Reason::Malformed, "whole number"),
            ("1.5 0.5 0.5 0.1 0.1", Reason::Malformed, "whole number"),
            ("5e9 0.5 0.5 0.1 0.1", Reason::Malformed, "whole number"),
            ("cat 0.5 0.5 0.1 0.1", Reason::Malformed, "expected numbers"),
            ("0 320 240 64 48", Reason::BoxInvalid, "are these pixels"),
            ("0 0.5 nan 0.1 0.1", Reason::BoxInvalid, "fractions"),
            ("0 0.5 -0.5 0.1 0.1", Reason::BoxInvalid, "fractions"),
        ] {
            let (found, detail) = parse(row, false).unwrap_err();
            assert_eq!(found, reason, "{row}");
            assert!(detail.contains(part), "{row}: {detail}");
        }
    }
}
