from prometheus_client.parser import text_string_to_metric_families

from toolchain.serve.telemetry.exposition import REJECTION_REASONS, Exposition


def values(exposition: Exposition) -> dict[str, float]:
    families = text_string_to_metric_families(exposition.text([]).decode())
    samples = [sample for family in families for sample in family.samples if sample.name.startswith("toolchain_")]
    return {f"{one.name}{one.labels.get('reason', '')}": one.value for one in samples}


def test_every_reason_of_a_rejection_is_there_from_the_start():
    found = [name for name in values(Exposition("reviews")) if name.startswith("toolchain_serving_rejected_versions")]
    assert len(found) == len(REJECTION_REASONS)


def test_rejected_versions_are_counted_by_reason():
    exposition = Exposition("reviews")
    exposition.rejected({"2": "damaged", "3": "damaged", "4": "not_found"})
    found = values(exposition)
    assert found["toolchain_serving_rejected_versionsdamaged"] == 2
    assert found["toolchain_serving_rejected_versionsnot_found"] == 1
    exposition.rejected({})
    assert values(exposition)["toolchain_serving_rejected_versionsdamaged"] == 0


def test_changes_and_authentication_are_exported():
    exposition = Exposition("reviews")
    exposition.authentication(True)
    exposition.changed()
    found = values(exposition)
    assert found["toolchain_serving_authentication_required"] == 1
    assert found["toolchain_serving_version_changes_total"] == 1
