"""Our module behaves as an entrypoint must, in everything that compare.py compares."""

import pytest

from behaviours import BEHAVIOURS
from boot_client import PATIENCE


@pytest.mark.parametrize("cache", [False, True], ids=["relayed", "cached"])
@pytest.mark.parametrize("behaviour", BEHAVIOURS, ids=lambda behaviour: behaviour.title)
def test_behaviour(behaviour, cache, entrypoint, walt, folder):
    ours = entrypoint(cache=folder + "/images" if cache else "")
    ours.tolerate_log("")       # what the WalT server's faults leave in the log is the business of their own tests
    verdict = behaviour.judge(ours, walt, PATIENCE)
    assert verdict.passed, verdict.words
