"use strict";
(() => {
  const byId = (id) => document.getElementById(id);
  if (!byId("gallery")) return;
  const gallery = byId("gallery"), filter = byId("filter"), group = byId("group"), order = byId("order");
  const rows = [...gallery.children].map((element) => ({
    element,
    index: Number(element.dataset.index),
    score: Number(element.dataset.score ?? NaN),
    spread: Number(element.dataset.spread ?? NaN),
    group: element.dataset.group,
    text: element.querySelector(".prompt").textContent.toLowerCase(),
  }));
  const rank = (value, sign) => (Number.isNaN(value) ? Infinity : sign * value); // rows without a number come last
  const by = (key, sign) => (a, b) => rank(a[key], sign) - rank(b[key], sign) || a.index - b.index;
  const orders = { index: by("index", 1), high: by("score", -1), low: by("score", 1), spread: by("spread", -1) };

  function show() {
    const wanted = filter.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const row of rows) {
      const fits = (!group || !group.value || row.group === group.value) && wanted.every((word) => row.text.includes(word));
      row.element.hidden = !fits;
      shown += fits;
    }
    byId("count").textContent = shown === rows.length ? `${shown} prompts` : `${shown} of ${rows.length} prompts`;
  }

  function sort() {
    gallery.append(...rows.sort(orders[order.value]).map((row) => row.element));
  }

  filter.addEventListener("input", show);
  group?.addEventListener("change", show);
  order.addEventListener("change", sort);
  byId("controls").hidden = false;
  show();

  const zoom = byId("zoom"), large = byId("large");
  let current = null;

  function open(link) {
    const tile = link.closest(".tile"), small = link.firstElementChild;
    current = link;
    large.src = link.href;
    large.alt = small.alt;
    large.className = Math.max(small.width, small.height, Number(small.getAttribute("width"))) <= 128 ? "tiny" : "";
    byId("zoom-prompt").textContent = small.alt;
    const score = tile.querySelector(".score");
    const parts = [tile.querySelector(".who").title, score && `score ${score.textContent}`,
      `${small.getAttribute("width")} × ${small.getAttribute("height")} px`];
    byId("zoom-facts").textContent = parts.filter(Boolean).join(" · ");
    if (!zoom.open) zoom.showModal();
  }

  function step(move) {
    const links = [...gallery.querySelectorAll(".row:not([hidden]) .tile a")];
    const next = links[links.indexOf(current) + move];
    if (next) open(next);
  }

  gallery.addEventListener("click", (event) => {
    const link = event.target.closest(".tile a");
    if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    open(link);
  });
  zoom.addEventListener("click", (event) => { if (event.target === zoom) zoom.close(); });
  zoom.addEventListener("close", () => { current?.focus(); });
  zoom.addEventListener("keydown", (event) => {
    const move = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (move) { event.preventDefault(); step(move); }
  });
  byId("close").addEventListener("click", () => zoom.close());
})();
