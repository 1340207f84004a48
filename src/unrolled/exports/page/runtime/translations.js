// Translations, by beam search or greedily.
"use strict";

class Translations {
  constructor({ graphs, settings, words }) {
    Object.assign(this, { encoder: graphs["encoder.onnx"], step: graphs["step.onnx"], settings, source: words.source, target: words.target });
  }

  predict(text) { // → {text, score, tokens, source, attention: [token][source token] or null}
    const most = this.settings.max_input_length, encoded = this.source.encode(text);
    const words = this.source.written(text, encoded).slice(0, most), row = encoded.slice(0, most);
    if (!row.length) return { text: "", score: 0, tokens: [], source: [], attention: null };
    const [score, tokens] = this.search([...row, END], words)[0];
    return { text: this.target.decode(tokens, words), score, source: this.source.kind === "bpe" ? shown(this.source, row) : words, ...this.attended([...row, END], words, tokens) };
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
    return { tokens: shown(this.target, tokens, words), attention: rows.length ? rows : null };
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

function shown(words, row, others) { // tokens as a reader wants to see them
  const tokens = row.map((id) => words.tokens[id] ?? others[id - words.tokens.length]);
  return words.kind === "bpe" ? tokens.map((token) => textOf(bytesOfToken(token)).trim()) : tokens;
}
