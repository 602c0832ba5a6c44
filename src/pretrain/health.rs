//! Whether a run still learns something: collapse, told from the figures that every step gives.
//!
//! A falling loss says nothing of it (METHOD section 4): once all views give the same output, predicting it is easy. So
//! collapse is when the information that a head's outputs hold ([`Entropy`]) stays near zero, or when the features are
//! the same for all views; how the outputs then look says why. Only heads that learn are judged.

use std::fmt;

use super::config::{Centring, LossConfig};
use super::entropy::Entropy;
use super::objective::Losses;

/// Information below this share of what is possible is none. Healthy runs begin above a fifth; that of the head of whole
/// pictures was never below 5.9% in 5,000 steps of eight pictures (docs/results.md).
const LEAST_INFORMATION: f64 = 0.02;
/// A deviation of features below this is none; features spread over the sphere have 1.
const LEAST_SPREAD: f64 = 0.02;
/// Views of one picture should agree: fewer pictures say nothing of others.
const LEAST_PICTURES: usize = 2;
/// Patches of one view may be alike: fewer in a part of a batch than some views have say nothing of others.
const LEAST_PATCHES: usize = 16;

/// What a run has shown lately; part of its state, so that it is resumed with the rest.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Health {
    /// Steps that showed a sign of collapse of each part, with none between that showed it well: features, then the heads of
    /// pictures, patches and positions.
    pub sick: [u64; Part::ALL.len()],
}

/// A part of the network that can collapse.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The features of CLS.
    Features,
    /// The head of whole pictures.
    Image,
    /// The head of masked patches.
    Patch,
    /// That of patches whose position is masked, if it is another.
    Position,
}

/// How it has collapsed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Every prototype is equally likely, whatever it is shown.
    Uniform,
    /// One prototype, or a few, whatever it is shown.
    OnePrototype,
    /// The same mixture of prototypes, whatever it is shown.
    OneMixture,
    /// The features before the heads are the same, whatever the view.
    OneFeature,
}

/// A collapse, with the evidence and what to change.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Collapse {
    /// Of what.
    pub part: Part,
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

/// What a step tells of a part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sign {
    /// It does not learn, or too little of it was seen.
    Nothing,
    Well,
    Sick(Kind),
}

