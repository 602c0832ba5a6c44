"""Makes fixtures/webdataset.tar with the writer of the webdataset package: three samples of one colour each, whose
keys need PAX headers.

    pip install webdataset pillow numpy
    python make_webdataset.py
"""

import os

import numpy as np
import webdataset
from PIL import Image

OUT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "fixtures", "webdataset.tar")

# Without names, times and padding of this machine, so that making it anew changes nothing.
writer = webdataset.TarWriter(OUT, user="nobody", group="nobody", mtime=0)
for number in range(3):
    writer.write(
        {
            "__key__": f"{'folder' * 20}/{number:06d}",
            "png": Image.fromarray(np.full((9, 12, 3), 40 * number, np.uint8)),
            "cls": 1 - number % 2,
            "json": {"caption": "one colour"},
            "txt": "one colour",
        }
    )
writer.close()
