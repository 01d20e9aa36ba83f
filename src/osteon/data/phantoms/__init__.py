"""Synthetic radiographs of broken and unbroken bones in MURA's own layout, for demonstrations and tests.

They are made from geometry and physics (``docs/phantoms.md``), carry a marker that says so, and are never to be
presented as real.
"""

from osteon.data.phantoms.settings import PhantomSettings
from osteon.data.phantoms.writer import write_phantoms

__all__ = ["PhantomSettings", "write_phantoms"]
