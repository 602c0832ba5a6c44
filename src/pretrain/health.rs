//! Whether a run still learns something: collapse, told from the figures that every step gives.
//!
//! Let `p(k | x)` be what the teacher makes of a view `x`. The entropy of its mean over the batch less the mean of its
//! entropies is the information, in nats, that the prototypes hold about the view: at most `ln K`, and at most the
//! logarithm of the views in the batch. A falling loss says nothing of it (METHOD section 4): once all views give the
//! same output, predicting it is easy. So collapse is when the information stays near zero, or when the features are
//! the same for all views; how the outputs then look says why. The outputs are those of the head of whole pictures.

use std::fmt;

use super::config::{Centring, LossConfig};
use super::objective::Losses;

/// Information below this share of what is possible is none. Healthy runs begin above a fifth.
const LEAST_INFORMATION: f64 = 0.02;
/// A deviation of features below this is none; features spread over the sphere have 1.
const LEAST_SPREAD: f64 = 0.02;

/// What a run has shown lately; part of its state, so that it is resumed with the rest.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Health {
    /// Steps in a row with signs of collapse.
    pub sick: u64,
}

/// How a network has collapsed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Every prototype is equally likely, whatever the view.
    Uniform,
    /// One prototype, or a few, whatever the view.
    OnePrototype,
    /// The same mixture of prototypes, whatever the view.
    OneMixture,
    /// The features before the head are the same, whatever the view.
    OneFeature,
}

/// A collapse, with the evidence and what to change.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Collapse {
    /// How.
    pub kind: Kind,
    /// Steps in a row that showed it.
    pub lasted: u64,
    /// Figures of the last of them.
    pub losses: Losses,
    /// K.
    pub prototypes: usize,
    /// Views in the batch (or in each of its parts) that the figures are of.
    pub views: usize,
    centring: Centring,
    temperature: f32,
}

impl Health {
    /// Takes the figures of a step. Collapse is reported once its signs have lasted `patience` steps; never, if that
    /// is 0. `views` are those of a part of the batch, `temperature` is the teacher's of this step; the teacher's outputs are
    /// judged only if their head learns.
    pub fn after(
        &mut self,
        losses: &Losses,
        (prototypes, views): (usize, usize),
        head_learns: bool,
        config: &LossConfig,
        temperature: f32,
        patience: u64,
    ) -> Option<Collapse> {
        let kind = sign(losses, prototypes, views, head_learns);
        self.sick = if kind.is_some() { self.sick + 1 } else { 0 };
        let kind = kind.filter(|_| patience > 0 && self.sick >= patience)?;
        Some(Collapse {
            kind,
            lasted: self.sick,
            losses: *losses,
            prototypes,
            views,
            centring: config.centring,
            temperature,
        })
    }
}

impl Collapse {
    /// The setting with which the run goes on all the same.
    pub fn patience(&self) -> &'static str {
        match self.centring {
            // Nothing to wait for: a number is taken for at most a hundred steps.
            Centring::None => "watch.collapse_after=0",
            Centring::Ema | Centring::SinkhornKnopp => "watch.collapse_after=N, 0 for ever",
        }
    }
}

/// The most information there can be about a view.
fn most_information(prototypes: usize, views: usize) -> f64 {
    (prototypes.min(views) as f64).ln()
}

/// The sign of collapse in a step, if there is one. One view alone cannot show any, and outputs only if their head learns, which
/// it does from the loss between views.
fn sign(losses: &Losses, prototypes: usize, views: usize, head_learns: bool) -> Option<Kind> {
    if views < 2 {
        return None;
    }
    if losses.feature_std < LEAST_SPREAD {
        return Some(Kind::OneFeature);
    }
    let information = losses.mean_entropy - losses.teacher_entropy;
    if !head_learns || information >= LEAST_INFORMATION * most_information(prototypes, views) {
        return None;
    }
    let used = losses.mean_entropy / (prototypes as f64).ln();
    Some(match used {
        0.95.. => Kind::Uniform,
        ..0.2 => Kind::OnePrototype,
        _ => Kind::OneMixture,
    })
}

