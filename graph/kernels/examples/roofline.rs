//! Speed of every kernel at the sizes of ViT-Tiny and ViT-Small, the fastest of several runs, against the measured peak
//! of the machine: multiply-adds in registers for kernels that compute, a copy of a large array for those that move
//! memory (which smaller arrays, in a cache, can exceed).
//!
//! usage: cargo run --release -p intertwine-kernels --example roofline [-- THREADS [FILTER]]

use intertwine_kernels::activation::Activation;
use intertwine_kernels::attention::Group;
use intertwine_kernels::gemm::Precision;
use intertwine_kernels::optim::AdamW;
use intertwine_kernels::prototypes::Targets;
use intertwine_kernels::{
    activation, attention, conv, cpu, fused, gather, koleo, layer_norm, linear, optim, peak,
    prototypes, residual, softmax_ce,
};
use rayon::prelude::*;
use std::sync::Arc;
use std::time::{Duration, Instant};

const D: usize = 192;
const HEADS: usize = 3;

struct Bench {
    filter: String,
    threads: usize,
    /// Of the machine: GFLOP/s in `f32` and in `bf16`, GB/s of memory.
    f32_peak: f64,
    bf16_peak: f64,
    memory_peak: f64,
}

impl Bench {
    fn new(threads: usize, filter: String) -> Self {
        let flops = |precision| match peak::operations(precision) {
            None => f64::NAN,
            Some(operations) => {
                const ROUNDS: usize = 1_000_000;
                let best = fastest(|| {
                    rayon::broadcast(|_| peak::multiply_adds(precision, ROUNDS));
                });
                (threads * ROUNDS * operations) as f64 / best * 1e-9
            }
        };
        // Far larger than any cache.
        let n = 1 << 26;
        let (from, mut to) = (values(n), zeros(n));
        let copy = fastest(|| {
            to.par_chunks_mut(1 << 16)
                .zip(from.par_chunks(1 << 16))
                .for_each(|(to, from)| to.copy_from_slice(from));
        });
        Self {
            filter,
            threads,
            f32_peak: flops(Precision::F32),
            bf16_peak: flops(Precision::Bf16),
            memory_peak: (2 * 4 * n) as f64 / copy * 1e-9,
        }
    }

    fn head(&self) {
        println!("{} threads, path {}", self.threads, cpu::path().name());
        println!(
            "peaks: f32 {:.0} GFLOP/s, bf16 {:.0} GFLOP/s, memory {:.1} GB/s\n",
            self.f32_peak, self.bf16_peak, self.memory_peak
        );
        println!("| kernel | ms | rate | of the peak |\n|---|--:|--:|--:|");
    }

    /// Times `f`, which does `work` floating-point operations or moves `work` bytes.
    fn time(&self, name: &str, unit: &str, peak: f64, work: f64, f: impl FnMut()) {
        if !name.contains(&self.filter) {
            return;
        }
        let seconds = fastest(f);
        let rate = work / seconds * 1e-9;
        let share = 100.0 * rate / peak;
        println!(
            "| {name} | {:.3} | {rate:.0} {unit}/s | {share:.0}% |",
            seconds * 1e3
        );
    }

    fn flops(&self, precision: Precision, name: &str, work: usize, f: impl FnMut()) {
        let (label, peak) = match precision {
            Precision::F32 => ("f32", self.f32_peak),
            Precision::Bf16 => ("bf16", self.bf16_peak),
        };
        self.time(&format!("{name}, {label}"), "GFLOP", peak, work as f64, f);
    }

    fn bytes(&self, name: &str, floats_moved: usize, f: impl FnMut()) {
        self.time(name, "GB", self.memory_peak, 4.0 * floats_moved as f64, f);
    }
}

/// Seconds of the fastest of several runs.
fn fastest(mut f: impl FnMut()) -> f64 {
    f();
    let mut best = Duration::MAX;
    let enough = Instant::now() + Duration::from_millis(300);
    while Instant::now() < enough {
        let start = Instant::now();
        f();
        best = best.min(start.elapsed());
    }
    best.as_secs_f64()
}

/// Repeatable values in [-1, 1).
fn values(n: usize) -> Vec<f32> {
    (0..n as u32)
        .map(|i| (i.wrapping_mul(2_654_435_761) >> 8) as f32 / (1 << 23) as f32 - 1.0)
        .collect()
}

fn zeros(n: usize) -> Vec<f32> {
    vec![0.0; n]
}

