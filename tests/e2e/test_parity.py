"""Our exposition of a capture beside Envoy's own of the same moment."""

import exposition
import parity
import pytest
from conftest import capture_names
from prometheus_client.parser import text_string_to_metric_families
from servers import ROOT, promtool_check, run

# Captures whose proxy had tag rules of its own, which its admin interface does not show.
MAPPINGS = {"1.40.0/customtags": ROOT / "mappings/examples/customtags.yaml"}


@pytest.mark.parametrize("name", capture_names())
def test_a_capture_gives_what_envoy_gives(name, captures, capsys):
    folder = captures(name)
    flags = ["--mapping", "native", "--mapping", MAPPINGS[name]] if name in MAPPINGS else []
    done = run("once", "--envoy.admin-address", f"file://{folder}", *flags)
    assert done.returncode == 0, done.stderr
    ours_families, ours = exposition.read(done.stdout)
    reference = folder / "prometheus_text_readouts.txt"
    if not reference.exists():
        reference = folder / "prometheus.txt"
    theirs_families, theirs = exposition.read(reference.read_text(), strict=False)
    result = parity.compare(ours, theirs, ours_families, theirs_families)
    with capsys.disabled():
        print(f"\n{name}: {result}", end=" ")
    assert not result.different, result.different[:20]
    assert result.equal > 600
    # Readers that others wrote take it too.
    python = [sample for family in text_string_to_metric_families(done.stdout) for sample in family.samples]
    assert len(python) == len(ours)
    promtool_check(done.stdout)


def test_a_wrong_number_or_a_lost_series_is_a_difference(captures):
    folder = captures("1.40.0/idle")
    families, theirs = exposition.read((folder / "prometheus.txt").read_text(), strict=False)
    good = {key: list(values) for key, values in theirs.items()}
    assert not parity.compare(good, theirs, families, families).different
    key = next(key for key in good if key[0] == "envoy_cluster_membership_total")
    wrong = {**good, key: ["17"]}
    assert len(parity.compare(wrong, theirs, families, families).different) == 2
    lost = {other: values for other, values in good.items() if other != key}
    assert len(parity.compare(lost, theirs, families, families).different) == 1
