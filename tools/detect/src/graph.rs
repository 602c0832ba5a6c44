//! The edge graph: `Frame > Letterbox > Model > Decode > Nms > Detections`.
//!
//! A picture enters together with a loan of the detector's buffers. Each stage uses its own and hands the
//! rest on, so the borrow checker proves that no stage touches what another is using, nothing is copied
//! between stages, and the graph allocates nothing of its own.

use image::RgbImage;
use intertwine_flow::chain::{Chain, Input, Then};
use intertwine_flow::{input, lending_stage, FlowError, Graph, Inline};

use crate::card::ModelCard;
use crate::engine::Engine;
use crate::error::DetectError;
use crate::letterbox::Letterbox;
use crate::postprocess::{Detection, Postprocessor, RawOutputs, Thresholds};
use crate::preprocess::Preprocessor;

/// What the postprocessing stages need.
pub(crate) struct Judge {
    pub card: ModelCard,
    pub thresholds: Thresholds,
    pub postprocessor: Postprocessor,
    pub detections: Vec<Detection>,
}

/// A picture on its way in, with the buffers of every stage.
pub struct Frame<'a> {
    pub(crate) picture: &'a RgbImage,
    pub(crate) preprocessor: &'a mut Preprocessor,
    pub(crate) engine: &'a mut Engine,
    pub(crate) judge: &'a mut Judge,
}

/// The input tensor is filled.
pub struct Prepared<'a> {
    letterbox: Letterbox,
    engine: &'a mut Engine,
    judge: &'a mut Judge,
}

/// The network has answered.
pub struct Answered<'a> {
    letterbox: Letterbox,
    raw: RawOutputs<'a>,
    judge: &'a mut Judge,
}

/// The candidates are ranked.
pub struct Ranked<'a>(Answered<'a>);

/// Resize, pad, normalise.
pub struct FitStage;
/// The network.
pub struct ModelStage;
/// Candidates above the threshold.
pub struct DecodeStage;
/// Non-maximum suppression and masks.
pub struct NmsStage;

lending_stage!(FitStage, "Letterbox", Frame => Prepared<'a>, DetectError, |frame| {
    let letterbox = frame.preprocessor.apply(frame.picture, frame.engine.input_mut()?)?;
    Ok(Prepared { letterbox, engine: frame.engine, judge: frame.judge })
});

lending_stage!(ModelStage, "Model", Prepared => Answered<'a>, DetectError, |prepared| {
    let raw = prepared.engine.run()?;
    Ok(Answered { letterbox: prepared.letterbox, raw, judge: prepared.judge })
});

lending_stage!(DecodeStage, "Decode", Answered => Ranked<'a>, DetectError, |answered| {
    let Judge { card, thresholds, postprocessor, .. } = &mut *answered.judge;
    postprocessor.decode(&answered.raw, card, &answered.letterbox, thresholds)?;
    Ok(Ranked(answered))
});

lending_stage!(NmsStage, "Nms", Ranked => &'a [Detection], DetectError, |ranked| {
    let Answered { letterbox, raw, judge } = ranked.0;
    let Judge { card, thresholds, postprocessor, detections } = judge;
    postprocessor.suppress(thresholds);
    postprocessor.finish(&raw, card, &letterbox, detections);
    Ok(detections.as_slice())
});

/// The wiring, as a type.
pub(crate) type Wiring = Then<Then<Then<Then<Input, FitStage>, ModelStage>, DecodeStage>, NmsStage>;

/// The graph, ready to be pushed.
pub(crate) type EdgeGraph = Inline<Wiring, <Wiring as Chain<Frame<'static>>>::Scratch>;

/// The graph, to be drawn or run.
pub(crate) fn edge_graph() -> Graph<Frame<'static>, Wiring> {
    input::<Frame<'static>>("Frame")
        .then(FitStage)
        .then(ModelStage)
        .then(DecodeStage)
        .then(NmsStage)
        .sink("Detections")
}

/// The stages' own error again: which stage it was, the error itself says.
pub(crate) fn unwrap_error(error: FlowError) -> DetectError {
    match error.source.downcast::<DetectError>() {
        Ok(own) => *own,
        Err(other) => DetectError::Run(format!("{}: {other}", error.stage)),
    }
}
