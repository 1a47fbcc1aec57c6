// a click on a column's name: the largest first (for words the first), then the other way round, then as it was
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
