// Answers of the model, as `unrolled predict` and the program infer.py of an ONNX export give them.
"use strict";

const ids = (row) => tensor([1, Math.max(1, row.length)], Int32Array.from(row.length ? row : [PAD]));
const argmax = (values) => values.reduce((best, value, i) => (value > values[best] ? i : best), 0);

function probabilitiesOf(logits) {
  const largest = Math.max(...logits), powers = Array.from(logits, (x) => Math.exp(x - largest));
  const total = powers.reduce((a, b) => a + b, 0);
  return powers.map((power) => power / total);
}

function logSoftmax(logits) {
  let largest = -Infinity, total = 0;
  for (const x of logits) if (x > largest) largest = x;
  for (const x of logits) total += Math.exp(x - largest);
  const shift = largest + Math.log(total);
  return logits.map((x) => x - shift);
}

// Labels of a text, or of a pair of texts

class Labels {
  constructor({ graphs, settings, words }) {
    Object.assign(this, { graph: graphs["model.onnx"], settings, words: words.text, unseen: new Set(settings.unseen) });
  }

  encode(text) {
    const ids = this.words.encode(text), { max_length: most, keep } = this.settings;
    if (ids.length <= most) return ids;
    const first = { start: most, end: 0, both: Math.ceil(most / 2) }[keep];
    return [...ids.slice(0, first), ...ids.slice(ids.length - most + first)];
  }

  predict(input) { // a text or a list of two → {labels, probabilities: {label: probability}}
    const rows = [input].flat().map((text) => this.encode(text)), { reads, shares, labels } = this.settings;
    const read = { first: [0], second: [1], joined: [0, 1], reversed: [1, 0] }[reads] ?? rows.map((_, i) => i);
    let probabilities = shares;
    if (!shares.length || read.some((i) => rows[i].some((id) => !this.unseen.has(id)))) {
      const fed = reads === "both" ? { first: ids(rows[0]), second: ids(rows[1]) } : { text: ids(read.flatMap((i) => rows[i])) };
      const logits = this.graph.feed(fed).logits.data;
      probabilities = this.settings.multi_label ? Array.from(logits, (x) => 0.5 + 0.5 * Math.tanh(0.5 * x)) : probabilitiesOf(logits);
    }
    const chosen = this.settings.multi_label
      ? labels.filter((_, i) => probabilities[i] >= this.settings.thresholds[i])
      : [labels[argmax(probabilities)]];
    return { labels: chosen, probabilities: Object.fromEntries(labels.map((label, i) => [label, probabilities[i]])) };
  }

  // How much the probability of a label falls without each word (string between spaces) of each text.
  withoutEach(input, label) {
    const texts = [input].flat(), whole = this.predict(input).probabilities[label];
    return texts.map((text, side) => Array.from(text.matchAll(/\P{White_Space}+/gu), ({ 0: word, index }) => {
      const rest = text.slice(0, index) + text.slice(index + word.length);
      const others = texts.map((other, i) => (i === side ? rest : other));
      const change = whole - this.predict(Array.isArray(input) ? others : rest).probabilities[label];
      return { word, index, change };
    }));
  }
}

// Tags of words

class Tags {
  constructor({ graphs, settings, words }) {
    Object.assign(this, { graph: graphs["model.onnx"], settings, words: words.text, letters: words.characters });
  }

  predict(input) { // a text, or a list of words → {words, labels, probabilities}
    const words = typeof input === "string" ? this.words.split(wellFormed(input)) : input;
    if (!words.length) return { words: [], labels: [], probabilities: [] };
    const { logits, crf } = this.scores(words);
    const best = crf ? viterbi(logits, crf) : logits.map(argmax);
    const table = crf ? marginals(logits, crf) : logits.map(probabilitiesOf);
    return { words, labels: best.map((tag) => this.settings.labels[tag]), probabilities: best.map((tag, i) => table[i][tag]) };
  }

  scores(words) {
    const { max_length: size, max_characters: most, labels } = this.settings;
    const spelled = words.map((word) => shortened(word, most).map((c) => this.letters.lookUp(c)));
    const width = Math.max(...spelled.map((row) => row.length)), logits = [];
    let found;
    for (let start = 0; start < words.length; start += size) { // a longer sentence is read in pieces
      const part = words.slice(start, start + size), letters = new Int32Array(part.length * width);
      part.forEach((_, i) => letters.set(spelled[start + i], i * width));
      found = this.graph.feed({ words: ids(part.map((word) => this.words.lookUp(word))), letters: tensor([1, part.length, width], letters) });
      for (let i = 0; i < part.length; i++) logits.push(Array.from(found.logits.data.subarray(i * labels.length, (i + 1) * labels.length)));
    }
    const rows = (t) => logits[0].map((_, i) => t.data.subarray(i * labels.length, (i + 1) * labels.length));
    return { logits, crf: found.start && { start: found.start.data, transition: rows(found.transition), end: found.end.data } };
  }
}

