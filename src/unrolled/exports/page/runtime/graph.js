// Runs the graphs of an export: lists of nodes with the operators of ONNX.
"use strict";

// Products and recurrent layers

function matmul(kernels, a, b) {
  const [m, k] = a.shape.slice(-2), n = b.shape.at(-1);
  if (b.shape.at(-2) !== k) throw new Error(`product of ${a.shape} and ${b.shape}`);
  const rows = (x, y, r, room) => kernels.with([x, y, room], room, (A, B, Y) => kernels.call.product(A, B, Y, r, k, n)).last;
  if (b.shape.length === 2) {
    const count = product(a.shape.slice(0, -1));
    return tensor([...a.shape.slice(0, -1), n], rows(a.data, b.address === undefined ? b.data : b, count, count * n));
  }
  const outer = common(a.shape.slice(0, -2), b.shape.slice(0, -2));
  const x = spread(a, [...outer, m, k]), y = spread(b, [...outer, k, n]);
  const data = new Float32Array(product(outer) * m * n);
  for (let i = 0; i < product(outer); i++) {
    data.set(rows(x.subarray(i * m * k, (i + 1) * m * k), y.subarray(i * k * n, (i + 1) * k * n), m, m * n), i * m * n);
  }
  return tensor([...outer, m, n], data);
}

const CELLS = { Tanh: 0, Relu: 1, GRU: 2, LSTM: 3 };

const recurrent = (op) => (kernels, inputs, options) => {
  const [x, W, U, b, , h0, c0] = inputs;
  const [n, rows, width] = x.shape, size = options.hidden_size;
  if (op === "GRU" && options.linear_before_reset !== 1) throw new Error("GRU with linear_before_reset = 0");
  const kind = op === "RNN" ? CELLS[options.activations[0]] : CELLS[op];
  const zeros = new Float32Array(rows * size);
  const kept = (t) => (t.address === undefined ? t.data : t);
  const parts = [x.data, kept(W), kept(U), kept(b), h0 ? h0.data : zeros, c0 ? c0.data : zeros, n * rows * size, 2 * W.shape[1]];
  const { read } = kernels.with(parts, 0, (X, w, u, bias, h, c, Y, space) => {
    kernels.call.layer(kind, X, w, u, bias, h, c, Y, space, n, rows, width, size);
  });
  const end = (i) => tensor([1, rows, size], read(i, rows * size));
  return [tensor([n, 1, rows, size], read(6, n * rows * size)), end(4), end(5)];
};

// The other operators

function concat(parts, axis) {
  axis = place(axis, parts[0].shape.length);
  const shape = parts[0].shape.with(axis, parts.reduce((sum, p) => sum + p.shape[axis], 0));
  const data = new parts[0].data.constructor(product(shape)), inner = product(shape.slice(axis + 1));
  const width = shape[axis] * inner;
  let column = 0;
  for (const part of parts) {
    const own = part.shape[axis] * inner;
    for (let row = 0; row * width < data.length; row++) {
      data.set(part.data.subarray(row * own, (row + 1) * own), row * width + column);
    }
    column += own;
  }
  return tensor(shape, data);
}

function sliced(t, axis, start, end, step = 1) { // step: 1 or -1
  axis = place(axis, t.shape.length);
  const n = t.shape[axis], least = step < 0 ? -1 : 0;
  const fixed = (at) => Math.max(least, Math.min(n + least, at < 0 ? at + n : at));
  const apart = steps(t.shape), first = fixed(start) * apart[axis];
  return selected(t, t.shape.with(axis, Math.max(0, step * (fixed(end) - fixed(start)))), apart.with(axis, step * apart[axis]), first);
}

function unsqueezed(t, axes) {
  const shape = [...t.shape];
  const rank = shape.length + axes.length;
  for (const axis of Array.from(axes, (a) => place(a, rank)).sort((a, b) => a - b)) shape.splice(axis, 0, 1);
  return tensor(shape, t.data);
}

