"""The fields of a request's form, and how OpenAPI is told of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from osteon.inference.prediction import StudyPooling
from osteon.web.problems import Problem
from osteon.web.reading import Grouping, Wish
from osteon.web.uploads import FILES

Truth = Literal["true", "false"]


class Fields(BaseModel):
    """The form beside its files."""

    model_config = ConfigDict(extra="forbid")

    study: Grouping = Field(
        "one",
        description="one: the files are views of one study (DICOM files of different studies still are not joined); "
        "each: every picture is a study of its own",
    )
    pooling: StudyPooling = Field("mean", description="from the probabilities of views to that of their study")
    region: str = Field("", description="body region of all files; empty: as their headers say")
    heat_map: Truth = Field("true", description="whether maps and outlines are wanted")
    pictures: Truth = Field("false", description="whether decoded grey values are wanted, as PNG in data URIs")

    def wish(self) -> Wish:
        """Return how the files are to be read."""
        return Wish(self.study, self.pooling, self.region, self.heat_map == "true", self.pictures == "true")


def read_fields(given: dict[str, str], regions: Sequence[str]) -> Fields:
    """Check a form's fields.

    Args:
        given: Texts by name.
        regions: Body regions that the model has met.

    Raises:
        Problem: One is unknown or out of range (422).
    """
    if given.get("region", "") not in ("", *regions):
        raise Problem(422, "wrong_field", "region: the model knows none of that name", f"Known: {', '.join(regions)}")
    try:
        return Fields.model_validate(given)
    except ValidationError as error:
        first = error.errors(include_input=False)[0]
        name = str(first["loc"][0])
        known = ", ".join(Fields.model_fields)
        if name not in Fields.model_fields:
            raise Problem(
                422, "unknown_field", "there is a field of another name", f"Fields: {FILES}, {known}"
            ) from None
        raise Problem(422, "wrong_field", f"{name}: {first['msg']}") from None


def request_body(most_files: int, regions: Sequence[str]) -> dict[str, Any]:
    """Return OpenAPI's description of the form."""
    fields = Fields.model_json_schema()["properties"]
    fields["region"]["enum"] = ["", *regions]
    files = {
        "type": "array",
        "minItems": 1,
        "maxItems": most_files,
        "items": {"type": "string", "format": "binary"},
        "description": "PNG, JPEG, TIFF or DICOM",
    }
    schema = {
        "type": "object",
        "properties": {FILES: files, **fields},
        "required": [FILES],
        "additionalProperties": False,
    }
    return {"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": schema}}}}
