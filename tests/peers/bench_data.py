#!/usr/bin/env python3
"""Multi-crop views a second of `intertwine bench data` and of PyTorch data loaders, run alternately.

    pip install torch torchvision pillow albumentationsx opencv-python-headless
    pip install ffcv --no-build-isolation  # needs libopencv-dev, libturbojpeg0-dev, pkg-config
    pack-dataset FOLDER SHARDS --min-side 256
    bench_data.py target/release/intertwine --pictures FOLDER --data SHARDS [--threads 2] [--rounds 3] [--images 600]

The work: a picture is read, decoded, and turned into 2 views of 224 and 8 of 96 pixels, normalised, f32: random crop,
bicubic; flip; colour jitter in random order; grey; Gaussian blur; solarisation, with DINO's probabilities. Pictures come
shuffled, in batches of 20, by as many worker processes (peers) or threads (ours) as --threads says. Peers read the JPEGs of
FOLDER; ours reads them too (`jpeg`), or the packed set (`packed`). A peer whose packages do not import is left out.

FFCV reads a file of its own, of raw pictures no larger than 341 pixels a side. It has no hue, grey, blur or solarisation,
and no bicubic: it does less than the others.
"""
import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
# Size, area, probabilities of blur and of solarisation.
GLOBAL_1, GLOBAL_2, LOCAL = (224, (0.32, 1.0), 1.0, 0.0), (224, (0.32, 1.0), 0.1, 0.2), (96, (0.05, 0.32), 0.5, 0.0)
BATCH = 20


def torchvision_pil(size, area, blur, solarise):
    """The recipe of DINOv2's repository, with DINO's probabilities."""
    from torchvision import transforms as T

    jitter = T.RandomApply([T.ColorJitter(0.4, 0.4, 0.2, 0.1)], p=0.8)
    return T.Compose(
        [T.RandomResizedCrop(size, scale=area, interpolation=T.InterpolationMode.BICUBIC), T.RandomHorizontalFlip()]
        + [jitter, T.RandomGrayscale(0.2), T.RandomApply([T.GaussianBlur(9, (0.1, 2.0))], p=blur)]
        + ([T.RandomSolarize(128, p=solarise)] if solarise else [])
        + [T.ToTensor(), T.Normalize(MEAN, STD)]
    )


def torchvision_v2(size, area, blur, solarise):
    """On tensors of bytes."""
    import torch
    from torchvision.transforms import InterpolationMode, v2 as T

    crop = T.RandomResizedCrop(size, scale=area, interpolation=InterpolationMode.BICUBIC, antialias=True)
    jitter = T.RandomApply([T.ColorJitter(0.4, 0.4, 0.2, 0.1)], p=0.8)
    return T.Compose(
        [crop, T.RandomHorizontalFlip(), jitter, T.RandomGrayscale(0.2)]
        + [T.RandomApply([T.GaussianBlur(9, (0.1, 2.0))], p=blur)]
        + ([T.RandomSolarize(128, p=solarise)] if solarise else [])
        + [T.ToDtype(torch.float32, scale=True), T.Normalize(MEAN, STD)]
    )


def albumentations(size, area, blur, solarise):
    """AlbumentationsX on OpenCV. Its bicubic is not antialiased."""
    import albumentations as A
    import cv2
    from albumentations.pytorch import ToTensorV2

    cv2.setNumThreads(0)
    chain = A.Compose(
        [A.RandomResizedCrop(size=(size, size), scale=area, interpolation=cv2.INTER_CUBIC), A.HorizontalFlip(p=0.5)]
        + [A.ColorJitter((0.6, 1.4), (0.6, 1.4), (0.8, 1.2), (-0.1, 0.1), p=0.8), A.ToGray(p=0.2)]
        + [A.GaussianBlur(blur_range=(9, 9), sigma_range=(0.1, 2.0), p=blur)]
        + ([A.Solarize(threshold_range=(0.5, 0.5), p=solarise)] if solarise else [])
        + [A.Normalize(MEAN, STD), ToTensorV2()]
    )
    return lambda picture: chain(image=picture)["image"]


def read_pil(path):
    from PIL import Image

    with open(path, "rb") as f:
        return Image.open(f).convert("RGB")


def read_tensor(path):
    import torchvision.io as tio

    return tio.decode_image(tio.read_file(path), mode=tio.ImageReadMode.RGB)


