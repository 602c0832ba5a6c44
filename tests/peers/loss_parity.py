#!/usr/bin/env python3
"""The pretraining loss and its gradients in PyTorch, from the weights and batches of src/pretrain/parity.rs.

    pip install torch numpy
    INTERTWINE_WRITE_CASES=/tmp/cases cargo test --lib pretrain::parity
    loss_parity.py /tmp/cases [--write tests/fixtures/loss_parity.json]

Written from the formulas (METHOD.md), not from the Rust code. Prints the largest differences; exit status 1 if a part of
the loss differs by more than 1e-4 of itself or a gradient by more than 1e-3 of its norm. --write keeps the figures for the
test that needs no Python.
"""
import argparse
import json
import pathlib
import sys

import numpy as np
import torch
import torch.nn.functional as F


def read(path):
    """The tensors of a safetensors file, in f64, and the case that its notes state."""
    data = path.read_bytes()
    start = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:start])
    notes = json.loads(header.pop("__metadata__")["intertwine"])
    tensors = {}
    for name, entry in header.items():
        begin, end = entry["data_offsets"]
        values = np.frombuffer(data[start + begin : start + end], np.float32)
        tensors[name] = torch.from_numpy(values.astype(np.float64).reshape(entry["shape"]))
    return tensors, json.loads(notes["case"])