fn bench_linear(b: &Bench, rows: usize, precision: Precision) {
    for (inp, out) in [
        (D, 3 * D),
        (D, D),
        (D, 4 * D),
        (4 * D, D),
        (384, 1536),
        (1536, 384),
        (2048, 2048),
        (256, 8192),
    ] {
        let (x, w, bias, dy) = (
            values(rows * inp),
            values(out * inp),
            values(out),
            values(rows * out),
        );
        let (mut y, mut dx, mut dw, mut db) = (
            zeros(rows * out),
            zeros(rows * inp),
            zeros(out * inp),
            zeros(out),
        );
        let work = 2 * rows * inp * out;
        let name = |what: &str| format!("linear {rows} x {inp} > {out} {what}");
        b.flops(precision, &name("forward"), work, || {
            linear::forward(&x, &w, Some(&bias), &mut y, inp, out, precision)
        });
        b.flops(precision, &name("input"), work, || {
            linear::backward_input(&dy, &w, &mut dx, inp, out, precision)
        });
        b.flops(precision, &name("params"), work, || {
            linear::backward_params(&dy, &x, &mut dw, Some(&mut db), inp, out, precision);
        });
    }
}

fn bench_attention(b: &Bench, name: &str, groups: &[Group], precision: Precision) {
    let rows: usize = groups.iter().map(|g| g.count * g.len).sum();
    let pairs: usize = groups.iter().map(|g| g.count * g.len * g.len).sum();
    let (qkv, dy) = (values(rows * 3 * D), values(rows * D));
    let (mut y, mut lse, mut dqkv) = (zeros(rows * D), zeros(rows * HEADS), zeros(rows * 3 * D));
    attention::forward(&qkv, groups, HEADS, D, &mut y, &mut lse, precision);
    let kept = (y.clone(), lse.clone());
    b.flops(
        precision,
        &format!("attention {name} forward"),
        4 * pairs * D,
        || {
            attention::forward(&qkv, groups, HEADS, D, &mut y, &mut lse, precision);
        },
    );
    b.flops(
        precision,
        &format!("attention {name} backward"),
        10 * pairs * D,
        || {
            attention::backward(
                &qkv, &kept.0, &kept.1, &dy, groups, HEADS, D, &mut dqkv, precision,
            );
        },
    );
}

fn bench_rows(b: &Bench, rows: usize) {
    let (x, f, dy, gamma) = (
        values(rows * D),
        values(rows * D),
        values(rows * D),
        values(D),
    );
    let (mut y, mut dx, mut mean, mut rstd) =
        (zeros(rows * D), zeros(rows * D), zeros(rows), zeros(rows));
    let (mut dgamma, mut dbeta) = (zeros(D), zeros(D));
    b.bytes("layer norm forward", 2 * rows * D, || {
        layer_norm::forward(&x, &gamma, &gamma, 1e-6, &mut y, &mut mean, &mut rstd);
    });
    b.bytes("layer norm backward", 4 * rows * D, || {
        layer_norm::backward(
            &x,
            &gamma,
            &mean,
            &rstd,
            &dy,
            &mut dx,
            &mut dgamma,
            &mut dbeta,
        );
    });
    b.bytes("residual forward", 3 * rows * D, || {
        residual::forward(&x, &f, Some(&gamma), None, D, &mut y)
    });
    b.bytes("residual backward", 4 * rows * D, || {
        residual::backward(&f, Some(&gamma), None, &dy, D, &mut dx, Some(&mut dgamma));
    });
    let wide = 4 * rows * D;
    let (x, dy, mut y, mut dx) = (values(wide), values(wide), zeros(wide), zeros(wide));
    for kind in [Activation::Gelu, Activation::Silu] {
        b.bytes(&format!("{kind:?} forward"), 2 * wide, || {
            activation::forward(kind, &x, &mut y)
        });
        b.bytes(&format!("{kind:?} backward"), 4 * wide, || {
            activation::backward(kind, &x, &dy, &mut dx)
        });
    }
}

fn bench_prototypes(b: &Bench, precision: Precision) {
    let (rows, inp, k) = (480, 256, 8192);
    let (x, w, p) = (values(rows * inp), values(k * inp), values(rows * k));
    let (row, weight): (Vec<u32>, _) = ((0..rows as u32).collect(), vec![1.0; rows]);
    let (mut dx, mut dw) = (zeros(x.len()), zeros(w.len()));
    let name = format!("prototypes {rows} x {inp} > {k} with gradients");
    b.flops(precision, &name, 6 * rows * inp * k, || {
        let targets = Targets {
            probabilities: &p,
            row: &row,
            weight: &weight,
        };
        let gradients = Some((&mut dx[..], &mut dw[..]));
        prototypes::losses(&x, &w, targets, 0.1, inp, k, precision, gradients);
    });
}

