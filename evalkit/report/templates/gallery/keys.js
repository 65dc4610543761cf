// What keys and buttons do.
const help = byId("help"), letters = byId("letters");
const KEYS = {
  "/": "search", f: "failures", "+": "larger", "=": "larger", "-": "smaller", o: "open", b: "blind", n: "reveal", "?": "help",
  ArrowUp: "previous", ArrowDown: "next", ArrowLeft: "back", ArrowRight: "on", Home: "first", End: "last",
};
const set = (field, value) => { if (field) field.value = value; };
const resize = (step) => set(controls.size, Number(controls.size.value) + step);
const edge = (at) => { set(controls.at, rows.filter((row) => row.shown).at(at)?.number ?? ""); set(controls.sample, ""); };

const everywhere = {
  search: () => { controls.q.focus(); controls.q.scrollIntoView({ block: "center" }); },
  failures: () => set(controls.only, controls.only?.value ? "" : "any"),
  larger: () => resize(1),
  smaller: () => resize(-1),
  open: () => edge(0),
  blind: () => set(controls.blind, controls.blind.value ? "" : 1 + Math.floor(Math.random() * 9999)),
  help: () => help.showModal(),
  leave: () => help.close(),
};
const inZoom = {
  blind: everywhere.blind, help: everywhere.help,
  previous: () => walk(-1), next: () => walk(1), back: () => walkSamples(-1), on: () => walkSamples(1),
  first: () => edge(0), last: () => edge(-1),
  reveal: () => { const row = current(); if (hidden(row)) { revealed = row; disguise(row); } },
  close: () => set(controls.at, ""),
};

function perform(name) { // false if there is nothing of this name to do here
  const solo = /^\d$/.test(name) && zoom.open && (() => toggleSolo(Number(name)));
  const action = solo || (zoom.open && !help.open ? inZoom : everywhere)[name];
  if (!action) return false;
  const opened = !zoom.open;
  action();
  show();
  save(opened && (zoom.open || name === "failures" || name === "blind"));
  return true;
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || help.open) return;
  if (event.target.matches("select, input:not([type=range])")) return;
  if (event.key.length === 1 && !letters.checked) return;
  if (event.target.type === "range" && event.key.length > 1) return;
  if (perform(KEYS[event.key] ?? event.key)) event.preventDefault();
});
document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-do]");
  if (button) perform(button.dataset.do);
});
gallery.addEventListener("click", (event) => {
  const link = event.target.closest("li li a");
  if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  const row = rows.find(({ element }) => element.contains(link)), tile = row.tiles.find((one) => one.link === link);
  set(controls.at, row.number);
  set(controls.sample, tile.sample + 1);
  update(true);
});
form.addEventListener("submit", (event) => event.preventDefault());
form.addEventListener("input", (event) => update(event.target.tagName === "SELECT"));

// A browser may print images that it has not loaded yet as blank space.
const loadAll = () => { for (const image of gallery.querySelectorAll("img")) image.loading = "eager"; };
addEventListener("beforeprint", loadAll);
matchMedia("print").addEventListener("change", loadAll);

form.hidden = false;
restore();
if (location.hash.startsWith(START)) byId("images").scrollIntoView({ behavior: "instant" });
