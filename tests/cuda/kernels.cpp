// The kernels of src/nn/cuda on a CPU: a block's threads are threads, its barriers barriers. Each kernel is compared with
// a plain reference in double precision, gradients with differences of it, for odd sizes. Prints what is wrong.

#include <algorithm>
#include <barrier>
#include <cmath>
#include <cstdio>
#include <functional>
#include <memory>
#include <random>
#include <thread>
#include <vector>

struct Index { int x, y, z; };
static thread_local Index threadIdx;
static Index blockIdx, blockDim, gridDim;
static std::unique_ptr<std::barrier<>> whole_block;
static std::vector<std::unique_ptr<std::barrier<>>> warps;
static float exchanged[8][32];

#define __global__
#define __device__
#define __shared__ static
using std::max;
using std::min;

static int thread_number() { return threadIdx.y * blockDim.x + threadIdx.x; }
static void __syncthreads() { whole_block->arrive_and_wait(); }
static float __int_as_float(unsigned bits) { return bits == 0xff800000 ? -INFINITY : NAN; }
static float __shfl_xor_sync(unsigned, float v, int offset) {
    int warp = thread_number() / 32, lane = thread_number() % 32;
    exchanged[warp][lane] = v;
    warps[warp]->arrive_and_wait();
    float other = exchanged[warp][lane ^ offset];
    warps[warp]->arrive_and_wait();
    return other;
}

#include KERNELS

// Runs a kernel of blocks of `block` threads, 256 in all.
static void launch(Index grid, Index block, const std::function<void()> &kernel) {
    gridDim = grid;
    blockDim = block;
    for (blockIdx.y = 0; blockIdx.y < grid.y; blockIdx.y++) {
        for (blockIdx.x = 0; blockIdx.x < grid.x; blockIdx.x++) {
            whole_block = std::make_unique<std::barrier<>>(256);
            warps.clear();
            for (int i = 0; i < 8; i++) warps.push_back(std::make_unique<std::barrier<>>(32));
            std::vector<std::thread> threads;
            for (int t = 0; t < 256; t++) {
                threads.emplace_back([&, t] {
                    threadIdx = {t % block.x, t / block.x, 0};
                    kernel();
                });
            }
            for (auto &thread : threads) thread.join();
        }
    }
}

// As the host does: each value by a thread, each row by a warp, each row by a block. Fewer blocks than values ask for, so
// that threads go round.
static void each(const std::function<void()> &kernel) { launch({2, 1, 1}, {256, 1, 1}, kernel); }
static void row_warps(int rows, const std::function<void()> &kernel) { launch({rows * 32 / 256 + 1, 1, 1}, {256, 1, 1}, kernel); }
static void row_blocks(int rows, const std::function<void()> &kernel) { launch({rows, 1, 1}, {256, 1, 1}, kernel); }

typedef std::vector<float> Floats;
typedef std::vector<double> Doubles;
static std::mt19937 rng(1);
static int wrong = 0;

static Floats normal(size_t n, float scale = 1.0f) {
    std::normal_distribution<float> draw(0.0f, scale);
    Floats out(n);
    for (auto &v : out) v = draw(rng);
    return out;
}
static Floats uniform(size_t n) {
    std::uniform_real_distribution<float> draw(0.1f, 1.0f);
    Floats out(n);
    for (auto &v : out) v = draw(rng);
    return out;
}
static Doubles wide(const Floats &v) { return Doubles(v.begin(), v.end()); }

static void close(const char *what, const Floats &found, const Doubles &expected, double tolerance = 2e-5) {
    double scale = 1.0;
    for (double v : expected) scale = std::max(scale, std::fabs(v));
    for (size_t i = 0; i < expected.size(); i++) {
        if (!(std::fabs(found[i] - expected[i]) <= tolerance * scale)) {
            printf("%s[%zu]: %g, expected %g\n", what, i, found[i], expected[i]);
            wrong++;
            return;
        }
    }
}

