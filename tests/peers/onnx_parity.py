#!/usr/bin/env python3
"""Holds exported detectors against the outside world: onnx.checker with full shape inference, and
onnxruntime on the input and outputs that the plain reference or tract recorded.

    pip install onnx onnxruntime numpy
    onnx_parity.py MODEL.onnx [RECORD.json]

RECORD.json maps `image` and each output's name to a flat list of numbers. Without it the model is
checked and run on a random input. Exit status 1 when an output differs by more than 1e-4
(boxes: 1e-4 of the box's longer side, at least 1e-4 pixels: a float has seven digits).
"""
import json
import sys

import numpy as np
import onnx
import onnxruntime as ort


def main(path, record=None):
    model = onnx.load(path)
    # Strict inference holds the shapes written in the file against those of the operators.
    onnx.checker.check_model(model, full_check=True)
    onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True, data_prop=True)

    session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
    (image,) = session.get_inputs()
    names = [output.name for output in session.get_outputs()]
    expected = json.load(open(record)) if record else {}
    if "image" in expected:
        x = np.array(expected["image"], np.float32).reshape(image.shape)
    else:
        x = np.random.default_rng(0).standard_normal(image.shape, np.float32)
    outputs = dict(zip(names, session.run(names, {image.name: x})))

    failed = False
    for name, value in outputs.items():
        assert np.isfinite(value).all(), f"{name} is not finite"
        line = f"{name:13} {list(value.shape)}"
        if record:
            reference = np.array(expected[name], np.float32).reshape(value.shape)
            difference = np.abs(value - reference)
            tolerance = 1e-4
            if name == "boxes":
                side = (reference[..., 2:] - reference[..., :2]).max(-1, keepdims=True)
                tolerance = 1e-4 * np.maximum(side, 1)
            failed |= bool((difference > tolerance).any())
            line += f"  max difference {difference.max():.2e}"
        print(line)
    sys.exit(failed)


if __name__ == "__main__":
    main(*sys.argv[1:])
