//! One training step of a ViT-Tiny encoder built from the kernels alone: 12 blocks, 197 tokens, batch 8, mean squared
//! error, forward + backward + AdamW. The same work as PyTorch's eager mode is given for comparison.
//!
//! usage: echo N | cargo run -p intertwine-kernels --example encoder_step [-- THREADS]
//! Prints N step times in ms for every number read on standard input, so that runs can alternate with a peer's.

use intertwine_kernels::activation::{self, Activation};
use intertwine_kernels::attention::{self, Group};
use intertwine_kernels::{layer_norm, linear, optim, residual};
use std::io::BufRead;
use std::time::Instant;

const D: usize = 192;
const HEADS: usize = 3;
const TOKENS: usize = 197;
const BATCH: usize = 8;
const ROWS: usize = BATCH * TOKENS;
const GROUPS: [Group; 1] = [Group {
    count: BATCH,
    len: TOKENS,
}];

struct Parameter {
    value: Vec<f32>,
    gradient: Vec<f32>,
    m: Vec<f32>,
    v: Vec<f32>,
}

impl Parameter {
    /// Repeatable values of the given size.
    fn new(n: usize, size: f32) -> Self {
        let value = (0..n as u32)
            .map(|i| size * ((i.wrapping_mul(2_654_435_761) >> 8) as f32 / (1 << 23) as f32 - 1.0))
            .collect();
        Self {
            value,
            gradient: vec![0.0; n],
            m: vec![0.0; n],
            v: vec![0.0; n],
        }
    }
}

struct Linear {
    w: Parameter,
    b: Parameter,
    inp: usize,
    out: usize,
}

impl Linear {
    fn new(inp: usize, out: usize) -> Self {
        let size = (inp as f32).powf(-0.5);
        Self {
            w: Parameter::new(out * inp, size),
            b: Parameter::new(out, size),
            inp,
            out,
        }
    }

    fn forward(&self, x: &[f32]) -> Vec<f32> {
        let mut y = vec![0.0; ROWS * self.out];
        linear::forward(
            x,
            &self.w.value,
            Some(&self.b.value),
            &mut y,
            self.inp,
            self.out,
        );
        y
    }

    fn backward(&mut self, x: &[f32], dy: &[f32]) -> Vec<f32> {
        let mut dx = vec![0.0; ROWS * self.inp];
        linear::backward_input(dy, &self.w.value, &mut dx, self.inp, self.out);
        linear::backward_params(
            dy,
            x,
            &mut self.w.gradient,
            Some(&mut self.b.gradient),
            self.inp,
            self.out,
        );
        dx
    }
}

struct Norm {
    gamma: Parameter,
    beta: Parameter,
    mean: Vec<f32>,
    rstd: Vec<f32>,
}

impl Norm {
    fn new() -> Self {
        let mut gamma = Parameter::new(D, 0.0);
        gamma.value.fill(1.0);
        Self {
            gamma,
            beta: Parameter::new(D, 0.0),
            mean: vec![0.0; ROWS],
            rstd: vec![0.0; ROWS],
        }
    }

    fn forward(&mut self, x: &[f32]) -> Vec<f32> {
        let mut y = vec![0.0; ROWS * D];
        layer_norm::forward(
            x,
            &self.gamma.value,
            &self.beta.value,
            1e-5,
            &mut y,
            &mut self.mean,
            &mut self.rstd,
        );
        y
    }

    fn backward(&mut self, x: &[f32], dy: &[f32], dx: &mut [f32]) {
        let (dgamma, dbeta) = (&mut self.gamma.gradient, &mut self.beta.gradient);
        layer_norm::backward(
            x,
            &self.gamma.value,
            &self.mean,
            &self.rstd,
            dy,
            dx,
            dgamma,
            dbeta,
        );
    }
}

struct Block {
    norm1: Norm,
    qkv: Linear,
    out: Linear,
    norm2: Norm,
    up: Linear,
    down: Linear,
}

/// What a block keeps for its backward pass.
struct Kept {
    x: Vec<f32>,
    normed1: Vec<f32>,
    qkv: Vec<f32>,
    attended: Vec<f32>,
    lse: Vec<f32>,
    middle: Vec<f32>,
    normed2: Vec<f32>,
    up: Vec<f32>,
    gelu: Vec<f32>,
}

impl Block {
    fn new() -> Self {
        Self {
            norm1: Norm::new(),
            qkv: Linear::new(D, 3 * D),
            out: Linear::new(D, D),
            norm2: Norm::new(),
            up: Linear::new(D, 4 * D),
            down: Linear::new(4 * D, D),
        }
    }

