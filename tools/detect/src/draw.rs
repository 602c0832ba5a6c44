//! Detections drawn on a picture: translucent masks, boxes, labels.

use image::imageops::{self, FilterType};
use image::{Rgb, RgbImage};
use intertwine_rle::Rle;

use crate::card::Class;
use crate::font;
use crate::postprocess::{iou, Detection};

/// Pictures whose shorter side is below this are enlarged, so that labels can be read.
const READABLE_SIDE: u32 = 480;
/// No picture is enlarged so far that its longer side is above this: of a strip a few pixels high, that would be a picture
/// which fits neither into memory nor into a JPEG file.
const LARGEST_SIDE: u32 = 2048;
/// Share of the mask's colour in the pixels below it.
const MASK_SHARE: f32 = 0.45;

/// Draws detections on a copy of the picture they were found in. Small pictures are enlarged by a whole
/// factor first. Stronger detections lie above weaker ones, labels above everything; where stronger labels leave no room for
/// one, its box has none. Of boxes of different classes in one place (IoU above one half) only the strongest is drawn: a thing
/// with several names on it cannot be read.
///
/// Every class has a colour of its own; in a model of one class every detection has.
///
/// # Panics
/// If a detection's class is not in `classes`.
pub fn draw(picture: &RgbImage, detections: &[Detection], classes: &[Class]) -> RgbImage {
    let shown = detections.iter().map(|found| (found, None));
    draw_tracked(picture, shown, classes)
}

/// As [`draw`], with the track id of each detection that has one. A track keeps its colour.
///
/// # Panics
/// If a detection's class is not in `classes`.
pub fn draw_tracked<'a>(
    picture: &RgbImage,
    detections: impl Iterator<Item = (&'a Detection, Option<u64>)>,
    classes: &[Class],
) -> RgbImage {
    let shown = one_name_each(detections).into_iter().enumerate();
    let shown = shown.map(|(index, (detection, id))| {
        let name = &classes[detection.class].name;
        let (id, color) = match id {
            Some(id) => (format!(" #{id}"), palette(id as usize)),
            None => (String::new(), colour_of(detection, index, classes)),
        };
        let label = format!("{name}{id} {:.0}%", 100.0 * detection.score);
        (detection, label, color)
    });
    paint(picture, &Vec::from_iter(shown))
}

/// Draws what is labelled in a picture as [`draw`] draws what is found, but all of it, and without scores.
///
/// # Panics
/// If an object's class is not in `classes`.
pub fn draw_labels(picture: &RgbImage, objects: &[Detection], classes: &[Class]) -> RgbImage {
    let shown = objects.iter().enumerate().map(|(index, object)| {
        let color = colour_of(object, index, classes);
        (object, classes[object.class].name.clone(), color)
    });
    paint(picture, &Vec::from_iter(shown))
}

/// That of its class; of itself, where there is but one.
fn colour_of(detection: &Detection, index: usize, classes: &[Class]) -> Rgb<u8> {
    match classes.len() {
        1 => palette(index),
        _ => palette(detection.class),
    }
}

/// Draws things with their labels, each in its colour; the first lies above the others.
fn paint(picture: &RgbImage, shown: &[(&Detection, String, Rgb<u8>)]) -> RgbImage {
    let (width, height) = picture.dimensions();
    let factor = enlargement(width, height);
    let mut canvas = match factor {
        1 => picture.clone(),
        _ => imageops::resize(
            picture,
            width * factor,
            height * factor,
            FilterType::Nearest,
        ),
    };
    let line = (canvas.width().max(canvas.height()) / 400).max(2);
    let text = (canvas.width().min(canvas.height()) / 300).max(2);
    for (detection, _, color) in shown.iter().rev() {
        if let Some(mask) = &detection.mask {
            fill_mask(&mut canvas, mask, factor, *color);
        }
    }
    let scaled = |detection: &Detection| detection.bbox.map(|v| (v * factor as f32).round() as i64);
    for (detection, _, color) in shown.iter().rev() {
        outline(&mut canvas, scaled(detection), line.into(), *color);
    }
    let mut taken = Vec::new();
    for (detection, label, color) in shown {
        let size = label_size(label, text);
        let room = room(canvas.dimensions(), scaled(detection), size, &taken);
        if let Some(bar) = room {
            write_label(&mut canvas, bar, text, label, *color);
            taken.push(bar);
        }
    }
    canvas
}

/// By how much a picture is enlarged.
fn enlargement(width: u32, height: u32) -> u32 {
    let readable = READABLE_SIDE.div_ceil(width.min(height).max(1));
    let possible = LARGEST_SIDE / width.max(height).max(1);
    readable.min(possible).clamp(1, 8)
}

/// The detections, strongest first, without those whose place has a stronger one of another class.
fn one_name_each<'a>(
    detections: impl Iterator<Item = (&'a Detection, Option<u64>)>,
) -> Vec<(&'a Detection, Option<u64>)> {
    let mut shown: Vec<(&Detection, _)> = Vec::new();
    for (detection, id) in detections {
        let named = shown.iter().any(|(stronger, _)| {
            stronger.class != detection.class && iou(stronger.bbox, detection.bbox) > 0.5
        });
        if !named {
            shown.push((detection, id));
        }
    }
    shown
}

