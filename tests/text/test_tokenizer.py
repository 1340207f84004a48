"""Text is restored exactly, files are reproducible, and no text can spell a special token."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
import unicodedata
from pathlib import Path
from typing import Any

import pytest
import tokenizers

from unrolled.errors import ConfigError, RunError
from unrolled.text.config import BOS_ID, EOS_ID, PAD_ID, SPECIALS, UNK_ID, TextConfig
from unrolled.text.join_words import join_words
from unrolled.text.readers import read_rows
from unrolled.text.tokenizer import Tokenizer

KINDS = ("char", "word", "bpe")

SENTENCES = (
    "¿Dónde está?",
    "¡No, por favor!",
    "¿¡Qué!?",
    'He said, "Don\'t go."',
    '"¿Qué es esto?", preguntó Tom.',
    "(It was late.)",
    "It costs $25.50 (about 25.5 euros).",
    "This costs €30, or £25.",
    "The U.S. and EE.UU. agree.",
    "I'll be there at 6:30 p.m.",
    "The boys' room is Tom's.",
    "'Yes,' she said.",
    "It's 3/4 full; 50% off!",
    "A well-known o'clock thing...",
    "I can't, won't, shouldn't've.",
    "I know C++ and C#.",
    "“Hello,” he said: ‘well’.",
    "«Hola», dijo.",
    "Mr. Smith's e-mail is #1 [today].",
    "DON'T SHOUT, I'M HERE.",
    "They’re Tom’s, aren’t they?",
    "10.000 euros, 1,000.5 dollars.",
    "Wait... what?!",
    "and/or",
    "C'est l'été.",
    "snake_case 3rd 25th",
    "x",
    "",
)

AWKWARD = (
    " ",
    "  a",
    "a  b ",
    "\t\n x",
    "▁_Ġ",
    "日本語 🎉👩\u200d👧",
    "</s>",
    "<pad><unk>",
    "\x01",
    "\u2028",
    "cafe\u0301",
    "\u0130I\u0307",
)


@pytest.fixture(scope="module")
def trained() -> dict[str, Tokenizer]:
    sizes = {"char": 500, "word": 500, "bpe": 400}
    return {
        kind: Tokenizer.train(SENTENCES, TextConfig(kind=kind, vocab_size=sizes[kind]))
        for kind in KINDS
    }


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("sentence", SENTENCES)
def test_ordinary_sentences_are_restored_exactly(
    trained: dict[str, Tokenizer], kind: str, sentence: str
) -> None:
    assert trained[kind].decode(trained[kind].encode(sentence)) == sentence


@pytest.mark.parametrize("text", AWKWARD)
def test_byte_pairs_restore_any_text_without_unknowns(
    trained: dict[str, Tokenizer], text: str
) -> None:
    ids = trained["bpe"].encode(text)
    assert trained["bpe"].decode(ids) == unicodedata.normalize("NFC", text)
    assert UNK_ID not in ids


def test_byte_pairs_restore_random_unicode(trained: dict[str, Tokenizer]) -> None:
    draw = random.Random(7)
    for _ in range(300):
        codes = [draw.choice((draw.randrange(128), draw.randrange(0xD800))) for _ in range(13)]
        text = "".join(map(chr, codes))
        decoded = trained["bpe"].decode(trained["bpe"].encode(text))
        assert decoded == unicodedata.normalize("NFC", text)


def test_characters_restore_text_seen_in_training() -> None:
    texts = [unicodedata.normalize("NFC", text) for text in AWKWARD]
    characters = Tokenizer.train(texts, TextConfig(kind="char"))
    assert [characters.decode(characters.encode(text)) for text in texts] == texts


def test_a_composed_and_a_decomposed_letter_are_one_token(trained: dict[str, Tokenizer]) -> None:
    for tokenizer in trained.values():
        assert tokenizer.encode("esta\u0301") == tokenizer.encode("está")


@pytest.mark.parametrize(
    ("sentence", "pieces"),
    [
        ("I can't say.", ["I", "ca", "n't", "say", "."]),
        ("Tom's 25.5 U.S. o'clock", ["Tom", "'s", "25.5", "U.S.", "o'clock"]),
        ("¿Qué?", ["¿", "Qué", "?"]),
        ("well-known (yes)", ["well-known", "(", "yes", ")"]),
    ],
)
def test_words_are_plain_words_and_marks(sentence: str, pieces: list[str]) -> None:
    words = Tokenizer.train([sentence], TextConfig(kind="word"))
    assert words.pieces(words.encode(sentence)) == pieces


def test_spacing_follows_punctuation_marks() -> None:
    assert join_words(["a", "'", "b", "c", "'", "d"]) == "a 'b c' d"
    assert join_words(["200", "$", "a", "mes"]) == "200 $ a mes"
    assert join_words([".", '"']) == '. "'
    assert join_words([]) == ""


@pytest.mark.parametrize("kind", KINDS)
def test_user_text_cannot_spell_a_special_token(
    trained: dict[str, Tokenizer], kind: str, tmp_path: Path
) -> None:
    trained[kind].save(tmp_path / "tokenizer.json")
    for tokenizer in (trained[kind], Tokenizer.load(tmp_path / "tokenizer.json")):
        for text in (*SPECIALS, "a</s>b", " <pad> <s>"):
            ids = tokenizer.encode(text)
            assert not {PAD_ID, BOS_ID, EOS_ID} & set(ids)
            assert len(ids) > 2


@pytest.mark.parametrize("kind", KINDS)
def test_special_tokens_in_the_training_text_stay_ordinary(kind: str) -> None:
    texts = [*SPECIALS, "</s></s>", "x <s> y </s>"] * 50
    tokenizer = Tokenizer.train(texts, TextConfig(kind=kind, vocab_size=400))
    for text in texts[:6]:
        ids = tokenizer.encode(text)
        assert not set(ids) & set(range(4))
        assert tokenizer.decode(ids).replace(" ", "") == text.replace(" ", "")


@pytest.mark.parametrize("kind", KINDS)
def test_padding_begin_and_end_are_dropped_and_unknown_is_shown(
    trained: dict[str, Tokenizer], kind: str
) -> None:
    tokenizer = trained[kind]
    ids = tokenizer.encode("x")
    assert tokenizer.decode([BOS_ID, *ids, EOS_ID, PAD_ID, PAD_ID]) == "x"
    assert tokenizer.decode([UNK_ID]) == "<unk>"
    assert tokenizer.pieces([BOS_ID, EOS_ID]) == ["<s>", "</s>"]
    assert tokenizer.decode([]) == ""


def test_pieces_of_byte_pairs_are_readable() -> None:
    bpe = Tokenizer.train(SENTENCES * 2, TextConfig(vocab_size=500))
    assert "".join(bpe.pieces(bpe.encode("¿Dónde está?"))) == " ¿Dónde está?"
    assert bpe.pieces(bpe.encode("語"))[1:] == ["<E8>", "<AA>", "<9E>"]
    assert len(bpe.pieces(bpe.encode("日本"))) == len(bpe.encode("日本"))


@pytest.mark.parametrize("kind", KINDS)
def test_a_saved_tokenizer_is_the_same_tokenizer(
    trained: dict[str, Tokenizer], kind: str, tmp_path: Path
) -> None:
    tokenizer = trained[kind]
    tokenizer.save(tmp_path / "tokenizer.json")
    loaded = Tokenizer.load(tmp_path / "tokenizer.json")
    assert loaded.kind == kind
    assert len(loaded) == len(tokenizer)
    assert loaded.encode_batch(SENTENCES) == tokenizer.encode_batch(SENTENCES)
    ids = tokenizer.encode(SENTENCES[4])
    assert loaded.decode(ids) == tokenizer.decode(ids)
    loaded.save(tmp_path / "again.json")
    assert (tmp_path / "again.json").read_bytes() == (tmp_path / "tokenizer.json").read_bytes()


_TRAIN_IN_A_PROCESS = """
import random, sys
from unrolled.text.config import TextConfig
from unrolled.text.tokenizer import Tokenizer
order, folder, *kinds = sys.argv[1:]
# Every word and pair is tied with many others.
texts = [a + b + " " + b + a + "." for a in "abcdefghi" for b in "pqrstuvwxyz"] * 2
random.Random(order).shuffle(texts)
for kind in kinds:
    config = TextConfig(kind=kind, vocab_size=330 if kind == "bpe" else 19)
    Tokenizer.train(texts, config).save(f"{folder}/{kind}-{order}.json")