// The gradient that was added to `found`, which began as 0.5 everywhere, against differences of sum(dy * f(x)).
static void slope(const char *what, const Floats &found, const Floats &x, const Floats &dy,
                  const std::function<Doubles(const Doubles &)> &f) {
    for (int trial = 0; trial < 3; trial++) {
        Floats way = normal(x.size());
        Doubles ahead = wide(x), back = wide(x);
        double h = 1e-4, promised = 0.0, moved = 0.0, size = 1.0;
        for (size_t i = 0; i < x.size(); i++) {
            ahead[i] += h * way[i];
            back[i] -= h * way[i];
            promised += (found[i] - 0.5) * way[i];
            size += std::fabs((found[i] - 0.5) * way[i]);
        }
        Doubles a = f(ahead), b = f(back);
        for (size_t i = 0; i < dy.size(); i++) moved += dy[i] * (a[i] - b[i]) / (2.0 * h);
        if (!(std::fabs(promised - moved) <= 1e-4 * size)) {
            printf("gradient of %s: %g, by differences %g\n", what, promised, moved);
            wrong++;
            return;
        }
    }
}

static Floats halves(size_t n) { return Floats(n, 0.5f); }

static void columns() {
    for (auto [rows, d] : {std::pair{1, 1}, {130, 33}, {70, 5}}) {
        Floats dy = normal(rows * d), other = normal(rows * d), a = normal(rows), b = uniform(rows);
        for (int kind = 0; kind < 4; kind++) {
            const float *po = kind >= 2 ? other.data() : nullptr, *pa = kind ? a.data() : nullptr;
            const float *pb = kind == 3 ? b.data() : nullptr;
            int chunk = 64, chunks = (rows + chunk - 1) / chunk;
            Floats partial(chunks * d, NAN), out = halves(d);
            launch({(d + 31) / 32, chunks, 1}, {32, 8, 1}, [&] {
                column_partials(dy.data(), po, pa, pb, rows, d, chunk, partial.data());
            });
            each([&] { column_finish(partial.data(), chunks, d, out.data()); });
            Doubles sum(d, 0.5);
            for (int r = 0; r < rows; r++) for (int c = 0; c < d; c++) {
                double o = other[r * d + c], v = dy[r * d + c];
                sum[c] += kind == 0 ? v : kind == 1 ? v * a[r] : kind == 2 ? v * o * a[r] : v * (o - a[r]) * b[r];
            }
            close("columns", out, sum);
        }
    }
}

static void norms() {
    for (auto [rows, d] : {std::pair{1, 5}, {9, 33}, {8, 64}}) {
        Floats x = normal(rows * d), gain = normal(d), bias = normal(d), dy = normal(rows * d);
        Floats y(rows * d), mean(rows), rstd(rows), dx = halves(rows * d);
        row_warps(rows, [&] { layer_norm(x.data(), gain.data(), bias.data(), 1e-6f, rows, d, y.data(), mean.data(), rstd.data()); });
        auto norm = [&](const Doubles &x) {
            Doubles y(rows * d);
            for (int r = 0; r < rows; r++) {
                double m = 0.0, v = 0.0;
                for (int c = 0; c < d; c++) m += x[r * d + c] / d;
                for (int c = 0; c < d; c++) v += (x[r * d + c] - m) * (x[r * d + c] - m) / d;
                for (int c = 0; c < d; c++) y[r * d + c] = (x[r * d + c] - m) / std::sqrt(v + 1e-6) * gain[c] + bias[c];
            }
            return y;
        };
        close("layer norm", y, norm(wide(x)));
        row_warps(rows, [&] { layer_norm_backward(x.data(), gain.data(), mean.data(), rstd.data(), dy.data(), rows, d, dx.data()); });
        slope("layer norm", dx, x, dy, norm);

        Floats unit(rows * d), length(rows), dunit = halves(rows * d);
        row_warps(rows, [&] { l2_normalize(x.data(), 1e-6f, rows, d, unit.data(), length.data()); });
        auto l2 = [&](const Doubles &x) {
            Doubles y(rows * d);
            for (int r = 0; r < rows; r++) {
                double squares = 0.0;
                for (int c = 0; c < d; c++) squares += x[r * d + c] * x[r * d + c];
                for (int c = 0; c < d; c++) y[r * d + c] = x[r * d + c] / std::max(std::sqrt(squares), 1e-6);
            }
            return y;
        };
        close("unit rows", unit, l2(wide(x)));
        row_warps(rows, [&] { l2_normalize_backward(unit.data(), length.data(), dy.data(), 1e-6f, rows, d, dunit.data()); });
        slope("unit rows", dunit, x, dy, l2);
        // Below eps a row is scaled by a constant, and NaN stays.
        Floats small = normal(rows * d, 1e-9f), scaled(rows * d), dsmall = Floats(rows * d, 0.0f);
        row_warps(rows, [&] { l2_normalize(small.data(), 1e-6f, rows, d, scaled.data(), length.data()); });
        row_warps(rows, [&] { l2_normalize_backward(scaled.data(), length.data(), dy.data(), 1e-6f, rows, d, dsmall.data()); });
        Doubles constant(rows * d);
        for (int i = 0; i < rows * d; i++) constant[i] = dy[i] * 1e6;
        close("gradient of short rows", dsmall, constant);
        small[0] = NAN;
        row_warps(rows, [&] { l2_normalize(small.data(), 1e-6f, rows, d, scaled.data(), length.data()); });
        if (!std::isnan(scaled[d - 1])) printf("NaN is lost\n"), wrong++;
    }
}

