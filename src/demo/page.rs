//! The demo's report.

use std::path::Path;

use image::RgbImage;
use intertwine_detect::draw::draw;
use intertwine_detect::Detector;
use intertwine_flow::random::{stream, Purpose};

use super::Metrics;
use crate::augment::mask::MaskPlan;
use crate::augment::{MultiCrop, Scratch};
use crate::evaluate::Report as Score;
use crate::field::{View, Window};
use crate::pretrain::PretrainConfig;
use crate::probe::encoder::{Encoder, Shown};
use crate::report::pictures::{
    contact_sheet, enlarge, field_arrows, mask_overlay, pca_rgb, png, FeatureMap, MaskKind,
};
use crate::report::run::History;
use crate::report::{BarPlot, LinePlot, Report, Section, Table, Tile};

/// What the report is about.
pub struct Facts<'a> {
    pub out: &'a Path,
    pub metrics: &'a Metrics,
    pub pretraining: &'a PretrainConfig,
    pub window: f64,
    pub pretrained: &'a Score,
    pub scratch: &'a Score,
    pub unseen: &'a [RgbImage],
    pub graph: Option<&'a str>,
}

/// Writes the report.
pub fn write(facts: &Facts<'_>, detector: &mut Detector, path: &Path) -> anyhow::Result<()> {
    let m = facts.metrics;
    let number = |v: f64| format!("{v:.3}");
    let result = Section::new("What came out")
        .text("Scenes were drawn and packed; an encoder was pretrained on them without labels; a detector was fine-tuned on a few labelled scenes, once from the pretrained encoder and once from nothing, with the same budget; the detector was exported to ONNX and runs here as it would on a device. All figures are on scenes that no stage has seen.")
        .tiles([
            Tile::new("box AP50, pretrained", number(m.ap50)),
            Tile::new("box AP, pretrained", number(m.ap)).note(format!("from scratch {}", number(m.ap_scratch))),
            Tile::new("mask AP", number(m.mask_ap)),
            Tile::new("a picture", format!("{:.1} ms", m.detect_ms)).note("one thread, masks included"),
            Tile::new("pretraining", format!("{:.0} images/s", m.images_per_s_pretrain)),
            Tile::new("export against training", format!("{:.1e}", m.export_max_abs_diff)).note("largest difference"),
        ]);
    let classes = detector.card().classes.clone();
    let found = facts
        .unseen
        .iter()
        .map(|picture| Ok(draw(picture, detector.detect(picture)?, &classes)))
        .collect::<Result<Vec<_>, intertwine_detect::DetectError>>()?;
    crate::files::save(
        &facts.out.join("detections.png"),
        &png(&contact_sheet(&found, 4))?,
    )?;
    let detections = Section::new("Detections on unseen pictures")
        .text("Boxes, classes and masks above the display threshold.")
        .picture(contact_sheet(&found, 4), "what the exported detector finds");

    let scores = Section::new("Average precision")
        .bar_plot(["AP", "AP50", "AP75"].iter().enumerate().fold(
            BarPlot::new("Boxes, COCO's definition", ["pretrained", "from scratch"]),
            |plot, (i, name)| {
                plot.group(
                    *name,
                    [
                        facts.pretrained.first.stats[i],
                        facts.scratch.first.stats[i],
                    ],
                )
            },
        ))
        .table(
            facts
                .pretrained
                .first
                .per_category
                .iter()
                .zip(&facts.scratch.first.per_category)
                .fold(
                    Table::new(["class", "AP pretrained", "AP from scratch"]),
                    |table, (a, b)| table.row([a.name.clone(), number(a.ap), number(b.ap)]),
                ),
        );

    let [pretraining, finetuned, scratch] =
        ["pretrain", "finetuned", "scratch"].map(|run| History::read(&facts.out.join(run)));
    let training = Section::new("Training")
        .line_plot(
            [
                ("image", "image"),
                ("content", "content"),
                ("position", "position"),
                ("KoLeo", "koleo"),
            ]
            .iter()
            .fold(
                LinePlot::new("Pretraining: the parts of the loss").axes("step", "nats"),
                |plot, (label, key)| plot.series(*label, pretraining.curve(key)),
            ),
        )
        .line_plot(
            LinePlot::new("The teacher: entropy of each output, and of the mean output")
                .axes("step", "nats")
                .series("views: of each", pretraining.curve("entropy.image.each"))
                .series(
                    "views: of the mean",
                    pretraining.curve("entropy.image.mean"),
                )
                .series("patches: of each", pretraining.curve("entropy.patch.each"))
                .series(
                    "patches: of the mean",
                    pretraining.curve("entropy.patch.mean"),
                ),
        )
        .line_plot(
            LinePlot::new("Fine-tuning: box AP on the way")
                .axes("step", "AP")
                .series("pretrained", finetuned.curve("ap"))
                .series("from scratch", scratch.curve("ap")),
        )
        .line_plot(
            LinePlot::new("Fine-tuning: loss")
                .axes("step", "loss")
                .series("pretrained", finetuned.curve("loss"))
                .series("from scratch", scratch.curve("loss")),
        );

    let report = Report::new("Intertwine: the whole way")
        .section(result)
        .section(detections)
        .section(scores)
        .section(training)
        .section(crops(facts)?)
        .section(features(facts)?);
    let graph = facts.graph.map(|graph| {
        Section::new("The data graph of pretraining")
            .text("Mermaid, with what each stage counted.")
            .code(graph)
    });
    graph
        .into_iter()
        .fold(report, Report::section)
        .write(path)?;
    Ok(())
}

