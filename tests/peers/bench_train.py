#!/usr/bin/env python3
"""Training steps of `intertwine bench train` and of PyTorch, run alternately, and the ratios of their medians.

    pip install torch
    bench_train.py target/release/intertwine [--what encoder|pretrain] [--modes eager,bf16,compile]
                   [--threads 2] [--rounds 5] [--steps 6]

The work is the same on both sides (see src/bench):
encoder   ViT-Tiny/16's 12 blocks and last norm on 8 sequences of 197 tokens: forward, mean squared error, backward,
          AdamW.
pretrain  ViT-S/16, 4 pictures of 2 global views of 224 and 8 local views of 96 pixels, K = 8,192, hidden 2,048,
          bottleneck 256: teacher, Sinkhorn-Knopp (3 rounds), student with content and position masks, image, content,
          position and KoLeo losses, clipping, AdamW, moving average. Both give the same loss and gradients; ours
          leaves out what no loss reads: in the last block, all but keys and values of tokens neither CLS nor masked.
"""
import argparse
import copy
import json
import math
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time


def serve(what, mode, threads):
    """A peer process: for each number read, so many steps; answers their times in milliseconds."""
    import torch
    from torch import nn
    from torch.nn import functional as F

    torch.set_num_threads(threads)
    torch.manual_seed(0)
    low = "bf16" in mode

    class Block(nn.Module):
        def __init__(self, width, heads):
            super().__init__()
            self.heads = heads
            self.norm1, self.norm2 = nn.LayerNorm(width, eps=1e-6), nn.LayerNorm(width, eps=1e-6)
            self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
            self.fc1, self.fc2 = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

        def forward(self, x):
            b, n, d = x.shape
            q, k, v = self.qkv(self.norm1(x)).view(b, n, 3, self.heads, d // self.heads).permute(2, 0, 3, 1, 4)
            y = F.scaled_dot_product_attention(q, k, v)
            x = x + self.proj(y.transpose(1, 2).reshape(b, n, d))
            return x + self.fc2(F.gelu(self.fc1(self.norm2(x))))

    def encoder_step():
        model = nn.Sequential(*[Block(192, 3) for _ in range(12)], nn.LayerNorm(192, eps=1e-6))
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, weight_decay=0.05, fused=True)
        run = torch.compile(model) if "compile" in mode else model
        x, target = torch.randn(8, 197, 192), torch.randn(8, 197, 192)

        def step():
            optimizer.zero_grad(set_to_none=True)
            with torch.autocast("cpu", torch.bfloat16, enabled=low):
                y = run(x)
            F.mse_loss(y.float(), target).backward()
            optimizer.step()

        return step

    def pretrain_step():
        width, prototypes, size, cells, patch = 384, 8192, 4, 50, 3 * 16 * 16
        grids = {"global": (2 * size, 14), "local": (8 * size, 6)}

        class Head(nn.Module):
            def __init__(self):
                super().__init__()
                self.mlp = nn.Sequential(
                    nn.Linear(width, 2048), nn.GELU(), nn.Linear(2048, 2048), nn.GELU(), nn.Linear(2048, 256)
                )
                self.prototypes = nn.Parameter(torch.randn(prototypes, 256) * 0.02)

            def forward(self, x):
                return F.normalize(self.mlp(x), dim=-1) @ F.normalize(self.prototypes, dim=-1).t()

        class Network(nn.Module):
            def __init__(self):
                super().__init__()
                self.embed = nn.Linear(patch, width)
                self.cls = nn.Parameter(torch.randn(width) * 0.02)
                self.hidden_content = nn.Parameter(torch.randn(width) * 0.02)
                self.hidden_position = nn.Parameter(torch.randn(width) * 0.02)
                self.field = nn.Parameter(torch.randn(cells * cells, width) * 0.5)
                self.blocks = nn.Sequential(*[Block(width, 6) for _ in range(12)])
                self.norm = nn.LayerNorm(width, eps=1e-6)
                self.image, self.patch = Head(), Head()

            def forward(self, view, content=None, position=None):
                x, index, weight = view
                b, n, _ = x.shape
                place = F.embedding_bag(index, self.field, per_sample_weights=weight, mode="sum").view(b, n, width)
                x = self.embed(x)
                if content is not None:
                    x = torch.where(content[..., None], self.hidden_content.to(x.dtype), x)
                    place = torch.where(position[..., None], self.hidden_position, place)
                x = torch.cat([self.cls.expand(b, 1, width), x + place], 1)
                return self.norm(self.blocks(x))

        def view(count, side):
            n = count * side * side
            weight = torch.rand(n, 4)
            return (
                torch.randn(count, side * side, patch),
                torch.randint(cells * cells, (n, 4)),
                weight / weight.sum(1, keepdim=True),
            )

        large, small = view(*grids["global"]), view(*grids["local"])
        # Half of the global views are masked, half of those in content and half in position, about a third of each.
        masks = torch.zeros(2, 2 * size, 14 * 14, dtype=torch.bool)
        for i in range(size):
            masks[i % 2, 2 * i, torch.randperm(14 * 14)[:59]] = True
        content, position = masks
        student = Network()
        teacher = copy.deepcopy(student)
        teacher.requires_grad_(False)
        optimizer = torch.optim.AdamW(student.parameters(), lr=1e-4, weight_decay=0.04, fused=True)
        learns = torch.compile(student) if "compile" in mode else student
        knows = torch.compile(teacher) if "compile" in mode else teacher

        def sinkhorn(z):
            p = ((z - z.max()) / 0.015).exp().t()
            p /= p.sum()
            for _ in range(3):
                p /= p.sum(1, keepdim=True) * prototypes + 1e-30
                p /= p.sum(0, keepdim=True) * p.shape[1]
            return (p * p.shape[1]).t()

        def cross_entropy(z, p):
            return -(p * F.log_softmax(z.float() / 0.1, -1)).sum(-1)

        def step():
            optimizer.zero_grad(set_to_none=True)
            with torch.autocast("cpu", torch.bfloat16, enabled=low):
                with torch.no_grad():
                    seen = knows(large)
                    goal = sinkhorn(teacher.image(seen[:, 0]).float()).view(2, size, prototypes)
                    hidden = torch.cat([seen[:, 1:][content], seen[:, 1:][position]])
                    patches = sinkhorn(teacher.patch(hidden).float())
                globals_, locals_ = learns(large, content, position), learns(small)
                cls = torch.cat([globals_[:, 0], locals_[:, 0]])
                z = student.image(cls).view(10, size, prototypes)
                tokens = globals_[:, 1:]
                guess = student.patch(torch.cat([tokens[content], tokens[position]]))
            image = cross_entropy(z[0], goal[1]) + cross_entropy(z[1], goal[0])
            image = image + cross_entropy(z[2:], goal.sum(0)).sum(0)
            loss = image.mean() / 18 + cross_entropy(guess, patches).sum() / 59 / (2 * size)
            for x in F.normalize(globals_[:, 0].float(), dim=-1).view(2, size, width):
                near = (x @ x.t() - 2 * torch.eye(size)).argmax(1)
                loss = loss - 0.1 * ((x - x[near]).norm(dim=1) + 1e-8).log().mean()
            loss.backward()
            nn.utils.clip_grad_norm_(student.parameters(), 3.0)
            optimizer.step()
            with torch.no_grad():
                torch._foreach_lerp_(list(teacher.parameters()), list(student.parameters()), 0.005)

        return step

    step = {"encoder": encoder_step, "pretrain": pretrain_step}[what]()
    step()
    step()
    print("ready", flush=True)
    for line in sys.stdin:
        times = []
        for _ in range(int(line)):
            start = time.perf_counter()
            step()
            times.append((time.perf_counter() - start) * 1e3)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        print(json.dumps({"steps_ms": times, "peak_bytes": peak}), flush=True)


