//! A graph as a picture: Mermaid and DOT, with the counters' numbers so that the bottleneck is seen.

#[cfg(feature = "std")]
use alloc::format;
use alloc::{string::String, vec::Vec};
use core::fmt::Write;

/// What a node of the picture is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Items given from outside.
    Input,
    /// A source.
    Source,
    /// A stage.
    Stage,
    /// Items gathered into batches.
    Batch,
    /// What takes the results.
    Sink,
}

/// One node of the picture.
#[derive(Clone, Debug)]
pub struct Node {
    /// The name shown.
    pub name: &'static str,
    /// What it is.
    pub kind: Kind,
    /// Full name of the type it gives; nothing for a sink.
    pub output: &'static str,
}

/// The shape of a graph: its nodes in order, to be drawn. Made by `describe`.
#[derive(Clone, Debug)]
pub struct Description {
    nodes: Vec<Node>,
    /// Lines below each node's name; empty, or one per node.
    notes: Vec<Vec<String>>,
    /// The node with the greatest share of the work.
    bottleneck: Option<usize>,
}

impl Description {
    pub(crate) fn new(nodes: Vec<Node>) -> Self {
        Self {
            nodes,
            notes: Vec::new(),
            bottleneck: None,
        }
    }

    /// The nodes, in order.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// Adds what was counted: for every stage items, milliseconds an item and share of all work; for the
    /// sink also how long it waited and how full the queue is.
    #[cfg(feature = "std")]
    #[must_use]
    pub fn with(mut self, stats: &crate::Stats) -> Self {
        let total = (stats.busy() + stats.consumer_busy).as_secs_f64();
        let work = |items: u64, busy: core::time::Duration| {
            let busy = busy.as_secs_f64();
            let each = ratio(busy * 1e3, items as f64);
            (
                busy,
                alloc::vec![
                    format!("{items} x {each:.3} ms"),
                    format!("{} of the work", percent(busy, total))
                ],
            )
        };
        let mut stages = stats.stages.iter();
        let mut heaviest = 0.0;
        self.notes.clear();
        self.bottleneck = None;
        for (index, node) in self.nodes.iter().enumerate() {
            let (busy, notes) = match node.kind {
                Kind::Input | Kind::Batch => (0.0, Vec::new()),
                Kind::Source | Kind::Stage => match stages.next() {
                    Some(stage) => work(stage.items, stage.busy),
                    None => (0.0, Vec::new()),
                },
                Kind::Sink if stats.window == 0 => (0.0, Vec::new()),
                Kind::Sink => {
                    let (busy, mut notes) = work(stats.consumed, stats.consumer_busy);
                    let waiting = stats.waiting.as_secs_f64();
                    notes.push(format!(
                        "waiting {} of its time",
                        percent(waiting, busy + waiting)
                    ));
                    notes.push(format!(
                        "queue {} of {}, full {:.3} s",
                        stats.ready,
                        stats.window,
                        stats.full.as_secs_f64()
                    ));
                    (busy, notes)
                }
            };
            if busy > heaviest {
                heaviest = busy;
                self.bottleneck = Some(index);
            }
            self.notes.push(notes);
        }
        self
    }

    fn notes(&self, node: usize) -> &[String] {
        self.notes.get(node).map_or(&[], Vec::as_slice)
    }

    /// The graph in Mermaid's flowchart language.
    pub fn mermaid(&self) -> String {
        let mut out = String::from("flowchart LR\n");
        for (index, node) in self.nodes.iter().enumerate() {
            let mut label = escape_mermaid(node.name);
            for note in self.notes(index) {
                label += "<br/>";
                label += &escape_mermaid(note);
            }
            let (open, close) = match node.kind {
                Kind::Source => ("[(", ")]"),
                Kind::Stage => ("[", "]"),
                Kind::Batch => ("[[", "]]"),
                Kind::Input | Kind::Sink => ("([", "])"),
            };
            line(&mut out, format_args!("n{index}{open}\"{label}\"{close}"));
        }
        for (index, node) in self.edges() {
            let label = escape_mermaid(&short_type(node.output));
            line(
                &mut out,
                format_args!("n{index} -->|\"{label}\"| n{}", index + 1),
            );
        }
        if let Some(index) = self.bottleneck {
            line(&mut out, format_args!("style n{index} stroke-width:4px"));
        }
        out
    }

