"""The SQL that training data may hold: what a decoder can write, and why it cannot write the rest."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from asking import write_database
from query_pieces import refused_at

from unrolled.sql.database import Database
from unrolled.sql.grammar import QueryGrammar
from unrolled.sql.parsing import QueryError
from unrolled.sql.pieces import WORD_MARK, to_pieces
from unrolled.sql.source import Source, open_source
from unrolled.sql.target import to_sql

pytest.importorskip("llguidance")

SCRIPT = """
create table product (id integer primary key, name text, category text, price real, stock integer);
create table orders (id integer primary key, product_id integer references product (id),
  customer text, quantity integer, made date);
insert into product values (1, 'tea', 'kitchen', 3.5, 120), (2, 'pot', 'kitchen', 24, 7),
  (3, 'hose', 'garden', 20, 0), (4, 'rake', 'garden', 12, NULL), (5, NULL, NULL, NULL, 3);
insert into orders values (1, 1, 'Ana', 2, '2024-05-03'), (2, 1, 'Bo', 1, '2024-05-20'),
  (3, 2, 'Ana', 4, '2023-11-02'), (4, 3, 'Cy', NULL, '2024-01-09');
"""

WRITTEN = """
SELECT CASE WHEN price > 10 THEN 'dear' ELSE 'cheap' END FROM product
SELECT CASE category WHEN 'garden' THEN 1 WHEN 'kitchen' THEN 2 END FROM product
SELECT SUM(CASE WHEN price > 10 THEN 1 ELSE 0 END) FROM product
SELECT name FROM product ORDER BY CASE WHEN category = 'garden' THEN 0 ELSE 1 END, name
SELECT CAST(price AS INTEGER) FROM product
SELECT CAST(stock AS REAL) / 2 FROM product
SELECT CAST(price AS TEXT) || '!' FROM product
SELECT name || ' (' || category || ')' FROM product
SELECT name FROM product WHERE category IS NULL
SELECT name FROM product WHERE NOT category IS NULL
SELECT name FROM product WHERE category ISNULL
SELECT name FROM product WHERE category NOTNULL
SELECT name FROM product WHERE category IS 'garden'
SELECT name FROM product WHERE name LIKE '%ea'
SELECT name FROM product WHERE name NOT LIKE 't%'
SELECT name FROM product WHERE name LIKE '10!%' ESCAPE '!'
SELECT name FROM product WHERE price BETWEEN 10 AND 22
SELECT name FROM product WHERE price NOT BETWEEN 10 AND 22
SELECT name FROM product WHERE category IN ('garden', 'kitchen')
SELECT name FROM product WHERE category NOT IN ('garden')
SELECT name FROM product WHERE id IN (1, 2, -3)
SELECT name FROM product WHERE id NOT IN (SELECT product_id FROM orders)
SELECT name FROM product UNION SELECT customer FROM orders
SELECT name FROM product UNION ALL SELECT customer FROM orders ORDER BY 1 LIMIT 3
SELECT id FROM product EXCEPT SELECT product_id FROM orders
SELECT id FROM product INTERSECT SELECT product_id FROM orders
SELECT name FROM product UNION SELECT customer FROM orders UNION SELECT category FROM product
SELECT a.name, b.name FROM product a JOIN product b ON a.category = b.category AND a.id < b.id
SELECT p.name, o.customer FROM product p LEFT JOIN orders o ON o.product_id = p.id
SELECT p.name FROM product p LEFT OUTER JOIN orders o ON o.product_id = p.id WHERE o.id IS NULL
SELECT p.name FROM product p RIGHT JOIN orders o ON o.product_id = p.id
SELECT p.name FROM product p FULL OUTER JOIN orders o ON o.product_id = p.id
SELECT name, (SELECT COUNT(*) FROM orders WHERE product_id = product.id) FROM product
SELECT AVG(n) FROM (SELECT COUNT(*) AS n FROM orders GROUP BY product_id)
SELECT AVG(t.n) FROM (SELECT COUNT(*) AS n FROM orders GROUP BY product_id) AS t
SELECT category FROM product GROUP BY category HAVING COUNT(*) > 1
SELECT category FROM product GROUP BY category HAVING AVG(price) > (SELECT AVG(price) FROM product)
SELECT name FROM product ORDER BY category DESC, price ASC, name
SELECT name FROM product ORDER BY price DESC NULLS LAST
SELECT price * stock + 1 FROM product
SELECT (price + 1) * 2 - stock / 3 FROM product
SELECT stock % 7 FROM product
SELECT -price FROM product
SELECT COUNT(DISTINCT category) FROM product
SELECT COUNT(DISTINCT category), COUNT(category), COUNT(*) FROM product
SELECT DISTINCT category, stock FROM product
SELECT strftime('%Y', made), COUNT(*) FROM orders GROUP BY strftime('%Y', made)
SELECT COUNT(*) FROM orders WHERE STRFTIME('%m', made) = '05'
SELECT DATE(made, 'start of month') FROM orders
SELECT DATE('now') FROM orders
SELECT julianday(made) - julianday('2024-01-01') FROM orders
SELECT DATETIME(made) FROM orders
SELECT substr(made, 1, 4) FROM orders
SELECT UPPER(name), LENGTH(name), ROUND(price, 1), COALESCE(stock, 0) FROM product
SELECT IFNULL(stock, 0), NULLIF(stock, 0), ABS(price) FROM product
SELECT IIF(price > 10, 'a', 'b') FROM product
SELECT MAX(price, stock) FROM product
SELECT GROUP_CONCAT(name, ', ') FROM product GROUP BY category
SELECT GROUP_CONCAT(name) FROM product
SELECT TOTAL(price) FROM product
SELECT name FROM product LIMIT 2 OFFSET 1
SELECT name FROM product LIMIT 1, 2
SELECT name FROM product WHERE EXISTS (SELECT 1 FROM orders WHERE product_id = product.id)
SELECT name FROM product WHERE NOT EXISTS (SELECT * FROM orders WHERE product_id = product.id)
SELECT name FROM product WHERE NOT (price > 10 OR stock = 0)
SELECT name FROM product WHERE price > 10 AND (stock = 0 OR category = 'garden')
SELECT name FROM product WHERE price <> 10 AND stock != 3
SELECT name FROM product WHERE price == 12
SELECT price > 10 FROM product
SELECT name AS n FROM product WHERE n = 'tea'
SELECT category AS c, COUNT(*) AS n FROM product GROUP BY c ORDER BY n DESC
SELECT t.* FROM product AS t
SELECT *, price * 2 FROM product
SELECT 1
SELECT 'a' || 'b'
SELECT name FROM (SELECT name FROM product UNION SELECT customer FROM orders)
SELECT name FROM product WHERE price = (SELECT MAX(price) FROM product)
SELECT name FROM product p WHERE price > (SELECT AVG(price) FROM product b WHERE b.category = p.category)
SELECT name FROM main.product
SELECT [name] FROM `product`
SELECT name FROM product WHERE price > 1e3
SELECT name FROM product WHERE id = 0x10
SELECT name FROM product -- comment
SELECT name FROM product;
SELECT name FROM product WHERE TRUE
SELECT name FROM product GROUP BY category, name
SELECT name FROM product GROUP BY 1
SELECT COUNT(*) FROM product JOIN (SELECT product_id FROM orders) AS o ON o.product_id = product.id
""".strip().splitlines()
"""Queries that come back with the same rows, and that the grammar accepts."""

OF_OTHER_DIALECTS = [
    (
        "SELECT name FROM product WHERE name ILIKE 'T%'",
        "SELECT product.name FROM product WHERE LOWER(product.name) LIKE LOWER('T%')",
    ),
    (
        "SELECT name FROM product FETCH FIRST 2 ROWS ONLY",
        "SELECT product.name FROM product LIMIT 2",
    ),
]
"""Queries that SQLite does not run as they are, and how they come back."""

REWRITTEN = [
    (
        "WITH dear AS (SELECT name FROM product WHERE price > 10) SELECT * FROM dear",
        "SELECT * FROM (SELECT product.name FROM product WHERE product.price > 10) AS d0",
    ),
    (
        "WITH dear AS (SELECT name, price FROM product WHERE price > 10) SELECT name FROM "
        "dear WHERE price < 22",
        "SELECT d0.name FROM (SELECT product.name, product.price FROM product WHERE "
        "product.price > 10) AS d0 WHERE d0.price < 22",
    ),
    (
        "WITH a AS (SELECT id FROM product), b AS (SELECT id FROM a WHERE id > 1) SELECT "
        "COUNT(*) FROM b",
        "SELECT COUNT(*) FROM (SELECT d1.id FROM (SELECT product.id FROM product) AS d1 "
        "WHERE d1.id > 1) AS d0",
    ),
    (
        "WITH m AS (SELECT AVG(price) AS p FROM product) SELECT name FROM product, m WHERE "
        "price > m.p",
        "SELECT product.name FROM product, (SELECT AVG(product.price) AS a0 FROM product) AS "
        "d0 WHERE product.price > d0.a0",
    ),
    (
        "WITH m(p) AS (SELECT AVG(price) FROM product) SELECT name FROM product WHERE price "
        "> (SELECT p FROM m)",
        "SELECT product.name FROM product WHERE product.price > (SELECT d0.a0 FROM (SELECT "
        "AVG(product.price) AS a0 FROM product) AS d0)",
    ),
    (
        "WITH d AS (SELECT id FROM product) SELECT x.id FROM d AS x JOIN d AS y ON x.id = y.id",
        "SELECT d0.id FROM (SELECT product.id FROM product) AS d0 JOIN (SELECT product.id "
        "FROM product) AS d1 ON d0.id = d1.id",
    ),
    (
        "SELECT name FROM product WHERE id IN (WITH o AS (SELECT product_id FROM orders) "
        "SELECT product_id FROM o)",
        "SELECT product.name FROM product WHERE product.id IN (SELECT d0.product_id FROM "
        "(SELECT orders.product_id FROM orders) AS d0)",
    ),
    (
        "SELECT CAST(price AS VARCHAR(10)) FROM product",
        "SELECT CAST(product.price AS TEXT) FROM product",
    ),
    (
        "SELECT name FROM product WHERE category IS NOT NULL",
        "SELECT product.name FROM product WHERE product.category IS NOT NULL",
    ),
    (
        "SELECT name AS x FROM product UNION SELECT customer FROM orders ORDER BY x",
        "SELECT product.name AS a0 FROM product UNION SELECT orders.customer FROM orders "
        "ORDER BY 1",
    ),
    (
        "SELECT p.name FROM product p CROSS JOIN orders o",
        "SELECT product.name FROM product, orders",
    ),
    (
        "SELECT p.name FROM product p NATURAL JOIN orders o",
        "SELECT product.name FROM product JOIN orders ON product.id = orders.id",
    ),
    (
        "SELECT p.name FROM product p JOIN orders o USING (id)",
        "SELECT product.name FROM product JOIN orders ON product.id = orders.id",
    ),
    (
        "SELECT name FROM (product JOIN orders ON product.id = orders.product_id)",
        "SELECT product.name FROM product JOIN orders ON product.id = orders.product_id",
    ),
]
"""Queries that come back in another form."""

REFUSED = [
    (
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3) SELECT "
        "i FROM n",
        "WITH is recursive ('n'), which is not supported",
    ),
    (
        "SELECT name FROM product WHERE price > ALL (SELECT price FROM product WHERE "
        "category = 'garden')",
        "SQLite has no ALL and ANY; compare with (SELECT MAX(…)) or (SELECT MIN(…))",
    ),
    (
        "SELECT name FROM product WHERE price > ANY (SELECT price FROM product WHERE "
        "category = 'garden')",
        "SQLite has no ALL and ANY; compare with (SELECT MAX(…)) or (SELECT MIN(…))",
    ),
    (
        "SELECT name FROM product WHERE price = SOME (SELECT price FROM product)",
        "SQLite has no ALL and ANY; compare with (SELECT MAX(…)) or (SELECT MIN(…))",
    ),
    (
        "SELECT name, RANK() OVER (ORDER BY price) FROM product",
        "window functions (OVER) are not supported",
    ),
    (
        "SELECT category, SUM(price) OVER (PARTITION BY category) FROM product",
        "window functions (OVER) are not supported",
    ),
    (
        "SELECT ROW_NUMBER() OVER () FROM product",
        "window functions (OVER) are not supported",
    ),
    (
        "SELECT CAST(price AS NUMERIC) FROM product",
        "CAST to DECIMAL is not supported; use INTEGER, REAL or TEXT",
    ),
    (
        "SELECT name FROM product WHERE name GLOB 't*'",
        "GLOB, REGEXP and MATCH are not supported; use LIKE",
    ),
    (
        "SELECT name FROM product WHERE (id, name) IN (SELECT product_id, customer FROM orders)",
        "lists of columns in parentheses, such as (a, b) IN (…), are not supported",
    ),
    (
        "SELECT name FROM product ORDER BY name COLLATE NOCASE",
        "COLLATE is not supported",
    ),
    (
        "SELECT name FROM product WHERE name = 'TEA' COLLATE NOCASE",
        "COLLATE is not supported",
    ),
    (
        "SELECT stock & 1 FROM product",
        "operators on bits (&, |, ~, <<, >>) are not supported",
    ),
    (
        "SELECT stock << 1 FROM product",
        "operators on bits (&, |, ~, <<, >>) are not supported",
    ),
    (
        "SELECT ~stock FROM product",
        "operators on bits (&, |, ~, <<, >>) are not supported",
    ),
    (
        "SELECT COUNT(DISTINCT category, name) FROM product",
        "DISTINCT of several columns in an aggregate is not supported",
    ),
    (
        "SELECT COUNT(*) FILTER (WHERE price > 10) FROM product",
        "FILTER is not supported; use CASE in the aggregate",
    ),
    (
        "SELECT name FROM product LIMIT 1 + 1",
        "LIMIT and OFFSET need a number",
    ),
    (
        "SELECT price > 10 AND stock > 1 FROM product",
        "a condition in SELECT is not supported; use CASE WHEN … THEN 1 ELSE 0 END",
    ),
    (
        "SELECT name IN ('tea', 'pot') FROM product",
        "a condition in SELECT is not supported; use CASE WHEN … THEN 1 ELSE 0 END",
    ),
    (
        "SELECT category IS NULL FROM product",
        "a condition in SELECT is not supported; use CASE WHEN … THEN 1 ELSE 0 END",
    ),
    (
        "SELECT NULL FROM product",
        "NULL can only stand after IS, THEN and ELSE, and in the arguments of functions",
    ),
    (
        "SELECT name FROM product WHERE stock = NULL",
        "NULL can only stand after IS, THEN and ELSE, and in the arguments of functions",
    ),
    (
        "SELECT TOP 3 name FROM product",
        "the query is not SQL: Invalid expression / Unexpected token. Line 1, Col: 12",
    ),
    (
        "SELECT EXTRACT(YEAR FROM made) FROM orders",
        "SQLite has no EXTRACT; use STRFTIME",
    ),
    (
        "SELECT YEAR(made) FROM orders",
        "the function 'YEAR' is not supported",
    ),
    (
        "SELECT CONCAT(name, category) FROM product",
        "the function 'CONCAT' is not supported",
    ),
    (
        "SELECT PRINTF('%d', price) FROM product",
        "the function 'PRINTF' is not supported",
    ),
    (
        "SELECT RANDOM() FROM product",
        "the function 'RANDOM' is not supported",
    ),
    (
        "SELECT name FROM product WHERE name REGEXP 't.*'",
        "GLOB, REGEXP and MATCH are not supported; use LIKE",
    ),
    (
        "SELECT name FROM product WHERE made IS NULL",
        "no table in FROM has a column 'made'",
    ),
    (
        "SELECT rowid FROM product",
        "no table in FROM has a column 'rowid'",
    ),
    (
        "SELECT name FROM product WHERE name = x'00'",
        "values of bytes (x'…') are not supported",
    ),
    (
        "SELECT name FROM product WHERE price > ?",
        "the query has a parameter; write the value",
    ),
    (
        "VALUES (1)",
        "expected a SELECT, found 'VALUES'",
    ),
    (
        "SELECT name FROM product WHERE price > 10 ORDER BY price LIMIT 1 UNION SELECT 'x'",
        "ORDER BY and LIMIT within a UNION are not supported",
    ),
    (
        "(SELECT name FROM product) UNION (SELECT customer FROM orders)",
        "a UNION of queries in parentheses is not supported; remove these",
    ),
]
"""Queries that cannot be written, and why."""


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Source:
    return open_source(write_database(tmp_path_factory.mktemp("sql") / "shop.sqlite", SCRIPT))


@pytest.fixture(scope="module")
def database(source: Source) -> Iterator[Database]:
    with Database(source.path) as database:
        yield database


def _check(query: str, source: Source) -> str:
    """The query that comes back; the grammar must accept its pieces."""
    tokens = source.tokens(query)
    pieces = to_pieces(tokens)
    strings = (piece for piece in pieces if isinstance(piece, str))
    keywords = list(dict.fromkeys(text for text in strings if not text.startswith(WORD_MARK)))
    assert refused_at(pieces, QueryGrammar(source.schema, keywords)) is None
    sql = to_sql(tokens, source.schema)
    assert source.tokens(sql) == tokens
    return sql


@pytest.mark.parametrize("query", [*WRITTEN, *(query for query, _ in REWRITTEN)])
def test_a_query_comes_back_with_the_same_rows(
    query: str, source: Source, database: Database
) -> None:
    sql = _check(query, source)
    # Repr, as 1 is not '1' here; the order is not defined without ORDER BY.
    rows, expected = (list(map(repr, database.run(each).rows)) for each in (sql, query))
    assert rows == expected if "ORDER BY" in query else sorted(rows) == sorted(expected)


@pytest.mark.parametrize(("query", "sql"), [*REWRITTEN, *OF_OTHER_DIALECTS])
def test_a_query_is_rewritten(query: str, sql: str, source: Source) -> None:
    assert _check(query, source) == sql


@pytest.mark.parametrize(("query", "problem"), REFUSED)
def test_what_cannot_be_written_is_refused(query: str, problem: str, source: Source) -> None:
    with pytest.raises(QueryError) as error:
        source.tokens(query)
    assert str(error.value) == problem


def test_names_in_with_hide_tables(source: Source) -> None:
    query = "WITH orders AS (SELECT name FROM product) SELECT COUNT(*) FROM orders"
    assert source.run(_check(query, source)).rows == ((5,),)
    query = "WITH orders AS (SELECT name FROM product) SELECT COUNT(*) FROM main.orders"
    assert source.run(_check(query, source)).rows == ((4,),)


def test_with_that_grows_without_end_is_refused(source: Source) -> None:
    queries = ["t0 AS (SELECT id FROM product)"]
    queries += [f"t{n + 1} AS (SELECT a.id FROM t{n} a, t{n} b)" for n in range(9)]
    with pytest.raises(QueryError, match="more than 50 subqueries"):
        source.tokens(f"WITH {', '.join(queries)} SELECT id FROM t9")
