"""Style and script of the contact sheet; both are in it, and nothing else runs there."""

STYLE = """
:root { color-scheme: light dark; --line: #8886; --soft: #8882; --good: #1f7a3f; --bad: #b3261e; }
@media (prefers-color-scheme: dark) { :root { --good: #6fd08c; --bad: #ff8a80; } }
* { box-sizing: border-box; }
body { font: 16px/1.4 system-ui, sans-serif; margin: 0 auto; padding: 1rem 1rem 5rem; max-width: 80rem; }
h1 { font-size: 1.4rem; line-height: 1.25; margin: 0 0 .5rem; }
p { margin: .25rem 0 0; overflow-wrap: anywhere; }
.about { margin-bottom: 1rem; }
main { display: grid; grid-template-columns: repeat(auto-fill, minmax(10rem, 1fr)); gap: .75rem; }
article { display: flex; flex-direction: column; border: 1px solid var(--line); border-radius: 8px; padding: .5rem;
  font-size: .875rem; }
article.free { background: var(--soft); border-style: dashed; }
article.done { border-color: var(--good); }
.picture { height: 160px; display: flex; align-items: center; justify-content: center; overflow: hidden; }
.picture img { max-width: 100%; max-height: 100%; border-radius: 4px; }
.picture img.small { width: 100%; height: 100%; object-fit: contain; }
.fault { border: 1px dashed var(--bad); border-radius: 4px; color: var(--bad); padding: .5rem; }
.fault span { max-height: 100%; overflow: hidden; overflow-wrap: anywhere; text-align: center; }
.file b { background: var(--soft); border-radius: 4px; padding: 0 .35rem; }
.seen { display: flex; flex-wrap: wrap; gap: .1rem .35rem; align-items: baseline; }
.why { opacity: .75; font-size: .8125rem; }
.given { margin-top: auto; padding-top: .5rem; }
.given b { color: var(--good); }
.field { margin-top: auto; padding-top: .5rem; }
[hidden] { display: none !important; }
input, button { font: inherit; border: 1px solid var(--line); border-radius: 6px; }
input, #save { font-size: 16px; padding: .35rem .5rem; min-height: 2.5rem; }
input { width: 100%; }
input.unknown { outline: 2px solid var(--bad); }
.take { font-weight: 600; padding: .1rem .4rem; background: var(--soft); color: inherit; cursor: pointer;
  max-width: 100%; overflow-wrap: anywhere; text-align: left; }
footer { position: fixed; inset: auto 0 0 0; display: flex; gap: 1rem; align-items: center; justify-content: center;
  padding: .5rem 1rem; background: Canvas; border-top: 1px solid var(--line); }
@media print { footer { display: none; } body { padding-bottom: 1rem; } article { break-inside: avoid; } }
"""

# cells that begin a formula get an apostrophe and texts with separators quotation marks, as storage/tables.py has it
SCRIPT = r"""
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
  }
  count.textContent = done + " of " + asked + (unknown ? ", " + unknown + " unknown" : "");
}
const shielded = (text) => text.replace(/(^|[;\t\r\n])(?=[ ']*[=+\-@\uff1d\uff0b\uff0d\uff20])/g, "$1'");
const quoted = (cell) => /[,;"\t\r\n]|^\s|\s$/.test(cell) ? '"' + cell.replace(/"/g, '""') + '"' : cell;
function table() {
  const rows = [JSON.parse(document.body.dataset.columns)];
  for (const card of all) {
    const cells = JSON.parse(card.dataset.cells), text = label(card);
    if (text !== null) cells[cells.length - 1] = shielded(known(text) || text);
    rows.push(cells);
  }
  const text = rows.map((row) => row.map(quoted).join(",") + "\n").join("");
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
  if (!event.target.classList.contains("take")) return;
  const card = event.target.closest("article");
  card.querySelector("input").value = event.target.textContent;
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
"""
