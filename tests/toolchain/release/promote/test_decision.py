"""The decision on a promotion request, for each reason alone and for combinations."""

import re
from dataclasses import replace

import pytest

from toolchain.lifecycle.ledger import CANARY, PROMOTED, Entry
from toolchain.release.promote import verdict_of
from toolchain.release.promote.api import Api
from toolchain.release.promote.check import Check
from toolchain.release.promote.decision import (
    KEEP,
    PROMOTE,
    REJECT,
    SHADOW,
    START_CANARY,
    PromotionRequest,
    Verdict,
    decide,
)

pytestmark = pytest.mark.machine
ACCURATE, INACCURATE, UNGATED = (
    Verdict(True, "winner on avx2"),
    Verdict(False, "rejected on avx2"),
    Verdict(False, "not gated"),
)
PASSED, FAILED, NOTHING_RECORDED = Check(4, 4), Check(4, 3, "1 of 4 recorded rows get another prediction"), Check(0, 0)
SERVING = Entry(action=PROMOTED, version="2", digest="a" * 64, variant="fp32", verdict="winner on avx2")
REQUEST = PromotionRequest(
    number="3", digest="b" * 64, verdict=ACCURATE, older=False, serving=SERVING, force=False, check=PASSED
)


def test_an_accurate_version_that_passes_the_server_check_is_promoted():
    decision = decide(REQUEST)
    assert (decision.action, decision.reason, decision.overridden) == (PROMOTE, "replaces version 2", "")


def test_the_first_version_is_promoted():
    assert decide(replace(REQUEST, serving=None)).reason == "first version"


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"verdict": INACCURATE}, "the gate rejected it: rejected on avx2"),
        ({"verdict": UNGATED}, "it was not gated"),
        ({"older": True}, "it is older than the serving version 2"),
        ({"check": NOTHING_RECORDED}, "no expected predictions were recorded"),
        ({"verdict": INACCURATE, "serving": None}, "the gate rejected it"),
        ({"api": Api("abc", "2", ("POST /predict: is gone",))}, "it breaks callers of version 2: POST /predict: is g"),
    ],
)
def test_an_objection_rejects_and_force_overrides_and_records_it(changed: dict, reason: str):
    rejected = decide(replace(REQUEST, **changed))
    assert rejected.action == REJECT
    assert re.match(reason, rejected.reason)
    assert "--force --reason" in rejected.reason
    forced = decide(replace(REQUEST, **changed, force=True))
    assert forced.action == PROMOTE
    assert re.match(reason, forced.overridden)


@pytest.mark.parametrize("force", [False, True])
def test_a_failing_server_check_rejects_even_with_force(force: bool):
    decision = decide(replace(REQUEST, check=FAILED, force=force))
    assert (decision.action, decision.reason) == (REJECT, f"the server check failed: {FAILED.fault}")


@pytest.mark.parametrize("changed", [{}, {"force": True}, {"verdict": INACCURATE}, {"check": FAILED}, {"older": True}])
def test_the_serving_digest_is_kept_in_all_cases(changed: dict):
    decision = decide(replace(REQUEST, digest=SERVING.digest, **changed))
    assert (decision.action, decision.reason) == (KEEP, "digest aaaaaaaaaaaa is serving already, as version 2")


def test_all_objections_are_listed():
    reason = decide(replace(REQUEST, verdict=INACCURATE, older=True)).reason
    assert "the gate rejected it" in reason
    assert "it is older" in reason


def test_force_without_objections_overrides_nothing():
    assert decide(replace(REQUEST, force=True)).overridden == ""


TRIAL = replace(REQUEST, percent=10)
OTHER = Entry(action=CANARY, version="5", digest="c" * 64, variant="fp32", verdict="accurate", percent=25)


def test_a_canary_starts_beside_the_serving_version():
    decision = decide(TRIAL)
    assert (decision.action, decision.reason, decision.overridden) == (START_CANARY, "beside version 2", "")


def test_the_first_version_is_promoted_without_a_canary():
    assert decide(replace(TRIAL, serving=None)).action == PROMOTE


def test_a_canary_of_all_requests_is_a_promotion():
    assert decide(replace(TRIAL, percent=100)).action == PROMOTE


