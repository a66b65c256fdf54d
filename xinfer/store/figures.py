"""What replicas measured and chose, kept for later ones: memory, dtype, calibration; by model and by name of the device."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from xinfer.catalog.spec import Dtype, ModelSpec
from xinfer.cluster.calibration import StoredCalibration
from xinfer.errors import StoreError

_CALIBRATION: TypeAdapter[StoredCalibration] = TypeAdapter(StoredCalibration)


class Figures:
    """Part of ``Store``; writing what is known already writes nothing, and the latest figure stays.

    All of its methods raise StoreError where the file cannot be read or written; nothing has changed then.
    """

    def __init__(self, path: Path, connection: sqlite3.Connection, transaction: Callable[[], AbstractContextManager[None]]) -> None:
        self._path = path
        self._db = connection
        self._transaction = transaction

    def measured(self, spec: ModelSpec, device_name: str) -> int | None:
        """Bytes per device that such a replica was seen to need there, or None."""
        row = self._one("SELECT bytes FROM measurements WHERE key = ? AND device = ?", spec_key(spec), device_name)
        return None if row is None else int(row[0])

    def record(self, spec: ModelSpec, device_name: str, size: int) -> None:
        """Remember what a replica was seen to need."""
        if self.measured(spec, device_name) != size:
            self._write("INSERT OR REPLACE INTO measurements VALUES (?, ?, ?)", spec_key(spec), device_name, size)

    def chosen(self, spec: ModelSpec, device_name: str) -> tuple[Dtype, str] | None:
        """The dtype that a replica of this model chose on such a device, and why; or None. The spec's own dtype is not looked at."""
        row = self._one("SELECT dtype, why FROM dtypes WHERE key = ? AND device = ?", model_key(spec), device_name)
        return None if row is None else (Dtype(row[0]), str(row[1]))

    def choose(self, spec: ModelSpec, device_name: str, why: str) -> None:
        """Remember that the spec's dtype was chosen there."""
        if self.chosen(spec, device_name) != (spec.dtype, why):
            self._write("INSERT OR REPLACE INTO dtypes VALUES (?, ?, ?, ?)", model_key(spec), device_name, spec.dtype.value, why)

    def calibration(self, spec: ModelSpec, options: Mapping[str, Any], device_name: str) -> StoredCalibration | None:
        """What an equal replica measured on such a device, or None. A row that cannot be read counts as none: it is measured anew."""
        row = self._one("SELECT body FROM calibrations WHERE key = ? AND device = ?", _options_key(spec, options), device_name)
        if row is None:
            return None
        try:
            return _CALIBRATION.validate_json(row[0])
        except ValidationError:
            return None

    def calibrate(self, spec: ModelSpec, options: Mapping[str, Any], device_name: str, found: StoredCalibration) -> None:
        """Remember a calibration."""
        if self.calibration(spec, options, device_name) != found:
            body = _CALIBRATION.dump_json(found).decode()
            self._write("INSERT OR REPLACE INTO calibrations VALUES (?, ?, ?)", _options_key(spec, options), device_name, body)

    def _one(self, query: str, *values: str) -> tuple[Any, ...] | None:
        try:
            row: tuple[Any, ...] | None = self._db.execute(query, values).fetchone()
        except sqlite3.Error as error:
            raise StoreError(f"The state file {self._path} cannot be read: {error}.") from error
        return row

    def _write(self, statement: str, *values: str | int) -> None:
        with self._transaction():
            self._db.execute(statement, values)


def model_key(spec: ModelSpec) -> str:
    """Model, variant, engine, maximum length, source and packages: all but the dtype and what follows from it."""
    source = spec.sources[0].model_dump_json()
    return "|".join((spec.name, spec.engine, spec.format, spec.quantization, str(spec.max_tokens), source, *spec.packages))


def spec_key(spec: ModelSpec) -> str:
    """What decides a replica's memory: model, variant, engine, dtype, maximum length, size of the weights, packages, KV room."""
    source = spec.sources[0].model_dump_json()
    return "|".join(
        (
            *(spec.name, spec.engine, spec.format, spec.quantization, spec.dtype.value),
            *(str(spec.max_tokens), str(spec.weight_bytes), source, *spec.packages),
            *(() if spec.llm is None else (f"{spec.llm.kv_tokens} kv", f"{spec.llm.sequences} sequences")),
        )
    )


def _options_key(spec: ModelSpec, options: Mapping[str, Any]) -> str:
    """Any option may change how fast an engine is."""
    return f"{spec_key(spec)}|{json.dumps(dict(options), sort_keys=True)}"
