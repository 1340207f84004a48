"""The two databases: their tables, their content, and how people speak of them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from random import Random
from typing import Literal

Kind = Literal["text", "number", "date"]


@dataclass(frozen=True)
class Attribute:
    """A column and how people speak of it; the first of several words is the most common one.

    Args:
        column: the column.
        nouns: what it is called in a question, e.g. "price", "cost".
        kind: what its values are.
        groups: for text, the nouns in the plural.
        adjuncts: for text, what follows a noun: "from {}" as in "customers from Oslo".
        clauses: for text, the same with a verb: "live in {}".
        verbs: for dates, a verb in the past: "joined".
        above, below: for numbers, comparisons with a verb: "cost more than {}".
        over, under: the same without a verb: "over {}".
        most, least: for numbers and dates, adjectives: "most expensive", "cheapest".
        asks: questions for the value of one row: "how much does {} cost".
        sums: for numbers, questions for the total of some rows: "how many {} are in stock".
    """

    column: str
    nouns: tuple[str, ...]
    kind: Kind
    groups: tuple[str, ...] = ()
    adjuncts: tuple[str, ...] = ()
    clauses: tuple[str, ...] = ()
    verbs: tuple[str, ...] = ()
    above: tuple[str, ...] = ()
    below: tuple[str, ...] = ()
    over: tuple[str, ...] = ()
    under: tuple[str, ...] = ()
    most: tuple[str, ...] = ()
    least: tuple[str, ...] = ()
    asks: tuple[str, ...] = ()
    sums: tuple[str, ...] = ()


@dataclass(frozen=True)
class Entity:
    """A table of things or people with a name.

    Args:
        table: the table.
        name: its column with names.
        nouns: what a row is called, in the singular and in the plural.
        relative: the relative pronoun.
        attributes: its other columns.
    """

    table: str
    name: str
    nouns: tuple[tuple[str, str], ...]
    relative: Literal["who", "that"]
    attributes: tuple[Attribute, ...]


@dataclass(frozen=True)
class Event:
    """A table that links people and things: who did what with which, when, and how much.

    Args:
        table: the table.
        nouns: what a row is called, in the singular and in the plural.
        past: what people did with things: "ordered".
        infinitive: the same in the infinitive.
        made: what people did with an event: ("place", "placed").
        article: what stands before the name of a thing.
        subject, thing: who did it, and with what.
        subject_key, thing_key: the columns that refer to these.
        day: the column with the day.
        amount: the column that says how much.
    """

    table: str
    nouns: tuple[tuple[str, str], ...]
    past: tuple[str, ...]
    infinitive: tuple[str, ...]
    made: tuple[tuple[str, str], ...]
    article: str
    subject: Entity
    subject_key: str
    thing: Entity
    thing_key: str
    day: str
    amount: Attribute


@dataclass(frozen=True)
class Domain:
    """A database and its language."""

    name: str
    script: str
    subject: Entity
    thing: Entity
    event: Event


_PRODUCT = Entity(
    "product",
    "name",
    (("product", "products"), ("item", "items"), ("article", "articles"), ("thing", "things")),
    "that",
    (
        Attribute(
            "category",
            ("category", "kind", "type"),
            "text",
            groups=("categories", "kinds", "types"),
            adjuncts=(
                "in the category {}",
                "in the {} category",
                "of the category {}",
                "from the {} category",
                "in {}",
                "from {}",
                "for the {}",
            ),
            clauses=("are in the {} category", "belong to the category {}", "are for the {}"),
            asks=("which category is {} in", "what kind of product is {}"),
        ),
        Attribute(
            "price",
            ("price", "cost"),
            "number",
            above=("cost more than {}", "cost over {}", "are more expensive than {}"),
            below=("cost less than {}", "cost under {}", "are cheaper than {}"),
            over=("over {}", "above {}", "costing more than {}", "with a price above {}"),
            under=("under {}", "below {}", "costing less than {}", "with a price below {}"),
            most=("most expensive", "priciest", "dearest"),
            least=("cheapest", "least expensive"),
            asks=("how much does {} cost", "how much is {}"),
        ),
        Attribute(
            "stock",
            ("stock", "number in stock", "inventory"),
            "number",
            above=("have a stock above {}", "have more than {} in stock", "have a stock over {}"),
            below=("have a stock below {}", "have fewer than {} in stock", "have a stock under {}"),
            over=("with a stock above {}", "with more than {} in stock"),
            under=("with a stock below {}", "with fewer than {} in stock"),
            most=("best stocked",),
            least=("least stocked", "worst stocked"),
            asks=("how many of {} are in stock", "how many of {} do we have"),
            sums=("how many {} are in stock", "how many {} do we have in stock altogether"),
        ),
    ),
)
_CUSTOMER = Entity(
    "customer",
    "name",
    (("customer", "customers"), ("client", "clients"), ("buyer", "buyers")),
    "who",
    (
        Attribute(
            "city",
            ("city", "town"),
            "text",
            groups=("cities", "towns"),
            adjuncts=("from {}", "in {}", "of {}", "living in {}"),
            clauses=("live in {}", "are from {}", "come from {}"),
            asks=("where does {} live", "where is {} from", "which city does {} live in"),
        ),
        Attribute(
            "joined",
            ("joining date", "date of joining"),
            "date",
            verbs=("joined", "signed up", "registered"),
            most=("newest", "most recent", "latest"),
            least=("oldest", "earliest", "first"),
            asks=("when did {} join", "when did {} sign up"),
        ),
    ),
)
SHOP = Domain(
    "shop",
    """
    CREATE TABLE product (id INTEGER PRIMARY KEY, name TEXT, category TEXT, price REAL, stock INTEGER);
    CREATE TABLE customer (id INTEGER PRIMARY KEY, name TEXT, city TEXT, joined DATE);
    CREATE TABLE orders (
        id INTEGER PRIMARY KEY,
        customer_id INTEGER REFERENCES customer (id),
        product_id INTEGER REFERENCES product (id),
        quantity INTEGER,
        ordered DATE
    );
    """,
    _CUSTOMER,
    _PRODUCT,
    Event(
        "orders",
        (("order", "orders"), ("purchase", "purchases")),
        ("ordered", "bought", "purchased"),
        ("order", "buy"),
        (("place", "placed"), ("make", "made")),
        "the ",
        _CUSTOMER,
        "customer_id",
        _PRODUCT,
        "product_id",
        "ordered",
        Attribute(
            "quantity",
            ("quantity", "number of units", "amount"),
            "number",
            sums=("how many units did {} {}", "how many items did {} {} in total"),
        ),
    ),
)

_BOOK = Entity(
    "book",
    "title",
    (("book", "books"),),
    "that",
    (
        Attribute(
            "genre",
            ("genre",),
            "text",
            groups=("genres",),
            adjuncts=("of the genre {}", "in the {} genre", "in the genre {}", "in {}"),
            clauses=("are in the {} genre", "belong to the genre {}"),
            asks=("which genre is {} in",),
        ),
        Attribute(
            "pages",
            ("number of pages",),
            "number",
            above=("have more pages than {}", "have more than {} pages"),
            below=("have fewer pages than {}", "have fewer than {} pages"),
            over=("with more than {} pages", "over {} pages"),
            under=("with fewer than {} pages", "under {} pages"),
            most=("longest",),
            least=("shortest",),
            asks=("how many pages does {} have",),
        ),
        Attribute(
            "copies",
            ("number of copies",),
            "number",
            above=("have more copies than {}", "have more than {} copies"),
            below=("have fewer copies than {}", "have fewer than {} copies"),
            over=("with more than {} copies",),
            under=("with fewer than {} copies",),
            most=("most copied",),
            least=("rarest",),
            asks=("how many copies of {} are there",),
        ),
    ),
)
_MEMBER = Entity(
    "member",
    "full_name",
    (("member", "members"),),
    "who",
    (
        Attribute(
            "town",
            ("town",),
            "text",
            groups=("towns",),
            adjuncts=("living in {}", "from {}", "in {}"),
            clauses=("live in {}", "are from {}"),
            asks=("which town does {} live in", "where does {} live"),
        ),
        Attribute(
            "since",
            ("enrolment date",),
            "date",
            verbs=("enrolled", "joined"),
            most=("newest",),
            least=("oldest",),
            asks=("when did {} enrol", "since when is {} a member"),
        ),
    ),
)
LIBRARY = Domain(
    "library",
    """
    CREATE TABLE book (id INTEGER PRIMARY KEY, title TEXT, genre TEXT, pages INTEGER, copies INTEGER);
    CREATE TABLE member (id INTEGER PRIMARY KEY, full_name TEXT, town TEXT, since DATE);
    CREATE TABLE loan (
        id INTEGER PRIMARY KEY,
        member_id INTEGER REFERENCES member (id),
        book_id INTEGER REFERENCES book (id),
        days INTEGER,
        borrowed DATE
    );
    """,
    _MEMBER,
    _BOOK,
    Event(
        "loan",
        (("loan", "loans"),),
        ("borrowed",),
        ("borrow",),
        (("make", "made"),),
        "",
        _MEMBER,
        "member_id",
        _BOOK,
        "book_id",
        "borrowed",
        Attribute(
            "days", ("number of days",), "number", sums=("for how many days did {} {} books",)
        ),
    ),
)

DOMAINS = (SHOP, LIBRARY)

_NAMES = """\
Ada Bell,Ben Cole,Carla Diaz,Dan Evans,Eva Fox,Finn Gray,Gina Hall,Hugo Ivers,Iris Jones,Jack King,\
Kim Lee,Leo Moss,Mia Nash,Noah Otis,Olga Park,Paul Quinn,Rosa Reed,Sam Stone,Tina Urban,Uma Vance,\
Victor Wood,Wendy Young,Xavier Zell,Yara Abbott,Zoe Barnes,Aaron Clark,Bella Davis,Chris Ellis"""
_PEOPLE = tuple(_NAMES.split(","))
_PLACES = ("Oslo", "Lima", "Porto", "Turin", "Leeds", "Bergen", "Malaga", "Ghent")
_THINGS = {
    "shop": (
        {
            "garden": "rake,spade,watering can,flower pot,hose,wheelbarrow",
            "kitchen": "kettle,toaster,frying pan,teapot,bread knife,mixing bowl",
            "office": "desk lamp,stapler,notebook,ink pen,paper tray,desk chair",
            "sport": "tennis ball,yoga mat,jump rope,bike pump,swim cap",
            "music": "guitar string,drum stick,tin whistle,music stand",
        }
    ),
    "library": (
        {
            "poetry": "Winter Leaves,The Quiet Shore,Songs of Salt,A Door of Rain",
            "history": "The Iron Road,Kings of the North,A City Falls,The Long Siege,Maps and Men",
            "science": "Seven Stars,The Small World,How Rivers Move,Light and Glass",
            "travel": "Ten Ports,Over the Ice,The Slow Train,Desert Letters",
            "crime": "The Last Witness,Cold Harbour,A Quiet Poison,Nine Keys",
        }
    ),
}
_FIRST_DAY = date(2023, 1, 1)
N_EVENTS = 240


def rows(domain: Domain) -> dict[str, list[tuple[object, ...]]]:
    """The content of a domain's database by table; always the same."""
    source = Random(f"rows of {domain.name}")
    pick = source.choice
    things: list[tuple[object, ...]] = []
    for category, names in _THINGS[domain.name].items():
        for name in names.split(","):
            number: float = source.randrange(4, 240)
            number = number + 0.5 if domain is SHOP and source.random() < 0.5 else number
            things.append((len(things) + 1, name, category, number, source.randrange(1, 90)))
    people: list[tuple[object, ...]] = [
        (i + 1, name, pick(_PLACES), _day(source, 500)) for i, name in enumerate(_PEOPLE)
    ]
    active_people, used_things = people[:-4], things[:-3]
    events: list[tuple[object, ...]] = [
        (
            i + 1,
            pick(active_people)[0],
            pick(used_things)[0],
            source.randrange(1, 12),
            _day(source, 720),
        )
        for i in range(N_EVENTS)
    ]
    event = domain.event
    return {event.thing.table: things, event.subject.table: people, event.table: events}


def _day(source: Random, n_days: int) -> str:
    return (_FIRST_DAY + timedelta(source.randrange(n_days))).isoformat()
