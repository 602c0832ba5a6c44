//! The words of a Pascal VOC annotation file.
//!
//! Boxes are those of the VOC development kit: pixels counted from 1, both ends inside. `xmin = 1`, `xmax = W`
//! spans the whole picture, in coordinates 0 to W. Detectron2 reads them the same way
//! (`detectron2/data/datasets/pascal_voc.py`). Programs that write VOC files from a canvas counted from 0 are
//! read a pixel too far to the left and above; nothing in the file tells them apart.

use roxmltree::{Document, Node};

/// An annotation file.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Annotation {
    /// The picture's name, as far as it is stated.
    pub filename: Option<String>,
    /// (width, height) of the picture, as far as they are stated.
    pub size: Option<(u32, u32)>,
    /// The objects in their order, or what is wrong with one.
    pub objects: Vec<Result<Object, String>>,
}

/// A labelled object.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Object {
    pub name: String,
    /// Hard to recognise: the development kit leaves such objects out of the score.
    pub difficult: bool,
    /// `[x, y, width, height]` in pixels from the top left corner, unchecked.
    pub bbox: [f64; 4],
}

/// Reads a file. `truncated`, `occluded`, `pose` and the parts of a body are passed over: a record has no place
/// for them.
///
/// # Errors
/// If it is no XML, or not an `annotation`.
pub(crate) fn parse(text: &str) -> Result<Annotation, String> {
    let document = Document::parse(text).map_err(|error| format!("not XML: {error}"))?;
    let root = document.root_element();
    if !root.has_tag_name("annotation") {
        let found = root.tag_name().name();
        return Err(format!("the element <{found}>, expected <annotation>"));
    }
    let size = child(root, "size").and_then(|size| {
        let side = |name| child_text(size, name)?.parse::<f64>().ok();
        let (width, height) = (side("width")?, side("height")?);
        // Some writers state zeros for a size they do not know.
        (width >= 1. && height >= 1.).then_some((width as u32, height as u32))
    });
    let objects = root
        .children()
        .filter(|node| node.has_tag_name("object"))
        .map(object);
    Ok(Annotation {
        filename: child_text(root, "filename").map(str::to_owned),
        size,
        objects: objects.collect(),
    })
}

fn object(node: Node) -> Result<Object, String> {
    let name = child_text(node, "name").ok_or("an <object> without <name>")?;
    let bounds = child(node, "bndbox")
        .ok_or_else(|| format!("an <object> of the class `{name}` without <bndbox>"))?;
    let edge = |key| {
        let text = child_text(bounds, key)
            .ok_or_else(|| format!("a <bndbox> of the class `{name}` without <{key}>"))?;
        let value = text.parse::<f64>();
        value.map_err(|_| format!("<{key}> of the class `{name}` is `{text}`, expected a number"))
    };
    let (left, top) = (edge("xmin")? - 1., edge("ymin")? - 1.);
    let (right, bottom) = (edge("xmax")?, edge("ymax")?);
    Ok(Object {
        name: name.to_owned(),
        difficult: child_text(node, "difficult").is_some_and(|flag| flag == "1"),
        bbox: [left, top, right - left, bottom - top],
    })
}

fn child<'a, 'input>(node: Node<'a, 'input>, name: &str) -> Option<Node<'a, 'input>> {
    node.children().find(|child| child.has_tag_name(name))
}

/// The text of a child element, unless it is empty.
fn child_text<'a>(node: Node<'a, '_>, name: &str) -> Option<&'a str> {
    let text = child(node, name)?.text()?.trim();
    (!text.is_empty()).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOUND: &str = "<annotation><folder>VOC2012</folder><filename>a.jpg</filename>
        <size><width>500</width><height>375</height><depth>3</depth></size><segmented>1</segmented>
        <object><name>person</name><pose>Left</pose><truncated>1</truncated><difficult>1</difficult>
            <part><name>head</name><bndbox><xmin>9</xmin><ymin>9</ymin><xmax>9</xmax><ymax>9</ymax></bndbox></part>
            <bndbox><xmax>500</xmax><xmin>1</xmin><ymin>1</ymin><ymax>375</ymax></bndbox></object>
        <object><name>dog</name><bndbox><xmin>10.5</xmin><ymin>11</ymin><xmax>20</xmax><ymax>11</ymax></bndbox></object>
        <object><name>cat</name></object>
        <object><name>cat</name><bndbox><xmin>one</xmin><ymin>1</ymin><xmax>2</xmax><ymax>2</ymax></bndbox></object>
        </annotation>";

    #[test]
    fn a_box_counts_pixels_from_one_and_both_ends() {
        let annotation = parse(SOUND).unwrap();
        assert_eq!(annotation.size, Some((500, 375)));
        assert_eq!(annotation.filename.as_deref(), Some("a.jpg"));
        let object = |name: &str, difficult, bbox| {
            let name = name.into();
            Ok(Object {
                name,
                difficult,
                bbox,
            })
        };
        assert_eq!(
            annotation.objects[0],
            object("person", true, [0., 0., 500., 375.])
        );
        assert_eq!(
            annotation.objects[1],
            object("dog", false, [9.5, 10., 10.5, 1.])
        );
        let wrong = |i: usize| annotation.objects[i].clone().unwrap_err();
        assert!(wrong(2).contains("`cat` without <bndbox>"));
        assert!(wrong(3).contains("<xmin> of the class `cat` is `one`"));
    }

    #[test]
    fn what_is_no_annotation_is_named() {
        for (text, part) in [
            ("", "not XML"),
            ("<annotation>", "not XML"),
            ("{}", "not XML"),
            ("<xml/>", "<xml>, expected <annotation>"),
        ] {
            assert!(parse(text).unwrap_err().contains(part), "{text}");
        }
        // Entities that stand for ever more entities.
        let laughs: String = (1..20)
            .map(|i| format!("<!ENTITY a{i} \"&a{};&a{};&a{};\">", i - 1, i - 1, i - 1))
            .collect();
        let text =
            format!("<!DOCTYPE x [<!ENTITY a0 \"ha\">{laughs}]><annotation>&a19;</annotation>");
        assert!(parse(&text).is_err());
        let deep = format!("<annotation>{}", "<a>".repeat(200_000));
        assert!(parse(&deep).is_err());
    }
}
