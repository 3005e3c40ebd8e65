import sys
from pathlib import Path

import pytest

from toolchain.errors import ConfigError
from toolchain.services.packages import find


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "some_weights"
    (folder / "model").mkdir(parents=True)
    (folder / "__init__.py").write_text("raise RuntimeError('it must not be imported')")
    monkeypatch.syspath_prepend(str(tmp_path))
    return folder


def test_a_file_is_found_without_importing_its_package(package: Path):
    assert find("package:some_weights/model") == package / "model"
    assert "some_weights" not in sys.modules


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("package:no_such_package/model", "pip install --no-deps no-such-package"),
        ("package:some_weights/other", "'other'"),
        ("package:a b/model", "not installed"),
    ],
)
def test_a_missing_package_or_file_is_named(name: str, reason: str, package: Path):
    with pytest.raises(ConfigError, match=reason):
        find(name)
