//! Whether a run still learns something: collapse, told from the figures that every step gives.
//!
//! A falling loss says nothing of it (METHOD section 4): once all views give the same output, predicting it is easy. So
//! collapse is when the information that a head's outputs hold ([`Entropy`]) stays near zero, or when the features are
//! the same for all views; how the outputs then look says why. Only heads that learn are judged.

use std::fmt;

use super::config::{Centring, LossConfig};
use super::entropy::Entropy;
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

/// A head of the teacher.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Head {
    /// Of whole pictures.
    Image,
    /// Of masked patches.
    Patch,
    /// Of patches whose position is masked, if it is another.
    Position,
}

/// How a network has collapsed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A head finds every prototype equally likely, whatever it is shown.
    Uniform(Head),
    /// A head chooses one prototype, or a few, whatever it is shown.
    OnePrototype(Head),
    /// A head gives the same mixture of prototypes, whatever it is shown.
    OneMixture(Head),
    /// The features before the heads are the same, whatever the view.
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
    centring: Centring,
    temperature: f32,
}

impl Health {
    /// Takes the figures of a step. Collapse is reported once its signs have lasted `patience` steps; never, if that
    /// is 0. `temperature` is the teacher's of this step.
    pub fn after(
        &mut self,
        losses: &Losses,
        prototypes: usize,
        config: &LossConfig,
        temperature: f32,
        patience: u64,
    ) -> Option<Collapse> {
        let kind = sign(losses, prototypes);
        self.sick = if kind.is_some() { self.sick + 1 } else { 0 };
        let kind = kind.filter(|_| patience > 0 && self.sick >= patience)?;
        Some(Collapse {
            kind,
            lasted: self.sick,
            losses: *losses,
            prototypes,
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

impl Head {
    const ALL: [Self; 3] = [Self::Image, Self::Patch, Self::Position];

    /// The figures of its outputs, if it learns.
    fn entropy(self, losses: &Losses) -> Option<Entropy> {
        match self {
            Self::Image => losses.entropy.image,
            Self::Patch => losses.entropy.patch,
            Self::Position => losses.entropy.position,
        }
    }

    /// Its name, and what it is shown.
    fn names(self) -> (&'static str, &'static str) {
        match self {
            Self::Image => ("head of whole pictures", "view"),
            Self::Patch => ("head of patches", "patch"),
            Self::Position => ("head of positions", "patch"),
        }
    }
}

/// The sign of collapse in a step, if there is one.
fn sign(losses: &Losses, prototypes: usize) -> Option<Kind> {
    if losses.feature_std < LEAST_SPREAD {
        return Some(Kind::OneFeature);
    }
    Head::ALL.into_iter().find_map(|head| {
        let entropy = head.entropy(losses)?;
        // A single row tells nothing, of itself or of others.
        let silent = entropy.most > 0.0 && entropy.information() < LEAST_INFORMATION * entropy.most;
        let used = entropy.mean / (prototypes as f64).ln();
        silent.then_some(match used {
            0.95.. => Kind::Uniform(head),
            ..0.2 => Kind::OnePrototype(head),
            _ => Kind::OneMixture(head),
        })
    })
}

impl fmt::Display for Collapse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (what, head) = match self.kind {
            Kind::Uniform(head) => ("finds every prototype equally likely for", Some(head)),
            Kind::OnePrototype(head) => ("chooses the same prototypes for", Some(head)),
            Kind::OneMixture(head) => ("gives the same mixture of prototypes to", Some(head)),
            Kind::OneFeature => ("gives the same feature to", None),
        };
        let (who, row) = head.map_or(("encoder", "view"), Head::names);
        write!(
            f,
            "the network has collapsed, and has shown it for {} steps: the teacher's {who} {what} every {row}. ",
            self.lasted,
        )?;
        if let Some(entropy) = head.and_then(|head| head.entropy(&self.losses)) {
            write!(
                f,
                "Its outputs tell {:.3} of at most {:.2} nats about a {row} (mean entropy {:.3}, entropy of their mean \
                 {:.3}, ln {} = {:.3}). ",
                entropy.information(),
                entropy.most,
                entropy.each,
                entropy.mean,
                self.prototypes,
                (self.prototypes as f64).ln(),
            )?;
        }
        write!(
            f,
            "Features deviate by {:.3} (1 if spread over the sphere). What helps: ",
            self.losses.feature_std
        )?;
        let centring = match self.centring {
            Centring::None => "loss.centring = \"sinkhorn-knopp\" (it is \"none\")",
            Centring::Ema => "loss.centring = \"sinkhorn-knopp\" (it is \"ema\")",
            Centring::SinkhornKnopp => "a longer optim.warmup",
        };
        match self.kind {
            Kind::Uniform(_) => write!(
                f,
                "a lower loss.teacher_temperature (it is {}), then {centring}",
                self.temperature
            ),
            Kind::OnePrototype(_) | Kind::OneMixture(_) => {
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
    use crate::pretrain::entropy::Entropies;
    use crate::pretrain::PretrainConfig;

    /// Of outputs of 1,024 prototypes for 128 rows, that tell at most ln 128 = 4.85 nats; 0.02 of that is 0.097.
    fn entropy(each: f64, mean: f64) -> Option<Entropy> {
        Some(Entropy {
            each,
            mean,
            most: 128f64.ln(),
            ..Entropy::default()
        })
    }

    fn losses(image: Option<Entropy>, feature_std: f64) -> Losses {
        Losses {
            entropy: Entropies {
                image,
                ..Entropies::default()
            },
            feature_std,
            ..Losses::default()
        }
    }

    #[test]
    fn signs_are_told_apart() {
        let sign = |each, mean, s| sign(&losses(entropy(each, mean), s), 1024);
        assert_eq!(sign(4.7, 6.9, 0.7), None);
        assert_eq!(sign(6.80, 6.9, 0.7), None, "0.1 nats are some");
        assert_eq!(sign(6.85, 6.9, 0.7), Some(Kind::Uniform(Head::Image)));
        assert_eq!(sign(0.01, 0.02, 0.7), Some(Kind::OnePrototype(Head::Image)));
        assert_eq!(sign(3.0, 3.05, 0.7), Some(Kind::OneMixture(Head::Image)));
        assert_eq!(sign(4.7, 6.9, 0.01), Some(Kind::OneFeature));
        let one_row = Entropy::of(&[0.5, 0.5], 2);
        assert_eq!(super::sign(&losses(one_row, 0.7), 2), None);
    }

    /// Also where the others say much; one that does not learn is not asked.
    #[test]
    fn each_head_that_learns_is_judged() {
        let (well, sick) = (entropy(4.7, 6.9), entropy(6.9, 6.9));
        let sign = |image, patch, position| {
            let entropy = Entropies {
                image,
                patch,
                position,
            };
            let losses = Losses {
                entropy,
                ..losses(None, 0.7)
            };
            super::sign(&losses, 1024)
        };
        assert_eq!(sign(well, well, well), None);
        assert_eq!(sign(well, sick, None), Some(Kind::Uniform(Head::Patch)));
        assert_eq!(sign(well, well, sick), Some(Kind::Uniform(Head::Position)));
        assert_eq!(sign(None, None, None), None);
    }

    #[test]
    fn only_lasting_signs_count() {
        let config: PretrainConfig = resolve(PRESETS, "pico", None, &[]).unwrap();
        let mut health = Health::default();
        let mut after =
            |figures: &Losses, patience| health.after(figures, 1024, &config.loss, 1.0, patience);
        let (sick, well) = (
            losses(entropy(6.9, 6.9), 0.7),
            losses(entropy(4.7, 6.9), 0.7),
        );
        assert!((0..9).all(|_| after(&sick, 10).is_none()));
        assert!(after(&well, 10).is_none());
        assert!((0..9).all(|_| after(&sick, 10).is_none()));
        let text = after(&sick, 10).unwrap().to_string();
        for part in [
            "for 10 steps",
            "the teacher's head of whole pictures finds every prototype equally likely for every view",
            "0.000 of at most 4.85",
            "teacher_temperature (it is 1)",
        ] {
            assert!(text.contains(part), "{part} is not in: {text}");
        }
        assert!((0..50).all(|_| after(&sick, 0).is_none()), "0 is never");
        let one_feature = losses(None, 0.0);
        let text = (0..50)
            .find_map(|_| after(&one_feature, 10))
            .unwrap()
            .to_string();
        let said =
            "the teacher's encoder gives the same feature to every view. Features deviate by 0.000";
        assert!(text.contains(said), "{text}");
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
