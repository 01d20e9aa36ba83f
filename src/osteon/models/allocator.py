"""Keep the memory of freed tensors, so that each training step need not ask the system for it again."""

from __future__ import annotations

import ctypes
import logging
import platform

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4
LARGEST_INT = 2**31 - 1

logger = logging.getLogger(__name__)


def keep_freed_memory() -> bool:
    """Tell glibc's allocator to reuse freed memory instead of handing it back to the system.

    By default every tensor above 32 MiB is mapped anew and its pages are zeroed one by one at the first touch. In
    training on a CPU, whose steps allocate the same hundreds of megabytes again and again, that takes about a third
    of the time (benchmarks/augmentation.py measures it). The process then keeps the memory of its peak until it ends.
    Call it once, before training on a CPU; it changes no result.

    Returns:
        Whether the allocator took it; False on systems without glibc, which are left as they are.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    taken = mallopt is not None and bool(mallopt(M_MMAP_MAX, 0)) and bool(mallopt(M_TRIM_THRESHOLD, LARGEST_INT))
    logger.info("freed memory is %s", "kept for reuse" if taken else "handed back to the system")
    return taken