function squeezed(t, axes) {
  const gone = new Set(Array.from(axes, (a) => place(a, t.shape.length)));
  return tensor(t.shape.filter((_, axis) => !gone.has(axis)), t.data);
}

function reshaped(t, wanted) {
  const shape = Array.from(wanted, (size, axis) => (size === 0 ? t.shape[axis] : size));
  const free = shape.indexOf(-1);
  if (free >= 0) shape[free] = t.data.length / product(shape.filter((size) => size !== -1));
  return tensor(shape, t.data);
}

function gathered(t, ids) {
  const width = product(t.shape.slice(1)), data = new t.data.constructor(ids.data.length * width);
  ids.data.forEach((id, i) => {
    if (id < 0 || id >= t.shape[0]) throw new Error(`id ${id} of ${t.shape[0]}`);
    data.set(t.data.subarray(id * width, (id + 1) * width), i * width);
  });
  return tensor([...ids.shape, ...t.shape.slice(1)], data);
}

function gatheredND(t, places) { // batch_dims = 1, one index after it
  const [rows, n, ...rest] = t.shape, width = product(rest), many = places.data.length / rows;
  const data = new t.data.constructor(places.data.length * width);
  places.data.forEach((id, i) => {
    const from = (Math.floor(i / many) * n + id) * width;
    data.set(t.data.subarray(from, from + width), i * width);
  });
  return tensor([...places.shape.slice(0, -1), ...rest], data);
}

function scattered(t, ids, values, axis) {
  const data = t.data.slice(), far = steps(t.shape), own = steps(ids.shape);
  ids.data.forEach((id, i) => {
    const at = own.reduce((sum, gap, k) => sum + (k === axis ? id : Math.floor(i / gap) % ids.shape[k]) * far[k], 0);
    data[at] += values.data[i];
  });
  return tensor(t.shape, data);
}

function reversed(t, lengths) { // time_axis = 0, batch_axis = 1
  const [n, rows] = t.shape, width = product(t.shape.slice(2)), data = t.data.slice();
  for (let row = 0; row < rows; row++) {
    for (let step = 0; step < lengths.data[row]; step++) {
      const from = ((lengths.data[row] - 1 - step) * rows + row) * width;
      data.set(t.data.subarray(from, from + width), (step * rows + row) * width);
    }
  }
  return tensor([n, ...t.shape.slice(1)], data);
}

function convolved(x, weight, bias, { pads }) { // one dimension, [rows, channels, steps]
  const [rows, channels, n] = x.shape, [filters, , width] = weight.shape, length = n + pads[0] + pads[1] - width + 1;
  const data = new Float32Array(rows * filters * length);
  for (let row = 0; row < rows; row++) for (let f = 0; f < filters; f++) for (let t = 0; t < length; t++) {
    let sum = bias.data[f];
    for (let c = 0; c < channels; c++) for (let k = 0; k < width; k++) {
      const from = t + k - pads[0];
      if (from >= 0 && from < n) sum += x.data[(row * channels + c) * n + from] * weight.data[(f * channels + c) * width + k];
    }
    data[(row * filters + f) * length + t] = sum;
  }
  return tensor([rows, filters, length], data);
}

function oneHot(ids, depth, values) {
  const n = depth.data[0], data = new values.data.constructor(ids.data.length * n).fill(values.data[0]);
  ids.data.forEach((id, i) => { data[i * n + id] = values.data[1]; });
  return tensor([...ids.shape, n], data);
}

function dequantized(values, scales) {
  const [rows, width] = values.shape, data = new Float32Array(rows * width);
  for (let row = 0; row < rows; row++) for (let i = row * width; i < (row + 1) * width; i++) data[i] = values.data[i] * scales.data[row];
  return tensor([rows, width], data);
}

