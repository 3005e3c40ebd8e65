import base64
import json
from pathlib import Path

import pytest

from toolchain.artifacts.expected import FILE, Expected, Row, encode_image, read_expected, write_expected
from toolchain.errors import ArtifactError

pytestmark = pytest.mark.machine
ROWS = (
    Row(text="naïve café", scores=(0.25, 0.75)),
    Row(image=encode_image(b"\x89PNG"), scores=(0.9,), boxes=((0.0, 1.5, 2.0, 3.0),), labels=(1,)),
)


def test_predictions_are_read_as_they_were_written(tmp_path: Path):
    expected = Expected("ab" * 32, "avx2", ROWS, 0.35)
    write_expected(tmp_path, expected)
    assert read_expected(tmp_path) == expected
    assert ROWS[0].value == "naïve café"
    assert ROWS[1].value["bytes"] == base64.b64decode("iVBORw==")


def test_a_folder_may_hold_none(tmp_path: Path):
    assert read_expected(tmp_path) is None


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda content: content["rows"][0].update(text="other"), "was changed"),
        (lambda content: content["rows"][0].pop("scores"), "is damaged"),
        (lambda content: content["rows"][0].update(odd=1), "is damaged"),
        (lambda content: content.update(format="toolchain.model"), "not a toolchain.expected"),
    ],
)
def test_a_changed_file_is_rejected(change: object, reason: str, tmp_path: Path):
    write_expected(tmp_path, Expected("ab" * 32, "avx2", ROWS))
    content = json.loads((tmp_path / FILE).read_text())
    change(content)  # type: ignore[operator]
    (tmp_path / FILE).write_text(json.dumps(content))
    with pytest.raises(ArtifactError, match=reason):
        read_expected(tmp_path)
