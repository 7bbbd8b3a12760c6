"""Register words as data: where each field's bits lie, and packing and unpacking by it."""

from __future__ import annotations

from functools import cached_property
from typing import Annotated

import numpy as np
import numpy.typing as npt
from pydantic import Field

from bcall_hw.arrays import BoolArray, IntArray
from bcall_hw.errors import FieldOverflow, UnknownName
from bcall_hw.records import Record

Count = Annotated[int, Field(gt=0)]


class WordField(Record):
    """Where a field's bits lie in a word: segments of (lowest word bit, width, lowest field bit)."""

    segments: tuple[tuple[int, int, int], ...]
    complement: bool = False

    @property
    def width(self) -> int:
        """Bits of the field."""
        return sum(width for _, width, _ in self.segments)


class WordLayout(Record):
    """A register word, packed and unpacked from named fields; works on integers and on arrays."""

    source: str
    bits: Count
    constants: tuple[tuple[int, int, int], ...]
    fields: dict[str, WordField]

    def pack(self, **values: npt.ArrayLike) -> IntArray:
        """Words from field values (integers or arrays that broadcast).

        Raises:
            FieldOverflow: a value does not fit its field.
            UnknownName: fields missing or unknown.
        """
        if values.keys() != self.fields.keys():
            raise UnknownName("fields of the word do not match", used=sorted(values), limit=sorted(self.fields))
        fixed = sum(value << low for low, _, value in self.constants)
        total: IntArray = np.asarray(fixed, dtype=np.int64)
        for name, field in self.fields.items():
            value = np.asarray(values[name], dtype=np.int64)
            top = (1 << field.width) - 1
            if value.size and (int(value.min()) < 0 or int(value.max()) > top):
                bad = int(value.min()) if int(value.min()) < 0 else int(value.max())
                raise FieldOverflow("value does not fit the word's field", where=name, used=bad, limit=top)
            value = top - value if field.complement else value
            for low, width, from_bit in field.segments:
                total = total | (((value >> from_bit) & ((1 << width) - 1)) << low)
        return np.asarray(total, dtype=np.int64)

    def unpack(self, words: npt.ArrayLike) -> dict[str, IntArray]:
        """Field values of words.

        Raises:
            FieldOverflow: constant bits differ from the layout, or unused bits are set: not such a word.
        """
        array = np.asarray(words, dtype=np.int64)
        for low, width, constant in self.constants:
            if np.any(((array >> low) & ((1 << width) - 1)) != constant):
                raise FieldOverflow(f"bits {low + width - 1}:{low} of the word are constant", limit=constant)
        if np.any(array & ~np.int64(self._known_bits)):
            raise FieldOverflow("unused bits of the word are set", used=hex(int(np.max(array))))
        found: dict[str, IntArray] = {}
        for name, field in self.fields.items():
            value = np.zeros_like(array)
            for low, width, from_bit in field.segments:
                value = value | (((array >> low) & ((1 << width) - 1)) << from_bit)
            found[name] = ((1 << field.width) - 1) - value if field.complement else value
        return found

    def matches(self, words: npt.ArrayLike) -> BoolArray:
        """Which words can be of this layout: constant bits as they should be, no unused bit set."""
        array = np.asarray(words, dtype=np.int64)
        fixed = sum(((1 << width) - 1) << low for low, width, _ in self.constants)
        value = sum(constant << low for low, _, constant in self.constants)
        return np.asarray(((array & fixed) == value) & ((array & ~np.int64(self._known_bits)) == 0), dtype=np.bool_)

    @cached_property
    def _known_bits(self) -> int:
        spans = [(low, width) for f in self.fields.values() for low, width, _ in f.segments]
        return sum(((1 << width) - 1) << low for low, width in [*spans, *((lo, w) for lo, w, _ in self.constants)])
