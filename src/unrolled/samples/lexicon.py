"""Words of the phrasebook: English and Spanish lemmas, their classes, and every inflected form.

The tables are written by hand; regular forms come from the rules below, irregular ones are spelled
out. Each English word has exactly one Spanish counterpart in each frame, so that a translation is
determined by its source: professions have a fixed gender (`doctor` is *la doctora*, `teacher` is
*el maestro*), and `you` is always one friend, *tú*.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import NamedTuple

SINGULAR, PLURAL = 0, 1
MASCULINE, FEMININE = 0, 1

FIRST, SECOND, THIRD, FIRST_PLURAL, THIRD_PLURAL = range(5)
"""Grammatical persons, the order of the five forms in every Spanish paradigm."""

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
  skirt = falda f; jacket = chaqueta f; tie = corbata f; glove = guante m; scarf/scarves = bufanda f;
  suit = traje m; boot = bota f
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

MASS_KINDS = frozenset({"dish", "drink"})
ON_PLACES = frozenset({"beach", "bridge", "street", "island"})
AT_PLACES = frozenset({"market", "station", "airport", "office", "university"})

_SETS = {
    "food": "fruit dish",
    "goods": "fruit dish drink text clothes object vehicle instrument",
    "wares": "fruit dish drink text clothes object",
    "things": "text clothes object vehicle instrument",
    "portable": "fruit text clothes",
    "writable": "+book +letter +poem +novel +story +report +message",
    "openable": "+suitcase +box +bottle +door +window +letter +museum +bank +store",
    "closable": "+suitcase +box +bottle +door +window +book +library +office +theater",
    "machine": "vehicle instrument +clock +lamp +phone +camera +computer +toy +table +chair +bridge",
    "fragile": "+lamp +clock +mirror +bottle +cup +plate +pencil +phone +camera +computer +toy +box"
    " +candle +window +chair",
    "drivable": "+car +bus +truck +motorcycle +boat",
    "crossable": "+bridge +street +square +park +city +garden +island",
    "cleanable": "+kitchen +office +school +church +street +table +mirror +lamp +window +door +shoe"
    " +boot +car +bicycle +boat +plate +knife +museum +restaurant +beach",
    "washable": "clothes +plate +cup +bottle +knife +apple +tomato +carrot +car +window +truck",
    "audible": "person instrument +story +bird +message",
    "living": "person animal",
    "hunters": "person +dog +cat +wolf +bear +lion +fox",
}

# English base past [third person] particle | Spanish infinitive change preposition | objects | tags
# tags: a = also animals as subjects, s = state (no manner, company or place; present only),
#       b = can be done "for" somebody, w = no place phrase
_TRANSITIVE = """
eat ate | comer | food | a
cook cooked | cocinar | food | b
prepare prepared | preparar | food drink | b
serve served | servir i | food drink |
order ordered | pedir i | food drink |
drink drank | beber | drink |
buy bought | comprar | goods | b
sell sold | vender | goods |
want wanted | querer | goods | s
need needed | necesitar | goods person | s
have had has | tener | goods | s
bring brought | traer | wares | b
find found | encontrar ue | goods person | a
lose lost | perder ie | things animal |
look looked for | buscar | goods person | a
choose chose | elegir | goods |
prefer preferred | preferir ie | goods | s
hide hid | esconder | wares | a
steal stole | robar | wares vehicle | a
see saw | ver | things person place | a
look looked at | mirar | things person place | a
admire admired | admirar | person place instrument |
paint painted | pintar | animal place object fruit | b
draw drew | dibujar | animal place object fruit | b
read read | leer | text |
write wrote | escribir | writable | b
translate translated | traducir | writable |
wear wore | llevar | clothes | s
wash washed | lavar | washable |
clean cleaned | limpiar | cleanable |
repair repaired | reparar | machine | b
break broke | romper | fragile | a
open opened | abrir | openable | w
close closed | cerrar ie | closable | w
drive drove | conducir | drivable |
play played | tocar | instrument | b
help helped | ayudar | person |
visit visited | visitar | person place | w
know knew | conocer | person place | s
call called | llamar | person |
wait waited for | esperar | person | a
listen listened to | escuchar | person |
hear heard | oír | audible | a
greet greeted | saludar | person |
invite invited | invitar | person | w
follow followed | seguir | person | a
remember remembered | recordar ue | person text place | s
love loved | amar | person | s
cross crossed | cruzar | crossable | aw
"""
_PREPOSITIONAL = """
go went to | ir - a | place | aw
return returned to | volver ue a | place | aw
come came from | venir - de | place | w
arrive arrived at | llegar - a | place | w
travel traveled to | viajar - a | +village +city +beach +island +castle +university +museum | w
live lived in | vivir - en | +village +city +castle +island +hotel +street | s
talk talked to | hablar - con | person |
dream dreamed of | soñar ue con | person things | s
"""
_INTRANSITIVE = """
work worked | trabajar | |
sleep slept | dormir ue | | a
run ran | correr | | a
sing sang | cantar | | b
dance danced | bailar | |
swim swam | nadar | | aw
rest rested | descansar | | a
cry cried | llorar | |
smile smiled | sonreír | |
study studied | estudiar | |
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

