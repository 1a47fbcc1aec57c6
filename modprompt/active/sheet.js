// cells that begin a formula get an apostrophe and texts with separators quotation marks, as in io/tables.py
"use strict";
const all = [...document.querySelectorAll("article")], count = document.getElementById("count");
const names = new Set(), spelt = new Map();
const folded = (text) => text.toLowerCase().replace(/[_\/\s]+/g, " ").trim();
for (const one of document.querySelectorAll("#classes option")) {
  names.add(one.value);
  spelt.set(folded(one.value), spelt.has(folded(one.value)) ? "" : one.value);
}
let unsaved = false;
const known = (text) => names.has(text) ? text : spelt.get(folded(text));
const label = (card) => { const field = card.querySelector("input"); return field ? field.value.trim() : null; };
function look() {
  let done = 0, asked = 0, unknown = 0;
  for (const card of all) {
    const text = label(card);
    if (text === null) continue;
    asked += 1;
    const strange = text !== "" && !known(text);
    if (strange) unknown += 1; else if (text) done += 1;
    card.classList.toggle("done", text !== "" && !strange);
    card.querySelector("input").classList.toggle("unknown", strange);
    for (const button of card.querySelectorAll("button.class")) {
      button.setAttribute("aria-pressed", button.value === known(text));
    }
  }
  const faults = unknown === 1 ? "1 label is not a class name" : unknown + " labels are not class names";
  count.textContent = done + " of " + asked + " images labelled" + (unknown ? ", " + faults : "");
}
const number = /^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)(e[+-]?[0-9]+)?$/i;
const shielded = (cell) => /^'*[=+\-@\t\r]/.test(cell) && !number.test(cell) ? "'" + cell : String(cell);
const quoted = (cell) => /[,"\r\n]/.test(cell) ? '"' + cell.replace(/"/g, '""') + '"' : cell;
function table() {
  const rows = [JSON.parse(document.body.dataset.columns)];
  for (const card of all) {
    const cells = JSON.parse(card.dataset.cells), text = label(card);
    if (text !== null) cells[cells.length - 1] = known(text) || text;
    rows.push(cells);
  }
  const text = rows.map((row) => row.map(shielded).map(quoted).join(",") + "\n").join("");
  return /^[\x00-\x7f]*$/.test(text) ? text : "\ufeff" + text;
}
const round = "modprompt " + document.body.dataset.round;
function remember() {
  unsaved = true;
  look();
  try { localStorage.setItem(round, JSON.stringify(all.map(label))); } catch { /* a browser may keep nothing */ }
}
function recall() {
  let texts = [];
  try { texts = JSON.parse(localStorage.getItem(round)) || []; } catch { return; }
  all.forEach((card, place) => {
    const field = card.querySelector("input");
    if (field && !field.value) field.value = texts[place] || "";
  });
}
document.addEventListener("input", remember);
document.addEventListener("click", (event) => {
  const button = event.target;
  if (!button.matches("button.take, button.class")) return;
  const field = button.closest("article").querySelector("input");
  field.value = button.getAttribute("aria-pressed") === "true" ? "" : button.value; // a second click takes it back
  remember();
});
document.getElementById("save").addEventListener("click", () => {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([table()], {type: "text/csv;charset=utf-8"}));
  link.download = document.body.dataset.file;
  link.click();
  unsaved = false;
});
window.addEventListener("beforeunload", (event) => { if (unsaved) event.preventDefault(); });
for (const one of document.querySelectorAll("[hidden]")) one.hidden = false;
recall();
look();
