"""The WalT server closes, resets or falls silent, in boot.sig or boot.img, anywhere, once or always: what becomes of nodes.

Each of the 60 nodes has a fault of its own, all at the same time; fault_table.py prints the same for the configurations
that WalT documents.
"""

import pytest

from fault_table import CELLS, OursCached, OursRelayed, column, is_harmless


@pytest.mark.parametrize("kind", [OursCached, OursRelayed], ids=["cached", "relayed"])
@pytest.mark.thorough
def test_faults(kind):
    boots = column(kind)
    assert len(boots) == len(CELLS) == 60
    harmed = {cell: boot for cell, boot in boots.items() if not is_harmless(boot)}
    assert not harmed, harmed
    # Where the server is well again, so is the node.  Without a cache only a reply whose head has not come is not asked for
    # again: the node gets a 502, and boots at its next start.
    failed = {cell: boot for cell, boot in boots.items() if cell.times and not boot.booted
              and not (kind is OursRelayed and cell.file == "boot.img" and cell.place == "head")}
    assert not failed, failed
    # Where it is not, nobody boots: the faults were real.
    assert not any(boot.booted for cell, boot in boots.items() if not cell.times)
