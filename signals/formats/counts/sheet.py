"""A table as it stands in a file: CSV (also gzipped) or Parquet as columns of text and numbers."""

from __future__ import annotations

import csv
import gzip
import io
import re
import zlib
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from signals.errors import InputError
from signals.formats.files import MAX_UNPACKED_BYTES, open_unpacked

MISSING = ("", "nan", "na", "n/a", "#n/a", "null", "none", "-")
"""Cells that mean that there is no count, in any case and with blanks around them."""

MOST_CELLS = 600_000_000
"""A table of more cells (5 GB) than eight weeks of a hundred thousand series is taken for a mistake."""

MOST_HEADER_BYTES = 64 << 20

_FOREIGN = {
    b"PK\x03\x04": "is a zip archive or a workbook; unpack it, or save the sheet as CSV",
    b"\xd0\xcf\x11\xe0": "is an old workbook; save the sheet as CSV",
    b"ORC": "is an ORC file; convert it to Parquet",
    b"BZh": "is compressed by bzip2; unpack it, or use gzip",
    b"\xfd7zX": "is compressed by xz; unpack it, or use gzip",
    b"\x28\xb5\x2f\xfd": "is compressed by zstd; unpack it, or use gzip",
    b"\x1f\x8b": "is gzipped twice; unpack it once",
    b"<": "is XML or a web page, no table; SUMO's output is read as kind 'sumo'",
    b"{": "is JSON, no table; save it as CSV or Parquet",
}
_PARQUET = b"PAR1"
_BLANKS = [" " * k for k in range(12)] + [
    left + cell + right
    for word in MISSING[1:]
    for cell in sorted({word, word.upper(), word.title(), word.replace("nan", "NaN")})
    for left in ("", " ")
    for right in ("", " ")
]


