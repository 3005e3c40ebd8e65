"""Write, read and delete a file in the bucket: ``helm test``."""

import os
from pathlib import Path

from toolchain.services import storage
from toolchain.services.storage import s3

place = f"s3://{os.environ['TOOLCHAIN_BUCKET']}/tests/hello.txt"
Path("/tmp/hello.txt").write_text("hello")
storage.upload(Path("/tmp/hello.txt"), place)
assert s3.read(place, b"".join) == b"hello"
storage.delete([place])
assert not storage.exists(place)
print(f"{place} was written, read and deleted")
