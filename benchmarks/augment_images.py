"""Compare the speed of image augmentation with plain Albumentations: same preset, one core, 224 x 224, one process.

Targets, as speedups in CPU time over plain Albumentations: from a decoded photograph to the augmented image 3; from a
JPEG file to a normalized float32 tensor (3, 224, 224) 2.5. Plain is A.Compose with the preset's transforms, and for
files A.Normalize and A.ToTensorV2 after Pillow's decoder, which Hugging Face datasets use, or, for comparison, after
OpenCV's, which is faster. Photographs: two of scikit-learn, at the common JPEG quality 90 and unchanged (nearly
lossless: the largest files), and one of a drone. Speedups are geometric means over photographs.
Usage: python benchmarks/augment_images.py [PRESET]...    (default: light medium)
"""

import gc
import io
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from numpy.typing import NDArray

from toolchain import image_decoding
from toolchain.augment.images.engine import Engine, Group
from toolchain.augment.images.files import open_file
from toolchain.augment.images.presets import PRESETS
from toolchain.hardware.cpu import describe

SIZE, ROUNDS, WARMUP_ROUNDS = 224, 300, 10
LARGE_FILE_ROUNDS = 60  # for the drone's photograph, which takes longer
LARGE_FILE_BYTES = 300_000
MIN_SPEEDUPS = {"pixels": 3.0, "file by Pillow": 2.5}
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet, the defaults of A.Normalize

Task = Callable[[], Any]


def main(names: Sequence[str]) -> int:
    import cv2

    cv2.setNumThreads(1)
    files = photographs()
    print(f"{describe().name}, 1 thread, {SIZE} x {SIZE}; CPU milliseconds, mean of all rounds")
    print(f"{'preset':8}{'photograph':22}{'from':18}{'plain':>9}{'ours':>9}{'speedup':>9}")
    speedups: dict[tuple[str, str], list[float]] = {}
    for name in names or ("light", "medium"):
        for title, data in files.items():
            for task, (plain, ours) in tasks(name, data).items():
                before, after = times(plain, ours, ROUNDS if len(data) < LARGE_FILE_BYTES else LARGE_FILE_ROUNDS)
                speedups.setdefault((name, task), []).append(before / after)
                print(
                    f"{name:8}{title:22}{task:18}{1e3 * before:9.2f}{1e3 * after:9.2f}{before / after:9.2f}", flush=True
                )
    return report(speedups)


def report(speedups: dict[tuple[str, str], list[float]]) -> int:
    """Print each target and the measured speedup over all photographs; return 1 if a target is missed."""
    missed = False
    for (name, task), ratios in speedups.items():
        middle = float(np.exp(np.mean(np.log(ratios))))
        line = f"{name} from {task}: {middle:.2f}, lowest {min(ratios):.2f}"
        if task in MIN_SPEEDUPS:
            missed |= middle < MIN_SPEEDUPS[task]
            line += f", target {MIN_SPEEDUPS[task]:.1f}: {'PASS' if middle >= MIN_SPEEDUPS[task] else 'FAIL'}"
        print(line)
    return int(missed)


def photographs() -> dict[str, bytes]:
    """Return JPEG files by their description."""
    small = _folder("sklearn") / "datasets" / "images"
    china, flower = ((small / name).read_bytes() for name in ("china.jpg", "flower.jpg"))
    usual = {
        name: _quality(image_decoding.decode(data, name), 90) for name, data in (("china", china), ("flower", flower))
    }
    found = {f"{name}, quality 90": data for name, data in usual.items()}
    found |= {"china, unchanged": china, "flower, unchanged": flower}
    drone = sorted((_folder("deepforest") / "data").glob("*.JPG"))
    return found | {f"drone, {size(path.read_bytes())}": path.read_bytes() for path in drone[:1]}


def size(data: bytes) -> str:
    facts = image_decoding.inspect(data, "it")
    return f"{facts.width} x {facts.height}"


