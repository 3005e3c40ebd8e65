"""Detectors learn to find coloured rectangles on noise."""

import shutil
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from toolchain.artifacts.dataset import new_dataset, open_dataset
from toolchain.artifacts.image import IMAGE_TYPE, OBJECTS_TYPE
from toolchain.artifacts.model import open_model, require
from toolchain.artifacts.provenance import Work
from toolchain.errors import ArtifactError, ConfigError, DataError, ServiceError, TrainingError
from toolchain.frameworks.torch.detector import BASES, LITE0, Architecture, build_detector, load_detector
from toolchain.frameworks.torch.device import TrainingDevice
from toolchain.frameworks.torch.loop import TrainingLoop
from toolchain.frameworks.torch.weights import LITE_WEIGHTS, PINNED, Weights, fetch_weights
from toolchain.image_decoding import encode, inspect
from toolchain.train.torch_detector import Config, run
from toolchain.train.torch_detector.images import read_images
from toolchain.train.torch_detector.loop import set_training_mode, validate
from toolchain.train.torch_detector.weights import find_weights, load_weights

CASES = Path(__file__).parents[2] / "cases" / "vision"
SIDE = 64  # pixels of an image, and of the detector's input: its minimum
LABELS = ("red", "blue")
SCHEMA = pa.schema(
    {
        "row": pa.int64(),
        "image": IMAGE_TYPE,
        "width": pa.int64(),
        "height": pa.int64(),
        "objects": OBJECTS_TYPE,
    }
)


def entry(box: list[float], label: int = 0, **more: Any) -> dict[str, Any]:
    plain = {"rotation": 0.0, "polygons": [], "mask": "", "attributes": "{}"}
    flags = dict.fromkeys(("crowd", "difficult", "truncated", "occluded"), False)
    return {"label": label, "box": [float(value) for value in box], **plain, **flags, **more}


