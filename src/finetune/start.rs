//! The encoder that a detector starts from.

use std::fmt;
use std::path::{Path, PathBuf};

use super::config::FinetuneConfig;
use crate::field::Normalisation;
use crate::nn::normalisation;
use crate::nn::timm;
use crate::nn::usual::Usual;
use crate::nn::vit::{self, VitConfig};
use crate::nn::weights::{StateDict, WeightsError};

/// A trained encoder, and what its file says of it.
#[derive(Clone, Debug)]
pub struct Start {
    path: PathBuf,
    pub(super) weights: StateDict,
    /// `None` where only the config of the fine-tuning can say.
    model: Option<VitConfig>,
    /// Its registers, where that is so.
    registers: Option<usize>,
    /// How its pictures were normalised; files of elsewhere do not say.
    colours: Option<Normalisation>,
    /// The part of the field, as a share of its side, in which pictures lie.
    window: Option<f64>,
}

impl Start {
    /// Reads an encoder: a run folder of ours, or a safetensors file, of ours or under timm's names.
    ///
    /// # Errors
    /// If the file cannot be read, or holds no encoder of widths that we have.
    pub fn read(path: &Path) -> Result<Self, WeightsError> {
        let path = if path.is_dir() {
            path.join("model.safetensors")
        } else {
            path.to_owned()
        };
        let mut weights = StateDict::read(&path)?;
        let wrong = |reason| WeightsError::Format {
            path: path.clone(),
            reason,
        };
        let (mut model, mut registers, mut colours, mut window) = (None, None, None, None);
        if let Some(text) = weights.metadata.get("model") {
            model = Some(vit::noted(text).map_err(wrong)?);
            colours = Some(normalisation::noted(&weights.metadata).map_err(wrong)?);
            // An encoder of a detector, or of one window, has learnt where in the field pictures lie.
            window = Usual::noted(&weights.metadata).map_err(wrong)?.window;
        } else if weights.tensors.contains_key("pos_embed") {
            model = Some(timm::adopt(&mut weights).map_err(wrong)?);
            window = Some(1.0);
        } else {
            // Not one of ours, without positions: the config must say what it is, but for what would be passed over.
            timm::known(&weights).map_err(wrong)?;
            registers = Some(timm::registers(&mut weights).map_err(wrong)?);
        }
        Ok(Self {
            path,
            weights,
            model,
            registers,
            colours,
            window,
        })
    }

    /// A config with the sizes of this encoder and with what it has learnt to see: what is resumed must be what was started.
    pub fn adopted(&self, mut config: FinetuneConfig) -> FinetuneConfig {
        if let Some(model) = &self.model {
            // A drop path is no part of a network, but of a training; and nothing is learnt of how wide a view is.
            let said = config.model.view;
            config.model = VitConfig {
                drop_path: config.model.drop_path,
                view: if said > 0 { said } else { model.view },
                ..model.clone()
            };
        }
        if let Some(registers) = self.registers {
            config.model.registers = registers;
        }
        if let Some(colours) = self.colours {
            config.data.normalise(colours);
        }
        if let Some(window) = self.window {
            config.data.window = window;
        }
        config
    }

    /// What a detector of this config starts from, in a line: the network, where pictures lie, and colours.
    pub fn described<'a>(&'a self, config: &'a FinetuneConfig) -> impl fmt::Display + 'a {
        struct Described<'a>(&'a Start, &'a FinetuneConfig);
        impl fmt::Display for Described<'_> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let Self(start, given) = self;
                let config = start.adopted((*given).clone());
                let seen = config.data.normalisation();
                let origin = if start.colours.is_none() {
                    if seen == Normalisation::IMAGENET {
                        "as for ImageNet: the file does not say, and data.mean and data.std do not either"
                    } else {
                        "as data.mean and data.std say"
                    }
                } else if given.data.normalisation() == seen {
                    "as it was trained with"
                } else {
                    "as it was trained with, whatever data.mean and data.std say"
                };
                write!(
                    f,
                    "{}: {} of {} blocks; ",
                    start.path.display(),
                    config.model.arch,
                    config.model.depth,
                )?;
                if config.model.field > 0 {
                    let window = config.data.window;
                    write!(f, "window of the field: {window}")?;
                    if window != given.data.window {
                        write!(f, ", whatever data.window says")?;
                    }
                    write!(f, "; ")?;
                }
                write!(
                    f,
                    "colours: mean {}, std {}, {origin}",
                    normalisation::text(seen.mean),
                    normalisation::text(seen.std)
                )
            }
        }
        Described(self, config)
    }
}