static void softmaxes() {
    for (auto [rows, len] : {std::pair{1, 1}, {9, 37}, {8, 70}}) {
        Floats s = normal(rows * len, 3.0f), dp = normal(rows * len), p = s, ds = dp;
        auto softmax = [&](const Doubles &s) {
            Doubles p(rows * len);
            for (int r = 0; r < rows; r++) {
                double sum = 0.0;
                for (int c = 0; c < len; c++) sum += p[r * len + c] = std::exp(0.3 * s[r * len + c]);
                for (int c = 0; c < len; c++) p[r * len + c] /= sum;
            }
            return p;
        };
        row_warps(rows, [&] { softmax_rows(0.3f, rows, len, p.data()); });
        close("softmax", p, softmax(wide(s)));
        row_warps(rows, [&] { softmax_rows_backward(0.3f, p.data(), rows, len, ds.data()); });
        for (auto &v : ds) v += 0.5f;
        slope("softmax", ds, s, dp, softmax);
    }
    for (int k : {1, 33, 600}) {
        int rows = 3;
        Floats z = normal(rows * k), targets = uniform(2 * k), weight = {0.5f, 0.0f, 2.0f}, loss(rows), dz = z;
        std::vector<u32> row = {1, 0, 1};
        auto ce = [&](const Doubles &z) {
            Doubles loss(rows, 0.0);
            for (int r = 0; r < rows; r++) {
                double sum = 0.0;
                for (int c = 0; c < k; c++) sum += std::exp(z[r * k + c] / 0.2);
                for (int c = 0; c < k; c++) loss[r] -= targets[row[r] * k + c] * (z[r * k + c] / 0.2 - std::log(sum));
            }
            return loss;
        };
        row_blocks(rows, [&] { cross_entropy(dz.data(), targets.data(), row.data(), weight.data(), 0.2f, k, 1, loss.data()); });
        close("cross-entropy", loss, ce(wide(z)));
        for (auto &v : dz) v += 0.5f;
        slope("cross-entropy", dz, z, weight, ce);
    }
}

