"""Text is read whatever encodes its letters; what is damaged or unknown gets a sentence."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cognate_core.data.documents import UnusableRow
from cognate_core.data.row_files.rows import NOT_UTF8
from cognate_core.errors import DataError
from tests.data.sources.files import documents, source, write


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl", "a.json", "a.txt"])
def test_damaged_utf16_gets_a_sentence(tmp_path: Path, name: str) -> None:
    text = '[{"text": "half"}]' if name == "a.json" else '{"text": "half"}\ntext'
    with pytest.raises(DataError, match=r"is damaged: it is not complete UTF-16 text\.$"):
        documents(write(tmp_path, name, text.encode("utf-16")[:-1]))
    with pytest.raises((DataError, UnusableRow), match=r"not UTF-8 text|half a letter"):
        documents(write(tmp_path, name, text.replace("half", "\ud83d").encode("utf-16", "surrogatepass")))


def test_a_list_that_is_not_utf8_says_so(tmp_path: Path) -> None:
    damaged = '[{"text": "Größe"} '.encode() + b"\xff]"
    with pytest.raises(DataError, match=r"^a\.json is not UTF-8 text\. Save the file as UTF-8 and try again\.$"):
        documents(write(tmp_path, "a.json", damaged))


WESTERN = (
    "Quel âge a-t-il ? Où est l'élève à midi ? Sa sœur en a donné trois.",
    "Die Äpfel kosten fünf Euro. Wie viele Äpfel kauft Jürgen für zwölf? Größere.",
    "¿Cuántas manzanas tiene José? Dio tres a su niña. ¡Qué fácil, año! 5 m²",
    "Não sei se você fala português; a maçã é do avô e da mãe. Três irmãos.",
    "Perché la città è così bella? Più tardi sarà già domenica. Può darsi.",
    "Går du på många möten? Måla gärna gröna äpplen åt öster.",
    "Rødgrød med fløde på øen, hvor æblerne er grønne.",
    "Ég á þér að þakka, við erum góðir vinir. Það er gott veður.",
    "Això és una cançó molt bonica: què passa, Núria? Un país il·lusionat.",
    "A naïve café guest paid £5 for jalapeño soup. It’s 5 °C.",
    "It costs £5",
)
LANGUAGES = [
    *(("cp1252", text) for text in WESTERN),
    *(("mac_roman", text) for text in WESTERN[:2]),
    ("cp1250", "Ile jabłek ma Łukasz? Wziął pięć jabłek i oddał trzy siostrze, więc ma ich dwa."),
    ("iso8859_2", "Ile jabłek ma Łukasz? Wziął pięć jabłek i oddał trzy siostrze, więc ma ich dwa."),
    ("cp1250", "Kolik jablek má Jiří? Koupil pět jablek a tři dal sestře. Příliš žluťoučký kůň."),
    ("cp1250", "Hány almája van Jánosnak? Öt almát vett, így kettő maradt. Tűző."),
    ("cp1254", "Ayşe'nin kaç elması var? Beş elma aldı, üçünü kardeşine verdi. Ağaçta İki elma."),
    ("cp1251", "Сколько яблок у Ивана? Он купил пять яблок и отдал три сестре, у него осталось два."),
    ("koi8_r", "Сколько яблок у Ивана? Он купил пять яблок и отдал три сестре, у него осталось два."),
    ("cp1253", "Πόσα μήλα έχει ο Γιάννης; Αγόρασε πέντε μήλα και έδωσε τρία στην αδελφή του."),
    ("cp1255", "כמה תפוחים יש לדני? הוא קנה חמישה תפוחים ונתן שלושה לאחותו."),
    ("cp932", "りんごはいくつありますか。五つ買って、三つを妹にあげました。残りは二つです。"),
    ("euc_jp", "りんごはいくつありますか。五つ買って、三つを妹にあげました。残りは二つです。"),
    ("gb18030", "小明有几个苹果？他买了五个苹果，给了妹妹三个，还剩两个。"),
    ("euc_kr", "사과가 몇 개 있습니까? 다섯 개를 사서 여동생에게 세 개를 주었습니다."),
]


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl", "a.txt"])
@pytest.mark.parametrize(("coding", "language"), LANGUAGES)
def test_a_legacy_encoding_is_detected_and_noted(tmp_path: Path, name: str, coding: str, language: str) -> None:
    texts = [f"{language} {n}" for n in range(3)]
    content = {
        "a.csv": "text\n" + "\n".join(f'"{text}"' for text in texts),
        "a.jsonl": "\n".join(json.dumps({"text": text}, ensure_ascii=False) for text in texts),
        "a.txt": "\n".join(texts),
    }[name]
    found = source(write(tmp_path, name, content.encode(coding)), text_rows="lines")
    assert {document.text for document in (*found.train, *found.heldout)} == set(texts)
    (note,) = found.notes
    assert note.startswith(f"{name} is not UTF-8: it is read as ")


def test_an_encoding_may_be_chosen(tmp_path: Path) -> None:
    path = write(tmp_path, "a.txt", "elması\nkalmış\n".encode("cp1254"))
    found = source(path, text_rows="lines", text_encoding="cp1254")
    assert {document.text for document in (*found.train, *found.heldout)} == {"elması", "kalmış"}
    assert found.notes == []
    with pytest.raises(
        DataError, match=r"the row is not UTF-8 text \(save the file as UTF-8, or set its text encoding\)"
    ):
        source(path, text_encoding="ascii")
    with pytest.raises(DataError, match=r"^a\.txt is damaged: it is not complete UTF-16 text\.$"):
        source(write(tmp_path, "a.txt", b"odd"), text_encoding="utf-16")


@pytest.mark.parametrize("coding", ["utf-8", "utf-16", "utf-16-le"])
def test_a_byte_order_mark_is_no_letter_whatever_encoding_is_chosen(tmp_path: Path, coding: str) -> None:
    rows = "text\n" + "".join(f"grün {n}\n" for n in range(9))
    path = write(tmp_path, "a.csv", rows.encode("utf-8-sig" if coding == "utf-8" else "utf-16"))
    assert len(source(path, text_encoding=coding).train) == 8


def test_one_byte_that_is_no_letter_makes_one_bad_row(tmp_path: Path) -> None:
    rows = "".join(f"größer {n}\n" for n in range(200)).encode("cp1252")
    found = source(write(tmp_path, "a.csv", b"text\n" + rows + b"\x81\n"), text_encoding="cp1252")
    assert found.skipped == {NOT_UTF8: 1}
