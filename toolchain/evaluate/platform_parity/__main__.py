"""``python -m toolchain.evaluate.platform_parity MODEL EXPECTED``: what the Python of another architecture runs."""

import sys
from pathlib import Path

from toolchain.errors import ToolchainError
from toolchain.evaluate.platform_parity.asking import as_json, ask

if __name__ == "__main__":
    try:
        print(as_json(ask(Path(sys.argv[1]), Path(sys.argv[2]))))
    except ToolchainError as error:
        sys.exit(str(error))
