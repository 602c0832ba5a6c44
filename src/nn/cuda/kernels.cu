// The kernels of src/nn/cuda, compiled for the GPU at hand when it is first used.
//
// Matrices are row-major, [rows, d]. Sums are made in an order that depends on the sizes alone, without atomic
// additions, so that a run can be repeated. What a gradient kernel writes it adds.

typedef long long i64;
typedef unsigned int u32;

// -inf; NVRTC has no headers.
#define LOWEST __int_as_float(0xff800000)

#define INDEX (blockIdx.x * (i64)blockDim.x + threadIdx.x)
#define STRIDE ((i64)gridDim.x * blockDim.x)
#define FOR_EACH(i, n) for (i64 i = INDEX; i < (n); i += STRIDE)
// One warp a row.
#define WARP_ROW ((blockIdx.x * (i64)blockDim.x + threadIdx.x) / 32)
#define LANE (threadIdx.x % 32)

__device__ float warp_sum(float v) {
    for (int offset = 16; offset > 0; offset >>= 1) v += __shfl_xor_sync(0xffffffffu, v, offset);
    return v;
}

__device__ float warp_max(float v) {
    for (int offset = 16; offset > 0; offset >>= 1) v = fmaxf(v, __shfl_xor_sync(0xffffffffu, v, offset));
    return v;
}

// Of all threads of a block of 256; `shared` holds 8 values.
__device__ float block_sum(float v, float *shared) {
    v = warp_sum(v);
    __syncthreads();
    if (LANE == 0) shared[threadIdx.x / 32] = v;
    __syncthreads();
    v = 0.0f;
    for (int i = 0; i < 8; i++) v += shared[i];
    return v;
}

__device__ float block_max(float v, float *shared) {
    v = warp_max(v);
    __syncthreads();
    if (LANE == 0) shared[threadIdx.x / 32] = v;
    __syncthreads();
    v = shared[0];
    for (int i = 1; i < 8; i++) v = fmaxf(v, shared[i]);
    return v;
}

// y[r, c] = b[c]
extern "C" __global__ void broadcast_row(const float *b, i64 n, int d, float *y) {
    FOR_EACH(i, n) y[i] = b[i % d];
}

// y += a[0] * x
extern "C" __global__ void add_scaled(const float *a, const float *x, i64 n, float *y) {
    FOR_EACH(i, n) y[i] += a[0] * x[i];
}

// The columns of one of: dy * (a ? a[r] : 1), if other is null; dy * other * (a ? a[r] : 1), if b is null; else
// dy * (other - a[r]) * b[r]. Each block sums `chunk` rows of 32 columns.
extern "C" __global__ void column_partials(
    const float *dy, const float *other, const float *a, const float *b, int rows, int d, int chunk, float *partial
) {
    __shared__ float sums[8][33];
    int c = blockIdx.x * 32 + threadIdx.x;
    int first = blockIdx.y * chunk, last = min(rows, first + chunk);
    float sum = 0.0f;
    if (c < d) {
        for (int r = first + threadIdx.y; r < last; r += 8) {
            float v = dy[(i64)r * d + c];
            if (b) v *= (other[(i64)r * d + c] - a[r]) * b[r];
            else {
                if (other) v *= other[(i64)r * d + c];
                if (a) v *= a[r];
            }
            sum += v;
        }
    }
    sums[threadIdx.y][threadIdx.x] = sum;
    __syncthreads();
    if (threadIdx.y == 0 && c < d) {
        sum = 0.0f;
        for (int i = 0; i < 8; i++) sum += sums[i][threadIdx.x];
        partial[(i64)blockIdx.y * d + c] = sum;
    }
}

extern "C" __global__ void column_finish(const float *partial, int chunks, int d, float *out) {
    FOR_EACH(c, d) {
        float sum = 0.0f;
        for (int i = 0; i < chunks; i++) sum += partial[(i64)i * d + c];
        out[c] += sum;
    }
}

extern "C" __global__ void layer_norm(
    const float *x, const float *gain, const float *bias, float eps, int rows, int d, float *y, float *mean, float *rstd
) {
    i64 row = WARP_ROW;
    if (row >= rows) return;
    const float *xr = x + row * d;
    float m = 0.0f, v = 0.0f;
    for (int c = LANE; c < d; c += 32) m += xr[c];
    m = warp_sum(m) / d;
    for (int c = LANE; c < d; c += 32) v += (xr[c] - m) * (xr[c] - m);
    float r = 1.0f / sqrtf(warp_sum(v) / d + eps);
    for (int c = LANE; c < d; c += 32) y[row * d + c] = (xr[c] - m) * r * gain[c] + bias[c];
    if (LANE == 0) {
        mean[row] = m;
        rstd[row] = r;
    }
}