static void values() {
    int rows = 37, d = 19, n = rows * d;
    Floats x = normal(n, 2.0f), dy = normal(n), gain = normal(d), scale = uniform(rows), y(n);
    for (int kind : {0, 1}) {
        auto f = [&](const Doubles &x) {
            Doubles y(n);
            for (int i = 0; i < n; i++) y[i] = x[i] * (kind ? 1.0 / (1.0 + std::exp(-x[i])) : 0.5 * std::erfc(-x[i] / std::sqrt(2.0)));
            return y;
        };
        each([&] { activation(kind, x.data(), n, y.data()); });
        close("activation", y, f(wide(x)));
        Floats dx = halves(n);
        each([&] { activation_backward(kind, x.data(), dy.data(), n, dx.data()); });
        slope("activation", dx, x, dy, f);
    }
    for (int given = 0; given < 4; given++) {
        const float *g = given & 1 ? gain.data() : nullptr, *s = given & 2 ? scale.data() : nullptr;
        Floats branch = normal(n), dx = halves(n), dbranch = halves(n);
        auto f = [&](const Doubles &branch) {
            Doubles y(n);
            for (int i = 0; i < n; i++) y[i] = x[i] + branch[i] * (g ? gain[i % d] : 1.0) * (s ? scale[i / d] : 1.0);
            return y;
        };
        each([&] { residual(x.data(), branch.data(), g, s, n, d, y.data()); });
        close("residual", y, f(wide(branch)));
        each([&] { residual_backward(dy.data(), g, s, n, d, dx.data(), dbranch.data()); });
        slope("residual's branch", dbranch, branch, dy, f);
        slope("residual's stream", dx, x, dy, [](const Doubles &x) { return x; });
    }
    Floats sum = halves(n), a = {0.3f};
    each([&] { add_scaled(a.data(), x.data(), n, sum.data()); });
    Doubles expected(n);
    for (int i = 0; i < n; i++) expected[i] = 0.5 + 0.3 * x[i];
    close("scaled sum", sum, expected);
    each([&] { broadcast_row(gain.data(), n, d, y.data()); });
    for (int i = 0; i < n; i++) expected[i] = gain[i % d];
    close("broadcast", y, expected);

    std::vector<double> partial(3);
    double total = 0.0;
    row_blocks(3, [&] { squares(x.data(), n, partial.data()); });
    for (float v : x) total += double(v) * v;
    if (std::fabs(partial[0] + partial[1] + partial[2] - total) > 1e-9 * total) printf("squares\n"), wrong++;

    Floats p = normal(n), m = normal(n), v = uniform(n), teacher = normal(n), p0 = p, m0 = m, v0 = v, t0 = teacher;
    each([&] { adamw(p.data(), dy.data(), m.data(), v.data(), teacher.data(), 0.9f, 0.8f, 0.99f, 1e-3f, 0.98f, 0.01f, 2.0f, 0.5f, n); });
    Doubles ep(n), em(n), ev(n), et(n);
    for (int i = 0; i < n; i++) {
        double g = 0.5 * dy[i];
        em[i] = 0.8 * m0[i] + 0.2 * g;
        ev[i] = 0.99 * v0[i] + 0.01 * g * g;
        ep[i] = 0.98 * p0[i] - 0.01 * em[i] / (2.0 * std::sqrt(ev[i]) + 1e-3);
        et[i] = 0.9 * t0[i] + 0.1 * ep[i];
    }
    close("first average", m, em), close("second average", v, ev), close("parameters", p, ep), close("teacher", teacher, et);
}

