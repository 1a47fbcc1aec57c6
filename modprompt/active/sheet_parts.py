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
.picture img.small { width: 100%; height: 100%; object-fit: contain; image-rendering: pixelated; }
.fault { border: 1px dashed var(--bad); border-radius: 4px; color: var(--bad); padding: .5rem; text-align: center;
  overflow-wrap: anywhere; }
.file b { background: var(--soft); border-radius: 4px; padding: 0 .35rem; }
.why { opacity: .75; font-size: .8125rem; }
.given b { color: var(--good); }
.field { margin-top: auto; padding-top: .5rem; display: flex; gap: .35rem; }
.field[hidden], footer[hidden] { display: none; }
input, button { font: inherit; font-size: 16px; border: 1px solid var(--line); border-radius: 6px; padding: .35rem .5rem;
  min-height: 2.5rem; }
input { flex: 1; min-width: 0; width: 100%; }
input.unknown { border: 2px solid var(--bad); }
.take { flex: none; font-size: .8125rem; padding: .25rem .4rem; }
footer { position: fixed; inset: auto 0 0 0; display: flex; gap: 1rem; align-items: center; justify-content: center;
  padding: .5rem 1rem; background: Canvas; border-top: 1px solid var(--line); }
@media print { footer { display: none; } body { padding-bottom: 1rem; } article { break-inside: avoid; } }
"""

# cells that begin a formula get an apostrophe and texts with separators quotation marks, as storage/tables.py has it
SCRIPT = r"""
"use strict";
const all = [...document.querySelectorAll("article")], count = document.getElementById("count");
const names = new Map();
for (const one of document.querySelectorAll("#classes option")) names.set(one.value, one.value);
for (const name of [...names.keys()]) if (!names.has(name.toLowerCase())) names.set(name.toLowerCase(), name);
let unsaved = false;
const known = (text) => names.get(text) || names.get(text.toLowerCase());
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
document.addEventListener("input", () => { unsaved = true; look(); });
document.addEventListener("click", (event) => {
  if (!event.target.classList.contains("take")) return;
  const card = event.target.closest("article");
  card.querySelector("input").value = card.querySelector(".class").textContent;
  unsaved = true;
  look();
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
look();
"""
