import re
import textwrap
from pathlib import Path

import pytest

from toolchain.augment.images import Config
from toolchain.augment.images.engine import Engine
from toolchain.augment.images.policy import OneOf, Step, parse, text_of
from toolchain.augment.images.presets import PRESETS
from toolchain.errors import ConfigError


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_every_preset_works(name: str):
    assert Engine(text_of(name), 32).names


def test_the_presets_hold_the_seed_of_the_idea():
    for name in ("light", "medium", "strong"):
        steps = parse(PRESETS[name])
        assert Step("RandomRotate90", {}) in steps
        assert Step("HorizontalFlip", {"p": 0.5}) in steps
        (group,) = [step for step in steps if isinstance(step, OneOf)]
        assert [step.name for step in group.steps] == ["GaussianBlur", "MotionBlur"]
    assert Engine(PRESETS["strong"]).mixes


def test_a_policy_is_a_preset_a_file_or_text(tmp_path: Path):
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
        ("lihgt", r"policy 'lihgt' is no preset, did you mean light\?; presets are light, medium, strong, upright"),
        ("- [", r"the policy is not YAML \(line 1: .*\); a policy is a YAML list such as"),
        ("HorizontalFlip: {p: 1}", "the policy is a mapping, not a list"),
        ("[]", "the policy lists no transform"),
        ("", "the policy is empty, not a list"),
        ("- 3", "the policy has the entry 3, one transform with its arguments is needed"),
        ("- {Blur: {}, Rotate: {}}", "has the entry .*Blur.*one transform"),
        ("- Blur: 3", "Blur of the policy has 3 for arguments, a mapping is needed"),
        ("- Blur: {p: 1.5}", "Blur of the policy has p=1.5, a probability between 0 and 1 is needed"),
        ("- Blur: {p: often}", "Blur of the policy has p='often'"),
        ("- OneOf: {p: 0.5}", "OneOf of the policy needs a list"),
        ("- OneOf: [OneOf: [Blur]]", "holds another OneOf"),
        ("- OneOf: {transforms: [Blur], n: 2}", "OneOf of the policy has no argument 'n'"),
    ],
)
def test_what_is_no_policy_is_refused_with_the_settings(policy: str, message: str):
    with pytest.raises(ConfigError, match=message) as caught:
        Config(policy=policy)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("policy", "message"),
    [
        ("- HorizontlFlip", r"'HorizontlFlip' in the policy is no transform of Albumentations 2.0.8, did you mean H"),
        ("- Xyzzyq", r"'Xyzzyq' in the policy is no transform of Albumentations 2.0.8; its \d\d are in its docu"),
        ("- Blur: {blur_limits: 3}", "Blur of the policy has no argument 'blur_limits', did you mean blur_limit?"),
        ("- Blur: {zzz: 3}", "Blur of the policy has no argument 'zzz'; it has blur_limit, p"),
        ("- RandomResizedCrop: {scale: [0.5, 2]}", "RandomResizedCrop of the policy does not work: scale: "),
        ("- Crop: {x_min: 9, x_max: 3}", "Crop of the policy does not work"),
        ("- RandomCrop", "RandomCrop of the policy needs the argument 'height'"),
        ("- Normalize", "Normalize does not fit into a policy: the training normalises"),
        ("- MaskDropout", "needs pictures or settings beside the policy"),
        ("- Mosaic: {fit_mode: contain}", "only 'cover' is there"),
        ("- OneOf: [Blur: {p: 0}]", "OneOf of the policy holds transforms with p=0 alone"),
    ],
)
def test_a_transform_or_argument_that_does_not_exist_is_refused_before_work_starts(policy: str, message: str):
    with pytest.raises(ConfigError, match=message) as caught:
        Engine(policy)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there_is_named():
    Config(policy="somewhere/mine.yaml")  # it may be there where the step runs
    with pytest.raises(ConfigError, match=r"policy file somewhere/mine\.yaml cannot be read"):
        text_of("somewhere/mine.yaml")


def test_every_policy_of_the_documentation_works():
    page = Path(__file__).parents[4] / "docs" / "augmentation-policies.md"
    blocks = re.findall(r"(?m)(?:^ {4,}\S.*\n)+", page.read_text(encoding="utf-8"))
    assert len(blocks) == 2
    for block in blocks:
        assert Engine(textwrap.dedent(block)).names


def test_the_documentation_tells_of_every_preset():
    page = Path(__file__).parents[4] / "docs" / "augmentation-policies.md"
    for name in PRESETS:
        assert f"| `{name}` |" in page.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("policy", "reason"),
    [
        ("- VerticalFlip", "VerticalFlip (mirrors)"),
        ("- RandomRotate90", "RandomRotate90 (turns)"),
        ("- D4: {p: 0.1}", "D4 (mirrors)"),
        ("- Affine: {rotate: [-45, 10]}", "Affine (turns by 45 degrees, more than 30)"),
        ("- ShiftScaleRotate", "ShiftScaleRotate (turns by 45 degrees, more than 30)"),
        ("- OneOf: [Blur, SafeRotate: {limit: 60}]", "SafeRotate (turns by 60 degrees, more than 30)"),
    ],
)
def test_what_changes_a_digit_is_refused_by_name(policy: str, reason: str):
    with pytest.raises(ConfigError, match=re.escape(reason)):
        Engine(policy).refuse_mirrors()


def test_what_turns_a_little_is_not_refused():
    Engine("[Rotate: {limit: 30}, Affine: {rotate: 5}, ShiftScaleRotate: {rotate_limit: 10}, Blur]").refuse_mirrors()