impl Health {
    /// Takes the figures of a step. Collapse is reported once its signs have lasted `patience` steps; never, if that
    /// is 0. `pictures` are those of a part of the batch, `temperature` is the teacher's of this step.
    pub fn after(
        &mut self,
        losses: &Losses,
        (prototypes, pictures): (usize, usize),
        config: &LossConfig,
        temperature: f32,
        patience: u64,
    ) -> Option<Collapse> {
        let mut collapse = None;
        for (part, sick) in Part::ALL.into_iter().zip(&mut self.sick) {
            match part.sign(losses, prototypes, pictures) {
                Sign::Nothing => {}
                Sign::Well => *sick = 0,
                Sign::Sick(kind) => {
                    *sick += 1;
                    if patience > 0 && *sick >= patience {
                        collapse = collapse.or(Some(Collapse {
                            part,
                            kind,
                            lasted: *sick,
                            losses: *losses,
                            prototypes,
                            centring: config.centring,
                            temperature,
                        }));
                    }
                }
            }
        }
        collapse
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

impl Part {
    const ALL: [Self; 4] = [Self::Features, Self::Image, Self::Patch, Self::Position];

    /// Its outputs, if it is a head and has learnt from any in this step.
    fn entropy(self, losses: &Losses) -> Option<Entropy> {
        match self {
            Self::Features => None,
            Self::Image => losses.entropy.image,
            Self::Patch => losses.entropy.patch,
            Self::Position => losses.entropy.position,
        }
    }

    fn sign(self, losses: &Losses, prototypes: usize, pictures: usize) -> Sign {
        let rows = self.entropy(losses).map_or(0, |entropy| entropy.fewest);
        let seen = match self {
            Self::Features | Self::Image => pictures >= LEAST_PICTURES,
            Self::Patch | Self::Position => rows >= LEAST_PATCHES,
        };
        match self.entropy(losses) {
            _ if !seen => Sign::Nothing,
            None if self != Self::Features => Sign::Nothing,
            None if losses.feature_std < LEAST_SPREAD => Sign::Sick(Kind::OneFeature),
            Some(e) if e.information() < LEAST_INFORMATION * e.most => {
                Sign::Sick(match e.mean / (prototypes as f64).ln() {
                    0.95.. => Kind::Uniform,
                    ..0.2 => Kind::OnePrototype,
                    _ => Kind::OneMixture,
                })
            }
            _ => Sign::Well,
        }
    }

    /// What it is called, and what it is shown.
    fn names(self) -> (&'static str, &'static str) {
        match self {
            Self::Features => ("encoder", "view"),
            Self::Image => ("head of whole pictures", "view"),
            Self::Patch => ("head of patches", "patch"),
            Self::Position => ("head of positions", "patch"),
        }
    }
}

impl fmt::Display for Collapse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.kind {
            Kind::Uniform => "finds every prototype equally likely for",
            Kind::OnePrototype => "chooses the same prototypes for",
            Kind::OneMixture => "gives the same mixture of prototypes to",
            Kind::OneFeature => "gives the same feature to",
        };
        let (who, row) = self.part.names();
        write!(
            f,
            "the network has collapsed, and has shown it for {} steps: the teacher's {who} {what} every {row}. ",
            self.lasted,
        )?;
        if let Some(entropy) = self.part.entropy(&self.losses) {
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
    use crate::pretrain::entropy::Entropies;
    use crate::pretrain::PretrainConfig;

    /// Of outputs of 1,024 prototypes for 128 rows, that tell at most ln 128 = 4.85 nats; 0.02 of that is 0.097.
    fn entropy(each: f64, mean: f64) -> Option<Entropy> {
        Some(Entropy {
            each,
            mean,
            most: 128f64.ln(),
            rows: 128,
            fewest: 128,
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
        let image = |each, mean| Part::Image.sign(&losses(entropy(each, mean), 0.7), 1024, 64);
        assert_eq!(image(4.7, 6.9), Sign::Well);
        assert_eq!(image(6.80, 6.9), Sign::Well, "0.1 nats are some");
        assert_eq!(image(6.85, 6.9), Sign::Sick(Kind::Uniform));
        assert_eq!(image(0.01, 0.02), Sign::Sick(Kind::OnePrototype));
        assert_eq!(image(3.0, 3.05), Sign::Sick(Kind::OneMixture));
        let features = |std, pictures| Part::Features.sign(&losses(None, std), 1024, pictures);
        assert_eq!(features(0.7, 64), Sign::Well);
        assert_eq!(features(0.01, 64), Sign::Sick(Kind::OneFeature));
        assert_eq!(features(0.0, 1), Sign::Nothing);
    }

    /// Also where the others say much. One that does not learn is not asked, nor is one of a few patches or of one picture.
    #[test]
    fn each_head_that_learns_is_judged() {
        let (well, sick) = (entropy(4.7, 6.9), entropy(6.9, 6.9));
        let few = sick.map(|sick| Entropy { fewest: 15, ..sick });
        let signs = |[image, patch, position]: [Option<Entropy>; 3], pictures| {
            let entropy = Entropies {
                image,
                patch,
                position,
            };
            let losses = Losses {
                entropy,
                ..losses(None, 0.7)
            };
            Part::ALL.map(|part| part.sign(&losses, 1024, pictures))
        };
        let (nothing, is_well, is_sick) = (Sign::Nothing, Sign::Well, Sign::Sick(Kind::Uniform));
        let expected = [is_well, is_well, is_sick, nothing];
        assert_eq!(signs([well, sick, None], 64), expected);
        let expected = [is_well, nothing, is_well, is_sick];
        assert_eq!(signs([None, well, sick], 64), expected);
        let expected = [nothing, nothing, nothing, is_sick];
        assert_eq!(signs([sick, few, sick], 1), expected);
    }

    /// What `pico` says after each of these figures in turn, waiting ten steps.
    fn after<'a>(figures: impl IntoIterator<Item = &'a Losses>) -> Option<Collapse> {
        let config: PretrainConfig = resolve(PRESETS, "pico", None, &[]).unwrap();
        let mut health = Health::default();
        let figures = figures.into_iter();
        let said = figures.map(|f| health.after(f, (1024, 64), &config.loss, 1.0, 10));
        said.fold(None, Option::or)
    }

    #[test]
    fn only_lasting_signs_count() {
        let sick = &losses(entropy(6.9, 6.9), 0.7);
        let well = &losses(entropy(4.7, 6.9), 0.7);
        let nothing = &losses(None, 0.7);
        let one_feature = &losses(None, 0.0);
        assert_eq!(after([sick; 9]), None);
        assert_eq!(after([[sick; 9], [well; 9], [sick; 9]].concat()), None);
        // Two that are sick in turn are not one that lasts.
        assert_eq!(after([[sick; 9], [one_feature; 9]].concat()), None);
        let whole = after([sick; 10]).unwrap();
        let text = whole.to_string();
        for part in [
            "for 10 steps",
            "the teacher's head of whole pictures finds every prototype equally likely for every view",
            "0.000 of at most 4.85",
            "teacher_temperature (it is 1)",
        ] {
            assert!(text.contains(part), "{part} is not in: {text}");
        }
        // A step that tells nothing of it does not make it well.
        assert_eq!(
            after([[sick; 5], [nothing; 5], [sick; 5]].concat()),
            Some(whole)
        );
        let text = after([one_feature; 10]).unwrap().to_string();
        let said =
            "the teacher's encoder gives the same feature to every view. Features deviate by 0.000";
        assert!(text.contains(said), "{text}");

        let config: PretrainConfig = resolve(PRESETS, "pico", None, &[]).unwrap();
        let mut health = Health::default();
        let mut never = || health.after(sick, (1024, 64), &config.loss, 1.0, 0);
        assert!((0..50).all(|_| never().is_none()), "0 is never");
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