_IRREGULAR = {
    "leer": "leo lees lee leemos leen / leí leíste leyó leímos leyeron",
    "creer": "creo crees cree creemos creen / creí creíste creyó creímos creyeron",
    "traer": "traigo traes trae traemos traen / traje trajiste trajo trajimos trajeron",
    "querer": "quiero quieres quiere queremos quieren / quise quisiste quiso quisimos quisieron",
    "tener": "tengo tienes tiene tenemos tienen / tuve tuviste tuvo tuvimos tuvieron",
    "ver": "veo ves ve vemos ven / vi viste vio vimos vieron",
    "conducir": "conduzco conduces conduce conducimos conducen"
    " / conduje condujiste condujo condujimos condujeron",
    "traducir": "traduzco traduces traduce traducimos traducen"
    " / traduje tradujiste tradujo tradujimos tradujeron",
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
    "elegir": "elijo eliges elige elegimos eligen / elegí elegiste eligió elegimos eligieron",
    "sonreír": "sonrío sonríes sonríe sonreímos sonríen"
    " / sonreí sonreíste sonrió sonreímos sonrieron",
    "enviar": "envío envías envía enviamos envían / envié enviaste envió enviamos enviaron",
}

# English = Spanish masculine singular [feminine masculine-plural feminine-plural] | kinds | copula
# The copula is "ser" for what something is like and "estar" for the state it is in.
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
# Adjectives that stand before the Spanish noun; the first form is the shortened masculine.
_LEADING_ADJECTIVES = """
good = buen buena buenos buenas | person animal fruit dish drink text vehicle instrument place
bad = mal mala malos malas | person text vehicle place
great = gran gran grandes grandes | person text place
first = primer primera primeros primeras | person text vehicle
last = último última últimos últimas | person fruit text vehicle
"""

LONG_ADJECTIVES = frozenset(
    "famous intelligent elegant expensive beautiful interesting boring modern hardworking".split()
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
"""English pronoun: person, Spanish subject ("" where Spanish leaves it out), object clitic."""

SER = ("soy eres es somos son".split(), "era eras era éramos eran".split())
ESTAR = ("estoy estás está estamos están".split(), "estaba estabas estaba estábamos estaban".split())
TENER = ("tengo tienes tiene tenemos tienen".split(), "tenía tenías tenía teníamos tenían".split())
BE = ("am are is are are".split(), "was were was were were".split())


@dataclass(frozen=True, eq=False)
class Noun:
    """A noun; `english` and `spanish` hold (singular, plural)."""

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
    """A verb in one frame; `lemma` is `base` with its particle: "look for" is not "look at"."""

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


class Lexicon(NamedTuple):
    """All words, by class."""

    nouns: dict[str, Noun]
    kinds: dict[str, tuple[Noun, ...]]
    adjectives: tuple[Adjective, ...]
    verbs: dict[str, tuple[Verb, ...]]


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
    # estación, estaciones: an accent on the last vowel is no longer written before -es or -a.
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
    "ar": ("o as a amos an".split(), "é aste ó amos aron".split()),
    "er": ("o es e emos en".split(), "í iste ió imos ieron".split()),
    "ir": ("o es e imos en".split(), "í iste ió imos ieron".split()),
}


def conjugate(infinitive: str, change: str = "") -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Present and preterite, five persons each: yo, tú, él, nosotros, ellos.

    `change` is what the stressed last vowel of the stem becomes: "ie", "ue" or "i".

    >>> conjugate("dormir", "ue")[1]
    ('dormí', 'dormiste', 'durmió', 'dormimos', 'durmieron')
    >>> conjugate("buscar")[1][0], conjugate("cruzar")[1][0], conjugate("llegar")[1][0]
    ('busqué', 'crucé', 'llegué')
    """
    if infinitive in _IRREGULAR:
        present, preterite = (part.split() for part in _IRREGULAR[infinitive].split("/"))
        return tuple(present), tuple(preterite)
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
