"use strict";
(() => {
  const maps = [...document.querySelectorAll("canvas[data-values]")].map(canvas => {
    const bytes = Uint8Array.from(atob(canvas.dataset.values), c => c.charCodeAt(0));
    return {
      canvas, values: new Int8Array(bytes.buffer), out: canvas.parentElement.querySelector("output"),
      rows: +canvas.dataset.rows, columns: +canvas.dataset.columns, scale: +canvas.dataset.scale,
      names: JSON.parse(canvas.dataset.names), rowNames: JSON.parse(canvas.dataset.rowNames || "[]"), row: 0, column: 0,
    };
  });
  const tone = name => getComputedStyle(document.documentElement).getPropertyValue(name).split(",").map(Number);
  function paint(map) {
    const { canvas, rows, columns } = map, image = new ImageData(columns, rows);
    const plus = tone("--blue"), minus = tone("--orange");
    map.values.forEach((value, i) => {
      image.data.set([...(value < 0 ? minus : plus), Math.round(Math.abs(value) * 255 / 127)], 4 * i);
    });
    canvas.width = columns;
    canvas.height = rows;
    canvas.getContext("2d").putImageData(image, 0, 0);
  }
  function read(map, row, column) {
    map.row = Math.max(0, Math.min(map.rows - 1, row));
    map.column = Math.max(0, Math.min(map.columns - 1, column));
    const value = map.values[map.row * map.columns + map.column] * map.scale / 127;
    map.out.textContent = `${map.names[map.column]}, ${map.rowNames[map.row] ?? `unit ${map.row}`}: ${value.toFixed(2)}`;
  }
  for (const map of maps) {
    const { canvas } = map;
    canvas.addEventListener("pointermove", event => {
      const box = canvas.getBoundingClientRect();
      read(map, Math.floor((event.clientY - box.top) / box.height * map.rows),
        Math.floor((event.clientX - box.left) / box.width * map.columns));
    });
    canvas.addEventListener("keydown", event => {
      const move = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
      if (!move) return;
      event.preventDefault();
      read(map, map.row + move[0], map.column + move[1]);
    });
    canvas.addEventListener("focus", () => read(map, map.row, map.column));
    paint(map);
  }
  for (const scroll of document.querySelectorAll(".scroll:not([tabindex])")) {
    if (scroll.scrollWidth > scroll.clientWidth) scroll.tabIndex = 0;
  }
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => maps.forEach(paint));
})();