    /// The graph in Graphviz's DOT language.
    pub fn dot(&self) -> String {
        let mut out = String::from("digraph flow {\n    rankdir=LR;\n    node [shape=box];\n");
        for (index, node) in self.nodes.iter().enumerate() {
            let mut label = escape_dot(node.name);
            for note in self.notes(index) {
                label += "\\n";
                label += &escape_dot(note);
            }
            let shape = match node.kind {
                Kind::Source => ", shape=cylinder",
                Kind::Stage => "",
                Kind::Batch => ", shape=box3d",
                Kind::Input | Kind::Sink => ", style=rounded",
            };
            let width = if self.bottleneck == Some(index) {
                ", penwidth=4"
            } else {
                ""
            };
            line(
                &mut out,
                format_args!("n{index} [label=\"{label}\"{shape}{width}];"),
            );
        }
        for (index, node) in self.edges() {
            let label = escape_dot(&short_type(node.output));
            line(
                &mut out,
                format_args!("n{index} -> n{} [label=\"{label}\"];", index + 1),
            );
        }
        out.push_str("}\n");
        out
    }

    /// The nodes that have a next one.
    fn edges(&self) -> impl Iterator<Item = (usize, &Node)> {
        self.nodes
            .iter()
            .enumerate()
            .take(self.nodes.len().saturating_sub(1))
    }
}

fn line(out: &mut String, content: core::fmt::Arguments<'_>) {
    writeln!(out, "    {content}").expect("writing to a string never fails");
}

#[cfg(feature = "std")]
fn ratio(part: f64, whole: f64) -> f64 {
    if whole > 0.0 {
        part / whole
    } else {
        0.0
    }
}

#[cfg(feature = "std")]
fn percent(part: f64, whole: f64) -> String {
    format!("{:.0} %", 100.0 * ratio(part, whole))
}

/// A type's name with every path cut down to its last segment, without lifetimes (which compilers differ
/// in showing).
fn short_type(full: &str) -> String {
    let full = full
        .replace("<'_>", "")
        .replace("'_, ", "")
        .replace("'_ ", "");
    let mut out = String::new();
    let mut segment = 0;
    let mut rest = full.chars().peekable();
    while let Some(c) = rest.next() {
        if c == ':' && rest.peek() == Some(&':') {
            rest.next();
            if out.len() > segment {
                out.truncate(segment);
            } else {
                // The path goes on behind a bracket, as in `<A as B>::C`.
                out.push_str("::");
                segment = out.len();
            }
        } else {
            out.push(c);
            if !(c.is_alphanumeric() || matches!(c, '_' | '{' | '}' | '#')) {
                segment = out.len();
            }
        }
    }
    out
}

/// Mermaid has no backslash escapes but entities, written `#name;`.
fn escape_mermaid(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '"' => out.push_str("#quot;"),
            '<' => out.push_str("#lt;"),
            '>' => out.push_str("#gt;"),
            '&' => out.push_str("#amp;"),
            '#' => out.push_str("#35;"),
            // Inside quotes Mermaid reads backticks as Markdown.
            '`' => out.push_str("#96;"),
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    out
}

fn escape_dot(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '"' | '\\' => {
                out.push('\\');
                out.push(c);
            }
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_keep_the_last_segment_of_every_path() {
        for (full, short) in [
            ("u64", "u64"),
            ("alloc::vec::Vec<image::buffer_::ImageBuffer<image::color::Rgb<u8>, alloc::vec::Vec<u8>>>", "Vec<ImageBuffer<Rgb<u8>, Vec<u8>>>"),
            ("&a::b::C", "&C"),
            ("a::Frame<'_>", "Frame"),
            ("a::View<'_, b::Pixel>", "View<Pixel>"),
            ("(a::B, [c::D; 4])", "(B, [D; 4])"),
            ("dyn core::fmt::Debug + core::marker::Send", "dyn Debug + Send"),
            ("fn(a::B) -> c::D", "fn(B) -> D"),
            ("<a::B as c::D>::E", "<B as D>::E"),
            ("a::main::{{closure}}", "{{closure}}"),
        ] {
            assert_eq!(short_type(full), short);
        }
    }

    #[test]
    fn hostile_names_stay_inside_their_quotes() {
        let node = |name, kind, output| Node { name, kind, output };
        let description = Description::new(alloc::vec![
            node("a\"]; b[\"#x", Kind::Source, "Vec<u8>"),
            node("back\\slash\nline", Kind::Sink, ""),
        ]);
        assert_eq!(
            description.mermaid(),
            "flowchart LR\n    n0[(\"a#quot;]; b[#quot;#35;x\")]\n    n1([\"back\\slash line\"])\n    n0 -->|\"Vec#lt;u8#gt;\"| n1\n"
        );
        assert_eq!(
            description.dot(),
            "digraph flow {\n    rankdir=LR;\n    node [shape=box];\n    n0 [label=\"a\\\"]; b[\\\"#x\", shape=cylinder];\n    n1 [label=\"back\\\\slash line\", style=rounded];\n    n0 -> n1 [label=\"Vec<u8>\"];\n}\n"
        );
    }
}
