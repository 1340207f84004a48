// Answers of the model, as `unrolled predict` and the program infer.py of an ONNX export give them.
"use strict";

const ids = (row) => tensor([1, Math.max(1, row.length)], Int32Array.from(row.length ? row : [PAD]));
const argmax = (values) => values.reduce((best, value, i) => (value > values[best] ? i : best), 0);

function probabilitiesOf(logits) {
  const largest = logits.reduce((a, b) => Math.max(a, b)), powers = Array.from(logits, (x) => Math.exp(x - largest));
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

function logSum(values) {
  const largest = values.reduce((a, b) => Math.max(a, b), -Infinity);
  return largest + Math.log(values.reduce((sum, x) => sum + Math.exp(x - largest), 0));
}
