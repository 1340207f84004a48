"""The words of the phrasebook: English and Spanish lemmas, their classes, and all inflected forms.

The tables are written by hand and inflected by `unrolled.samples.phrasebook.inflection`. Each English
word has exactly one Spanish counterpart in each frame, so that the source determines the translation:
professions have a fixed gender (`doctor` is *la doctora*, `teacher` is *el maestro*), and `you` is
always the informal singular, *tú*.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import NamedTuple

from unrolled.samples.phrasebook.inflection import (
    conjugate,
    english_plural,
    english_third,
    spanish_adjective,
    spanish_plural,
    two_tenses,
)

SINGULAR, PLURAL = 0, 1
MASCULINE, FEMININE = 0, 1

FIRST, SECOND, THIRD, FIRST_PLURAL, THIRD_PLURAL = range(5)
"""Grammatical persons, in the order of the five forms in every Spanish paradigm."""

# kind: English singular[/plural] = Spanish singular (m | f | f* : feminine that takes "el")
_NOUNS = """
person: man/men = hombre m; woman/women = mujer f; boy = niño m; girl = niña f;
  teacher = maestro m; doctor = doctora f; nurse = enfermera f; lawyer = abogada f;
  student = estudiante m; farmer = granjero m; baker = panadero m; waiter = camarero m;
  waitress = camarera f; singer = cantante f; writer = escritora f; painter = pintor m;
  actor = actor m; actress = actriz f; king = rey m; queen = reina f; princess = princesa f;
  soldier = soldado m; pilot = piloto m; driver = conductor m; engineer = ingeniera f;
  scientist = científica f; journalist = periodista m; artist = artista f; neighbor = vecino m;
  friend = amigo m; brother = hermano m; sister = hermana f; father = padre m; mother = madre f;
  son = hijo m; daughter = hija f; uncle = tío m; aunt = tía f; grandfather = abuelo m;
  grandmother = abuela f; cousin = primo m; guest = invitado m; tourist = turista m;
  judge = jueza f; musician = músico m; thief/thieves = ladrón m
animal: dog = perro m; cat = gato m; horse = caballo m; cow = vaca f; bird = pájaro m;
  eagle = águila f*; rabbit = conejo m; mouse/mice = ratón m; lion = león m; wolf/wolves = lobo m;
  bear = oso m; monkey = mono m; fox = zorro m; goat = cabra f
fruit: apple = manzana f; cake = pastel m; egg = huevo m; tomato = tomate m; potato = patata f;
  cookie = galleta f; lemon = limón m; pear = pera f; carrot = zanahoria f; onion = cebolla f;
  strawberry = fresa f; melon = melón m
dish: bread = pan m; cheese = queso m; meat = carne f; rice = arroz m; soup = sopa f;
  salad = ensalada f; fish = pescado m; ham = jamón m; chocolate = chocolate m
drink: water = agua f*; milk = leche f; coffee = café m; tea = té m; wine = vino m;
  beer = cerveza f; juice = jugo m
text: book = libro m; letter = carta f; newspaper = periódico m; magazine = revista f;
  poem = poema m; novel = novela f; story = cuento m; dictionary = diccionario m;
  report = informe m; message = mensaje m; map = mapa m
clothes: shirt = camisa f; shoe = zapato m; hat = sombrero m; coat = abrigo m; dress = vestido m;
  skirt = falda f; jacket = chaqueta f; tie = corbata f; glove = guante m;
  scarf/scarves = bufanda f; suit = traje m; boot = bota f
object: table = mesa f; chair = silla f; lamp = lámpara f; bed = cama f; clock = reloj m;
  mirror = espejo m; key = llave f; suitcase = maleta f; box = caja f; bottle = botella f;
  cup = taza f; plate = plato m; knife/knives = cuchillo m; pencil = lápiz m; phone = teléfono m;
  camera = cámara f; computer = computadora f; ball = pelota f; toy = juguete m; gift = regalo m;
  candle = vela f; basket = cesta f; door = puerta f; window = ventana f
vehicle: car = coche m; bicycle = bicicleta f; boat = barco m; truck = camión m; bus = autobús m;
  motorcycle = motocicleta f
instrument: guitar = guitarra f; piano = piano m; violin = violín m; flute = flauta f;
  drum = tambor m; trumpet = trompeta f
