//! Turns a report's content into one HTML document.

use super::{Block, Report, ReportError, Section, Table, Tile};
use base64::prelude::{Engine, BASE64_STANDARD};
use image::codecs::{jpeg::JpegEncoder, png::PngEncoder};
use image::RgbImage;
use std::borrow::Cow;
use std::fmt::Write;

/// Pictures with more pixels than this are photographs or sheets, and much smaller as JPEG.
const MAX_PNG_PIXELS: u32 = 512 * 512;

/// The format's limit.
const MAX_JPEG_SIDE: u32 = 65_535;

/// A picture narrower than this is shown enlarged by a whole factor.
const MIN_SHOWN_WIDTH: u32 = 192;

const STYLE: &str = "\
:root{color-scheme:light dark;--page:#ffffff;--card:#f4f5f7;--text:#1b1f24;--soft:#5a636e;--line:#d8dce1}
@media (prefers-color-scheme:dark){:root{--page:#14171b;--card:#1e2228;--text:#e4e7eb;--soft:#98a2ae;--line:#343a42}}
*{box-sizing:border-box}
body{margin:0 auto;max-width:68rem;padding:2rem 1.25rem 4rem;background:var(--page);color:var(--text);\
font:16px/1.5 system-ui,-apple-system,\"Segoe UI\",Roboto,\"Helvetica Neue\",sans-serif}
h1{font-size:1.8rem;line-height:1.2;margin:0 0 1rem}
h2{font-size:1.25rem;margin:2.5rem 0 .75rem;padding-top:.75rem;border-top:1px solid var(--line)}
p{max-width:46rem;margin:.5rem 0 1rem}
nav a{color:var(--soft);margin-right:1rem;white-space:nowrap}
.note,.tile .note,figcaption{color:var(--soft);font-size:.875rem}
.tiles{display:flex;flex-wrap:wrap;gap:.75rem;margin:1rem 0}
.tile{background:var(--card);border-radius:8px;padding:.75rem 1rem;min-width:9rem}
.tile .label{color:var(--soft);font-size:.875rem}
.tile .value{font-size:1.6rem;font-weight:600;line-height:1.3;font-variant-numeric:tabular-nums}
.scroll{overflow-x:auto;margin:1rem 0}
table{border-collapse:collapse;font-variant-numeric:tabular-nums}
.scroll td,.scroll th{padding:.3rem .9rem .3rem 0;border-bottom:1px solid var(--line);text-align:left;vertical-align:top}
.scroll th{color:var(--soft);font-weight:600;font-size:.875rem}
.scroll .n{text-align:right}
pre{background:var(--card);border-radius:8px;padding:.75rem 1rem;overflow-x:auto;font-size:.875rem;line-height:1.45}
figure{margin:1rem 0}
.plot{max-width:720px}
.plot figcaption{color:var(--text);font-weight:600}
.plot svg{display:block;max-width:100%;height:auto}
.plot svg text{fill:var(--soft);font:13px system-ui,sans-serif}
.grid{stroke:var(--line);fill:none}
.axis{stroke:var(--soft);fill:none}
.line{fill:none;stroke-width:2;stroke-linejoin:round}
.legend{margin:.25rem 0;font-size:.875rem}
.legend span{margin-right:1.1rem;white-space:nowrap}
.legend i{display:inline-block;width:.8rem;height:.8rem;border-radius:2px;margin-right:.4rem;vertical-align:-.08rem}
.bars{width:100%}
.bars th{font-weight:400;text-align:right;padding:.2rem .75rem .2rem 0;width:1%;white-space:nowrap;vertical-align:middle}
.bars td{padding:.2rem 0}
.bar{display:flex;align-items:center;height:1.05rem;margin:1px 0}
.bar i{display:block;height:100%;border-radius:0 3px 3px 0}
.bar b{margin-left:.4rem;font-size:.8rem;font-weight:400;color:var(--soft)}
.pictures{display:flex;flex-wrap:wrap;gap:1rem;margin:1rem 0}
.pictures figure{margin:0}
.pictures img{display:block;max-width:100%;height:auto;border-radius:4px}
.pictures .hard{image-rendering:pixelated}
.pictures figcaption{margin-top:.25rem}
@media print{body{max-width:none}h2{break-after:avoid}figure,.tile{break-inside:avoid}}
";

/// Text as it may stand in HTML, in an element or in a quoted attribute. Control characters, which no
/// document may hold, are replaced.
pub(super) fn escape(text: &str) -> Cow<'_, str> {
    let special = |c: char| {
        matches!(c, '&' | '<' | '>' | '"' | '\'') || (c.is_control() && !"\n\t".contains(c))
    };
    if !text.contains(special) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            c if special(c) => escaped.push('\u{fffd}'),
            c => escaped.push(c),
        }
    }
    Cow::Owned(escaped)
}

pub(super) fn render(report: &Report) -> Result<String, ReportError> {
    let title = escape(&report.title);
    let mut html = String::new();
    // Writing to a String cannot fail, here and below.
    let _ = write!(
        html,
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{title}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<h1>{title}</h1>\n"
    );
    if report.sections.len() > 2 {
        html.push_str("<nav>");
        for (i, section) in report.sections.iter().enumerate() {
            let _ = write!(html, "<a href=\"#s{i}\">{}</a> ", escape(&section.heading));
        }
        html.push_str("</nav>\n");
    }
    for (i, section) in report.sections.iter().enumerate() {
        render_section(&mut html, i, section)?;
    }
    html.push_str("</body>\n</html>\n");
    Ok(html)
}

