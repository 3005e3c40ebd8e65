"""Convert an ONNX graph to OpenVINO's format (model.xml and model.bin), in float or in INT8 with NNCF."""

import logging
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from toolchain.errors import ArtifactError
from toolchain.inference.runtime import Feeds

INFORMATION = "model_info"  # the section of the .xml for a model's metadata


def convert(source: Path, target: Path, properties: Mapping[str, str]) -> None:
    """Write the ONNX graph ``source`` to ``target`` (.xml, with the weights in a .bin file), with equal weights.

    Raises:
        ArtifactError: OpenVINO does not know an operator of the graph.
    """
    _save(_read(source), target, properties)


def quantize(
    source: Path, target: Path, properties: Mapping[str, str], feeds: Sequence[Feeds], bits: int, attends: bool = True
) -> None:
    """Write ``source`` to ``target`` with its weighted layers in INT8, ranges set by ``feeds``.

    NNCF's recipe for what ``attends`` (a transformer): SmoothQuant, symmetric weights by channel, asymmetric
    activations; for all else its usual one. At 7 ``bits`` weights use half their range, which keeps the 16-bit sums of
    processors without VNNI from saturating.

    Raises:
        ArtifactError: OpenVINO or NNCF cannot take the graph.
    """
    _keep_usage_private()
    import nncf

    nncf.set_log_level(logging.ERROR)  # its progress of five passes is not useful
    model = _read(source)
    names = [value.get_any_name() for value in model.inputs]
    overflow = nncf.OverflowFix.ENABLE if bits == 7 else nncf.OverflowFix.DISABLE
    try:
        quantized = nncf.quantize(
            model,
            nncf.Dataset(feeds, lambda feed: {name: feed[name] for name in names}),
            subset_size=len(feeds),
            model_type=nncf.ModelType.TRANSFORMER if attends else None,
            advanced_parameters=nncf.AdvancedQuantizationParameters(overflow_fix=overflow),
        )
    except (RuntimeError, nncf.InternalError, nncf.UnsupportedModelError, nncf.ValidationError) as error:
        raise ArtifactError(f"NNCF cannot quantize {source}: {_last_line(error)}") from error
    _save(quantized, target, properties)


def _read(source: Path) -> Any:
    _keep_usage_private()
    import openvino

    try:
        return openvino.Core().read_model(source)
    except RuntimeError as error:
        raise ArtifactError(f"OpenVINO cannot read {source}: {_last_line(error)}") from error


def _save(model: Any, target: Path, properties: Mapping[str, str]) -> None:
    import openvino

    for name, value in properties.items():
        model.set_rt_info(value, [INFORMATION, name])
    _name_by_position(model)
    openvino.save_model(model, target, compress_to_fp16=False)  # half precision would change predictions


def _name_by_position(model: Any) -> None:
    """Rename operations that OpenVINO numbers per process ("Constant_1673"), so that equal graphs give equal files."""
    for position, operation in enumerate(model.get_ordered_ops()):
        kind = operation.get_type_name()
        if re.fullmatch(rf"{kind}_\d+", operation.get_friendly_name()):
            operation.set_friendly_name(f"{kind}_{position}")


def _keep_usage_private() -> None:
    """Prevent OpenVINO and NNCF from reporting each use to Google Analytics, their default.

    None in sys.modules makes the import fail, and both do without (Python reference, "The module cache").
    """
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # not in the stubs


def _last_line(error: BaseException) -> str:
    lines = [line for line in str(error).splitlines() if line.strip()]
    return lines[-1].strip() if lines else type(error).__name__
