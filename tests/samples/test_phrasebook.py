import hashlib
import itertools
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import unrolled
from unrolled.errors import DataError
from unrolled.samples import Phrase, Phrasebook, count, generate, lemmas, write
from unrolled.samples.phrasebook.grammar import (
    NounPhrase,
    finish,
    finite,
    fitting,
    join,
    noun_group,
    numbers_of,
    object_phrase,
    the_lexicon,
)
from unrolled.samples.phrasebook.inflection import conjugate
from unrolled.samples.phrasebook.lexicon import PRONOUNS
from unrolled.samples.phrasebook.sentence_state import part_of

LEXICON = the_lexicon()
ADJECTIVES = {adjective.lemma: adjective for adjective in LEXICON.adjectives}
VERBS = {v.lemma: v for f in ("transitive", "prepositional") for v in LEXICON.verbs[f]}


# Run apart from the tests' shape checks, which would make it twenty times slower.
SPEAK = """
import json, random, sys
from dataclasses import asdict
from unrolled.samples.phrasebook.sampler import SentenceSampler
from unrolled.samples.phrasebook.generator import generate
sampler = SentenceSampler(random.Random(11), "train")
said = [sampler.sentence() for _ in range(80_000)]
book = generate(n_train=8_000, n_valid=300, n_test=700)
sys.stdout.write(json.dumps([said, asdict(book)]))
"""


@pytest.fixture(scope="module")
def spoken():
    source = str(Path(unrolled.__file__).parents[1])
    environment = {**os.environ, "PYTHONPATH": source}
    done = subprocess.run(
        [sys.executable, "-c", SPEAK], capture_output=True, check=True, env=environment
    )
    return json.loads(done.stdout)


def as_phrase(source, target, triples):
    return Phrase(source, target, tuple(map(tuple, triples)))


@pytest.fixture(scope="module")
def many(spoken):
    return [as_phrase(*said) for said in spoken[0]]


@pytest.fixture(scope="module")
def book(spoken):
    return Phrasebook(**{k: [as_phrase(**p) for p in part] for k, part in spoken[1].items()})


@pytest.fixture(scope="module")
def phrases(book):
    return [*book.train, *book.valid, *book.test]


# --- the split


def test_no_triple_crosses_from_one_part_to_another(book):
    parts = [{t for phrase in part for t in phrase.triples} for part in vars(book).values()]
    for one, other in itertools.combinations(parts, 2):
        assert one
        assert other
        assert not one & other


def test_phrases_use_triples_of_one_part_only(book):
    for part, said in vars(book).items():
        for phrase in said:
            assert phrase.triples
            assert {part_of(triple) for triple in phrase.triples} == {part}


def test_triples_name_what_the_sentence_says(many):
    examples = {phrase.source: phrase.triples for phrase in many}
    simple = re.compile(r"The (\w+) (eats|reads|buys) the (\w+)\.")
    verbs = {"eats": "eat", "reads": "read", "buys": "buy"}
    checked = 0
    for source, triples in examples.items():
        if match := simple.fullmatch(source):
            subject, verb, object_ = match.groups()
            if object_ in LEXICON.nouns and subject in LEXICON.nouns:
                assert triples == ((subject, verbs[verb], object_),)
                checked += 1
    assert checked


def test_no_sentence_is_repeated(phrases):
    assert len({phrase.source for phrase in phrases}) == len(phrases)


def test_training_knows_every_word_of_the_test_part(book):
    def vocabulary(side, part):
        return {w for p in part for w in re.findall(r"\w+", getattr(p, side).lower())}

    for side in ("source", "target"):
        unknown = vocabulary(side, book.test) - vocabulary(side, book.train)
        assert len(unknown) <= 12, unknown


# --- determinism


def test_the_same_seed_writes_the_same_phrasebook_everywhere():
    book = generate(n_train=400, n_valid=50, n_test=50, seed=7)
    text = "\n".join(f"{p.source}\t{p.target}" for part in vars(book).values() for p in part)
    assert hashlib.sha256(text.encode()).hexdigest()[:16] == "a30d0cdf59eac680"


def test_another_seed_writes_another_phrasebook():
    first, second = (generate(200, 0, 0, seed=seed).train for seed in (1, 2))
    assert len({p.source for p in first} & {p.source for p in second}) < 20


def test_a_longer_training_part_begins_with_the_shorter_one():
    short, long = generate(50, 5, 7), generate(90, 5, 7)
    assert long.train[:50] == short.train
    assert (long.valid, long.test) == (short.valid, short.test)


# --- size and shape


