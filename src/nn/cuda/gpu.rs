//! The GPU that kernels and matrix products run on.
//!
//! dfdx has a device of its own; this one is the same GPU (number 0 of those that `CUDA_VISIBLE_DEVICES` leaves), in the
//! same context and on the same stream (what dfdx starts beside it, it waits for), so that what both start runs in order.

use std::collections::HashMap;
use std::ffi::{c_void, CString};
use std::fmt::Debug;
use std::sync::{Arc, Mutex, OnceLock};

use cudarc::cublas::CudaBlas;
use cudarc::driver::sys::{self, CUdevice_attribute as Attribute, CUfunction};
use cudarc::driver::{result, CudaDevice, CudaSlice, DevicePtr, DeviceRepr};
use cudarc::nvrtc::{compile_ptx_with_opts, CompileOptions};
use dfdx::prelude::CudaError;

/// The address of values on the GPU; 0 for none.
pub type Address = u64;

const SOURCE: &str = include_str!("kernels.cu");
/// Threads of a block, in every kernel.
const THREADS: u32 = 256;
/// More blocks than any GPU runs at once; longer work is a loop in each thread.
const MOST_BLOCKS: i64 = 8192;

/// See the module.
pub struct Gpu {
    pub(super) device: Arc<CudaDevice>,
    /// Used by one thread at a time: a product of several launches must not be mixed with another in the one workspace.
    pub(super) blas: Mutex<CudaBlas>,
    kernels: HashMap<&'static str, Kernel>,
    /// Whether it multiplies `bf16`: from Ampere on.
    pub has_bf16: bool,
}

/// A compiled kernel, and how many arguments it takes.
#[derive(Clone, Copy)]
struct Kernel {
    function: CUfunction,
    arguments: usize,
}

// SAFETY: a function handle belongs to the context, not to a thread; its module is never unloaded.
unsafe impl Send for Kernel {}
// SAFETY: as above.
unsafe impl Sync for Kernel {}

/// A value that a kernel takes, as the up to eight bytes that it is.
pub trait Argument {
    /// Those bytes.
    fn bits(self) -> u64;
}
impl Argument for Address {
    fn bits(self) -> u64 {
        self
    }
}
impl Argument for i64 {
    fn bits(self) -> u64 {
        self as u64
    }
}
impl Argument for i32 {
    fn bits(self) -> u64 {
        u64::from(self as u32)
    }
}
impl Argument for f32 {
    fn bits(self) -> u64 {
        u64::from(self.to_bits())
    }
}
impl<T> Argument for &CudaSlice<T> {
    fn bits(self) -> u64 {
        place(self)
    }
}

/// Where a buffer lies. Memory is freed in the order of the stream: what was started before is not affected.
pub fn place<T>(buffer: &CudaSlice<T>) -> Address {
    *buffer.device_ptr()
}

/// How a kernel's work is cut.
#[derive(Clone, Copy, Debug)]
pub enum Work {
    /// So many values, each by a thread.
    Each(i64),
    /// So many rows, each by a warp of 32 threads.
    RowWarps(i64),
    /// So many rows, each by a block.
    RowBlocks(u32),
    /// So many rows, each by several blocks. At most 65,535 rows.
    ManyBlocks {
        /// Rows.
        rows: u32,
        /// Blocks of each.
        blocks: u32,
    },
    /// 32 x 8 threads for each 32 columns and each of so many chunks of rows.
    Columns {
        /// Columns.
        columns: u32,
        /// Chunks of rows.
        chunks: u32,
    },
}

/// Starts a kernel: `launch!(gpu, "name", work, arguments...)`.
///
/// The caller is in an `unsafe` block: the kernel reads and writes what its arguments point to.
macro_rules! launch {
    ($gpu:expr, $name:literal, $work:expr $(, $argument:expr)* $(,)?) => {
        $gpu.launch($name, $work, [$($crate::nn::cuda::gpu::Argument::bits($argument)),*])
    };
}
pub(super) use launch;

/// Why there is no GPU.
#[derive(Clone, Debug, thiserror::Error)]
#[error("no NVIDIA GPU can be used: {0}; `--device cpu` trains without one")]
pub struct NoGpu(String);

impl NoGpu {
    /// What failed, and how.
    pub fn new(what: &str, how: &dyn Debug) -> Self {
        Self(format!("{what}: {how:?}"))
    }
}