@dataclass(frozen=True)
class Sheet:
    """A table in a file: its column names, and what is needed to read the columns.

    `delimiter` is empty for Parquet. `index` is the column that pandas kept as the table's index, the first
    one otherwise.
    """

    path: Path
    names: tuple[str, ...]
    delimiter: str = ""
    header_lines: int = 0
    index: int = 0

    def load(self, texts: Collection[int], numbers: Collection[int]) -> dict[int, Any]:
        """Columns by position, as pyarrow arrays: `texts` as they are or as strings, `numbers` as float64.

        Raises
        ------
        InputError
            Where a cell isn't what it should be, with line, column and value, or where the file is broken.
        """
        import pyarrow as pa

        with _stream(self.path) as stream:
            try:
                if self.delimiter:
                    return self._load_csv(stream, texts, numbers)
                return self._load_parquet(stream, texts, numbers)
            except pa.ArrowException as error:
                raise self._refusal(str(error)) from None

    def where(self, row: int, column: int | None = None) -> str:
        """Where a row (counted from 0) or a cell stands: path, and line of a CSV or row of a Parquet file."""
        place = f"{self.path}: {self._line(row)}"
        return place if column is None else f"{place}, column {self.names[column]!r}"

    def check_names(self, columns: Sequence[int]) -> None:
        """Nothing where these columns have names of their own.

        Raises
        ------
        InputError
            Where two share one.
        """
        seen: dict[str, int] = {}
        for k in columns:
            first = seen.setdefault(self.names[k], k)
            if first != k:
                raise InputError(
                    f"{self.path}: columns {first + 1} and {k + 1} are both named {self.names[k]!r}; rename one"
                )

    def _line(self, row: int) -> str:
        if self.delimiter:
            # Blank lines are no rows, so the line is counted where it is needed: in an error's text.
            seen = -1
            with _stream(self.path) as stream:
                for number, line in enumerate(stream, start=1):
                    seen += number > self.header_lines and bool(line.strip(b"\r\n"))
                    if seen == row:
                        return f"line {number}"
        return f"row {row + 1}"

    def _load_csv(
        self, stream: IO[bytes], texts: Collection[int], numbers: Collection[int]
    ) -> dict[int, Any]:
        import pyarrow as pa
        import pyarrow.csv as arrow_csv

        for _ in range(self.header_lines):
            stream.readline(MOST_HEADER_BYTES)
        rest = stream.tell()
        if not stream.read(1 << 16).strip():
            raise InputError(f"{self.path}: holds a header and no rows")
        stream.seek(rest)
        self._check_width(stream)
        stream.seek(rest)
        kinds = {f"f{k}": pa.string() for k in texts} | {f"f{k}": pa.float64() for k in numbers}
        table = arrow_csv.read_csv(
            stream,
            read_options=arrow_csv.ReadOptions(
                use_threads=False, block_size=MOST_HEADER_BYTES, autogenerate_column_names=True
            ),
            parse_options=arrow_csv.ParseOptions(delimiter=self.delimiter),
            convert_options=arrow_csv.ConvertOptions(
                column_types=kinds, include_columns=list(kinds), null_values=_BLANKS
            ),
        )
        return {k: table.column(i) for i, k in enumerate((*texts, *numbers))}

    def _check_width(self, stream: IO[bytes]) -> None:
        """The first row has as many cells as the header; that the others have as many as it, pyarrow checks."""
        line = next((line for line in stream if line.strip(b"\r\n")), b"")
        cells = len(_cells(self.path, line.decode("utf-8", "replace"), self.delimiter))
        if cells != len(self.names):
            raise self._ragged(0, cells)

    def _ragged(self, row: int, cells: int) -> InputError:
        return InputError(
            f"{self.where(row)} has {cells} cells, the header {len(self.names)}; is the file cut "
            "off, or a comma too many?"
        )

    def _load_parquet(
        self, stream: IO[bytes], texts: Collection[int], numbers: Collection[int]
    ) -> dict[int, Any]:
        import pyarrow as pa
        import pyarrow.compute as pc
        import pyarrow.parquet as pq

        file = pq.ParquetFile(stream)
        rows, wanted = file.metadata.num_rows, [*texts, *numbers]
        if not rows:
            raise InputError(f"{self.path}: holds columns and no rows")
        if rows * len(wanted) > MOST_CELLS:
            raise InputError(
                f"{self.path}: {rows} rows of {len(wanted)} columns are more than the {MOST_CELLS} cells "
                "that are read at once; split the file"
            )
        self.check_names(wanted)
        # To name columns costs time that grows with the square of their number.
        names = [self.names[k] for k in wanted] if len(wanted) < len(self.names) else None
        table = file.read(columns=names, use_threads=False)
        place = {name: i for i, name in enumerate(table.column_names)}

        def plain(k: int) -> Any:
            column = table.column(place[self.names[k]])
            return pc.cast(column, column.type.value_type) if pa.types.is_dictionary(column.type) else column

        return {k: self._texts(k, plain(k)) for k in texts} | {k: self._numbers(k, plain(k)) for k in numbers}

    def _texts(self, k: int, column: Any) -> Any:
        """A column of a Parquet file that should be times or names."""
        import pyarrow as pa
        import pyarrow.compute as pc

        kind = column.type
        if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
            return column
        if pa.types.is_integer(kind) or _is_text(kind):
            return pc.cast(column, pa.string())
        raise InputError(
            f"{self.path}: column {self.names[k]!r} holds {kind}, where times or names are expected"
        )

    def _numbers(self, k: int, column: Any) -> Any:
        """A column of a Parquet file that should be numbers, be they written as text."""
        import pyarrow as pa
        import pyarrow.compute as pc

        is_ = pa.types
        kind = column.type
        if is_.is_integer(kind) or is_.is_floating(kind) or is_.is_null(kind) or is_.is_decimal(kind):
            return pc.cast(column, pa.float64())
        if not _is_text(kind):
            raise InputError(
                f"{self.path}: column {self.names[k]!r} holds {kind}, counts are numbers; "
                "leave it out or convert it"
            )
        column = pc.utf8_trim_whitespace(pc.cast(column, pa.string()))
        blank = pc.is_in(pc.utf8_lower(column), value_set=pa.array(MISSING))
        column = pc.if_else(blank, pa.scalar(None, pa.string()), column)
        try:
            return pc.cast(column, pa.float64())
        except pa.ArrowInvalid:
            for row, text in enumerate(column.to_pylist()):
                try:
                    float(text or 0)
                except ValueError:
                    raise self._no_number(row, k, text) from None
            raise

    def _no_number(self, row: int, k: int, text: str) -> InputError:
        return InputError(
            f"{self.where(row, k)}: {text!r} is no number; correct it, or leave it blank if there is no count"
        )

    def _refusal(self, said: str) -> InputError:
        """What pyarrow says, in the words of a person who has the file open."""
        cell = re.match(r"In CSV column #(\d+): Row #(\d+): CSV conversion error to \w+: (.*)", said, re.S)
        if cell is not None:
            row, k = int(cell[2]) - 1, int(cell[1])
            if "UTF8" in cell[3]:
                return InputError(f"{self.where(row, k)}: is no UTF-8 text; save the file as UTF-8")
            return self._no_number(row, k, cell[3].removeprefix("invalid value ").strip("'"))
        ragged = re.search(r"Row #(\d+): Expected (\d+) columns, got (\d+)", said)
        if ragged is not None:
            return self._ragged(int(ragged[1]) - 1, int(ragged[3]))
        return InputError(f"{self.path}: can't be read: {said.splitlines()[0][:300]}")