def row(number: int, height: int = SIDE, width: int = SIDE, objects: int | None = None) -> dict[str, Any]:
    """Return an image of dark noise with up to two rectangles, red or blue."""
    random = np.random.default_rng(number)
    pixels = random.integers(0, 60, (height, width, 3), dtype=np.uint8)
    entries = []
    for index in range(number % 3 if objects is None else objects):
        left, top = index * width // 2 + random.integers(0, width // 10), random.integers(0, height // 3)
        right, bottom = left + random.integers(width // 4, width // 3), top + random.integers(height // 4, height // 2)
        label = int(random.integers(0, 2))
        pixels[top:bottom, left:right, 2 * label] = 230
        entries.append(entry([left, top, right, bottom], label))
    file = {"bytes": encode(pixels), "path": f"{number}.png"}
    return {"row": number, "image": file, "width": width, "height": height, "objects": entries}


@pytest.fixture(scope="session")
def make(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    def make(training: list[dict], validation: list[dict], labels: tuple[str, ...] = LABELS) -> Path:
        path = tmp_path_factory.mktemp("dataset") / "dataset"
        with new_dataset(path, SCHEMA, Work("data.split", None), labels) as writer:
            for name, rows in (("train", training), ("validation", validation)):
                writer.write(name, pa.Table.from_pylist(rows, SCHEMA))
        return path

    return make


@pytest.fixture(scope="session")
def rectangles(make: Callable[..., Path]) -> Path:
    return make([row(number) for number in range(24)], [row(number) for number in range(100, 112)])


def small(**settings: Any) -> Config:
    """Return settings under which training takes seconds."""
    own = {"image_size": SIDE, "epochs": 1, "batch_size": 8, "weights": "", "score_threshold": 0.02}
    return Config(**{**own, **settings})


# --- every architecture ---


@pytest.fixture(scope="session")
def five_cats(make: Callable[..., Path]) -> Path:
    """Return the case det_ssdlite_last_batch: 5 images to train on, 2 to validate, a cat in the middle of each."""
    folder = CASES / "det_ssdlite_last_batch" / "input"

    def read(file: Path, number: int) -> dict[str, Any]:
        height, width = inspect(file.read_bytes(), file.name).height, inspect(file.read_bytes(), file.name).width
        lines = (folder / "labels" / file.parent.name / f"{file.stem}.txt").read_text().split()
        x, y, w, h = (float(value) for value in lines[1:])
        box = [(x - w / 2) * width, (y - h / 2) * height, (x + w / 2) * width, (y + h / 2) * height]
        image = {"bytes": file.read_bytes(), "path": file.name}
        return {"row": number, "image": image, "width": width, "height": height, "objects": [entry(box)]}

    splits = [
        [read(file, number) for number, file in enumerate(sorted((folder / "images" / split).glob("*.jpg")))]
        for split in ("train", "val")
    ]
    return make(*splits, labels=("cat",))


SIZES = {name: 288 if name == "ssd300_vgg16" else SIDE for name in BASES}  # the least that each takes
DETECTORS = [pytest.param(name, marks=[pytest.mark.slow] if name.startswith("ssd300") else []) for name in BASES]


@pytest.mark.parametrize("base", DETECTORS)
def test_every_detector_learns_from_five_images_in_batches_of_four(base: str, five_cats: Path, tmp_path: Path):
    run(five_cats, tmp_path / "model", small(base_model=base, image_size=SIZES[base], batch_size=4))
    found = load_detector(open_model(tmp_path / "model"))
    assert found.architecture.base == base


def test_a_batch_of_one_that_cannot_be_normalised_is_rejected_in_one_line(five_cats: Path, tmp_path: Path):
    config = small(base_model="ssdlite320_mobilenet_v3_large", batch_size=1)
    with pytest.raises(ConfigError, match=r"ssdlite320_mobilenet_v3_large has a layer .*set batch_size to 2"):
        run(five_cats, tmp_path / "model", config)


def test_a_size_that_leaves_nothing_of_an_image_is_rejected_before_images_are_read(
    five_cats: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(
        "toolchain.train.torch_detector.read_images", lambda *arguments: pytest.fail("images were read")
    )
    with pytest.raises(
        ConfigError, match=r"ssd300_vgg16 cannot take images of 64 x 64 pixels .*set a larger image_size"
    ):
        run(five_cats, tmp_path / "model", small(base_model="ssd300_vgg16"))


def test_progress_is_shown_from_the_first_batch_on(
    five_cats: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr("toolchain.progress.LOG_INTERVAL_S", 0.0)
    run(five_cats, tmp_path / "model", small(batch_size=2))
    lines = capsys.readouterr().out.splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith("training on 5 images: 2 batches"))
    assert lines[start + 1].startswith("progress: train 1/2 batches (50 %)")
    assert any(line.startswith("progress: validate 1/2 images") for line in lines[:start]), "before training, too"


# --- what comes out ---


def test_learns_and_writes_a_model_that_the_next_steps_take(rectangles: Path, tmp_path: Path):
    config = small(weights="backbone", epochs=12, learning_rate=3e-3, freeze_stages=1, patience=12)
    result = run(rectangles, tmp_path / "model", config)
    model = open_model(tmp_path / "model")
    require(model, "object-detection", "pytorch")
    note = model.notes["train.torch_detector"]
    assert result.untrained_accuracy < 0.05
    assert result.validation_accuracy > 0.3, "rectangles on noise are easy"
    assert note["history"][-1]["loss"] < note["history"][0]["loss"]
    assert result.validation_accuracy == max(epoch["validation_accuracy"] for epoch in note["history"])
    assert (note["untrained_accuracy"], note["new_layers"][-1]) == (
        result.untrained_accuracy,
        "head.regression_head.conv.9",
    )
    assert 0 < note["threshold"] < 1
    assert model.signature.labels == LABELS
    assert model.signature.inputs[0].shape == (1, SIDE, SIDE, 3)
    assert model.lineage[-1].parents == {"dataset": open_dataset(rectangles).digest}
    assert model.lineage[-1].source["sha256"] == PINNED[LITE_WEIGHTS]
    assert model.lineage[-1].metrics["validation_accuracy"] == result.validation_accuracy


def test_the_written_model_predicts_as_its_note_states(rectangles: Path, tmp_path: Path):
    result = run(rectangles, tmp_path / "model", small(epochs=2))
    detector = load_detector(open_model(tmp_path / "model"))
    scores = validate(detector, read_images(open_dataset(rectangles), "validation", SIDE), on_cpu())
    assert scores["validation_accuracy"] == pytest.approx(result.validation_accuracy, abs=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("base", ["ssdlite320_mobilenet_v3_large", "retinanet_resnet50_fpn_v2", "fcos_resnet50_fpn"])
def test_detectors_of_torchvision_train_too(base: str, rectangles: Path, tmp_path: Path):
    run(rectangles, tmp_path / "model", small(base_model=base))
    assert load_detector(open_model(tmp_path / "model")).architecture.base == base


def on_cpu() -> TrainingDevice:
    import torch

    return TrainingDevice(torch.device("cpu"), None)


# --- equal results after an interruption ---


def test_the_same_settings_give_the_same_model(rectangles: Path, tmp_path: Path):
    import torch

    for name in ("first", "second"):
        run(rectangles, tmp_path / name, small())
        torch.rand(7)  # someone else draws in between
    run(rectangles, tmp_path / "other", small(seed=1))
    digests = [open_model(tmp_path / name).digest for name in ("first", "second", "other")]
    assert digests[0] == digests[1] != digests[2]


@pytest.mark.parametrize("after", [2, 4])  # within an epoch, and in a later one
def test_an_interrupted_training_takes_up_where_it_was(
    after: int, rectangles: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    config = small(epochs=2, checkpoint_batches=1)
    run(rectangles, tmp_path / "whole", config)
    train_step, steps = TrainingLoop._train_step, []

    def interrupted(self: TrainingLoop, batch: list[int]) -> None:
        steps.append(self.state.step)
        if self.state.step == after and len(steps) == after + 1:
            raise KeyboardInterrupt
        train_step(self, batch)

    monkeypatch.setattr(TrainingLoop, "_train_step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(rectangles, tmp_path / "model", config)
    assert not (tmp_path / "model").exists()
    run(rectangles, tmp_path / "model", config)
    assert steps[after + 1] == after
    assert open_model(tmp_path / "model").digest == open_model(tmp_path / "whole").digest


def test_training_ends_when_it_brings_nothing_and_the_best_weights_are_kept(
    rectangles: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    scores, kept = iter([0.0, 0.2, 0.5, 0.5, 0.4, 0.9]), []  # the first is before training

    def scored(detector: Any, *_: object) -> dict[str, float]:
        kept.append(deepcopy(detector.network.state_dict()))
        return {"validation_accuracy": next(scores), "threshold": 0.5}

    monkeypatch.setattr("toolchain.train.torch_detector.validate", scored)
    monkeypatch.setattr("toolchain.train.torch_detector.loop.validate", scored)
    result = run(rectangles, tmp_path / "model", small(epochs=9, patience=2, batch_size=24))
    assert (result.epochs, result.validation_accuracy) == (4, 0.5)
    found = load_detector(open_model(tmp_path / "model")).network.state_dict()
    assert all((found[name] == weight).all() for name, weight in kept[2].items()), "the earlier of two equals"


# --- what it begins from ---


def test_the_backbone_is_that_of_the_weights_and_frozen_stages_stay(rectangles: Path, tmp_path: Path):
    given = fetch_weights(LITE_WEIGHTS).tensors
    run(rectangles, tmp_path / "model", small(weights=LITE_WEIGHTS, freeze_stages=2))
    body = load_detector(open_model(tmp_path / "model")).network.backbone.body
    assert (body.conv_stem.weight == given["_conv_stem.weight"]).all()
    assert (body.blocks[0][0].bn1.running_mean == given["_blocks.0._bn1.running_mean"]).all()
    assert (body.blocks[6][0].conv_pwl.weight != given["_blocks.15._project_conv.weight"]).any()
    assert body.blocks[6][0].conv_pwl.weight.shape == given["_blocks.15._project_conv.weight"].shape


def test_the_backbone_has_the_features_that_the_weights_have_in_timm():
    import timm
    import torch

    detector = build_detector(Architecture(base=LITE0, classes=1, image_size=SIDE))
    load_weights(detector.network, find_weights(LITE0, "backbone"))
    model = timm.create_model("tf_efficientnet_lite0", pretrained=False)
    given = fetch_weights(LITE_WEIGHTS).tensors
    model.load_state_dict(dict(zip(model.state_dict(), given.values(), strict=True)))
    pixels = torch.rand(1, 3, SIDE, SIDE)
    with torch.inference_mode():
        expected = model.eval().forward_intermediates(pixels, indices=[2, 3, 4], intermediates_only=True)
        found = detector.network.backbone.body(pixels)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other)


def test_a_trained_detector_is_a_start_and_its_head_is_replaced_for_other_classes(
    make: Callable[..., Path], rectangles: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    run(rectangles, tmp_path / "first", small())
    start = str(tmp_path / "first")
    run(rectangles, tmp_path / "same", small(weights=start, freeze_stages=0))
    assert open_model(tmp_path / "same").notes["train.torch_detector"]["new_layers"] == []

    three = make([row(number) for number in range(6)], [row(7)], ("red", "blue", "green"))
    run(three, tmp_path / "other", small(weights=start, freeze_stages=0))
    head = "head.classification_head.cls_logits"
    assert open_model(tmp_path / "other").notes["train.torch_detector"]["new_layers"] == [head]
    assert f"the weights are for other classes: {head} starts at random" in capsys.readouterr().out


def test_weights_of_another_architecture_are_rejected():
    import torch

    detector = build_detector(Architecture(base=LITE0, classes=2, image_size=SIDE))
    tensors = detector.network.state_dict()
    lacking = {name: value for name, value in tensors.items() if "fpn" not in name}
    for given in (lacking, {"backbone.body.conv1.weight": torch.zeros(1)}, {"layer1.0.conv1.weight": torch.zeros(1)}):
        with pytest.raises(ArtifactError, match=r"x\.pth is of another architecture: \d+ of \d+ tensors"):
            load_weights(detector.network, Weights("x.pth", "", given))


def test_an_ssd_takes_whole_detectors_only():
    with pytest.raises(ConfigError, match="needs the weights of a complete detector"):
        find_weights("ssdlite320_mobilenet_v3_large", "backbone")
    with pytest.raises(ConfigError, match=f"no published detectors of {LITE0}"):
        find_weights(LITE0, "pretrained")


def test_a_server_that_is_out_of_reach_is_reported(monkeypatch: pytest.MonkeyPatch):
    def refuse(*_: object, **__: object) -> None:
        raise OSError("Name or service not known")

    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", refuse)
    with pytest.raises(ServiceError, match="the weights of retinanet_resnet50_fpn_v2 cannot be downloaded"):
        find_weights("retinanet_resnet50_fpn_v2", "pretrained")


def test_published_weights_are_taken_where_they_can_be_fetched(monkeypatch: pytest.MonkeyPatch):
    import torch

    fetched: list[str] = []
    tensors = {"conv1.weight": torch.zeros(64, 3, 7, 7)}

    def load(url: str, **_: object) -> dict[str, torch.Tensor]:
        fetched.append(url)
        return tensors

    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", load)
    assert find_weights("fcos_resnet50_fpn", "backbone").tensors is tensors
    assert find_weights("fcos_resnet50_fpn", "pretrained").tensors is tensors
    assert ["resnet50" in fetched[0], "fcos" in fetched[1]] == [True, True]


def test_a_file_with_another_digest_is_rejected():
    with pytest.raises(ConfigError, match="have SHA-256 57934424"):
        find_weights(LITE0, LITE_WEIGHTS, "0" * 64)


@pytest.mark.parametrize("content", [b"", b"not weights", b"\x80\x04K\x01."])
def test_a_file_that_holds_no_weights_is_rejected(content: bytes, tmp_path: Path):
    file = tmp_path / "weights.pth"
    file.write_bytes(content)
    with pytest.raises(ArtifactError, match=r"weights\.pth holds no"):
        fetch_weights(str(file))


def test_more_frozen_stages_than_there_are_is_rejected(rectangles: Path, tmp_path: Path):
    with pytest.raises(ConfigError, match="freeze_stages is 8, but the backbone has 8 stages"):
        run(rectangles, tmp_path / "model", small(weights="backbone", freeze_stages=8))


def test_norms_of_frozen_stages_keep_their_statistics():
    detector = build_detector(Architecture(base=LITE0, classes=1, image_size=SIDE))
    detector.network.backbone.body.bn1.requires_grad_(False)
    set_training_mode(detector)
    assert not detector.network.backbone.body.bn1.training
    assert detector.network.backbone.body.blocks[0][0].bn1.training


# --- images ---


def test_boxes_move_with_an_image_that_is_stretched_and_mirrored(make: Callable[..., Path]):
    import torch

    wide = row(1, height=100, width=200, objects=2)
    rows = read_images(open_dataset(make([wide], [wide])), "train", SIDE)
    images, targets = rows.batch([0, 0], [False, True], torch.device("cpu"))
    for image, target in zip(images, targets, strict=True):
        assert len(target["labels"]) == 2
        for box, label in zip(target["boxes"].tolist(), target["labels"].tolist(), strict=True):
            left, top, right, bottom = (round(value) for value in box)
            inside = image[top + 2 : bottom - 2, left + 2 : right - 2, 2 * label]
            assert inside.numel()
            assert inside.min() > 200, "where the box is, the colour is"
    assert (images[0].flip(1) == images[1]).all()


def test_images_without_objects_are_learned_from_and_crowds_are_left_out(make: Callable[..., Path], tmp_path: Path):
    import torch

    crowded = row(2, objects=2)
    crowded["objects"][1]["crowd"] = True
    rows = [row(0, objects=0), crowded, row(1, objects=1)]
    path = make(rows, rows)
    images = read_images(open_dataset(path), "train", SIDE)
    _, targets = images.batch([0, 1], [True, True], torch.device("cpu"))
    assert [len(target["boxes"]) for target in targets] == [0, 1]
    run(path, tmp_path / "model", small(batch_size=1))


# --- bad input ---


def changed(**values: Any) -> dict[str, Any]:
    return {**row(1, objects=1), **values}


@pytest.mark.parametrize(
    ("rows", "line"),
    [
        ([changed(objects=[entry([5, 5, 9, 9], 2)])], "has an object of label 2, but there are 2 label names"),
        ([changed(objects=[entry([5, 5, 5, 9])])], "row 1 of train has a box without area"),
        ([changed(objects=[])], "no image of the training split has an object"),
        ([changed(width=SIDE + 1)], "has 64 x 64 pixels, but 65 x 64 in the dataset"),
        ([changed(image={"bytes": b"GIF?", "path": "a.gif"})], "a.gif is not an image"),
        ([changed(image=None)], "row 1 of train has no image"),
        ([], "has no rows in its train split"),
    ],
)
def test_a_dataset_that_cannot_be_learned_is_rejected(
    rows: list[dict], line: str, make: Callable[..., Path], tmp_path: Path
):
    with pytest.raises(DataError, match=line):
        run(make(rows, [row(1)]), tmp_path / "model", small())
    assert not (tmp_path / "model").exists()


def test_a_dataset_without_label_names_is_rejected(make: Callable[..., Path], tmp_path: Path):
    with pytest.raises(DataError, match="has no label names"):
        run(make([row(1)], [row(2)], ()), tmp_path / "model", small())


def test_a_dataset_of_classes_is_rejected(tmp_path: Path):
    schema = pa.schema({"row": pa.int64(), "label": pa.int64()})
    with new_dataset(tmp_path / "dataset", schema, Work("data.split", None), LABELS) as writer:
        writer.write("train", pa.table({"row": [0], "label": [1]}, schema))
    with pytest.raises(DataError, match="has no column 'image'"):
        run(tmp_path / "dataset", tmp_path / "model", small())


def test_a_loss_that_is_no_number_ends_training_in_one_line(rectangles: Path, tmp_path: Path):
    config = small(learning_rate=1e30, max_grad_norm=1e30, epochs=3)
    with pytest.raises(TrainingError, match=r"the loss is (nan|inf) after \d+ batches"):
        run(rectangles, tmp_path / "model", config)
    assert not (tmp_path / "model").exists()


def test_a_damaged_dataset_is_rejected(rectangles: Path, tmp_path: Path):
    copy = Path(shutil.copytree(rectangles, tmp_path / "copy"))
    (copy / "train" / "part-00000.parquet").write_bytes(b"")
    with pytest.raises(ArtifactError, match="was changed"):
        run(copy, tmp_path / "model", small())


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ({"base_model": "yolo"}, "there is no detector 'yolo'"),
        ({"image_size": 100}, "image_size is 100"),
        ({"epochs": 0}, "epochs must be 1 or more, got 0"),
        ({"batch_size": 0}, "batch_size must be 1 or more"),
        ({"patience": 0}, "patience must be 1 or more"),
        ({"checkpoint_batches": 0}, "checkpoint_batches must be 1 or more"),
        ({"learning_rate": 0.0}, "learning_rate must be above 0"),
        ({"max_grad_norm": float("inf")}, "max_grad_norm must be above 0 and finite"),
        ({"warmup_ratio": 1.0}, "warmup_ratio must be from 0 to below 1"),
        ({"weight_decay": -0.1}, "weight_decay must be from 0 to below 1"),
        ({"horizontal_flip": 1.5}, "horizontal_flip must be a share from 0 to 1"),
        ({"freeze_stages": -1}, "freeze_stages must be 0 or more"),
        ({"seed": -1}, "seed must be 0 or more"),
        ({"score_threshold": 1.0}, "score_threshold is 1"),
        ({"nms_threshold": 0.0}, "nms_threshold is 0"),
        ({"max_detections": 0}, "max_detections is 0"),
    ],
)
def test_settings_that_cannot_work_are_rejected(settings: dict[str, Any], line: str):
    with pytest.raises(ConfigError, match=line):
        Config(**settings)