def test_the_grammar_has_enough_sentences_and_lemmas():
    known = lemmas()
    assert count() >= 10**7
    assert all(len(set(listed)) == len(listed) for listed in known.values())
    assert sum(map(len, known.values())) >= 300


def test_what_count_counts_are_distinct_sentences():
    def plain(noun):
        for number in numbers_of(noun):
            for adjective in (None, *fitting(noun.kind, not noun.mass)):
                yield number, noun_group(noun, number, "the", (adjective,) if adjective else ())

    verb = VERBS["play"]
    subjects = [LEXICON.nouns[lemma] for lemma in ("girl", "mother")]
    objects = [LEXICON.nouns[lemma] for lemma in ("drum", "guitar")]
    sources = [
        f"{subject[0]} {finite(verb, tense, 4 if number else 2, negative).merged} {played[0]}"
        for (number, subject) in itertools.chain.from_iterable(map(plain, subjects))
        for (_, played) in itertools.chain.from_iterable(map(plain, objects))
        for tense in ("present", "past", "future")
        for negative in (False, True)
    ]
    person, instrument = (1 + len(fitting(kind, True)) for kind in ("person", "instrument"))
    assert len(sources) == len(set(sources)) == 6 * (2 + 1) * person * (2 + 2) * instrument


def test_lengths_reach_from_three_to_forty_words(book):
    phrases = [*book.train, *book.test]
    for side in ("source", "target"):
        lengths = [len(getattr(phrase, side).split()) for phrase in phrases]
        assert min(lengths) == 3
        assert 37 <= max(lengths) <= 40
    long = sum(len(phrase.source.split()) >= 20 for phrase in book.test)
    assert long >= 0.25 * len(book.test)


def test_a_source_has_one_translation_only(many):
    translation: dict[str, str] = {}
    for phrase in many:
        assert translation.setdefault(phrase.source, phrase.target) == phrase.target
    assert len(translation) < len(many) - 1_000, "too few repetitions to tell"


# --- Spanish

FORMS = """
leer|he|past|leyó  leer|they|past|leyeron  oír|he|present|oye  oír|they|past|oyeron
dormir|he|past|durmió  dormir|we|present|dormimos
buscar|I|past|busqué  llegar|I|past|llegué  tocar|I|past|toqué
conducir|I|present|conduzco  conducir|they|past|condujeron  traer|I|present|traigo
traer|they|past|trajeron  tener|he|present|tiene  ir|they|past|fueron  ir|I|present|voy
venir|he|past|vino  conocer|I|present|conozco  seguir|I|present|sigo  seguir|he|past|siguió
sonreír|they|present|sonríen  dar|I|past|di
enviar|he|present|envía  ver|he|past|vio  saber|I|present|sé  creer|he|present|cree
perder|he|present|pierde  encontrar|they|present|encuentran
decir|he|present|dice  abrir|he|past|abrió  comer|you|past|comiste
"""


def test_verb_endings_are_those_of_the_grammar_books():
    changes = {
        verb.infinitive: verb.present + verb.preterite
        for verbs in LEXICON.verbs.values()
        for verb in verbs
    }
    checked = 0
    for infinitive, pronoun, tense, form in re.findall(r"(\w+)\|(\w+)\|(\w+)\|(\w+)", FORMS):
        person = PRONOUNS[pronoun][0] + (5 if tense == "past" else 0)
        assert changes[infinitive][person] == form
        checked += 1
    assert checked == 31
    assert conjugate("servir", "i")[1][4] == "sirvieron"
    assert conjugate("volver", "ue")[0] == ("vuelvo", "vuelves", "vuelve", "volvemos", "vuelven")
    assert conjugate("comer")[0] == ("como", "comes", "come", "comemos", "comen")


GROUPS = [
    ("the old teacher", "el maestro viejo"),
    ("the young actresses", "las actrices jóvenes"),
    ("a good book", "un buen libro"),
    ("some good letters", "unas buenas cartas"),
    ("a great writer", "una gran escritora"),
    ("the great kings", "los grandes reyes"),
    ("the first novel", "la primera novela"),
    ("the first poem", "el primer poema"),
    ("a bad actor", "un mal actor"),
    ("the cold water", "el agua fría"),
    ("this cold water", "esta agua fría"),
    ("a white eagle", "un águila blanca"),
    ("the good eagle", "la buena águila"),
    ("the white eagles", "las águilas blancas"),
    ("the French singer", "la cantante francesa"),
    ("my German cousins", "mis primos alemanes"),
    ("the Spanish queens", "las reinas españolas"),
    ("our hardworking aunt", "nuestra tía trabajadora"),
    ("these gray pencils", "estos lápices grises"),
    ("the wooden tables", "las mesas de madera"),
    ("many blue buses", "muchos autobuses azules"),
    ("two old clocks", "dos relojes viejos"),
    ("an ugly station", "una estación fea"),
    ("her interesting poems", "sus poemas interesantes"),
    ("the happy journalist", "el periodista contento"),
]


