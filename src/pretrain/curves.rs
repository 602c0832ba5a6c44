//! The curves of a run's report.

use crate::report::run::Curves;

/// Each plot: title, unit, and the curves in it with their keys in `metrics.jsonl`.
pub(super) const PLOTS: &[Curves<'static>] = &[
    (
        "Loss, and its parts before they are weighted",
        "nats",
        &[
            ("sum", "loss"),
            ("image", "image"),
            ("content", "content"),
            ("position", "position"),
            ("KoLeo", "koleo"),
        ],
    ),
    (
        "The teacher's entropy, of each output and of the mean output; at collapse the two coincide",
        "nats",
        &[
            ("views: of each", "entropy.image.each"),
            ("views: of the mean", "entropy.image.mean"),
            ("patches: of each", "entropy.patch.each"),
            ("patches: of the mean", "entropy.patch.mean"),
            ("positions: of each", "entropy.position.each"),
            ("positions: of the mean", "entropy.position.mean"),
        ],
    ),
    (
        "Spread of the features; near 0 at collapse",
        "deviation",
        &[("features", "feature_std")],
    ),
    (
        "Class of a picture told by its neighbours, and by a linear fit",
        "share",
        &[
            ("20 nearest by CLS", "probe.knn"),
            ("20 nearest by mean of patches", "probe.knn_patches"),
            ("linear", "probe.linear"),
        ],
    ),
    (
        "Effective rank of the features",
        "dimensions",
        &[("CLS", "probe.rank_cls"), ("patches", "probe.rank_patches")],
    ),
    (
        "Place of a patch, read off its feature",
        "R^2",
        &[
            ("its position seen", "probe.position_visible"),
            ("its position masked", "probe.position_masked"),
        ],
    ),
    (
        "Patches with masked position that are found among all places; by chance one in as many as there are",
        "share",
        &[("found", "probe.position_retrieved")],
    ),
    (
        "What CLS varies with, and how often it is found again in another window",
        "share",
        &[
            ("picture", "probe.shortcut.picture"),
            ("window", "probe.shortcut.window"),
            ("found again", "probe.shortcut.retrieved"),
        ],
    ),
    ("Gradient", "norm", &[("gradient", "grad_norm")]),
    (
        "The teacher's centres",
        "norm",
        &[
            ("image", "centre_image"),
            ("patch", "centre_patch"),
            ("position", "centre_position"),
        ],
    ),
    ("Learning rate", "rate", &[("lr", "lr")]),
];
