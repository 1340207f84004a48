// What a page shows: a form for the task, the answer beside it, and whether the model answers here as it did when it was exported.
"use strict";

async function inflated(base64) {
  const packed = new Blob([bytesOfBase64(base64)]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(packed).arrayBuffer();
}

function bytesOfBase64(base64) {
  const text = atob(base64.trim()), bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  return bytes;
}

async function opened(part) { // part: the name of a block of the page → its text; returns what the page holds, and the model
  const page = JSON.parse(new TextDecoder().decode(await inflated(part("page"))));
  return { page, model: await modelOf(page, bytesOfBase64(part("kernels")), await inflated(part("weights"))) };
}

const near = (a, b, tolerance) => Math.abs(a - b) <= tolerance * Math.max(1, Math.abs(b));

function differs({ task, tolerance }, expected, found) { // whether an answer is not the stored one
  const all = (a, b) => a.length === b.length && a.every((x, i) => near(x, b[i], tolerance));
  if (task === "translate") return found.text !== expected.text || !near(found.score, expected.score, tolerance);
  if (task === "language_model") return found.text !== expected.text || !all(found.bits, expected.bits);
  const numbers = (answer) => Object.values(answer.probabilities);
  return JSON.stringify(found.labels) !== JSON.stringify(expected.labels) || !all(numbers(found), numbers(expected));
}

function checked({ page, model }) { // the stored answers that come out differently here
  return page.stored.filter(({ input, answer }) => differs(page, answer, model.predict(input)));
}

// Elements

function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key === "weight") made.style.setProperty("--w", value);
    else if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else if (value !== false) made.setAttribute(key, value === true ? "" : value);
  }
  made.append(...children.flat());
  return made;
}

const percent = (share) => `${(100 * share).toFixed(1)}%`;
const area = (id, label, rows = 4) => [element("label", { for: id }, label), element("textarea", { id, rows, dir: "auto", spellcheck: "false" })];
const heading = (text) => element("h2", {}, text);
const scroller = (label, table) => element("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": label }, table);
const head = (...names) => element("thead", {}, element("tr", {}, names.map((name) => (name ? element("th", { scope: "col" }, name) : element("td")))));

function bars(rows, title) { // [name, share, whether it is chosen]
  return element("table", { class: "bars" }, element("caption", {}, title), head("label", "probability", ""), element("tbody", {}, rows.map(([name, share, isChosen]) =>
    element("tr", { class: isChosen ? "chosen" : false },
      element("th", { scope: "row" }, element("bdi", {}, name)), element("td", {}, percent(share)),
      element("td", { class: "bar" }, element("span", { weight: share }))))));
}

// One view for each task: the fields of its form, and what it shows of an answer: what is said to screen
// readers, too, and then the elements below it.

const MOST_LEFT_OUT = 120;
const MOST_SHOWN = 12;
const STRONG = 0.77; // above, the text of a cell has the other colour: its contrast is at least 4.5 everywhere

const labelView = (names) => ({
  fields: () => names.flatMap(([id, label]) => area(id, label)),
  input: () => (names.length === 1 ? document.getElementById("text").value : names.map(([id]) => document.getElementById(id).value)),
  isEmpty: (input) => [input].flat().every((text) => !text.trim()),
  show: (model, input) => {
    const { labels, probabilities } = model.predict(input);
    const ranked = Object.entries(probabilities).sort((a, b) => b[1] - a[1]);
    const most = (ranked.find(([name]) => labels.includes(name)) ?? ranked[0])[0];
    const words = [input].flat().reduce((sum, text) => sum + (text.match(/\P{White_Space}+/gu) ?? []).length, 0);
    const parts = [
      labels.length ? labels.join(", ") : "no label reaches its threshold",
      bars(ranked.slice(0, MOST_SHOWN).map(([name, share]) => [name, share, labels.includes(name)]), "Probabilities of the labels"),
    ];
    if (words > MOST_LEFT_OUT) {
      return [...parts, element("p", { class: "soft" }, `Which words matter is shown for texts of up to ${MOST_LEFT_OUT} words.`)];
    }
    const found = model.withoutEach(input, most);
    return [...parts, heading(`The words that mattered for “${most}”`), ...mattered([input].flat(), found, names),
      element("p", { class: "soft" }, "Each word was left out once: + is a word without which the probability of the label falls, − one without which it rises. The colour is the size of the change, the strongest word in full.")];
  },
});

function mattered(texts, found, names) {
  const largest = Math.max(1e-9, ...found.flat().map(({ change }) => Math.abs(change)));
  return texts.flatMap((text, side) => {
    const shown = [];
    let at = 0;
    for (const { word, index, change } of found[side]) {
      shown.push(text.slice(at, index));
      const weight = Math.abs(change) / largest, title = `${change < 0 ? "−" : "+"}${percent(Math.abs(change))}`;
      shown.push(weight < 0.02 ? word : element("mark", { class: change < 0 ? "against" : "for", weight, title }, word));
      at = index + word.length;
    }
    const rows = [...found[side]].sort((a, b) => Math.abs(b.change) - Math.abs(a.change)).slice(0, MOST_SHOWN);
    const table = element("table", {}, head("word", "change of the probability"), element("tbody", {}, rows.map(({ word, change }) =>
      element("tr", {}, element("th", { scope: "row" }, element("bdi", {}, word)), element("td", {}, `${change < 0 ? "−" : "+"}${percent(Math.abs(change))}`)))));
    const title = names.length > 1 ? `Changes, ${names[side][1].toLowerCase()}` : "Changes as numbers";
    return [element("p", { class: "words", dir: "auto" }, shown, text.slice(at)), ...(rows.length ? [element("details", {}, element("summary", {}, title), table)] : [])];
  });
}

