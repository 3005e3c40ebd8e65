"""The six cases of a request decision, each by itself and where two meet."""

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
SAFE, UNSAFE, UNGATED = Verdict(True, "winner on avx2"), Verdict(False, "rejected on avx2"), Verdict(False, "not gated")
PASSED, FAILED, NOTHING_RECORDED = Check(4, 4), Check(4, 3, "1 of 4 recorded rows get another prediction"), Check(0, 0)
SERVING = Entry(action=PROMOTED, version="2", digest="a" * 64, variant="fp32", verdict="winner on avx2")
REQUEST = PromotionRequest(
    number="3", digest="b" * 64, verdict=SAFE, older=False, serving=SERVING, force=False, check=PASSED
)


def test_a_validated_version_that_a_server_answers_with_is_promoted():
    decision = decide(REQUEST)
    assert (decision.action, decision.reason, decision.overrode) == (PROMOTE, "replaces version 2", "")


def test_the_first_model_is_promoted_too():
    assert decide(replace(REQUEST, serving=None)).reason == "first version"


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"verdict": UNSAFE}, "the gate rejected it: rejected on avx2"),
        ({"verdict": UNGATED}, "it was not gated"),
        ({"older": True}, "it is older than the serving version 2"),
        ({"check": NOTHING_RECORDED}, "no expected predictions were recorded"),
        ({"verdict": UNSAFE, "serving": None}, "the gate rejected it"),
        ({"api": Api("abc", "2", ("POST /predict: is gone",))}, "it breaks callers of version 2: POST /predict: is g"),
    ],
)
def test_what_speaks_against_it_refuses_it_and_force_overrides_it_and_remembers(changed: dict, reason: str):
    refused = decide(replace(REQUEST, **changed))
    assert refused.action == REJECT
    assert re.match(reason, refused.reason)
    assert "--force --reason" in refused.reason
    forced = decide(replace(REQUEST, **changed, force=True))
    assert forced.action == PROMOTE
    assert re.match(reason, forced.overrode)


@pytest.mark.parametrize("force", [False, True])
def test_a_server_that_fails_is_refused_with_force_too(force: bool):
    decision = decide(replace(REQUEST, check=FAILED, force=force))
    assert (decision.action, decision.reason) == (REJECT, f"the server check failed: {FAILED.fault}")


@pytest.mark.parametrize("changed", [{}, {"force": True}, {"verdict": UNSAFE}, {"check": FAILED}, {"older": True}])
def test_the_same_digest_is_kept_whatever_else_is_said(changed: dict):
    decision = decide(replace(REQUEST, digest=SERVING.digest, **changed))
    assert (decision.action, decision.reason) == (KEEP, "digest aaaaaaaaaaaa is serving already, as version 2")


def test_all_that_speaks_against_it_is_said_at_once():
    reason = decide(replace(REQUEST, verdict=UNSAFE, older=True)).reason
    assert "the gate rejected it" in reason
    assert "it is older" in reason


def test_force_that_was_not_needed_overrides_nothing():
    assert decide(replace(REQUEST, force=True)).overrode == ""


TRIAL = replace(REQUEST, percent=10)
OTHER = Entry(action=CANARY, version="5", digest="c" * 64, variant="fp32", verdict="accurate", percent=25)


def test_a_canary_is_tried_beside_what_serves():
    decision = decide(TRIAL)
    assert (decision.action, decision.reason, decision.overrode) == (START_CANARY, "beside version 2", "")


def test_the_first_model_has_nothing_to_be_tried_beside_and_is_promoted():
    assert decide(replace(TRIAL, serving=None)).action == PROMOTE


def test_a_canary_of_all_requests_is_a_promotion():
    assert decide(replace(TRIAL, percent=100)).action == PROMOTE


@pytest.mark.parametrize(
    ("changed", "force", "action"),
    [
        ({"verdict": UNSAFE}, False, REJECT),
        ({"verdict": UNSAFE}, True, START_CANARY),
        ({"check": FAILED}, False, REJECT),
        ({"check": FAILED}, True, REJECT),
        ({"digest": SERVING.digest}, False, KEEP),
        ({"older": True}, False, REJECT),
        ({"older": True}, True, START_CANARY),
    ],
)
def test_a_canary_is_decided_on_as_a_promotion_is(changed: dict, force: bool, action: str):
    decision = decide(replace(TRIAL, **changed, force=force))
    assert decision.action == action
    assert bool(decision.overrode) == (action == START_CANARY)


@pytest.mark.parametrize("percent", [0, 10])
def test_while_another_version_is_on_trial_a_version_waits_or_is_forced(percent: int):
    request = replace(REQUEST, percent=percent, canary=OTHER)
    refused = decide(request)
    assert refused.action == REJECT
    assert "version 5 is a canary now (to end it: rollback)" in refused.reason
    assert decide(replace(request, force=True)).overrode == "version 5 is a canary now (to end it: rollback)"


def test_what_is_on_trial_itself_is_gone_on_with_or_promoted_at_once():
    own = replace(OTHER, digest=REQUEST.digest, version="3")
    assert decide(replace(TRIAL, canary=own, check=None)).action == START_CANARY
    assert decide(replace(REQUEST, canary=own, check=None)).action == PROMOTE


BESIDE = replace(REQUEST, shadow=True)


def test_a_shadow_is_compared_beside_what_serves():
    decision = decide(BESIDE)
    assert (decision.action, decision.reason, decision.overrode) == (SHADOW, "beside version 2", "")


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
def test_a_shadow_that_cannot_be_compared_is_refused_with_force_too(changed: dict, reason: str, force: bool):
    decision = decide(replace(BESIDE, **changed, force=force))
    assert (decision.action, decision.reason.startswith(reason)) == (REJECT, True)


@pytest.mark.parametrize("changed", [{"verdict": UNSAFE}, {"older": True}, {"canary": OTHER}])
def test_a_shadow_is_decided_on_as_a_promotion_is(changed: dict):
    assert decide(replace(BESIDE, **changed)).action == REJECT
    forced = decide(replace(BESIDE, **changed, force=True))
    assert (forced.action, bool(forced.overrode)) == (SHADOW, True)


def test_what_serves_already_is_no_shadow_of_itself():
    assert decide(replace(BESIDE, digest=SERVING.digest)).action == KEEP


@pytest.mark.parametrize(
    "promotion", [REQUEST, TRIAL, BESIDE, replace(REQUEST, serving=None), replace(REQUEST, force=True)]
)
def test_what_a_person_has_not_approved_is_refused_with_force_too(promotion: PromotionRequest):
    decision = decide(replace(promotion, blocked="it waits for approval"))
    assert (decision.action, decision.reason) == (REJECT, "it waits for approval")


def test_without_a_check_nothing_is_held_against_it_yet():
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