impl Gpu {
    /// The GPU; the first call compiles the kernels for it, which takes a second.
    ///
    /// # Errors
    /// If there is none, or its driver is older than what compiled the kernels.
    pub fn get() -> Result<&'static Self, NoGpu> {
        static GPU: OnceLock<Result<Gpu, NoGpu>> = OnceLock::new();
        GPU.get_or_init(Self::new).as_ref().map_err(Clone::clone)
    }

    fn new() -> Result<Self, NoGpu> {
        // The code alone: the words for it are the driver's, which may be what is missing.
        let what = |doing: &'static str| move |e: result::DriverError| NoGpu::new(doing, &e.0);
        result::init().map_err(what("starting the driver"))?;
        if result::device::get_count().map_err(what("counting"))? == 0 {
            return Err(NoGpu("the driver knows of none".into()));
        }
        let device = CudaDevice::new(0).map_err(what("taking the first"))?;
        keep_freed_memory(&device).map_err(what("its memory pool"))?;
        let blas = CudaBlas::new(device.clone()).map_err(|e| NoGpu::new("starting cuBLAS", &e))?;
        let number = |a| device.attribute(a).map_err(what("its capability"));
        let major = number(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?;
        let minor = number(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?;
        let options = CompileOptions {
            // Once a process.
            arch: Some(format!("compute_{major}{minor}").leak()),
            ..CompileOptions::default()
        };
        let code = compile_ptx_with_opts(SOURCE, options)
            .map_err(|e| NoGpu::new("compiling kernels", &e))?;
        let code = CString::new(code.to_src()).map_err(|e| NoGpu::new("compiling kernels", &e))?;
        // SAFETY: `code` is a string that ends with a zero and lives through the call.
        let module = unsafe { result::module::load_data(code.as_ptr().cast()) }
            .map_err(what("loading kernels"))?;
        let mut kernels = HashMap::new();
        for (name, arguments) in signatures() {
            let symbol = CString::new(name).map_err(|e| NoGpu::new("naming kernels", &e))?;
            // SAFETY: the module has been loaded and is never unloaded.
            let function = unsafe { result::module::get_function(module, symbol) };
            let function = function.map_err(what("finding a kernel"))?;
            kernels.insert(
                name,
                Kernel {
                    function,
                    arguments,
                },
            );
        }
        Ok(Self {
            device,
            blas: Mutex::new(blas),
            kernels,
            has_bf16: major >= 8,
        })
    }

    /// Starts a kernel; use [`launch!`].
    ///
    /// # Safety
    /// The arguments must be those of the kernel, and what they point to as long as it reads and writes.
    pub unsafe fn launch<const N: usize>(
        &self,
        name: &'static str,
        work: Work,
        arguments: [u64; N],
    ) -> Result<(), CudaError> {
        let blocks = |threads: i64| threads.div_euclid(i64::from(THREADS)) + 1;
        let (grid, block) = match work {
            Work::Each(0) | Work::RowWarps(0) | Work::RowBlocks(0) => return Ok(()),
            Work::Each(n) => ((blocks(n).min(MOST_BLOCKS) as u32, 1, 1), (THREADS, 1, 1)),
            Work::RowWarps(rows) => ((blocks(32 * rows) as u32, 1, 1), (THREADS, 1, 1)),
            Work::RowBlocks(rows) => ((rows, 1, 1), (THREADS, 1, 1)),
            Work::ManyBlocks { rows, blocks } => ((blocks, rows, 1), (THREADS, 1, 1)),
            Work::Columns { columns, chunks } => {
                ((columns.div_ceil(32), chunks, 1), (32, THREADS / 32, 1))
            }
        };
        let kernel = self.kernels[name];
        assert_eq!(arguments.len(), kernel.arguments, "arguments of {name}");
        let mut pointers = arguments
            .each_ref()
            .map(|a| (a as *const u64).cast_mut().cast::<c_void>());
        self.device.bind_to_thread()?;
        let stream = *self.device.cu_stream();
        // SAFETY: the caller's; little-endian, so that the low bytes of each `u64` are the argument.
        unsafe { result::launch_kernel(kernel.function, grid, block, 0, stream, &mut pointers) }?;
        Ok(())
    }

    /// A copy of `values` on the GPU, for as long as it is kept.
    pub fn upload<T: DeviceRepr + Unpin + Clone>(
        &self,
        values: &[T],
    ) -> Result<CudaSlice<T>, CudaError> {
        if values.is_empty() {
            return self.room(1);
        }
        Ok(self.device.htod_copy(values.to_vec())?)
    }

    /// Copies values to where `to` points.
    ///
    /// # Safety
    /// There must be room for them, that no one else uses.
    pub unsafe fn fill(&self, to: Address, values: &[f32]) -> Result<(), CudaError> {
        if !values.is_empty() {
            self.device.bind_to_thread()?;
            // SAFETY: the caller's. Of memory that can be paged the driver takes a copy before it returns, on GPUs with memory
            // of their own; cudarc's and dfdx's copies rely on that too.
            unsafe { result::memcpy_htod_async(to, values, *self.device.cu_stream()) }?;
        }
        Ok(())
    }

    /// Room for so many values, which are not set.
    pub fn room<T: DeviceRepr>(&self, len: usize) -> Result<CudaSlice<T>, CudaError> {
        // SAFETY: only kernels read it, after others have written it.
        Ok(unsafe { self.device.alloc(len.max(1)) }?)
    }

    /// What is there, on the host, once all that was started is done.
    pub fn download<T: DeviceRepr + Default + Clone>(
        &self,
        values: &impl DevicePtr<T>,
    ) -> Result<Vec<T>, CudaError> {
        let mut out = vec![T::default(); values.len()];
        self.device.dtoh_sync_copy_into(values, &mut out)?;
        Ok(out)
    }

    /// `out[c] += ` the sum over rows of `dy[r, c]`, each times what [`Terms`] say.
    ///
    /// # Safety
    /// `dy` must be `[rows, d]` and `out` `[d]`.
    pub unsafe fn add_columns(
        &self,
        dy: Address,
        terms: Terms,
        rows: usize,
        d: usize,
        out: Address,
    ) -> Result<(), CudaError> {
        if rows == 0 {
            return Ok(());
        }
        let chunk = rows.div_ceil(64).max(64);
        let chunks = rows.div_ceil(chunk);
        let partial = self.room::<f32>(chunks * d)?;
        let work = Work::Columns {
            columns: d as u32,
            chunks: chunks as u32,
        };
        let (d, rows, chunk) = (d as i32, rows as i32, chunk as i32);
        let Terms { other, a, b } = terms;
        // SAFETY: the caller's; `partial` has a row for each chunk.
        unsafe {
            launch!(
                self,
                "column_partials",
                work,
                dy,
                other,
                a,
                b,
                rows,
                d,
                chunk,
                &partial
            )?;
            let work = Work::Each(i64::from(d));
            launch!(self, "column_finish", work, &partial, chunks as i32, d, out)
        }
    }
}

/// What the terms of a sum over rows are multiplied by, see `column_partials`; 0 for nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Terms {
    /// `[rows, d]`.
    pub other: Address,
    /// `[rows]`: a scale, or, with `b`, what is taken from `other`.
    pub a: Address,
    /// `[rows]`: a scale of the difference.
    pub b: Address,
}

