"""Predict the rows recorded in EXPECTED with MODEL: ``python -m toolchain.evaluate.platform_parity MODEL EXPECTED``.

This is the program that the Python of another architecture runs.
"""

import sys
from pathlib import Path

from toolchain.errors import ToolchainError
from toolchain.evaluate.platform_parity.predicting import as_json, predict

if __name__ == "__main__":
    try:
        print(as_json(predict(Path(sys.argv[1]), Path(sys.argv[2]))))
    except ToolchainError as error:
        sys.exit(str(error))
