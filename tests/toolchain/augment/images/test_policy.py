import re
import textwrap
from pathlib import Path

import pytest

from toolchain.augment.images import Config
from toolchain.augment.images.engine import Engine
from toolchain.augment.images.library import label_change
from toolchain.augment.images.policy import OneOf, Step, parse, text_of
from toolchain.augment.images.presets import PRESETS
from toolchain.errors import ConfigError


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_every_preset_is_valid(name: str):
    assert Engine(text_of(name), 32).names


def test_presets_rotate_flip_and_blur():
    for name in ("light", "medium", "strong"):
        steps = parse(PRESETS[name])
        assert Step("RandomRotate90", {}) in steps
        assert Step("HorizontalFlip", {"p": 0.5}) in steps
        (group,) = [step for step in steps if isinstance(step, OneOf)]
        assert [step.name for step in group.steps] == ["GaussianBlur", "MotionBlur"]
    assert Engine(PRESETS["strong"]).has_mosaic


def test_a_policy_is_a_preset_a_file_or_yaml(tmp_path: Path):
    file = tmp_path / "mine.yaml"
    file.write_text("- VerticalFlip: {p: 0.3}\n", encoding="utf-8")
    assert text_of("light") == PRESETS["light"]
    assert parse(text_of(str(file))) == (Step("VerticalFlip", {"p": 0.3}),)
    assert parse("[VerticalFlip, OneOf: [Blur, MedianBlur]]") == (
        Step("VerticalFlip", {}),
        OneOf((Step("Blur", {}), Step("MedianBlur", {})), 0.5),
    )


@pytest.mark.parametrize(
    ("policy", "message"),
    [
        ("lihgt", r"policy 'lihgt' is not a preset, did you mean light\?; presets are light, medium, strong, upright"),
        ("- [", r"the policy is not YAML \(line 1: .*\); a policy is a YAML list such as"),
        ("HorizontalFlip: {p: 1}", "the policy is a mapping, not a list"),
        ("[]", "the policy has no transforms"),
        ("", "the policy is empty, not a list"),
        ("- 3", "the policy has the entry 3, expected one transform"),
        ("- {Blur: {}, Rotate: {}}", "has the entry .*Blur.*expected one transform"),
        ("- Blur: 3", "Blur of the policy has 3 as arguments, expected a mapping"),
        ("- Blur: {p: 1.5}", "Blur of the policy has p=1.5, expected a probability"),
        ("- Blur: {p: often}", "Blur of the policy has p='often'"),
        ("- OneOf: {p: 0.5}", "OneOf of the policy needs a list"),
        ("- OneOf: [OneOf: [Blur]]", "contains another OneOf"),
        ("- OneOf: {transforms: [Blur], n: 2}", "OneOf of the policy has no argument 'n'"),
    ],
)
def test_an_invalid_policy_is_rejected_by_config(policy: str, message: str):
    with pytest.raises(ConfigError, match=message) as caught:
        Config(policy=policy)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("policy", "message"),
    [
        (
            "- HorizontlFlip",
            r"'HorizontlFlip' in the policy is not a transform of Albumentations 2.0.8, did you mean H",
        ),
        (
            "- Xyzzyq",
            r"'Xyzzyq' in the policy is not a transform of Albumentations 2.0.8; its documentation lists \d\d",
        ),
        ("- Blur: {blur_limits: 3}", "Blur of the policy has no argument 'blur_limits', did you mean blur_limit?"),
        ("- Blur: {zzz: 3}", "Blur of the policy has no argument 'zzz'; it has blur_limit, p"),
        ("- RandomResizedCrop: {scale: [0.5, 2]}", "RandomResizedCrop of the policy is not valid: scale: "),
        ("- Crop: {x_min: 9, x_max: 3}", "Crop of the policy is not valid"),
        ("- RandomCrop", "RandomCrop of the policy needs the argument 'height'"),
        ("- Normalize", "Normalize is not supported in a policy: the training step normalizes"),
        ("- MaskDropout", "needs images or settings besides the policy"),
        ("- Mosaic: {fit_mode: contain}", "only 'cover' is supported"),
        ("- OneOf: [Blur: {p: 0}]", "OneOf of the policy has only transforms with p=0"),
    ],
)
def test_an_unknown_transform_or_argument_is_rejected(policy: str, message: str):
    with pytest.raises(ConfigError, match=message) as caught:
        Engine(policy)
    assert "\n" not in str(caught.value)


def test_a_missing_policy_file_is_an_error_when_read():
    Config(policy="somewhere/mine.yaml")  # it may exist where the step runs
    with pytest.raises(ConfigError, match=r"policy file somewhere/mine\.yaml cannot be read"):
        text_of("somewhere/mine.yaml")


def test_the_policies_in_the_documentation_are_valid():
    page = Path(__file__).parents[4] / "docs" / "data" / "augmentation-policies.md"
    blocks = re.findall(r"(?ms)^ *```yaml\n(.*?)^ *```$", page.read_text(encoding="utf-8"))
    assert len(blocks) == 2
    for block in blocks:
        assert Engine(textwrap.dedent(block)).names


def test_the_documentation_lists_every_preset():
    page = Path(__file__).parents[4] / "docs" / "data" / "augmentation-policies.md"
    for name in PRESETS:
        assert f"| `{name}` |" in page.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("policy", "reason"),
    [
        ("- VerticalFlip", "VerticalFlip (mirrors)"),
        ("- RandomRotate90", "RandomRotate90 (rotates)"),
        ("- D4: {p: 0.1}", "D4 (mirrors)"),
        ("- Affine: {rotate: [-45, 10]}", "Affine (rotates by 45 degrees, more than 30)"),
        ("- ShiftScaleRotate", "ShiftScaleRotate (rotates by 45 degrees, more than 30)"),
        ("- OneOf: [Blur, SafeRotate: {limit: 60}]", "SafeRotate (rotates by 60 degrees, more than 30)"),
    ],
)
def test_transforms_that_change_digits_are_rejected_by_name(policy: str, reason: str):
    with pytest.raises(ConfigError, match=re.escape(reason)):
        Engine(policy).check_preserves_labels()


def test_small_rotations_are_accepted():
    engine = Engine("[Rotate: {limit: 30}, Affine: {rotate: 5}, ShiftScaleRotate: {rotate_limit: 10}, Blur]")
    engine.check_preserves_labels()
    assert engine.names == ["Rotate", "Affine", "ShiftScaleRotate", "Blur"]
    assert [label_change(step) for step in engine.policy if isinstance(step, Step)] == ["", "", "", ""]
