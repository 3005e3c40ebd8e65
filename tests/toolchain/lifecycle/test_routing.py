import hashlib
import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolchain.errors import ArtifactError, ConfigError
from toolchain.lifecycle.routing import FILE, RoutingConfig, Target, as_bytes, fraction, parse

STABLE = Target(version="3", digest="a" * 64, variant="fp32")
CANARY = Target(version="4", digest="b" * 64, variant="int8-dynamic")
SHADOW = Target(version="5", digest="c" * 64, variant="pruned")
ROUTING = RoutingConfig(model="bert", stable=STABLE, canary=CANARY, percent=12.5, shadow=SHADOW, entry="d" * 64)
IDS = st.text(max_size=40)
PERCENTS = st.floats(0, 100)


@pytest.mark.parametrize("routing", [ROUTING, RoutingConfig(model="naïve café", stable=STABLE)])
def test_what_was_written_is_read(routing: RoutingConfig):
    assert parse(as_bytes(routing), FILE) == routing


def test_a_percent_that_is_a_whole_number_makes_the_same_document():
    whole = as_bytes(replace(ROUTING, percent=10))
    assert whole == as_bytes(replace(ROUTING, percent=10.0))
    assert parse(whole, FILE).percent == 10


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda content: content.update(percent=99.0), "was changed"),
        (lambda content: content["stable"].update(version="9"), "was changed"),
        (lambda content: content.pop("digest"), "was changed"),
        (lambda content: content.pop("stable"), "is damaged"),
        (lambda content: content.update(canary=None), "no canary"),
        (lambda content: content.update(percent="many"), "is damaged"),
        (lambda content: content["canary"].update(odd=1), "is damaged"),
        (lambda content: content.update(stable="3"), "is damaged"),
        (lambda content: content.update(format="toolchain.model"), "not a toolchain.routing"),
    ],
)
def test_a_changed_document_is_rejected(change: Any, reason: str):
    content = json.loads(as_bytes(ROUTING))
    change(content)
    with pytest.raises(ArtifactError, match=reason):
        parse(json.dumps(content).encode(), FILE)


@pytest.mark.parametrize("document", [b"", b"[]", b"\xff\xfe", as_bytes(ROUTING)[:-40], b"null"])
def test_what_is_no_document_or_half_of_one_is_rejected(document: bytes):
    with pytest.raises(ArtifactError, match=FILE):
        parse(document, FILE)


@pytest.mark.parametrize("percent", [-0.1, 100.1, float("nan"), float("inf")])
def test_a_share_beyond_its_range_is_rejected(percent: float):
    with pytest.raises(ConfigError, match="percent is"):
        replace(ROUTING, percent=percent)


@pytest.mark.parametrize("digest", ["", "a" * 63, "A" * 64, "../" + "a" * 61])
def test_what_is_no_digest_is_rejected_before_it_becomes_a_path(digest: str):
    with pytest.raises(ConfigError, match="64 hexadecimal digits"):
        replace(STABLE, digest=digest)


def test_a_canary_that_is_the_stable_version_is_rejected():
    with pytest.raises(ConfigError, match="must differ"):
        replace(ROUTING, canary=replace(CANARY, digest=STABLE.digest))


def test_the_fraction_is_the_one_that_the_documents_promise():
    digits = hashlib.sha256(b"bert\x00request-1").hexdigest()
    assert fraction("bert", "request-1") == pytest.approx(int(digits, 16) / 2**256, abs=2**-52)


@given(IDS, PERCENTS, PERCENTS)
def test_a_growing_share_only_moves_requests_to_the_canary(request_id: str, one: float, other: float):
    less, more = sorted((one, other))
    before, after = replace(ROUTING, percent=less), replace(ROUTING, percent=more)
    assert not before.goes_to_canary(request_id) or after.goes_to_canary(request_id)


@given(IDS)
def test_none_goes_to_a_canary_of_nothing_and_all_to_one_of_all(request_id: str):
    assert not replace(ROUTING, percent=0.0).goes_to_canary(request_id)
    assert replace(ROUTING, percent=100.0).goes_to_canary(request_id)


def test_the_share_is_as_large_as_it_states():
    rows, share = 20_000, 0.125
    found = sum(ROUTING.goes_to_canary(f"request-{place}") for place in range(rows))
    assert abs(found - rows * share) < 5 * (rows * share * (1 - share)) ** 0.5  # five standard deviations
