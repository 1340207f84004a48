// Texts that go on: their bits, the next words, and text that a language model writes.
"use strict";

const APOSTROPHES = "'\u2019";
const inWord = (c) => APOSTROPHES.includes(c) || /^[\p{L}\p{M}\p{N}]/u.test(c);

class Continuations {
  constructor({ graphs, settings, words }) {
    Object.assign(this, { graph: graphs["model.onnx"], settings, words: words.text });
    this.states = this.graph.inputs.filter((name) => name !== "tokens");
    this.ordinary = this.words.tokens.map((_, id) => id).filter((id) => id >= END);
    this.read_before = { ids: [], state: null, table: null };
  }

  start() {
    return Object.fromEntries(this.states.map((name) => {
      const width = this.graph.dimensions[name][1];
      return [name, tensor([1, width], new Float32Array(width))];
    }));
  }

  read(row, state) { // the log-probabilities after each token, and the state after the last
    const tables = [];
    for (const id of row) {
      if (this.settings.restart && id === END) state = this.start();
      const found = this.graph.feed({ tokens: ids([id]), ...state });
      tables.push(logSoftmax(found.logits.data));
      state = Object.fromEntries(this.states.map((name) => [name, found[name.replace("state_", "next_")]]));
    }
    return { tables, state };
  }

  after(row) { // the same after the last token; what is read already is not read again
    const before = this.read_before;
    const goesOn = before.state && before.ids.length <= row.length && before.ids.every((id, i) => id === row[i]);
    const rest = goesOn ? row.slice(before.ids.length) : row;
    if (rest.length) {
      const { tables, state } = this.read(rest, goesOn ? before.state : this.start());
      this.read_before = { ids: [...row], state, table: tables.at(-1) };
    }
    return this.read_before;
  }

  documents(text) { return this.settings.border ? text.split(this.settings.border) : [text]; }

  encode(text) { // a document each after an end
    return this.documents(text).flatMap((document) => [END, ...this.words.encode(document)]);
  }

  score(text) { // bits of each token
    const row = this.encode(text), { tables } = this.read(row.slice(0, -1), this.start());
    return tables.map((table, i) => -table[row[i + 1]] / Math.LN2);
  }

  predict(text, most = 40) { return { text: this.generate(text, most), bits: this.score(text) }; }

  generate(text, most, { temperature = 0, random = Math.random } = {}) {
    let { table, state } = this.after(this.encode(text));
    const tokens = [];
    while (tokens.length < most) {
      const token = this.draw(table, temperature, random);
      tokens.push(token);
      const found = this.read([token], state);
      [table, state] = [found.tables[0], found.state];
    }
    return this.written(this.documents(text).at(-1), tokens);
  }

  draw(table, temperature, random) {
    if (!temperature) return this.ordinary[argmax(this.ordinary.map((id) => table[id]))];
    const shares = probabilitiesOf(this.ordinary.map((id) => table[id] / temperature));
    let left = random();
    return this.ordinary[Math.max(0, shares.findIndex((share) => (left -= share) < 0))];
  }

  written(before, tokens) { // the text of new tokens after the text of their document so far
    const parts = [[]];
    for (const id of tokens) {
      if (id === END) parts.push([]);
      else parts.at(-1).push(this.words.tokens[id]);
    }
    const between = this.settings.border || "\n";
    if (this.words.kind === "char") return parts.map((part) => part.join("")).join(between);
    const old = this.words.encode(before).slice(-64).map((id) => this.words.tokens[id]);
    const spaced = old.length > 0 && !/\p{White_Space}$/u.test(before);
    return parts.map((part, i) => (i ? this.added([], part, false) : this.added(old, part, spaced))).join(between);
  }

  added(old, words, spaced) { // what new words add to the text of the old ones
    const whole = this.words.join([...old, ...words]);
    let place = 0;
    for (const word of old) place += (whole.startsWith(" ", place) ? 1 : 0) + word.length;
    const rest = whole.slice(place);
    return spaced || !old.length || !rest.startsWith(" ") ? rest : rest.slice(1);
  }

  complete(text, k = 5) { // the k most probable [word, probability], and the part of it that is typed
    const document = this.documents(text).at(-1);
    const ended = this.encode(text).slice(0, this.encode(text).length - this.words.encode(document).length);
    return this.words.kind === "char" ? this.searched(document, ended, k) : this.looked(document, ended, k);
  }

  looked(document, ended, k) { // with words: one row of probabilities is enough
    const tail = document.match(/\P{White_Space}*$/u)[0], typed = this.words.split(wellFormed(tail)).at(-1) ?? "";
    const read = this.words.encode(document), prefix = this.words.normal(typed);
    const { table } = this.after([...ended, ...(typed ? read.slice(0, -1) : read)]);
    const found = this.ordinary.filter((id) => id > END && this.words.tokens[id].startsWith(prefix));
    const total = prefix ? logSum(found.map((id) => table[id])) : 0;
    const best = found.sort((a, b) => table[b] - table[a]).slice(0, k);
    return { typed, words: best.map((id) => [typed + this.words.tokens[id].slice(prefix.length), Math.exp(table[id] - total)]) };
  }

  // With characters: a search for the most probable words, whose ends are part of their probabilities.
  searched(document, ended, k, longest = 30, width = 24) {
    const composed = wellFormed(document).normalize("NFC"), letters = Array.from(composed);
    const typed = letters.slice(letters.findLastIndex((c) => !inWord(c)) + 1).join("");
    const spaced = !typed && letters.length > 0 && !/\p{White_Space}$/u.test(composed);
    const { table, state } = this.after([...ended, ...this.words.encode(document)]);
    const isWord = (text) => Array.from(typed + text).some((c) => !APOSTROPHES.includes(c) && c !== " ");
    const finished = new Map();
    let queue = [];
    const least = () => (finished.size < k ? -Infinity : Math.log([...finished.values()].sort((a, b) => b - a)[k - 1]));
    const ends = this.words.tokens.map((token, id) => id === END || (id > END && !inWord(token)));
    const expand = (node) => {
      const over = node.table.reduce((sum, x, id) => (ends[id] ? sum + Math.exp(x) : sum), 0);
      if (isWord(node.text)) finished.set(node.text, (finished.get(node.text) ?? 0) + Math.exp(node.score) * over);
      const bound = least();
      node.table.forEach((x, id) => {
        const token = this.words.tokens[id], goesOn = id > END && (!ends[id] || (spaced && !node.text && token === " "));
        if (goesOn && node.score + x >= bound && Array.from(node.text).length < longest) queue.push({ score: node.score + x, id, parent: node });
      });
    };
    expand({ table, state, text: "", score: 0 });
    for (let round = 0; round <= longest; round++) {
      const bound = least();
      queue.sort((a, b) => b.score - a.score);
      const chosen = queue.slice(0, width).filter(({ score }) => score > bound);
      queue = queue.slice(chosen.length);
      if (!chosen.length) break;
      for (const { score, id, parent } of chosen) {
        const found = this.read([id], parent.state);
        expand({ table: found.tables[0], state: found.state, text: parent.text + this.words.tokens[id], score });
      }
    }
    const best = [...finished].sort((a, b) => b[1] - a[1]).slice(0, k);
    return { typed, words: best.map(([word, share]) => [typed + word, Math.min(1, share)]) };
  }
}
