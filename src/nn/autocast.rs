//! The precision of matrix products, for all operations of a scope: what PyTorch calls autocast.
//!
//! Weights, norms, losses and sums stay `f32`; only what enters a product is rounded. An operation's backward pass
//! uses the precision of its forward pass.

use std::cell::Cell;
use std::marker::PhantomData;

use intertwine_kernels::cpu;
pub use intertwine_kernels::gemm::Precision;
use serde::{Deserialize, Serialize};

thread_local! {
    static CURRENT: Cell<Precision> = const { Cell::new(Precision::F32) };
}

/// The precision of the operations that this thread starts now; `f32` outside every scope.
pub fn precision() -> Precision {
    CURRENT.get()
}

/// Ends with the value: the precision before applies again.
#[must_use = "the scope ends when this is dropped"]
pub struct Scope {
    before: Precision,
    // Belongs to the thread on which it began.
    not_send: PhantomData<*const ()>,
}

/// Products that this thread starts while the scope lives have this precision.
pub fn scope(precision: Precision) -> Scope {
    Scope {
        before: CURRENT.replace(precision),
        not_send: PhantomData,
    }
}

impl Drop for Scope {
    fn drop(&mut self) {
        CURRENT.set(self.before);
    }
}

/// The precision that a config asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Choice {
    /// `bf16` where the device has instructions for it, else `f32`; a run writes down which it was.
    #[default]
    Auto,
    /// Everything in `f32`.
    F32,
    /// Inputs of products rounded to `bf16`.
    Bf16,
}

impl Choice {
    /// `self`, or what `Auto` has meant before.
    pub fn gone_on(self, before: Option<Self>) -> Self {
        match self {
            Self::Auto => before.unwrap_or(self),
            given => given,
        }
    }

    /// `self`, or what `Auto` means on a device that has instructions for `bf16` or not.
    pub fn resolved(self, has_bf16: bool) -> Self {
        match self {
            Self::Auto if has_bf16 => Self::Bf16,
            Self::Auto => Self::F32,
            given => given,
        }
    }

    /// What to compute in; on this machine's CPU, if that is still open.
    pub fn precision(self) -> Precision {
        match self.resolved(cpu::path().has_bf16()) {
            Self::Bf16 => Precision::Bf16,
            _ => Precision::F32,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_nest_and_belong_to_their_thread() {
        assert_eq!(precision(), Precision::F32);
        let outer = scope(Precision::Bf16);
        {
            let _inner = scope(Precision::F32);
            assert_eq!(precision(), Precision::F32);
        }
        assert_eq!(precision(), Precision::Bf16);
        std::thread::spawn(|| assert_eq!(precision(), Precision::F32))
            .join()
            .unwrap();
        drop(outer);
        assert_eq!(precision(), Precision::F32);
    }

    #[test]
    fn a_choice_is_written_as_what_it_meant() {
        assert_eq!(Choice::Auto.resolved(true), Choice::Bf16);
        assert_eq!(Choice::Auto.resolved(false), Choice::F32);
        for given in [Choice::F32, Choice::Bf16] {
            assert_eq!(given.resolved(given == Choice::F32), given);
        }
    }
}
