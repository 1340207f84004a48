// Labels of a text or of a pair of texts, and tags of words.
"use strict";

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
