// N-grams that are counted beside the network: the weights of each one that occurs are added to the scores.
"use strict";

class Counts {
  // {sides: [{tokens, grams: [[first, last]]}], weights, bias}, with places in the bytes of all weights; see counts.py.
  constructor({ sides, weights, bias }, bytes) {
    const array = ([kind, shape, at]) => new KINDS[kind](bytes, at, product(shape));
    this.weights = array(weights);
    this.bias = array(bias);
    this.sides = sides.map(({ tokens, grams }) => ({
      size: tokens.length,
      places: new Map(tokens.map((token, i) => [token, i])),
      keys: grams.map((pair) => {
        const [firsts, lasts] = pair.map(array);
        return Float64Array.from(firsts, (first, i) => first * tokens.length + lasts[i]);
      }),
    }));
  }

  indices(side, tokens) { return tokens.map((token) => this.sides[side].places.get(token) ?? -1); }

  scores(texts, read) { // the scores of the labels for the indices of the tokens of each text; read: the sides that count
    const scores = Float64Array.from(this.bias);
    let first = 0;
    texts.forEach((tokens, side) => {
      const { size, keys } = this.sides[side];
      for (const gram of read.includes(side) ? this.there(side, tokens) : []) {
        const at = (first + gram) * scores.length;
        for (let i = 0; i < scores.length; i++) scores[i] += this.weights[at + i];
      }
      first += keys.reduce((sum, known) => sum + known.length, size);
    });
    return scores;
  }

  there(side, tokens) { // the n-grams that occur, each once
    const { size, keys } = this.sides[side], found = new Set(tokens.filter((index) => index >= 0));
    let grams = tokens, offset = size;
    keys.forEach((known, i) => {
      const shorter = grams;
      grams = tokens.slice(i + 1).map((last, at) => (shorter[at] < 0 || last < 0 ? -1 : placeIn(known, shorter[at] * size + last)));
      for (const gram of grams) if (gram >= 0) found.add(offset + gram);
      offset += known.length;
    });
    return found;
  }
}

function placeIn(keys, key) { // in increasing order; -1 if it is not there
  let from = 0, to = keys.length;
  while (from < to) {
    const middle = (from + to) >> 1;
    if (keys[middle] < key) from = middle + 1;
    else to = middle;
  }
  return keys[from] === key ? from : -1;
}