extern "C" __global__ void layer_norm_backward(
    const float *x, const float *gain, const float *mean, const float *rstd, const float *dy, int rows, int d, float *dx
) {
    i64 row = WARP_ROW;
    if (row >= rows) return;
    const float *xr = x + row * d, *g = dy + row * d;
    float m = mean[row], r = rstd[row], s1 = 0.0f, s2 = 0.0f;
    for (int c = LANE; c < d; c += 32) {
        float t = g[c] * gain[c];
        s1 += t;
        s2 += t * (xr[c] - m) * r;
    }
    s1 = warp_sum(s1) / d;
    s2 = warp_sum(s2) / d;
    for (int c = LANE; c < d; c += 32) dx[row * d + c] += r * (g[c] * gain[c] - s1 - (xr[c] - m) * r * s2);
}

__device__ float cumulative_normal(float x) { return 0.5f * erfcf(-0.70710678f * x); }

// kind 0: GELU, 1: SiLU.
extern "C" __global__ void activation(int kind, const float *x, i64 n, float *y) {
    FOR_EACH(i, n) y[i] = kind == 0 ? x[i] * cumulative_normal(x[i]) : x[i] / (1.0f + expf(-x[i]));
}

extern "C" __global__ void activation_backward(int kind, const float *x, const float *dy, i64 n, float *dx) {
    FOR_EACH(i, n) {
        float v = x[i], slope;
        if (kind == 0) {
            slope = cumulative_normal(v) + v * 0.39894228f * expf(-0.5f * v * v);
        } else {
            float s = 1.0f / (1.0f + expf(-v));
            slope = s * (1.0f + v * (1.0f - s));
        }
        dx[i] += dy[i] * slope;
    }
}

// gain and scale may be null.
extern "C" __global__ void residual(
    const float *x, const float *branch, const float *gain, const float *scale, i64 n, int d, float *y
) {
    FOR_EACH(i, n) {
        float v = branch[i];
        if (gain) v *= gain[i % d];
        if (scale) v *= scale[i / d];
        y[i] = x[i] + v;
    }
}

extern "C" __global__ void residual_backward(
    const float *dy, const float *gain, const float *scale, i64 n, int d, float *dx, float *dbranch
) {
    FOR_EACH(i, n) {
        float v = dy[i];
        dx[i] += v;
        if (gain) v *= gain[i % d];
        if (scale) v *= scale[i / d];
        dbranch[i] += v;
    }
}

// In place, rows of `len`: s = softmax(factor * s).
extern "C" __global__ void softmax_rows(float factor, i64 rows, int len, float *s) {
    i64 row = WARP_ROW;
    if (row >= rows) return;
    float *z = s + row * len, top = LOWEST, sum = 0.0f;
    for (int c = LANE; c < len; c += 32) top = fmaxf(top, z[c]);
    top = warp_max(top);
    for (int c = LANE; c < len; c += 32) {
        z[c] = expf(factor * (z[c] - top));
        sum += z[c];
    }
    float inverse = 1.0f / warp_sum(sum);
    for (int c = LANE; c < len; c += 32) z[c] *= inverse;
}

// In place of dp: factor * p * (dp - sum(p * dp)).
extern "C" __global__ void softmax_rows_backward(float factor, const float *p, i64 rows, int len, float *dp) {
    i64 row = WARP_ROW;
    if (row >= rows) return;
    const float *pr = p + row * len;
    float *g = dp + row * len, sum = 0.0f;
    for (int c = LANE; c < len; c += 32) sum += pr[c] * g[c];
    sum = warp_sum(sum);
    for (int c = LANE; c < len; c += 32) g[c] = factor * pr[c] * (g[c] - sum);
}

// y[i] = x[index[i]]
extern "C" __global__ void gather_rows(const float *x, const u32 *index, i64 n, int d, float *y) {
    FOR_EACH(i, n) y[i] = x[(i64)index[i / d] * d + i % d];
}