function where(condition, a, b) {
  const shape = common(condition.shape, a.shape, b.shape);
  const [choice, x, y] = [condition, a, b].map((t) => spread(t, shape));
  const data = new a.data.constructor(choice.length);
  for (let i = 0; i < data.length; i++) data[i] = choice[i] ? x[i] : y[i];
  return tensor(shape, data);
}

function scanned(graph, inputs, { body, num_scan_inputs: count }) {
  const many = inputs.slice(inputs.length - count);
  let states = inputs.slice(0, inputs.length - count);
  const rows = [];
  for (let step = 0; step < many[0].shape[0]; step++) {
    const now = many.map((t) => squeezed(sliced(t, 0, step, step + 1), [0]));
    const found = body.run([...states, ...now], graph.values);
    states = found.slice(0, states.length);
    found.slice(states.length).forEach((t, i) => (rows[i] ??= []).push(unsqueezed(t, [0])));
  }
  return [...states, ...rows.map((parts) => concat(parts, 0))];
}

// A node takes its inputs, its attributes and the graph; it returns a tensor, or several in a list.
const pair = (f) => ([a, b]) => f(a, b);
const inWasm = (name) => ([a], _, g) => tensor(a.shape, g.kernels.apply(name, a.data));
const OPERATORS = {
  Add: pair(both((a, b) => a + b)), Sub: pair(both((a, b) => a - b)),
  Mul: pair(both((a, b) => a * b)), Div: pair(both((a, b) => a / b)),
  Max: pair(both((a, b) => (a > b || a !== a ? a : b))),
  Equal: pair(both((a, b) => a === b, Uint8Array)), Greater: pair(both((a, b) => a > b, Uint8Array)),
  GreaterOrEqual: pair(both((a, b) => a >= b, Uint8Array)),
  Not: ([a]) => each((x) => !x)(a), Neg: ([a]) => each((x) => -x)(a), Abs: ([a]) => each(Math.abs)(a),
  Relu: ([a]) => each((x) => (x > 0 || x !== x ? x : 0))(a), Log: ([a]) => each(Math.log)(a), Softplus: ([a]) => each(softplus)(a),
  Tanh: inWasm("tanh_all"), Sigmoid: inWasm("sigmoid_all"), Exp: inWasm("exp_all"),
  Identity: ([a]) => a,
  Cast: ([a], { to }) => tensor(a.shape, (to === FLOAT ? Float32Array : Int32Array).from(a.data)),
  Where: ([c, a, b]) => where(c, a, b),
  MatMul: ([a, b], _, g) => matmul(g.kernels, a, b),
  RNN: (inputs, options, g) => recurrent("RNN")(g.kernels, inputs, options),
  GRU: (inputs, options, g) => recurrent("GRU")(g.kernels, inputs, options),
  LSTM: (inputs, options, g) => recurrent("LSTM")(g.kernels, inputs, options),
  Softmax: ([a], options) => softmax(false)(a, options), LogSoftmax: ([a], options) => softmax(true)(a, options),
  ReduceSum: ([a, axes], { keepdims = 1 }) => summed(a, axes.data[0], keepdims),
  ReduceMax: ([a], { axes, keepdims = 1 }) => maximum(a, axes[0], keepdims),
  Transpose: ([a], { perm }) => { const apart = steps(a.shape); return selected(a, perm.map((i) => a.shape[i]), perm.map((i) => apart[i])); },
  Reshape: ([a, shape]) => reshaped(a, shape.data), Unsqueeze: ([a, axes]) => unsqueezed(a, axes.data),
  Squeeze: ([a, axes]) => squeezed(a, axes.data), Concat: (parts, { axis }) => concat(parts, axis),
  Split: ([a], { axis }, g, n) => {
    const size = a.shape[axis] / n;
    return Array.from({ length: n }, (_, i) => sliced(a, axis, i * size, (i + 1) * size));
  },
  Slice: ([a, from, to, axes, step]) => sliced(a, axes?.data[0] ?? 0, from.data[0], to.data[0], step?.data[0]),
  Shape: ([a]) => integers(...a.shape), Expand: ([a, shape]) => { const s = common(a.shape, [...shape.data]); return tensor(s, spread(a, s)); },
  Gather: ([a, ids]) => gathered(a, ids), GatherND: ([a, ids]) => gatheredND(a, ids),
  ScatterElements: ([a, ids, values], { axis }) => scattered(a, ids, values, axis),
  ReverseSequence: ([a, lengths]) => reversed(a, lengths), Conv: ([x, w, b], options) => convolved(x, w, b, options),
  OneHot: ([ids, depth, values]) => oneHot(ids, depth, values), DequantizeLinear: ([v, s]) => dequantized(v, s),
  Scan: (inputs, options, g) => scanned(g, inputs, options),
};
const IN_MEMORY = { MatMul: [1], RNN: [1, 2, 3], GRU: [1, 2, 3], LSTM: [1, 2, 3] };

