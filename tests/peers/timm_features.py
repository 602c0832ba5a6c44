#!/usr/bin/env python3
"""Features of timm's vision transformers against those of `intertwine probe`, with random weights.

    pip install timm numpy pillow
    timm_features.py target/release/intertwine target/release/pack-dataset
    timm_features.py --write tests/fixtures/timm_features.json

The first form makes ViT-Tiny/16, ViT-Small/16, DINO's ViT-Small/8 and DINOv2's ViT-Small/14 of full size (the last also with
positions resampled, and with registers), packs random pictures, and exits with 1 if a CLS feature differs by more than 1e-4.
The second writes what tests/probe/timm.rs expects, of small networks whose weights both sides compute.
"""
import argparse
import json
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
import timm
import torch
from PIL import Image
from safetensors.torch import save_file

MEAN, STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])


def features(model, pixels):
    """All tokens of pictures [n, side, side, 3] of bytes."""
    x = torch.from_numpy(((pixels / 255 - MEAN) / STD).astype(np.float32)).permute(0, 3, 1, 2)
    with torch.no_grad():
        return model.forward_features(x).numpy()


# Names and sides of pictures; DINOv2's positions are of pictures of 518 pixels.
CASES = [
    ("vit_tiny_patch16_224", 224),
    ("vit_small_patch16_224", 224),
    ("vit_small_patch8_224.dino", 224),
    ("vit_small_patch14_dinov2", 518),
    ("vit_small_patch14_dinov2", 224),
    ("vit_small_patch14_reg4_dinov2", 224),
]


def full_size(program, pack):
    good = True
    for name, side in CASES:
        torch.manual_seed(0)
        model = timm.create_model(name, num_classes=0, dynamic_img_size=True).eval()
        for parameter in model.parameters():
            # timm starts biases at 0 and norms at 1, which would hide them.
            torch.nn.init.normal_(parameter, 1.0 if parameter.ndim == 1 else 0.0, 0.05)
        pixels = np.random.default_rng(0).integers(0, 256, (8, side, side, 3), dtype=np.uint8)
        with tempfile.TemporaryDirectory() as folder:
            folder = pathlib.Path(folder)
            (folder / "pictures").mkdir()
            for i, picture in enumerate(pixels):
                Image.fromarray(picture).save(folder / "pictures" / f"{i}.png")
            save_file({n: t.contiguous() for n, t in model.state_dict().items()}, folder / "model.safetensors")
            subprocess.run([pack, folder / "pictures", folder / "packed"], check=True, capture_output=True)
            command = [program, "probe", folder / "model.safetensors", "--data", folder / "packed", "--side", str(side)]
            subprocess.run([*command, "--embeddings", folder / "cls.npy"], check=True, capture_output=True)
            ours = np.load(folder / "cls.npy")
        theirs = features(model, pixels)[:, 0]
        difference = np.abs(ours - theirs).max()
        good &= bool(difference <= 1e-4)
        largest = np.abs(theirs).max()
        print(f"{name}, {side} pixels: features up to {largest:.2f}, the largest difference is {difference:.1e}")
    return good


def computed(name, count):
    """The weights of tests/probe/timm.rs: cosines, around 1 for what scales."""
    phase = sum(name.encode())
    values = 0.05 * np.cos(0.37 * np.arange(count) + phase)
    return (values + (1.0 if "norm" in name and name.endswith("weight") else 0.0)).astype(np.float32)


def small(name="vit_tiny_patch16_224", **kwargs):
    model = timm.create_model(name, num_classes=0, depth=2, img_size=32, **kwargs).eval()
    state = {n: torch.from_numpy(computed(n, t.numel())).view(t.shape) for n, t in model.state_dict().items()}
    model.load_state_dict(state)
    pixels = (np.arange(32 * 32 * 3) * 7919 % 256).astype(np.uint8).reshape(1, 32, 32, 3)
    tokens = features(model, pixels)[0]
    return {"shapes": {n: list(t.shape) for n, t in state.items()}, "cls": tokens[0].tolist(), "last": tokens[-1].tolist()}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program", nargs="?")
    parser.add_argument("pack", nargs="?")
    parser.add_argument("--write", type=pathlib.Path)
    args = parser.parse_args()
    if args.write:
        # As DINOv2's: a class token has no position beside registers.
        registers = small(reg_tokens=3, no_embed_class=True)
        wide = small("vit_small_patch16_224")
        args.write.write_text(json.dumps({"plain": small(), "registers": registers, "wide": wide}) + "\n")
    elif args.pack:
        sys.exit(0 if full_size(args.program, args.pack) else 1)
    else:
        parser.error("expected two programs, or --write")


if __name__ == "__main__":
    main()
