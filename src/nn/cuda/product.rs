//! Products of matrices, by cuBLAS.

use std::ffi::c_void;
use std::sync::PoisonError;

use cudarc::cublas::result as cublas;
use cudarc::cublas::sys::{
    cublasComputeType_t as Compute, cublasGemmAlgo_t as Algorithm, cublasOperation_t as Operation,
    cudaDataType_t as DataType,
};
use dfdx::prelude::CudaError;
use intertwine_kernels::gemm::Precision;

use super::gpu::{Address, Gpu};

static ONE: f32 = 1.0;

/// The strides of a product of row-major matrices: elements from a row to the next, and to the next of a batch.
#[derive(Clone, Copy, Debug)]
pub struct Operand {
    /// Where it begins.
    pub at: Address,
    /// From a row to the next.
    pub row: usize,
    /// From a matrix to the next of the batch.
    pub next: usize,
    /// Whether it is read transposed.
    pub transposed: bool,
}

impl Operand {
    /// A matrix whose rows of `row` values follow each other.
    pub fn new(at: Address, row: usize) -> Self {
        Self {
            at,
            row,
            next: 0,
            transposed: false,
        }
    }
    /// The same, read transposed.
    pub fn t(self) -> Self {
        Self {
            transposed: true,
            ..self
        }
    }
    /// The same in a batch of matrices so many elements apart.
    pub fn every(self, next: usize) -> Self {
        Self { next, ..self }
    }
    fn operation(self) -> Operation {
        if self.transposed {
            Operation::CUBLAS_OP_T
        } else {
            Operation::CUBLAS_OP_N
        }
    }
}

impl Gpu {
    /// `out = a b + beta * out` for each of a batch, of matrices `[m, k]` and `[k, n]`, row-major.
    ///
    /// # Safety
    /// The operands must lie in allocations that are large enough, and `out` must be none of the others.
    #[allow(clippy::too_many_arguments)]
    pub unsafe fn product(
        &self,
        [m, n, k]: [usize; 3],
        batch: usize,
        a: Operand,
        b: Operand,
        beta: f32,
        out: Operand,
        precision: Precision,
    ) -> Result<(), CudaError> {
        if m == 0 || n == 0 || batch == 0 {
            return Ok(());
        }
        let compute = match precision {
            Precision::F32 => Compute::CUBLAS_COMPUTE_32F,
            Precision::Bf16 => Compute::CUBLAS_COMPUTE_32F_FAST_16BF,
        };
        let f32 = DataType::CUDA_R_32F;
        self.device.bind_to_thread()?;
        let blas = self.blas.lock().unwrap_or_else(PoisonError::into_inner);
        let (handle, algorithm) = (*blas.handle(), Algorithm::CUBLAS_GEMM_DEFAULT);
        let (m, n, k) = (m as i32, n as i32, k as i32);
        let (alpha, beta) = ((&raw const ONE).cast(), (&raw const beta).cast());
        let (a_at, b_at) = (a.at as *const c_void, b.at as *const c_void);
        let out_at = out.at as *mut c_void;
        let (a_row, b_row, out_row) = (a.row as i32, b.row as i32, out.row as i32);
        let (ta, tb) = (a.operation(), b.operation());
        // cuBLAS reads columns: what it takes for the transposed product is this one.
        // SAFETY: the caller's. One product is not called a batch of one: for that cuBLAS does not cut long sums.
        unsafe {
            if batch == 1 {
                cublas::gemm_ex(
                    handle, tb, ta, n, m, k, alpha, b_at, f32, b_row, a_at, f32, a_row, beta,
                    out_at, f32, out_row, compute, algorithm,
                )
            } else {
                let [a_next, b_next, out_next] = [a, b, out].map(|o| o.next as i64);
                cublas::gemm_strided_batched_ex(
                    handle,
                    tb,
                    ta,
                    n,
                    m,
                    k,
                    alpha,
                    b_at,
                    f32,
                    b_row,
                    b_next,
                    a_at,
                    f32,
                    a_row,
                    a_next,
                    beta,
                    out_at,
                    f32,
                    out_row,
                    out_next,
                    batch as i32,
                    compute,
                    algorithm,
                )
            }
        }?;
        Ok(())
    }
}
