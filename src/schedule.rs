//! What changes from step to step (METHOD section 4). Every value is a function of the step alone.

/// Half a cosine from `start` at step 0 to `end` at the last step.
pub fn cosine(start: f32, end: f32, step: u64, steps: u64) -> f32 {
    let t = if steps > 1 {
        step.min(steps - 1) as f64 / (steps - 1) as f64
    } else {
        1.0
    };
    let (start, end) = (f64::from(start), f64::from(end));
    (end + (start - end) * 0.5 * (1.0 + (std::f64::consts::PI * t).cos())) as f32
}

/// A straight line from `start` to `end` over the first `share` of the steps, then `end`.
pub fn linear_warmup(start: f32, end: f32, share: f32, step: u64, steps: u64) -> f32 {
    let rise = f64::from(share) * steps as f64;
    let t = if rise > 0.0 {
        (step as f64 / rise).min(1.0)
    } else {
        1.0
    };
    (f64::from(start) + (f64::from(end) - f64::from(start)) * t) as f32
}

/// The learning rate: up from nearly nothing over the first `warmup` of the steps, then a cosine to `end`.
pub fn learning_rate(peak: f32, end: f32, warmup: f32, step: u64, steps: u64) -> f32 {
    let rise = (f64::from(warmup) * steps as f64).round() as u64;
    if step < rise {
        peak * (step + 1) as f32 / rise as f32
    } else {
        cosine(peak, end, step - rise, steps - rise)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn worked_values() {
        assert_eq!(cosine(1.0, 0.0, 0, 5), 1.0);
        assert_eq!(cosine(1.0, 0.0, 2, 5), 0.5);
        assert_eq!(cosine(1.0, 0.0, 4, 5), 0.0);
        // 0.5 (1 + cos(pi / 4))
        assert!((cosine(1.0, 0.0, 1, 5) - 0.853_553_4).abs() < 1e-6);
        assert_eq!(linear_warmup(0.04, 0.07, 0.5, 0, 10), 0.04);
        assert_eq!(linear_warmup(0.0, 1.0, 0.5, 2, 10), 0.4);
        assert_eq!(linear_warmup(0.0, 1.0, 0.5, 7, 10), 1.0);
        assert_eq!(learning_rate(1.0, 0.0, 0.2, 0, 10), 0.5);
        assert_eq!(learning_rate(1.0, 0.0, 0.2, 1, 10), 1.0);
        assert_eq!(learning_rate(1.0, 0.0, 0.2, 2, 10), 1.0);
        assert_eq!(learning_rate(1.0, 0.1, 0.2, 9, 10), 0.1);
        // A run of one step is at its end.
        assert_eq!(cosine(1.0, 0.25, 0, 1), 0.25);
    }
}
