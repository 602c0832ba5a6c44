//! The network that is pretrained, as student and as teacher.

use super::config::{HeadSection, PretrainConfig};
use crate::module;
use crate::nn::arch::Arch;
use crate::nn::head::{HeadConfig, ProjectionHead};
use crate::nn::module::Init;
use crate::nn::vit::Vit;
use crate::nn::Backend;

/// An encoder and its projection heads.
#[derive(Clone, Debug)]
pub struct Network<A: Arch, D: Backend> {
    /// The encoder.
    pub vit: Vit<A, D>,
    /// On the CLS token, for the image loss.
    pub image_head: ProjectionHead<A::Width, D>,
    /// On patches, for the content loss and, by default, the position loss.
    pub patch_head: ProjectionHead<A::Width, D>,
    /// On patches, for the position loss alone.
    pub position_head: Option<ProjectionHead<A::Width, D>>,
}
module!([A: Arch, D: Backend] Network<A, D> { vit, image_head, patch_head, position_head });

impl<A: Arch, D: Backend> Network<A, D> {
    /// A fresh network.
    pub fn new(dev: &D, config: &PretrainConfig) -> Self {
        let mut init = Init::new(dev, config.seed);
        let HeadSection {
            hidden,
            bottleneck,
            prototypes,
            separate_position,
        } = config.head;
        let head = HeadConfig {
            hidden,
            bottleneck,
            prototypes,
        };
        let width = A::Width::default();
        Self {
            vit: Vit {
                recompute: config.optim.recompute,
                ..Vit::new(&mut init, &config.model)
            },
            image_head: ProjectionHead::new(&mut init, width, &head),
            patch_head: ProjectionHead::new(&mut init, width, &head),
            position_head: separate_position.then(|| ProjectionHead::new(&mut init, width, &head)),
        }
    }
}
