"""Writes what pycocotools says of random polygons and masks: the expected values of tests/parity.rs.

    pip install pycocotools==2.0.11 numpy
    python make_masks.py ../fixtures/masks.json            # the checked-in file
    python make_masks.py /tmp/many.json --cases 20000 --seed 7
    INTERTWINE_MASKS=/tmp/many.json cargo test -p intertwine-rle --test parity
"""

import argparse
import json
import math
import random

import numpy as np
from pycocotools import mask as coco


def star(rng, cx, cy, radius, points):
    """A spiky outline round a centre, in order of angle."""
    polygon = []
    for i in range(points):
        angle = 2 * math.pi * i / points
        r = radius * rng.uniform(0.3, 1.0)
        polygon += [cx + r * math.cos(angle), cy + r * math.sin(angle)]
    return polygon


def polygon(rng, height, width):
    kind = rng.randrange(8)
    points = rng.randint(3, 14)
    size = max(height, width)
    if kind == 0:  # any points: crosses itself
        return [rng.uniform(0, s) for _ in range(points) for s in (width, height)]
    if kind == 1:  # partly or wholly outside
        return [rng.uniform(-size, 2 * size) for _ in range(2 * points)]
    if kind == 2:  # whole pixels: vertices on cell borders, repeated vertices, straight edges
        polygon = [rng.randint(-1, s + 1) for _ in range(points) for s in (width, height)]
        return polygon + polygon[:2]
    if kind == 3:  # half and fifth pixels: vertices on the fine grid and between
        return [rng.randint(-4, 10 * s + 4) / 10 for _ in range(points) for s in (width, height)]
    if kind == 4:  # a box, as COCO makes one of a detection without a mask
        x0, x1 = sorted(rng.uniform(-1, width + 1) for _ in range(2))
        y0, y1 = sorted(rng.uniform(-1, height + 1) for _ in range(2))
        return [x0, y0, x0, y1, x1, y1, x1, y0]
    if kind == 5:  # smaller than a pixel or a line
        x, y = rng.uniform(0, width), rng.uniform(0, height)
        return [v + rng.uniform(-0.6, 0.6) * rng.randint(0, 1) for _ in range(points) for v in (x, y)]
    if kind == 6:  # far away: long edges at odd slopes
        return [rng.uniform(-1000 * size, 1000 * size) for _ in range(2 * points)]
    return star(rng, rng.uniform(0, width), rng.uniform(0, height), rng.uniform(1, size), rng.randint(3, 40))


def rle(h, w, polygons):
    if len(polygons[0]) == 4:
        raise ValueError("pycocotools takes this for a box")
    return coco.merge(coco.frPyObjects(polygons, h, w))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("out")
    parser.add_argument("--cases", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    rng = random.Random(args.seed)
    cases = []
    for i in range(args.cases):
        h, w = rng.choice([(1, 1), (1, 17), (23, 1), (20, 30), (64, 48), (97, 131), (120, 160)])
        polygons = [polygon(rng, h, w) for _ in range(rng.choice([1, 1, 1, 2, 3]))]
        polygons = [[round(v, 3) for v in p] for p in polygons]
        mask = rle(h, w, polygons)
        # A second mask, of noise or blobs, to compare with.
        noise = np.random.default_rng([args.seed, i]).random((h, w)) < rng.choice([0.05, 0.5, 0.95])
        if rng.random() < 0.6:
            noise[:, : w // 2] = rng.random() < 0.5
            noise[: h // 3] = rng.random() < 0.5
        if h * w > 1000 and rng.random() < 0.9:
            noise = np.zeros((h, w), bool)
            noise[rng.randrange(h) :, rng.randrange(w) :] = True
        other = coco.encode(np.asfortranarray(noise.astype(np.uint8)))
        cases.append({
            "size": [h, w],
            "polygons": polygons,
            "counts": mask["counts"].decode(),
            "area": int(coco.area(mask)),
            "bbox": coco.toBbox(mask).tolist(),
            "other": other["counts"].decode(),
            "other_bbox": coco.toBbox(other).tolist(),
            "union": coco.merge([mask, other])["counts"].decode(),
            "intersection": coco.merge([mask, other], intersect=True)["counts"].decode(),
            "iou": float(coco.iou([mask], [other], [0])[0][0]),
            "iou_crowd": float(coco.iou([mask], [other], [1])[0][0]),
        })
    with open(args.out, "w") as f:
        f.write("[\n" + ",\n".join(json.dumps(c, separators=(",", ":")) for c in cases) + "\n]\n")


if __name__ == "__main__":
    main()
