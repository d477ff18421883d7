"""How a text file's letters are encoded: Unicode, or a legacy encoding that its letters tell.

charset-normalizer cannot tell the Latin ones apart, which differ in few letters: there, it counts which language's
alphabet holds the letters that are not ASCII.
"""

from __future__ import annotations

import codecs
import re
from collections import Counter
from typing import BinaryIO

import charset_normalizer

SNIFFED = 16 * 2**20  # bytes: no encoding is looked for further in
ENOUGH = 100_000  # bytes of lines with such letters
MANY = 30  # letters; in fewer, an encoding of two bytes a letter is not looked for

WESTERN = (
    *("éèçñïöüåäáóíâêôøæ", "àâæçéèêëîïôœùûüÿ", "äöüß", "áéíñóúüª", "áâãàçéêíóôõúª", "àèéìíîòóùú", "åäöéà"),
    *("æøåéóòôâü", "áéíóúýðþæö", "áéëïóöüèêàç", "àçéèíïóòúü"),
)
"""The letters of English (loan words), French, German, Spanish, Portuguese, Italian, Swedish and Finnish, Danish and
Norwegian, Icelandic, Dutch, Catalan."""
CENTRAL = ("ąćęłńóśźż", "áčďéěíňóřšťúůýž", "áäčďéíĺľňóôŕšťúýž", "áéíóöőúüű", "ăâîşţ", "čćđšž")
"""Of Polish, Czech, Slovak, Hungarian, Romanian, Croatian and Slovene."""
LATIN = {"cp1252": WESTERN, "cp1250": CENTRAL, "cp1254": ("çğıöşüâîûİ",), "iso8859_2": CENTRAL, "mac_roman": WESTERN}
"""Alphabets by encoding; the first that fits is taken."""
FITS = 0.95  # of the letters
SIGNS = set("“”„’‘‚–—…«»‹›€£§°·¿¡©®™\u00a0½¼¾²³×•ºª´")  # may be in any text, but not within a word

OTHERS = ["cp1251", "koi8_r", "cp1253", "cp1255", "cp1256"]
OF_TWO_BYTES = ["cp932", "euc_jp", "gb18030", "big5", "euc_kr"]


def unicode_encoding(begin: bytes) -> str | None:
    """UTF-8, UTF-16 or UTF-32 by the mark at the beginning; UTF-16 also by zeros in every second place."""
    if begin.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)):
        return "utf-32"
    if begin.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    if begin.startswith(codecs.BOM_UTF8):
        return "utf-8-sig"
    even, odd = begin[::2].count(0), begin[1::2].count(0)
    if max(even, odd) > len(begin) / 4 and min(even, odd) < len(begin) / 40:
        return "utf-16-le" if odd > even else "utf-16-be"
    return None


def legacy_encoding(opened: BinaryIO) -> str | None:
    """What a text that is not Unicode is written in; None if it is, if some of it is damaged, or if nobody knows."""
    content = opened.read(SNIFFED)
    if len(content) == SNIFFED:
        content = content[: content.rfind(b"\n") + 1] or content  # no letter is cut
    if content.isascii():
        return None
    letters = "".join(re.findall(r"[^\x00-\x7f]+", content.decode(errors="surrogateescape")))
    undecoded = len(re.findall("[\udc80-\udcff]", letters))
    if undecoded <= len(letters) - undecoded:
        return None  # most of them are UTF-8
    lines = b"\n".join(line for line in content.splitlines() if not line.isascii())[:ENOUGH]
    latin = next((encoding for encoding in LATIN if _fit(lines, encoding) >= FITS), None)
    if latin:
        return latin
    candidates = OTHERS + OF_TWO_BYTES * (undecoded >= MANY)
    match = charset_normalizer.from_bytes(lines, cp_isolation=candidates).best()
    return match.encoding if match else None


def _fit(lines: bytes, encoding: str) -> float:
    """The share of the letters and signs that are in one alphabet."""
    try:
        text = lines.decode(encoding)
    except UnicodeDecodeError:
        return 0.0
    inside = Counter(re.findall(r"(?<=[^\W\d_])[^\x00-\x7f](?=[^\W\d_])", text))
    counts = Counter(re.findall(r"[^\x00-\x7f]", text))
    signs = sum(count - inside[sign] * (sign not in "’·") for sign, count in counts.items() if sign in SIGNS)
    held = max(
        sum(count for letter, count in counts.items() if letter in letters or letter.lower() in letters)
        for letters in LATIN[encoding]
    )
    return (held + signs) / counts.total()