class Network:
    def __init__(self, weights, heads):
        self.w, self.heads = weights, heads

    def linear(self, x, name):
        return F.linear(x, self.w[f"{name}.weight"], self.w[f"{name}.bias"])

    def norm(self, x, name):
        return F.layer_norm(x, x.shape[-1:], self.w[f"{name}.weight"], self.w[f"{name}.bias"], 1e-6)

    def block(self, x, name):
        def scaled(y, scale):
            gamma = self.w.get(f"{name}.{scale}.gamma")
            return y if gamma is None else y * gamma

        b, n, d = x.shape
        qkv = self.linear(self.norm(x, f"{name}.norm1"), f"{name}.attn.qkv")
        q, k, v = qkv.view(b, n, 3, self.heads, d // self.heads).permute(2, 0, 3, 1, 4)
        weights = (q @ k.transpose(-2, -1) / (d // self.heads) ** 0.5).softmax(-1)
        y = (weights @ v).transpose(1, 2).reshape(b, n, d)
        x = x + scaled(self.linear(y, f"{name}.attn.proj"), "ls1")
        y = F.gelu(self.linear(self.norm(x, f"{name}.norm2"), f"{name}.mlp.fc1"))
        return x + scaled(self.linear(y, f"{name}.mlp.fc2"), "ls2")

    def encode(self, view):
        """[views, patches + 1, width]; CLS first."""
        projection = self.w["vit.patch_embed.proj.weight"]
        content = F.linear(view["patches"], projection.flatten(1), self.w["vit.patch_embed.proj.bias"])
        if "index" in view:
            field = self.w["vit.pos_field.weight"]
            position = (field[view["index"]] * view["weight"][..., None]).sum(-2)
        else:
            position = view["positions"]
        content = torch.where(view["content"], self.w["vit.mask_token"].flatten(), content)
        position = torch.where(view["position"], self.w["vit.pos_mask_token"].flatten(), position)
        cls = self.w["vit.cls_token"].expand(content.shape[0], 1, -1)
        x = torch.cat([cls, content + position], 1)
        depth = 1 + max(int(name.split(".")[2]) for name in self.w if name.startswith("vit.blocks."))
        for i in range(depth):
            x = self.block(x, f"vit.blocks.{i}")
        return self.norm(x, "vit.norm")

    def logits(self, x, head):
        x = F.gelu(self.linear(x, f"{head}.fc1"))
        x = F.gelu(self.linear(x, f"{head}.fc2"))
        x = F.normalize(self.linear(x, f"{head}.fc3"), dim=-1)
        return x @ F.normalize(self.w[f"{head}.prototypes"], dim=-1).T


def sinkhorn(z, temperature, rounds):
    """SwAV's, as DINOv2 uses it."""
    q = (z / temperature).exp().T
    q = q / q.sum()
    k, b = q.shape
    for _ in range(rounds):
        q = q / q.sum(1, keepdim=True) / k
        q = q / q.sum(0, keepdim=True) / b
    return (q * b).T


def cross_entropy(p, z, temperature):
    return -(p * (z / temperature).log_softmax(-1)).sum(-1)


def loss_of(tensors, case):
    """The parts of the loss, the total, and the centres afterwards."""
    config, pictures = case["config"]["loss"], case["pictures"]
    own = lambda prefix: {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}
    student_weights = {n: t.requires_grad_() for n, t in own("student.").items()}
    student, teacher = Network(student_weights, case["heads"]), Network(own("teacher."), case["heads"])
    batch = own("batch.")

    # Views: globals first, each kind view by view, then picture by picture.
    views, at = [], 0
    for count, length in zip(case["views"], case["lengths"]):
        patches = length - 1
        rows = slice(at, at + count * pictures * patches)
        at = rows.stop
        cut = lambda name: batch[name][rows].view(count * pictures, patches, -1)
        view = {"patches": cut("patches"), "content": cut("content_masked") > 0, "position": cut("position_masked") > 0}
        if "taps.index" in batch:
            view |= {"index": cut("taps.index").long(), "weight": cut("taps.weight")}
        else:
            view |= {"positions": cut("positions")}
        views.append(view)
    (globals_, _), g = views, case["views"][0]
    unmasked = {**globals_, "content": torch.zeros(1, 1, 1, dtype=bool), "position": torch.zeros(1, 1, 1, dtype=bool)}
    names = [name for name in ("image", "patch", "position") if f"centres.{name}.before" in tensors]
    centres = {name: tensors[f"centres.{name}.before"].clone() for name in names}

    def targets(z, centre):
        temperature = case["teacher_temperature"]
        if config["centring"] == "ema":
            p = ((z - centres[centre]) / temperature).softmax(-1)
            m = config["centre_momentum"]
            centres[centre] = m * centres[centre] + (1 - m) * z.mean(0)
            return p
        return sinkhorn(z, temperature, config["sinkhorn_rounds"])

    hidden = {"content": globals_["content"][..., 0], "position": globals_["position"][..., 0]}
    position_head = "position_head" if "position_head.fc1.weight" in student_weights else "patch_head"
    heads = {"content": "patch_head", "position": position_head}
    with torch.no_grad():
        seen = teacher.encode(unmasked)
        image_targets = targets(teacher.logits(seen[:, 0], "image_head"), "image")
        z = [teacher.logits(seen[:, 1:][mask], heads[kind]) for kind, mask in hidden.items()]
        if position_head == "position_head":
            # Prototypes of their own are balanced among themselves.
            patch_targets = [targets(part, centre) for part, centre in zip(z, ("patch", "position"))]
        else:
            patch_targets = targets(torch.cat(z), "patch").split([len(part) for part in z])

    encoded = [student.encode(view) for view in views]
    cls = [x[:, 0].view(-1, pictures, x.shape[-1]) for x in encoded]
    parts = {}
    # Every student view against every other view of the teacher's, which sees the globals only.
    z = student.logits(torch.cat(cls), "image_head")
    p = image_targets.view(g, pictures, -1)
    pairs = [cross_entropy(p[q], z[v], config["student_temperature"]) for v in range(len(z)) for q in range(g) if q != v]
    parts["image"] = torch.stack(pairs).mean()
    for (kind, mask), p in zip(hidden.items(), patch_targets):
        each = cross_entropy(p, student.logits(encoded[0][:, 1:][mask], heads[kind]), config["student_temperature"])
        mean = [part.mean() for part in each.split(mask.sum(1).tolist()) if len(part)]
        parts[kind] = torch.stack(mean).sum() / len(mask)
    koleo = 0
    for x in F.normalize(cls[0], dim=-1):
        distance = (x[:, None] - x[None]).pow(2).sum(-1) + 9 * torch.eye(pictures)
        nearest = distance.argmin(1)
        koleo = koleo - ((x - x[nearest]).norm(dim=-1) + 1e-8).log().mean()
    parts["koleo"] = koleo
    parts["loss"] = sum(config[name] * value for name, value in parts.items())
    parts["loss"].backward()
    gradients = {name: w.grad if w.grad is not None else torch.zeros_like(w) for name, w in student_weights.items()}
    return {name: value.item() for name, value in parts.items()}, centres, gradients


def product_with_cosines(values):
    values = values.flatten()
    return (values * torch.arange(len(values), dtype=torch.float64).cos()).sum().item()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", type=pathlib.Path)
    parser.add_argument("--write", type=pathlib.Path)
    args = parser.parse_args()
    found, good = {}, True
    for path in sorted(args.cases.glob("*.safetensors")):
        tensors, case = read(path)
        losses, centres, gradients = loss_of(tensors, case)
        for part, value in losses.items():
            difference = abs(case["losses"][part] / value - 1)
            good &= difference <= 1e-4
            print(f"{path.stem}: {part} {value:.6f}, ours differs by {difference:.1e} of it")
        for name, centre in centres.items():
            difference = (tensors[f"centres.{name}.after"] - centre).abs().max()
            good &= bool(difference <= 1e-5)
            print(f"{path.stem}: centre {name}: ours differs by {difference:.1e}")
        worst = {}
        for name, gradient in gradients.items():
            difference = (tensors[f"gradient.{name}"] - gradient.flatten()).norm().item()
            worst[name] = difference / max(gradient.norm().item(), 1e-9)
        name = max(worst, key=worst.get)
        good &= worst[name] <= 1e-3
        print(f"{path.stem}: {len(worst)} gradients, the worst {name}: ours differs by {worst[name]:.1e} of its norm")
        found[path.stem] = {
            "losses": losses,
            "centres": {name: product_with_cosines(centre) for name, centre in centres.items()},
            "gradients": {n: [g.norm().item(), product_with_cosines(g)] for n, g in sorted(gradients.items())},
        }
    if args.write:
        args.write.write_text(json.dumps(found, indent=1) + "\n")
    sys.exit(0 if good and found else 1)


if __name__ == "__main__":
    main()
