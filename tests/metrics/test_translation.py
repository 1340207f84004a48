from __future__ import annotations

import pytest
import sacrebleu

from unrolled.errors import UnavailableError
from unrolled.metrics.translation import score, signature, tokenizer_for
from unrolled.tasks import TASKS

REFERENCES = ["The cat sat on the mat.", "¿Dónde está la casa roja?", "No lo sé, amigo mío."]
TRANSLATIONS = ["The cat sat on a mat.", "¿Dónde está la roja casa?", "No lo sé amigo mío."]


def test_scores_are_sacrebleus():
    scores = score(TRANSLATIONS, REFERENCES)
    assert list(scores) == ["bleu", "bleu_lower", "chrf", "exact_match"]
    assert scores["bleu"] == pytest.approx(
        sacrebleu.corpus_bleu(TRANSLATIONS, [REFERENCES]).score, abs=1e-4
    )
    assert scores["chrf"] == pytest.approx(
        sacrebleu.corpus_chrf(TRANSLATIONS, [REFERENCES]).score, abs=1e-4
    )
    assert 0 < scores["bleu"] < 100


def test_bleu_is_corpus_level_and_equals_the_definition():
    # "a b c d e" against "a b c d f": precisions 4/5, 3/4, 2/3, 1/2 and no brevity penalty.
    geometric_mean = (4 / 5 * 3 / 4 * 2 / 3 * 1 / 2) ** 0.25
    assert score(["a b c d e"], ["a b c d f"])["bleu"] == pytest.approx(
        100 * geometric_mean, abs=1e-3
    )


def test_case_matters_and_order_of_rows_does_not():
    assert score(["the cat sat on the mat"], ["The Cat Sat On The Mat"])["bleu"] < 50
    assert score(["the cat sat on the mat"], ["The Cat Sat On The Mat"])["bleu_lower"] == 100
    assert score(TRANSLATIONS[::-1], REFERENCES[::-1]) == score(TRANSLATIONS, REFERENCES)


def test_the_same_text_is_100_and_nothing_is_0():
    assert score(REFERENCES, REFERENCES) == {
        "bleu": 100.0,
        "bleu_lower": 100.0,
        "chrf": 100.0,
        "exact_match": 100.0,
    }
    assert score(["", "", ""], REFERENCES) == {
        "bleu": 0.0,
        "bleu_lower": 0.0,
        "chrf": 0.0,
        "exact_match": 0.0,
    }


def test_any_iterable_of_rows_is_scored_twice_over():
    assert score(tuple(TRANSLATIONS), tuple(REFERENCES)) == score(TRANSLATIONS, REFERENCES)


def test_signatures_are_sacrebleus():
    lines = signature()
    version = sacrebleu.__version__
    assert lines == {
        "bleu": f"nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|version:{version}",
        "bleu_lower": f"nrefs:1|case:lc|eff:no|tok:13a|smooth:exp|version:{version}",
        "chrf": f"nrefs:1|case:mixed|eff:yes|nc:6|nw:0|space:no|version:{version}",
        "exact_match": "equal / all|case:mixed|space:runs|form:NFC",
    }


# Languages without blanks between words

CHINESE = ["我今天早上在公园里看见一只很大的白狗", "这家餐馆的菜很好吃。", "他昨天没有来上班"]
JAPANESE = ["今日は公園で大きな白い犬を見ました。", "この店の料理はとてもおいしいです。"]
THAI = ["วันนี้ฉันเห็นสุนัขสีขาวตัวใหญ่ในสวนสาธารณะ", "อาหารร้านนี้อร่อยมาก"]
KHMER = ["ថ្ងៃនេះខ្ញុំបានឃើញឆ្កែសធំមួយ"]
LAO = ["ມື້ນີ້ຂ້ອຍເຫັນໝາຂາວໂຕໃຫຍ່"]


def test_the_tokenizer_of_bleu_is_chosen_by_the_references():
    assert tokenizer_for(CHINESE) == "zh"
    for references in (JAPANESE, THAI, KHMER, LAO):  # MeCab is not installed for tests
        assert tokenizer_for(references) == "char"
    for references in (
        REFERENCES,
        ["Съешь ещё этих мягких булок"],
        ["그는 어제 공원에서 큰 흰 개를 보았다"],
        ["ذهبت إلى السوق أمس"],
        ["मैंने आज पार्क में एक कुत्ता देखा"],
        ["我 今天 在 公园 里 看见 一 只 很 大 的 白 狗"],
        ["one row has 狗", "and the others none"],
        [""],
        [],
    ):
        assert tokenizer_for(references) == "13a"
    assert tokenizer_for([*CHINESE, "我用Python写了一个程序", "OK"]) == "zh"


def test_chinese_is_scored_with_sacrebleus_tokenizer_for_it():
    found = [line.replace("白狗", "黑狗") for line in CHINESE]
    expected = sacrebleu.corpus_bleu(found, [CHINESE], tokenize="zh").score
    assert expected > 80
    assert score(found, CHINESE)["bleu"] == pytest.approx(expected, abs=1e-4)
    assert score(found, CHINESE, tokenize="char")["bleu"] == pytest.approx(
        sacrebleu.corpus_bleu(found, [CHINESE], tokenize="char").score, abs=1e-4
    )
    with_13a = score(found[:1], CHINESE[:1], tokenize="13a")
    assert with_13a["bleu"] == 0
    assert with_13a["chrf"] == score(found[:1], CHINESE[:1])["chrf"]


def test_thai_and_japanese_are_scored_by_characters():
    for references in (THAI, JAPANESE):
        found = [line.replace(line[3], line[4]) for line in references]
        expected = sacrebleu.corpus_bleu(found, [references], tokenize="char").score
        assert 50 < score(found, references)["bleu"] == pytest.approx(expected, abs=1e-4)


def test_text_with_blanks_is_scored_as_before():
    assert score(TRANSLATIONS, REFERENCES) == score(TRANSLATIONS, REFERENCES, tokenize="13a")


def test_the_signature_names_the_tokenizer():
    assert "tok:zh" in signature("zh")["bleu"]
    assert "tok:char" in signature("char")["bleu_lower"]
    assert "tok:" not in signature("zh")["chrf"]


def test_a_tokenizer_that_is_not_installed_says_how_to_install_it():
    with pytest.raises(UnavailableError, match=r"pip install 'sacrebleu\[ja\]'"):
        score(["犬"], ["犬"], tokenize="ja-mecab")


def test_a_task_chooses_once_for_all_references():
    task, notes = TASKS["translate"].for_references(TASKS["translate"], CHINESE, "auto")
    assert "sacrebleu's tokenizer 'zh'" in notes[0]
    assert "tok:zh" in task.signature()["bleu"]
    assert task.score(["a small dog"], ["a small dog"])["bleu"] == pytest.approx(
        score(["a small dog"], ["a small dog"], tokenize="zh")["bleu"]
    )
    task, notes = TASKS["translate"].for_references(TASKS["translate"], REFERENCES, "auto")
    assert notes == ()
    assert task.signature() == signature()


def test_exact_match_ignores_normal_forms_and_runs_of_blanks_only():
    references = ["caf\u00e9  au lait", "SELECT a FROM b", "Yes."]
    assert score(["cafe\u0301 au lait ", "SELECT a FROM b", "No."], references)[
        "exact_match"
    ] == pytest.approx(100 * 2 / 3, abs=1e-3)
    assert score(["select a from b"], ["SELECT a FROM b"])["exact_match"] == 0
    assert score(["a,b"], ["a, b"])["exact_match"] == 0
