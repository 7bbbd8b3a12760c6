"""The base of every value that is read from a file or given by a user: frozen, checked, with our errors."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, ValidationError

from bcall_hw.errors import InvalidValue

if TYPE_CHECKING:
    from typing_extensions import Self

# The one folder that leads to data: a checkout's own folders win over the copy inside the wheel, because an editable
# install may carry a stale copy.
_PACKAGE = Path(__file__).resolve().parent


def data_folder(name: str) -> Path:
    """The folder of shipped data called `name` (chip_models, mappings, calibration)."""
    checkout = _PACKAGE.parent / name
    in_checkout = (_PACKAGE.parent / "pyproject.toml").is_file() and checkout.is_dir()
    return checkout if in_checkout else _PACKAGE / "_data" / name


class Record(BaseModel):
    """A frozen value; unknown fields, NaN and infinities are refused with `InvalidValue`."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, ser_json_inf_nan="strings")

    def __init__(self, /, **data: Any) -> None:
        try:
            super().__init__(**data)
        except ValidationError as problem:
            raise _as_invalid_value(type(self).__name__, data, problem) from None

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """The same value with some fields changed; checked like a new one.

        Raises:
            InvalidValue: as for a new value.
        """
        del deep  # values are frozen
        return type(self)(**{name: getattr(self, name) for name in type(self).model_fields} | dict(update or {}))


def _as_invalid_value(kind: str, data: dict[str, Any], problem: ValidationError) -> InvalidValue:
    name = data.get("name")
    subject = f"{kind} {name!r}" if isinstance(name, str) else kind
    errors = problem.errors(include_url=False)
    first = errors[0]
    path = ".".join(str(part) for part in first["loc"])
    more = f"; and {len(errors) - 1} more problem(s) in this {kind}" if len(errors) > 1 else ""
    shown = repr(first["input"])
    used = shown if len(shown) <= 80 else shown[:77] + "..."
    message = first["msg"][:1].lower() + first["msg"][1:]
    return InvalidValue(message + more, where=f"{subject}.{path}" if path else subject, used=used)
