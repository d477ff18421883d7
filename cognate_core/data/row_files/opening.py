"""Open a person's files as bytes or text: those of a folder or archive, compressed ones, in any encoding."""

from __future__ import annotations

import gzip
import io
import re
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath, PurePosixPath
from typing import IO, Any, BinaryIO, TextIO

import pyarrow

from cognate_core.data.row_files.encodings import legacy_encoding, unicode_encoding
from cognate_core.data.row_files.rows import Reading
from cognate_core.errors import DataError
from cognate_core.files import plain_name

TEXTS = (".txt", ".text", ".md")
FORMATS = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".xlsx", ".parquet", *TEXTS)
COMPRESSIONS = (".gz", ".zst")
ARCHIVE = ".zip"
SUFFIXES = (*FORMATS, *(kind + packed for kind in FORMATS for packed in COMPRESSIONS), ARCHIVE)
READABLE = f"{', '.join(FORMATS)} or {ARCHIVE}, or such a name with {' or '.join(COMPRESSIONS)} after it"
MOST_UNPACKED = 20 * 2**30  # bytes: a small archive may hold any number of them
BUFFER = 2**20
NAMED = 3  # files in a sentence
SAVE_AS = {
    ".xls": ".xlsx",
    ".xlsm": ".xlsx",
    ".ods": ".xlsx",
    ".docx": ".txt",
    ".doc": ".txt",
    ".odt": ".txt",
    ".pdf": ".txt",
}

_HELDOUT, _TRAIN = (
    re.compile(rf"(?:^|[^a-z])(?:{words})(?:[^a-z]|$)")
    for words in ("tests?|testing|testset|valid|validation|val|dev|eval|evaluation|h[eo]ld[-_ ]?out", "train|training")
)
_ABOUT_DATA = re.compile(
    r"(readme|licen[cs]e|changelog)([._-][a-z]{2,5})?\.(md|txt)|(dataset_infos?|dataset_dict|state|config)\.json"
)


@dataclass(frozen=True, slots=True)
class DataFile:
    """A file that can hold rows. `inside`: its path in the folder or archive that was asked for."""

    name: str
    inside: PurePath
    kind: str  # one of FORMATS
    open: Callable[[Reading], BinaryIO]  # its bytes, unpacked

    @property
    def is_heldout(self) -> bool:
        """Whether its name, or that of its folder, says that it is of a split that no model learns from."""
        for part in reversed(self.inside.parts):
            heldout, train = (bool(words.search(part.lower())) for words in (_HELDOUT, _TRAIN))
            if heldout != train:  # "train_test_split" says nothing
                return heldout
        return False


def suffix_of(name: str) -> str:
    """The ending that decides how a file is read, such as ".csv" or ".jsonl.gz"; "" if it cannot be read."""
    ends = "".join(PurePath(name.lower()).suffixes[-2:])
    return ends if ends in SUFFIXES else PurePath(ends).suffix if PurePath(ends).suffix in SUFFIXES else ""


def advice_for(name: str) -> str:
    """What to do with a file that cannot be read, by its name; half a sentence."""
    other = SAVE_AS.get(PurePath(name.lower()).suffix)
    return f"save it as {other}, and choose that" if other else f"its name must end in {READABLE}"


def data_files(path: Path, reading: Reading) -> list[DataFile]:
    """The files at `path` that can hold rows: itself, or those in a folder or archive that are not about the data.

    Raises:
        DataError: there is none, or it cannot be read.
    """
    name = plain_name(path.name)
    if path.is_dir():
        below = [(file.relative_to(path), _on_disk(file)) for file in sorted(path.rglob("*")) if _holds_something(file)]
        return _those_with_rows(below, f"The folder {path}", reading)
    if not path.is_file():
        raise DataError(f"There is no file {path}. Check its name, or choose another.")
    if not suffix_of(path.name):
        raise DataError(f"{name} cannot be read: {advice_for(path.name)}.")
    if path.stat().st_size == 0:
        raise DataError(f"{name} is empty. Choose a file with at least two rows.")
    if suffix_of(path.name) != ARCHIVE:
        return [_data_file(PurePath(path.name), _on_disk(path))]
    try:
        with zipfile.ZipFile(path) as archive:
            members = [each for each in archive.infolist() if each.file_size]
    except (zipfile.BadZipFile, OSError, ValueError) as error:
        raise DataError(f"{name} is not a readable archive ({error}).") from error
    if any(each.flag_bits & 1 for each in members):
        raise DataError(f"{name} is locked with a password. Unpack it, and choose the files.")
    if sum(each.file_size for each in members) > MOST_UNPACKED:
        raise DataError(f"{name} holds more than {MOST_UNPACKED >> 30} GB. Unpack it, and choose some of its files.")
    inside = [(PurePosixPath(each.filename), _in_archive(path, each)) for each in members]
    return _those_with_rows([each for each in inside if "__MACOSX" not in each[0].parts], name, reading)