"""


def test_ties_do_not_depend_on_threads_hashes_or_order(tmp_path: Path) -> None:
    for run, threads in enumerate(("1", "2", "5")):
        environment = os.environ | {
            "RAYON_NUM_THREADS": threads,
            "PYTHONHASHSEED": str(run),
            "PYTHONPATH": os.pathsep.join(sys.path),
        }
        command = [sys.executable, "-c", _TRAIN_IN_A_PROCESS, str(run), str(tmp_path), *KINDS]
        subprocess.run(command, env=environment, check=True)
    for kind in KINDS:
        paths = [tmp_path / f"{kind}-{run}.json" for run in range(3)]
        first, *others = [path.read_bytes() for path in paths]
        assert others == [first, first], kind
        assert len(Tokenizer.load(paths[0])) == (330 if kind == "bpe" else 19)


def test_rare_words_are_unknown_and_frequent_words_are_not() -> None:
    texts = ["b b b a a c c d"]
    seldom = Tokenizer.train(texts, TextConfig(kind="word", min_count=2))
    assert seldom.pieces(range(len(seldom))) == [*SPECIALS, "b", "a", "c"]
    few = Tokenizer.train(texts, TextConfig(kind="word", vocab_size=6))
    assert few.pieces(few.encode("a b c d")) == ["a", "b", "<unk>", "<unk>"]


def test_lower_case_folds_upper_case() -> None:
    for kind in KINDS:
        tokenizer = Tokenizer.train(["ñu ÑU"], TextConfig(kind=kind, lowercase=True))
        assert tokenizer.decode(tokenizer.encode("ÑU")) == "ñu"


def test_no_text_gives_a_vocabulary_of_special_tokens_only() -> None:
    assert len(Tokenizer.train([], TextConfig(kind="word"))) == 4
    assert len(Tokenizer.train([], TextConfig(kind="bpe"))) == 4 + 256


def test_half_a_surrogate_pair_does_not_stop_encoding(trained: dict[str, Tokenizer]) -> None:
    assert trained["bpe"].decode(trained["bpe"].encode("a \ud800 b")) == "a ? b"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "text", [" ".join(["palabra"] * 100_000), "a" * 300_007, "'" * 50_021, "n't" * 50_021]
)
def test_a_hundred_thousand_words_on_a_line_take_seconds_at_most(
    trained: dict[str, Tokenizer], kind: str, text: str
) -> None:
    started = time.process_time()
    ids = trained[kind].encode(text)
    trained[kind].decode(ids)
    assert time.process_time() - started < 10
    if kind == "bpe":
        assert trained[kind].decode(ids) == text


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"kind": "words"},
            "text.kind must be one of char, word, space, bpe, code, got 'words'",
        ),
        (
            {"vocab_size": 100},
            "text.vocab_size must be at least 260 for bpe (4 special tokens and the 256 bytes), or -1, "
            "got 100",
        ),
        (
            {"kind": "char", "vocab_size": 4},
            "text.vocab_size must be at least 5 for char, or -1, got 4",
        ),
        ({"min_count": 0}, "text.min_count must be at least 1, got 0"),
    ],
)
def test_invalid_values_are_named(values: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        TextConfig(**values)  # type: ignore[arg-type]
    assert str(caught.value) == message


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    with pytest.raises(RunError) as caught:
        Tokenizer.load(path)
    assert str(caught.value) == f"{path}: no such file; a run folder needs its tokenizer file"
    path.write_bytes(b"\xff\xff")
    with pytest.raises(RunError) as caught:
        Tokenizer.load(path)
    assert (
        str(caught.value)
        == f"{path}: not UTF-8 text (byte 0); a run folder needs its tokenizer file"
    )


@pytest.mark.parametrize("kind", KINDS)
def test_a_truncated_file_is_refused_wherever_it_was_cut(
    trained: dict[str, Tokenizer], kind: str, tmp_path: Path
) -> None:
    path = tmp_path / "tokenizer.json"
    trained[kind].save(path)
    whole = path.read_text(encoding="utf-8")
    for length in range(0, len(whole) - 1, max(1, len(whole) // 61)):
        path.write_text(whole[:length], encoding="utf-8")
        with pytest.raises(RunError) as caught:
            Tokenizer.load(path)
        assert str(caught.value).startswith(f"{path}: damaged tokenizer file (")
        assert str(caught.value).endswith("); copy the run folder again or retrain")


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_with_a_vocabulary_that_was_changed_is_refused(
    trained: dict[str, Tokenizer], kind: str, tmp_path: Path
) -> None:
    path = tmp_path / "tokenizer.json"
    trained[kind].save(path)
    stored = json.loads(path.read_text(encoding="utf-8"))
    del stored["added_tokens"][3], stored["model"]["vocab"]["</s>"]
    path.write_text(json.dumps(stored), encoding="utf-8")
    with pytest.raises(RunError) as caught:
        Tokenizer.load(path)
    assert str(caught.value) == (
        f"{path}: not a tokenizer of this toolkit; ids 0 to 3 must be <pad> <unk> <s> </s>"
    )


_REPLACE = {"type": "Replace", "pattern": {"String": "x"}, "content": "xx"}
_NFC = {"type": "NFC"}
_SPLIT = {"type": "Split", "pattern": {"Regex": r"(?:a+)+$|b"}, "behavior": "Isolated"}
_PADDING = {
    "strategy": {"Fixed": 2_000_000_000},
    "direction": "Right",
    "pad_to_multiple_of": None,
    "pad_id": 0,
    "pad_type_id": 0,
    "pad_token": "<pad>",
}
_TRUNCATION = {"direction": "Right", "max_length": 1, "strategy": "LongestFirst", "stride": 0}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("part", "value"),
    [
        ("decoder", {"type": "Metaspace", "replacement": "_", "prepend_scheme": "never"}),
        ("normalizer", {"type": "Sequence", "normalizers": [_NFC, *[_REPLACE] * 36]}),
        ("normalizer", {"type": "Sequence", "normalizers": [_NFC, _NFC]}),
        ("normalizer", {"type": "Precompiled", "precompiled_charsmap": "AAAA/w=="}),
        ("normalizer", None),
        ("pre_tokenizer", _SPLIT),
        ("pre_tokenizer", {"type": "Digits", "individual_digits": True}),
        ("padding", _PADDING),
        ("truncation", _TRUNCATION),
        ("post_processor", {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True}),
        ("version", "2.0"),
        ("added_tokens", []),
        ("surplus", {}),
    ],
    ids=lambda each: each if isinstance(each, str) else "",
)
def test_a_pipeline_that_we_do_not_write_is_refused(
    trained: dict[str, Tokenizer], kind: str, part: str, value: object, tmp_path: Path
) -> None:
    path = tmp_path / "tokenizer.json"
    trained[kind].save(path)
    stored = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(stored | {part: value}), encoding="utf-8")
    with pytest.raises(RunError) as caught:
        Tokenizer.load(path)
    assert str(caught.value) == (
        f"{path}: not a tokenizer of this toolkit; its '{part}' is not one that this toolkit writes"
    )


@pytest.mark.parametrize(
    ("kind", "change", "problem"),
    [
        ("bpe", {"dropout": 0.5}, "its 'model.dropout' is not one that this toolkit writes"),
        ("bpe", {"merges": [["a", "b", "c"]]}, "a merge is not a pair of tokens"),
        ("bpe", {"merges": None}, "it has no merges, or more merges than tokens"),
        (
            "bpe",
            {"type": "Unigram"},
            "its model is neither char, word, space, code nor byte-level bpe",
        ),
        (
            "word",
            {"unk_token": "</s>"},
            "its 'model.unk_token' is not one that this toolkit writes",
        ),
        ("word", {"merges": []}, "merges belong to byte pairs"),
        ("word", {"vocab": []}, "its model has no vocabulary"),
        ("word", {"+": {"a": 4}}, "ids of its vocabulary are missing or duplicated"),
        ("word", {"+": {"a": True}}, "ids of its vocabulary are missing or duplicated"),
        ("word", {"+": {"a": 10**9}}, "ids of its vocabulary are missing or duplicated"),
        ("word", {"+": {"": -1}}, "ids of its vocabulary are missing or duplicated"),
        ("char", {"+": {"ab": None}}, "a token is not one character"),
        ("bpe", {"+": {"\u2603": None}}, "a token is not made of bytes"),
        ("bpe", {"-": "a"}, "a byte has no token"),
    ],
)
def test_a_vocabulary_that_we_do_not_write_is_refused(
    trained: dict[str, Tokenizer],
    kind: str,
    change: dict[str, Any],
    problem: str,
    tmp_path: Path,
) -> None:
    path = tmp_path / "tokenizer.json"
    trained[kind].save(path)
    stored = json.loads(path.read_text(encoding="utf-8"))
    model = stored["model"]
    for token, place in change.pop("+", {}).items():
        model["vocab"][token] = len(model["vocab"]) if place is None else place
    if "-" in change:
        place = model["vocab"].pop(change.pop("-"))
        model["vocab"]["aa"] = place
    path.write_text(json.dumps(stored | {"model": model | change}), encoding="utf-8")
    with pytest.raises(RunError) as caught:
        Tokenizer.load(path)
    assert str(caught.value) == f"{path}: not a tokenizer of this toolkit; {problem}"


def test_library_panics_become_error_messages(
    trained: dict[str, Tokenizer], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "tokenizer.json"
    trained["word"].save(path)

    class PanicException(BaseException):
        pass

    def panic(text: str) -> None:
        raise PanicException("index out of bounds")

    monkeypatch.setattr(tokenizers.Tokenizer, "from_str", panic)
    with pytest.raises(
        RunError, match=r"damaged tokenizer file \(index out of bounds\); copy the run"
    ):
        Tokenizer.load(path)


@pytest.mark.parametrize("kind", KINDS)
def test_a_flipped_byte_never_escapes_as_another_error(
    trained: dict[str, Tokenizer], kind: str, tmp_path: Path
) -> None:
    path = tmp_path / "tokenizer.json"
    trained[kind].save(path)
    whole = path.read_bytes()
    draw = random.Random(11)
    for _ in range(200):
        damaged = bytearray(whole)
        damaged[draw.randrange(len(whole))] = draw.randrange(256)
        path.write_bytes(damaged)
        try:
            tokenizer = Tokenizer.load(path)
        except RunError:
            continue
        tokenizer.decode(tokenizer.encode("¿Dónde está?"))


# Tokens that stand between white space


@pytest.fixture(scope="module")
def space() -> Tokenizer:
    texts = [" the <unk> of 1 @,@ 000 , \n", "a <UNK> </s> <pad> <s> x</s>\tthe\u3000the"]
    return Tokenizer.train(texts * 2, TextConfig(kind="space"))


def test_space_tokens_are_separated_by_white_space(space: Tokenizer) -> None:
    ids = space.encode("  the 1 @,@ 000\t<UNK>\n, x</s>\u3000of\u00a0a ")
    assert space.pieces(ids) == ["the", "1", "@,@", "000", "<UNK>", ",", "x</s>", "of", "a"]
    assert space.decode(ids) == "the 1 @,@ 000 <UNK> , x</s> of a"
    assert space.encode(" \n\t") == []


def test_a_special_token_in_prepared_text_is_an_unknown_word(
    space: Tokenizer, tmp_path: Path
) -> None:
    assert [space.id_of(token) for token in SPECIALS] == [PAD_ID, UNK_ID, BOS_ID, EOS_ID]
    assert len(set(space.pieces(range(len(space))))) == len(space)
    space.save(tmp_path / "tokenizer.json")
    for tokenizer in (space, Tokenizer.load(tmp_path / "tokenizer.json")):
        assert tokenizer.kind == "space"
        ids = tokenizer.encode_batch(["the <unk> of", "<pad> <s> </s> <unk> new", "of"])
        the, of = tokenizer.id_of("the"), tokenizer.id_of("of")
        assert ids == [[the, UNK_ID, of], [UNK_ID] * 5, [of]]
        assert tokenizer.decode(ids[0]) == "the <unk> of"
        assert tokenizer.decode([BOS_ID, *ids[0], EOS_ID, PAD_ID]) == "the <unk> of"


def test_special_tokens_in_prepared_text_get_no_entry() -> None:
    texts = ["<unk> <unk> </s> a <UNK> <Pad>"] * 5
    tokenizer = Tokenizer.train(texts, TextConfig(kind="space", lowercase=True))
    assert tokenizer.pieces(range(len(tokenizer))) == [*SPECIALS, "a"]
    assert tokenizer.encode(texts[0]) == [UNK_ID, UNK_ID, UNK_ID, 4, UNK_ID, UNK_ID]


def test_word_and_space_tokenizers_are_distinguished(
    trained: dict[str, Tokenizer], tmp_path: Path
) -> None:
    trained["word"].save(tmp_path / "tokenizer.json")
    assert Tokenizer.load(tmp_path / "tokenizer.json").kind == "word"


# Running text

RUNNING = (
    *(unicodedata.normalize("NFC", text) for text in (*SENTENCES, *AWKWARD)),
    "def f(x):\n    return x\n\n\n\ty\n",
    "\n",
    " ",
    "\r\n \r",
)


@pytest.mark.parametrize("kind", ["char", "bpe"])
@pytest.mark.parametrize("saved", [False, True])
def test_running_text_is_restored_exactly(kind: str, saved: bool, tmp_path: Path) -> None:
    tokenizer = Tokenizer.train(RUNNING, TextConfig(kind=kind, vocab_size=400), running=True)
    if saved:
        tokenizer.save(tmp_path / "tokenizer.json")
        tokenizer = Tokenizer.load(tmp_path / "tokenizer.json")
    assert tokenizer.running
    for text in RUNNING:
        ids = tokenizer.encode(text)
        assert tokenizer.decode(ids) == text
        assert b"".join(tokenizer.token_bytes()[i] for i in ids) == text.encode("utf-8")
    assert "".join(map(tokenizer.decode, tokenizer.encode_batch(RUNNING))) == "".join(RUNNING)


def test_running_byte_pairs_restore_random_unicode() -> None:
    tokenizer = Tokenizer.train(RUNNING, TextConfig(vocab_size=400), running=True)
    draw = random.Random(17)
    for _ in range(300):
        codes = [draw.choice((draw.randrange(128), draw.randrange(0xD800))) for _ in range(13)]
        text = unicodedata.normalize("NFC", "".join(map(chr, codes)))
        assert tokenizer.decode(tokenizer.encode(text)) == text


def test_running_only_affects_byte_pairs(trained: dict[str, Tokenizer]) -> None:
    for kind in ("char", "word", "space"):
        config = TextConfig(kind=kind, vocab_size=500)
        tokenizers = [Tokenizer.train(SENTENCES, config, running=each) for each in (False, True)]
        assert tokenizers[0].inner.to_str() == tokenizers[1].inner.to_str()
        assert all(each.running for each in tokenizers)
    assert not trained["bpe"].running


def test_a_token_has_bytes_and_bytes_have_a_token(
    trained: dict[str, Tokenizer], space: Tokenizer
) -> None:
    running = Tokenizer.train(RUNNING * 3, TextConfig(vocab_size=400), running=True)
    for tokenizer in (*trained.values(), space, running):
        token_bytes = tokenizer.token_bytes()
        assert len(token_bytes) == len(tokenizer)
        assert token_bytes[:4] == [b""] * 4
        assert all(token_bytes[4:])
        assert len(set(token_bytes[4:])) == len(tokenizer) - 4
        for i, written in enumerate(token_bytes[4:], start=4):
            try:
                assert tokenizer.id_of(written.decode("utf-8")) == i
            except UnicodeDecodeError:
                assert tokenizer.kind == "bpe"
        assert [tokenizer.id_of(token) for token in SPECIALS] == list(range(4))
        assert tokenizer.id_of("no such token") is None
    assert running.token_bytes()[running.id_of("\n") or 0] == b"\n"
    sentence = SENTENCES[0]
    joined = b"".join(trained["bpe"].token_bytes()[i] for i in trained["bpe"].encode(sentence))
    assert joined == f" {sentence}".encode()


def test_importing_text_imports_no_torch() -> None:
    modules = "unrolled.text, unrolled.data_report.pairs, unrolled.text.corpus.corpus"
    command = f"import sys, {modules}; sys.exit('torch' in sys.modules)"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    assert subprocess.run([sys.executable, "-c", command], env=environment).returncode == 0


@pytest.mark.parametrize(("kind", "share"), [("char", 1.0), ("word", 0.999), ("bpe", 1.0)])
def test_real_sentences_are_restored_exactly(real_data: Path, kind: str, share: float) -> None:
    path = real_data / "tatoeba-en-es" / "train.tsv"
    if not path.exists():
        pytest.skip("tatoeba-en-es/train.tsv is not there")
    rows = [row.fields for row, _ in zip(read_rows(path), range(20_000), strict=False)]
    for side in zip(*rows, strict=True):
        size = 8000 if kind == "bpe" else 100_000
        tokenizer = Tokenizer.train(side, TextConfig(kind=kind, vocab_size=size))
        back = [tokenizer.decode(ids) for ids in tokenizer.encode_batch(side)]
        same = sum(a == unicodedata.normalize("NFC", b) for a, b in zip(back, side, strict=True))
        assert same >= share * len(side)


# Tokens that are whole already


TOKENS = [
    "U.N.-led",
    "New York",
    "U.N.-led",
    "caf\u00e9",
    "cafe\u0301",
    "Ann",
    "ann",
    "</s>",
    "zoo",
]


@pytest.mark.parametrize("kind", ["word", "space"])
def test_a_vocabulary_of_whole_tokens_is_saved_and_loaded(kind: str, tmp_path: Path) -> None:
    words = Tokenizer.of_tokens(TOKENS, TextConfig(kind=kind))
    words.save(tmp_path / "tokenizer.json")
    for each in (words, Tokenizer.load(tmp_path / "tokenizer.json")):
        assert each.kind == kind
        assert each.pieces(range(len(each))) == [
            *SPECIALS, "U.N.-led", "caf\u00e9", "Ann", "New York", "ann", "zoo"
        ]  # fmt: skip
        ids = each.ids_of(["New York", "cafe\u0301", "ANN", "</s>", "<unk>", "New", "\ud800"])
        assert ids == [7, 5, UNK_ID, UNK_ID, UNK_ID, UNK_ID, UNK_ID]


def test_whole_tokens_equal_tokens_split_at_white_space() -> None:
    texts = ["a b a", "c </s> a d d"]
    split = Tokenizer.train(texts, TextConfig(kind="space"))
    whole = Tokenizer.of_tokens(" ".join(texts).split(), TextConfig(kind="space"))
    assert whole.inner.to_str() == split.inner.to_str()


def test_whole_tokens_are_folded_counted_and_bounded() -> None:
    folded = Tokenizer.of_tokens(TOKENS, TextConfig(kind="word", lowercase=True, min_count=2))
    assert folded.pieces(range(4, len(folded))) == ["ann", "caf\u00e9", "u.n.-led"]
    assert folded.ids_of(["ANN", "U.n.-LED", "zoo"]) == [4, 6, UNK_ID]
    few = Tokenizer.of_tokens(TOKENS, TextConfig(kind="word", vocab_size=5))
    assert few.pieces([4]) == ["U.N.-led"]


def test_splitting_can_keep_upper_case() -> None:
    words = Tokenizer.train(["a"], TextConfig(kind="word", lowercase=True))
    assert words.split("Ann's HAT.", folded=False) == ["Ann", "'s", "HAT", "."]
    assert words.split("Ann's HAT.") == ["ann", "'s", "hat", "."]


def test_extended_adds_words_after_the_known_ones() -> None:
    words = Tokenizer.train(["to be or not to be"], TextConfig(kind="word", lowercase=True))
    more = words.extended(["Question", "be", "question", "<s>", "Cafe\u0301", "caf\u00e9", ""])
    assert more.pieces(range(len(more)))[len(words) :] == ["question", "caf\u00e9"]
    for text in ("to be", "that is the Question", "<s> caf\u00e9"):
        known = [i if i < len(words) else 1 for i in more.encode(text)]
        assert known == words.encode(text)


@pytest.mark.parametrize("kind", ["char", "bpe"])
def test_only_word_vocabularies_can_be_extended(kind) -> None:
    text = Tokenizer.train(["to be"], TextConfig(kind=kind, vocab_size=300))
    with pytest.raises(
        ConfigError, match=f"text.kind must be 'word', 'space' or 'code', got '{kind}'"
    ):
        text.extended(["question"])


MIXED = [
    "the",
    "don't",
    "a",
    ",",
    " ",
    "  ",
    "\n",
    "\t",
    "e\u0301",
    "1.5",
    "</s>",
    "中",
    "--",
    "\u3000",
]


@pytest.mark.parametrize("running", [False, True])
@pytest.mark.parametrize("kind", ["bpe", "word", "space", "char"])
def test_segments_of_a_long_text_cover_the_tokens(
    kind, running: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw = random.Random(3)
    texts = ["".join(draw.choices(MIXED, k=500)) for _ in range(20)]
    config = TextConfig(kind=kind, lowercase=True, vocab_size=500)
    whole = Tokenizer.train(texts, config, running=running)
    ids, words = whole.encode_batch(texts), [whole.split(text) for text in texts]
    monkeypatch.setattr("unrolled.text.segments.SEGMENT", 31)
    monkeypatch.setattr("unrolled.text.segments._LONGEST_SEGMENT", 10_000)
    cut = Tokenizer.train(texts, config, running=running)
    assert cut.inner.to_str() == whole.inner.to_str()
    assert cut.encode_batch(texts) == ids
    assert [cut.split(text) for text in texts] == words


@pytest.mark.parametrize("running", [False, True])
@pytest.mark.parametrize("kind", ["bpe", "char"])
def test_a_word_longer_than_a_segment_is_restored(
    kind, running: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("unrolled.text.segments.SEGMENT", 50)
    monkeypatch.setattr("unrolled.text.segments._LONGEST_SEGMENT", 70)
    text = "e\u0301a" * 300 + " " * 300 + "\u0301" * 20 + "b" * 300
    tokenizer = Tokenizer.train([text, "so it is"], TextConfig(kind=kind), running=running)
    assert tokenizer.decode(tokenizer.encode(text)) == unicodedata.normalize("NFC", text)


@pytest.mark.parametrize("kind", ["bpe", "word", "space"])
def test_no_learned_token_exceeds_the_longest_word(kind) -> None:
    texts = ["so it is " + "x" * 41 + " and " + "y" * 40, "z" * 39 + "-" * 3000 + " " * 3000] * 3
    texts += [f"a{' ' * 50}b", "and, " * 30]
    tokenizer = Tokenizer.train(texts, TextConfig(kind=kind, max_word_length=40, vocab_size=2000))
    tokens = tokenizer.pieces(range(len(tokenizer)))
    assert max(map(len, tokens)) <= 40 + (kind == "bpe")  # and the space before it
    assert ("y" * 40 in tokens) == (kind != "bpe")
    assert "x" * 41 not in tokens
    assert "and" in [token.strip() for token in tokens]
    whole = Tokenizer.of_tokens(["x" * 41, "y" * 40, "it"], TextConfig("word", max_word_length=40))
    assert whole.pieces(range(4, len(whole))) == ["it", "y" * 40]


def test_words_within_the_limit_train_the_same_vocabulary() -> None:
    texts = ["the cat sat, " * 40 + "x" * 150 + " " + "\u4e2d" * 180 + "!" * 190, "so it is"] * 3
    usual = Tokenizer.train(texts, TextConfig()).inner.to_str()
    assert Tokenizer.train(texts, TextConfig(max_word_length=10**6)).inner.to_str() == usual


def test_byte_pairs_are_learned_beside_a_very_long_word() -> None:
    draw = random.Random(1)
    word = "".join(draw.choices("abcdefghijklmnop", k=2_000_000))
    begin = time.process_time()
    tokenizer = Tokenizer.train([f"so {word} it"], TextConfig(vocab_size=1000))
    assert time.process_time() - begin < 20  # in all of it, it takes minutes; by its square, hours
    assert tokenizer.decode(tokenizer.encode(f"so {word[:9000]} it")) == f"so {word[:9000]} it"


def test_the_size_of_a_vocabulary_depends_on_its_kind() -> None:
    sizes = {kind: TextConfig(kind=kind).most_tokens for kind in ("word", "space", "bpe", "char")}
    assert sizes == {"word": 30_000, "space": 30_000, "bpe": 8000, "char": 8000}
    words = [f"word{i}" for i in range(9000)]
    assert len(Tokenizer.train(words, TextConfig(kind="word"))) == 9004
    assert len(Tokenizer.train(words, TextConfig(kind="word", vocab_size=8000))) == 8000