fn bench_loss(b: &Bench) {
    let (rows, k) = (512, 8192);
    let (z, centre) = (values(rows * k), values(k));
    let (mut p, mut dz) = (zeros(rows * k), zeros(rows * k));
    b.bytes("sinkhorn 512 x 8192, 3 rounds", 10 * rows * k, || {
        softmax_ce::sinkhorn(&z, 0.07, 3, k, &mut p)
    });
    b.bytes("teacher softmax 512 x 8192", 2 * rows * k, || {
        softmax_ce::teacher_softmax(&z, Some(&centre), 0.07, k, &mut p);
    });
    let (rows_of, weight): (Vec<u32>, _) = ((0..rows as u32).collect(), vec![1.0; rows]);
    b.bytes(
        "soft cross-entropy 512 x 8192, with gradient",
        4 * rows * k,
        || {
            softmax_ce::soft_cross_entropy(&z, &p, &rows_of, &weight, 0.1, k, Some(&mut dz));
        },
    );
    let (x, mut dx) = (values(128 * D), zeros(128 * D));
    b.flops(Precision::F32, "koleo 2 x 64", 2 * 128 * 64 * D, || {
        koleo::loss(&x, 64, D, Some(&mut dx));
    });
}

fn bench_conv(b: &Bench, precision: Precision) {
    for (side, channels) in [(48, 64), (24, 64), (16, 96), (8, 96)] {
        let s = conv::Shape {
            batch: 4,
            height: side,
            width: side,
            inp: channels,
            out: channels,
        };
        let (x, w, dy) = (
            values(s.rows() * s.inp),
            values(s.out * 9 * s.inp),
            values(s.rows() * s.out),
        );
        let (mut y, mut dx, mut dw) = (zeros(dy.len()), zeros(x.len()), zeros(w.len()));
        let work = 2 * s.rows() * 9 * s.inp * s.out;
        b.flops(
            precision,
            &format!("conv 4 x {side} x {side} x {channels} forward"),
            work,
            || {
                conv::forward(&x, &w, None, &mut y, &s, precision);
            },
        );
        b.flops(
            precision,
            &format!("conv 4 x {side} x {side} x {channels} backward"),
            2 * work,
            || {
                conv::backward(&x, &w, &dy, Some(&mut dx), &mut dw, None, &s, precision);
            },
        );
    }
}

/// Convolutions of the edge: one map, weights packed before. Rates count the multiplications of the direct sum.
fn bench_conv_of_one(b: &Bench, precision: Precision) {
    for (side, channels) in [(48, 128), (24, 128), (12, 128), (16, 96)] {
        let (rows, weight) = (side * side, values(channels * 9 * channels));
        let weights = Arc::new(conv::Weights::new(&weight, channels, channels, precision));
        let layer = fused::Conv::new(weights, &values(channels), None);
        let (x, mut y) = (values(rows * channels), zeros(rows * channels));
        let name = format!("packed conv {side} x {side} x {channels}");
        b.flops(precision, &name, 2 * rows * 9 * channels * channels, || {
            layer.forward(&x, side, side, &mut y)
        });
    }
}

fn bench_memory(b: &Bench) {
    let n = 5_500_000;
    let (mut p, g, mut m, mut v) = (values(n), values(n), zeros(n), zeros(n));
    let h = AdamW {
        lr: 1e-4,
        beta1: 0.9,
        beta2: 0.999,
        eps: 1e-8,
        weight_decay: 0.05,
        step: 10,
        grad_scale: 1.0,
    };
    b.bytes("AdamW 5.5 M", 7 * n, || {
        optim::adamw(&mut p, &g, &mut m, &mut v, None, &h)
    });
    b.bytes("EMA 5.5 M", 3 * n, || optim::ema(&mut p, &g, 0.996));
    b.bytes("sum of squares 5.5 M", n, || {
        optim::sum_of_squares(&g);
    });
    let (table, outputs) = (values(2500 * D), 64 * 36);
    let index: Vec<[u32; 4]> = (0..outputs as u32)
        .map(|i| [0, 1, 50, 51].map(|o| (i * 37 + o) % 2500))
        .collect();
    let weight = vec![[0.25; 4]; outputs];
    let (mut y, mut dtable) = (values(outputs * D), zeros(2500 * D));
    b.bytes("4-tap gather forward", 5 * outputs * D, || {
        gather::taps_forward(&table, &index, &weight, D, &mut y)
    });
    b.bytes("4-tap gather backward", 5 * outputs * D, || {
        gather::taps_backward(&y, &index, &weight, D, &mut dtable);
    });
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let threads = arguments.next().map_or(Ok(2), |threads| threads.parse())?;
    let filter = arguments.next().unwrap_or_default();
    let group = |count, len| Group { count, len };
    rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .build()?
        .install(|| {
            let bench = Bench::new(threads, filter);
            bench.head();
            for precision in [Precision::F32, Precision::Bf16] {
                bench_linear(&bench, 8 * 197, precision);
                bench_linear(&bench, 64 * 10, precision);
                bench_attention(&bench, "8 x 197", &[group(8, 197)], precision);
                let local = [group(64, 37), group(64, 10)];
                bench_attention(&bench, "64 x 37 + 64 x 10", &local, precision);
                bench_conv(&bench, precision);
                bench_conv_of_one(&bench, precision);
                bench_prototypes(&bench, precision);
            }
            bench_rows(&bench, 8 * 197);
            bench_loss(&bench);
            bench_memory(&bench);
        });
    Ok(())
}
