//! The operations the network is made of, each checking and working out its shapes.
//!
//! Every method takes the name of the node to add and returns its output, or
//! [`ExportError::Shape`] naming that node.
use super::onnx::{float, int, ints, Graph, Value};
use super::ExportError;

type Result<T> = std::result::Result<T, ExportError>;

fn ensure(fits: bool, op: &'static str, node: &str, reason: impl FnOnce() -> String) -> Result<()> {
    if fits {
        return Ok(());
    }
    Err(ExportError::Shape {
        node: node.to_owned(),
        op,
        reason: reason(),
    })
}

/// Elementwise operations of one value.
impl Graph {
    fn unary(&mut self, op: &'static str, name: &str, x: &Value) -> Value {
        self.single(op, name, &[x], vec![], x.shape().to_vec())
    }

    /// 1 / (1 + exp(-x)).
    pub fn sigmoid(&mut self, name: &str, x: &Value) -> Value {
        self.unary("Sigmoid", name, x)
    }

    /// Hyperbolic tangent.
    pub fn tanh(&mut self, name: &str, x: &Value) -> Value {
        self.unary("Tanh", name, x)
    }

    /// The exponential function.
    pub fn exp(&mut self, name: &str, x: &Value) -> Value {
        self.unary("Exp", name, x)
    }

    /// x sigmoid(x).
    pub fn silu(&mut self, name: &str, x: &Value) -> Result<Value> {
        let gate = self.sigmoid(&format!("{name}.gate"), x);
        self.mul(name, x, &gate)
    }

    /// The exact x/2 (1 + erf(x / sqrt 2)), in the order of operations in which tract and
    /// onnxruntime know it for one.
    pub fn gelu(&mut self, name: &str, x: &Value) -> Result<Value> {
        let (half, one) = (self.scalar(0.5), self.scalar(1.0));
        let inverse_root = self.scalar(std::f32::consts::FRAC_1_SQRT_2);
        let scaled = self.mul(&format!("{name}.scaled"), x, &inverse_root)?;
        let erf = self.unary("Erf", &format!("{name}.erf"), &scaled);
        let gate = self.add(&format!("{name}.gate"), &erf, &one)?;
        let product = self.mul(&format!("{name}.product"), x, &gate)?;
        self.mul(name, &product, &half)
    }

    /// exp(x) / sum exp(x) along an axis.
    pub fn softmax(&mut self, name: &str, x: &Value, axis: usize) -> Result<Value> {
        check_axis("Softmax", name, x, axis)?;
        Ok(self.single(
            "Softmax",
            name,
            &[x],
            vec![int("axis", axis as i64)],
            x.shape().to_vec(),
        ))
    }

    /// Layer norm over the last dimension, then gain and bias.
    pub fn layer_norm(
        &mut self,
        name: &str,
        x: &Value,
        gain: &Value,
        bias: &Value,
        epsilon: f32,
    ) -> Result<Value> {
        let channels = x.shape().last().copied().unwrap_or(0);
        ensure(
            gain.shape() == [channels] && bias.shape() == [channels],
            "LayerNormalization",
            name,
            || {
                format!(
                    "gain {:?} and bias {:?} over the last dimension of {:?}",
                    gain.shape(),
                    bias.shape(),
                    x.shape()
                )
            },
        )?;
        let attributes = vec![int("axis", -1), float("epsilon", epsilon)];
        Ok(self.single(
            "LayerNormalization",
            name,
            &[x, gain, bias],
            attributes,
            x.shape().to_vec(),
        ))
    }
}

/// Elementwise operations of two values, of the same shape after broadcasting.
impl Graph {
    fn binary(&mut self, op: &'static str, name: &str, a: &Value, b: &Value) -> Result<Value> {
        let rank = a.shape().len().max(b.shape().len());
        let dim = |v: &Value, i: usize| {
            (i + v.shape().len())
                .checked_sub(rank)
                .map_or(1, |i| v.shape()[i])
        };
        let shape = (0..rank).map(|i| match (dim(a, i), dim(b, i)) {
            (x, y) if x == y || y == 1 => Some(x),
            (1, y) => Some(y),
            _ => None,
        });
        let shape: Option<Vec<usize>> = shape.collect();
        ensure(shape.is_some(), op, name, || {
            format!("{:?} and {:?} do not broadcast", a.shape(), b.shape())
        })?;
        Ok(self.single(op, name, &[a, b], vec![], shape.unwrap_or_default()))
    }

