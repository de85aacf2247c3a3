# SPDX-License-Identifier: LGPL-2.1-or-later
"""test_storm.py - a hundred kills of both sides under load, ten times as many with --long; no guest is wrong.

PAGEFERRY_SEED gives the moments again, as far as a machine has the same moments twice; PAGEFERRY_STORM is how
many kills a test makes.
"""
import os

import pytest

import gmem
from netfault import Network, has_netem, two_hosts
from storm import SEED, LineStorm, Storm

# Each kill is waited for by itself, and a hundred of them take half a minute, or five where others compute.
pytestmark = pytest.mark.patience(5)

KILLS = int(os.environ.get("PAGEFERRY_STORM", 100))


def weather(storm, kills, record_property):
    print(f"PAGEFERRY_SEED={storm.seed} PAGEFERRY_STORM={kills}")
    try:
        storm.run(kills)
    finally:
        for name, value in storm.properties().items():
            print(f"{name}: {value}")
            record_property(name, value)


# A sanitizer's build has the first hundred: how many more there are is about the shipped one.
MORE = [pytest.mark.long, pytest.mark.shipped]
ROUNDS = [pytest.param(number, marks=MORE if number else []) for number in range(10)]


@pytest.mark.parametrize("number", ROUNDS)
def test_workers_are_killed_and_the_guest_is_right(migration, record_property, number):
    weather(Storm(migration, "64M", 4 << 20, SEED + number), KILLS, record_property)


# Emulated, a kill takes ten times as long as it does here, and longer over such a line.
FEW = [pytest.param(max(1, KILLS // 16), id="some"), pytest.param(KILLS // 2, id="many", marks=pytest.mark.long)]
ON_GUEST_MEMFD = ("--kinds", "guest_memfd,guest_memfd")


@pytest.mark.gmem
@pytest.mark.parametrize("kills", FEW)
def test_on_guest_memfd(migration, record_property, kills):
    gmem.need()
    weather(Storm(migration, "32M", 1 << 20, more=ON_GUEST_MEMFD), kills, record_property)


@pytest.mark.gmem
@pytest.mark.parametrize("kills", FEW)
def test_on_guest_memfd_over_a_long_line_that_loses(migration, folder, record_property, kills):
    """50 ms there and back, and one packet in a hundred is lost."""
    gmem.need()
    network = Network(folder)
    migration.own(network)
    two_hosts(network)
    if not has_netem(network, "a:eth0"):
        pytest.skip("this kernel has no netem: tests/kernel/run has a kernel with it")
    for port in ("a:eth0", "b:eth0"):
        network.tell(f"netem {port} delay 25ms loss 1%")
    storm = LineStorm(migration, network, "16M", 512 << 10, more=ON_GUEST_MEMFD)
    weather(storm, kills, record_property)
