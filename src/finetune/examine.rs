//! How good a detector is while it learns, and at the end: average precision on pictures that it does not learn from, of the
//! file that ships.

use std::ops::ControlFlow;
use std::path::Path;
use std::time::{Duration, Instant};

use intertwine_datasets::PackedSet;
use serde::Serialize;

use super::error::FinetuneError;
use super::train::{Progress, Tell};
use crate::evaluate::model::{evaluate_detector, ScoreError};
use crate::evaluate::Report;
use crate::export::ParityReport;
use crate::run::{Interrupt, RunFolder};

/// Evaluates, if there is something to evaluate on, and tells how far it is.
pub(super) struct Examiner<'a> {
    val: Option<&'a PackedSet>,
    interrupt: &'a Interrupt,
    pub tell: Tell<'a>,
    /// What it took so far.
    pub spent: Duration,
}

/// The figures that are told while a run learns, and go into its metrics; none of what is not labelled.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Brief {
    /// Average precision of boxes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ap: Option<f64>,
    /// The same at an IoU of 0.50.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ap50: Option<f64>,
    /// Average precision of masks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mask_ap: Option<f64>,
}

impl From<&Report> for Brief {
    fn from(report: &Report) -> Self {
        // -1 is COCO's word for nothing to find.
        let known = |ap: f64| Some(ap).filter(|ap| *ap >= 0.0);
        let [ap, ap50, ..] = report.first.stats.map(known);
        let masks = report.masks.as_ref();
        Self {
            ap,
            ap50,
            mask_ap: masks.and_then(|masks| known(masks.stats[0])),
        }
    }
}

impl<'a> Examiner<'a> {
    pub fn new(val: Option<&'a PackedSet>, interrupt: &'a Interrupt, tell: Tell<'a>) -> Self {
        Self {
            val,
            interrupt,
            tell,
            spent: Duration::ZERO,
        }
    }

    /// The figures of the detector as it is now, which `export` writes; none if there is nothing to evaluate on, or it was
    /// asked to stop meanwhile.
    ///
    /// # Errors
    /// If it cannot be exported or evaluated.
    pub fn on_the_way(
        &mut self,
        folder: &RunFolder,
        export: impl FnOnce(&Path) -> Result<ParityReport, FinetuneError>,
    ) -> Result<Option<Brief>, FinetuneError> {
        if self.val.is_none() {
            return Ok(None);
        }
        let start = Instant::now();
        // Not where the finished detector will be: a run that has not ended has none.
        let path = folder.path().join("checkpoints/evaluated.onnx");
        export(&path)?;
        let report = self.evaluate(&path)?;
        // If it stays, the next one is written over it.
        let _ = std::fs::remove_file(&path);
        self.spent += start.elapsed();
        Ok(report.as_ref().map(Brief::from))
    }

    /// The figures of the finished detector, kept in `evaluation.json`; none as [`Self::on_the_way`].
    ///
    /// # Errors
    /// If it cannot be evaluated, or the file cannot be written.
    pub fn at_the_end(
        &mut self,
        folder: &RunFolder,
        model: &Path,
    ) -> Result<Option<Report>, FinetuneError> {
        let start = Instant::now();
        let Some(report) = self.evaluate(model)? else {
            return Ok(None);
        };
        let path = folder.path().join("evaluation.json");
        let json = serde_json::to_vec_pretty(&report).expect("figures are plain data");
        intertwine_files::own_bytes(&path, &json)
            .map_err(|source| FinetuneError::Write { path, source })?;
        self.spent += start.elapsed();
        Ok(Some(report))
    }

    fn evaluate(&mut self, model: &Path) -> Result<Option<Report>, ScoreError> {
        let Some(val) = self.val else {
            return Ok(None);
        };
        let Self {
            interrupt, tell, ..
        } = self;
        let report = evaluate_detector(model, val, &mut |seen, pictures| {
            tell(Progress::Evaluated {
                seen: seen as u64,
                pictures: pictures as u64,
            });
            match interrupt.requested() {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            }
        });
        match report {
            Err(ScoreError::Stopped) => Ok(None),
            report => report.map(Some),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::config::WatchConfig;

    #[test]
    fn evaluations_are_spread_evenly_and_none_is_at_an_end() {
        let due = |evaluations, steps| -> Vec<u64> {
            let watch = WatchConfig { evaluations };
            (0..=steps)
                .filter(|step| watch.is_due(*step, steps))
                .collect()
        };
        assert_eq!(due(4, 10), [2, 4, 6, 8]);
        assert_eq!(due(3, 10), [3, 5, 8]);
        assert!(due(0, 10).is_empty());
        assert!(due(1, 1).is_empty());
        // Not more often than there are steps.
        assert_eq!(due(u64::MAX, 4), [1, 2, 3]);
    }
}