    /// a + b.
    pub fn add(&mut self, name: &str, a: &Value, b: &Value) -> Result<Value> {
        self.binary("Add", name, a, b)
    }

    /// a b, element by element.
    pub fn mul(&mut self, name: &str, a: &Value, b: &Value) -> Result<Value> {
        self.binary("Mul", name, a, b)
    }

    /// The smaller of a and b, element by element.
    pub fn min(&mut self, name: &str, a: &Value, b: &Value) -> Result<Value> {
        self.binary("Min", name, a, b)
    }
}

/// Linear maps.
impl Graph {
    /// Matrix product of the last two dimensions; the ones before are equal, or `b` has none.
    pub fn matmul(&mut self, name: &str, a: &Value, b: &Value) -> Result<Value> {
        let shape = match (a.shape(), b.shape()) {
            ([batch @ .., m, k], [other @ .., l, n])
                if k == l && (other.is_empty() || other == batch) =>
            {
                Some([batch, &[*m, *n]].concat())
            }
            _ => None,
        };
        ensure(shape.is_some(), "MatMul", name, || {
            format!("{:?} times {:?}", a.shape(), b.shape())
        })?;
        Ok(self.single("MatMul", name, &[a, b], vec![], shape.unwrap_or_default()))
    }

    /// x W + b over the last dimension, with `weight` [inputs, outputs] and `bias` [outputs].
    pub fn linear(&mut self, name: &str, x: &Value, weight: &Value, bias: &Value) -> Result<Value> {
        let product = self.matmul(&format!("{name}.matmul"), x, weight)?;
        self.add(name, &product, bias)
    }

    /// Convolution with a square kernel: `x` [1, C, H, W], `weight` [F, C, k, k], `bias` [F];
    /// `padding` zeros on all four sides.
    pub fn conv(
        &mut self,
        name: &str,
        x: &Value,
        weight: &Value,
        bias: &Value,
        stride: usize,
        padding: usize,
    ) -> Result<Value> {
        let shape = match (x.shape(), weight.shape(), bias.shape()) {
            (&[1, c, h, w], &[f, c2, k, k2], &[f2])
                if c == c2 && k == k2 && f == f2 && stride > 0 && h.min(w) + 2 * padding >= k =>
            {
                let size = |side: usize| (side + 2 * padding - k) / stride + 1;
                Some((vec![1, f, size(h), size(w)], k))
            }
            _ => None,
        };
        let reason = || {
            format!(
                "input {:?}, weight {:?}, bias {:?}, stride {stride}, padding {padding}",
                x.shape(),
                weight.shape(),
                bias.shape()
            )
        };
        ensure(shape.is_some(), "Conv", name, reason)?;
        let (shape, k) = shape.unwrap_or_default();
        let attributes = vec![
            ints("kernel_shape", &[k, k]),
            ints("strides", &[stride, stride]),
            ints("pads", &[padding; 4]),
        ];
        Ok(self.single("Conv", name, &[x, weight, bias], attributes, shape))
    }

    /// Largest value of each k x k square of `x` [1, C, H, W]; what does not fill one is left out.
    pub fn max_pool(&mut self, name: &str, x: &Value, k: usize) -> Result<Value> {
        let shape = match *x.shape() {
            [1, c, h, w] if k > 0 && h >= k && w >= k => Some(vec![1, c, h / k, w / k]),
            _ => None,
        };
        ensure(shape.is_some(), "MaxPool", name, || {
            format!("input {:?}, kernel {k}", x.shape())
        })?;
        let attributes = vec![ints("kernel_shape", &[k, k]), ints("strides", &[k, k])];
        Ok(self.single("MaxPool", name, &[x], attributes, shape.unwrap_or_default()))
    }
}

