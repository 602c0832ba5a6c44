//! A report of a run: one HTML file that holds its pictures and plots, needs no network, no scripts and
//! no other file, follows the reader's light or dark colours, and opens by a double click.
//!
//! Everything that is handed in is text: it is escaped, never interpreted. The same report gives the
//! same bytes.
//!
//! # Layout
//! - `mod.rs`: the report's content, as types
//! - `html`: content to HTML
//! - `plot`, `spread`, `axis`: line and bar plots, and plots of several runs
//! - [`run`]: the report of a training run
//! - [`pictures`]: pictures of fields, features and masks
//!
//! ```
//! use intertwine::report::{LinePlot, Report, Section, Table, Tile};
//! let report = Report::new("A run").section(
//!     Section::new("Training")
//!         .text("Where the loss went.")
//!         .tiles([Tile::new("AP50", "0.61").note("from scratch 0.48")])
//!         .line_plot(LinePlot::new("Loss").axes("step", "nats").series("train", [(0.0, 9.0), (1.0, 7.5)]))
//!         .table(Table::new(["class", "AP"]).row(["disc", "0.52"])),
//! );
//! assert!(report.to_html()?.contains("Where the loss went."));
//! # Ok::<(), intertwine::report::ReportError>(())
//! ```

mod axis;
mod html;
pub mod pictures;
mod plot;
pub mod run;
mod spread;

pub use plot::{BarPlot, LinePlot};
pub use spread::SpreadPlot;

use image::RgbImage;
use std::io;
use std::path::{Path, PathBuf};

/// Why a report could not be made.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// A picture could not be encoded.
    #[error("report: cannot encode the {width} x {height} picture \"{caption}\": {source}")]
    Picture {
        /// The picture's caption.
        caption: String,
        /// Pixels.
        width: u32,
        /// Pixels.
        height: u32,
        /// The encoder's reason.
        source: image::ImageError,
    },
    /// A drawing of the run could not be read.
    #[error("{}: cannot read the drawing: {source}; remove the file and write the report again", path.display())]
    Drawing {
        /// The file.
        path: PathBuf,
        /// The decoder's reason.
        source: image::ImageError,
    },
    /// The file could not be written.
    #[error("cannot write the report {}: {source}; check the permissions and the free space there", path.display())]
    Write {
        /// What was to be written.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
}

/// A titled sequence of sections.
#[derive(Clone, Debug)]
pub struct Report {
    title: String,
    sections: Vec<Section>,
}

impl Report {
    /// A report without sections.
    pub fn new(title: impl Into<String>) -> Self {
        Report {
            title: title.into(),
            sections: Vec::new(),
        }
    }

    /// Adds a section at the end.
    pub fn section(mut self, section: Section) -> Self {
        self.sections.push(section);
        self
    }

    /// The whole report as one HTML document.
    pub fn to_html(&self) -> Result<String, ReportError> {
        html::render(self)
    }

    /// Writes the report beside `path`, syncs it and renames it, so that a reader never sees half of one.
    pub fn write(&self, path: &Path) -> Result<(), ReportError> {
        let html = self.to_html()?;
        intertwine_files::bytes(path, html.as_bytes()).map_err(|source| ReportError::Write {
            path: path.to_owned(),
            source,
        })
    }
}

/// A heading and what stands under it, in the order it was added.
#[derive(Clone, Debug)]
pub struct Section {
    heading: String,
    blocks: Vec<Block>,
}

/// One thing in a section.
#[derive(Clone, Debug)]
enum Block {
    Text(String),
    Code(String),
    Tiles(Vec<Tile>),
    Table(Table),
    Lines(LinePlot),
    Bars(BarPlot),
    Spread(SpreadPlot),
    Pictures(Vec<(RgbImage, String)>),
}

impl Section {
    /// A section without content.
    pub fn new(heading: impl Into<String>) -> Self {
        Section {
            heading: heading.into(),
            blocks: Vec::new(),
        }
    }

    fn with(mut self, block: Block) -> Self {
        self.blocks.push(block);
        self
    }

    /// A paragraph; an empty line starts another.
    pub fn text(self, text: impl Into<String>) -> Self {
        self.with(Block::Text(text.into()))
    }

    /// Text as it is, in a fixed-width font: a configuration, a command.
    pub fn code(self, code: impl Into<String>) -> Self {
        self.with(Block::Code(code.into()))
    }

    /// Key figures side by side.
    pub fn tiles(self, tiles: impl IntoIterator<Item = Tile>) -> Self {
        self.with(Block::Tiles(tiles.into_iter().collect()))
    }

    /// A table.
    pub fn table(self, table: Table) -> Self {
        self.with(Block::Table(table))
    }

    /// A line plot.
    pub fn line_plot(self, plot: LinePlot) -> Self {
        self.with(Block::Lines(plot))
    }

    /// A bar plot.
    pub fn bar_plot(self, plot: BarPlot) -> Self {
        self.with(Block::Bars(plot))
    }

    /// A plot of what several runs gave.
    pub fn spread_plot(self, plot: SpreadPlot) -> Self {
        self.with(Block::Spread(plot))
    }

    /// One picture with a caption. Small pictures are shown enlarged, with hard pixels.
    pub fn picture(self, image: RgbImage, caption: impl Into<String>) -> Self {
        self.with(Block::Pictures(vec![(image, caption.into())]))
    }

    /// Pictures side by side, each with its caption.
    pub fn pictures(self, pictures: impl IntoIterator<Item = (RgbImage, String)>) -> Self {
        self.with(Block::Pictures(pictures.into_iter().collect()))
    }
}

/// A key figure.
#[derive(Clone, Debug)]
pub struct Tile {
    label: String,
    value: String,
    note: String,
}

impl Tile {
    /// What is measured, and its value as it is to be read, unit included.
    pub fn new(label: impl Into<String>, value: impl Into<String>) -> Self {
        Tile {
            label: label.into(),
            value: value.into(),
            note: String::new(),
        }
    }

    /// A line below: what it is compared with, how it was measured.
    pub fn note(mut self, note: impl Into<String>) -> Self {
        self.note = note.into();
        self
    }
}

/// A table with a header row. Columns that hold only numbers are aligned to the right.
#[derive(Clone, Debug)]
pub struct Table {
    header: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table of these columns, without rows.
    pub fn new<S: Into<String>>(header: impl IntoIterator<Item = S>) -> Self {
        Table {
            header: header.into_iter().map(Into::into).collect(),
            rows: Vec::new(),
        }
    }

    /// Adds a row. Cells that lack are empty, and those beyond the header have an empty heading.
    pub fn row<S: Into<String>>(mut self, cells: impl IntoIterator<Item = S>) -> Self {
        self.rows.push(cells.into_iter().map(Into::into).collect());
        self
    }

    /// Adds rows.
    pub fn rows<S: Into<String>, R: IntoIterator<Item = S>>(
        self,
        rows: impl IntoIterator<Item = R>,
    ) -> Self {
        rows.into_iter().fold(self, Table::row)
    }
}