static void gathers() {
    int table = 7, rows = 23, d = 5, n = rows * d;
    Floats x = normal(table * d), y(n), weight = uniform(4 * rows), dy = normal(n);
    std::vector<u32> index(rows), taps(4 * rows);
    for (auto &i : index) i = rng() % table;
    for (auto &i : taps) i = rng() % table;
    auto rows_of = [&](const Doubles &x) {
        Doubles y(n);
        for (int i = 0; i < n; i++) y[i] = x[index[i / d] * d + i % d];
        return y;
    };
    each([&] { gather_rows(x.data(), index.data(), n, d, y.data()); });
    close("rows", y, rows_of(wide(x)));
    auto taps_of = [&](const Doubles &x) {
        Doubles y(n, 0.0);
        for (int i = 0; i < n; i++) for (int k = 0; k < 4; k++) y[i] += weight[4 * (i / d) + k] * x[taps[4 * (i / d) + k] * d + i % d];
        return y;
    };
    each([&] { gather_taps(x.data(), taps.data(), weight.data(), n, d, y.data()); });
    close("taps", y, taps_of(wide(x)));
    // Of each row the readers, as the host lists them; for blocks of several widths.
    std::vector<u32> target, start = {0}, source;
    Floats of_reader;
    for (u32 t = 0; t < u32(table); t++) {
        for (u32 i = 0; i < taps.size(); i++) if (taps[i] == t) source.push_back(i / 4), of_reader.push_back(weight[i]);
        if (source.size() > start.back()) target.push_back(t), start.push_back(source.size());
    }
    Floats dx = halves(x.size());
    each([&] { gather_sums(dy.data(), target.data(), start.data(), source.data(), of_reader.data(), target.size() * d, d, dx.data()); });
    slope("taps", dx, x, dy, taps_of);
    for (int across : {1, 4, 8, 32}) {
        Floats dx = halves(x.size());
        launch({(d + across - 1) / across, int(target.size()), 1}, {256, 1, 1}, [&] {
            gather_long_sums(dy.data(), target.data(), start.data(), source.data(), of_reader.data(), across, d, dx.data());
        });
        slope("taps of many readers", dx, x, dy, taps_of);
    }

    // Tokens: CLS, two patches, a patch without content, one without position.
    std::vector<int> content = {-1, 0, 1, -2, 3}, position = {-1, 0, 1, 2, -2};
    int tokens = 5, patches = 4;
    Floats c = normal(patches * d), p = normal(patches * d), cls = normal(d), mask = normal(d), hidden = normal(d), t(tokens * d);
    Floats dc = halves(c.size()), dp = halves(p.size()), dt = normal(tokens * d);
    auto tokens_of = [&](const Doubles &c, const Doubles &p) {
        Doubles t(tokens * d);
        for (int i = 0; i < tokens * d; i++) {
            int a = content[i / d], b = position[i / d], k = i % d;
            t[i] = (a >= 0 ? c[a * d + k] : a == -1 ? cls[k] : mask[k]) + (b >= 0 ? p[b * d + k] : b == -2 ? hidden[k] : 0.0);
        }
        return t;
    };
    each([&] { assemble(c.data(), p.data(), cls.data(), mask.data(), hidden.data(), content.data(), position.data(), tokens * d, d, t.data()); });
    close("tokens", t, tokens_of(wide(c), wide(p)));
    each([&] { assemble_backward(dt.data(), content.data(), position.data(), tokens * d, d, dc.data(), dp.data()); });
    slope("content", dc, c, dt, [&](const Doubles &c) { return tokens_of(c, wide(p)); });
    slope("position", dp, p, dt, [&](const Doubles &p) { return tokens_of(wide(c), p); });

    for (auto [h, w] : {std::pair{1, 1}, {3, 5}, {4, 2}}) {
        int batch = 2, locations = batch * h * w;
        Floats x = normal(locations * d), y(locations * 9 * d), dy = normal(y.size()), dx = halves(x.size());
        auto around = [&](const Doubles &x) {
            Doubles y(locations * 9 * d, 0.0);
            for (int b = 0; b < batch; b++) for (int i = 0; i < h; i++) for (int j = 0; j < w; j++) for (int tap = 0; tap < 9; tap++) {
                int py = i + tap / 3 - 1, px = j + tap % 3 - 1;
                if (py < 0 || py >= h || px < 0 || px >= w) continue;
                for (int c = 0; c < d; c++) y[(((b * h + i) * w + j) * 9 + tap) * d + c] = x[((b * h + py) * w + px) * d + c];
            }
            return y;
        };
        each([&] { neighbourhoods(x.data(), y.size(), h, w, d, y.data()); });
        close("neighbourhoods", y, around(wide(x)));
        each([&] { neighbourhoods_backward(dy.data(), x.size(), h, w, d, dx.data()); });
        slope("neighbourhoods", dx, x, dy, around);
    }
}

int main() {
    columns();
    norms();
    softmaxes();
    values();
    gathers();
    return wrong > 0;
}
