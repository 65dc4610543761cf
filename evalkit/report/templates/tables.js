"use strict";
(() => {
  // A header sorts its column: the best value first, then the other way round. Without a value: last.
  // A cell without a value of its own is read by the number that it begins with: "0.52 (0.40 to 0.63)".
  const leading = (text) => /^\s*(?:\w+: )?([\u2212+-]?[\d.,]+)/.exec(text)?.[1].replaceAll(",", "").replace("\u2212", "-");
  const read = (row, at) => Number(row.cells[at].dataset.value ?? leading(row.cells[at].textContent) ?? NaN);

  function sort(table, header, at) {
    const numeric = header.classList.contains("num");
    const first = numeric && header.dataset.better !== "lower" ? "descending" : "ascending";
    const other = { ascending: "descending", descending: "ascending" };
    const order = header.ariaSort in other ? other[header.ariaSort] : first;
    const sign = order === "ascending" ? 1 : -1;
    const value = (row) => (numeric ? read(row, at) : row.cells[at].textContent.trim());
    const compare = (a, b) => {
      if (!numeric) return sign * a.localeCompare(b, undefined, { numeric: true });
      return Number.isNaN(a) - Number.isNaN(b) || (Number.isNaN(a) ? 0 : sign * (a - b));
    };
    const rows = [...table.tBodies[0].rows].map((row) => ({ row, value: value(row) }));
    table.tBodies[0].append(...rows.sort((a, b) => compare(a.value, b.value)).map(({ row }) => row));
    for (const cell of header.parentElement.cells) cell.removeAttribute("aria-sort");
    header.ariaSort = order;
  }

  // Print has everything: what is folded is open on paper.
  let opened = [];
  const unfold = () => {
    opened = [...document.querySelectorAll("details:not([open])")];
    for (const details of opened) details.open = true;
  };
  addEventListener("beforeprint", unfold);
  addEventListener("afterprint", () => { for (const details of opened) details.open = false; });

  for (const table of document.querySelectorAll("table.sortable")) {
    if (table.tBodies[0].rows.length < 2) continue;
    [...[...table.tHead.rows].at(-1).cells].forEach((header, at) => {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...header.childNodes);
      header.append(button);
      button.addEventListener("click", () => sort(table, header, at));
    });
  }
})();