def ours(program, what, precision, threads, steps):
    with tempfile.TemporaryDirectory() as folder:
        out = os.path.join(folder, "times.json")
        command = [program, "bench", "train", "--what", what, "--steps", str(steps), "--json", out]
        command += ["--precision", precision, "--threads", str(threads)]
        subprocess.run(command, check=True, capture_output=True)
        return json.load(open(out))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program")
    parser.add_argument("--what", choices=["encoder", "pretrain"], default="encoder")
    parser.add_argument("--modes", default="eager,bf16")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=6)
    args = parser.parse_args()
    peers = {}
    for mode in args.modes.split(","):
        command = [sys.executable, __file__, "--serve", args.what, mode, str(args.threads)]
        peers[mode] = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert peers[mode].stdout.readline().strip() == "ready", f"the {mode} peer did not start"
    # Each peer beside our step of the same precision.
    precision = {mode: "bf16" if "bf16" in mode else "f32" for mode in peers}
    times, peaks = {}, {}
    for _ in range(args.rounds):
        for p in dict.fromkeys(precision.values()):
            rounds = {f"intertwine {p}": ours(args.program, args.what, p, args.threads, args.steps)}
            for mode in (mode for mode in peers if precision[mode] == p):
                peers[mode].stdin.write(f"{args.steps}\n")
                peers[mode].stdin.flush()
                rounds[mode] = json.loads(peers[mode].stdout.readline())
            for name, r in rounds.items():
                times.setdefault(name, []).append(statistics.median(r["steps_ms"]))
                peaks[name] = (r["peak_bytes"] or math.nan) / 2**20

    def line(name, label):
        rounds = times[name]
        spread = f"{min(rounds):.0f} to {max(rounds):.0f}"
        return f"{label:18} {statistics.median(rounds):8.1f} ms a step ({spread}), {peaks[name]:5.0f} MiB"

    for p in dict.fromkeys(precision.values()):
        print(line(f"intertwine {p}", f"intertwine {p}"))
        for mode in (mode for mode in peers if precision[mode] == p):
            ratio = statistics.median(times[f"intertwine {p}"]) / statistics.median(times[mode])
            memory = peaks[f"intertwine {p}"] / peaks[mode]
            print(f"{line(mode, 'PyTorch ' + mode)}; intertwine: {ratio:.2f} x the time, {memory:.2f} x the memory")
    for peer in peers.values():
        peer.stdin.close()
        peer.wait()


if __name__ == "__main__":
    if len(sys.argv) == 5 and sys.argv[1] == "--serve":
        serve(sys.argv[2], sys.argv[3], int(sys.argv[4]))
    else:
        main()
