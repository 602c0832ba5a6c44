//! The instruments of a run: what its teacher has learnt, measured and drawn while it learns.
//!
//! They look at weights, and write figures and pictures; nothing that is learnt depends on them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use intertwine_datasets::{Mix, PackedSet};

use super::config::PretrainConfig;
use super::error::PretrainError;
use crate::nn::weights::StateDict;
use crate::probe::drawing::Shelf;
use crate::probe::encoder::Encoder;
use crate::probe::{self, Figures, Options, ProbeError};
use crate::run::RunFolder;

/// What is measured and drawn in a run.
pub(super) struct Instruments<'a> {
    config: &'a PretrainConfig,
    pictures: Arc<Mix>,
    options: Options,
    /// Whether there are enough pictures to say anything.
    enough: bool,
    /// The pictures that are drawn, read when they are first needed.
    shelf: Option<Shelf>,
    /// The time that all this has taken.
    pub spent: Duration,
}

impl<'a> Instruments<'a> {
    /// On a labelled set or, without one, on the run's own pictures, whose labels are not read.
    ///
    /// # Errors
    /// A labelled set that has no classes or too few pictures.
    pub fn new(
        config: &'a PretrainConfig,
        data: &Arc<Mix>,
        labels: Option<&Arc<PackedSet>>,
    ) -> Result<Self, ProbeError> {
        let pictures = match labels {
            None => data.clone(),
            Some(set) => Arc::new(Mix::from(set.clone())),
        };
        let enough = pictures.len() >= probe::LEAST_PICTURES;
        if let Some(set) = labels {
            if !enough {
                return Err(ProbeError::TooFew(set.len()));
            }
            if set.labels().is_empty() && set.categories().is_empty() {
                let path = set.folder().to_owned();
                return Err(ProbeError::NoClasses { path });
            }
        }
        let usual = config.usual();
        let least = 2 * config.crops.patch as usize;
        let options = Options {
            pictures: config.watch.probe_pictures,
            seed: config.seed,
            classes: labels.is_some(),
            // As the run's own views are.
            side: usual.side.map(|side| side.max(least)),
            window: usual.window,
        };
        Ok(Self {
            config,
            pictures,
            options,
            enough,
            shelf: None,
            spent: Duration::ZERO,
        })
    }

    /// Whether the encoder is measured after step `at`, and whether it is drawn.
    fn due(&self, at: u64, last: bool) -> (bool, bool) {
        let due = |every: u64| every > 0 && (last || at.is_multiple_of(every));
        let watch = &self.config.watch;
        let measured = self.enough && due(watch.probe_every);
        (measured, due(watch.pictures_every))
    }

    /// Whether anything is due after step `at`.
    pub fn any_due(&self, at: u64, last: bool) -> bool {
        let (measured, drawn) = self.due(at, last);
        measured || drawn
    }

    /// Measures and draws what is due after step `at` of the encoder that `weights` gives. There are no figures of an
    /// encoder whose tokens are not finite: the next step fails, and says why.
    ///
    /// # Errors
    /// If pictures cannot be read, or the drawing cannot be written.
    pub fn after(
        &mut self,
        at: u64,
        last: bool,
        folder: &RunFolder,
        weights: impl FnOnce() -> StateDict,
    ) -> Result<Option<Figures>, PretrainError> {
        let (measured, drawn) = self.due(at, last);
        if !measured && !drawn {
            return Ok(None);
        }
        let start = Instant::now();
        let PretrainConfig { model, crops, .. } = self.config;
        let (colours, usual) = (crops.normalisation(), self.config.usual());
        let encoder = Encoder::from_weights(model, &weights(), colours, usual)?;
        let mut figures = None;
        if measured {
            figures = match probe::probe(&encoder, &self.pictures, &self.options, &mut |_, _| {}) {
                Ok((figures, _)) => Some(figures),
                Err(ProbeError::NotFinite { .. }) => None,
                Err(e) => return Err(e.into()),
            };
        }
        if drawn {
            let shelf = match self.shelf.take() {
                Some(shelf) => shelf,
                None => Shelf::read(&self.pictures, self.config.seed)?,
            };
            let drawing = shelf.draw(&encoder, &self.options)?;
            folder.write_picture(at, &drawing)?;
            self.shelf = Some(shelf);
        }
        self.spent += start.elapsed();
        Ok(figures)
    }
}