impl fmt::Display for Collapse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Losses {
            teacher_entropy,
            mean_entropy,
            feature_std,
            ..
        } = self.losses;
        let k = self.prototypes;
        let what = match self.kind {
            Kind::Uniform => "the teacher finds every prototype equally likely for every view",
            Kind::OnePrototype => "the teacher chooses the same prototypes for every view",
            Kind::OneMixture => "the teacher gives every view the same mixture of prototypes",
            Kind::OneFeature => "the encoder gives every view the same feature",
        };
        write!(
            f,
            "the network has collapsed, and has shown it for {} steps: {what}. Its outputs tell {:.3} of at most {:.2} \
             nats about a view (mean entropy {teacher_entropy:.3}, entropy of their mean {mean_entropy:.3}, ln {k} = \
             {:.3}); features deviate by {feature_std:.3} (1 if spread over the sphere). What helps: ",
            self.lasted,
            (mean_entropy - teacher_entropy).max(0.0),
            most_information(k, self.views),
            (k as f64).ln(),
        )?;
        let centring = match self.centring {
            Centring::None => "loss.centring = \"sinkhorn-knopp\" (it is \"none\")",
            Centring::Ema => "loss.centring = \"sinkhorn-knopp\" (it is \"ema\")",
            Centring::SinkhornKnopp => "a longer optim.warmup",
        };
        match self.kind {
            Kind::Uniform => write!(
                f,
                "a lower loss.teacher_temperature (it is {}), then {centring}",
                self.temperature
            ),
            Kind::OnePrototype | Kind::OneMixture => {
                write!(f, "{centring}, then a lower optim.lr")
            }
            Kind::OneFeature => write!(f, "a higher loss.koleo, a lower optim.lr, {centring}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::resolve;
    use crate::pretrain::config::PRESETS;
    use crate::pretrain::PretrainConfig;

    fn losses(teacher_entropy: f64, mean_entropy: f64, feature_std: f64) -> Losses {
        Losses {
            teacher_entropy,
            mean_entropy,
            feature_std,
            ..Losses::default()
        }
    }

    #[test]
    fn signs_are_told_apart() {
        // 1,024 prototypes, 128 views: at most ln 128 = 4.85 nats, and 0.02 of that is 0.097.
        let sign = |t, m, s| sign(&losses(t, m, s), 1024, 128, true);
        assert_eq!(sign(4.7, 6.9, 0.7), None);
        assert_eq!(sign(6.80, 6.9, 0.7), None, "0.1 nats are some");
        assert_eq!(sign(6.85, 6.9, 0.7), Some(Kind::Uniform));
        assert_eq!(sign(0.01, 0.02, 0.7), Some(Kind::OnePrototype));
        assert_eq!(sign(3.0, 3.05, 0.7), Some(Kind::OneMixture));
        assert_eq!(sign(4.7, 6.9, 0.01), Some(Kind::OneFeature));
        assert_eq!(super::sign(&losses(6.9, 6.9, 0.0), 1024, 1, true), None);
    }

    #[test]
    fn only_lasting_signs_count() {
        let config: PretrainConfig = resolve(PRESETS, "pico", None, &[]).unwrap();
        let mut health = Health::default();
        let mut after = |figures: &Losses, patience| {
            health.after(figures, (1024, 128), true, &config.loss, 1.0, patience)
        };
        let (sick, well) = (losses(6.9, 6.9, 0.7), losses(4.7, 6.9, 0.7));
        assert!((0..9).all(|_| after(&sick, 10).is_none()));
        assert!(after(&well, 10).is_none());
        assert!((0..9).all(|_| after(&sick, 10).is_none()));
        let text = after(&sick, 10).unwrap().to_string();
        for part in [
            "for 10 steps",
            "every prototype equally likely",
            "0.000 of at most 4.85",
            "teacher_temperature (it is 1)",
        ] {
            assert!(text.contains(part), "{part} is not in: {text}");
        }
        assert!((0..50).all(|_| after(&sick, 0).is_none()), "0 is never");
        let mut untrained =
            |figures: &Losses| health.after(figures, (1024, 128), false, &config.loss, 1.0, 10);
        assert!((0..50).all(|_| untrained(&sick).is_none()));
        let one_feature = losses(6.9, 6.9, 0.0);
        assert!((0..50).any(|_| untrained(&one_feature).is_some()));
    }

    #[test]
    fn without_centring_nothing_is_waited_for() {
        let patience = |settings: &[&str]| {
            let settings = Vec::from_iter(settings.iter().map(|s| String::from(*s)));
            let config: PretrainConfig = resolve(PRESETS, "vit-s-paper", None, &settings).unwrap();
            config.patience()
        };
        assert_eq!(patience(&[]), 5000);
        assert_eq!(patience(&["loss.centring=none"]), 100);
        assert_eq!(
            patience(&["loss.centring=none", "watch.collapse_after=0"]),
            0
        );
    }
}