def read_opencv(path):
    import cv2

    return cv2.cvtColor(cv2.imread(path, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)


PEERS = {
    "AlbumentationsX": (read_opencv, albumentations),
    "torchvision v2, bytes": (read_tensor, torchvision_v2),
    "torchvision, PIL": (read_pil, torchvision_pil),
}
FFCV = "FFCV, part of the chain"


class Pictures:
    def __init__(self, peer, files):
        self.read, chain = PEERS[peer]
        self.files = files
        self.chains = [chain(*GLOBAL_1), chain(*GLOBAL_2)] + [chain(*LOCAL)] * 8

    def __len__(self):
        return len(self.files)

    def __getitem__(self, i):
        picture = self.read(self.files[i])
        return [chain(picture) for chain in self.chains]


def torch_loader(peer, folder, threads):
    """A function that loads so many pictures."""
    import numpy as np
    import torch
    from torch.utils.data import DataLoader, Sampler

    torch.set_num_threads(1)
    files = sorted(os.path.join(folder, f) for f in os.listdir(folder))

    class Shuffled(Sampler):
        count = 3 * BATCH

        def __iter__(self):
            epochs = -(-self.count // len(files))
            order = [i for _ in range(epochs) for i in random.sample(range(len(files)), len(files))]
            return iter(order[: self.count])

        def __len__(self):
            return self.count

    def start(worker):
        torch.set_num_threads(1)
        random.seed(worker)
        np.random.seed(worker)

    order = Shuffled()
    loader = DataLoader(
        Pictures(peer, files), batch_size=BATCH, sampler=order, num_workers=threads, persistent_workers=True,
        worker_init_fn=start, prefetch_factor=4,
    )

    def load(images):
        order.count = images
        return sum(len(batch[0]) for batch in loader)

    return load


def ffcv_loader(folder, threads, beton):
    """A function that loads so many pictures, or a few more, to the end of an epoch."""
    import numpy as np
    from ffcv import transforms as T
    from ffcv.fields import RGBImageField
    from ffcv.fields.rgb_image import RandomResizedCropRGBImageDecoder
    from ffcv.loader import Loader, OrderOption
    from ffcv.pipeline import PipelineSpec
    from ffcv.writer import DatasetWriter

    files = sorted(os.path.join(folder, f) for f in os.listdir(folder))

    class Pixels:
        def __len__(self):
            return len(files)

        def __getitem__(self, i):
            return (np.asarray(read_pil(files[i])),)

    fields = {"image": RGBImageField(write_mode="raw", max_resolution=341)}
    with open(os.devnull, "w") as quiet:
        stdout, sys.stdout = sys.stdout, quiet
        DatasetWriter(beton, fields, num_workers=1).from_indexed_dataset(Pixels())
        sys.stdout = stdout

    def view(size, area):
        chain = [T.RandomHorizontalFlip(), T.RandomBrightness(0.4, 0.8), T.RandomContrast(0.4, 0.8)]
        chain += [T.RandomSaturation(0.2, 0.8)]
        chain += [T.NormalizeImage(255 * np.array(MEAN), 255 * np.array(STD), np.float32)]
        chain += [T.ToTensor(), T.ToTorchImage(channels_last=False)]
        decoder = RandomResizedCropRGBImageDecoder((size, size), scale=area)
        return PipelineSpec("image", decoder=decoder, transforms=chain)

    views = [GLOBAL_1, GLOBAL_2] + [LOCAL] * 8
    pipelines = {f"view{i}": view(size, area) for i, (size, area, _, _) in enumerate(views)}
    loader = Loader(
        beton, batch_size=BATCH, num_workers=threads, order=OrderOption.RANDOM, os_cache=True, drop_last=True,
        pipelines={"image": None, **pipelines},
    )

    def load(images):
        done = 0
        while done < images:
            done += sum(len(batch[0]) for batch in loader)
        return done

    return load


def serve(peer, folder, threads):
    """A peer process: for each number read, so many pictures; answers pictures a second."""
    with tempfile.TemporaryDirectory() as temporary:
        if peer == FFCV:
            load = ffcv_loader(folder, threads, os.path.join(temporary, "pictures.beton"))
        else:
            load = torch_loader(peer, folder, threads)
        load(3 * BATCH)
        print("ready", flush=True)
        for line in sys.stdin:
            begin = time.perf_counter()
            done = load(int(line))
            print(done / (time.perf_counter() - begin), flush=True)


class Peer:
    def __init__(self, name, folder, threads):
        command = [sys.executable, __file__, "--serve", name, "--pictures", folder, "--threads", str(threads)]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env=dict(os.environ, OMP_NUM_THREADS="1"),
        )
        self.works = self.process.stdout.readline().strip() == "ready"
        if not self.works:
            reason = self.process.stderr.read().strip().splitlines()
            print(f"left out: {name}: {reason[-1] if reason else 'it ended'}", file=sys.stderr)

    def rate(self, images):
        print(images, file=self.process.stdin, flush=True)
        return float(self.process.stdout.readline())


def ours(program, source, mode, images, threads):
    with tempfile.NamedTemporaryFile(suffix=".json") as out:
        command = [program, "--threads", str(threads), "bench", "data", *source, "--mode", mode]
        command += ["--images", str(images), "--rounds", "1", "--json", out.name]
        subprocess.run(command, check=True, capture_output=True)
        with open(out.name) as f:
            return json.load(f)["images_per_s"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program", nargs="?")
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    parser.add_argument("--pictures", required=True)
    parser.add_argument("--data")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--images", type=int, default=600)
    args = parser.parse_args()
    if args.serve:
        return serve(args.serve, args.pictures, args.threads)
    jpeg, packed = ["--pictures", args.pictures], ["--data", args.data]
    runs = {}
    if args.data:
        for mode in ("exact", "fast"):
            runs[f"intertwine, packed, {mode}"] = lambda m=mode: ours(args.program, packed, m, 3 * args.images, args.threads)
    for mode in ("exact", "fast"):
        runs[f"intertwine, jpeg, {mode}"] = lambda m=mode: ours(args.program, jpeg, m, args.images, args.threads)
    for name in [*PEERS, FFCV]:
        peer = Peer(name, args.pictures, args.threads)
        if peer.works:
            runs[name] = lambda p=peer: p.rate(args.images)
    rates = {name: [] for name in runs}
    for round_ in range(args.rounds):
        for name, run in runs.items():
            rates[name].append(run())
            print(f"round {round_ + 1}: {name}: {rates[name][-1]:.1f}", file=sys.stderr)
    peers = [name for name in [*PEERS, FFCV] if name in runs]
    print("| | images/s |" + "".join(f" x {name} |" for name in peers))
    print("|---|--:|" + "--:|" * len(peers))
    medians = {name: statistics.median(r) for name, r in rates.items()}
    for name, rate in medians.items():
        print(f"| {name} | {rate:.0f} |" + "".join(f" {rate / medians[peer]:.2f} |" for peer in peers))


if __name__ == "__main__":
    main()