def open_sheet(path: Path) -> Sheet:
    """The columns that a CSV or Parquet file has; which of the two it is, its content says.

    Raises
    ------
    InputError
        Where it is neither, or absent, empty, too large, broken or not readable.
    """
    with _stream(path) as stream:
        size = path.stat().st_size
        if size > MAX_UNPACKED_BYTES:
            raise InputError(
                f"{path}: {size >> 20} MiB, more than the {MAX_UNPACKED_BYTES >> 30} GiB that are read; "
                "split it"
            )
        start = stream.read(4096)
        stream.seek(0)
        ending = path.suffix.lower()
        if start.startswith(_PARQUET):
            if ending in (".csv", ".gz", ".txt", ".tsv"):
                raise InputError(f"{path}: is Parquet under a name of CSV; rename it to end in .parquet")
            return _open_parquet(path, stream)
        for magic, told in _FOREIGN.items():
            if start.startswith(magic):
                raise InputError(f"{path}: {told}")
        if b"\0" in start:
            raise InputError(f"{path}: is no text (it holds zero bytes); save it as CSV in UTF-8")
        if ending in (".parquet", ".pq"):
            raise InputError(f"{path}: is named as Parquet and isn't; if it is CSV, rename it to end in .csv")
        return _open_csv(path, stream)


@contextmanager
def _stream(path: Path) -> Iterator[IO[bytes]]:
    with open_unpacked(path) as stream:
        try:
            yield stream
        except (EOFError, zlib.error, gzip.BadGzipFile):
            raise InputError(f"{path}: is broken or cut off gzip; copy or download it again") from None


def _open_csv(path: Path, stream: IO[bytes]) -> Sheet:
    header, lines = b"", 0
    # A name in quotes may go over several lines.
    while not header.strip() or header.count(b'"') % 2:
        line = stream.readline(MOST_HEADER_BYTES)
        if not line:
            if not header.strip():
                raise InputError(f"{path}: is empty; a header and rows are needed")
            raise InputError(f"{path}: the header opens a quote that never closes")
        header, lines = (header if header.strip() else b"") + line, lines + 1
        if len(header) >= MOST_HEADER_BYTES:
            raise InputError(f"{path}: its first line doesn't end within 64 MiB; is it text?")
    try:
        text = header.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InputError(f"{path}: the header is no UTF-8 text; save the file as UTF-8") from None
    if not text.strip("\r\n"):
        raise InputError(
            f"{path}: its first line holds nothing but a mark of UTF-8; a header and rows are needed"
        )
    # Of the usual delimiters the one that the header has most of, quoted names aside; a lone column has none.
    delimiter = max((",", ";", "\t", "|"), key=re.sub(r'"[^"]*"', "", text).count)
    names = tuple(name.strip() for name in _cells(path, text, delimiter))
    return Sheet(path, names, delimiter, lines)


def _cells(path: Path, line: str, delimiter: str) -> list[str]:
    # Old Macs ended lines by a carriage return alone: then all of the file comes as one.
    if "\r" in line.strip("\r\n"):
        raise InputError(f"{path}: its lines end in carriage returns; save it with ordinary line ends")
    try:
        return next(csv.reader(io.StringIO(line.lstrip("\r\n")), delimiter=delimiter))
    except csv.Error as error:
        raise InputError(f"{path}: can't be read as CSV: {error}; is it text?") from None


def _open_parquet(path: Path, stream: IO[bytes]) -> Sheet:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        schema = pq.ParquetFile(stream).schema_arrow
        kept = (schema.pandas_metadata or {}).get("index_columns", [])
    except (pa.ArrowException, OSError, ValueError) as error:
        raise InputError(
            f"{path}: is broken or cut off Parquet: {str(error).splitlines()[0][:200]}"
        ) from None
    names = tuple(str(name) for name in schema.names)
    index = names.index(kept[0]) if len(kept) == 1 and kept[0] in names else 0
    return Sheet(path, names, index=index)


def _is_text(kind: Any) -> bool:
    import pyarrow as pa

    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))
