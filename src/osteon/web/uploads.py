"""Multipart forms read into memory, within limits; nothing is spooled to disk and no file's name is kept."""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import AsyncGenerator
from dataclasses import dataclass

from fastapi import Request
from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect

from osteon.web.limits import MEGABYTE, ServiceLimits
from osteon.web.problems import Problem

FILES = "files"
MOST_FIELDS = 8
_FIELD_BYTES = 1024
_DRAIN_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Upload:
    """What was sent.

    Attributes:
        files: Contents, in their order.
        fields: The form's other fields.
    """

    files: tuple[bytes, ...]
    fields: dict[str, str]


class _InMemoryParser(MultiPartParser):
    spool_max_size = 0  # of a spooled file: never rolled over to disk
    ended = False

    def on_end(self) -> None:
        self.ended = True  # the closing boundary was seen: no part was cut off


async def read_upload(request: Request, limits: ServiceLimits) -> Upload:
    """Read a form.

    Raises:
        Problem: It is no form (415, 400), too large or of too many files (413), too slow (408), or of fields that are
            given twice or are files where text belongs (422).
    """
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "multipart/form-data":
        raise Problem(415, "not_a_form", "the body is not multipart/form-data", f"Send images as parts named {FILES}")
    try:
        async with asyncio.timeout(limits.upload_seconds):
            form = await _parsed(request, limits)
            return await _checked(form, limits)
    except TimeoutError:
        raise Problem(
            408,
            "slow_upload",
            f"the upload took more than {limits.upload_seconds:g} s",
            headers={"Connection": "close"},
        ) from None
    except ClientDisconnect:
        raise Problem(400, "cut_off", "the upload was cut off") from None


async def drain(request: Request) -> None:
    """Let a client finish sending what will not be read, a little while, so that it hears the answer."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_DRAIN_SECONDS):
            more = True
            while more:
                message = await request.receive()
                more = message["type"] == "http.request" and message.get("more_body", False)


async def _parsed(request: Request, limits: ServiceLimits) -> FormData:
    stream = _bounded(request, limits)
    parser = _InMemoryParser(
        request.headers, stream, max_files=limits.files, max_fields=MOST_FIELDS, max_part_size=_FIELD_BYTES
    )
    try:
        form = await parser.parse()
        if not parser.ended:
            await form.close()
            raise MultiPartException("The form ends before its closing boundary")
        return form
    except MultiPartException as error:
        if "maximum size" in error.message:
            hint = f"Images are sent with a file name, as curl -F {FILES}=@wrist.png does"
            raise Problem(413, "field_too_large", "a field of text is longer than texts are here", hint) from None
        if "too many" in error.message.lower():
            raise Problem(413, "too_many_parts", error.message, f"At most {limits.files} files a request") from None
        raise Problem(400, "malformed_form", error.message) from None
    except UnicodeError:
        raise Problem(400, "malformed_form", "a text of the form is not in the charset that the form names") from None


async def _bounded(request: Request, limits: ServiceLimits) -> AsyncGenerator[bytes, None]:
    """Yield a body's chunks, and stop it where it is too large: before the first one, where its length is declared."""
    declared = request.headers.get("content-length", "")
    too_large = declared.isdigit() and int(declared) > limits.request_bytes
    received, more = 0, True
    while more and not too_large:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        chunk, more = message.get("body", b""), message.get("more_body", False)
        received += len(chunk)
        too_large = received > limits.request_bytes
        if not too_large:
            yield chunk
    if too_large:
        if more:
            await drain(request)
        raise Problem(
            413,
            "request_too_large",
            f"the request is larger than {limits.request_megabytes:g} MB",
            "Send fewer images at a time",
            {"Connection": "close"},
        )


async def _checked(form: FormData, limits: ServiceLimits) -> Upload:
    files: list[bytes] = []
    fields: dict[str, str] = {}
    try:
        for name, value in form.multi_items():
            if isinstance(value, UploadFile) != (name == FILES):
                kind = "a file" if name == FILES else "text"
                raise Problem(422, "wrong_kind", f"the field {_shown(name)} takes {kind}")
            if isinstance(value, UploadFile):
                files.append(await _content(value, limits))
            elif name in fields:
                raise Problem(422, "given_twice", f"the field {_shown(name)} is given twice")
            else:
                fields[name] = value
    finally:
        await form.close()
    if not files:
        raise Problem(422, "no_files", "no images were sent", f"Send images as parts named {FILES}")
    return Upload(tuple(files), fields)


async def _content(file: UploadFile, limits: ServiceLimits) -> bytes:
    content = await file.read()
    if len(content) > limits.file_bytes:
        size = math.ceil(len(content) / MEGABYTE)
        raise Problem(413, "file_too_large", f"a file of {size:,} MB; {limits.file_megabytes:g} MB is the most")
    return content


def _shown(name: str) -> str:
    """Return a field's name as far as it can be one of ours."""
    return repr(name) if name.isidentifier() and len(name) <= 20 else "of another name"
