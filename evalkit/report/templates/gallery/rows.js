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
  const items = [...list.children], labels = items.filter((item) => item.className === "sample");
  const tiles = items.filter((item) => item.className !== "sample").map(readTile);
  const means = models.map((_, model) => mean(tiles.filter((tile) => tile.model === model).map((tile) => tile.score)));
  return {
    element, index, list, labels, tiles, means, facts, amount: facts.appendChild(new Text()), prompt: prompt.textContent, text: prompt.textContent.toLowerCase(),
    number: parseInt(facts.textContent, 10), group: facts.querySelector("bdi")?.textContent ?? "",
  };
});

const samples = Math.max(1, ...rows.slice(0, 1).map((row) => row.tiles.length / models.length));

function sortKey(row) {
  const { sort, minus } = controls;
  if (!sort?.value) return NaN;
  const known = row.means.filter((value) => !Number.isNaN(value));
  if (sort.value === "mean") return mean(known);
  if (sort.value === "spread") // of the means of models: samples of one model are no difference
    return known.length > 1 ? Math.max(...known) - Math.min(...known) : NaN;
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
  showAmounts();
}

function showAmounts() { // by what the prompts are ordered, where no tile shows it
  const { sort, minus } = controls, digits = Math.max(0, ...rows.flatMap((row) => row.tiles.map(decimals)));
  const what = sort?.value === "spread" ? "largest difference" : sort?.value === "mean" ? "mean score"
    : sort?.value && minus?.value ? `${models[sort.value]} \u2212 ${models[minus.value]}` : "";
  const more = samples > 1 || what === "mean score" ? 1 : 0; // a mean needs a digit more than a score
  for (const row of rows) {
    const amount = row.key.toFixed(digits + more).replace("-", "\u2212");
    row.amount.data = what && !Number.isNaN(row.key) ? ` · ${what} ${amount}` : "";
  }
}

const decimals = (tile) => (tile.scoreText.split(".")[1] ?? "").length;
const ofModel = () => /^\d/.test(controls.sort?.value ?? "");

function hideOrders() { // while blind: an order by one model, or by two, tells which images are whose
  const blind = Boolean(controls.blind.value);
  if (blind && ofModel()) controls.sort.value = controls.minus.value = "";
  for (const option of controls.sort?.options ?? []) option.hidden = option.disabled = blind && /^\d/.test(option.value);
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
  hideOrders();
  sortRows();
  filterRows();
  if (byId("minus")) byId("minus").hidden = !ofModel();
  if (byId("direction")) byId("direction").hidden = !controls.sort.value;
  gallery.style.setProperty("--tile", `${controls.size.value}rem`);
}
