"""The two databases: their tables, their content, and how people speak of them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from random import Random
from typing import Literal

Kind = Literal["text", "number", "date"]


@dataclass(frozen=True)
class Attribute:
    """A column and how it is spoken of.

    Args:
        column: the column.
        noun: what it is called in a question, e.g. "price".
        kind: what its values are.
        with_value: a text before a value of text: "in" as in "products in garden".
        above, below: for numbers, the comparison: "cost more than", "cost less than".
        most, least: for numbers and dates, the adjective: "most expensive", "cheapest".
        after, before: for dates: "joined after", "joined before", "joined in".
    """

    column: str
    noun: str
    kind: Kind
    with_value: str = ""
    above: str = ""
    below: str = ""
    most: str = ""
    least: str = ""


@dataclass(frozen=True)
class Entity:
    """A table of things or people with a name."""

    table: str
    name: str
    singular: str
    plural: str
    relative: Literal["who", "that"]
    attributes: tuple[Attribute, ...]


@dataclass(frozen=True)
class Event:
    """A table that links people and things: who did what with which, when, and how much."""

    table: str
    singular: str
    plural: str
    past: str
    infinitive: str
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
    "product",
    "products",
    "that",
    (
        Attribute("category", "category", "text", "in the category"),
        Attribute(
            "price",
            "price",
            "number",
            above="cost more than",
            below="cost less than",
            most="most expensive",
            least="cheapest",
        ),
        Attribute(
            "stock",
            "stock",
            "number",
            above="have a stock above",
            below="have a stock below",
            most="best stocked",
            least="least stocked",
        ),
    ),
)
_CUSTOMER = Entity(
    "customer",
    "name",
    "customer",
    "customers",
    "who",
    (
        Attribute("city", "city", "text", "from"),
        Attribute("joined", "joining date", "date", "joined", most="newest", least="oldest"),
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
        "order",
        "orders",
        "ordered",
        "order",
        _CUSTOMER,
        "customer_id",
        _PRODUCT,
        "product_id",
        "ordered",
        Attribute(
            "quantity", "quantity", "number", above="a quantity above", below="a quantity below"
        ),
    ),
)

_BOOK = Entity(
    "book",
    "title",
    "book",
    "books",
    "that",
    (
        Attribute("genre", "genre", "text", "of the genre"),
        Attribute(
            "pages",
            "number of pages",
            "number",
            above="have more pages than",
            below="have fewer pages than",
            most="longest",
            least="shortest",
        ),
        Attribute(
            "copies",
            "number of copies",
            "number",
            above="have more copies than",
            below="have fewer copies than",
            most="most copied",
            least="rarest",
        ),
    ),
)
_MEMBER = Entity(
    "member",
    "full_name",
    "member",
    "members",
    "who",
    (
        Attribute("town", "town", "text", "living in"),
        Attribute("since", "enrolment date", "date", "enrolled", most="newest", least="oldest"),
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
        "loan",
        "loans",
        "borrowed",
        "borrow",
        _MEMBER,
        "member_id",
        _BOOK,
        "book_id",
        "borrowed",
        Attribute(
            "days", "number of days", "number", above="more days than", below="fewer days than"
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
