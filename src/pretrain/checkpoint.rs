//! Everything a stopped run needs to go on as if it had never stopped.

use std::path::Path;

use super::centres::Centres;
use super::config::{OptimConfig, PretrainConfig};
use super::health::Health;
use super::network::Network;
use crate::augment::mask::PositionToken;
use crate::nn::arch::Arch;
use crate::nn::checkpoint::CheckpointError;
use crate::nn::optim::{decays, layer_scale, Group, Optimizer};
use crate::nn::weights::{StateDict, WeightsError};
use crate::nn::{Backend, Module};

const FORMAT: &str = "intertwine-pretrain-1";
/// Name of the signs of collapse in it.
const HEALTH: &str = "signs_of_collapse";
/// The note that identifies the labelled pictures.
const LABELS: &str = "labels";

/// What a run reads: it goes on with the same, or not at all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inputs {
    /// Identifies the pictures.
    pub data: String,
    /// Identifies the labelled pictures on which it is probed, if there are any.
    pub labels: Option<String>,
}

/// Of the encoder.
const POSITION_TOKEN: &str = "pos_mask_token";

/// What a parameter's learning rate is multiplied by (METHOD section 4, DINOv2's): heads and the last norm take the full rate,
/// each block `layer_decay` times that of what follows it, what makes the tokens the least.
fn rate(name: &str, config: &PretrainConfig) -> f32 {
    let OptimConfig {
        layer_decay,
        patch_rate,
        ..
    } = config.optim;
    match name.strip_prefix("vit.") {
        Some(POSITION_TOKEN) if config.mask.position_token == PositionToken::Zero => 0.0,
        Some(name) if !name.starts_with("norm.") => {
            let embedding = name.starts_with("patch_embed.");
            let scale = layer_decay * layer_scale(name, config.model.depth, layer_decay);
            scale * if embedding { patch_rate } else { 1.0 }
        }
        _ => 1.0,
    }
}

/// The moving parts of a run. The position in the data is `step * batch`; no generator has a state.
#[derive(Debug)]
pub struct State<A: Arch, D: Backend> {
    /// Learns.
    pub student: Network<A, D>,
    /// Follows.
    pub teacher: Network<A, D>,
    /// AdamW's averages.
    pub optimizer: Optimizer<D>,
    /// The teacher's centres.
    pub centres: Centres,
    /// Signs of collapse.
    pub health: Health,
    /// Steps done.
    pub step: u64,
}

impl<A: Arch, D: Backend> State<A, D> {
    /// Before the first step: the teacher is the student.
    pub fn new(dev: &D, config: &PretrainConfig) -> Self {
        let mut student = Network::new(dev, config);
        if config.mask.position_token == PositionToken::Zero {
            student.vit.walk_mut("", &mut |name, _, token| {
                if name == POSITION_TOKEN {
                    token.load(&vec![0.0; A::WIDTH]);
                }
            });
        }
        let optimizer = Optimizer::new(dev, &student, |name, sizes| Group {
            lr_scale: rate(name, config),
            decay: decays(name, sizes),
        });
        Self {
            teacher: student.clone(),
            student,
            optimizer,
            centres: Centres::new(config.head.prototypes, config.head.separate_position),
            health: Health::default(),
            step: 0,
        }
    }

    /// Writes the checkpoint, with the notes of an encoder's file: its teacher's can be looked at before the run ends.
    ///
    /// # Errors
    /// What the file system says.
    pub fn save(
        &self,
        path: &Path,
        config: &PretrainConfig,
        inputs: &Inputs,
    ) -> Result<(), WeightsError> {
        let mut dict = self.to_dict(inputs);
        config.note(&mut dict.metadata);
        dict.write(path)
    }

    /// All of it.
    pub(super) fn to_dict(&self, inputs: &Inputs) -> StateDict {
        let mut dict = StateDict::checkpoint(FORMAT, self.step, &inputs.data);
        if let Some(labels) = &inputs.labels {
            dict.metadata.insert(LABELS.into(), labels.clone());
        }
        dict.insert_module("student", &self.student);
        dict.insert_module("teacher", &self.teacher);
        dict.insert_optimizer(&self.optimizer, &self.student);
        for (name, centre) in self.centres.iter() {
            dict.insert_vector(&format!("centres.{name}"), &centre.mean);
        }
        // Exact below 2^24; beyond, the number no longer matters.
        dict.insert_vector(HEALTH, &self.health.sick.map(|steps| steps as f32));
        dict
    }