/// Freed memory stays with the process: by default it goes back to the system whenever the host waits for the GPU, and
/// the next allocation takes hundreds of microseconds.
fn keep_freed_memory(device: &CudaDevice) -> Result<(), result::DriverError> {
    let mut pool = std::ptr::null_mut();
    let mut all = u64::MAX;
    let attribute = sys::CUmemPool_attribute::CU_MEMPOOL_ATTR_RELEASE_THRESHOLD;
    // SAFETY: both calls write or read through pointers to locals of the type that they document.
    unsafe {
        sys::cuDeviceGetDefaultMemPool(&mut pool, *device.cu_device()).result()?;
        sys::cuMemPoolSetAttribute(pool, attribute, (&raw mut all).cast()).result()
    }
}

/// The kernels in the source: names, and numbers of arguments.
fn signatures() -> impl Iterator<Item = (&'static str, usize)> {
    let after = SOURCE.split("__global__ void ").skip(1);
    after.filter_map(|rest| {
        let (name, rest) = rest.split_once('(')?;
        let (arguments, _) = rest.split_once(')')?;
        Some((name, arguments.split(',').count()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signatures_are_read_from_the_source() {
        let all: HashMap<_, _> = signatures().collect();
        assert_eq!(
            (all["add_scaled"], all["layer_norm"], all["adamw"]),
            (4, 9, 14)
        );
    }
}
