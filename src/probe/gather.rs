//! The passes through the encoder: features of pictures, of patches, of windows.

use image::RgbImage;
use intertwine_datasets::{Mix, Scratch};

use super::encoder::{Encoder, Shown};
use super::features::Rows;
use super::readout::Halves;
use super::retrieval::Places;
use super::{Drawn, Options, ProbeError};
use crate::augment::WindowConfig;
use crate::field::{Geometry, Grid, Window};

/// Pictures that go through the encoder at once.
const BATCH: usize = 32;
/// Most patches of a picture whose position is masked at once, and the share of them: few, so that the others tell where
/// they are.
const MASKED: usize = 4;
const MASKED_SHARE: usize = 4;
/// Windows in which some pictures are shown, and the most pictures shown so.
const WINDOWS: usize = 8;
const WINDOW_PICTURES: usize = 128;
/// Rows that the rank of patches is computed of.
const RANK_ROWS: usize = 4096;

/// For each of so many pictures in turn whether it is among these.
fn among(these: &[usize], pictures: usize) -> impl Iterator<Item = bool> {
    let mut among = vec![false; pictures];
    these.iter().for_each(|&picture| among[picture] = true);
    among.into_iter()
}

/// Shows pictures of a set to an encoder and counts the passes.
pub(super) struct Gatherer<'a> {
    pub encoder: &'a Encoder,
    pub set: &'a Mix,
    /// Patches a side.
    pub grid: usize,
    /// Where in the field pictures lie.
    pub window: Window,
    pub options: &'a Options,
    /// Is told how many passes of how many are done.
    pub progress: &'a mut dyn FnMut(u64, u64),
    pub done: u64,
    pub total: u64,
}

/// Features of whole pictures and of some of their patches.
pub(super) struct Gathered {
    /// A row a picture.
    pub cls: Rows,
    /// Means of the patches, a row a picture.
    pub means: Rows,
    /// All patches of some pictures.
    pub patches: Rows,
    /// Some patches of each picture.
    pub visible: Rows,
    /// The same patches, their positions masked; empty if the encoder has no token for that.
    pub masked: Rows,
    /// Numbers of those patches, in raster order.
    pub chosen: Vec<usize>,
    /// Where they lie in the unit square.
    pub places: Rows,
    /// What all patches of the first half of the pictures have in common at each place.
    pub common: Places,
}

