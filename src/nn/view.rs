//! Looking at a CPU tensor's memory without copying it.
//!
//! dfdx keeps a tensor's buffer private: its public API copies out or indexes one element at a time.
//! The fused operations need slices, so this file, and no other in `nn`, makes them from the address of
//! the first element. The elements behind it are of the same allocation, but not of the reference that it
//! is taken from, which Miri's model of aliasing (Stacked Borrows) would not allow; dfdx offers no other way.

use dfdx::prelude::*;

/// The values of a tensor in row-major order.
///
/// # Panics
/// If the tensor is not contiguous (a broadcast or permuted view); the fused operations never make one.
pub fn slice<S: Shape, T>(t: &Tensor<S, f32, Cpu, T>) -> &[f32] {
    let len = checked_len(t);
    if len == 0 {
        return &[];
    }
    let first: *const f32 = &t[S::Concrete::default()];
    // SAFETY: the tensor is contiguous (checked above), so its `len` elements follow the first one in
    // the same initialised `Vec<f32>`, which the tensor keeps alive and unmodified while it is borrowed.
    unsafe { std::slice::from_raw_parts(first, len) }
}

/// The values of a tensor, to be changed in place; unshares the buffer first, as dfdx does.
///
/// # Panics
/// As [`slice`].
pub fn slice_mut<S: Shape>(t: &mut Tensor<S, f32, Cpu>) -> &mut [f32] {
    let len = checked_len(t);
    if len == 0 {
        return &mut [];
    }
    let first: *mut f32 = &mut t[S::Concrete::default()];
    // SAFETY: as in `slice`; `IndexMut` has made the buffer unique to this tensor, which is borrowed
    // mutably for as long as the slice lives.
    unsafe { std::slice::from_raw_parts_mut(first, len) }
}

/// The number of elements, after checking through the addresses that they lie in row-major order
/// (dfdx does not tell its strides either).
fn checked_len<S: Shape, T>(t: &Tensor<S, f32, Cpu, T>) -> usize {
    let sizes = t.shape().concrete();
    let len = t.shape().num_elements();
    if len == 0 {
        return 0;
    }
    let first = &t[S::Concrete::default()] as *const f32 as usize;
    let mut stride = 1;
    for axis in (0..S::NUM_DIMS).rev() {
        if sizes[axis] > 1 {
            let mut second = S::Concrete::default();
            second[axis] = 1;
            let step = (&t[second] as *const f32 as usize).wrapping_sub(first);
            assert!(
                step == stride * size_of::<f32>(),
                "a fused operation got a strided tensor of shape {sizes:?} (axis {axis})"
            );
        }
        stride *= sizes[axis];
    }
    len
}

/// Takes the gradient of `t` out of the tape, leaving nothing behind: the last use of an output's gradient.
pub fn take_grad<S: Shape>(
    g: &mut Gradients<f32, Cpu>,
    t: &Tensor<S, f32, Cpu>,
) -> Result<Vec<f32>, CpuError> {
    Ok(std::mem::take(&mut **g.get_or_alloc_mut(t)?))
}

/// Puts back what [`take_grad`] took, after more has been added to it.
pub fn put_grad<S: Shape>(
    g: &mut Gradients<f32, Cpu>,
    t: &Tensor<S, f32, Cpu>,
    grad: Vec<f32>,
) -> Result<(), CpuError> {
    **g.get_or_alloc_mut(t)? = grad;
    Ok(())
}
