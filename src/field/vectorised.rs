//! Loops compiled for the vectors of the CPU they run on.

/// Runs `f`, compiled once for each vector width and chosen by what the CPU has. The closure has to be
/// `#[inline(always)]`, and so has all it calls, to be compiled along.
///
/// Nothing is contracted or reordered by this: the result is the same for any width.
#[inline(always)]
pub(crate) fn vectorised<R>(f: impl FnMut() -> R) -> R {
    /// Called as `FnMut`, which is the closure's body itself. As `FnOnce`, which `pulp` takes closures
    /// for, it would be a shim around the body, which is not inlined and so knows no wide vectors.
    struct Call<F>(F);
    impl<R, F: FnMut() -> R> pulp::NullaryFnOnce for Call<F> {
        type Output = R;

        #[inline(always)]
        fn call(mut self) -> R {
            (self.0)()
        }
    }
    pulp::Arch::new().dispatch(Call(f))
}