def _holds_something(file: Path) -> bool:
    return file.is_file() and file.stat().st_size > 0


def _those_with_rows(
    files: Sequence[tuple[PurePath, Callable[[Reading], BinaryIO]]], where: str, reading: Reading
) -> list[DataFile]:
    """Those that can hold rows, by name. The others are noted."""
    seen = [each for each in files if not any(part.startswith(".") for part in each[0].parts)]
    readable = [each for each in seen if suffix_of(each[0].name) not in ("", ARCHIVE)]
    found = [each for each in readable if not _ABOUT_DATA.fullmatch(each[0].name.lower())] or readable
    if not found:
        raise DataError(f"{where} has no {', '.join(FORMATS)} file.")
    left = [plain_name(inside.name) for inside, opened in seen if not any(opened is other for _, other in found)]
    if left:
        more = f" and {len(left) - NAMED:,} more" if len(left) > NAMED else ""
        reading.note(f"Files that are not read: {', '.join(left[:NAMED])}{more}.")
    return [_data_file(*each) for each in sorted(found, key=lambda each: each[0])]


def _data_file(inside: PurePath, opened: Callable[[Reading], BinaryIO]) -> DataFile:
    ending = suffix_of(inside.name)
    packed = next((packed for packed in COMPRESSIONS if ending.endswith(packed)), "")
    without = inside.with_name(inside.name[: len(inside.name) - len(ending)] or "-")
    return DataFile(plain_name(inside.name), without, ending.removesuffix(packed), _unpacked(opened, packed))


def _on_disk(path: Path) -> Callable[[Reading], BinaryIO]:
    return lambda reading: io.BufferedReader(_Watched(path, reading), BUFFER)


def _in_archive(path: Path, member: zipfile.ZipInfo) -> Callable[[Reading], BinaryIO]:
    def opened(reading: Reading) -> BinaryIO:
        reading.seen += member.compress_size
        archive = zipfile.ZipFile(path)
        return _Unpacked(lambda: archive.open(member), archive)

    return opened


def _unpacked(opened: Callable[[Reading], BinaryIO], packed: str) -> Callable[[Reading], BinaryIO]:
    def unpacked(reading: Reading) -> BinaryIO:
        file = opened(reading)
        if packed == ".gz":
            return _Unpacked(lambda: gzip.GzipFile(fileobj=file), file)
        return _Unpacked(lambda: pyarrow.CompressedInputStream(file, "zstd"), file)

    return unpacked if packed else opened


class _Watched(io.FileIO):
    """A file that notes how much of it has been read."""

    def __init__(self, path: Path, reading: Reading) -> None:
        super().__init__(path)
        self._reading = reading

    def readinto(self, buffer: Any, /) -> int | None:
        count = super().readinto(buffer)
        self._reading.seen += count or 0
        return count


class _Limited(io.RawIOBase):
    """A stream that is refused once it has given MOST_UNPACKED bytes: a small file may unpack to any number."""

    def __init__(self, stream: Any) -> None:
        self._stream, self._given = stream, 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        count = int(self._stream.readinto(buffer) or 0)
        self._given += count
        if self._given > MOST_UNPACKED:
            raise DataError(f"The file unpacks to more than {MOST_UNPACKED >> 30} GB. Choose fewer rows.")
        return count

    def close(self) -> None:
        self._stream.close()
        super().close()


class _Unpacked(io.BufferedReader):
    """A stream and the file `under` it, which is closed with it."""

    def __init__(self, stream: Callable[[], Any], under: IO[bytes] | zipfile.ZipFile) -> None:
        self._under = under
        try:
            super().__init__(_Limited(stream()), BUFFER)
        except BaseException:
            under.close()
            raise

    def close(self) -> None:
        super().close()
        self._under.close()


# Text


def open_text(file: DataFile, reading: Reading, newline: str | None = "") -> TextIO:
    """The file as text, without a byte order mark. Bytes that are no letters stay in it, for `is_utf8` to find."""
    with file.open(Reading()) as opened:
        begin = opened.read(4096)
    encoding = unicode_encoding(begin)
    if reading.encoding and (encoding is None or not reading.encoding.startswith("utf")):
        encoding = reading.encoding
    if encoding is None:
        with file.open(Reading()) as opened:
            encoding = legacy_encoding(opened)
        if encoding:
            reading.note(f"{file.name} is not UTF-8: it is read as {encoding}.")
    unicode = encoding and re.match("utf-(16|32)", encoding)
    errors = "surrogatepass" if unicode else "surrogateescape"
    return io.TextIOWrapper(file.open(reading), encoding or "utf-8", errors, newline)


def lines_of(text: TextIO, most: int) -> Iterator[str]:
    """The lines; of one with more than `most` characters only the first."""
    while line := text.readline(most):
        yield line
        while len(line) == most and not line.endswith(("\n", "\r")):
            line = text.readline(most)