    fn forward(&mut self, x: Vec<f32>) -> (Vec<f32>, Kept) {
        let normed1 = self.norm1.forward(&x);
        let qkv = self.qkv.forward(&normed1);
        let (mut attended, mut lse) = (vec![0.0; ROWS * D], vec![0.0; ROWS * HEADS]);
        attention::forward(&qkv, &GROUPS, HEADS, D, &mut attended, &mut lse);
        let branch = self.out.forward(&attended);
        let mut middle = vec![0.0; ROWS * D];
        residual::forward(&x, &branch, None, None, D, &mut middle);
        let normed2 = self.norm2.forward(&middle);
        let up = self.up.forward(&normed2);
        let mut gelu = vec![0.0; ROWS * 4 * D];
        activation::forward(Activation::Gelu, &up, &mut gelu);
        let branch = self.down.forward(&gelu);
        let mut y = vec![0.0; ROWS * D];
        residual::forward(&middle, &branch, None, None, D, &mut y);
        (
            y,
            Kept {
                x,
                normed1,
                qkv,
                attended,
                lse,
                middle,
                normed2,
                up,
                gelu,
            },
        )
    }

    fn backward(&mut self, kept: &Kept, mut dy: Vec<f32>) -> Vec<f32> {
        let dgelu = self.down.backward(&kept.gelu, &dy);
        let mut dup = vec![0.0; ROWS * 4 * D];
        activation::backward(Activation::Gelu, &kept.up, &dgelu, &mut dup);
        let dnormed = self.up.backward(&kept.normed2, &dup);
        self.norm2.backward(&kept.middle, &dnormed, &mut dy);
        let dattended = self.out.backward(&kept.attended, &dy);
        let mut dqkv = vec![0.0; ROWS * 3 * D];
        attention::backward(
            &kept.qkv,
            &kept.attended,
            &kept.lse,
            &dattended,
            &GROUPS,
            HEADS,
            D,
            &mut dqkv,
        );
        let dnormed = self.qkv.backward(&kept.normed1, &dqkv);
        self.norm1.backward(&kept.x, &dnormed, &mut dy);
        dy
    }

    fn parameters(&mut self) -> impl Iterator<Item = &mut Parameter> {
        let linears = [&mut self.qkv, &mut self.out, &mut self.up, &mut self.down];
        let norms = [&mut self.norm1, &mut self.norm2];
        (linears.into_iter().flat_map(|l| [&mut l.w, &mut l.b]))
            .chain(norms.into_iter().flat_map(|n| [&mut n.gamma, &mut n.beta]))
    }
}

fn step(blocks: &mut [Block], last: &mut Norm, x: &[f32], target: &[f32], number: u64) -> f64 {
    let mut h = x.to_vec();
    let mut kept = Vec::with_capacity(blocks.len());
    for block in blocks.iter_mut() {
        let (y, k) = block.forward(h);
        h = y;
        kept.push(k);
    }
    let y = last.forward(&h);
    let scale = 2.0 / y.len() as f32;
    let dy: Vec<f32> = y.iter().zip(target).map(|(y, t)| scale * (y - t)).collect();
    let loss = optim::sum_of_squares(&dy) / f64::from(scale).powi(2) / y.len() as f64;
    let mut d = vec![0.0; ROWS * D];
    last.backward(&h, &dy, &mut d);
    for block in blocks.iter_mut().rev() {
        // Taken, so that each block's memory is free again as soon as its gradient is done.
        if let Some(kept) = kept.pop() {
            d = block.backward(&kept, d);
        }
    }
    let adamw = optim::AdamW {
        lr: 1e-4,
        beta1: 0.9,
        beta2: 0.999,
        eps: 1e-8,
        weight_decay: 0.05,
        step: number,
        grad_scale: 1.0,
    };
    for p in blocks
        .iter_mut()
        .flat_map(Block::parameters)
        .chain([&mut last.gamma, &mut last.beta])
    {
        optim::adamw(&mut p.value, &p.gradient, &mut p.m, &mut p.v, &adamw);
        p.gradient.fill(0.0);
    }
    loss
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let threads = std::env::args()
        .nth(1)
        .map_or(Ok(2), |threads| threads.parse())?;
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .build()?;
    let mut blocks: Vec<Block> = (0..12).map(|_| Block::new()).collect();
    let mut last = Norm::new();
    let x = Parameter::new(ROWS * D, 1.7).value;
    let target: Vec<f32> = x.iter().rev().copied().collect();
    let mut number = 0;
    for line in std::io::stdin().lock().lines() {
        let mut times = Vec::new();
        let mut loss = 0.0;
        for _ in 0..line?.trim().parse::<usize>()? {
            number += 1;
            let start = Instant::now();
            loss = pool.install(|| step(&mut blocks, &mut last, &x, &target, number));
            times.push(format!("{:.2}", start.elapsed().as_secs_f64() * 1e3));
        }
        println!("{} loss={loss:.6}", times.join(","));
    }
    Ok(())
}