def tasks(name: str, data: bytes) -> dict[str, tuple[Task, Task]]:
    """Return the timed functions, plain and ours: "pixels" from a decoded image, "file by" from a JPEG to a tensor."""
    import albumentations
    import cv2
    import torch
    from PIL import Image

    engine, rng = Engine(PRESETS[name], SIZE), Random(0)
    steps = plain_steps(engine)
    compose = albumentations.Compose(steps, seed=0)
    to_tensor = albumentations.Compose([*steps, albumentations.Normalize(), tensor_step()], seed=0)
    pixels = image_decoding.decode(data, name)
    raw = np.frombuffer(data, np.uint8)
    scale, shift = _normalisation()

    def by_pillow() -> Any:
        return to_tensor(image=np.array(Image.open(io.BytesIO(data)).convert("RGB")))["image"]

    def by_opencv() -> Any:
        return to_tensor(image=cv2.cvtColor(cv2.imdecode(raw, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB))["image"]

    def our_file() -> Any:
        copy = engine.copy(open_file(data, name, apply_exif=False), rng).pixels
        return torch.from_numpy(normalised(copy, scale, shift))

    assert by_pillow().shape == by_opencv().shape == our_file().shape == (3, SIZE, SIZE)
    assert by_pillow().dtype == by_opencv().dtype == our_file().dtype == torch.float32
    return {
        "pixels": (lambda: compose(image=pixels)["image"], lambda: engine.copy(pixels, rng).pixels),
        "file by Pillow": (by_pillow, our_file),
        "file by OpenCV": (by_opencv, our_file),
    }


def plain_steps(engine: Engine) -> list[Any]:
    """Return the preset as a plain Albumentations pipeline."""
    import albumentations

    def one(prepared: Any) -> Any:
        if prepared.has_free_size:
            prepared.transform.size = (SIZE, SIZE)
        return prepared.transform

    return [
        albumentations.OneOf([one(prepared) for prepared in step.members], p=step.p)
        if isinstance(step, Group)
        else one(step)
        for step in Engine(_without_mosaic(engine), SIZE).steps
    ]


def tensor_step() -> Any:
    from albumentations.pytorch import ToTensorV2

    return ToTensorV2()


def normalised(pixels: NDArray[np.uint8], scale: NDArray[Any], shift: NDArray[Any]) -> NDArray[np.float32]:
    """Return uint8 (height, width, 3) as normalized float32 (3, height, width)."""
    import cv2

    planes = np.empty((3, *pixels.shape[:2]), np.float32)
    for number, plane in enumerate(cv2.split(pixels)):
        cv2.LUT(plane, scale[number] * np.arange(256, dtype=np.float32) + shift[number], dst=planes[number])
    return planes


def times(plain: Task, ours: Task, rounds: int) -> tuple[float, float]:
    """Return the mean CPU seconds of each, interleaved in random order."""
    random, spent = np.random.default_rng(0), {plain: 0.0, ours: 0.0}
    gc.disable()
    for turn in range(min(WARMUP_ROUNDS, rounds) + rounds):
        for task in (plain, ours) if random.random() < 0.5 else (ours, plain):
            began = time.process_time()
            task()
            if turn >= min(WARMUP_ROUNDS, rounds):
                spent[task] += time.process_time() - began
    gc.enable()
    return spent[plain] / rounds, spent[ours] / rounds


def _normalisation() -> tuple[NDArray[Any], NDArray[Any]]:
    mean, deviation = np.array(MEAN, np.float32), np.array(DEVIATION, np.float32)
    return 1 / (255 * deviation), -mean / deviation


def _without_mosaic(engine: Engine) -> str:
    import yaml

    return yaml.safe_dump([entry for entry in yaml.safe_load(engine.text) if "Mosaic" not in entry])


def _quality(pixels: NDArray[np.uint8], quality: int) -> bytes:
    import simplejpeg

    data: bytes = simplejpeg.encode_jpeg(np.ascontiguousarray(pixels), quality=quality, colorsubsampling="420")
    return data


def _folder(package: str) -> Path:
    found = find_spec(package)
    if found is None or found.origin is None:
        sys.exit(f"package {package} is missing; install the extra dev")
    return Path(found.origin).parent


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    sys.exit(main(sys.argv[1:]))
