//! The encoder that a detector starts from.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use super::config::FinetuneConfig;
use crate::field::Normalisation;
use crate::nn::normalisation;
use crate::nn::stored;
use crate::nn::timm;
use crate::nn::vit::VitConfig;
use crate::nn::weights::{StateDict, WeightsError};
use crate::run::Source;

/// A trained encoder, and what its file says of it.
#[derive(Clone, Debug)]
pub struct Start {
    /// A run or a file, as given.
    given: PathBuf,
    /// The file that was read.
    path: PathBuf,
    /// BLAKE3 of the file.
    hash: String,
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
    pub fn read(given: &Path) -> Result<Self, WeightsError> {
        let (path, mut weights) = stored::read(given)?;
        let wrong = |reason| WeightsError::Format {
            path: path.clone(),
            reason,
        };
        let (mut model, mut registers, mut colours, mut window) = (None, None, None, None);
        if let Some((network, seen, usual)) = stored::notes(&weights.metadata).map_err(wrong)? {
            // An encoder of a detector, or of one window, has learnt where in the field pictures lie.
            (model, colours, window) = (Some(network), Some(seen), usual.window);
        } else if weights.tensors.contains_key("pos_embed") {
            model = Some(timm::adopt(&mut weights).map_err(wrong)?);
            window = Some(1.0);
        } else {
            // Not one of ours, without positions: the config must say what it is, but for what would be passed over.
            registers = Some(timm::registers(&mut weights).map_err(wrong)?);
            timm::known(&weights).map_err(wrong)?;
        }
        let hash = hash(&path).map_err(|source| WeightsError::Io {
            path: path.clone(),
            source,
        })?;
        Ok(Self {
            given: given.to_owned(),
            path,
            hash,
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
            config.put_on(model);
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

    /// For the notes of a run with this config.
    pub(super) fn source(&self, config: &FinetuneConfig) -> Source {
        Source::new(&self.given, self.about(config), self.hash.clone())
    }

    /// What a detector of this config starts from, in a line.
    pub fn described(&self, given: &FinetuneConfig) -> String {
        format!("{}: {}", self.path.display(), self.about(given))
    }

    /// The network, where pictures lie, and colours.
    fn about(&self, given: &FinetuneConfig) -> String {
        let FinetuneConfig { model, data, .. } = self.adopted(given.clone());
        let seen = data.normalisation();
        let origin = match self.colours {
            Some(own) if given.data.normalisation() == own => "as it was trained with",
            Some(_) => "as it was trained with, whatever data.mean and data.std say",
            None if seen == Normalisation::IMAGENET => {
                "as for ImageNet: the file does not say, and data.mean and data.std do not either"
            }
            None => "as data.mean and data.std say",
        };
        let window = match model.field {
            0 => String::new(),
            _ if data.window == given.data.window => {
                format!("window of the field: {}; ", data.window)
            }
            _ => format!(
                "window of the field: {}, whatever data.window says; ",
                data.window
            ),
        };
        let stopped = match stored::stopped_after(&self.weights) {
            Some(step) => format!("a pretraining that has done {step} steps, and not ended; "),
            None => String::new(),
        };
        format!(
            "{stopped}{} of {} blocks; {window}colours: mean {}, std {}, {origin}",
            model.arch,
            model.depth,
            normalisation::text(seen.mean),
            normalisation::text(seen.std)
        )
    }
}

fn hash(path: &Path) -> io::Result<String> {
    let mut hasher = blake3::Hasher::new();
    io::copy(&mut File::open(path)?, &mut hasher)?;
    Ok(hasher.finalize().to_string())
}