/// Views of two pictures: the field as arrows, and masks.
fn crops(facts: &Facts<'_>) -> anyhow::Result<Section> {
    let config = facts.pretraining;
    let multi_crop = MultiCrop::new(config.crops.clone())?;
    let arrows = |view: &View| {
        let positions: Vec<[f32; 2]> = view.geometry().positions(view.grid()).collect();
        field_arrows(
            &view.to_rgb(),
            (view.grid().height, view.grid().width),
            &positions,
        )
    };
    let mut pictures = Vec::new();
    for (i, picture) in facts.unseen.iter().take(2).enumerate() {
        let mut rng = stream(config.seed, Purpose::Probe, 0, i as u64);
        let views = multi_crop.apply(picture, &mut rng, &mut Scratch::default())?;
        pictures.push((enlarge(picture, 4), "a picture".to_owned()));
        for view in views.globals.iter().take(1) {
            pictures.push((
                arrows(view),
                "a global crop and where it lies in the field".to_owned(),
            ));
        }
        for view in views.locals.iter().take(1) {
            pictures.push((
                arrows(view),
                "a local crop and where it lies in the field".to_owned(),
            ));
        }
        let view = &views.globals[0];
        let plan = MaskPlan::new(
            &crate::augment::mask::MaskConfig {
                probability: 1.0,
                ratio: [0.3, 0.4],
                ..config.mask.clone()
            },
            (8, 1),
            1,
            0,
            i as u64,
        );
        for v in 0..8 {
            let mask = plan.mask(v, view.grid());
            let (kind, patches, caption) = match (mask.content(), mask.position()) {
                ([], []) => continue,
                ([], p) => (MaskKind::Position, p, "patches whose position is hidden"),
                (c, _) => (MaskKind::Content, c, "patches whose content is hidden"),
            };
            if (i == 0) != (kind == MaskKind::Content) {
                continue;
            }
            let mut hidden = vec![false; view.grid().len()];
            patches.iter().for_each(|&p| hidden[p as usize] = true);
            let grid = (view.grid().height, view.grid().width);
            pictures.push((
                mask_overlay(&view.to_rgb(), grid, &hidden, kind),
                caption.to_owned(),
            ));
            break;
        }
    }
    Ok(Section::new("What the student sees")
        .text("Every crop is cut from the picture and from the position field alike; an arrow points from the field's centre to where a patch lies in it. The student loses the content of some patches of a crop, or their position, and predicts both in feature space.")
        .pictures(pictures))
}

/// Patch features before and after pretraining, as colours.
fn features(facts: &Facts<'_>) -> anyhow::Result<Section> {
    let config = facts.pretraining;
    let weights = facts.out.join("pretrain/model.safetensors");
    let side = 2 * facts.unseen.first().map_or(64, RgbImage::width);
    let window = Window::centred(facts.window);
    let colours = |encoder: &Encoder| -> RgbImage {
        let grid = (side as usize / encoder.patch()).max(1);
        let shown = |picture| Shown {
            picture,
            window,
            masked: Vec::new(),
        };
        let shown: Vec<Shown<'_>> = facts.unseen.iter().map(shown).collect();
        let width = encoder.width();
        let tokens = encoder.tokens(&shown, grid);
        let views: Vec<FeatureMap> = tokens
            .chunks_exact((grid * grid + 1) * width)
            .map(|tokens| FeatureMap {
                features: &tokens[width..],
                rows: grid,
                columns: grid,
            })
            .collect();
        contact_sheet(&pca_rgb(&views, width, 8), 8)
    };
    let fresh = Encoder::fresh(&config.model, config.crops.normalisation(), config.seed)?;
    let pictures: Vec<RgbImage> = facts.unseen.iter().map(|p| enlarge(p, 2)).collect();
    Ok(Section::new("Features before and after pretraining")
        .text("The first three principal components of the patch features as red, green and blue: equal colours mean equal features. No label was seen.")
        .pictures([
            (contact_sheet(&pictures, 8), "pictures".to_owned()),
            (colours(&fresh), "before: random weights".to_owned()),
            (
                colours(&Encoder::open(&weights)?),
                "after pretraining".to_owned(),
            ),
        ]))
}
