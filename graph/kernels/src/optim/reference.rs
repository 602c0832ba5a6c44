//! PyTorch's `_single_tensor_adamw`, one parameter in double precision.

use super::AdamW;

pub(crate) fn adamw(p: f64, g: f64, m: f64, v: f64, h: &AdamW) -> (f64, f64, f64) {
    let [lr, beta1, beta2, eps, decay, scale] =
        [h.lr, h.beta1, h.beta2, h.eps, h.weight_decay, h.grad_scale].map(f64::from);
    let g = g * scale;
    let p = p * (1.0 - lr * decay);
    let m = beta1 * m + (1.0 - beta1) * g;
    let v = beta2 * v + (1.0 - beta2) * g * g;
    let step = h.step as i32;
    let denominator = v.sqrt() / (1.0 - beta2.powi(step)).sqrt() + eps;
    (p - lr / (1.0 - beta1.powi(step)) * m / denominator, m, v)
}