impl Gatherer<'_> {
    /// Passes that [`Self::pictures`] and [`Self::windows`] will take.
    pub fn passes(&self, records: usize) -> u64 {
        let kinds = if self.masks() { 2 } else { 1 };
        let windows = WINDOWS * self.shown_in_windows(records).div_ceil(BATCH);
        (kinds * records.div_ceil(BATCH) + windows) as u64
    }

    /// Whether it has a token for a masked position.
    fn masks(&self) -> bool {
        self.encoder.grid().is_none()
    }

    fn shown_in_windows(&self, records: usize) -> usize {
        if self.encoder.has_field() && self.encoder.usual().window != Some(1.0) {
            // They take several passes each.
            records.div_ceil(4).min(WINDOW_PICTURES)
        } else {
            0
        }
    }

    /// The tokens of each picture in turn, CLS first. `masked` says which patches of a record lack their position.
    fn tokens(
        &mut self,
        records: &[usize],
        window: Window,
        masked: impl Fn(usize) -> Vec<usize>,
        mut take: impl FnMut(usize, &[f32]),
    ) -> Result<(), ProbeError> {
        let (mut images, mut scratch) = (vec![RgbImage::default(); BATCH], Scratch::default());
        let length = (self.grid * self.grid + 1) * self.encoder.width();
        for chunk in records.chunks(BATCH) {
            for (image, &record) in images.iter_mut().zip(chunk) {
                let (set, number) = self.set.locate(record);
                set.read_image_into(number, image, &mut scratch)?;
            }
            let shown: Vec<Shown<'_>> = images
                .iter()
                .zip(chunk)
                .map(|(picture, &record)| Shown {
                    picture,
                    window,
                    masked: masked(record),
                })
                .collect();
            let tokens = self.encoder.tokens(&shown, self.grid);
            for (&record, tokens) in chunk.iter().zip(tokens.chunks_exact(length)) {
                // Of what is not finite no eigenvalue is ever found.
                if !tokens.iter().all(|v| v.is_finite()) {
                    return Err(ProbeError::NotFinite { record });
                }
                take(record, tokens);
            }
            self.done += 1;
            (self.progress)(self.done, self.total);
        }
        Ok(())
    }

    /// Features of pictures in the centred window.
    pub fn pictures(&mut self, records: &[usize], halves: &Halves) -> Result<Gathered, ProbeError> {
        let (width, grid, seed) = (self.encoder.width(), self.grid, self.options.seed);
        let window = self.window;
        let chosen = |record| some_patches(grid * grid, seed, record);
        let whole = Geometry::whole(Window::WHOLE);
        let places: Vec<[f32; 2]> = whole.positions(Grid::new(grid, grid)).collect();
        let rows = || Rows::new(width, Vec::new());
        let mut all = Gathered {
            cls: rows(),
            means: rows(),
            patches: rows(),
            visible: rows(),
            masked: rows(),
            chosen: Vec::new(),
            places: Rows::new(2, Vec::new()),
            common: Places::new(places.len(), width),
        };
        let mut is_first = among(&halves.first, records.len());
        // Drawn: the first pictures of a set are often of one class.
        let ranked = RANK_ROWS.div_ceil(places.len());
        let ranked = Drawn::Rank.choose(seed, 0, ranked, records.len());
        let mut is_ranked = among(&ranked, records.len());
        self.tokens(
            records,
            window,
            |_| Vec::new(),
            |record, tokens| {
                let (cls, patches) = tokens.split_at(width);
                all.cls.extend(cls);
                all.means.extend(&mean(patches, width));
                if is_ranked.next() == Some(true) {
                    all.patches.extend(patches);
                }
                if is_first.next() == Some(true) {
                    all.common.add(patches);
                }
                for patch in chosen(record) {
                    all.chosen.push(patch);
                    all.visible.extend(&patches[patch * width..][..width]);
                    all.places.extend(&places[patch]);
                }
            },
        )?;
        if self.masks() {
            self.tokens(records, window, chosen, |record, tokens| {
                for patch in chosen(record) {
                    all.masked.extend(&tokens[(patch + 1) * width..][..width]);
                }
            })?;
        }
        Ok(all)
    }

    /// CLS of some pictures in each of several windows, of the size that the encoder knows or drawn as the paper draws them, window
    /// by window, and the number of windows; none for an encoder without a field, or one that saw it whole only.
    pub fn windows(&mut self, records: &[usize]) -> Result<Option<(Rows, usize)>, ProbeError> {
        let count = self.shown_in_windows(records.len());
        if count == 0 {
            return Ok(None);
        }
        let mut shown = Drawn::Shown.choose(self.options.seed, 0, count, records.len());
        shown.sort_unstable();
        let records: Vec<usize> = shown.into_iter().map(|i| records[i]).collect();
        let width = self.encoder.width();
        let windows = WindowConfig::of(self.encoder.usual().window).distribution();
        let windows = windows.expect("notes of windows were checked");
        let mut cls = Rows::new(width, Vec::new());
        for w in 0..WINDOWS as u64 {
            let window = windows.draw(&mut Drawn::Windows.stream(self.options.seed, w));
            self.tokens(
                &records,
                window,
                |_| Vec::new(),
                |_, tokens| cls.extend(&tokens[..width]),
            )?;
        }
        Ok(Some((cls, WINDOWS)))
    }
}

/// Different patches of a picture.
fn some_patches(patches: usize, seed: u64, record: usize) -> Vec<usize> {
    let masked = MASKED.min((patches / MASKED_SHARE).max(1));
    Drawn::Patches.choose(seed, record as u64, masked, patches)
}

fn mean(rows: &[f32], width: usize) -> Vec<f32> {
    let count = (rows.len() / width) as f32;
    let mut mean = vec![0.0; width];
    for row in rows.chunks_exact(width) {
        mean.iter_mut().zip(row).for_each(|(m, v)| *m += v / count);
    }
    mean
}
