"""Draws labels and detections at random and writes what pycocotools says of them: tests/evaluate/.

    pip install pycocotools==2.0.11 numpy
    python make_ap_fixture.py ../fixtures/ap               # the checked-in files
    python make_ap_fixture.py /tmp/ap7 --seed 7
    INTERTWINE_AP=/tmp/ap7 cargo test --test evaluate equals_pycocotools

The labels: category ids with gaps, one category without objects, one without anything, pictures without
objects, without detections, without either, ids out of order, crowds, masks in all of COCO's three
forms, areas exactly on the borders. The detections: ties within and across pictures, duplicates, false
positives, wrong categories, more than 100 in a picture, IoU exactly on thresholds, zero-size boxes.
"""

import argparse
import contextlib
import io
import json
import math
import os
import random

import numpy as np
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

SIZES = {40: (200, 160), 7: (120, 90), 1001: (64, 64), 12: (160, 200), 3: (48, 100), 500: (150, 150), 9: (80, 80), 21: (128, 96)}
NO_OBJECTS, NO_DETECTIONS, NEITHER, FLOODED = 500, 9, 21, 40
CATEGORIES = {1: "person", 3: "car", 18: "dog", 44: "only detected", 62: "never seen", 90: "crowds only"}


def blob(rng, x, y, w, h):
    """A lumpy outline that fills the box about."""
    points = []
    n = rng.randint(5, 12)
    for i in range(n):
        angle = 2 * math.pi * i / n
        r = rng.uniform(0.7, 1.0)
        points += [round(x + w / 2 + r * w / 2 * math.cos(angle), 1), round(y + h / 2 + r * h / 2 * math.sin(angle), 1)]
    return points


def rle_of(polygon, size):
    width, height = size
    return coco_mask.merge(coco_mask.frPyObjects([polygon], height, width))


def text(rle):
    return {"size": list(rle["size"]), "counts": rle["counts"].decode()}


def runs(rle):
    flat = coco_mask.decode(rle).flatten(order="F")
    edges = np.flatnonzero(np.diff(flat)) + 1
    counts = np.diff([0, *edges.tolist(), len(flat)]).tolist()
    return {"size": list(rle["size"]), "counts": ([0] if flat[0] else []) + counts}


def labels(rng):
    annotations = []
    for image, size in SIZES.items():
        if image in (NO_OBJECTS, NEITHER):
            continue
        for _ in range(rng.randint(3, 9)):
            w = min(size[0] - 2, round(rng.choice([8, 20, 40, 110]) * rng.uniform(0.7, 1.3), 1))
            h = min(size[1] - 2, round(rng.choice([8, 20, 40, 110]) * rng.uniform(0.7, 1.3), 1))
            x, y = round(rng.uniform(0, size[0] - w), 1), round(rng.uniform(0, size[1] - h), 1)
            crowd = rng.random() < 0.15
            polygon = blob(rng, x, y, w, h)
            rle = rle_of(polygon, size)
            if not int(coco_mask.area(rle)):
                continue
            form = 2 if crowd else rng.randrange(3)
            annotations.append({
                "image_id": image,
                "category_id": rng.choice([1, 1, 1, 3, 3, 18]),
                "bbox": coco_mask.toBbox(rle).tolist() if rng.random() < 0.5 else [x, y, w, h],
                "area": rng.choice([float(coco_mask.area(rle)), round(w * h * 0.8, 2), 1024, 9216.0, 1024.01, 9215.99]),
                "iscrowd": int(crowd),
                "segmentation": [[polygon], text(rle), runs(rle)][form],
            })
    # A category of crowds alone, and boxes for overlaps exactly on thresholds.
    square = [10, 10, 30, 10, 30, 30, 10, 30]
    for category, crowd, image in [(90, 1, 7), (90, 1, 12), (18, 0, 1001), (18, 0, 1001), (18, 1, 1001)]:
        annotations.append({
            "image_id": image,
            "category_id": category,
            "bbox": [10, 10, 20, 20],
            "area": 400,
            "iscrowd": crowd,
            "segmentation": runs(rle_of(square, SIZES[image])) if crowd else [square],
        })
    rng.shuffle(annotations)
    for i, annotation in enumerate(annotations):
        annotation["id"] = 1000 - 7 * i
    images = [{"id": i, "width": w, "height": h, "file_name": f"{i}.png"} for i, (w, h) in SIZES.items()]
    categories = [{"id": i, "name": name} for i, name in CATEGORIES.items()]
    rng.shuffle(categories)
    return {"images": images, "categories": categories, "annotations": annotations}


