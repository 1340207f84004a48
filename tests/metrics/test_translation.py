from __future__ import annotations

import pytest
import sacrebleu

from unrolled.metrics.translation import score, signature

REFERENCES = ["The cat sat on the mat.", "¿Dónde está la casa roja?", "No lo sé, amigo mío."]
TRANSLATIONS = ["The cat sat on a mat.", "¿Dónde está la roja casa?", "No lo sé amigo mío."]


def test_scores_are_sacrebleus():
    scores = score(TRANSLATIONS, REFERENCES)
    assert list(scores) == ["bleu", "bleu_lower", "chrf"]
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
    assert score(REFERENCES, REFERENCES) == {"bleu": 100.0, "bleu_lower": 100.0, "chrf": 100.0}
    assert score(["", "", ""], REFERENCES) == {"bleu": 0.0, "bleu_lower": 0.0, "chrf": 0.0}


def test_any_iterable_of_rows_is_scored_twice_over():
    assert score(tuple(TRANSLATIONS), tuple(REFERENCES)) == score(TRANSLATIONS, REFERENCES)


def test_signatures_are_sacrebleus():
    lines = signature()
    version = sacrebleu.__version__
    assert lines == {
        "bleu": f"nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|version:{version}",
        "bleu_lower": f"nrefs:1|case:lc|eff:no|tok:13a|smooth:exp|version:{version}",
        "chrf": f"nrefs:1|case:mixed|eff:yes|nc:6|nw:0|space:no|version:{version}",
    }