// dx[target[t]] += sum of weight[j] * dy[source[j]] for j from start[t] to start[t + 1].
extern "C" __global__ void gather_sums(
    const float *dy, const u32 *target, const u32 *start, const u32 *source, const float *weight, i64 n, int d, float *dx
) {
    FOR_EACH(i, n) {
        i64 t = i / d;
        int c = i % d;
        float sum = 0.0f;
        for (u32 j = start[t]; j < start[t + 1]; j++) {
            sum += weight[j] * dy[(i64)source[j] * d + c];
        }
        dx[(i64)target[t] * d + c] += sum;
    }
}

// The same for targets of many readers: for each target and `wide` columns a block of 256, of which 256 / wide threads
// share the readers of a column. `wide` is a power of two of at most 32.
extern "C" __global__ void gather_long_sums(
    const float *dy, const u32 *target, const u32 *start, const u32 *source, const float *weight, int wide, int d, float *dx
) {
    __shared__ float sums[256];
    int column = threadIdx.x % wide, reader = threadIdx.x / wide, readers = 256 / wide;
    int c = blockIdx.x * wide + column;
    u32 t = blockIdx.y;
    float sum = 0.0f;
    if (c < d) {
        for (u32 j = start[t] + reader; j < start[t + 1]; j += readers) sum += weight[j] * dy[(i64)source[j] * d + c];
    }
    sums[threadIdx.x] = sum;
    __syncthreads();
    if (reader == 0 && c < d) {
        for (int i = 1; i < readers; i++) sum += sums[i * wide + column];
        dx[(i64)target[t] * d + c] += sum;
    }
}

// y[i] = sum of four weighted rows.
extern "C" __global__ void gather_taps(
    const float *table, const u32 *index, const float *weight, i64 n, int d, float *y
) {
    FOR_EACH(i, n) {
        i64 row = i / d;
        int c = i % d;
        float sum = 0.0f;
        for (int k = 0; k < 4; k++) sum += weight[4 * row + k] * table[(i64)index[4 * row + k] * d + c];
        y[i] = sum;
    }
}

// For each token the row of its content (-1: CLS, -2: masked) and of its position (-1: none, -2: masked).
extern "C" __global__ void assemble(
    const float *content, const float *position, const float *cls, const float *mask, const float *position_mask,
    const int *from_content, const int *from_position, i64 n, int d, float *y
) {
    FOR_EACH(i, n) {
        i64 row = i / d;
        int c = i % d, a = from_content[row], b = from_position[row];
        float v = a >= 0 ? content[(i64)a * d + c] : a == -1 ? cls[c] : mask[c];
        if (b >= 0) v += position[(i64)b * d + c];
        else if (b == -2) v += position_mask[c];
        y[i] = v;
    }
}

extern "C" __global__ void assemble_backward(
    const float *dy, const int *from_content, const int *from_position, i64 n, int d, float *dcontent, float *dposition
) {
    FOR_EACH(i, n) {
        i64 row = i / d;
        int c = i % d, a = from_content[row], b = from_position[row];
        if (a >= 0) dcontent[(i64)a * d + c] += dy[i];
        if (b >= 0) dposition[(i64)b * d + c] += dy[i];
    }
}

extern "C" __global__ void l2_normalize(const float *x, float eps, int rows, int d, float *y, float *norm) {
    i64 row = WARP_ROW;
    if (row >= rows) return;
    float sum = 0.0f;
    for (int c = LANE; c < d; c += 32) sum += x[row * d + c] * x[row * d + c];
    // Written so that NaN stays NaN.
    float length = sqrtf(warp_sum(sum)), inverse = 1.0f / (length < eps ? eps : length);
    for (int c = LANE; c < d; c += 32) y[row * d + c] = x[row * d + c] * inverse;
    if (LANE == 0) norm[row] = length;
}

extern "C" __global__ void l2_normalize_backward(
    const float *y, const float *norm, const float *dy, float eps, int rows, int d, float *dx
) {
    i64 row = WARP_ROW;
    if (row >= rows) return;
    const float *yr = y + row * d, *g = dy + row * d;
    float dot = 0.0f;
    for (int c = LANE; c < d; c += 32) dot += yr[c] * g[c];
    // Below eps the divisor is constant.
    dot = norm[row] < eps ? 0.0f : warp_sum(dot);
    float inverse = 1.0f / (norm[row] < eps ? eps : norm[row]);
    for (int c = LANE; c < d; c += 32) dx[row * d + c] += (g[c] - dot * yr[c]) * inverse;
}

