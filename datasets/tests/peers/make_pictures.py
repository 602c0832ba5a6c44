"""Makes fixtures/pictures: one small file of each kind of picture, and expected.json, which says what Pillow reads.

    pip install pillow numpy
    python make_pictures.py

Expected is what our reader promises: upright, of an animation the first frame, transparency over black, 16 bits
rounded to 8 (PNG's specification, 13.12; Pillow cuts off instead). Lossy formats too are expected to the last bit, but for
rare kinds of JPEG, which a decoder of its own reads: their `tolerance` is the largest difference of a value.
"""

import base64
import io
import json
import os
import struct
import zlib

import numpy as np
from PIL import Image, ImageOps

OUT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "fixtures", "pictures")
WIDTH, HEIGHT = 18, 10

x, y = np.meshgrid(np.arange(WIDTH), np.arange(HEIGHT))
RGB = np.stack([13 * x + 20, 220 - 20 * y, 60 + 4 * x + 9 * y], axis=2).astype(np.uint8)
GREY = (9 * x + 8 * y).astype(np.uint8)
ALPHA = (255 - 14 * x).astype(np.uint8)
expected = {}


def over_black(picture):
    rgba = np.asarray(picture.convert("RGBA")).astype(np.float64)
    return np.floor(rgba[..., :3] * rgba[..., 3:] / 255 + 0.5).astype(np.uint8)


def add(name, data, tolerance=0, pixels=None):
    if pixels is None:
        picture = Image.open(io.BytesIO(data))
        picture.seek(0)
        pixels = over_black(ImageOps.exif_transpose(picture))
    with open(os.path.join(OUT, name), "wb") as file:
        file.write(data)
    expected[name] = {
        "size": [pixels.shape[1], pixels.shape[0]],
        **({"tolerance": tolerance} if tolerance else {}),
        "rgb": base64.b64encode(np.ascontiguousarray(pixels).tobytes()).decode(),
    }


def saved(picture, format, **options):
    data = io.BytesIO()
    picture.save(data, format, **options)
    return data.getvalue()


def turned(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


def png(samples, depth, colour, interlaced=False):
    """A PNG of the given samples (height, width, channels), 8 or 16 bits deep."""
    samples = samples.astype(">u2" if depth == 16 else np.uint8)
    passes = [(0, 0, 1, 1)]
    if interlaced:  # Adam7: first column and row, steps
        passes = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]
    rows = b"".join(
        b"\0" + row.tobytes() for (c, r, dc, dr) in passes for row in samples[r::dr, c::dc] if row.size
    )

    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = struct.pack(">IIBBBBB", WIDTH, HEIGHT, depth, colour, 0, 0, int(interlaced))
    body = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


os.makedirs(OUT, exist_ok=True)
rgb, grey = Image.fromarray(RGB), Image.fromarray(GREY)
rgba = Image.fromarray(np.dstack([RGB, ALPHA]))
frames = [rgb, rgb.transpose(Image.Transpose.ROTATE_180)]

for subsampling, name in [(0, "444"), (1, "422"), (2, "420")]:
    add(f"baseline-{name}.jpg", saved(rgb, "JPEG", quality=92, subsampling=subsampling))
    add(f"progressive-{name}.jpg", saved(rgb, "JPEG", quality=92, subsampling=subsampling, progressive=True))
add("restart-markers.jpg", saved(rgb, "JPEG", quality=92, restart_marker_blocks=1))
add("components-rgb.jpg", saved(rgb, "JPEG", quality=92, keep_rgb=True), 1)
add("grey.jpg", saved(grey, "JPEG", quality=92))
add("cmyk.jpg", saved(rgb.convert("CMYK"), "JPEG", quality=95), 1)
add("cmyk-progressive.jpg", saved(rgb.convert("CMYK"), "JPEG", quality=95, progressive=True), 1)
adobe = saved(rgb.convert("CMYK"), "JPEG", quality=95)
at = adobe.index(b"\xff\xee\0\x0eAdobe")
add("ycck.jpg", adobe[: at + 15] + b"\2" + adobe[at + 16 :], 1)
for orientation in range(1, 9):
    exif = turned(orientation)
    add(f"orientation-{orientation}.jpg", saved(rgb, "JPEG", quality=92, subsampling=0, exif=exif))
    add(f"orientation-{orientation}.png", saved(rgb, "PNG", exif=exif))
    add(f"orientation-{orientation}.webp", saved(rgb, "WEBP", lossless=True, exif=exif))

deep = np.clip(RGB.astype(np.int64) * 257 + (x * 13 - 100)[..., None], 0, 65535)
deep_grey = np.clip(GREY.astype(np.int64) * 257 + 100 - x * 11, 0, 65535)[..., None]


def rounded(samples):
    return ((samples * 255 + 32767) // 65535).astype(np.uint8)


add("rgb-16.png", png(deep, 16, 2), pixels=rounded(deep))
add("grey-16.png", png(deep_grey, 16, 0), pixels=np.repeat(rounded(deep_grey), 3, axis=2))
add("interlaced.png", png(RGB, 8, 2, interlaced=True))
add("grey.png", saved(grey, "PNG"))
add("grey-alpha.png", saved(rgba.convert("LA"), "PNG"))
add("rgba.png", saved(rgba, "PNG"))
add("bits-1.png", saved(grey.convert("1"), "PNG"))
for bits in [1, 2, 4, 8]:
    add(f"palette-{bits}.png", saved(rgb.quantize(2**bits if bits < 8 else 200), "PNG", bits=bits))
add("palette-transparent.png", saved(rgb.quantize(16), "PNG", transparency=3))
add("animated.png", saved(frames[0], "PNG", save_all=True, append_images=frames[1:]))

add("lossless.webp", saved(rgb, "WEBP", lossless=True))
add("lossless-alpha.webp", saved(rgba, "WEBP", lossless=True, exact=True))
add("lossy.webp", saved(rgb, "WEBP", quality=90))
add("lossy-alpha.webp", saved(rgba, "WEBP", quality=90, exact=True))
add("animated.webp", saved(frames[0], "WEBP", lossless=True, save_all=True, append_images=frames[1:]))

add("rgb.bmp", saved(rgb, "BMP"))
add("rgba.bmp", saved(rgba, "BMP"))
add("grey.bmp", saved(grey, "BMP"))
add("palette.bmp", saved(rgb.quantize(200), "BMP"))
add("bits-1.bmp", saved(grey.convert("1"), "BMP"))

few = rgb.quantize(64)
add("still.gif", saved(few, "GIF", interlace=0))
add("interlaced.gif", saved(few, "GIF", interlace=1))
add("transparent.gif", saved(few, "GIF", transparency=5))
add("grey.gif", saved(grey, "GIF"))
add("animated.gif", saved(few, "GIF", save_all=True, append_images=[frames[1].quantize(64)], loop=0))

with open(os.path.join(OUT, "expected.json"), "w") as file:
    lines = [f"{json.dumps(name)}: {json.dumps(entry)}" for name, entry in sorted(expected.items())]
    file.write("{\n" + ",\n".join(lines) + "\n}\n")
print(len(expected), "pictures")
