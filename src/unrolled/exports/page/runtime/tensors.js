// Tensors {shape, data}: floats in Float32Array, integers in Int32Array, booleans in Uint8Array; and the memory of
// kernels.c, which computes matrix products and recurrent layers.
"use strict";

const FLOAT = 1;
const product = (sizes) => sizes.reduce((a, b) => a * b, 1);
const tensor = (shape, data) => ({ shape, data });
const integers = (...values) => tensor([values.length], Int32Array.from(values));
const place = (axis, rank) => (axis < 0 ? axis + rank : axis);

// Memory of the kernels

class Kernels {
  static async compile(bytes) {
    const { instance } = await WebAssembly.instantiate(bytes, {});
    return new Kernels(instance.exports);
  }

  constructor(exported) {
    this.call = exported;
    this.top = (exported.__heap_base.value + 15) & ~15;
  }

  reserve(n) { // the address of room for n numbers after all that stays
    const missing = this.top + 4 * n + 64 - this.call.memory.buffer.byteLength;
    if (missing > 0) this.call.memory.grow(Math.ceil(missing / 65536));
    return this.top;
  }

  view(at, n) { return new Float32Array(this.call.memory.buffer, at, n); }

  keep(t) { // a constant that stays in memory
    if (t.address === undefined) {
      t.address = this.reserve(t.data.length);
      this.view(t.address, t.data.length).set(t.data);
      this.top += (4 * t.data.length + 15) & ~15;
    }
  }

  with(parts, n, run) { // lay out arrays or numbers of elements, call run with their addresses, read n numbers from the last
    const sizes = parts.map((p) => (p.address !== undefined ? 0 : typeof p === "number" ? p : p.length));
    let at = this.reserve(sizes.reduce((a, b) => a + b + 4, 0));
    const places = parts.map((p, i) => {
      if (p.address !== undefined) return p.address;
      const here = at;
      at += (4 * sizes[i] + 15) & ~15;
      if (typeof p !== "number") this.view(here, p.length).set(p);
      return here;
    });
    run(...places);
    return { read: (i, size) => this.view(places[i], size).slice(), last: n ? this.view(places[places.length - 1], n).slice() : null };
  }

  apply(name, data) {
    return this.with([data], data.length, (at) => this.call[name](at, data.length)).last;
  }
}

// Shapes

function steps(shape) { // how far apart neighbours along each axis are
  const found = new Array(shape.length);
  for (let i = shape.length - 1, size = 1; i >= 0; i--) { found[i] = size; size *= shape[i]; }
  return found;
}

function visit(shape, apart, start, use) { // use(place in the result, place in the data) for a strided selection
  const n = product(shape), at = new Array(shape.length).fill(0);
  for (let i = 0, from = start; i < n; i++) {
    use(i, from);
    for (let axis = shape.length - 1; axis >= 0; axis--) {
      from += apart[axis];
      if (++at[axis] < shape[axis]) break;
      from -= apart[axis] * shape[axis];
      at[axis] = 0;
    }
  }
}

function selected(t, shape, apart, start = 0) {
  const data = new t.data.constructor(product(shape));
  visit(shape, apart, start, (i, from) => { data[i] = t.data[from]; });
  return tensor(shape, data);
}

function common(...shapes) { // the shape to which shapes are broadcast
  const rank = Math.max(...shapes.map((s) => s.length));
  return Array.from({ length: rank }, (_, axis) => {
    const sizes = shapes.map((s) => s[axis - rank + s.length] ?? 1).filter((size) => size !== 1);
    if (sizes.some((size) => size !== sizes[0])) throw new Error(`shapes ${shapes.join(" and ")}`);
    return sizes.length ? sizes[0] : 1;
  });
}

function spread(t, shape) { // the data of a tensor in a larger shape
  const same = t.shape.length === shape.length && t.shape.every((size, i) => size === shape[i]);
  if (same) return t.data;
  const own = steps(t.shape), gap = shape.length - t.shape.length;
  const apart = shape.map((_, axis) => (axis < gap || t.shape[axis - gap] === 1 ? 0 : own[axis - gap]));
  return selected(t, shape, apart).data;
}

const both = (f, Kind) => (a, b) => {
  const shape = common(a.shape, b.shape);
  const n = product(shape), data = new (Kind ?? a.data.constructor)(n);
  if (b.data.length === 1 && a.data.length === n) {
    const y = b.data[0];
    for (let i = 0; i < n; i++) data[i] = f(a.data[i], y);
    return tensor(shape, data);
  }
  const x = spread(a, shape), y = spread(b, shape);
  for (let i = 0; i < n; i++) data[i] = f(x[i], y[i]);
  return tensor(shape, data);
};

const each = (f, Kind) => (a) => {
  const data = new (Kind ?? a.data.constructor)(a.data.length);
  for (let i = 0; i < data.length; i++) data[i] = f(a.data[i]);
  return tensor(a.shape, data);
};

const softplus = (x) => (x > 0 ? x + Math.log1p(Math.exp(-x)) : Math.log1p(Math.exp(x)));

function along(t, axis, use) { // use(first place, distance, number of steps, number of the row) for all rows along an axis
  axis = place(axis, t.shape.length);
  const n = t.shape[axis], gap = product(t.shape.slice(axis + 1));
  for (let row = 0, count = t.data.length / n; row < count; row++) {
    use(Math.floor(row / gap) * gap * n + (row % gap), gap, n, row);
  }
}

const reduced = (first, f) => (t, axis, keepdims) => {
  axis = place(axis, t.shape.length);
  const shape = keepdims ? t.shape.with(axis, 1) : t.shape.toSpliced(axis, 1);
  const data = new t.data.constructor(product(shape));
  along(t, axis, (start, gap, n, row) => {
    let total = first;
    for (let i = 0; i < n; i++) total = f(total, t.data[start + i * gap]);
    data[row] = total;
  });
  return tensor(shape, data);
};
const summed = reduced(0, (a, b) => a + b), maximum = reduced(-Infinity, (a, b) => (b > a ? b : a));

const softmax = (logarithm) => (t, { axis = -1 }) => {
  const data = new Float32Array(t.data.length);
  along(t, axis, (start, gap, n) => {
    let largest = -Infinity, total = 0;
    for (let i = 0; i < n; i++) largest = Math.max(largest, t.data[start + i * gap]);
    for (let i = 0; i < n; i++) total += data[start + i * gap] = Math.exp(t.data[start + i * gap] - largest);
    for (let i = 0; i < n; i++) {
      const here = start + i * gap;
      data[here] = logarithm ? t.data[here] - largest - Math.log(total) : data[here] / total;
    }
  });
  return tensor(t.shape, data);
};