function shortened(word, most) { // of a long word, the characters at both ends
  const letters = Array.from(word.normalize("NFC")), last = Math.floor(most / 2);
  return letters.length <= most ? letters : [...letters.slice(0, most - last), ...letters.slice(letters.length - last)];
}

function viterbi(logits, { start, transition, end }) {
  let scores = logits[0].map((x, tag) => start[tag] + x);
  const origins = logits.slice(1).map((emissions) => {
    const from = emissions.map((_, tag) => argmax(scores.map((score, before) => score + transition[before][tag])));
    scores = from.map((before, tag) => scores[before] + transition[before][tag] + emissions[tag]);
    return from;
  });
  const path = [argmax(scores.map((score, tag) => score + end[tag]))];
  for (const from of origins.reverse()) path.unshift(from[path[0]]);
  return path;
}

function logSum(values) {
  const largest = Math.max(...values);
  return largest + Math.log(values.reduce((sum, x) => sum + Math.exp(x - largest), 0));
}

function marginals(logits, { start, transition, end }) {
  const tags = logits[0].map((_, tag) => tag), before = [Array.from(start)], after = [Array.from(end)];
  for (const emissions of logits.slice(0, -1)) {
    const scores = before.at(-1).map((x, tag) => x + emissions[tag]);
    before.push(tags.map((tag) => logSum(scores.map((score, other) => score + transition[other][tag]))));
  }
  for (const emissions of logits.slice(1).reverse()) {
    const scores = after[0].map((x, tag) => x + emissions[tag]);
    after.unshift(tags.map((tag) => logSum(scores.map((score, other) => score + transition[tag][other]))));
  }
  return logits.map((row, i) => probabilitiesOf(row.map((x, tag) => x + before[i][tag] + after[i][tag])));
}

// Translations

class Translations {
  constructor({ graphs, settings, words }) {
    Object.assign(this, { encoder: graphs["encoder.onnx"], step: graphs["step.onnx"], settings, source: words.source, target: words.target });
  }

  predict(text) { // → {text, score, tokens, source, attention: [token][source token] or null}
    const most = this.settings.max_input_length, encoded = this.source.encode(text);
    const words = this.source.written(text, encoded).slice(0, most), row = encoded.slice(0, most);
    if (!row.length) return { text: "", score: 0, tokens: [], source: [], attention: null };
    const [score, tokens] = this.search([...row, END], words)[0];
    return { text: this.target.decode(tokens, words), score, source: shownAll(this.source, row, words), ...this.attended([...row, END], words, tokens) };
  }

  search(source, words) { // the n best [score, ids], best first; id V + s is the word at step s of the source
    const { max_length_ratio, max_length_extra, min_length_limit, beam_size: k, n_best, length_penalty } = this.settings;
    const limit = Math.max(Math.trunc(Math.fround(source.length * Math.fround(max_length_ratio))) + max_length_extra, min_length_limit);
    const penalty = (length) => ((5 + length) / 6) ** length_penalty;
    let paths = [[]], totals = [0], last = [BEGIN], greedy = 0, best = [];
    let state = this.begin(source, words);
    const ranked = (found) => found.sort((a, b) => b[0] - a[0]).slice(0, n_best);
    for (let step = 0; step < limit; step++) {
      const { logits, next } = this.advance(last, state);
      const rows = logits.map(logSoftmax), ends = rows.map((row) => row[END]);
      for (const row of rows) row[PAD] = row[BEGIN] = -Infinity;
      const following = greedy >= 0 ? argmax(rows[greedy]) : END;
      for (const row of rows) row[END] = -Infinity;
      const divisor = penalty(step + 1);
      if (k === 1) { // greedy: the end of the sentence competes with the other tokens
        totals[0] = Math.fround(totals[0] + (following === END ? ends[0] : rows[0][following]));
        if (following !== END) paths[0].push(following);
        if (following === END || step + 1 === limit) return [[totals[0] / divisor, paths[0]]];
        [last, state] = [[following], next];
        continue;
      }
      const ended = ends.map((end, i) => Math.fround(totals[i] + end));
      best = ranked([...best, ...ended.map((end, i) => [end / divisor, paths[i]])]);
      const found = largest(rows, totals, k);
      if (following === END) {
        greedy = -1;
      } else { // the greedy path stays, so that the result is never worse than that of greedy decoding
        const at = found.findIndex(([, parent, token]) => parent === greedy && token === following);
        const slot = at >= 0 ? at : found.length - 1;
        found[slot] = [Math.fround(totals[greedy] + rows[greedy][following]), greedy, following];
        greedy = slot;
      }
      paths = found.map(([, parent, token]) => [...paths[parent], token]);
      totals = found.map(([total]) => total);
      last = found.map(([, , token]) => token);
      if (step + 1 === limit) {
        best.push(...totals.map((total, i) => [total / divisor, paths[i]]));
        break;
      }
      // Log-probabilities only fall: others can no longer be among the n best.
      const least = best.length === n_best ? best.at(-1)[0] * penalty(limit) : -Infinity;
      const useful = totals.filter((total) => total > least).length;
      if (!useful) break;
      [paths, totals, last] = [paths, totals, last].map((list) => list.slice(0, useful));
      state = this.reordered(next, found.slice(0, useful).map(([, parent]) => parent));
      if (greedy >= useful) greedy = -1;
    }
    return ranked(best);
  }