const KINDS = { f4: Float32Array, i4: Int32Array, i1: Int8Array, b1: Uint8Array };

class Graph {
  // description: nodes [operator, inputs, outputs, attributes], inputs [name, dimensions], outputs, and the
  // constants {name: [kind, shape, place]} in the bytes of all weights.
  constructor(description, bytes, kernels, outer = new Map()) {
    this.kernels = kernels;
    this.inputs = description.inputs.map(([name]) => name);
    this.dimensions = Object.fromEntries(description.inputs);
    this.outputs = description.outputs;
    const constants = new Map(outer);
    for (const [name, [kind, shape, at]] of Object.entries(description.constants)) {
      constants.set(name, tensor(shape, new KINDS[kind](bytes, at, product(shape))));
    }
    this.nodes = [];
    for (const [op, inputs, outputs, attributes] of description.nodes) this.add(op, inputs, outputs, attributes, constants, bytes);
    const used = new Set(this.nodes.flatMap((node) => [...node.inputs, ...(node.attributes.body?.inner ?? [])]).concat(this.outputs));
    this.constants = new Map([...constants].filter(([name]) => used.has(name)));
    for (const { op, inputs } of this.nodes) {
      for (const i of IN_MEMORY[op] ?? []) {
        const t = this.constants.get(inputs[i]);
        if (t?.data instanceof Float32Array && (op !== "MatMul" || t.shape.length === 2)) kernels.keep(t);
      }
    }
    this.inner = [...used];
  }

  add(op, inputs, outputs, given, constants, bytes) { // what needs no input is computed now, once
    const attributes = given.body ? { ...given, body: new Graph(given.body, bytes, this.kernels) } : given;
    const run = OPERATORS[op];
    if (!run) throw new Error(`operator ${op}`);
    if (op !== "Scan" && inputs.every((name) => name === "" || constants.has(name))) {
      const found = [run(inputs.map((name) => constants.get(name)), attributes, this, outputs.length)].flat();
      outputs.forEach((name, i) => constants.set(name, found[i]));
    } else {
      this.nodes.push({ op, run, inputs, outputs, attributes });
    }
  }

  run(given, outer) { // tensors in the order of the inputs → tensors in the order of the outputs
    const values = (this.values = new Map(outer ?? []));
    for (const [name, t] of this.constants) values.set(name, t);
    this.inputs.forEach((name, i) => values.set(name, given[i]));
    for (const { run, inputs, outputs, attributes } of this.nodes) {
      const found = run(inputs.map((name) => values.get(name)), attributes, this, outputs.length);
      if (outputs.length === 1 && !Array.isArray(found)) values.set(outputs[0], found);
      else outputs.forEach((name, i) => values.set(name, found[i]));
    }
    return this.outputs.map((name) => values.get(name));
  }

  feed(named) { // {name: tensor} → {name: tensor}
    const found = this.run(this.inputs.map((name) => named[name]));
    return Object.fromEntries(this.outputs.map((name, i) => [name, found[i]]));
  }
}
