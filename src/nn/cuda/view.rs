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
/// not, and a stock one that may (`permute`) is followed by a `reshape` before a fused one.
///
/// # Panics
/// If the tensor is a broadcast view, which has fewer values than its shape says; or if dfdx's `Debug` form is not the one
/// that this was written for.
pub fn address<S: Shape>(t: &Tensor<S, f32, Cuda>) -> Address {
    let mut found = Finder::default();
    // Ends with an error, on purpose, once both numbers are complete.
    let _ = write!(found, "{t:?}");
    let (address, len) = found
        .both()
        .expect("dfdx prints a tensor's device pointer and length");
    let shape = t.shape();
    assert_eq!(len, shape.num_elements() as u64, "values of {shape:?}");
    address
}

/// What the numbers stand behind, in order.
const NAMES: [&str; 2] = ["cu_device_ptr", "len"];

/// Listens for each name, then for digits until something else follows. It is asked for the addresses of thousands of
/// tensors a second, so it keeps no text.
#[derive(Default)]
struct Finder {
    /// Numbers that are complete.
    complete: usize,
    /// Whether the next number's name was heard.
    named: bool,
    numbers: [Option<u64>; 2],
}

impl Finder {
    fn both(&self) -> Option<(Address, u64)> {
        match self.numbers {
            [Some(address), Some(len)] if self.complete == 2 => Some((address, len)),
            _ => None,
        }
    }
}

impl Write for Finder {
    fn write_str(&mut self, s: &str) -> fmt::Result {
        if !self.named {
            self.named = s == NAMES[self.complete];
            return Ok(());
        }
        let number = &mut self.numbers[self.complete];
        for c in s.chars() {
            match (c.to_digit(10), *number) {
                (Some(digit), so_far) => {
                    *number = Some(so_far.unwrap_or(0) * 10 + u64::from(digit));
                }
                (None, Some(_)) => {
                    self.complete += 1;
                    self.named = false;
                    return if self.complete == NAMES.len() {
                        Err(fmt::Error)
                    } else {
                        Ok(())
                    };
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
    fn the_numbers_are_found_and_the_rest_not_listened_to() {
        #[derive(Debug)]
        #[allow(dead_code)]
        struct CudaSlice {
            cu_device_ptr: u64,
            len: usize,
            device: Rest,
        }
        struct Rest;
        impl fmt::Debug for Rest {
            fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
                panic!("this far it should not be read")
            }
        }
        let slice = CudaSlice {
            cu_device_ptr: 140_123_456_789_012,
            len: 35,
            device: Rest,
        };
        let mut finder = Finder::default();
        assert!(write!(finder, "Tensor {{ id: 7, data: {slice:?} }}").is_err());
        assert_eq!(finder.both(), Some((140_123_456_789_012, 35)));
    }
}
