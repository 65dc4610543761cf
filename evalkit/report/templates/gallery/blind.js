// Blind mode: letters instead of names, no scores, and the models of each prompt in another order.
let revealed = null; // the row whose names are shown

function random(seed) { // mulberry32: the same link shows the same order
  return () => {
    seed = (seed + 0x6d2b79f5) | 0;
    let value = Math.imul(seed ^ (seed >>> 15), 1 | seed);
    value = (value + Math.imul(value ^ (value >>> 7), 61 | value)) ^ value;
    return ((value ^ (value >>> 14)) >>> 0) / 2 ** 32;
  };
}

function shuffledModels(row) {
  const order = models.map((_, model) => model), next = random(Number(controls.blind.value) + 7919 * row.index);
  for (let last = order.length - 1; last > 0; last--) {
    const other = Math.floor(next() * (last + 1));
    [order[last], order[other]] = [order[other], order[last]];
  }
  return order;
}

const hidden = (row) => Boolean(controls.blind.value) && row !== revealed;
const letter = (place) => (place < 26 ? String.fromCharCode(65 + place) : `No. ${place + 1}`);

function disguise(row) {
  const order = controls.blind.value ? shuffledModels(row) : models.map((_, model) => model);
  for (const tile of row.tiles) {
    tile.place = order.indexOf(tile.model);
    tile.shownName = hidden(row) ? letter(tile.place) : tile.name;
    tile.label.data = `${tile.shownName} `;
    tile.item.title = hidden(row) ? "" : tile.full;
    tile.link.href = hidden(row) || !tile.address ? "#images" : tile.address;
  }
  row.tiles.sort((a, b) => a.sample - b.sample || a.place - b.place);
  const label = (tile, place) => (place % models.length === 0 && row.labels[tile.sample] ? [row.labels[tile.sample]] : []);
  row.list.append(...row.tiles.flatMap((tile, place) => [...label(tile, place), tile.item]));
  row.list.classList.toggle("blind", hidden(row));
}

let blinded = null; // the seed that the page shows
function showNames() {
  if (controls.blind.value !== blinded) {
    blinded = controls.blind.value;
    revealed = null;
    rows.forEach(disguise);
  }
  for (const button of document.querySelectorAll("[data-do=blind]")) button.ariaPressed = String(Boolean(blinded));
}