def detections(rng, ground_truth):
    found = []

    def add(image, category, box, score=None):
        size = SIZES[image]
        x, y, w, h = box
        outline = [x, y, x + w, y, x + w, y + h, x, y + h] if rng.random() < 0.3 else blob(rng, x, y, w, h)
        found.append({
            "image_id": image,
            "category_id": category,
            "bbox": [round(v, 2) for v in box],
            "score": rng.choice([0.9, 0.7, 0.5, 0.3, round(rng.random(), 3)]) if score is None else score,
            "segmentation": text(rle_of(outline, size)),
        })

    for annotation in ground_truth["annotations"]:
        if annotation["image_id"] == NO_DETECTIONS:
            continue
        x, y, w, h = annotation["bbox"]
        for _ in range(rng.choice([0, 1, 1, 2, 3])):
            spread = rng.choice([0.0, 0.02, 0.1, 0.3])
            box = [x + rng.gauss(0, spread) * w, y + rng.gauss(0, spread) * h,
                   w * math.exp(rng.gauss(0, spread)), h * math.exp(rng.gauss(0, spread))]
            category = annotation["category_id"] if rng.random() < 0.85 else rng.choice([1, 3, 18, 44, 90])
            add(annotation["image_id"], category, box)
    for image, (width, height) in SIZES.items():
        if image in (NO_DETECTIONS, NEITHER):
            continue
        for _ in range(rng.randint(1, 5)):
            w, h = rng.uniform(2, width / 2), rng.uniform(2, height / 2)
            add(image, rng.choice([1, 3, 18, 44]), [rng.uniform(0, width - w), rng.uniform(0, height - h), w, h])
    # IoU exactly 1/2, 3/4, 4/5, 9/10 with the boxes at (10, 10), tied, and boxes without extent.
    for height, score in [(10, 0.5), (15, 0.5), (16, 0.5), (18, 0.5), (20, 0.3), (0, 0.99), (15, 0.0), (16, -0.0), (10, -1)]:
        add(1001, 18, [10, 10, 20, height], score)
    # More than a hundred in one picture, the good ones among the last in the list.
    flood = [a for a in ground_truth["annotations"] if a["image_id"] == FLOODED and a["category_id"] == 1]
    for i in range(115):
        add(FLOODED, 1, [rng.uniform(0, 180), rng.uniform(0, 140), 9, 9], rng.choice([0.2, 0.3, 0.4]))
    for annotation in flood:
        add(FLOODED, 1, annotation["bbox"], 0.3)
    rng.shuffle(found)
    return found


def without(records, key):
    return [{k: v for k, v in record.items() if k != key} for record in records]


def answers(ground_truth, found, iou):
    evaluation = COCOeval(ground_truth, ground_truth.loadRes(json.loads(json.dumps(found))), iou)
    evaluation.evaluate()
    evaluation.accumulate()
    table = io.StringIO()
    with contextlib.redirect_stdout(table):
        evaluation.summarize()
    precision, recall = evaluation.eval["precision"], evaluation.eval["recall"]

    def mean(values):
        values = values[values > -1]
        return float(np.mean(values)) if len(values) else -1.0

    return {
        "stats": evaluation.stats.tolist(),
        "table": table.getvalue(),
        "per_iou": [mean(precision[t, :, :, 0, 2]) for t in range(10)],
        "per_category": [
            {
                "id": int(category),
                "ap": mean(precision[:, :, k, 0, 2]),
                "ap50": mean(precision[0, :, k, 0, 2]),
                "ap75": mean(precision[5, :, k, 0, 2]),
                "ap_small": mean(precision[:, :, k, 1, 2]),
                "ap_medium": mean(precision[:, :, k, 2, 2]),
                "ap_large": mean(precision[:, :, k, 3, 2]),
                "ar": mean(recall[:, k, 0, 2]),
            }
            for k, category in enumerate(evaluation.params.catIds)
        ],
    }


def write(path, value):
    with open(path, "w") as f:
        if isinstance(value, list):
            f.write("[\n" + ",\n".join(json.dumps(v, separators=(",", ":")) for v in value) + "\n]\n")
        else:
            f.write(json.dumps(value, separators=(",", ":")) + "\n")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("out")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    rng = random.Random(args.seed)
    os.makedirs(args.out, exist_ok=True)
    ground_truth = labels(rng)
    found = detections(rng, ground_truth)
    write(os.path.join(args.out, "ground_truth.json"), ground_truth)
    results = {"boxes": without(found, "segmentation"), "masks": without(found, "bbox"), "both": found}
    for name, records in results.items():
        write(os.path.join(args.out, f"{name}.json"), records)
    with contextlib.redirect_stdout(io.StringIO()):
        api = COCO(os.path.join(args.out, "ground_truth.json"))
        expected = {
            f"{name} {iou}": answers(api, records, iou)
            for name, records in results.items()
            for iou in ("bbox", "segm")
        }
    write(os.path.join(args.out, "expected.json"), expected)


if __name__ == "__main__":
    main()
