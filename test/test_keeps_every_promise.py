"""Our module behaves as an entrypoint must, in everything that compare.py compares."""

import pytest

from behaviours import BEHAVIOURS, PATIENCE


@pytest.mark.parametrize("behaviour", BEHAVIOURS, ids=lambda behaviour: behaviour.title)
def test_behaviour(behaviour, entrypoint, walt):
    ours = entrypoint()
    ours.tolerate_log("")       # what the WalT server's faults leave in the log is the business of their own tests
    verdict = behaviour.judge(ours, walt, PATIENCE)
    assert verdict.passed, verdict.words
