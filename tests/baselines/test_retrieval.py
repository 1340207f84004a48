import pytest

from unrolled.baselines.retrieval import RetrievalBaseline
from unrolled.errors import DataError
from unrolled.samples import generate

PAIRS = [
    ("The girl eats the apple.", "La niña come la manzana."),
    ("The boy eats the bread.", "El niño come el pan."),
    ("Where is the hotel?", "¿Dónde está el hotel?"),
]


def test_a_training_source_retrieves_its_own_translation():
    baseline = RetrievalBaseline(PAIRS)
    assert baseline.translate([source for source, _ in PAIRS]) == [target for _, target in PAIRS]


def test_the_sentence_with_more_rare_words_in_common_is_nearer():
    baseline = RetrievalBaseline(PAIRS)
    assert baseline.translate(["The boy buys the bread."]) == ["El niño come el pan."]
    assert baseline.translate(["Where is the girl?"]) == ["¿Dónde está el hotel?"]


def test_ties_and_unknown_words_go_to_the_first_pair():
    baseline = RetrievalBaseline([("a b", "first"), ("a b", "second"), ("c", "third")])
    assert baseline.translate(["a", "xyz", ""]) == ["first"] * 3


def test_one_pair_and_no_query_work():
    baseline = RetrievalBaseline(PAIRS[:1])
    assert baseline.translate([]) == []
    assert baseline.translate(["The girl."]) == ["La niña come la manzana."]


def test_no_pairs_are_refused_with_advice():
    with pytest.raises(
        DataError,
        match=r"^retrieval needs at least one sentence pair; pass training pairs$",
    ):
        RetrievalBaseline([])


def test_retrieval_does_not_translate_unseen_combinations():
    sacrebleu = pytest.importorskip("sacrebleu")
    book = generate(n_train=1_500, n_valid=0, n_test=200)
    baseline = RetrievalBaseline((phrase.source, phrase.target) for phrase in book.train)
    found = baseline.translate([phrase.source for phrase in book.test])
    score = sacrebleu.corpus_bleu(found, [[phrase.target for phrase in book.test]]).score
    assert 1 < score < 50
