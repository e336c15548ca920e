"""Types and values of ClickHouse, as `dcfs` writes its tables.

Scalars are `Nullable`, whole numbers have 64 bits, JSON is text, lists of scalars are `Array`, all other lists are JSON too.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from datetime import date, datetime, timedelta, timezone
from typing import Any

import sqlalchemy as sa
from datachain import json
from datachain.sql import types as dct

EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
MICROSECOND = timedelta(microseconds=1)
MOMENT = "DateTime64(6, 'UTC')"


def list_type(item: Any) -> str | None:
    """The type of a list of such items; `None` for one that is kept as JSON."""
    item = item() if isinstance(item, type) else item
    if getattr(item, "dc_nullable", False) or isinstance(item, dct.UInt64):
        return None
    if isinstance(item, dct.Array):
        inner = list_type(item.item_type)
        return f"Array({inner})" if inner else None
    for kind, name in ((dct.Int, "Int64"), (dct.Float, "Float64"), (dct.Boolean, "Bool"), (dct.String, "String")):
        if isinstance(item, kind):
            return f"Array({name})"
    return None


def plain_type(kind: Any) -> str:
    """The type of a column's values, without NULL."""
    if isinstance(kind, dct.UInt64):
        return "UInt64"
    if isinstance(kind, (dct.Int, sa.Integer)):
        return "Int64"
    if isinstance(kind, (dct.Float, sa.Float)):
        return "Float64"
    if isinstance(kind, (dct.Boolean, sa.Boolean)):
        return "Bool"
    if isinstance(kind, (dct.DateTime, sa.DateTime)):
        return MOMENT
    if isinstance(kind, dct.Array):
        return list_type(kind.item_type) or "String"
    if isinstance(kind, (dct.String, dct.JSON, dct.Binary, sa.String, sa.JSON, sa.LargeBinary)):
        return "String"
    raise TypeError(f"ClickHouse has no column for {kind!r}: give it a type by `mutate` or `func.cast`")


def column_type(column: sa.Column[Any]) -> str:
    """The type of a new column."""
    plain = plain_type(column.type)
    if plain.startswith("Array") or column.name in ("sys__id", "sys__rand"):
        return plain
    if column.name.endswith("__source") and plain == "String":
        return "LowCardinality(Nullable(String))"
    return f"Nullable({plain})"


def read_type(name: str) -> dct.SQLType:
    """DataChain's type for a type of an existing table. What JSON or bytes are, only a version's schema knows."""
    for wrapper in ("LowCardinality(", "Nullable("):
        if name.startswith(wrapper):
            inner = read_type(name[len(wrapper) : -1])
            return dct.SQLType.as_nullable(inner) if wrapper == "Nullable(" else inner
    if name.startswith("Array("):
        return dct.Array(read_type(name[len("Array(") : -1]))
    if name.startswith("UInt64"):
        return dct.UInt64()
    if name.startswith(("Int", "UInt")):
        return dct.Int64()
    if name.startswith(("Float", "Decimal")):
        return dct.Float64()
    if name.startswith("Bool"):
        return dct.Boolean()
    if name.startswith("Date"):
        return dct.DateTime()
    return dct.String()


def utc(value: datetime) -> datetime:
    """In UTC; without a zone it is UTC already, as in DataChain's SQLite."""
    return value.replace(tzinfo=timezone.utc) if value.tzinfo is None else value.astimezone(timezone.utc)


def literal(value: Any) -> str:
    """SQL for a value of Python.

    Raises `OverflowError` for a whole number beyond 64 bits, `TypeError` for a value of another type.
    """
    if value is None:
        return "NULL"
    if hasattr(value, "tolist"):  # of numpy
        return literal(value.tolist())
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return _integer(int(value))
    if isinstance(value, float):
        return _float(value)
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, bytes):
        return f"unhex('{value.hex()}')"
    if isinstance(value, datetime):
        return f"fromUnixTimestamp64Micro(toInt64({ticks(value)}), 'UTC')"
    if isinstance(value, date):
        return literal(datetime(value.year, value.month, value.day))
    if isinstance(value, (list, tuple, set, frozenset)):
        return "[" + ", ".join(literal(item) for item in value) + "]"
    if isinstance(value, dict):
        return _text(json.dumps(value, ensure_ascii=False, serialize_numpy=True))
    raise TypeError(f"a value of type {type(value).__name__} cannot be sent to ClickHouse")


