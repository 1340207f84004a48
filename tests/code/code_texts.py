"""Texts that look like code, for property-based tests."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st

PARTS = [
    *" " * 4, "  ", "    ", "        ", "\t", "\n", "\n", "\n\n", "\n    ", "\r\n", "\r\n  ", "\r",
    "\x0c", "\x0b", "\x1c", "\u2028", "\xa0", "\x00", "\ud800", "\udc00", "a", "x1", "getName",
    "HTTPServer", "snake_case", "__init__", "_", "if", "in", "import", "return", "is_ok", "10",
    "3.14", "0x1F", "1e-5", "1_000", "'", '"', "'''", '"""', "`", "it's", "\\", "\\\n", "\\n",
    "\\'", '\\"', "#", "# a", "(", ")", "[", "]", "{", "}", ".", ",", ":", ";", "=", "==", "+=",
    "-", "--", "->", "*", "**", "/", "//", "%", "%s", "@", "&&", "||", "$", "${", "$(", "~", "!",
    "!=", "<", ">", "<<", "f'", "f'{x!r:>{w}}'", "r'\\d+'", "b'", "...", "....", "--------", "é",
    "é", "犬", "😀", "ǅ", "²", "½", "<join>", "<space>", "<newline>", "<indent>", "<dedent>",
    "<spaced>", "<reset>", "<crlf>", "<0xC3>", "<unk>", "</s>",
]  # fmt: skip

code_like = st.lists(st.sampled_from(PARTS), max_size=30).map("".join)
any_text = st.text(st.characters(), max_size=60)  # lone surrogates included
texts = code_like | any_text

fuzz = settings(max_examples=200, deadline=None, database=None, derandomize=True)

AWKWARD = [
    "",
    " ",
    "\n",
    "\x00",
    "\ud800\udc00\ud800",
    "if x:\n\ty = 1\n        z = 2\n\t    w\n",
    "if x:\r\n    y\r\n\r\nz\r\n",
    "a\fb\n\f\nc",
    'x = \'unfinished\ny = """also\n  unfinished',
    "f'{a + f\"{b['c']}\"!r:>{w}} {{}}'",
    "x = 1 + \\\n    2\\\n",
    "    x = 1\n    y = 2\n  z = 3\n",
    "f(a,\n  b=[1,\n     2],\n  )\n",
    "def f():\n    '''Doc.\n\n      more\n    '''\n    pass\n\n\n\ndef g(): pass",
    "if a:\n    if b:\n        c\n# comment\n    d\n",
    "<join><space> <newline>\n<indent> < join > <0xC3><0xA9> <unk> </s>",
    "print 'it''s', u'a' b\"c\"",
    "for i in range(10) : print( i )",
    "find . -name '*.txt' -exec grep -l \"foo\" {} \\;",
    "café e\u0301te\u0301 naïve_Größe ΟΔΟΣ",
]
