// Answers that the server has not stored yet, in localStorage: one key per answer, so that two tabs
// never overwrite each other. Each answer has an id, so that the server stores it once however
// often it is sent (a lost reply, two tabs).

export const store = open();

function open() {
  try {
    localStorage.setItem("evalkit", "");
    return localStorage;
  } catch { // blocked by the browser: answers are kept while the page is open
    const kept = new Map();
    return {
      get length() { return kept.size; },
      key: (at) => [...kept.keys()][at],
      getItem: (key) => kept.get(key) ?? null,
      setItem: (key, value) => kept.set(key, value),
      removeItem: (key) => kept.delete(key),
    };
  }
}

// `session` stands for one rater in one study, so that the answers of two studies do not mix.
export class Queue {
  constructor(session) {
    this.prefix = `evalkit:${session}:`;
  }

  get votes() { // the oldest first
    const keys = Array.from({ length: store.length }, (_, at) => store.key(at));
    return keys.filter((key) => key.startsWith(this.prefix))
      .map((key) => store.getItem(key)).filter(Boolean).map((vote) => JSON.parse(vote))
      .sort((a, b) => (a.started_at < b.started_at ? -1 : 1));
  }

  add(vote) {
    const id = newId();
    store.setItem(this.prefix + id, JSON.stringify({ id, ...vote }));
  }

  remove(ids) {
    for (const id of ids) store.removeItem(this.prefix + id);
  }
}

function newId() { // randomUUID exists on https and localhost only, and raters may use a plain LAN
  const byte = () => crypto.getRandomValues(new Uint8Array(1))[0];
  return crypto.randomUUID?.() ?? "10000000-1000-4000-8000-100000000000"
    .replace(/[018]/g, (digit) => (digit ^ (byte() & (15 >> (digit / 4)))).toString(16));
}

// The JSON of a reply. An error has the sentence of the server in `said`, and it is `final` if
// asking again does not mend it.
export async function call(path, body) {
  const response = await fetch(path, {
    method: body ? "POST" : "GET",
    headers: body ? { "Content-Type": "application/json" } : {},
    body: body && JSON.stringify(body),
    keepalive: Boolean(body), // answers go out although the page is closed
    signal: AbortSignal.timeout(20000),
  });
  if (response.ok) return response.json();
  const { error: said } = await response.json().catch(() => ({}));
  const final = response.status < 500 && ![408, 429].includes(response.status);
  const sentence = "The server does not know this study any more. "
    + "Open your link again, or ask for a new one.";
  throw Object.assign(new Error(said || sentence), { said, final });
}
