//! Where a training computes.

use dfdx::prelude::Cpu;

use super::Backend;

/// A kind of device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Device {
    /// This machine's processor
    #[default]
    Cpu,
    /// An NVIDIA GPU: the first of those that CUDA_VISIBLE_DEVICES leaves
    Cuda,
}

/// Why a device cannot be used.
#[derive(Clone, Debug, thiserror::Error)]
pub enum DeviceError {
    /// The feature is missing.
    #[cfg(not(feature = "cuda"))]
    #[error("this program was built for CPUs alone; `cargo build --release --features cuda` builds one that can use an NVIDIA GPU")]
    NotBuilt,
    /// The GPU is missing.
    #[cfg(feature = "cuda")]
    #[error(transparent)]
    NoGpu(#[from] super::cuda::gpu::NoGpu),
    /// It is too small.
    #[cfg(feature = "cuda")]
    #[error(transparent)]
    MemoryFull(#[from] super::cuda::MemoryFull),
}

/// What is to be done with a device of whatever kind.
pub trait WithDevice {
    /// What it gives.
    type Output;
    /// Does it.
    fn run<D: Backend>(self, dev: &D) -> Self::Output;
}

impl Device {
    /// Does something with a device of this kind.
    ///
    /// # Errors
    /// If there is none, or its memory is full.
    pub fn with<W: WithDevice>(self, what: W) -> Result<W::Output, DeviceError> {
        match self {
            Self::Cpu => Ok(what.run(&Cpu::default())),
            #[cfg(feature = "cuda")]
            Self::Cuda => {
                let dev = super::cuda::device()?;
                Ok(super::cuda::within_memory(|| what.run(&dev))?)
            }
            #[cfg(not(feature = "cuda"))]
            Self::Cuda => Err(DeviceError::NotBuilt),
        }
    }
}
