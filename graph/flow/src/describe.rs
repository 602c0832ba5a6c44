//! A graph as a picture: Mermaid and DOT, with the counters' numbers so that the bottleneck is seen.

#[cfg(feature = "std")]
use alloc::format;
use alloc::{string::String, vec::Vec};
use core::fmt::Write;
#[cfg(feature = "std")]
use core::time::Duration;

#[cfg(feature = "std")]
use crate::{
    counters::{milliseconds_each, share},
    Stats,
};

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
    /// The node that the others wait for: the consumer, or the stage that was worked in longest.
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
    /// sink also how long it waited for data and how full the queue is. What the others wait for is drawn
    /// with a thick line.
    #[cfg(feature = "std")]
    #[must_use]
    pub fn with(mut self, stats: &Stats) -> Self {
        let total = stats.busy() + stats.consumer_busy;
        let work = |items: u64, busy: Duration| {
            alloc::vec![
                format!("{items} x {:.3} ms", milliseconds_each(busy, items)),
                format!("{:.0} % of the work", 100.0 * share(busy, total))
            ]
        };
        // A consumer that worked longer than it lacked data keeps the others waiting, whatever they did.
        let consumer_is_slowest = stats.consumer_busy + stats.lent > stats.wait();
        let mut stages = stats.stages.iter();
        let mut heaviest = Duration::ZERO;
        self.notes.clear();
        self.bottleneck = None;
        for (index, node) in self.nodes.iter().enumerate() {
            let notes = match node.kind {
                Kind::Input | Kind::Batch => Vec::new(),
                Kind::Source | Kind::Stage => match stages.next() {
                    Some(stage) => {
                        if stage.busy > heaviest && !consumer_is_slowest {
                            heaviest = stage.busy;
                            self.bottleneck = Some(index);
                        }
                        work(stage.items, stage.busy)
                    }
                    None => Vec::new(),
                },
                Kind::Sink if stats.window == 0 => Vec::new(),
                Kind::Sink => {
                    if consumer_is_slowest {
                        self.bottleneck = Some(index);
                    }
                    let mut notes = work(stats.consumed, stats.consumer_busy);
                    notes.push(format!(
                        "waiting {:.1} % of its time",
                        100.0 * stats.wait_share()
                    ));
                    notes.push(format!(
                        "queue {} of {}, full {:.3} s",
                        stats.ready,
                        stats.window,
                        stats.full.as_secs_f64()
                    ));
                    notes
                }
            };
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
