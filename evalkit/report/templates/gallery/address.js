// Search, filters, order and the prompt in view are kept in the address: #images?q=dog&sort=0
const PLAIN = "#images", START = `${PLAIN}?`;
const fields = [...controls].filter((field) => field.name);
const usual = new Map(fields.map((field) => [field, field.value]));
let timer = 0;

function show() {
  showRows();
  showNames();
  showZoom();
}

function address() {
  const changed = fields.filter((field) => field.value !== usual.get(field)).map((field) => [field.name, field.value]);
  return changed.length ? START + new URLSearchParams(changed) : PLAIN;
}

function save(asStep = false) { // a step is what the browser's back button undoes
  const write = () => {
    const wanted = address(), start = location.hash.startsWith(START);
    if (wanted === location.hash || (wanted === PLAIN && !start)) return;
    history[asStep ? "pushState" : "replaceState"](null, "", wanted);
  };
  clearTimeout(timer);
  if (asStep) write();
  else timer = setTimeout(write, 200); // a browser limits how often the address changes
}

function update(asStep = false) {
  show();
  save(asStep);
}

function restore() {
  if (location.hash && !location.hash.startsWith(PLAIN)) return; // another section of the page
  const wanted = new URLSearchParams(location.hash.slice(START.length));
  for (const field of fields) {
    field.value = wanted.get(field.name) ?? usual.get(field);
    if (field.selectedIndex === -1) field.value = usual.get(field); // a group that the run lacks
  }
  show();
}

addEventListener("popstate", restore);
