// Labels of a text or of a pair of texts, and tags of words.
"use strict";

class Labels {
  constructor({ graphs, settings, words, counts }) {
    Object.assign(this, { settings, words: words.text, letters: words.characters, counts });
    this.members = Object.keys(graphs).sort().map((name, i) => ({ graph: graphs[name], ...settings, ...settings.members?.[i] }));
    this.unseenLetters = new Set(settings.unseen_letters);
    for (const member of this.members) member.unseen = new Set(member.unseen);
    this.sides = { first: [0], second: [1], joined: [0, 1], reversed: [1, 0] }[settings.reads];
  }

  read(text, side) { // the ids of a text, and what is read beside them for each, cut as in training
    const found = { ids: this.words.encode(text) }, { max_characters: most, counted } = this.settings;
    const split = (normal) => { // the tokens as they are written in a text
      const tokens = this.words.split(normal);
      return tokens.length === found.ids.length ? tokens : found.ids.map((id) => this.words.tokens[id]);
    };
    if (this.letters) found.letters = split(wellFormed(text).normalize("NFC")).map((word) => shortened(word, most).map((c) => this.letters.lookUp(c)));
    if (this.counts) {
      found.counted = counted.length ? found.ids.map((id) => counted[side][id]) : this.counts.indices(side, split(this.words.normal(text)));
    }
    return Object.fromEntries(Object.entries(found).map(([name, values]) => [name, this.cut(values)]));
  }

  cut(values) {
    const { max_length: most, keep } = this.settings;
    if (values.length <= most) return values;
    const first = { start: most, end: 0, both: Math.ceil(most / 2) }[keep];
    return [...values.slice(0, first), ...values.slice(values.length - most + first)];
  }

  predict(input) { // a text or a list of two → {labels, probabilities: {label: probability}}
    const texts = [input].flat().map((text, side) => this.read(text, side)), { labels, multi_label: isMulti, thresholds } = this.settings;
    if (this.settings.common) {
      const has = texts.map((text) => new Set(text.ids));
      texts.forEach((text, i) => { text.common = text.ids.map((id) => Number(id > END && has[1 - i].has(id))); });
    }
    const sides = this.sides ?? texts.map((_, i) => i), fed = this.inputs(texts, sides);
    const counted = this.counts?.scores(texts.map((text) => text.counted), sides);
    const rows = this.members.map((member) => this.probabilities(member, sides.map((i) => texts[i]), fed, counted));
    const probabilities = labels.map((_, i) => rows.reduce((sum, row) => sum + row[i], 0) / rows.length);
    const chosen = isMulti ? labels.filter((_, i) => probabilities[i] >= thresholds[i]) : [labels[argmax(probabilities)]];
    return { labels: chosen, probabilities: Object.fromEntries(labels.map((label, i) => [label, probabilities[i]])) };
  }

  inputs(texts, sides) { // of the graph
    const named = this.settings.reads === "both" ? { first: [0], second: [1] } : { text: sides };
    const fed = {};
    for (const [name, places] of Object.entries(named)) {
      const all = (fact) => places.flatMap((i) => texts[i][fact]);
      fed[name] = ids(all("ids"));
      if (this.letters) fed[`${name}_letters`] = lettersOf(all("letters"));
      if (this.settings.common) fed[`${name}_common`] = tensor(fed[name].shape, Float32Array.from(all("common").concat([0]).slice(0, fed[name].shape[1])));
    }
    return fed;
  }

  probabilities({ graph, share, shares, unseen }, texts, fed, counted) { // of one model
    const isKnown = texts.some(({ ids: row, letters = [], counted: indices = [] }) =>
      row.some((id) => !unseen.has(id)) || letters.flat().some((id) => !this.unseenLetters.has(id)) || indices.some((index) => index >= 0));
    if (shares.length && !isKnown) return shares;
    let logits = graph.feed(fed).logits.data;
    if (counted) logits = Array.from(logits, (x, i) => (1 - share) * x + share * counted[i]);
    return this.settings.multi_label ? Array.from(logits, (x) => 0.5 + 0.5 * Math.tanh(0.5 * x)) : probabilitiesOf(logits);
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
    const logits = [];
    let found;
    for (let start = 0; start < words.length; start += size) { // a longer sentence is read in pieces
      const part = words.slice(start, start + size);
      found = this.graph.feed({ words: ids(part.map((word) => this.words.lookUp(word))), letters: lettersOf(spelled.slice(start, start + size)) });
      for (let i = 0; i < part.length; i++) logits.push(Array.from(found.logits.data.subarray(i * labels.length, (i + 1) * labels.length)));
    }
    const rows = (t) => logits[0].map((_, i) => t.data.subarray(i * labels.length, (i + 1) * labels.length));
    return { logits, crf: found.start && { start: found.start.data, transition: rows(found.transition), end: found.end.data } };
  }
}

function lettersOf(spelled) { // the ids of the characters of each word, at least one of one
  const n = Math.max(1, spelled.length), width = Math.max(1, ...spelled.map((row) => row.length)), letters = new Int32Array(n * width);
  spelled.forEach((row, i) => letters.set(row, i * width));
  return tensor([1, n, width], letters);
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
