"""What this machine can do: processor features and what follows for training."""

from __future__ import annotations

import math
import os
import platform
import subprocess
import sys
from functools import cache
from pathlib import Path

BF16_FLAGS = ("amx_bf16", "avx512_bf16")
EXACT_SUMS = ("session.x64quantprecision", "1")
"""Setting of ONNX Runtime: sums of 8-bit products that do not overflow; slower, on processors with VNNI too."""


@cache
def processor_flags() -> frozenset[str]:
    """Return the processor's feature flags in Linux's spelling; empty where they cannot be read."""
    if sys.platform == "linux":
        return frozenset(_cpuinfo().get("flags", _cpuinfo().get("Features", "")).split())
    if sys.platform == "darwin":
        names = {"hw.optional.arm.FEAT_BF16": "bf16", "hw.optional.arm.FEAT_SME": "sme"}
        return frozenset(flag for key, flag in names.items() if _sysctl(key) == "1")
    return frozenset()


def processor_name() -> str:
    """Return the processor's model name as the system gives it."""
    if sys.platform == "linux":
        return _cpuinfo().get("model name", platform.machine())
    if sys.platform == "darwin":
        return _sysctl("machdep.cpu.brand_string") or platform.machine()
    return platform.processor() or platform.machine()


def available_cores() -> int:
    """Return how many cores this process may use, or its container; of a part of one, one."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(cores, _container_cores())


_CONTAINER_LIMITS = (
    ("/sys/fs/cgroup/cpu.max",),
    ("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "/sys/fs/cgroup/cpu/cpu.cfs_period_us"),
)
"""Files of Linux, of its newer and its older kind, with the time of processors in each period, and the period."""


def _container_cores() -> int:
    """Return how many cores a container's limit comes to, as of ``docker run --cpus``; without one, very many."""
    for files in _CONTAINER_LIMITS:
        try:
            quota, period = map(int, " ".join(Path(file).read_text() for file in files).split())
        except (OSError, ValueError):  # there is none: "max"
            continue
        if quota > 0 and period > 0:
            return math.ceil(quota / period)
    return sys.maxsize


def fast_bf16_processor() -> bool:
    """Return whether the processor multiplies bfloat16 in hardware (AMX or AVX-512 BF16)."""
    return any(flag in processor_flags() for flag in BF16_FLAGS)


def sums_of_8_bits_overflow() -> bool:
    """Return whether runtimes sum 8-bit products in 16 bits: on x86 processors without VNNI, or of unknown features."""
    flags = processor_flags()
    if not flags:
        return _is_x86()
    return "avx2" in flags and not flags & {"avx512_vnni", "avx_vnni"}


def openvino_is_faster(*, int8: bool = False) -> bool:
    """Return whether OpenVINO is taken to gain time over ONNX Runtime here.

    Measured: in bfloat16, and with int8 models beside it, it does (AMD Zen 4); with neither it takes as long and starts
    later (AMD Zen 3, taken for all x86 processors without bfloat16). Elsewhere nothing was measured.
    """
    return not sums_of_8_bits_overflow() if int8 else fast_bf16_processor() or not _is_x86()


def _is_x86() -> bool:
    return platform.machine().lower() in ("x86_64", "amd64")


@cache
def _cpuinfo() -> dict[str, str]:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return {}
    pairs = (line.split(":", 1) for line in text.split("\n\n")[0].splitlines() if ":" in line)
    return {key.strip(): value.strip() for key, value in pairs}


def _sysctl(key: str) -> str:
    done = subprocess.run(["sysctl", "-n", key], capture_output=True, text=True, check=False)
    return done.stdout.strip()
