# SPDX-License-Identifier: LGPL-2.1-or-later
"""test_metrics.py - `pageferry metrics` is OpenMetrics, says what query-metrics says, as documented."""
import pathlib
import re
import subprocess

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from harness import ID, program

CONTROL_MD = pathlib.Path(__file__).parents[2] / "proto" / "CONTROL.md"


def documented():
    """family -> type, from the table in CONTROL.md."""
    return dict(re.findall(r"^\| `(pageferry_\w+)` \| (\w+) \|", CONTROL_MD.read_text(), re.MULTILINE))


def scrape(agent):
    """What a scraper gets; the parser refuses what is not OpenMetrics."""
    text = subprocess.run(
        [program("PAGEFERRY"), "metrics", "--control", agent.control_path],
        check=True, capture_output=True, text=True, timeout=60,
    ).stdout
    return {family.name: family for family in text_string_to_metric_families(text)}


def values(family, **labels):
    return [sample.value for sample in family.samples
            if all(sample.labels.get(name) == value for name, value in labels.items())]


@pytest.mark.smoke
def test_the_text_is_openmetrics_with_the_documented_names(migration):
    migration.start_serving()
    for agent in (migration.source, migration.destination):
        families = scrape(agent)
        assert {name: family.type for name, family in families.items()} == documented()
        for family in families.values():
            for sample in family.samples:
                assert sample.labels["id"] == ID and sample.labels["role"] == agent.side, sample
    migration.relay.release()
    migration.wait_state("completed")


def test_the_numbers_are_those_of_query_metrics(migration):
    """Held still by the relay, an agent says the same twice."""
    migration.start_serving()
    told = migration.destination.control.command("query-metrics")
    families = scrape(migration.destination)
    pages, one = told["pages"], lambda name: values(families[name])[0]
    assert pages["total"] == 16384 == one("pageferry_guest_pages")
    assert one("pageferry_epoch") == told["epoch"] == 1
    assert values(families["pageferry_state"], pageferry_state=told["state"]) == [1]
    assert sum(values(families["pageferry_state"])) == 1
    for how in ("requested", "pushed"):
        assert pages[how] <= values(families["pageferry_pages"], how=how)[0] <= pages["total"]
    assert told["faults"]["count"] <= one("pageferry_faults")
    p50 = values(families["pageferry_fault_latency_seconds"], quantile="0.5")[0]
    assert 0 < p50 <= one("pageferry_fault_latency_max_seconds") < 60
    migration.relay.release()
    migration.wait_state("completed")