@pytest.mark.parametrize(
    ("changed", "force", "action"),
    [
        ({"verdict": INACCURATE}, False, REJECT),
        ({"verdict": INACCURATE}, True, START_CANARY),
        ({"check": FAILED}, False, REJECT),
        ({"check": FAILED}, True, REJECT),
        ({"digest": SERVING.digest}, False, KEEP),
        ({"older": True}, False, REJECT),
        ({"older": True}, True, START_CANARY),
    ],
)
def test_a_canary_has_the_objections_of_a_promotion(changed: dict, force: bool, action: str):
    decision = decide(replace(TRIAL, **changed, force=force))
    assert decision.action == action
    assert bool(decision.overridden) == (action == START_CANARY)


@pytest.mark.parametrize("percent", [0, 10])
def test_another_canary_is_an_objection(percent: int):
    request = replace(REQUEST, percent=percent, canary=OTHER)
    rejected = decide(request)
    assert rejected.action == REJECT
    assert "version 5 is a canary now (to end it: rollback)" in rejected.reason
    assert decide(replace(request, force=True)).overridden == "version 5 is a canary now (to end it: rollback)"


def test_the_current_canary_is_resumed_or_promoted():
    own = replace(OTHER, digest=REQUEST.digest, version="3")
    assert decide(replace(TRIAL, canary=own, check=None)).action == START_CANARY
    assert decide(replace(REQUEST, canary=own, check=None)).action == PROMOTE


BESIDE = replace(REQUEST, shadow=True)


def test_a_shadow_starts_beside_the_serving_version():
    decision = decide(BESIDE)
    assert (decision.action, decision.reason, decision.overridden) == (SHADOW, "beside version 2", "")


@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"serving": None}, "no version is serving"),
        (
            {"canary": replace(OTHER, digest=REQUEST.digest, version="3")},
            "it is a canary already",
        ),
        ({"check": FAILED}, "the server check failed"),
    ],
)
def test_a_shadow_without_a_comparison_is_rejected_even_with_force(changed: dict, reason: str, force: bool):
    decision = decide(replace(BESIDE, **changed, force=force))
    assert (decision.action, decision.reason.startswith(reason)) == (REJECT, True)


@pytest.mark.parametrize("changed", [{"verdict": INACCURATE}, {"older": True}, {"canary": OTHER}])
def test_a_shadow_has_the_objections_of_a_promotion(changed: dict):
    assert decide(replace(BESIDE, **changed)).action == REJECT
    forced = decide(replace(BESIDE, **changed, force=True))
    assert (forced.action, bool(forced.overridden)) == (SHADOW, True)


def test_the_serving_version_is_not_its_own_shadow():
    assert decide(replace(BESIDE, digest=SERVING.digest)).action == KEEP


@pytest.mark.parametrize(
    "promotion", [REQUEST, TRIAL, BESIDE, replace(REQUEST, serving=None), replace(REQUEST, force=True)]
)
def test_a_missing_approval_rejects_even_with_force(promotion: PromotionRequest):
    decision = decide(replace(promotion, blocked="it waits for approval"))
    assert (decision.action, decision.reason) == (REJECT, "it waits for approval")


def test_a_request_without_a_check_has_no_objection_from_it():
    assert decide(replace(REQUEST, check=None)).action == PROMOTE


TAGS = {
    "accurate": "false",
    "accuracy": "0.8",
    "processor": "avx2",
    "accurate.avx2": "false",
    "accuracy.avx2": "0.8000",
}


@pytest.mark.parametrize(
    ("tags", "won", "verdict"),
    [
        ({}, True, UNGATED),
        (TAGS, False, Verdict(False, "rejected on avx2 (accuracy 0.8000)")),
        (
            {**TAGS, "rejection.avx2": "is not better than always predicting 'a'"},
            True,
            Verdict(False, "rejected on avx2 (accuracy 0.8000): it is not better than always predicting 'a'"),
        ),
        (
            {**TAGS, "accurate.amx": "true", "speedup.amx": "2"},
            True,
            Verdict(True, "winner on amx (accuracy 0.8, speedup 2)"),
        ),
        ({"accurate": "true", "processor": "neon"}, False, Verdict(True, "accurate on neon")),
    ],
)  # fmt: skip
def test_the_verdict_for_this_kind_of_processor_comes_before_the_last_one(tags: dict, won: bool, verdict: Verdict):
    assert verdict_of(tags, won, "amx") == verdict
