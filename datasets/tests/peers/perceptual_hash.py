"""The expected values of the test of `src/inspect/hash.rs`, by NumPy and SciPy from the definition there.

    pip install numpy scipy
    python perceptual_hash.py
"""

import numpy as np
from scipy.fft import dct


def drawn(width, height, k):
    y, x = np.mgrid[:height, :width]
    return np.stack([(x * x * k // 7 + y * 3) % 256, (x * 2 + y * y // (k + 1)) % 256, (x * y // 5 + 40 * k) % 256], -1)


def averages(values, cells=32):
    """Means over equal cells along the first axis: every value repeated, so that cells hold whole numbers of them."""
    return np.repeat(values, cells, 0).reshape(cells, len(values), -1).mean(1)


def perceptual(picture):
    luma = picture @ [0.299, 0.587, 0.114]
    small = averages(averages(luma).T).T
    low = dct(dct(small, axis=0), axis=1)[1:9, 1:9].ravel()
    return int("".join("1" if value > np.median(low) else "0" for value in low), 2)


for width, height, k in [(64, 48, 1), (120, 90, 3), (33, 100, 5), (20, 17, 9)]:
    print(f"        ({width}, {height}, {k}, {perceptual(drawn(width, height, k)):#021_x}),")