// One block of 256 a row of k cosines: the cross-entropy of softmax(z / temperature) against its target row, and in the
// place of z, if `slope`, weight times the loss's derivative.
extern "C" __global__ void cross_entropy(
    float *z, const float *targets, const u32 *target_row, const float *weight, float temperature, int k, int slope, float *loss
) {
    __shared__ float shared[8];
    i64 row = blockIdx.x;
    float *zr = z + row * k, inverse = 1.0f / temperature;
    const float *t = targets + (i64)target_row[row] * k;
    float top = LOWEST, sum = 0.0f, mass = 0.0f, dot = 0.0f;
    for (int c = threadIdx.x; c < k; c += 256) top = fmaxf(top, zr[c]);
    top = block_max(top, shared);
    for (int c = threadIdx.x; c < k; c += 256) {
        float shifted = (zr[c] - top) * inverse;
        sum += expf(shifted);
        mass += t[c];
        dot += t[c] * shifted;
    }
    sum = block_sum(sum, shared);
    mass = block_sum(mass, shared);
    dot = block_sum(dot, shared);
    if (threadIdx.x == 0) loss[row] = mass * logf(sum) - dot;
    if (!slope) return;
    float factor = weight[row] * inverse, share = mass / sum;
    for (int c = threadIdx.x; c < k; c += 256) zr[c] = factor * (share * expf((zr[c] - top) * inverse) - t[c]);
}

// AdamW, and the teacher that follows, which may be null.
extern "C" __global__ void adamw(
    float *p, const float *grad, float *m, float *v, float *teacher, float momentum, float beta1, float beta2, float eps,
    float keep, float step_size, float inverse_root, float grad_scale, i64 n
) {
    FOR_EACH(i, n) {
        float g = grad[i] * grad_scale;
        float first = m[i] + (1.0f - beta1) * (g - m[i]);
        float second = beta2 * v[i] + (1.0f - beta2) * g * g;
        m[i] = first;
        v[i] = second;
        float next = p[i] * keep - step_size * first / (sqrtf(second) * inverse_root + eps);
        p[i] = next;
        if (teacher) teacher[i] += (1.0f - momentum) * (next - teacher[i]);
    }
}

// partial[b] = the sum of squares of block b's share; blocks of 256.
extern "C" __global__ void squares(const float *x, i64 n, double *partial) {
    __shared__ double sums[256];
    double sum = 0.0;
    FOR_EACH(i, n) sum += (double)x[i] * x[i];
    sums[threadIdx.x] = sum;
    for (int half = 128; half > 0; half >>= 1) {
        __syncthreads();
        if (threadIdx.x < half) sums[threadIdx.x] += sums[threadIdx.x + half];
    }
    if (threadIdx.x == 0) partial[blockIdx.x] = sums[0];
}

// Row r, columns (tap, channel): the 3 x 3 neighbourhood of a location of maps of h x w, zeros outside.
extern "C" __global__ void neighbourhoods(const float *x, i64 n, int h, int w, int d, float *y) {
    FOR_EACH(i, n) {
        int c = i % d, tap = i / d % 9;
        i64 row = i / (9 * d);
        int py = row / w % h + tap / 3 - 1, px = row % w + tap % 3 - 1;
        bool inside = 0 <= py && py < h && 0 <= px && px < w;
        y[i] = inside ? x[(row + (tap / 3 - 1) * w + tap % 3 - 1) * d + c] : 0.0f;
    }
}

extern "C" __global__ void neighbourhoods_backward(const float *dy, i64 n, int h, int w, int d, float *dx) {
    FOR_EACH(i, n) {
        int c = i % d;
        i64 row = i / d;
        int y = row / w % h, x = row % w;
        float sum = 0.0f;
        // The location is tap `tap` of the one that lies so far back.
        for (int tap = 0; tap < 9; tap++) {
            int py = y - (tap / 3 - 1), px = x - (tap % 3 - 1);
            if (0 <= py && py < h && 0 <= px && px < w) {
                i64 from = row - (tap / 3 - 1) * w - (tap % 3 - 1);
                sum += dy[(from * 9 + tap) * d + c];
            }
        }
        dx[i] += sum;
    }
}