@pytest.mark.parametrize(("english", "spanish"), GROUPS)
def test_noun_phrases_agree(english, spanish):
    found = {
        noun_group(noun, number, determiner, (adjective,))
        for noun in LEXICON.nouns.values()
        for number in numbers_of(noun)
        for determiner in ("the", "a", "this", "my", "our", "her", "two", "many")
        for adjective in [ADJECTIVES[english.split()[1]]]
        if noun.english[number] == english.split()[-1]
    }
    assert (english, spanish) in found


GENDERS = {
    "el": "ms", "un": "ms", "este": "ms", "nuestro": "ms", "la": "fs", "una": "fs", "esta": "fs",
    "nuestra": "fs", "los": "mp", "unos": "mp", "estos": "mp", "nuestros": "mp", "muchos": "mp",
    "las": "fp", "unas": "fp", "estas": "fp", "nuestras": "fp", "muchas": "fp",
}  # fmt: skip
NOUNS = {
    "niño": "m", "niña": "f", "actor": "m", "actriz": "f", "panadero": "m", "mapa": "m",
    "poema": "m", "llave": "f", "flor": "f", "ciudad": "f", "estación": "f", "jardín": "m",
    "reloj": "m", "lápiz": "m", "coche": "m", "calle": "f", "puente": "m", "carne": "f",
    "leche": "f", "café": "m", "turista": "m", "artista": "f", "traje": "m", "mensaje": "m",
    "libro": "m", "carta": "f", "mesa": "f", "espejo": "m", "camión": "m", "autobús": "m",
}  # fmt: skip
PLURALS = {
    "actriz": "actrices", "actor": "actores", "flor": "flores", "ciudad": "ciudades",
    "estación": "estaciones", "jardín": "jardines", "reloj": "relojes", "lápiz": "lápices",
    "camión": "camiones", "autobús": "autobuses",
}  # fmt: skip


def test_articles_and_adjectives_agree_with_nouns(many):
    features = {noun: gender + "s" for noun, gender in NOUNS.items()}
    features |= {PLURALS.get(noun, noun + "s"): gender + "p" for noun, gender in NOUNS.items()}
    endings = {"ms": "rojo", "fs": "roja", "mp": "rojos", "fp": "rojas"}
    articles = adjectives = 0
    for phrase in many:
        tokens = re.findall(
            r"\w+", phrase.target.lower().replace("al ", "el ").replace("del ", "el ")
        )
        for before, word, after in zip(["", *tokens], tokens, [*tokens[1:], ""], strict=False):
            if word in features:
                if before in GENDERS:
                    assert GENDERS[before] == features[word], phrase.target
                    articles += 1
                if after in endings.values():
                    assert after == endings[features[word]], phrase.target
                    adjectives += 1
    assert articles > 1_000
    assert adjectives > 20


def phrase_of(lemma, number=0, determiner="the"):
    noun = LEXICON.nouns[lemma]
    english, spanish = noun_group(noun, number, determiner, ())
    return NounPhrase(english, spanish, 4 if number else 2, 0, lemma, human=noun.kind == "person")


CLAUSES = """
girl|eat|present|yes|apple|The girl eats the apple.|La niña come la manzana.
girl|eat|past|no|bread|The girl did not eat the bread.|La niña no comió el pan.
boy|visit|future|yes|king|The boy is going to visit the king.|El niño va a visitar al rey.
boy|help|want|yes|aunt|The boy wants to help the aunt.|El niño quiere ayudar a la tía.
king|look for|present|no|key|The king does not look for the key.|El rey no busca la llave.
nurse|see|have|yes|judge|The nurse has to see the judge.|La enfermera tiene que ver a la jueza.
pilot|come from|past|yes|hotel|The pilot came from the hotel.|El piloto vino del hotel.
pilot|go to|past|no|market|The pilot did not go to the market.|El piloto no fue al mercado.
judge|talk to|can|no|boy|The judge cannot talk to the boy.|La jueza no puede hablar con el niño.
man|read|present|yes|letter|The man reads the letter.|El hombre lee la carta.
"""


