// Text as ids and back, as the tokenizers of the run do it: characters, words, strings between spaces, or byte pairs.
"use strict";

const PAD = 0, UNKNOWN = 1, BEGIN = 2, END = 3;
const SPECIALS = ["<pad>", "<unk>", "<s>", "</s>"];
const LETTERS = "[\\p{L}\\p{M}\\p{N}_]", APOSTROPHE = "['\u2019]";
const CLITIC = `${APOSTROPHE}(?:[s\u017fS]|[mM]|[dD]|[lL][lL]|[rR][eE]|[vV][eE])(?!${LETTERS})`;
const NEGATION = `[nN]${APOSTROPHE}[tT](?!${LETTERS})`;
const WORD = new RegExp([
  `\\p{N}+(?:[.,:/]\\p{N}+)+${LETTERS}*`,
  `(?<!${LETTERS})(?:\\p{L}{1,2}\\.){2,}(?!${LETTERS})`,
  `(?<!${LETTERS})\\p{L}(?:\\+\\+|#)`,
  `(?<=${LETTERS})${NEGATION}`,
  `(?<=${LETTERS})${CLITIC}`,
  `${LETTERS}+?(?=${NEGATION})`,
  `${LETTERS}+(?:(?!${CLITIC})(?:${APOSTROPHE}|-)${LETTERS}+?(?:(?=${NEGATION})|(?!${LETTERS})))*`,
  "\\.{2,}|-{2,}",
  "\\P{White_Space}",
].join("|"), "gu");
const SUBWORD = new RegExp(
  " ?[\\p{L}\\p{M}]+(?:['\u2019][\\p{L}\\p{M}]+)*| ?\\p{N}| ?[^\\p{White_Space}\\p{L}\\p{M}\\p{N}]+" +
  "|\\p{White_Space}+(?!\\P{White_Space})|\\p{White_Space}+", "gu");
const PATTERNS = { word: WORD, bpe: SUBWORD, char: /[^]/gu, space: /\P{White_Space}+/gu };

const wellFormed = (text) => text.replace(/[\ud800-\udfff]/gu, "?");
const lowered = (text) => Array.from(text, (c) => c.toLowerCase()).join(""); // letter by letter: no final sigma
const bytesOf = (text) => new TextEncoder().encode(text);
const textOf = (bytes) => new TextDecoder("utf-8", { ignoreBOM: true }).decode(Uint8Array.from(bytes));

const CHARACTER_OF_BYTE = (() => {
  const printable = (b) => (b > 0x20 && b < 0x7f) || (b > 0xa0 && b < 0x100 && b !== 0xad);
  let next = 256;
  return Array.from({ length: 256 }, (_, b) => String.fromCodePoint(printable(b) ? b : next++));
})();
const BYTE_OF_CHARACTER = new Map(CHARACTER_OF_BYTE.map((c, b) => [c, b]));

class Words {
  // {kind, lowercase, blank: whether a text begins with a space, tokens, merges}
  constructor({ kind, lowercase, blank, tokens, merges }) {
    Object.assign(this, { kind, lowercase, blank, tokens });
    this.ids = new Map(tokens.map((token, id) => [token, id]));
    this.ranks = new Map((merges ?? []).map((merge, rank) => [merge.join("\0"), rank]));
    this.known = new Map(); // the byte pairs of pieces seen before
  }

  normal(text) {
    const composed = wellFormed(text).normalize("NFC");
    return this.lowercase ? lowered(composed) : composed;
  }

  split(text) { return text.match(PATTERNS[this.kind]) ?? []; }

  pieces(text) { // normalised, and with the blank that byte pairs begin with
    const normal = this.normal(text);
    return this.split(this.kind === "bpe" && this.blank && normal ? ` ${normal}` : normal);
  }

  encode(text) {
    if (this.kind === "bpe") return this.pieces(text).flatMap((piece) => this.merged(piece));
    return this.pieces(text).map((piece) => this.idOf(piece));
  }

  idOf(token) {
    const id = this.ids.get(token);
    return id === undefined || id < SPECIALS.length ? UNKNOWN : id;
  }

  merged(piece) {
    if (this.known.has(piece)) return this.known.get(piece);
    const parts = Array.from(bytesOf(piece), (b) => CHARACTER_OF_BYTE[b]);
    while (parts.length > 1) {
      let best = Infinity, at = -1;
      for (let i = 0; i + 1 < parts.length; i++) {
        const rank = this.ranks.get(`${parts[i]}\0${parts[i + 1]}`);
        if (rank < best) { best = rank; at = i; }
      }
      if (at < 0) break;
      parts.splice(at, 2, parts[at] + parts[at + 1]);
    }
    const ids = parts.map((part) => this.ids.get(part));
    this.known.set(piece, ids);
    return ids;
  }

  lookUp(token) { // a whole token, which is not split
    token = wellFormed(token);
    return this.ids.has(token) ? this.idOf(token) : this.idOf(this.normal(token));
  }

  written(text, ids) { // the token of each id, with unknown words as they are written
    const tokens = ids.map((id) => this.tokens[id]);
    if (this.kind === "bpe" || !ids.includes(UNKNOWN)) return tokens;
    const pieces = this.pieces(text);
    return pieces.length === ids.length ? pieces : tokens;
  }

  decode(ids, others = []) {
    const kept = ids.filter((id) => id !== PAD && id !== BEGIN && id !== END);
    const tokens = kept.map((id) => this.tokens[id] ?? others[id - this.tokens.length]);
    if (this.kind === "bpe") {
      const text = textOf(tokens.flatMap(bytesOfToken));
      return this.blank && text.startsWith(" ") ? text.slice(1) : text;
    }
    return this.join(tokens);
  }

  join(tokens) { return this.kind === "word" ? joined(tokens) : tokens.join(this.kind === "char" ? "" : " "); }
}

function bytesOfToken(token) {
  return SPECIALS.includes(token) ? [...bytesOf(token)] : Array.from(token, (c) => BYTE_OF_CHARACTER.get(c));
}

const OPENING = new Set("([{«“‘‹¿¡#@/"), CLOSING = new Set(")]}»”’›?!.,;:%…°/"), CURRENCIES = new Set("$£€¥");
const CLITIC_OR_DOTS = /^(?:[nN]['\u2019][tT]|['\u2019](?:[s\u017fS]|[mM]|[dD]|[lL][lL]|[rR][eE]|[vV][eE])|\.{2,})$/u;

function joined(words) { // words and punctuation marks as a sentence
  const lastApostrophe = words.lastIndexOf("'"), open = new Set();
  let text = "", glued = true;
  words.forEach((word, i) => {
    let opens = OPENING.has(word), closes = CLOSING.has(word) || CLITIC_OR_DOTS.test(word);
    if (word === "'" || word === '"') {
      closes = open.has(word) || (i > 0 && i === lastApostrophe);
      opens = !closes;
      if (closes) open.delete(word);
      else open.add(word);
    } else if (CURRENCIES.has(word)) {
      opens = i + 1 < words.length && /^\p{Nd}/u.test(words[i + 1]);
    }
    text += (glued || closes ? "" : " ") + word;
    glued = opens;
  });
  return text;
}