def _integer(value: int) -> str:
    if not -(2**63) <= value < 2**64:
        raise OverflowError(f"{value} has more than 64 bits")
    # ClickHouse takes `-` for an operator, whose operand would be out of range.
    return str(value) if value >= 0 else f"toInt64('{value}')"


def _float(value: float) -> str:
    if math.isnan(value):
        return "NULL"  # as SQLite has it
    if math.isinf(value):
        return "inf" if value > 0 else "(-inf)"
    return f"toFloat64('{value!r}')"


def _text(value: str) -> str:
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'").replace("\0", "\\0") + "'"


def sent(columns: Sequence[str], types: Sequence[str], kinds: Sequence[Any], rows: Sequence[tuple[Any, ...]]) -> list[list[Any]]:
    """Rows as the columns that the client sends."""
    data = list(zip(*rows)) if rows else [() for _ in columns]
    return [[_convert(kind, name)(value) for value in column] for column, name, kind in zip(data, types, kinds)]


def _convert(kind: Any, name: str) -> Callable[[Any], Any]:
    """What a column of the type `name` takes for a value of DataChain's type `kind`."""
    if name.startswith("Array"):
        return _list
    if "Float" in name:
        return lambda value: None if value is None or value != value else float(value)
    if "Int" in name:
        return lambda value: None if value is None else int(value)
    if "Bool" in name:
        return lambda value: None if value is None else bool(value)
    if "DateTime64" in name:
        scale = scale_of(name)
        return lambda value: None if value is None else ticks(_moment(value)) * 10**scale // 10**6
    return _as_text


def scale_of(name: str) -> int:
    """How many digits of a second the ticks of a type `DateTime64(scale, ...)` have."""
    return int(name.partition("DateTime64(")[2][0])


def ticks(value: datetime) -> int:
    """Microseconds since 1970."""
    return (utc(value) - EPOCH) // MICROSECOND


def moment(value: int | None, scale: int) -> datetime | None:
    """A time by its ticks. The client's own arithmetic goes by floats."""
    return None if value is None else EPOCH + value * 10**6 // 10**scale * MICROSECOND


def _moment(value: Any) -> datetime:
    if isinstance(value, str):
        return datetime.fromisoformat(value)
    return value if isinstance(value, datetime) else datetime(value.year, value.month, value.day)


def _list(value: Any) -> list[Any]:
    if value is None:
        return []
    if hasattr(value, "tolist"):
        return value.tolist()
    return list(value)


def _as_text(value: Any) -> Any:
    if value is None or isinstance(value, (str, bytes)):
        return value
    if isinstance(value, (list, tuple, dict)) or hasattr(value, "tolist"):
        return json.dumps(value, ensure_ascii=False, serialize_numpy=True)
    return str(value)


class Converter(dct.TypeConverter):
    """Python types of columns; tables are made by `column_type`."""

    def array(self, item_type: Any) -> Any:
        from datachain.sql.sqlite.types import Array

        return Array(item_type)


class ReadConverter(dct.TypeReadConverter):
    """Values as DataChain's SQLite gives them."""

    def array(self, value: Any, item_type: Any, dialect: Any) -> Any:
        if isinstance(value, str):
            value = json.loads(value)
        return super().array(value, item_type, dialect)

    def datetime(self, value: Any) -> Any:
        value = super().datetime(value)
        return None if value is None else utc(value)


def register() -> None:
    """Tells DataChain what it asks of a dialect."""
    dct.register_backend_types("clickhouse", Converter())
    dct.register_type_read_converters("clickhouse", ReadConverter())
    dct.register_type_defaults("clickhouse", dct.TypeDefaults())
    dct.register_db_defaults("clickhouse", dct.DBDefaults())
