// The images of one prompt by all models, side by side.
const zoom = byId("zoom"), stage = byId("stage");
let seen = null; // the row that gets the focus back
const current = () => rows.find((row) => row.number === Number(controls.at.value));

function makeText(tag, text, className = "") {
  return Object.assign(document.createElement(tag), { textContent: text, className });
}

function makeFigure(tile, row) {
  const figure = document.createElement("figure"), size = makeText("small", "");
  const caption = makeText("figcaption", "", hidden(row) ? "" : `m${tile.model % 6}`);
  const isImage = tile.face.tagName === "IMG";
  const face = isImage ? new Image() : tile.face.cloneNode(true);
  caption.append(makeText("span", tile.shownName));
  if (isImage) {
    face.alt = `${tile.shownName}: ${row.prompt}`;
    face.addEventListener("load", () => { if (tile.address) size.textContent = `${face.naturalWidth} × ${face.naturalHeight}`; });
    face.addEventListener("click", () => { toggleSolo(tile.place + 1); update(); });
    face.src = tile.address ?? tile.face.src;
    caption.append(size);
  }
  if (isImage && tile.trouble) caption.append(makeText("strong", tile.trouble));
  if (tile.scoreText && !hidden(row)) caption.append(makeText("em", tile.scoreText, tile.best ? "leads" : ""));
  figure.append(face, caption);
  return figure;
}

function fit() { // as many columns as make the images largest
  const count = stage.childElementCount, { top } = stage.getBoundingClientRect();
  const width = stage.clientWidth, height = innerHeight - top - 24, captions = 40, gap = 16;
  let best = 0;
  for (let columns = 1; columns <= count; columns++) {
    const lines = Math.ceil(count / columns);
    best = Math.max(best, Math.min((width - gap * (columns - 1)) / columns, height / lines - captions));
  }
  stage.style.setProperty("--side", `${Math.floor(Math.max(best, Math.min(144, width / 2 - gap)))}px`);
}

function showZoom() {
  const row = current();
  if (!row) return zoom.open && zoom.close();
  seen = row;
  const sample = Math.min(Math.max(1, Math.trunc(controls.sample.value) || 1), samples); // an address may hold any text
  const tiles = row.tiles.filter((tile) => tile.sample === sample - 1);
  const solo = tiles.filter((tile) => tile.place + 1 === Number(controls.solo.value));
  const shown = rows.filter((other) => other.shown), place = shown.indexOf(row) + 1;
  byId("zoom-prompt").textContent = row.prompt;
  const parts = [`No. ${row.number}`, row.group, place ? `${place} of ${shown.length} shown` : "not in the filter",
    samples > 1 ? `sample ${sample} of ${samples}` : ""];
  byId("zoom-facts").textContent = parts.filter(Boolean).join(" · ");
  byId("reveal")?.toggleAttribute("hidden", !hidden(row));
  stage.replaceChildren(...(solo.length ? solo : tiles).map((tile) => makeFigure(tile, row)));
  if (!zoom.open) zoom.showModal();
  fit();
  for (const tile of shown[place]?.tiles ?? []) if (tile.address) new Image().src = tile.address; // the next prompt
}

function toggleSolo(place) { // one model only, or all again; 0: all
  controls.solo.value = place && place !== Number(controls.solo.value) ? place : "";
}

function walk(step) { // through the prompts as they are filtered and sorted
  const shown = rows.filter((row) => row.shown), place = shown.indexOf(current());
  const next = shown[place < 0 ? 0 : place + step];
  if (!next) return false;
  if (revealed) { const seen = revealed; revealed = null; disguise(seen); }
  controls.at.value = next.number;
  return true;
}

function walkSamples(step) {
  const sample = Number(controls.sample.value || 1) + step;
  if (sample >= 1 && sample <= samples) controls.sample.value = sample;
  else if (walk(step)) controls.sample.value = step > 0 ? 1 : samples;
}

zoom.addEventListener("click", (event) => { if (event.target === zoom) zoom.close(); });
zoom.addEventListener("close", () => {
  controls.at.value = controls.sample.value = controls.solo.value = "";
  save();
  (seen?.shown ? seen.element : form).querySelector("a, button").focus();
});
addEventListener("resize", () => { if (zoom.open) fit(); });

let touch = null; // where a finger went down
zoom.addEventListener("touchstart", (event) => { touch = event.touches.length === 1 ? event.touches[0] : null; }, { passive: true });
zoom.addEventListener("touchend", (event) => {
  const end = event.changedTouches[0], x = touch ? end.clientX - touch.clientX : 0, y = touch ? end.clientY - touch.clientY : 0;
  if (Math.abs(x) > 50 && Math.abs(x) > 2 * Math.abs(y) && visualViewport.scale === 1) perform(x < 0 ? "next" : "previous");
});
