// The model of a page.
"use strict";

const MODELS = { classify: Labels, pair: Labels, tag: Tags, language_model: Continuations, translate: Translations };

async function modelOf(page, kernels, bytes) { // {task, program, settings, tokenizers, counts} → a model with predict
  const engine = await Kernels.compile(kernels);
  const graphs = Object.fromEntries(Object.entries(page.program).map(([name, graph]) => [name, new Graph(graph, bytes, engine)]));
  const words = Object.fromEntries(Object.entries(page.tokenizers).map(([role, each]) => [role, new Words(each)]));
  return new MODELS[page.task]({ graphs, settings: page.settings, words, counts: page.counts && new Counts(page.counts, bytes) });
}