fn render_section(html: &mut String, index: usize, section: &Section) -> Result<(), ReportError> {
    let _ = writeln!(
        html,
        "<section id=\"s{index}\">\n<h2>{}</h2>",
        escape(&section.heading)
    );
    for block in &section.blocks {
        match block {
            Block::Text(text) => {
                for paragraph in text.split("\n\n").filter(|p| !p.trim().is_empty()) {
                    let _ = write!(html, "<p>{}</p>", escape(paragraph.trim()));
                }
            }
            Block::Code(code) => {
                let _ = write!(html, "<pre><code>{}</code></pre>", escape(code));
            }
            Block::Tiles(tiles) => render_tiles(html, tiles),
            Block::Table(table) => render_table(html, table),
            Block::Lines(plot) => plot.render(html),
            Block::Spread(plot) => plot.render(html),
            Block::Bars(plot) => plot.render(html),
            Block::Pictures(pictures) => {
                html.push_str("<div class=\"pictures\">");
                for (image, caption) in pictures {
                    render_picture(html, image, caption)?;
                }
                html.push_str("</div>");
            }
        }
        html.push('\n');
    }
    html.push_str("</section>\n");
    Ok(())
}

fn render_tiles(html: &mut String, tiles: &[Tile]) {
    html.push_str("<div class=\"tiles\">");
    for tile in tiles {
        let _ = write!(
            html,
            "<div class=\"tile\"><div class=\"label\">{}</div><div class=\"value\">{}</div>",
            escape(&tile.label),
            escape(&tile.value)
        );
        if !tile.note.is_empty() {
            let _ = write!(html, "<div class=\"note\">{}</div>", escape(&tile.note));
        }
        html.push_str("</div>");
    }
    html.push_str("</div>");
}

fn render_table(html: &mut String, table: &Table) {
    let columns = table
        .rows
        .iter()
        .map(Vec::len)
        .chain([table.header.len()])
        .max()
        .unwrap_or(0);
    let cell = |row: &[String], column: usize| row.get(column).cloned().unwrap_or_default();
    let numeric: Vec<bool> = (0..columns)
        .map(|c| {
            let mut cells = table
                .rows
                .iter()
                .map(|row| cell(row, c))
                .filter(|text| !text.is_empty())
                .peekable();
            cells.peek().is_some() && cells.all(|text| is_number(&text))
        })
        .collect();
    let row = |html: &mut String, tag: &str, cells: &[String]| {
        html.push_str("<tr>");
        for (c, &numeric) in numeric.iter().enumerate() {
            let class = if numeric { " class=\"n\"" } else { "" };
            let _ = write!(html, "<{tag}{class}>{}</{tag}>", escape(&cell(cells, c)));
        }
        html.push_str("</tr>");
    };
    html.push_str("<div class=\"scroll\"><table><thead>");
    row(html, "th", &table.header);
    html.push_str("</thead><tbody>");
    for cells in &table.rows {
        row(html, "td", cells);
    }
    html.push_str("</tbody></table></div>");
}

/// A number, perhaps with a percent sign or a factor's x; a dash stands for one that is missing.
fn is_number(text: &str) -> bool {
    let text = text.trim();
    matches!(text, "-" | "–")
        || text
            .trim_end_matches(['%', 'x', ' '])
            .replace(',', "")
            .parse::<f64>()
            .is_ok()
}

fn render_picture(html: &mut String, image: &RgbImage, caption: &str) -> Result<(), ReportError> {
    let (width, height) = image.dimensions();
    if width == 0 || height == 0 {
        let _ = write!(
            html,
            "<p class=\"note\">{} (a picture without pixels)</p>",
            escape(caption)
        );
        return Ok(());
    }
    let mut bytes = Vec::new();
    let small = width.saturating_mul(height) <= MAX_PNG_PIXELS || width.max(height) > MAX_JPEG_SIDE;
    let (kind, encoded) = if small {
        ("png", image.write_with_encoder(PngEncoder::new(&mut bytes)))
    } else {
        (
            "jpeg",
            image.write_with_encoder(JpegEncoder::new_with_quality(&mut bytes, 90)),
        )
    };
    encoded.map_err(|source| ReportError::Picture {
        caption: caption.to_owned(),
        width,
        height,
        source,
    })?;
    let factor = MIN_SHOWN_WIDTH.div_ceil(width).max(1);
    let class = if factor > 1 { " class=\"hard\"" } else { "" };
    let (shown_width, shown_height) = (width.saturating_mul(factor), height.saturating_mul(factor));
    let caption = escape(caption);
    let _ = write!(html, "<figure style=\"max-width:{shown_width}px\"><img{class} width=\"{shown_width}\" height=\"{shown_height}\" alt=\"{caption}\" src=\"data:image/{kind};base64,");
    BASE64_STANDARD.encode_string(&bytes, html);
    html.push_str("\">");
    if !caption.is_empty() {
        let _ = write!(html, "<figcaption>{caption}</figcaption>");
    }
    html.push_str("</figure>");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escaping_leaves_no_way_out_of_text_or_attributes() {
        assert_eq!(
            escape("<a href=\"x\" b='y'>&\u{0}"),
            "&lt;a href=&quot;x&quot; b=&#39;y&#39;&gt;&amp;\u{fffd}"
        );
        assert!(matches!(escape("Zürich, 3 m²\n"), Cow::Borrowed(_)));
    }

    #[test]
    fn numbers_are_told_from_words() {
        for yes in ["1", "-0.5", "1e-3", "12 %", "1,234", "0.9x", "–"] {
            assert!(is_number(yes), "{yes}");
        }
        for no in ["", "disc", "1 of 2", "v1.0"] {
            assert!(!is_number(no), "{no}");
        }
    }
}
