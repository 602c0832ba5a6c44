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

/// Reads a row. With `keypoints`, what follows the box is a pose, and passed over.
pub(crate) fn parse(row: &str, keypoints: bool) -> Result<Row, (Reason, String)> {
    let malformed = |what: &str| Err((Reason::Malformed, format!("{what}, in `{}`", shorten(row))));
    let numbers = row.split_whitespace().map(str::parse::<f64>);
    let Ok(numbers) = numbers.collect::<Result<Vec<f64>, _>>() else {
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
