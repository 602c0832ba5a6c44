//! The report, from outside: what a browser and a hostile string would make of it.

use image::{Rgb, RgbImage};
use intertwine::report::{BarPlot, LinePlot, Report, Section, Table, Tile};
use proptest::prelude::*;

/// Every place that takes a string, filled with `text`.
fn report_of(text: &str) -> Report {
    let image = RgbImage::from_fn(24, 16, |x, y| Rgb([x as u8, y as u8, 200]));
    let photo = RgbImage::from_fn(600, 500, |x, y| Rgb([(x / 4) as u8, (y / 4) as u8, 90]));
    let section = || {
        Section::new(text)
            .text(text)
            .code(text)
            .tiles([Tile::new(text, text).note(text), Tile::new("a", "b")])
            .table(
                Table::new([text, "n"])
                    .row([text, "1"])
                    .row([text])
                    .row(["1", "2", text]),
            )
            .line_plot(
                LinePlot::new(text)
                    .axes(text, text)
                    .series(text, [(0.0, 1.0), (1.0, 3.0)])
                    .series("b", []),
            )
            .bar_plot(
                BarPlot::new(text, [text, "b"])
                    .group(text, [0.5, -1.0])
                    .group("c", [f64::NAN]),
            )
            .picture(image.clone(), text)
            .pictures([
                (image.clone(), text.to_owned()),
                (photo.clone(), String::new()),
            ])
    };
    Report::new(text)
        .section(section())
        .section(section())
        .section(Section::new(text))
}

/// The names of the tags, in order, if every element is closed by its own end tag; else what is wrong.
/// Stricter than HTML: quotes must match, and only the elements that have no content may stay open.
fn tags(html: &str) -> Result<Vec<String>, String> {
    let mut open: Vec<String> = Vec::new();
    let mut seen = Vec::new();
    let mut rest = html
        .strip_prefix("<!DOCTYPE html>")
        .ok_or("no document type")?;
    while let Some(start) = rest.find('<') {
        if rest[..start].contains('>') {
            return Err(format!("a stray '>' in {:?}", &rest[..start]));
        }
        rest = &rest[start + 1..];
        // The end of the tag is the first '>' outside quotes.
        let mut quoted = false;
        let end = rest
            .find(|c| {
                quoted ^= c == '"';
                c == '>' && !quoted
            })
            .ok_or("a tag without an end")?;
        let tag = &rest[..end];
        rest = &rest[end + 1..];
        if tag.contains('<') {
            return Err(format!("'<' within a tag: {tag:?}"));
        }
        let name = tag
            .trim_start_matches('/')
            .split([' ', '/'])
            .next()
            .unwrap_or("")
            .to_owned();
        if tag.starts_with('/') {
            if open.pop().as_ref() != Some(&name) {
                return Err(format!("</{name}> closes nothing"));
            }
        } else {
            if !tag.ends_with('/') && !["meta", "img"].contains(&name.as_str()) {
                open.push(name.clone());
            }
            seen.push(name);
        }
    }
    if open.is_empty() {
        Ok(seen)
    } else {
        Err(format!("left open: {open:?}"))
    }
}

#[test]
fn the_document_is_well_formed_and_stands_alone() {
    let html = report_of("plain").to_html().unwrap();
    let seen = tags(&html).unwrap();
    for tag in [
        "html", "title", "style", "nav", "h1", "h2", "p", "pre", "table", "svg", "polyline", "img",
    ] {
        assert!(seen.iter().any(|t| t == tag), "no <{tag}>");
    }
    assert_eq!(seen.iter().filter(|t| *t == "img").count(), 6);
    for foreign in ["<script", "http://", "https://", "<link", "@import", "url("] {
        assert!(!html.contains(foreign), "{foreign}");
    }
    assert!(html.contains("data:image/png;base64,") && html.contains("data:image/jpeg;base64,"));
    assert_eq!(
        html,
        report_of("plain").to_html().unwrap(),
        "the same bytes each time"
    );
}

#[test]
fn pictures_are_whole() {
    use base64::prelude::{Engine, BASE64_STANDARD};
    let image = RgbImage::from_fn(24, 16, |x, y| Rgb([x as u8 * 9, y as u8, 200]));
    let html = Report::new("r")
        .section(Section::new("s").picture(image.clone(), "c"))
        .to_html()
        .unwrap();
    let data = html
        .split("base64,")
        .nth(1)
        .unwrap()
        .split('"')
        .next()
        .unwrap();
    let decoded = image::load_from_memory(&BASE64_STANDARD.decode(data).unwrap()).unwrap();
    assert_eq!(decoded.into_rgb8(), image);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn no_string_breaks_out_of_its_place(text in "[\\PC<>\"'&/=\u{0}-\u{9}\u{b}-\u{1f}]{0,40}") {
        let plain = tags(&report_of("plain").to_html().unwrap()).unwrap();
        let html = report_of(&format!("x{text}")).to_html().unwrap();
        prop_assert_eq!(tags(&html), Ok(plain));
    }
}

#[test]
fn a_report_is_written_whole_or_not_at_all() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("report.html");
    let report = report_of("a");
    report.write(&path).unwrap();
    report.write(&path).unwrap();
    assert_eq!(
        std::fs::read_to_string(&path).unwrap(),
        report.to_html().unwrap()
    );
    assert_eq!(
        std::fs::read_dir(dir.path()).unwrap().count(),
        1,
        "nothing is left beside it"
    );

    let below_a_file = path.join("report.html");
    let error = report.write(&below_a_file).unwrap_err().to_string();
    assert!(
        error.contains("report.html/report.html") && error.contains("check the permissions"),
        "{error}"
    );
    // A folder in the way: an error, and the folder is still there.
    let error = report.write(dir.path()).unwrap_err().to_string();
    assert!(error.contains("cannot write the report"), "{error}");
    assert!(path.exists());
}
