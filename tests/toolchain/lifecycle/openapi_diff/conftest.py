"""The documents of a model server, as it was before and as it might become."""

import pytest

from tests.support.openapi import Document, original


@pytest.fixture
def old() -> Document:
    return original()
