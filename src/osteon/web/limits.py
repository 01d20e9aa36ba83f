"""What the service takes at most: sizes, counts, times, and how much work may wait."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from osteon.data.images import Limits
from osteon.machine import available_cores
from osteon.settings import Settings

MEGABYTE = 1 << 20


class ServiceLimits(Settings):
    """Bounds on what one request, and all of them together, may cost.

    The bytes of uploads held at any time are at most ``(workers + waiting) * request_megabytes``.
    """

    workers: int = Field(default_factory=available_cores, ge=1, le=256, description="requests worked on at a time")
    waiting: int = Field(8, ge=0, le=10_000, description="requests that may wait; more are turned away with 503")
    files: int = Field(16, ge=1, le=256, description="files of one request")
    file_megabytes: float = Field(64.0, gt=0, le=1024, description="size of one file")
    request_megabytes: float = Field(128.0, gt=0, le=4096, description="size of one request")
    megapixels: float = Field(50.0, gt=0, le=100, description="width times height of one image, in millions")
    seconds: float = Field(60.0, gt=0, le=3600, description="from the end of an upload to its answer; then 504")
    upload_seconds: float = Field(120.0, gt=0, le=3600, description="for an upload (then 408), and to send an answer")

    @property
    def file_bytes(self) -> int:
        """Size of one file in bytes."""
        return int(self.file_megabytes * MEGABYTE)

    @property
    def request_bytes(self) -> int:
        """Size of one request's body in bytes."""
        return int(self.request_megabytes * MEGABYTE)

    def decoding(self) -> Limits:
        """Return the bounds on decoding one file."""
        return Limits(bytes=self.file_bytes, pixels=int(self.megapixels * 1e6), seconds=min(30.0, self.seconds))

    def public(self) -> dict[str, Any]:
        """Return what a client should know before it sends."""
        return {"files": self.files, "file_bytes": self.file_bytes, "request_bytes": self.request_bytes}
