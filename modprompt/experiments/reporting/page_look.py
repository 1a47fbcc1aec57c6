"""The style of a report's page, and the script that sorts its tables: the only one that the page's policy allows."""

STYLE = """
:root { color-scheme: light dark; --line: #8884; --soft: #8881; --best: #1f7a3f; --mine: #4c72b0; }
@media (prefers-color-scheme: dark) { :root { --best: #6fd08c; --mine: #8fb0e6; } }
* { box-sizing: border-box; }
body { font: 16px/1.5 system-ui, sans-serif; margin: 0 auto; padding: 1rem; max-width: 100rem; }
h1 { font-size: 1.5rem; line-height: 1.25; }
.part { border-top: 2px solid var(--line); margin-top: 2.5rem; }
h2 { font-size: 1.15rem; margin: 1.5rem 0 .5rem; }
h3 { font-size: 1rem; margin: 1.5rem 0 .5rem; }
nav { display: flex; flex-wrap: wrap; gap: .25rem .9rem; font-size: .9rem; }
nav a { padding: .3rem 0; }
.grid {
  display: grid; gap: 0 2.5rem; align-items: start;
  grid-template-columns: repeat(auto-fill, minmax(min(100%, 38rem), 1fr));
}
.grid > * { min-width: 0; }
.figures { columns: 38rem; column-gap: 2.5rem; }
.figures figure { break-inside: avoid; margin: 0; padding: 1rem 0; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: .9rem; font-variant-numeric: tabular-nums; }
th, td { padding: .3rem .7rem; text-align: right; white-space: nowrap; border-bottom: 1px solid var(--line); }
th:first-child, td:first-child { text-align: left; position: sticky; left: 0; background: Canvas; }
thead th { border-bottom: 2px solid var(--line); }
th button { all: unset; cursor: pointer; }
th button:focus-visible { outline: 2px solid var(--mine); }
th button::after { content: "\\2195"; display: inline-block; width: 1em; text-align: right; opacity: .35; }
th[aria-sort=descending] button::after { content: "\\2193"; opacity: 1; }
th[aria-sort=ascending] button::after { content: "\\2191"; opacity: 1; }
.best { font-weight: 700; color: var(--best); }
.mine td { background: color-mix(in srgb, var(--mine) 14%, Canvas); }
.mine td:first-child { box-shadow: inset 3px 0 var(--mine); font-weight: 700; }
.published { font-style: italic; background: var(--soft); }
.std { opacity: .65; font-size: .85em; }
.group th { text-align: left; padding-top: .8rem; }
.texts th, .texts td { text-align: left; }
figure { margin: 1rem 0; }
figure img { max-width: 100%; height: auto; background: #fff; border-radius: 4px; }
details { margin: .5rem 0; }
summary { cursor: pointer; font-size: .9rem; padding: .2rem 0; }
.gallery { display: flex; flex-wrap: wrap; gap: .8rem; margin: .5rem 0; padding: 0; list-style: none; }
.gallery li { width: 8.5rem; font-size: .8rem; line-height: 1.3; }
.gallery img, .gallery .none { width: 8rem; height: 8rem; background: var(--soft); border-radius: 4px; }
.gallery img { object-fit: contain; image-rendering: pixelated; display: block; }
.gallery .none { display: grid; place-items: center; }
@media (max-width: 34rem) {
  th, td { padding: .3rem .45rem; }
  .std { display: block; }
  .wide img { max-width: none; width: 40rem; }
  .gallery li { width: 6.5rem; }
  .gallery img, .gallery .none { width: 6.5rem; height: 6.5rem; }
}
figcaption, .about, li { font-size: .9rem; overflow-wrap: anywhere; }
"""

# a click on a column's name: the largest first (of words the first), then the other way round, then as it was
SORTING = """
for (const table of document.querySelectorAll("table")) {
  const body = table.tBodies[0], all = [...body.rows], heads = [...table.tHead.rows[0].cells];
  const groups = all.filter(row => row.className === "group"), rows = all.filter(row => !groups.includes(row));
  const text = (row, column) => row.cells[column].textContent.trim();
  heads.forEach((head, column) => {
    const numeric = rows.some(row => !Number.isNaN(parseFloat(text(row, column)))) && column > 0;
    const value = row => numeric ? parseFloat(text(row, column)) : text(row, column).toLowerCase();
    const orders = numeric ? ["descending", "ascending"] : ["ascending", "descending"];
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = head.textContent;
    head.replaceChildren(button);
    button.addEventListener("click", () => {
      const next = orders[orders.indexOf(head.getAttribute("aria-sort")) + 1];
      heads.forEach(other => other.removeAttribute("aria-sort"));
      groups.forEach(row => { row.hidden = Boolean(next); });
      if (!next) return body.append(...all);
      head.setAttribute("aria-sort", next);
      const sign = next === "ascending" ? 1 : -1;
      const lacks = row => numeric && Number.isNaN(value(row));
      body.append(...[...rows].sort((a, b) =>
        lacks(a) - lacks(b) || sign * ((value(a) > value(b)) - (value(a) < value(b))) || 0));
    });
  });
}
"""
