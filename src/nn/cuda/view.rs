//! Where a tensor of the GPU lies.
//!
//! dfdx keeps a tensor's buffer private. Of a gradient it gives the buffer, of a tensor only its `Debug` form, in which
//! the address is the first number after `cu_device_ptr`; that is read here, and in no other file.

use std::fmt::{self, Write};

use cudarc::driver::DevicePtr;
use dfdx::prelude::*;

use super::gpu::Address;

/// The buffer of a gradient.
pub type Buffer = <Cuda as Storage<f32>>::Vec;

/// The address of the first value. The caller knows that the tensor is contiguous: the fused operations make none that is
/// not, and stock ones that may (`permute`, `broadcast`) are followed by a `reshape` before a fused one.
///
/// # Panics
/// If dfdx's `Debug` form is not the one that this was written for.
pub fn address<S: Shape>(t: &Tensor<S, f32, Cuda>) -> Address {
    let mut found = Finder::default();
    // Ends with an error, on purpose, once the number is complete.
    let _ = write!(found, "{t:?}");
    found
        .number()
        .expect("dfdx prints a tensor's device pointer")
}

/// Listens for the name, then for digits until something else follows. It is asked for the addresses of thousands of
/// tensors a second, so it keeps no text.
#[derive(Default)]
struct Finder {
    named: bool,
    so_far: Option<Address>,
    complete: bool,
}

impl Finder {
    fn number(&self) -> Option<Address> {
        self.so_far.filter(|_| self.complete)
    }
}

impl Write for Finder {
    fn write_str(&mut self, s: &str) -> fmt::Result {
        if !self.named {
            self.named = s == "cu_device_ptr";
            return Ok(());
        }
        for c in s.chars() {
            match (c.to_digit(10), self.so_far) {
                (Some(digit), so_far) => {
                    self.so_far = Some(so_far.unwrap_or(0) * 10 + Address::from(digit));
                }
                (None, Some(_)) => {
                    self.complete = true;
                    return Err(fmt::Error);
                }
                (None, None) => {}
            }
        }
        Ok(())
    }
}

/// The address of a gradient, which is made of zeros if there is none yet.
pub fn grad<S: Shape>(
    g: &mut Gradients<f32, Cuda>,
    t: &Tensor<S, f32, Cuda>,
) -> Result<Address, CudaError> {
    Ok(*g.get_or_alloc_mut(t)?.device_ptr())
}

/// Takes the gradient of `t` out of the tape, leaving next to nothing behind: the last use of an output's gradient.
pub fn take_grad<S: Shape>(
    g: &mut Gradients<f32, Cuda>,
    t: &Tensor<S, f32, Cuda>,
) -> Result<Buffer, CudaError> {
    let nothing = Storage::<f32>::try_alloc_len(t.device(), 1)?;
    Ok(std::mem::replace(g.get_or_alloc_mut(t)?, nothing))
}

/// Where a buffer lies.
pub fn at(buffer: &Buffer) -> Address {
    *buffer.device_ptr()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_is_found_and_the_rest_not_listened_to() {
        let mut finder = Finder::default();
        let pieces = [
            "Tensor { id: ",
            "1",
            ", data: CudaSlice { ",
            "cu_device_ptr",
            ": ",
            "12",
            "34",
        ];
        for piece in pieces {
            assert!(finder.write_str(piece).is_ok());
            assert_eq!(finder.number(), None);
        }
        assert!(finder.write_str(", ").is_err());
        assert_eq!(finder.number(), Some(1234));
    }
}
