"""Open a person's files as bytes or text: those of a folder or archive, compressed ones, in any encoding."""

from __future__ import annotations

import codecs
import gzip
import io
import re
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath, PurePosixPath
from typing import IO, Any, BinaryIO, TextIO

import charset_normalizer
import pyarrow

from cognate_core.data.row_files.rows import Reading
from cognate_core.errors import DataError
from cognate_core.files import plain_name

FORMATS = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".xlsx", ".parquet", ".txt", ".text", ".md")
COMPRESSIONS = (".gz", ".zst")
ARCHIVE = ".zip"
SUFFIXES = (*FORMATS, *(kind + packed for kind in FORMATS for packed in COMPRESSIONS), ARCHIVE)
READABLE = f"{', '.join(FORMATS)} or {ARCHIVE}, or such a name with {' or '.join(COMPRESSIONS)} after it"
MOST_UNPACKED = 20 * 2**30  # bytes: a small archive may hold any number of them
BUFFER = 2**20
SNIFFED = 16 * 2**20  # bytes: no encoding is looked for further in

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


def data_files(path: Path) -> list[DataFile]:
    """The files at `path` that can hold rows: itself, or those in a folder or archive that are not about the data.

    Raises:
        DataError: there is none, or it cannot be read.
    """
    name = plain_name(path.name)
    if path.is_dir():
        below = [(file.relative_to(path), _on_disk(file)) for file in path.rglob("*") if file.is_file()]
        return _those_with_rows(below, f"The folder {path}")
    if not path.is_file():
        raise DataError(f"There is no file {path}. Check its name, or choose another.")
    if not suffix_of(path.name):
        raise DataError(f"{name} cannot be read: its name must end in {READABLE}.")
    if path.stat().st_size == 0:
        raise DataError(f"{name} is empty. Choose a file with at least two rows.")
    if suffix_of(path.name) != ARCHIVE:
        return [_data_file(PurePath(path.name), _on_disk(path))]
    try:
        with zipfile.ZipFile(path) as archive:
            members = [each for each in archive.infolist() if not each.is_dir()]
    except (zipfile.BadZipFile, OSError, ValueError) as error:
        raise DataError(f"{name} is not a readable archive ({error}).") from error
    if any(each.flag_bits & 1 for each in members):
        raise DataError(f"{name} is locked with a password. Unpack it, and choose the files.")
    if sum(each.file_size for each in members) > MOST_UNPACKED:
        raise DataError(f"{name} holds more than {MOST_UNPACKED >> 30} GB. Unpack it, and choose some of its files.")
    inside = [(PurePosixPath(each.filename), _in_archive(path, each)) for each in members]
    return _those_with_rows([each for each in inside if "__MACOSX" not in each[0].parts], name)


def _those_with_rows(files: Sequence[tuple[PurePath, Callable[[Reading], BinaryIO]]], where: str) -> list[DataFile]:
    found = sorted(
        (inside, opened)
        for inside, opened in files
        if suffix_of(inside.name) not in ("", ARCHIVE) and not any(part.startswith(".") for part in inside.parts)
    )
    found = [each for each in found if not _ABOUT_DATA.fullmatch(each[0].name.lower())] or found
    if not found:
        raise DataError(f"{where} has no {', '.join(FORMATS)} file.")
    return [_data_file(*each) for each in found]


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


class _Unpacked(io.BufferedReader):
    """A stream and the file `under` it, which is closed with it."""

    def __init__(self, stream: Callable[[], Any], under: IO[bytes] | zipfile.ZipFile) -> None:
        self._under = under
        try:
            super().__init__(stream(), BUFFER)
        except BaseException:
            under.close()
            raise

    def close(self) -> None:
        super().close()
        self._under.close()


# Text

_LIKELY = ["cp1252", "cp1250", "cp1251", "cp1253", "cp1254", "koi8_r", "cp932", "euc_jp", "gb18030", "big5", "euc_kr"]
"""Encodings of earlier times that are looked for. More would be mistaken for one another."""


def open_text(file: DataFile, reading: Reading, newline: str | None = "") -> TextIO:
    """The file as text. What is no letter of UTF-8 or UTF-16 stays in it, as characters that `is_utf8` finds."""
    encoding = reading.encoding or _encoding_of(file, reading)
    kept = {"utf-8": "surrogateescape", "utf-16": "surrogatepass", "utf-32": "surrogatepass"}
    errors = kept.get(re.sub("-(sig|le|be)$", "", encoding), "strict")
    return io.TextIOWrapper(file.open(reading), encoding, errors, newline)


def _encoding_of(file: DataFile, reading: Reading) -> str:
    """UTF-8, UTF-16 or UTF-32 by its first bytes, by zeros in every second place, or what its bytes look like."""
    with file.open(Reading()) as opened:
        begin = opened.read(4096)
        if begin.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)):
            return "utf-32"
        if begin.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            return "utf-16"
        even, odd = begin[::2].count(0), begin[1::2].count(0)
        if max(even, odd) > len(begin) / 4 and min(even, odd) < len(begin) / 40:
            return "utf-16-le" if odd > even else "utf-16-be"
        begin += opened.read(SNIFFED)
    if len(begin) > SNIFFED:
        begin = begin[: begin.rfind(b"\n") + 1] or begin  # no letter is cut
    earlier = _earlier_encoding(begin)
    if earlier is None:
        return "utf-8-sig"
    reading.tell(f"{file.name} is not UTF-8: it is read as {earlier}.")
    return earlier


def _earlier_encoding(content: bytes) -> str | None:
    """What a text that is not UTF-8 is written in; None if it is, if only some of it is damaged, or if nobody knows."""
    if content.isascii():
        return None
    letters = "".join(re.findall(r"[^\x00-\x7f]+", content.decode(errors="surrogateescape")))
    undecoded = len(re.findall("[\udc80-\udcff]", letters))
    if undecoded <= len(letters) - undecoded:
        return None
    lines = b"\n".join(line for line in content.splitlines() if not line.isascii())[:100_000]
    match = charset_normalizer.from_bytes(lines, cp_isolation=_LIKELY).best()
    return match.encoding if match else None