/// Colours that stay apart: hues by the golden angle, in three steps of brightness.
fn palette(index: usize) -> Rgb<u8> {
    let hue = (index as f32 * 137.508 + 20.0).rem_euclid(360.0) / 60.0;
    let value = [255.0, 215.0, 175.0][index / 12 % 3];
    let channel = |shift: f32| {
        let distance = ((hue + shift).rem_euclid(6.0) - 3.0).abs() - 1.0;
        (value * (0.15 + 0.85 * distance.clamp(0.0, 1.0))) as u8
    };
    Rgb([channel(0.0), channel(4.0), channel(2.0)])
}

fn fill_mask(canvas: &mut RgbImage, mask: &Rle, factor: u32, color: Rgb<u8>) {
    let height = mask.size().0;
    let mut at = 0;
    for (run, &count) in mask.counts().iter().enumerate() {
        if run % 2 == 1 {
            for pixel in at..at + count {
                let (x, y) = (pixel / height * factor, pixel % height * factor);
                blend(canvas, [x, y, x + factor, y + factor], color);
            }
        }
        at += count;
    }
}

fn blend(canvas: &mut RgbImage, [x0, y0, x1, y1]: [u32; 4], color: Rgb<u8>) {
    for y in y0..y1.min(canvas.height()) {
        for x in x0..x1.min(canvas.width()) {
            let pixel = canvas.get_pixel_mut(x, y);
            for (below, above) in pixel.0.iter_mut().zip(color.0) {
                let mixed = f32::from(*below) * (1.0 - MASK_SHARE) + f32::from(above) * MASK_SHARE;
                *below = mixed.round() as u8;
            }
        }
    }
}

/// Fills a rectangle, clipped to the canvas.
fn fill(canvas: &mut RgbImage, [x0, y0, x1, y1]: [i64; 4], color: Rgb<u8>) {
    let (width, height) = (i64::from(canvas.width()), i64::from(canvas.height()));
    for y in y0.max(0)..y1.min(height) {
        for x in x0.max(0)..x1.min(width) {
            canvas.put_pixel(x as u32, y as u32, color);
        }
    }
}

/// Draws the edges of a box, inside it.
fn outline(canvas: &mut RgbImage, [x0, y0, x1, y1]: [i64; 4], line: i64, color: Rgb<u8>) {
    fill(canvas, [x0, y0, x1, (y0 + line).min(y1)], color);
    fill(canvas, [x0, (y1 - line).max(y0), x1, y1], color);
    fill(canvas, [x0, y0, (x0 + line).min(x1), y1], color);
    fill(canvas, [(x1 - line).max(x0), y0, x1, y1], color);
}

/// Width and height of a label's bar.
fn label_size(label: &str, scale: u32) -> [i64; 2] {
    let unit = i64::from(scale);
    let advance = i64::from(font::WIDTH + 1) * unit;
    let width = label.chars().count() as i64 * advance + unit;
    [width, i64::from(font::HEIGHT + 2) * unit]
}

/// Where the bar of a box's label has room: above the box, in it, below it, moved left where it would leave the picture. `None`
/// where stronger labels leave none: what is written over another cannot be read, nor can the other.
fn room(
    (width, height): (u32, u32),
    [x0, y0, x1, y1]: [i64; 4],
    [w, h]: [i64; 2],
    taken: &[[i64; 4]],
) -> Option<[i64; 4]> {
    let (width, height) = (i64::from(width), i64::from(height));
    // In a strip that is lower than a bar it can be only at the top.
    let strip = (h > height).then_some((x0, 0));
    let places = [
        (x0, y0 - h),
        (x0, y0),
        (x0, y1),
        (x0, y1 - h),
        (x1 - w, y0 - h),
        (x1 - w, y1),
    ];
    let within = places
        .into_iter()
        .filter(|(_, y)| *y >= 0 && y + h <= height);
    let bars = within.chain(strip).map(|(x, y)| {
        let x = x.min(width - w).max(0);
        [x, y, x + w, y + h]
    });
    let apart =
        |a: &[i64; 4], b: &[i64; 4]| a[2] <= b[0] || b[2] <= a[0] || a[3] <= b[1] || b[3] <= a[1];
    let mut free = bars.filter(|bar| taken.iter().all(|other| apart(bar, other)));
    free.next()
}

/// Writes a label on its bar.
fn write_label(
    canvas: &mut RgbImage,
    [x, y, x1, y1]: [i64; 4],
    scale: u32,
    label: &str,
    color: Rgb<u8>,
) {
    let unit = i64::from(scale);
    let advance = i64::from(font::WIDTH + 1) * unit;
    fill(canvas, [x, y, x1, y1], color);
    let ink = match luminance(color) > 140.0 {
        true => Rgb([0; 3]),
        false => Rgb([255; 3]),
    };
    for (position, character) in (0..).zip(label.chars()) {
        let left = x + unit + position * advance;
        for (row, bits) in (0..).zip(font::glyph(character)) {
            for column in 0..font::WIDTH {
                if bits >> (font::WIDTH - 1 - column) & 1 == 1 {
                    let (x, y) = (left + i64::from(column) * unit, y + (row + 1) * unit);
                    fill(canvas, [x, y, x + unit, y + unit], ink);
                }
            }
        }
    }
}

/// Brightness as people see it, 0..=255 (ITU-R BT.601).
fn luminance(Rgb([r, g, b]): Rgb<u8>) -> f32 {
    0.299 * f32::from(r) + 0.587 * f32::from(g) + 0.114 * f32::from(b)
}