    /// Replaces the state by a checkpoint's.
    ///
    /// # Errors
    /// A damaged or foreign file, or one of other data. The state must then not be used.
    pub fn load(&mut self, path: &Path, inputs: &Inputs) -> Result<(), CheckpointError> {
        let (dict, _) = StateDict::read_checkpoint(path, FORMAT, &inputs.data)?;
        let problem = match (dict.metadata.get(LABELS), &inputs.labels) {
            (Some(then), Some(now)) if then != now => {
                "it was probed on another labelled set; resume with the run's own --labels"
            }
            (Some(_), None) => "it was probed on a labelled set; resume with the run's --labels",
            (None, Some(_)) => "it was probed on its own pictures; resume without --labels",
            _ => "",
        };
        if !problem.is_empty() {
            return Err(dict.foreign(problem.into()));
        }
        self.load_dict(&dict)
    }

    /// Replaces the state by what [`to_dict`](Self::to_dict) gave.
    pub(super) fn load_dict(&mut self, dict: &StateDict) -> Result<(), CheckpointError> {
        self.step = dict.number("step")?;
        dict.load_module("student", &mut self.student, |_| false)?;
        dict.load_module("teacher", &mut self.teacher, |_| false)?;
        dict.load_optimizer(&mut self.optimizer, &self.student)?;
        for (name, centre) in self.centres.iter_mut() {
            dict.load_vector(&format!("centres.{name}"), &mut centre.mean)?;
        }
        // A run that began when one number was kept for all goes on as if it had been well.
        if dict.tensors.contains_key(HEALTH) {
            let mut sick = self.health.sick.map(|_| 0.0);
            dict.load_vector(HEALTH, &mut sick)?;
            self.health.sick = sick.map(|steps| steps as u64);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use dfdx::prelude::Cpu;

    use super::*;
    use crate::config::resolve;
    use crate::nn::arch::Tiny;
    use crate::pretrain::config::PRESETS;

    #[test]
    fn a_checkpoint_of_before_the_signs_had_their_names_is_one_of_a_run_that_is_well() {
        let config: PretrainConfig = resolve(PRESETS, "pico", None, &[]).unwrap();
        let inputs = Inputs {
            data: "some".into(),
            labels: None,
        };
        let mut state = State::<Tiny, Cpu>::new(&Cpu::default(), &config);
        state.health.sick = [1, 2, 3, 4];
        let mut dict = state.to_dict(&inputs);
        let mut again = State::<Tiny, Cpu>::new(&Cpu::default(), &config);
        again.load_dict(&dict).unwrap();
        assert_eq!(again.health, state.health);
        dict.tensors.remove(HEALTH);
        let mut older = State::<Tiny, Cpu>::new(&Cpu::default(), &config);
        older.load_dict(&dict).unwrap();
        assert_eq!(older.health, Health::default());
    }

    #[test]
    fn rates_fall_towards_the_patches() {
        let set = [
            "model.depth=3",
            "optim.layer_decay=0.5",
            "optim.patch_rate=0.2",
        ];
        let config = resolve(PRESETS, "pico", None, &set.map(String::from)).unwrap();
        for (name, expected) in [
            ("image_head.prototypes", 1.0),
            ("patch_head.mlp.0.weight", 1.0),
            ("vit.norm.weight", 1.0),
            ("vit.blocks.2.attn.qkv.weight", 0.5),
            ("vit.blocks.0.norm1.weight", 0.125),
            ("vit.cls_token", 0.0625),
            ("vit.pos_field.weight", 0.0625),
            ("vit.patch_embed.proj.weight", 0.0125),
        ] {
            assert!((rate(name, &config) - expected).abs() < 1e-7, "{name}");
        }
        let plain = resolve(PRESETS, "pico", None, &[]).unwrap();
        assert_eq!(rate("vit.patch_embed.proj.weight", &plain), 1.0);
    }
}