/// Rearrangements.
impl Graph {
    /// The same values in row-major order under another shape.
    pub fn reshape(&mut self, name: &str, x: &Value, shape: &[usize]) -> Result<Value> {
        let fits = x.shape().iter().product::<usize>() == shape.iter().product::<usize>();
        ensure(fits, "Reshape", name, || {
            format!("{:?} does not fill {shape:?}", x.shape())
        })?;
        let target = self.integers(&format!("{name}.shape"), shape);
        Ok(self.single("Reshape", name, &[x, &target], vec![], shape.to_vec()))
    }

    /// Dimension `i` of the result is dimension `permutation[i]` of `x`.
    pub fn transpose(&mut self, name: &str, x: &Value, permutation: &[usize]) -> Result<Value> {
        let mut sorted = permutation.to_vec();
        sorted.sort_unstable();
        let fits = sorted.iter().copied().eq(0..x.shape().len());
        ensure(fits, "Transpose", name, || {
            format!(
                "{permutation:?} is no order of the dimensions of {:?}",
                x.shape()
            )
        })?;
        let shape = permutation.iter().map(|&i| x.shape()[i]).collect();
        Ok(self.single(
            "Transpose",
            name,
            &[x],
            vec![ints("perm", permutation)],
            shape,
        ))
    }

    /// The values at `start..end` of an axis.
    pub fn slice(
        &mut self,
        name: &str,
        x: &Value,
        axis: usize,
        start: usize,
        end: usize,
    ) -> Result<Value> {
        check_axis("Slice", name, x, axis)?;
        let fits = start < end && end <= x.shape()[axis];
        ensure(fits, "Slice", name, || {
            format!("{start}..{end} of axis {axis} of {:?}", x.shape())
        })?;
        let starts = self.integers(&format!("{name}.start"), &[start]);
        let ends = self.integers(&format!("{name}.end"), &[end]);
        let axes = self.integers(&format!("{name}.axis"), &[axis]);
        let mut shape = x.shape().to_vec();
        shape[axis] = end - start;
        Ok(self.single("Slice", name, &[x, &starts, &ends, &axes], vec![], shape))
    }

    /// Cuts an axis into `N` parts of the same length.
    pub fn split<const N: usize>(
        &mut self,
        name: &str,
        x: &Value,
        axis: usize,
    ) -> Result<[Value; N]> {
        check_axis("Split", name, x, axis)?;
        let length = x.shape()[axis];
        ensure(N > 1 && length.is_multiple_of(N), "Split", name, || {
            format!("axis {axis} of {:?} into {N}", x.shape())
        })?;
        let mut shape = x.shape().to_vec();
        shape[axis] = length / N;
        let lengths = self.integers(&format!("{name}.lengths"), &[length / N; N]);
        let parts = self.node(
            "Split",
            name,
            &[x, &lengths],
            vec![int("axis", axis as i64)],
            &vec![shape; N],
        );
        Ok(parts.try_into().expect("as many outputs as shapes"))
    }

    /// Puts values behind one another along an axis.
    pub fn concat(&mut self, name: &str, parts: &[&Value], axis: usize) -> Result<Value> {
        let shapes = || parts.iter().map(|p| p.shape()).collect::<Vec<_>>();
        let reason = || format!("{:?} along axis {axis}", shapes());
        ensure(
            !parts.is_empty() && axis < parts[0].shape().len(),
            "Concat",
            name,
            reason,
        )?;
        let mut shape = parts[0].shape().to_vec();
        shape[axis] = 0;
        for part in parts {
            let fits = part.shape().len() == shape.len()
                && part
                    .shape()
                    .iter()
                    .zip(&shape)
                    .enumerate()
                    .all(|(i, (a, b))| i == axis || a == b);
            ensure(fits, "Concat", name, reason)?;
            shape[axis] += part.shape()[axis];
        }
        Ok(self.single("Concat", name, parts, vec![int("axis", axis as i64)], shape))
    }
}

fn check_axis(op: &'static str, name: &str, x: &Value, axis: usize) -> Result<()> {
    ensure(axis < x.shape().len(), op, name, || {
        format!("axis {axis} of {:?}", x.shape())
    })
}
