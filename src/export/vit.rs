//! The vision transformer (Dosovitskiy et al. 2021): pre-norm blocks under timm's weight names.
//!
//! What is constant is folded into the weights: LayerScale into the projection before it, and
//! 1 / sqrt(head width) into the queries.
use super::network::{channels, Network};
use super::onnx::Value;
use super::spec::MLP_RATIO;
use super::ExportError;

type Result<T> = std::result::Result<T, ExportError>;

impl Network<'_> {
    /// `image` [1, 3, S, S] to the normalised patch tokens [g * g, D], row by row, without CLS and registers.
    pub fn tokens(&mut self, image: &Value) -> Result<Value> {
        let mut x = self.embed(image)?;
        for i in 0..self.spec.depth {
            x = self.block(&format!("blocks.{i}"), &x)?;
        }
        let patches = 1 + self.spec.grid().pow(2);
        let x = self.graph.slice("patches", &x, 0, 1, patches)?;
        self.norm("norm", &x)
    }

    /// Maps each patch to a token, adds its position, and puts CLS before and the registers after them.
    fn embed(&mut self, image: &Value) -> Result<Value> {
        let (p, d, patches) = (self.spec.patch, self.spec.width, self.spec.grid().pow(2));
        let weight = self.parameter("patch_embed.proj.weight", &[d, 3, p, p])?;
        let bias = self.parameter("patch_embed.proj.bias", &[d])?;
        let position = self.parameter("pos_embed", &[patches, d])?;
        let cls = self.weight("cls_token", &[1, 1, d])?;
        let registers = self.spec.registers;
        let reg_token = match registers {
            0 => &[],
            _ => self.weight("reg_token", &[1, registers, d])?,
        };

        let g = &mut self.graph;
        let planes = g.conv("patch_embed.proj", image, &weight, &bias, p, 0)?;
        let flat = g.reshape("patch_embed.flat", &planes, &[d, patches])?;
        let content = g.transpose("patch_embed.rows", &flat, &[1, 0])?;
        let tokens = g.add("pos_embed.add", &content, &position)?;
        let cls = g.initializer("cls_token", &[1, d], cls)?;
        if registers == 0 {
            return g.concat("tokens", &[&cls, &tokens], 0);
        }
        let after = g.initializer("reg_token", &[registers, d], reg_token)?;
        g.concat("tokens", &[&cls, &tokens, &after], 0)
    }

    fn block(&mut self, name: &str, x: &Value) -> Result<Value> {
        let mixed = self.norm(&format!("{name}.norm1"), x)?;
        let mixed = self.attention(&format!("{name}.attn"), &mixed)?;
        let mixed =
            self.branch_end(&format!("{name}.attn.proj"), &mixed, &format!("{name}.ls1"))?;
        let x = self
            .graph
            .add(&format!("{name}.attn.residual"), x, &mixed)?;

        let hidden = self.norm(&format!("{name}.norm2"), &x)?;
        let hidden = self.linear(
            &format!("{name}.mlp.fc1"),
            &hidden,
            MLP_RATIO * self.spec.width,
        )?;
        let hidden = self.graph.gelu(&format!("{name}.mlp.act"), &hidden)?;
        let output =
            self.branch_end(&format!("{name}.mlp.fc2"), &hidden, &format!("{name}.ls2"))?;
        self.graph.add(&format!("{name}.mlp.residual"), &x, &output)
    }

    /// softmax(q k^T) v for each head, before the projection; 1 / sqrt(head width) is in q.
    fn attention(&mut self, name: &str, x: &Value) -> Result<Value> {
        let (n, d, heads) = (x.shape()[0], self.spec.width, self.spec.heads);
        let width = self.spec.head_width();
        let mut kernel = self
            .weight(&format!("{name}.qkv.weight"), &[3 * d, d])?
            .to_vec();
        let mut bias = self.weight(&format!("{name}.qkv.bias"), &[3 * d])?.to_vec();
        let scale = (width as f32).sqrt().recip();
        let queries = kernel[..d * d].iter_mut().chain(&mut bias[..d]);
        queries.for_each(|v| *v *= scale);
        let qkv = self.linear_with(&format!("{name}.qkv"), x, &kernel, &bias)?;

        let g = &mut self.graph;
        let [q, k, v] = g.split::<3>(&format!("{name}.split"), &qkv, 1)?;
        let mut by_head = |part: &str, x: &Value, order: [usize; 3]| {
            let apart = g.reshape(&format!("{name}.{part}.heads"), x, &[n, heads, width])?;
            g.transpose(&format!("{name}.{part}"), &apart, &order)
        };
        let q = by_head("q", &q, [1, 0, 2])?;
        let k = by_head("k", &k, [1, 2, 0])?;
        let v = by_head("v", &v, [1, 0, 2])?;

        let logits = g.matmul(&format!("{name}.logits"), &q, &k)?;
        let probabilities = g.softmax(&format!("{name}.probabilities"), &logits, 2)?;
        let mixed = g.matmul(&format!("{name}.mixed"), &probabilities, &v)?;
        let together = g.transpose(&format!("{name}.together"), &mixed, &[1, 0, 2])?;
        g.reshape(&format!("{name}.rows"), &together, &[n, d])
    }

    /// The linear map that ends a residual branch, with its LayerScale, if there is one, folded in.
    fn branch_end(&mut self, name: &str, x: &Value, layer_scale: &str) -> Result<Value> {
        let (inputs, outputs) = (channels(x), self.spec.width);
        if !self.spec.layer_scale {
            return self.linear(name, x, outputs);
        }
        let gamma = self.weight(&format!("{layer_scale}.gamma"), &[outputs])?;
        let kernel = self.weight(&format!("{name}.weight"), &[outputs, inputs])?;
        let bias = self.weight(&format!("{name}.bias"), &[outputs])?;
        let rows = kernel.chunks_exact(inputs).zip(gamma);
        let kernel: Vec<f32> = rows
            .flat_map(|(row, g)| row.iter().map(move |w| w * g))
            .collect();
        let bias: Vec<f32> = bias.iter().zip(gamma).map(|(b, g)| b * g).collect();
        self.linear_with(name, x, &kernel, &bias)
    }
}
