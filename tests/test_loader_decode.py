"""Detecting encodings and cleaning text."""

import codecs
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragctl.errors import DocumentError
from ragctl.loaders import LoadOptions
from ragctl.loaders.decode import clean, decode
from tests.loading import failure, load_one

LEGACY = [
    ("cp1251", "Договор вступает в силу с момента подписания обеими сторонами."),
    ("cp1251", "ПРИКАЗ О НАЗНАЧЕНИИ ОТВЕТСТВЕННОГО ЗА ПОЖАРНУЮ БЕЗОПАСНОСТЬ"),
    ("cp1251", "Отчёт за 2023 год: выручка 1 234,5 млн руб. (рост 12 %), см. Report.xlsx"),
    ("cp1251", "def total(rows):  # считает сумму по всем строкам таблицы"),
    ("koi8_r", "Договор вступает в силу с момента подписания обеими сторонами."),
    ("cp866", "Договор вступает в силу с момента подписания обеими сторонами."),
    ("gb18030", "本公司员工每年享有十五天带薪年假，需提前两周申请。请联系人力资源部门办理手续。"),
    (
        "gb18030",
        "服务器维护窗口为每周日凌晨两点至四点，期间服务不可用，请提前保存工作内容并退出系统。",
    ),
    ("big5", "本公司員工每年享有十五天帶薪年假，需提前兩週申請。請聯繫人力資源部門辦理手續。"),
    ("shift_jis", "サーバーのメンテナンスは毎週日曜日の午前二時から四時まで行われます。"),
    ("euc_kr", "서버 점검은 매주 일요일 새벽 두 시부터 네 시까지 진행됩니다."),
    ("cp1252", "Die Kündigungsfrist beträgt für beide Seiten drei Monate zum Quartalsende."),
    ("cp1252", "Größe und Gewicht der Prüfkörper müssen überprüft werden – „sofort“."),
    ("cp1252", "Le café est fermé à midi, réouverture l'après-midi à côté de l'hôtel."),
    ("cp1252", "The café costs 5 dollars, and the rest of this sentence is English."),
    ("cp1253", "Η περίοδος προειδοποίησης είναι τρεις μήνες και για τα δύο μέρη της σύμβασης."),
    ("cp1255", "תקופת ההודעה המוקדמת היא שלושה חודשים לשני הצדדים בחוזה זה."),
    ("cp1250", "Zażółć gęślą jaźń, pracownik składa wniosek o urlop wypoczynkowy."),
]


@pytest.mark.parametrize(("encoding", "text"), LEGACY)
def test_legacy_encodings_are_detected(encoding: str, text: str) -> None:
    assert decode(text.encode(encoding)) == (text, ())


@pytest.mark.parametrize(("encoding", "text"), LEGACY)
def test_legacy_encodings_are_detected_below_plain_english(encoding: str, text: str) -> None:
    data = b"A line of plain English, as in any licence.\n" * 20_000 + text.encode(encoding)
    assert decode(data)[0].endswith(f"\n{text}")


@pytest.mark.parametrize("size", [32_766, 32_769, 40_000, 40_003])
@pytest.mark.parametrize(("encoding", "text"), LEGACY[2:9])
def test_a_long_line_is_not_sampled_within_a_character(encoding: str, text: str, size: int) -> None:
    long = "x" * (size % 4) + (text * (size // len(text) + 1))[:size]
    assert decode(long.encode(encoding))[0] == long


@pytest.mark.parametrize(
    ("mark", "encoding"),
    [
        (codecs.BOM_UTF8, "utf-8"),
        (codecs.BOM_UTF16_LE, "utf-16-le"),
        (codecs.BOM_UTF16_BE, "utf-16-be"),
        (codecs.BOM_UTF32_LE, "utf-32-le"),
        (codecs.BOM_UTF32_BE, "utf-32-be"),
    ],
)
def test_a_byte_order_mark_decides_the_encoding(mark: bytes, encoding: str) -> None:
    text = "Größe, Договор, 年假 🎉\n"
    assert decode(mark + text.encode(encoding)) == (text, ())


def test_utf16_without_a_byte_order_mark_is_detected() -> None:
    text = "Plain letters, saved by an old editor.\r\n" * 3
    assert decode(text.encode("utf-16-le"))[0] == text.replace("\r\n", "\n")
    assert decode(text.encode("utf-16-be"))[0] == text.replace("\r\n", "\n")


def test_utf8_with_one_broken_byte_is_still_utf8() -> None:
    text = "Договор вступает в силу с момента подписания."
    data = text.encode()
    decoded, warnings = decode(data[:-3] + b"\xd0" + data[-3:])
    assert decoded.startswith("Договор вступает в силу с момента")
    assert warnings == ("1 character is not valid utf-8",)


@pytest.mark.parametrize(
    "data",
    [
        b"\x7fELF\x02\x01\x01" + bytes(100),
        b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR" + bytes(range(256)),
        bytes(1000),
        b"\xff\xfe" + bytes(range(128, 256)) * 9 + b"\x00\xd8" * 99,
        bytes(range(1, 32)) * 9,
    ],
)
def test_binary_files_are_failures(data: bytes) -> None:
    with pytest.raises(DocumentError, match="looks binary"):
        decode(data)


def test_a_given_encoding_is_used_or_the_file_fails(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes("Zürich".encode("cp437"))
    assert load_one(path, LoadOptions(encoding="cp437")).text == "Zürich"
    assert failure(path, LoadOptions(encoding="ascii")).startswith("a.txt: is not in ascii: ")
    assert failure(path, LoadOptions(encoding="no-such")).startswith("a.txt: is not in no-such")


@pytest.mark.parametrize(
    ("raw", "plain"),
    [
        ("a\r\nb\rc\n\r\nd", "a\nb\nc\n\nd"),
        ("a\x00b\x07c\td", "abc\td"),
        ("page\x0cnext\x0bline\x85end é", "page\nnext\nline\nend é"),
        ("\x1b[1;31mred\x1b[0m", "red"),
        ("\x1b]0;title\x07red \x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\", "red link"),
        ("\x1b]0;no end", "]0;no end"),
        ("lone \ud800 surrogate", "lone \ufffd surrogate"),
        ("\ufeffmark", "mark"),
    ],
)
def test_clean_removes_control_characters_and_normalises_lines(raw: str, plain: str) -> None:
    assert clean(raw) == plain


@given(st.text(st.characters(codec=None)))
def test_clean_text_is_valid_and_cleaning_is_idempotent(raw: str) -> None:
    text = clean(raw)
    text.encode()
    assert clean(text) == text
    assert not [c for c in text if (c < " " and c not in "\n\t") or "\x7f" <= c <= "\x9f"]


@given(st.binary(max_size=300))
def test_any_bytes_are_decoded_or_a_document_error(data: bytes) -> None:
    try:
        text, _ = decode(data)
    except DocumentError:
        return
    text.encode()