place: kitchen = cocina f; garden = jardín m; market = mercado m; school = escuela f;
  church = iglesia f; station = estación f; park = parque m; hospital = hospital m;
  library = biblioteca f; restaurant = restaurante m; hotel = hotel m; museum = museo m;
  beach = playa f; bridge = puente m; office = oficina f; bank = banco m; theater = teatro m;
  village = pueblo m; city = ciudad f; castle = castillo m; street = calle f; square = plaza f;
  airport = aeropuerto m; island = isla f; bakery = panadería f; store = tienda f;
  university = universidad f; factory = fábrica f
"""


def _set(listed: str) -> frozenset[str]:
    return frozenset(listed.split())


MASS_KINDS = frozenset({"dish", "drink"})
ON_PLACES = frozenset({"beach", "bridge", "street", "island"})
AT_PLACES = frozenset({"market", "station", "airport", "office", "university"})

KIN = _set("brother sister father mother son daughter uncle aunt grandfather grandmother cousin")
# Persons, animals and places that can have a possessor; all nouns of other kinds can.
OWNABLE = KIN | _set(
    "friend neighbor guest teacher doctor lawyer student dog cat horse cow bird rabbit goat"
    " kitchen garden school office village city street store factory hotel restaurant"
)
PAIRS = frozenset({"shoe", "boot", "glove"})
"""Nouns that only occur in the plural."""
SINGLE = _set("father mother")
"""Nouns that only occur in the singular, like places, and foods and drinks without a plural."""
# Something can be near or far from these, but not in front of them.
WIDE_PLACES = _set("street city village beach island bridge airport")

_SETS = {
    "food": "fruit dish",
    "goods": "fruit dish drink text clothes object vehicle instrument",
    "wares": "fruit dish drink text clothes object",
    "things": "text clothes object vehicle instrument",
    "portable": "fruit text clothes",
    "writable": "+book +letter +poem +novel +story +report +message",
    "openable": "+suitcase +box +bottle +door +window +letter +museum +bank +store",
    "closable": "+suitcase +box +bottle +door +window +book +library +office +theater",
    "machine": "vehicle instrument +clock +lamp +phone +camera +computer +toy +table +chair"
    " +bridge",
    "fragile": "+lamp +clock +mirror +bottle +cup +plate +pencil +phone +camera +computer +toy +box"
    " +candle +window +chair",
    "drivable": "+car +bus +truck +motorcycle +boat",
    "cleanable": "+kitchen +office +school +church +street +table +mirror +lamp +window +door +shoe"
    " +boot +car +bicycle +boat +plate +knife +museum +restaurant +beach",
    "washable": "clothes +plate +cup +bottle +knife +apple +tomato +carrot +car +window +truck",
    "audible": "person instrument +story +bird +message",
    "living": "person animal",
    "hunters": "person +dog +cat +wolf +bear +lion +fox",
}

# English base past [third person] particle | Spanish infinitive change preposition | objects | tags
# tags: a = animals can also be subjects, s = state (no manner, company or place; only present),
#       b = can be done "for" somebody, w = no place phrase, m = can have an adverb of manner
_TRANSITIVE = """
eat ate | comer | food | am
cook cooked | cocinar | food | bm
prepare prepared | preparar | food drink | bm
drink drank | beber | drink | m
buy bought | comprar | goods | b
sell sold | vender | goods |
want wanted | querer | goods | s
need needed | necesitar | goods person | s
have had has | tener | goods | s
bring brought | traer | wares | b
find found | encontrar ue | goods person | a
lose lost | perder ie | things animal |
look looked for | buscar | goods person | a
see saw | ver | things person place | a
look looked at | mirar | things person place | a
paint painted | pintar | animal place object fruit | bm
read read | leer | text | m
write wrote | escribir | writable | bm
wear wore | llevar | clothes | s
wash washed | lavar | washable | m
clean cleaned | limpiar | cleanable | m
repair repaired | reparar | machine | bm
break broke | romper | fragile | a
open opened | abrir | openable | wm
close closed | cerrar ie | closable | wm
drive drove | conducir | drivable | m
play played | tocar | instrument | b
help helped | ayudar | person |
visit visited | visitar | person place | w
know knew | conocer | person place | s
wait waited for | esperar | person | a
listen listened to | escuchar | person |
hear heard | oír | audible | a
follow followed | seguir | person | am
love loved | amar | person | s
"""
_PREPOSITIONAL = """
go went to | ir - a | place | aw
come came from | venir - de | place | w
arrive arrived at | llegar - a | place | w
live lived in | vivir - en | +village +city +castle +hotel | s
talk talked to | hablar - con | person |
"""
_INTRANSITIVE = """
work worked | trabajar | | m
sleep slept | dormir ue | | a
run ran | correr | | am
sing sang | cantar | | b
dance danced | bailar | | m
swim swam | nadar | | awm
rest rested | descansar | | a
cry cried | llorar | |
smile smiled | sonreír | |
"""
_DITRANSITIVE = """
give gave | dar | wares |
send sent | enviar | wares |
show showed | mostrar ue | things |
"""
_REPORTING = """
say said | decir | | s
think thought | creer | | s
know knew | saber | | s
"""

# English = Spanish masculine singular [feminine masculine-plural feminine-plural] | kinds | copula
# The copula is "ser" for permanent qualities and "estar" for states.
_ADJECTIVES = """
tall = alto | person | ser
young = joven joven jóvenes jóvenes | person | ser
old = viejo | person animal text clothes object vehicle instrument place | ser
rich = rico | person | ser
poor = pobre | person | ser
famous = famoso | person text place | ser
intelligent = inteligente | person animal | ser
friendly = amable | person | ser
strong = fuerte | person animal | ser
brave = valiente | person animal | ser
lazy = perezoso | person animal | ser
hardworking = trabajador | person | ser
elegant = elegante | person clothes | ser
French = francés | person dish text | ser
Spanish = español | person dish text | ser
Italian = italiano | person dish text | ser
German = alemán | person dish text vehicle | ser
tired = cansado | person animal | estar
sick = enfermo | person animal | estar
busy = ocupado | person | estar
sad = triste | person animal | estar
happy = contento | person animal | estar
big = grande | animal fruit clothes object vehicle place | ser
small = pequeño | animal fruit object vehicle place | ser
wild = salvaje | animal | ser
fast = rápido | animal vehicle | ser
black = negro | animal clothes object vehicle | ser
white = blanco | animal clothes object vehicle | ser
gray = gris | animal clothes object vehicle | ser
red = rojo | clothes object vehicle fruit | ser
green = verde | clothes object vehicle fruit | ser
blue = azul | clothes object vehicle | ser
yellow = amarillo | clothes object vehicle fruit | ser
new = nuevo | text clothes object vehicle instrument | ser
expensive = caro | fruit dish drink clothes object vehicle instrument | ser
cheap = barato | fruit dish drink clothes object vehicle instrument | ser
beautiful = hermoso | animal clothes instrument place | ser
ugly = feo | clothes object place | ser
wooden = de-madera | object instrument | ser
heavy = pesado | object | ser
clean = limpio | clothes object place | estar
dirty = sucio | clothes object vehicle place | estar
broken = roto | object instrument | estar
fresh = fresco | fruit dish | estar
cold = frío | dish drink | estar
hot = caliente | dish drink | estar
sweet = dulce | fruit drink | ser
delicious = delicioso | fruit dish drink | ser
long = largo | text | ser
short = corto | text | ser
interesting = interesante | text place | ser
boring = aburrido | text | ser
modern = moderno | vehicle place | ser
quiet = tranquilo | person place | ser
"""
# Adjectives that precede the Spanish noun; the first form is the shortened masculine.
_LEADING_ADJECTIVES = """
good = buen buena buenos buenas | person animal fruit dish drink text vehicle instrument
bad = mal mala malos malas | person text vehicle
great = gran gran grandes grandes | person text
first = primer primera primeros primeras | text vehicle
last = último última últimos últimas | fruit text vehicle
"""

# Adjectives with the comparative "more", as in "more famous than".
LONG_ADJECTIVES = _set(
    "famous intelligent elegant expensive beautiful interesting boring modern hardworking delicious"
)
# Adjectives that are neither combined with another by "and" nor compared.
ALONE = _set(
    "black white gray red green blue yellow French Spanish Italian German wooden first last"
)
OPPOSITES = frozenset(
    frozenset(pair.split("-"))
    for pair in _set(
        "expensive-cheap young-old new-old modern-old rich-poor clean-dirty cold-hot long-short"
        " big-small happy-sad beautiful-ugly interesting-boring lazy-hardworking lazy-busy"
        " fresh-hot tired-happy sick-strong sick-happy"
    )
)
NEED_DEFINITE = frozenset({"first", "last"})

# "is hungry" is "tiene hambre": English adjective, Spanish noun.
HAVING = {"hungry": "hambre", "thirsty": "sed", "sleepy": "sueño", "afraid": "miedo"}

FREQUENCY = {
    "always": "siempre",
    "never": "nunca",
    "often": "a menudo",
    "sometimes": "a veces",
    "also": "también",
}
MANNER = {
    "slowly": "despacio",
    "quickly": "rápidamente",
    "carefully": "con cuidado",
    "happily": "alegremente",
    "quietly": "en silencio",
}
DEGREE = {"very": "muy", "too": "demasiado"}
WHEN = {
    "present": {
        "every day": "todos los días",
        "on Mondays": "los lunes",
        "on Sundays": "los domingos",
        "in summer": "en verano",
        "in winter": "en invierno",
        "in the morning": "por la mañana",
        "in the afternoon": "por la tarde",
        "at night": "por la noche",
    },
    "past": {
        "yesterday": "ayer",
        "last night": "anoche",
        "last week": "la semana pasada",
        "last summer": "el verano pasado",
        "two days ago": "hace dos días",
        "on Monday": "el lunes",
    },
    "future": {
        "tomorrow": "mañana",
        "tonight": "esta noche",
        "today": "hoy",
        "next week": "la próxima semana",
        "next year": "el próximo año",
        "on Sunday": "el domingo",
    },
    "state": {"now": "ahora", "today": "hoy"},
}
NEARNESS = {
    "near": "cerca de",
    "behind": "detrás de",
    "in front of": "delante de",
    "next to": "al lado de",
    "far from": "lejos de",
}

# English singular, English plural, then Spanish ms fs mp fp
DETERMINERS = {
    "the": ("the", "the", "el", "la", "los", "las"),
    "a": ("a", "some", "un", "una", "unos", "unas"),
    "this": ("this", "these", "este", "esta", "estos", "estas"),
    "my": ("my", "my", "mi", "mi", "mis", "mis"),
    "your": ("your", "your", "tu", "tu", "tus", "tus"),
    "our": ("our", "our", "nuestro", "nuestra", "nuestros", "nuestras"),
    "his": ("his", "his", "su", "su", "sus", "sus"),
    "her": ("her", "her", "su", "su", "sus", "sus"),
    "two": ("", "two", "", "", "dos", "dos"),
    "three": ("", "three", "", "", "tres", "tres"),
    "many": ("", "many", "", "", "muchos", "muchas"),
    "": ("", "", "", "", "", ""),
}

PRONOUNS = {
    "I": (FIRST, "", "me"),
    "you": (SECOND, "", "te"),
    "he": (THIRD, "él", "le"),
    "she": (THIRD, "ella", "le"),
    "we": (FIRST_PLURAL, "", "nos"),
    "they": (THIRD_PLURAL, "ellos", "les"),
}
"""English pronoun: person, Spanish subject ("" if Spanish omits it), object clitic."""


BE = two_tenses("am are is are are / was were was were were")
SER = two_tenses("soy eres es somos son / era eras era éramos eran")
ESTAR = two_tenses("estoy estás está estamos están / estaba estabas estaba estábamos estaban")
TENER = two_tenses("tengo tienes tiene tenemos tienen / tenía tenías tenía teníamos tenían")


@dataclass(frozen=True, eq=False)
class Noun:
    """A noun; `english` and `spanish` are (singular, plural)."""

    lemma: str
    kind: str
    english: tuple[str, str]
    spanish: tuple[str, str]
    gender: int
    takes_el: bool

    @property
    def mass(self) -> bool:
        return self.kind in MASS_KINDS


@dataclass(frozen=True, eq=False)
class Adjective:
    """An adjective; `spanish` is indexed by 2 * number + gender."""

    lemma: str
    spanish: tuple[str, str, str, str]
    kinds: frozenset[str]
    copula: str
    leading: bool


@dataclass(frozen=True, eq=False)
class Verb:
    """A verb in one frame; `lemma` includes the particle, since "look for" is not "look at"."""

    lemma: str
    base: str
    third: str
    past: str
    particle: str
    infinitive: str
    present: tuple[str, ...]
    preterite: tuple[str, ...]
    preposition: str
    frame: str
    subjects: tuple[Noun, ...]
    objects: tuple[Noun, ...]
    state: bool
    beneficiary: bool
    placeless: bool
    manner: bool


class Lexicon(NamedTuple):
    """All words, by class."""

    nouns: dict[str, Noun]
    kinds: dict[str, tuple[Noun, ...]]
    adjectives: tuple[Adjective, ...]
    verbs: dict[str, tuple[Verb, ...]]


def _read_nouns() -> dict[str, Noun]:
    nouns = {}
    for kind, entries in re.findall(r"^(\w+): (.*(?:\n  .*)*)", _NOUNS, re.MULTILINE):
        for entry in re.split(r";\s*", entries.strip()):
            english, spanish, gender = re.fullmatch(r"(\S+) = (\S+) (\S+)", entry).groups()  # type: ignore
            singular, _, plural = english.partition("/")
            nouns[singular] = Noun(
                lemma=singular,
                kind=kind,
                english=(singular, plural or english_plural(singular)),
                spanish=(spanish, spanish_plural(spanish)),
                gender=FEMININE if gender[0] == "f" else MASCULINE,
                takes_el=gender == "f*",
            )
    return nouns


def _members(names: str, nouns: dict[str, Noun]) -> tuple[Noun, ...]:
    found: dict[str, Noun] = {}
    for name in names.split():
        if name.startswith("+"):
            found[name[1:]] = nouns[name[1:]]
        elif name in _SETS:
            found.update((noun.lemma, noun) for noun in _members(_SETS[name], nouns))
        else:
            found.update((noun.lemma, noun) for noun in nouns.values() if noun.kind == name)
    return tuple(found.values())


def _read_verbs(table: str, frame: str, nouns: dict[str, Noun]) -> tuple[Verb, ...]:
    verbs = []
    for line in table.strip().splitlines():
        english, spanish, objects, tags = (column.strip() for column in line.split("|"))
        base, past, *rest = english.split()
        third = rest.pop(0) if rest and rest[0] == "has" else english_third(base)
        infinitive, change, preposition = (*spanish.split(), "-", "")[:3]
        present, preterite = conjugate(infinitive, change.strip("-"))
        verbs.append(
            Verb(
                lemma=" ".join([base, *rest]),
                base=base,
                third=third,
                past=past,
                particle=" ".join(rest),
                infinitive=infinitive,
                present=present,
                preterite=preterite,
                preposition=preposition if len(spanish.split()) == 3 else "",
                frame=frame,
                subjects=_members("living" if "a" in tags else "person", nouns),
                objects=_members(objects, nouns),
                state="s" in tags,
                beneficiary="b" in tags,
                placeless="w" in tags,
                manner="m" in tags,
            )
        )
    return tuple(verbs)


def _read_adjectives(table: str, leading: bool) -> tuple[Adjective, ...]:
    adjectives = []
    for line in table.strip().splitlines():
        words, kinds, *copula = (column.strip() for column in line.split("|"))
        lemma, spanish = words.split(" = ")
        forms = spanish.replace("-", " ").split() if "de-" not in spanish else ["de madera"] * 4
        four = tuple(forms) if len(forms) == 4 else spanish_adjective(forms[0])
        adjectives.append(
            Adjective(lemma, four, frozenset(kinds.split()), "".join(copula), leading)  # type: ignore
        )
    return tuple(adjectives)


def read_lexicon() -> Lexicon:
    """Parse the tables and inflect every word."""
    nouns = _read_nouns()
    kinds: dict[str, tuple[Noun, ...]] = {}
    for noun in nouns.values():
        kinds[noun.kind] = (*kinds.get(noun.kind, ()), noun)
    tables = {
        "transitive": _TRANSITIVE,
        "prepositional": _PREPOSITIONAL,
        "intransitive": _INTRANSITIVE,
        "ditransitive": _DITRANSITIVE,
        "reporting": _REPORTING,
    }
    return Lexicon(
        nouns=nouns,
        kinds=kinds,
        adjectives=_read_adjectives(_ADJECTIVES, leading=False)
        + _read_adjectives(_LEADING_ADJECTIVES, leading=True),
        verbs={frame: _read_verbs(table, frame, nouns) for frame, table in tables.items()},
    )
