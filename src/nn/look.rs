//! The encoder looked into, for people: what each of its layers gives, and what its CLS token attends to.

use dfdx::prelude::*;

use super::arch::Arch;
use super::vit::{Block, DropPath, TokenInput, Vit};
use super::{Backend, Groups, Rows};

impl<A: Arch, D: Backend> Vit<A, D> {
    /// As [`forward`](Self::forward), without a tape; `see` is shown the tokens after each layer: `embed`,
    /// `blocks.0`, .., `norm`.
    pub fn forward_seen(
        &self,
        input: TokenInput<'_>,
        drop_path: Option<DropPath>,
        see: &mut dyn FnMut(&str, &[f32]),
    ) -> Rows<A::Width, D> {
        let x = self.embed(input.patches, &input.positions, input.plan, NoneTape);
        let (mut x, groups) = self.with_registers(x, &input.plan.groups);
        see("embed", &D::host(&x));
        for (i, block) in self.blocks.iter().enumerate() {
            let scales = self.row_scales(i, &groups, drop_path);
            x = D::block(x, block, &groups, scales, false);
            see(&format!("blocks.{i}"), &D::host(&x));
        }
        let x = (self.norm).forward(self.without_registers(x, &input.plan.groups));
        see("norm", &D::host(&x));
        x
    }

    /// The tokens after the last norm, and for each of them how much its sequence's CLS attends to it in the last
    /// block: the mean over heads of `softmax(q k^T / sqrt(head width))`, which over a sequence and the registers, which
    /// are left out, adds up to 1. Zeros if there is no block.
    pub fn forward_attending(&self, input: TokenInput<'_>) -> (Rows<A::Width, D>, Vec<f32>) {
        let own = &input.plan.groups;
        let x = self.embed(input.patches, &input.positions, input.plan, NoneTape);
        let Some((last, before)) = self.blocks.split_last() else {
            return (self.norm.forward(x), vec![0.0; own.rows()]);
        };
        let (x, groups) = self.with_registers(x, own);
        let x = self.run(before, x, &groups, None);
        let attention = mean_cls_attention(x.clone(), last, &groups);
        let rows: Vec<u32> = (0..own.rows() as u32).collect();
        let places = self.rows_with_registers(own, &rows);
        let attention = places.iter().map(|&row| attention[row as usize]).collect();
        let x = D::block(x, last, &groups, [None, None], false);
        let x = self.without_registers(x, own);
        (self.norm.forward(x), attention)
    }
}

/// For each row, how much CLS attends to it in a block that `x` enters.
fn mean_cls_attention<A: Arch, D: Backend>(
    x: Rows<A::Width, D>,
    block: &Block<A, D>,
    groups: &Groups,
) -> Vec<f32> {
    let qkv = block.attn.qkv.forward(block.norm1.forward(x));
    let each = cls_attention(&D::host(&qkv), groups, A::HEADS, A::WIDTH);
    let mut mean = vec![0.0; groups.rows()];
    for head in each.chunks_exact(groups.rows().max(1)) {
        let parts = mean.iter_mut().zip(head);
        parts.for_each(|(m, a)| *m += a / A::HEADS as f32);
    }
    mean
}

/// What the first row of each sequence attends to: `[heads, rows]`, from `qkv` as
/// [`attention`](super::ops::attention) takes it.
fn cls_attention(qkv: &[f32], groups: &Groups, heads: usize, width: usize) -> Vec<f32> {
    let head = width / heads;
    let part = |row: usize, part: usize, h: usize| {
        &qkv[row * 3 * width + part * width + h * head..][..head]
    };
    let mut all = Vec::with_capacity(heads * groups.rows());
    for h in 0..heads {
        for (start, len) in groups.starts() {
            let query = part(start, 0, h);
            let score = |row| -> f32 {
                let product = query.iter().zip(part(row, 1, h)).map(|(q, k)| q * k);
                product.sum::<f32>() / (head as f32).sqrt()
            };
            let scores: Vec<f32> = (start..start + len).map(score).collect();
            let highest = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let weights: Vec<f32> = scores.iter().map(|s| (s - highest).exp()).collect();
            let sum: f32 = weights.iter().sum();
            all.extend(weights.iter().map(|w| w / sum));
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::arch::Tiny;
    use crate::nn::module::Init;
    use crate::nn::ops::assemble::Plan;
    use crate::nn::positions::WholePicture;
    use crate::nn::vit::VitConfig;
    use intertwine_flow::random::{stream, Purpose};
    use intertwine_kernels::attention::Group;
    use rand::RngExt;

    fn random(n: usize) -> Vec<f32> {
        let mut rng = stream(4, Purpose::Probe, 0, 0);
        (0..n).map(|_| rng.random::<f32>() - 0.5).collect()
    }

    /// Weighted by what CLS attends to, the values are what attention gives CLS.
    #[test]
    fn the_weights_are_those_that_attention_uses() {
        let dev = Cpu::default();
        let (heads, width) = (3, 192);
        let groups = Groups(vec![
            Group { count: 2, len: 10 },
            Group { count: 3, len: 5 },
        ]);
        let rows = groups.rows();
        let qkv: Vec<f32> = random(rows * 3 * width).iter().map(|v| 4.0 * v).collect();
        let tensor = dev.tensor_from_vec(qkv.clone(), (rows, Const::<576>));
        let y = Cpu::to_host(&Cpu::attention(tensor, &groups, heads, Const::<192>));
        let weights = cls_attention(&qkv, &groups, heads, width);
        for (start, len) in groups.starts() {
            for c in 0..width {
                let head = &weights[c / (width / heads) * rows..];
                let value = |row: usize| qkv[row * 3 * width + 2 * width + c];
                let sum: f32 = (start..start + len).map(|row| head[row] * value(row)).sum();
                let found = y[start * width + c];
                assert!((sum - found).abs() < 1e-5, "{sum}, attention says {found}");
            }
        }
        assert!(
            weights.iter().any(|w| *w > 0.3),
            "nearly even weights show little"
        );
    }

    #[test]
    fn looking_gives_the_tokens_of_a_forward_pass() {
        let config = VitConfig {
            depth: 3,
            registers: 2,
            field: 8,
            ..VitConfig::plain("tiny8")
        };
        let vit = Vit::<Tiny, Cpu>::new(&mut Init::new(&Cpu::default(), 1), &config);
        let plan = Plan::unmasked(Groups::uniform(2, 10));
        let positions = WholePicture::new(&vit, 3, 1.0).repeat(2);
        let input = || TokenInput {
            patches: random(2 * 9 * 192).into(),
            positions: positions.view(),
            plan: &plan,
        };
        let plain = Cpu::to_host(&vit.forward(input(), None, NoneTape));
        let (attending, attention) = vit.forward_attending(input());
        assert_eq!(Cpu::to_host(&attending), plain);
        for sequence in attention.chunks_exact(10) {
            // The registers have the rest.
            let sum: f32 = sequence.iter().sum();
            assert!(sum > 0.5 && sum < 0.999, "{sum}");
        }
        let mut names = Vec::new();
        let seen = vit.forward_seen(input(), None, &mut |name, _| names.push(name.to_owned()));
        assert_eq!(Cpu::to_host(&seen), plain);
        assert_eq!(names, ["embed", "blocks.0", "blocks.1", "blocks.2", "norm"]);
    }
}