@pytest.mark.parametrize("row", CLAUSES.strip().splitlines())
def test_clauses_are_translated_word_for_word_right(row):
    subject, verb, tense, affirmed, object_, english, spanish = row.split("|")
    negative = affirmed == "no"
    actor, patient = phrase_of(subject), phrase_of(object_)
    said = finite(VERBS[verb], tense, actor.person, negative)
    assert finish(
        join(actor.english, said.merged, patient.english),
        join(actor.spanish, said.spanish, object_phrase(patient, VERBS[verb])),
    ) == (english, spanish)


# Each phenomenon, as training sentences of the grammar show it.
EXPECTED = [
    (r"Who (\w+) the (\w+)\?", r"¿Quién \w+ (el|la|los|las|al|a la|a los|a las) \w+\?"),
    (r"Where is the (\w+)\?", r"¿Dónde está (el|la) \w+\?"),
    (r"Where are the (\w+)\?", r"¿Dónde están (los|las) \w+\?"),
    (r"Is there an? (\w+) near the (\w+)\?", r"¿Hay una? \w+ cerca del? (la )?\w+\?"),
    (r"I like the (\w+[^s])\.", r"Me gusta (el|la) \w+\."),
    (r"We do not like the (\w+)s\.", r"No nos gustan (los|las) \w+s\."),
    (r"The (\w+) likes the (\w+[^s])\.", r"(Al|A la) \w+ le gusta (el|la) \w+\."),
    (r"I am hungry\.", r"Tengo hambre\."),
    (r"They are (\w+)\.", r"(Ellos (son|están) \w+(os|es|s)|Tienen \w+|Ellos tienen \w+)\."),
    (r"How many (\w+) did the (\w+) (\w+)\?", r"¿Cuánt[oa]s \w+ \w+ (el|la|los|las) \w+\?"),
    (r"The (\w+) gives the (\w+) to the (\w+[^s])\.", r"(El|La) \w+ le da .* (al|a la) \w+\."),
    (r"Do you (\w+) the (\w+)\?", r"¿\w+s (el|la|los|las|al|a la|a los|a las) \w+\?"),
    (r"The (\w+) is not (\w+)\.", r"(El|La) \w+ no (es|está|tiene) \w+( \w+)?\."),
    (r"The (\w+) who (\w+) is (\w+)\.", r"(El|La) \w+ que \w+ (es|está|tiene) \w+\."),
]


@pytest.mark.parametrize(("english", "spanish"), EXPECTED)
def test_the_grammar_shows_each_phenomenon_and_says_it_right(english, spanish, many):
    matching = [p for p in many if re.fullmatch(english, p.source)]
    assert matching
    for phrase in matching:
        assert re.fullmatch(spanish, phrase.target), phrase


def test_text_is_clean_and_contracted(phrases):
    for phrase in phrases:
        english, spanish = phrase.source, phrase.target
        for text in (english, spanish):
            assert text == " ".join(text.split())
            assert " ," not in text
            assert " ." not in text
        assert re.fullmatch(r"[A-Z][A-Za-z ,]+[.?]", english), english
        assert re.fullmatch(r"¿[A-ZÁÉÍÓÚ][^¿?.]+\?|[A-ZÁÉÍÓÚÑ][^¿?.]+\.", spanish), spanish
        assert english.endswith("?") == spanish.startswith("¿")
        assert not re.search(r"\b([Aa]|[Dd]e) el\b", spanish), spanish
        assert not re.search(r"\by (i|hi[^ae])", spanish), spanish
        assert not re.search(
            r"\b[Aa] [aeiou]|\b[Aa]n [^aeiouAEIOU]", english.replace(" a uni", " x ")
        )


def test_finish_contracts_only_the_article():
    assert finish("x", "a el rey y de el rey")[1] == "Al rey y del rey."
    assert finish("x", "a él le gusta")[1] == "A él le gusta."
    assert finish("x", "alto y inteligente y italiano")[1] == "Alto e inteligente e italiano."


# --- files


def test_written_files_have_a_header_and_one_pair_a_line(tmp_path):
    book = generate(n_train=3, n_valid=2, n_test=1)
    write(tmp_path / "new" / "folder", book)
    for part, size in (("train", 3), ("valid", 2), ("test", 1)):
        text = (tmp_path / "new" / "folder" / f"{part}.tsv").read_bytes().decode("utf-8")
        lines = text.split("\n")
        assert lines[0] == "en\tes"
        assert lines[1:] == [*(f"{p.source}\t{p.target}" for p in getattr(book, part)), ""]
        assert len(lines) == size + 2


def test_a_folder_that_is_a_file_is_refused(tmp_path):
    (tmp_path / "taken").write_text("", encoding="utf-8")
    with pytest.raises(DataError, match=r"taken: cannot write the phrasebook to .* \(.*\); choose"):
        write(tmp_path / "taken", generate(1, 1, 1))
