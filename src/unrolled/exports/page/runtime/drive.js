// Runs the script of a page in Node.js: node drive.js PAGE.html < inputs.json > answers.json
"use strict";

const fs = require("fs"), vm = require("vm");

async function main() {
  const html = fs.readFileSync(process.argv[2], "utf-8");
  const script = html.match(/<script>([^]*)<\/script>/)[1];
  const { opened, checked } = vm.runInThisContext(`(function () {${script}\nreturn { opened, checked };})`)();
  const found = await opened((name) => html.match(new RegExp(`<template id="${name}">([^]*?)</template>`))[1]);
  const inputs = JSON.parse(fs.readFileSync(0, "utf-8"));
  const answers = inputs.map((input) => found.model.predict(input));
  process.stdout.write(JSON.stringify({ answers, wrong: checked(found).map(({ input }) => input) }));
}

main();
