"""A second reader of packed sets, written from FORMAT.md alone, and what it is held against.

    pip install zstandard blake3 pillow numpy pycocotools
    python read_packed_set.py PACKED_SET [--pictures DIR] [--coco LABELS.json] [--json FILE]

Checks every CRC and hash; with --pictures each lossless record packed without resizing against Pillow's
reading of its file (the greatest difference is printed: 0, or 1 for rare kinds of JPEG);
with --coco each box and mask against pycocotools. --json writes all that was read, pixels of JPEG records as
Pillow decodes them; that is how `tests/golden/*/expected.json` were made.
"""

import argparse
import io
import json
import os
import struct
import zlib

import blake3
import numpy as np
import zstandard
from PIL import Image, ImageOps

parser = argparse.ArgumentParser()
parser.add_argument("packed_set")
parser.add_argument("--pictures")
parser.add_argument("--coco")
parser.add_argument("--json")
arguments = parser.parse_args()


def varint(bytes_, at):
    value = shift = 0
    while True:
        value |= (bytes_[at] & 127) << shift
        shift, at = shift + 7, at + 1
        if bytes_[at - 1] < 128:
            return value, at


def unzpix(bytes_, width, height):
    lengths = np.frombuffer(bytes_, "<u4", -(-height // 64))
    at, rows = 4 * len(lengths), []
    for strip, length in enumerate(lengths):
        count = min(64, height - 64 * strip)
        frame = zstandard.ZstdDecompressor().decompress(bytes_[at : at + length], max_output_size=3 * width * count)
        planes = np.frombuffer(frame, np.uint8).reshape(3, count, width)
        planes = planes.cumsum(1, dtype=np.uint8).cumsum(2, dtype=np.uint8)
        rows.append(np.stack([planes[1] + planes[0], planes[0], planes[2] + planes[0]], -1))
        at += length
    assert at == len(bytes_)
    return np.concatenate(rows)


def records():
    manifest = json.load(open(os.path.join(arguments.packed_set, "manifest.json")))
    quarantined = open(os.path.join(arguments.packed_set, "quarantine.jsonl")).readlines()
    # More lines are left by an addition that was not finished, and do not count.
    assert len([json.loads(line) for line in quarantined]) >= manifest["quarantined"]
    assert manifest["format"] == "intertwine packed set" and manifest["version"] == 1
    for shard in manifest["shards"]:
        data = open(os.path.join(arguments.packed_set, shard["file"]), "rb").read()
        assert blake3.blake3(data).hexdigest() == shard["blake3"] and len(data) == shard["bytes"]
        assert data[:8] == b"ITWS\r\n\x1a\n" and struct.unpack("<HH", data[8:12]) == (1, 64)
        count, index, index_crc = struct.unpack("<QQI", data[16:36])
        assert zlib.crc32(data[:60]) == struct.unpack("<I", data[60:64])[0]
        assert zlib.crc32(data[index:]) == index_crc and index + 64 * count == len(data)
        for i in range(count):
            fields = struct.unpack("<QIIIIIIIIQB", data[index + 64 * i :][:49])
            offset, pixels_len, meta_len, pixels_crc, meta_crc, width, height, instances, label, image_id, encoding = fields
            assert offset % 64 == 0
            pixels = data[offset : offset + pixels_len]
            meta = data[offset + pixels_len :][:meta_len]
            assert zlib.crc32(pixels) == pixels_crc and zlib.crc32(meta) == meta_crc
            picture = None
            if encoding == 0:
                picture = np.frombuffer(pixels, np.uint8).reshape(height, width, 3)
            elif encoding == 1:
                picture = unzpix(pixels, width, height)
            elif arguments.json:
                picture = np.array(Image.open(io.BytesIO(pixels)).convert("RGB"))
            original = list(struct.unpack("<II", meta[:8]))
            name_len = struct.unpack("<I", meta[8:12])[0]
            name, at, found = meta[12 : 12 + name_len].decode(), 12 + name_len, []
            for _ in range(instances):
                id_, category, x, y, w, h, area, flags = struct.unpack("<QI5fB", meta[at : at + 33])
                at, runs = at + 33, None
                if flags & 2:
                    number, at = varint(meta, at)
                    runs = []
                    for _ in range(number):
                        run, at = varint(meta, at)
                        runs.append(run)
                    assert sum(runs) == width * height
                category = manifest["categories"][category]["id"]
                found.append((id_, category, [x, y, w, h], area, flags & 1, runs))
            assert at == len(meta)
            label = None if label == 0xFFFFFFFF else manifest["labels"][label]
            yield name, image_id, picture, (width, height), found, original, label


coco = None
if arguments.coco:
    from pycocotools import mask as masks
    from pycocotools.coco import COCO

    coco = COCO(arguments.coco)
pictures = boxes = compared = 0
worst = 0
everything = []
for name, image_id, picture, size, found, original, label in records():
    pictures += 1
    if arguments.pictures and picture is not None:
        expected = np.array(ImageOps.exif_transpose(Image.open(os.path.join(arguments.pictures, name))).convert("RGB"))
        worst = max(worst, int(np.abs(expected.astype(int) - picture).max()))
    if arguments.json:
        instances = [
            {"id": id_, "category": category, "box": box, "area": area, "crowd": bool(crowd), "runs": runs}
            for id_, category, box, area, crowd, runs in found
        ]
        everything.append(
            {"source": name, "image_id": image_id, "size": size, "original_size": original, "label": label}
            | {"instances": instances, "pixels": picture.tobytes().hex()}
        )
    for id_, category, box, area, crowd, runs in found:
        boxes += 1
        if coco:
            annotation = coco.anns[id_]
            assert annotation["image_id"] == image_id and annotation["category_id"] == category
            assert annotation.get("iscrowd", 0) == crowd and np.allclose(annotation["area"], area, rtol=1e-6)
            assert np.allclose(annotation["bbox"], box, atol=1.0), (annotation["bbox"], box)
            if runs is not None:
                rle = masks.frPyObjects({"size": [size[1], size[0]], "counts": runs}, size[1], size[0])
                assert (masks.decode(rle) == coco.annToMask(annotation)).all(), id_
                compared += 1
print(f"{pictures} pictures, greatest difference {worst}; {boxes} boxes, {compared} masks equal")
if arguments.json:
    json.dump(everything, open(arguments.json, "w"), indent=1)
