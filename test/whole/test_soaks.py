"""The soak of "make soak", for a short time: all faults mixed, and afterwards nothing is wrong, lost or left."""

import pytest

import random

from soak import Soak


@pytest.mark.thorough
def test_short_soak():
    """Another seed each time; it is printed, and test/commands/soak.py --seconds 16 --seed takes it."""
    Soak(16, random.SystemRandom().randrange(1 << 32), "event").run()
