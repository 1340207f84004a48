"""A grammar of a subset of Python for `llguidance`, over characters.

The subset has all expressions, all simple statements, and compound statements whose body stands on the
same line or follows indented; at the end of a program it may be missing, as in "else:". Two characters
stand for layout: `IND` opens a level of indentation, `DED` closes one. Comments and statements of
Python 2 are not in it.
"""

from __future__ import annotations

IND, DED = "\x01", "\x02"

_KEYWORDS = """
False None True and as assert async await break class continue def del elif else except finally for from
global if import in is lambda nonlocal not or pass raise return try while with yield
"""
KEYWORDS = tuple(_KEYWORDS.split())

_BINARY = "+ - * / // % ** @ << >> & | ^ < > <= >= == !="
_ASSIGN = "= += -= *= /= //= %= **= &= |= ^= >>= <<= @="


def _choice(signs: str) -> str:
    return " | ".join(f'"{sign}"' for sign in signs.split())


_INTEGER = "0[xX][0-9a-fA-F]+|0[bB][01]+|0[oO][0-7]+"
_DIGITS = "[0-9]+(_[0-9]+)*"
_DECIMAL = rf"({_DIGITS}\.?({_DIGITS})?|\.{_DIGITS})([eE][+\-]?{_DIGITS})?[jJ]?"


GRAMMAR = rf"""%llguidance {{"no_forcing": true}}
start: body | (stmt "\n")* head ":"
body: stmt ("\n" stmt)*
stmt: simple | compound
simple: small (";" small)* ";"?
small: tests (assign value)* | primary ":" test ("=" value)? | "del" tests | "pass" | "break" | "continue"
  | "return" value? | "raise" (test ("from" test)?)? | "global" names | "nonlocal" names
  | "assert" test ("," test)? | import | yielding
value: tests | yielding
yielding: "yield" ("from" test | tests)?
import: "import" dotted_as ("," dotted_as)*
  | "from" ("." | "...")* dotted? "import" ("*" | "(" as_names ","? ")" | as_names)
dotted_as: dotted ("as" NAME)?
dotted: NAME ("." NAME)*
as_names: as_name ("," as_name)*
as_name: NAME ("as" NAME)?
names: NAME ("," NAME)*
compound: head ":" (simple | suite) | "@" test
suite: "\n" IND body DED
head: "if" test | "elif" test | "else" | "while" test | "async"? "for" targets "in" tests
  | "try" | "except" ("*"? test ("as" NAME | "," NAME)?)? | "finally"
  | "async"? "with" item ("," item)*
  | "async"? "def" NAME "(" parameters? ")" ("->" test)? | "class" NAME ("(" arguments? ")")?
item: test ("as" target)?
targets: target ("," target)* ","?
target: "*"? primary
parameters: parameter ("," parameter)* ","?
parameter: NAME (":" test)? ("=" test)? | "*" NAME? | "**" NAME | "/"
arguments: argument ("," argument)* ","?
argument: test comp? | NAME "=" test | NAME ":=" test | "*" test | "**" test
tests: starred ("," starred)* ","?
starred: "*"? named
named: test | NAME ":=" test
test: flat ("if" flat "else" test)? | "lambda" lambda_names? ":" test
lambda_names: lambda_name ("," lambda_name)* ","?
lambda_name: NAME ("=" test)? | "*" NAME? | "**" NAME
flat: unary (binary unary)*
binary: {_choice(_BINARY)} | "and" | "or" | "in" | "not" "in" | "is" "not"?
unary: ("not" | "-" | "+" | "~" | "await")* primary
primary: atom (trailer)*
trailer: "(" arguments? ")" | "[" subscripts "]" | "." NAME
subscripts: subscript ("," subscript)* ","?
subscript: named | test? ":" test? (":" test?)? | "*" test
atom: NAME | NUMBER | STRING+ | "..." | "None" | "True" | "False"
  | "(" ")" | "(" (named comp | tests | yielding) ")"
  | "[" "]" | "[" (named comp | tests) "]"
  | "{{" "}}" | "{{" (pair comp | pair ("," pair)* ","? | named comp | tests) "}}"
pair: test ":" test | "**" test
comp: ("async"? "for" targets "in" flat ("if" (flat | "lambda" lambda_names? ":" test))*)+
assign: {_choice(_ASSIGN)}
NAME: /[^\W\d]\w*/ & ~/({"|".join(KEYWORDS)})/
NUMBER: /({_INTEGER}|{_DECIMAL})/
STRING: /[rRbBuUfF]{{0,2}}("([^"\\\n]|\\.)*"|'([^'\\\n]|\\.)*')/
  | /[rRbBuUfF]{{0,2}}\x22\x22\x22([^\x22\\]|\\.|\x22[^\x22]|\x22\x22[^\x22])*\x22\x22\x22/
  | /[rRbBuUfF]{{0,2}}'''([^'\\]|\\.|'[^']|''[^'])*'''/
IND: "\x01"
DED: "\x02"
%ignore /[ \t\f]+/
"""
