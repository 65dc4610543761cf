// The prompts of the gallery, their order, and which of them are shown.
const byId = (id) => document.getElementById(id);
const gallery = byId("gallery"), form = byId("controls"), controls = form.elements;
const models = JSON.parse(gallery.dataset.models);

function readTile(item, place) {
  const link = item.firstElementChild, face = link.firstElementChild, score = link.querySelector("em");
  return {
    item, link, face, label: face.nextSibling, name: face.nextSibling.data.trim(), full: item.title,
    score: score ? Number(score.textContent.replaceAll(",", "").replace("\u2212", "-")) : NaN,
    scoreText: score?.textContent ?? "", best: score?.className === "leads",
    address: link.getAttribute("href"), trouble: item.dataset.is ?? "",
    model: place % models.length, sample: Math.floor(place / models.length),
  };
}

function mean(values) {
  const known = values.filter((value) => !Number.isNaN(value));
  return known.length ? known.reduce((sum, value) => sum + value, 0) / known.length : NaN;
}

const rows = [...gallery.children].map((element, index) => {
  const [prompt, facts, list] = element.children;
  const tiles = [...list.children].map(readTile);
  const means = models.map((_, model) => mean(tiles.filter((tile) => tile.model === model).map((tile) => tile.score)));
  return {
    element, index, list, tiles, means, facts, prompt: prompt.textContent, text: prompt.textContent.toLowerCase(),
    number: parseInt(facts.textContent, 10), group: facts.querySelector("bdi")?.textContent ?? "",
  };
});

function sortKey(row) {
  const { sort, minus } = controls;
  if (!sort?.value) return NaN;
  const known = row.means.filter((value) => !Number.isNaN(value));
  if (sort.value === "mean") return mean(known);
  if (sort.value === "spread") return known.length > 1 ? Math.max(...known) - Math.min(...known) : NaN;
  return row.means[sort.value] - (minus?.value ? row.means[minus.value] : 0);
}

let sorted = "";
function sortRows() {
  const wanted = [controls.sort?.value, controls.minus?.value, controls.dir?.value].join();
  if (wanted === sorted) return;
  sorted = wanted;
  const sign = controls.dir?.value === "low" ? 1 : -1;
  for (const row of rows) row.key = sortKey(row);
  const rank = (row) => (Number.isNaN(row.key) ? Infinity : sign * row.key); // without a score: last
  rows.sort((a, b) => (rank(a) === rank(b) ? 0 : rank(a) - rank(b)) || a.index - b.index);
  gallery.append(...rows.map((row) => row.element));
}

function filterRows() {
  const words = controls.q.value.toLowerCase().split(/\s+/).filter(Boolean);
  const group = controls.group?.value, only = controls.only?.value;
  for (const row of rows) {
    row.shown = (!group || row.group === group) && words.every((word) => row.text.includes(word))
      && (!only || row.tiles.some(({ trouble }) => (only === "any" ? trouble : trouble === only)));
    row.element.hidden = !row.shown;
  }
  const shown = rows.filter((row) => row.shown).length;
  const noun = rows.length === 1 ? "prompt" : "prompts";
  const count = shown === rows.length ? `${shown} ${noun}` : `${shown} of ${rows.length} ${noun}`;
  if (byId("count").textContent !== count) byId("count").textContent = count;
}

function showRows() {
  sortRows();
  filterRows();
  const ofModel = /^\d/.test(controls.sort?.value ?? "");
  if (byId("minus")) byId("minus").hidden = !ofModel;
  if (byId("direction")) byId("direction").hidden = !controls.sort.value;
  gallery.style.setProperty("--tile", `${controls.size.value}rem`);
}
