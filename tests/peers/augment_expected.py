"""Writes src/augment/expected.rs: what Pillow, torchvision, colorsys and NumPy say, for the tests of src/augment and
src/field.

usage: python augment_expected.py > ../../src/augment/expected.rs     (needs: pip install numpy pillow torch torchvision)

torchvision's transforms on PIL pictures call exactly the Pillow functions used here. On pictures of floats, which it
does not round, it is called itself.
"""
import colorsys
import numpy as np
import PIL
import torch
import torchvision
from PIL import Image, ImageEnhance, ImageOps
from torchvision.transforms.v2 import functional as F


def picture(w, h):  # the same in src/augment/tests.rs
    y, x, c = np.mgrid[0:h, 0:w, 0:3]
    smooth = (x * (11 + 29 * c) + y * (7 + 53 * c) + c * 40) % 256
    noise = (x * x * 31 + y * y * 17 + x * y * 13 + c * 101) % 97
    return ((smooth * 2 + noise * 3) // 3 % 256).astype(np.uint8)


def emit(name, values, kind="u8"):
    values = np.asarray(values).ravel()
    text = [str(int(v)) if kind == "u8" else repr(round(float(v), 4)) for v in values]
    lines, line = [], ""
    for t in text:
        if len(line) + len(t) > 94:
            lines.append(line.rstrip())
            line = ""
        line += t + ", "
    lines.append(line.rstrip())
    body = "\n    ".join(lines)
    print(f"\npub const {name}: [{kind}; {len(text)}] = [\n    {body}\n];")


def hue(im, turns):  # on floats, by the standard library
    out = []
    for r, g, b in im.reshape(-1, 3) / 255.0:
        h, s, v = colorsys.rgb_to_hsv(r, g, b)
        out += [255 * u for u in colorsys.hsv_to_rgb((h + turns) % 1.0, s, v)]
    return out


def hue_pil(im, turns):  # torchvision.transforms._functional_pil.adjust_hue
    h, s, v = im.convert("HSV").split()
    h = Image.fromarray((np.array(h).astype(np.int32) + int(turns * 255)).astype(np.uint8), "L")
    return Image.merge("HSV", (h, s, v)).convert("RGB")


def blur(plane, sigma, taps):  # torchvision.transforms.GaussianBlur on floats
    x = np.arange(taps) - taps // 2
    k = np.exp(-0.5 * (x / sigma) ** 2)
    k /= k.sum()
    p = np.pad(plane.astype(float), taps // 2, mode="reflect")
    p = np.apply_along_axis(lambda r: np.convolve(r, k, "valid"), 0, p)
    return np.apply_along_axis(lambda r: np.convolve(r, k, "valid"), 1, p)


def chain_of_floats(im):  # the whole chain of a view after its crop, unrounded, back on 0 to 255
    x = torch.from_numpy(im).permute(2, 0, 1).float() / 255
    x = F.adjust_hue(F.adjust_brightness(x, 1.2), 0.06)
    x = F.adjust_saturation(F.adjust_contrast(x, 0.8), 1.3)
    x = F.solarize(F.gaussian_blur(x, [9, 9], [1.1, 1.1]), 128 / 255)
    return (x * 255).permute(1, 2, 0).numpy()


def crop_moments(area, n=200_000, w=500, h=375):  # torchvision's RandomResizedCrop.get_params
    rng = np.random.default_rng(0)
    rows = np.zeros((n, 6))
    for i in range(n):
        for _ in range(10):
            a = w * h * rng.uniform(*area)
            ratio = np.exp(rng.uniform(np.log(3 / 4), np.log(4 / 3)))
            cw, ch = int(round(np.sqrt(a * ratio))), int(round(np.sqrt(a / ratio)))
            if 0 < cw <= w and 0 < ch <= h:
                x, y = rng.integers(0, w - cw + 1), rng.integers(0, h - ch + 1)
                break
        else:  # the picture's own aspect is allowed
            cw, ch, x, y = w, h, 0, 0
        r = np.array([x / w, y / h, cw / w, ch / h])
        rows[i] = [*r, r[2] * r[3], (r[2] * r[3]) ** 2]
    return list(zip(rows.mean(0), rows.std(0)))


def mae_sincos(dim, gh, gw):  # get_2d_sincos_pos_embed of MAE's pos_embed.py: the first half is x
    omega = 1.0 / 10000 ** (np.arange(dim // 4) / (dim / 4))
    y, x = [g.ravel() for g in np.mgrid[0:gh, 0:gw].astype(float)]
    half = lambda p: np.concatenate([np.sin(np.outer(p, omega)), np.cos(np.outer(p, omega))], 1)
    return np.concatenate([half(x), half(y)], 1)


def pairs(name, rows):
    print(f"\npub const {name}: [(f64, f64); {len(rows)}] = [")
    for mean, deviation in rows:
        print(f"    ({mean:.6f}, {deviation:.6f}),")
    print("];")


def main():
    versions = f"Pillow {PIL.__version__}, NumPy {np.__version__} and torchvision {torchvision.__version__}"
    print(f"//! Written by tests/peers/augment_expected.py with {versions}.")
    print("#![allow(missing_docs)]")
    small = Image.fromarray(picture(6, 4))
    emit("PICTURE", picture(6, 4))
    emit("BRIGHTNESS_1_3", ImageEnhance.Brightness(small).enhance(1.3))
    emit("BRIGHTNESS_0_6", ImageEnhance.Brightness(small).enhance(0.6))
    emit("CONTRAST_1_4", ImageEnhance.Contrast(small).enhance(1.4))
    emit("CONTRAST_0_6", ImageEnhance.Contrast(small).enhance(0.6))
    emit("SATURATION_1_2", ImageEnhance.Color(small).enhance(1.2))
    emit("SATURATION_0_3", ImageEnhance.Color(small).enhance(0.3))
    emit("HUE_PLUS_0_1", hue(picture(6, 4), 0.1), "f32")
    emit("HUE_MINUS_0_45", hue(picture(6, 4), -0.45), "f32")
    emit("GREY", small.convert("L"))
    emit("SOLARISE_128", ImageOps.solarize(small, 128))
    chain = hue_pil(ImageEnhance.Brightness(small).enhance(1.3), 0.08)
    chain = ImageEnhance.Color(ImageEnhance.Contrast(chain).enhance(0.7)).enhance(1.2)
    emit("CHAIN", chain)
    emit("BLUR_0_7", blur(picture(12, 10)[..., 0], 0.7, 9), "f32")
    emit("BLUR_2_0", blur(picture(12, 10)[..., 0], 2.0, 9), "f32")
    large = Image.fromarray(picture(60, 44))
    down = large.crop((7, 5, 7 + 41, 5 + 33)).resize((9, 8), Image.BICUBIC)
    emit("BICUBIC_DOWN", down)
    up = large.crop((20, 11, 20 + 5, 11 + 7)).resize((9, 8), Image.BICUBIC)
    emit("BICUBIC_UP", up)
    # More rows than a band of sixteen, more columns than a block of sixteen.
    emit("BICUBIC_LARGE", large.crop((1, 2, 1 + 57, 2 + 42)).resize((19, 17), Image.BICUBIC))
    emit("CHAIN_OF_FLOATS", chain_of_floats(picture(12, 10)), "f32")
    rows = mae_sincos(8, 2, 3)
    print(f"\npub const SINCOS_2X3_DIM8: [[f32; 8]; {len(rows)}] = [")
    for row in rows:
        print("    [" + ", ".join(repr(round(float(v), 7)) for v in row) + "],")
    print("];")
    pairs("GLOBAL_CROP_MOMENTS", crop_moments((0.32, 1.0)))
    pairs("LOCAL_CROP_MOMENTS", crop_moments((0.05, 0.32)))


main()