  begin(source, words) { // the inputs of the first step
    const state = this.encoder.feed({ source: ids(source) });
    for (const name of Object.keys(state)) {
      if (name.startsWith("state_")) state[name] = unsqueezed(state[name], [1]);
    }
    if (this.step.inputs.includes("feed")) {
      const width = this.step.dimensions.feed[2];
      state.feed = tensor([1, 1, width], new Float32Array(width));
    }
    if (this.settings.copying) {
      const places = words.map((word) => {
        const id = this.target.lookUp(word);
        return id > UNKNOWN ? id : this.target.tokens.length + words.indexOf(word);
      });
      state.writes = ids([...places, END]);
    }
    return state;
  }

  advance(last, state) { // scores of the next token of each hypothesis, and the inputs of the next step
    const found = this.step.feed({ ...state, token: tensor([1, last.length], Int32Array.from(last)) });
    const width = found.logits.shape[2], next = { ...state };
    for (const name of this.step.inputs) {
      const after = found[`next_${name.replace("state_", "")}`];
      if (after) next[name] = after;
    }
    return { logits: last.map((_, i) => found.logits.data.slice(i * width, (i + 1) * width)), next, attention: found.attention };
  }

  reordered(state, parents) { // the states of the parents; the memory of the source is shared
    const next = { ...state };
    for (const [name, t] of Object.entries(state)) {
      if (!name.startsWith("state_") && name !== "feed") continue;
      const width = t.shape[2], data = new Float32Array(parents.length * width);
      parents.forEach((parent, i) => data.set(t.data.subarray(parent * width, (parent + 1) * width), i * width));
      next[name] = tensor([1, parents.length, width], data);
    }
    return next;
  }

  attended(source, words, tokens) { // reads the tokens once more: what each of them looked at
    let state = this.begin(source, words);
    const rows = [];
    for (const token of [BEGIN, ...tokens.slice(0, -1)].slice(0, tokens.length)) {
      const { next, attention } = this.advance([token], state);
      if (!attention) break;
      rows.push(Array.from(attention.data.subarray(0, source.length)));
      state = next;
    }
    return { tokens: shownAll(this.target, tokens, words), attention: rows.length ? rows : null };
  }
}

function largest(rows, totals, k) { // the k best [total, hypothesis, token]; of equal ones, the first
  const best = [];
  rows.forEach((row, parent) => row.forEach((x, token) => {
    const total = Math.fround(totals[parent] + x);
    if (best.length === k && total <= best[k - 1][0]) return;
    let place = best.length;
    while (place && best[place - 1][0] < total) place--;
    best.splice(place, 0, [total, parent, token]);
    if (best.length > k) best.pop();
  }));
  return best;
}

function shownAll(words, row, others) { // tokens as a reader wants to see them; a word that the model does not know as it is written
  return row.map((id, i) => {
    const token = words.tokens[id] ?? others[id - words.tokens.length];
    return words.kind === "bpe" ? textOf(bytesOfToken(token)).trim() : id === UNKNOWN ? others[i] ?? token : token;
  });
}

// Texts that go on

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

const MODELS = { classify: Labels, pair: Labels, tag: Tags, language_model: Continuations, translate: Translations };

async function modelOf(page, kernels, bytes) { // {task, program, settings, tokenizers} → a model with predict
  const engine = await Kernels.compile(kernels);
  const graphs = Object.fromEntries(Object.entries(page.program).map(([name, graph]) => [name, new Graph(graph, bytes, engine)]));
  const words = Object.fromEntries(Object.entries(page.tokenizers).map(([role, each]) => [role, new Words(each)]));
  return new MODELS[page.task]({ graphs, settings: page.settings, words });
}