const VIEWS = {
  classify: labelView([["text", "Text"]]),
  pair: labelView([["text", "First text"], ["second", "Second text"]]),
  tag: {
    fields: () => area("text", "Sentence"),
    input: () => document.getElementById("text").value,
    isEmpty: (input) => !input.trim(),
    show: (model, input) => {
      const { words, labels, probabilities } = model.predict(input);
      return ["", element("ol", { class: "tags", "aria-label": "Words with their tags" }, words.map((word, i) =>
        element("li", { class: labels[i] === "O" ? false : "tagged" }, element("bdi", {}, word), element("b", {}, labels[i]), element("span", {}, percent(probabilities[i])))))];
    },
  },
  translate: {
    fields: () => area("text", "Sentence"),
    input: () => document.getElementById("text").value,
    isEmpty: (input) => !input.trim(),
    show: (model, input) => {
      const { text, score, tokens, source, attention } = model.predict(input);
      const parts = [text || "(an empty translation)", element("p", { class: "soft" }, `log-probability, after the length penalty: ${score.toFixed(3).replace("-", "−")}`)];
      if (!attention) return parts;
      const note = "Where the model looks (in per cent) as it writes each word; a row is a word of the translation.";
      return [...parts, heading("Attention"), element("p", { class: "soft" }, note), scroller("Attention", attentionTable(attention, tokens, [...source, "end"]))];
    },
  },
  language_model: {
    fields: () => [
      ...area("text", "Text", 6),
      element("h2", { id: "next" }, "The next word"), element("ul", { class: "choices", id: "choices", "aria-labelledby": "next" }),
      element("div", { class: "row" },
        element("div", {}, element("label", { for: "temperature" }, "How"), element("select", { id: "temperature" },
          element("option", { value: "0" }, "the most probable text"), element("option", { value: "0.7" }, "varied"), element("option", { value: "1" }, "as varied as the model is"))),
        element("button", { type: "button", id: "continue" }, "Continue the text")),
    ],
    input: () => document.getElementById("text").value,
    isEmpty: () => false,
    show: (model, input) => {
      const { typed, words } = model.complete(input, 6);
      document.getElementById("choices").replaceChildren(...words.map(([word, share]) => element("li", {},
        element("button", { type: "button", onclick: () => insert(word.slice(typed.length), model) }, element("bdi", {}, word), ` ${percent(share)}`))));
      const button = document.getElementById("continue"), N_TOKENS = model.words.kind === "char" ? 120 : 30;
      button.onclick = () => insert(model.generate(document.getElementById("text").value, N_TOKENS, { temperature: Number(document.getElementById("temperature").value) }), model, false);
      return [""];
    },
  },
};

function insert(text, model, isWord = true) {
  const field = document.getElementById("text");
  if (isWord && CLOSING.has(text)) field.value = field.value.trimEnd(); // "cat ." is written "cat."
  field.value += text + (isWord && model.words.kind !== "char" ? " " : "");
  field.focus();
  field.dispatchEvent(new Event("input", { bubbles: true }));
}

function attentionTable(attention, tokens, source) {
  const cell = (share) => element("td", { weight: share, class: share > STRONG ? "strong" : false }, share >= 0.005 ? Math.round(100 * share) : "");
  return element("table", { class: "attention" },
    element("thead", {}, element("tr", {}, element("td"), source.map((word) => element("th", { scope: "col" }, element("bdi", {}, word))))),
    element("tbody", {}, attention.map((row, i) => element("tr", {}, element("th", { scope: "row" }, element("bdi", {}, tokens[i])), row.map(cell)))));
}

// The page

async function begin() {
  const [state, form, said, answer] = ["state", "form", "said", "answer"].map((id) => document.getElementById(id));
  const alarm = (text) => state.replaceWith(element("p", { role: "alert", class: "alarm" }, text));
  let found;
  const start = performance.now();
  try {
    found = await opened((name) => document.getElementById(name).content.textContent);
  } catch (error) {
    alarm(`This browser cannot run the model (${error.message}). It needs WebAssembly with SIMD: a version of Chrome, Edge, Firefox or Safari of 2023 or later.`);
    return;
  }
  const { page, model } = found, wrong = checked(found);
  const took = Math.round(performance.now() - start);
  if (wrong.length) {
    alarm(`Warning: ${wrong.length} of ${page.stored.length} answers that were stored with the model come out differently in this browser, for example for ${JSON.stringify(wrong[0].input)}. Do not rely on this page here.`);
  } else {
    state.textContent = `Ready after ${took} ms; ${page.stored.length} of ${page.stored.length} stored answers came out the same in this browser.`;
  }
  Object.assign(document.documentElement.dataset, { ready: took, wrong: wrong.length });
  const view = VIEWS[page.task];
  form.append(...view.fields());
  form.hidden = false;
  form.addEventListener("submit", (event) => event.preventDefault());
  const show = () => {
    const input = view.input();
    const [text, ...parts] = view.isEmpty(input) ? [""] : view.show(model, input);
    if (said.textContent !== text) said.textContent = text;
    answer.replaceChildren(...parts);
  };
  let waiting;
  form.addEventListener("input", () => {
    clearTimeout(waiting);
    waiting = setTimeout(show, 60);
  });
  show();
  globalThis.model = model;
}

if (typeof document !== "undefined") begin();
