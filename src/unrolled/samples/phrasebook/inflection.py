"""Inflection: plurals, forms of adjectives, and Spanish verb endings.

Regular forms follow rules; irregular verbs are listed.
"""

from __future__ import annotations

import re

_IRREGULAR = {
    "leer": "leo lees lee leemos leen / leí leíste leyó leímos leyeron",
    "creer": "creo crees cree creemos creen / creí creíste creyó creímos creyeron",
    "traer": "traigo traes trae traemos traen / traje trajiste trajo trajimos trajeron",
    "querer": "quiero quieres quiere queremos quieren / quise quisiste quiso quisimos quisieron",
    "tener": "tengo tienes tiene tenemos tienen / tuve tuviste tuvo tuvimos tuvieron",
    "ver": "veo ves ve vemos ven / vi viste vio vimos vieron",
    "conducir": "conduzco conduces conduce conducimos conducen"
    " / conduje condujiste condujo condujimos condujeron",
    "conocer": "conozco conoces conoce conocemos conocen"
    " / conocí conociste conoció conocimos conocieron",
    "oír": "oigo oyes oye oímos oyen / oí oíste oyó oímos oyeron",
    "dar": "doy das da damos dan / di diste dio dimos dieron",
    "ir": "voy vas va vamos van / fui fuiste fue fuimos fueron",
    "venir": "vengo vienes viene venimos vienen / vine viniste vino vinimos vinieron",
    "decir": "digo dices dice decimos dicen / dije dijiste dijo dijimos dijeron",
    "saber": "sé sabes sabe sabemos saben / supe supiste supo supimos supieron",
    "poder": "puedo puedes puede podemos pueden / pude pudiste pudo pudimos pudieron",
    "seguir": "sigo sigues sigue seguimos siguen / seguí seguiste siguió seguimos siguieron",
    "sonreír": "sonrío sonríes sonríe sonreímos sonríen"
    " / sonreí sonreíste sonrió sonreímos sonrieron",
    "enviar": "envío envías envía enviamos envían / envié enviaste envió enviamos enviaron",
}


def two_tenses(forms: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Parse the forms of two tenses, written "present / past".

    >>> two_tenses("am are / was were")
    (('am', 'are'), ('was', 'were'))
    """
    present, past = (tuple(part.split()) for part in forms.split("/"))
    return present, past


def english_plural(noun: str) -> str:
    """Plural of a regular English noun.

    >>> english_plural("city"), english_plural("church"), english_plural("boy")
    ('cities', 'churches', 'boys')
    """
    if re.search(r"(s|x|ch|sh|[^aeiou]o)$", noun) and noun != "piano":
        return noun + "es"
    return re.sub(r"(?<=[^aeiou])y$", "ie", noun) + "s"


def english_third(verb: str) -> str:
    """Third person singular of a regular English verb.

    >>> english_third("cry"), english_third("wash"), english_third("go"), english_third("play")
    ('cries', 'washes', 'goes', 'plays')
    """
    return english_plural(verb)


_WITHOUT_ACCENT = str.maketrans("áéíóú", "aeiou")


def _consonant_stem(word: str) -> str:
    # estación, estaciones: an accent on the last vowel is dropped before -es or -a.
    head, tail = re.fullmatch(r"(.*?)([aeiouáéíóú][^aeiouáéíóú]*)", word).groups()  # type: ignore
    stem = head + tail.translate(_WITHOUT_ACCENT)
    return stem[:-1] + "c" if stem.endswith("z") else stem


def spanish_plural(word: str) -> str:
    """Plural of a Spanish noun or adjective.

    >>> [spanish_plural(w) for w in ("mesa", "café", "estación", "lápiz", "árbol", "autobús")]
    ['mesas', 'cafés', 'estaciones', 'lápices', 'árboles', 'autobuses']
    """
    return word + "s" if word[-1] in "aeiouáéó" else _consonant_stem(word) + "es"


def spanish_adjective(masculine: str) -> tuple[str, str, str, str]:
    """The four forms of a regular Spanish adjective: ms, fs, mp, fp.

    >>> spanish_adjective("francés")
    ('francés', 'francesa', 'franceses', 'francesas')
    >>> spanish_adjective("azul")
    ('azul', 'azul', 'azules', 'azules')
    """
    if masculine.endswith("o"):
        feminine = masculine[:-1] + "a"
    elif re.search(r"(és|án|or|ol)$", masculine):
        feminine = _consonant_stem(masculine) + "a"
    else:
        feminine = masculine
    return masculine, feminine, spanish_plural(masculine), spanish_plural(feminine)


_ENDINGS = {
    "ar": two_tenses("o as a amos an / é aste ó amos aron"),
    "er": two_tenses("o es e emos en / í iste ió imos ieron"),
    "ir": two_tenses("o es e imos en / í iste ió imos ieron"),
}


def conjugate(infinitive: str, change: str = "") -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Present and preterite, five persons each: yo, tú, él, nosotros, ellos.

    `change` replaces the last vowel of the stem if it is stressed: "ie", "ue" or "i".

    >>> conjugate("dormir", "ue")[1]
    ('dormí', 'dormiste', 'durmió', 'dormimos', 'durmieron')
    >>> conjugate("buscar")[1][0], conjugate("cruzar")[1][0], conjugate("llegar")[1][0]
    ('busqué', 'crucé', 'llegué')
    """
    if infinitive in _IRREGULAR:
        return two_tenses(_IRREGULAR[infinitive])
    stem, group = infinitive[:-2], infinitive[-2:]
    before, vowel, after = re.fullmatch(r"(.*)([aeiou])([^aeiou]*)", stem).groups()  # type: ignore
    stressed = before + (change or vowel) + after
    # -ir verbs that change in the present also close the vowel in the third person preterite.
    closed = before + {"e": "i", "o": "u"}[vowel] + after if change and group == "ir" else stem
    soft = re.sub("c$", "qu", stem) if group == "ar" else stem
    soft = re.sub("z$", "c", re.sub("g$", "gu", soft)) if group == "ar" else soft
    present_ends, preterite_ends = _ENDINGS[group]
    present_stems = (stressed, stressed, stressed, stem, stressed)
    preterite_stems = (soft, stem, closed, stem, closed)
    return (
        tuple(s + e for s, e in zip(present_stems, present_ends, strict=True)),
        tuple(s + e for s, e in zip(preterite_stems, preterite_ends, strict=True)),
    )
