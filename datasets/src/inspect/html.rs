//! What was found, as one HTML page that needs no other file.

use std::fmt::Write;
use std::io::Cursor;

use base64::prelude::{Engine, BASE64_STANDARD};
use image::codecs::jpeg::JpegEncoder;
use image::{Rgb, RgbImage};
use rayon::prelude::*;

use super::gallery::Gallery;
use super::text::range;
use super::{Group, Histogram, Inspection};
use crate::options::{PackOptions, Resize};
use crate::quarantine::{count_reasons, Quarantined};

/// Longest side of a small picture.
const SIDE: u32 = 160;
/// Findings that are shown of each reason.
const OF_A_REASON: usize = 12;
/// Groups that are shown of each kind, and pictures of a group.
const GROUPS: usize = 40;
const OF_A_GROUP: usize = 6;

const STYLE: &str = "\
:root{color-scheme:light dark;--page:#fff;--card:#f4f5f7;--text:#1b1f24;--soft:#5a636e;--line:#d8dce1;--bar:#3b6fb6}
@media (prefers-color-scheme:dark){:root{--page:#14171b;--card:#1e2228;--text:#e4e7eb;--soft:#98a2ae;--line:#343a42}}
body{margin:0 auto;max-width:68rem;padding:2rem 1.25rem 4rem;background:var(--page);color:var(--text);\
font:16px/1.5 system-ui,-apple-system,\"Segoe UI\",Roboto,sans-serif}
h1{font-size:1.8rem;line-height:1.2;overflow-wrap:anywhere}
h2{font-size:1.25rem;margin:2.5rem 0 .75rem;padding-top:.75rem;border-top:1px solid var(--line)}
h3{font-size:1rem;margin:1.5rem 0 .5rem}
.soft,figcaption{color:var(--soft);font-size:.875rem}
.tiles,.row{display:flex;flex-wrap:wrap;gap:.75rem;margin:1rem 0}
.tile,.row{background:var(--card);border-radius:8px;padding:.75rem 1rem}
.tile b{display:block;font-size:1.6rem;line-height:1.3;font-variant-numeric:tabular-nums}
figure{margin:0;max-width:12rem}
figure img{display:block;border-radius:4px}
figcaption{overflow-wrap:anywhere;margin-top:.25rem;line-height:1.3}
.none{width:6rem;height:6rem;border:1px dashed var(--line);border-radius:4px}
.bars{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}
.bars th{font-weight:400;text-align:right;padding:.1rem .75rem .1rem 0;width:1%;white-space:nowrap}
.bars td{padding:.1rem 0}
.bars i{display:inline-block;height:.8rem;background:var(--bar);border-radius:0 3px 3px 0;margin-right:.4rem}
";

pub(super) fn page(found: &Inspection) -> String {
    let mut html = String::new();
    let tally = &found.tally;
    // Writing to a String cannot fail, here and below.
    let _ = write!(
        html,
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>Data set</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<h1>Data set</h1>\n"
    );
    let doubled = |groups: &[Group]| -> usize {
        groups
            .iter()
            .map(|group| group.here.saturating_sub(1))
            .sum()
    };
    let shared = |groups: &[Group]| -> usize {
        let shared = groups.iter().filter(|group| group.is_shared());
        shared.map(|group| group.here).sum()
    };
    let mut tiles = vec![
        ("pictures", tally.pictures as usize),
        ("objects", tally.objects as usize),
        ("findings", found.quarantined.len()),
        ("exact copies", doubled(&found.same)),
        ("looking alike", doubled(&found.alike)),
        ("empty classes", tally.empty_classes().count()),
    ];
    if found.against.is_some() {
        tiles.push(("shared, exactly", shared(&found.same)));
        tiles.push(("shared, looking alike", shared(&found.alike)));
    }
    html.push_str("<div class=\"tiles\">");
    for (name, value) in tiles {
        let _ = write!(
            html,
            "<div class=\"tile\"><span class=\"soft\">{name}</span><b>{value}</b></div>"
        );
    }
    html.push_str("</div>\n");
    if let Some((_, path)) = &found.against {
        let path = escape(&path.display().to_string());
        let _ = writeln!(
            html,
            "<p>Held against {} pictures of {path}.</p>",
            found.others
        );
    }
    findings(&mut html, found);
    for (heading, groups, shared) in [
        ("Shared with the other, exactly the same", &found.same, true),
        ("Shared with the other, looking alike", &found.alike, true),
        ("Exactly the same", &found.same, false),
        ("Looking alike", &found.alike, false),
    ] {
        let chosen = groups.iter().filter(|group| group.is_shared() == shared);
        group_section(&mut html, heading, &chosen.collect::<Vec<_>>(), found);
    }
    class_section(&mut html, found);
    html.push_str("<section><h2>Sizes</h2>\n");
    if let Some([(w, h), (wide, high)]) = tally.sizes {
        let _ = writeln!(
            html,
            "<p>{w} to {wide} pixels wide, {h} to {high} high.</p>"
        );
    }
    histogram(
        &mut html,
        "Shorter sides of pictures, in pixels",
        &tally.short_sides,
    );
    if tally.objects > 0 {
        let title = "Sides of boxes (roots of their areas), in pixels as packed";
        histogram(&mut html, title, &tally.box_sides);
        let [small, medium, large] = tally.small_medium_large;
        let _ = writeln!(
            html,
            "<p>By COCO's measure {small} small (below 32 x 32), {medium} medium, {large} large (96 x 96 and more); \
             {} pictures without an object.</p>",
            tally.without_objects
        );
    }
    html.push_str("</section>\n</body>\n</html>\n");
    html
}

fn findings(html: &mut String, found: &Inspection) {
    if found.quarantined.is_empty() {
        return;
    }
    html.push_str("<section><h2>Bad pictures and labels</h2>\n");
    for (reason, count) in count_reasons(&found.quarantined) {
        let _ = writeln!(html, "<h3>{reason}: {count}</h3>\n<div class=\"row\">");
        let entries = found.quarantined.iter().zip(&found.places);
        let entries: Vec<_> = entries
            .filter(|(entry, _)| entry.reason == reason)
            .take(OF_A_REASON)
            .collect();
        let figures = entries.into_par_iter().map(|(entry, place)| {
            let picture = place.and_then(|index| with_box(&found.gallery, index, entry));
            figure(picture, &entry.to_string())
        });
        html.push_str(&figures.collect::<String>());
        html.push_str("</div>\n");
        if count > OF_A_REASON {
            let _ = writeln!(
                html,
                "<p class=\"soft\">and {} more</p>",
                count - OF_A_REASON
            );
        }
    }
    html.push_str("</section>\n");
}

fn group_section(html: &mut String, heading: &str, groups: &[&Group], found: &Inspection) {
    if groups.is_empty() {
        return;
    }
    let _ = writeln!(html, "<section><h2>{heading}: {} groups</h2>", groups.len());
    let rows = groups.par_iter().take(GROUPS).map(|group| {
        let mut row = "<div class=\"row\">".to_owned();
        // With one of each side, where there are both.
        let there = group.named.iter().position(|member| member.there);
        let last = there.filter(|&at| at >= OF_A_GROUP);
        let first = group
            .named
            .iter()
            .take(OF_A_GROUP - usize::from(last.is_some()));
        for member in first.chain(last.map(|at| &group.named[at])) {
            let (gallery, of) = match &found.against {
                Some((other, _)) if member.there => (other, "other: "),
                _ => (&found.gallery, ""),
            };
            let picture = small(gallery, member.index).map(|(picture, _)| picture);
            row.push_str(&figure(picture, &format!("{of}{}", member.name)));
        }
        let more = (group.here + group.there).saturating_sub(OF_A_GROUP.min(group.named.len()));
        if more > 0 {
            let _ = write!(row, "<p class=\"soft\">and {more} more</p>");
        }
        row + "</div>\n"
    });
    html.push_str(&rows.collect::<String>());
    if groups.len() > GROUPS {
        let _ = writeln!(
            html,
            "<p class=\"soft\">and {} more groups</p>",
            groups.len() - GROUPS
        );
    }
    html.push_str("</section>\n");
}

fn class_section(html: &mut String, found: &Inspection) {
    let mut classes: Vec<_> = found.tally.classes.iter().collect();
    classes.sort_by_key(|class| std::cmp::Reverse(class.objects));
    let Some(most) = classes.first().map(|class| class.objects) else {
        return;
    };
    let _ = writeln!(
        html,
        "<section><h2>Classes: {}</h2>\n<table class=\"bars\">",
        classes.len()
    );
    for class in classes {
        let value = match class.objects {
            0 => "none: nothing can be learned of it".into(),
            objects => format!("{objects} in {} pictures", class.pictures),
        };
        bar(html, &class.name, class.objects, most, &value);
    }
    html.push_str("</table></section>\n");
}

fn histogram(html: &mut String, title: &str, histogram: &Histogram) {
    let most = histogram.bins().map(|(_, count)| count).max().unwrap_or(0);
    let _ = writeln!(html, "<h3>{title}</h3>\n<table class=\"bars\">");
    for (from, count) in histogram.bins() {
        bar(html, &range(from), count, most, &count.to_string());
    }
    html.push_str("</table>\n");
}

fn bar(html: &mut String, name: &str, count: u64, most: u64, value: &str) {
    let width = 70. * count as f64 / most.max(1) as f64;
    let name = escape(name);
    let _ = writeln!(
        html,
        "<tr><th>{name}</th><td><i style=\"width:{width:.1}%\"></i>{value}</td></tr>"
    );
}

fn figure(picture: Option<RgbImage>, caption: &str) -> String {
    let shown = match picture.and_then(|picture| data_url(&picture)) {
        Some(url) => format!("<img src=\"{url}\" alt=\"\">"),
        None => "<div class=\"none\"></div>".into(),
    };
    format!(
        "<figure>{shown}<figcaption>{}</figcaption></figure>\n",
        escape(caption)
    )
}

fn data_url(picture: &RgbImage) -> Option<String> {
    let mut bytes = Cursor::new(Vec::new());
    JpegEncoder::new_with_quality(&mut bytes, 80)
        .encode_image(picture)
        .ok()?;
    Some(format!(
        "data:image/jpeg;base64,{}",
        BASE64_STANDARD.encode(bytes.into_inner())
    ))
}

/// A picture made small, and the (width, height) it had; none if it cannot be read.
fn small(gallery: &Gallery, index: usize) -> Option<(RgbImage, (u32, u32))> {
    // However small it is, it can be shown.
    let options = PackOptions {
        smallest_side: 1,
        ..PackOptions::default()
    };
    let (seen, _) = gallery.look(index, &options);
    let image = seen?.image;
    let (width, height) = Resize::MaxSide(SIDE).target(image.width(), image.height());
    let smaller = image::imageops::thumbnail(&image, width, height);
    Some((smaller, image.dimensions()))
}

/// The picture of an entry, with the box that it is about as far as that lies inside.
fn with_box(gallery: &Gallery, index: usize, entry: &Quarantined) -> Option<RgbImage> {
    let (mut picture, size) = small(gallery, index)?;
    let scale = f64::from(picture.width()) / f64::from(size.0);
    let stated = entry
        .annotation_id
        .and_then(|id| gallery.stated_box(index, id, size));
    let Some([x, y, w, h]) = stated else {
        return Some(picture);
    };
    // Rounding saturates, and takes what is no number to 0.
    let at = |value: f64| (value * scale).floor().clamp(-1., 65_536.) as i64;
    let (left, right, top, bottom) = (at(x), at(x + w), at(y), at(y + h));
    for (x, y, pixel) in picture.enumerate_pixels_mut() {
        let (x, y) = (i64::from(x), i64::from(y));
        let inside = (left..=right).contains(&x) && (top..=bottom).contains(&y);
        if inside && (x == left || x == right || y == top || y == bottom) {
            *pixel = Rgb([255, 0, 60]);
        }
    }
    Some(picture)
}

/// Text as it may stand in HTML. Control characters, which no page may hold, are replaced.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            c if c.is_control() => escaped.push('\u{fffd}'),
            c => escaped.push(c),
        }
    }
    escaped
}
