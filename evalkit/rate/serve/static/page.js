// The page of `evalkit rate serve`: one item at a time. A step is one question about one item.
// Elements stay where they are from item to item, so the focus and the eye do too.

import { frames, load, panBy, panWith, views, zoom, zoomed } from "./images.js";
import { call, Queue, store } from "./queue.js";

const $ = (id) => document.getElementById(id);
const PAIRWISE = [ // response, words, key, sign of the key
  ["left", "", "ArrowLeft", "←"], ["tie", "Tie", "0"], ["both_bad", "Both bad", "b"],
  ["cannot_tell", "Can’t tell", "x"], ["right", "", "ArrowRight", "→"],
];
const CANNOT_TELL = ["cannot_tell", "Can’t tell", "x"];
const STEADY_MS = 200; // after a step appears: a double click must not answer this one too

const stacked = matchMedia("(max-width: 40rem) and (orientation: portrait)");
const items = new Map(); // by id: every item that the server named, with the answers so far
let study, queue, session, progress, finished;
let open = []; // the ids of the next items
let step = null; // {item, question, changing, steady, broken, started_at, ms, since}
let said = "", note = ""; // the answer before, for the announcement; a message for the banner
let sending = false, failures = 0, fault = "", timer = 0;

const screen = () => document.body.dataset.screen;
const done = (item) => study.questions.every(({ name }) => name in item.answers);

// --- The server. One request at a time, so that no reply is older than the one before.

async function send({ fresh = false } = {}) {
  clearTimeout(timer);
  if (sending) return;
  sending = true;
  try {
    if (!study || fresh) receive(await call("/api/state"));
    for (let votes; (votes = queue.votes.slice(0, 50)).length;) {
      const reply = await call("/api/votes", { session, votes });
      const settled = [...reply.accepted, ...reply.rejected.map(({ id }) => id)];
      if (!settled.length) throw new Error("no answer was taken");
      queue.remove(settled);
      receive(reply.rejected.length ? await call("/api/state") : reply);
      note = reply.rejected[0] ? `An answer was not accepted: ${reply.rejected[0].reason}` : note;
    }
    failures = 0;
  } catch (error) {
    if (error.final) return stop(error.message);
    failures += 1;
    fault = error.said ?? "The server does not answer.";
    timer = setTimeout(send, Math.min(30000, 500 * 2 ** failures));
  } finally {
    sending = false;
    drawBanner();
  }
  leaveAnswered();
}

function receive(state) {
  const first = !study;
  if (!first && state.session && state.session !== session) {
    const error = new Error("The link of another rater was opened in this browser. "
      + "Reload the page to go on as that rater.");
    throw Object.assign(error, { final: true });
  }
  ({ progress, finished } = state);
  for (const item of [...(state.answered ?? []), ...state.items]) {
    items.set(item.id, Object.assign(items.get(item.id) ?? {}, item));
  }
  open = state.items.map(({ id }) => id);
  if (first) {
    ({ study, session } = state);
    queue = new Queue(session);
    document.body.dataset.mode = study.mode;
    $("most").textContent = study.questions[0].anchors?.length;
  }
  overlay();
  for (const id of open) items.get(id).images.forEach(load);
  const begun = [...items.values()].some(({ answers }) => Object.keys(answers).length);
  if (first && open.length && !begun) go("start", "begin");
}

function overlay(...more) { // unsent answers, of this tab or of another one, count as given
  for (const vote of [...queue.votes, ...more]) {
    const item = items.get(vote.item);
    if (item) item.answers[vote.question] = vote.response;
  }
  const unstored = open.filter((id) => done(items.get(id))).length;
  const count = Math.min(progress.total, progress.done + unstored);
  $("bar").max = progress.total || 1;
  $("bar").value = count;
  $("count").textContent = `${count} of ${progress.total}`;
}

// --- Steps.

function advance() {
  const item = open.map((id) => items.get(id)).find((one) => !done(one));
  if (item) return show(item, study.questions.find(({ name }) => !(name in item.answers)));
  leaveStep();
  if (finished && !queue.votes.length) {
    $("completion").hidden = !finished.code;
    $("code").textContent = finished.code;
    return go("finish", "finish-title");
  }
  $("reason").textContent = failures || !navigator.onLine
    ? "The next items cannot be loaded now. The page goes on by itself when the connection is back."
    : "Your answers are being saved.";
  if (screen() === "waiting") return;
  go("waiting", "waiting-title");
  send({ fresh: true }); // another tab may know further items, or the end
}

function undo() { // to the last answered step before this one, in the order of the study
  if (!["rating", "finish"].includes(screen())) return;
  const at = step ? [step.item.position, study.questions.indexOf(step.question)] : [Infinity, 0];
  const before = [...items.values()].sort((a, b) => a.position - b.position)
    .flatMap((item) => study.questions.map((question, index) => ({ item, question, index })))
    .filter(({ item, question, index }) => question.name in item.answers
      && (item.position < at[0] || (item.position === at[0] && index < at[1])))
    .at(-1);
  if (before) show(before.item, before.question);
  else $("live").textContent = "There is no earlier answer to change.";
}

function leaveAnswered() { // what another tab has answered is not asked here again
  const answered = step && !step.changing && step.question.name in step.item.answers;
  if ((answered && screen() === "rating") || (study && screen() === "waiting")) advance();
}

function show(item, question, record = true) {
  leaveStep();
  const changing = question.name in item.answers;
  const mine = { item, question, changing, started_at: "", ms: 0, since: null };
  step = mine;
  if (record) {
    const method = history.state ? "pushState" : "replaceState";
    history[method]({ item: item.id, question: question.name }, "");
  }
  const images = item.images.map(load);
  go("rating", "prompt");
  drawStep(images);
  Promise.allSettled(images.map((image) => image.ready)).then((results) => {
    if (step !== mine) return;
    const failed = results.map(({ status }) => status === "rejected");
    failed.forEach((bad, at) => frames()[at].classList.toggle("failed", bad));
    step.broken = failed.includes(true);
    document.body.dataset.images = step.broken ? "broken" : "loaded";
    runClock();
    announce();
    setTimeout(() => { mine.steady = true; drawReady(); }, STEADY_MS);
  });
}

function leaveStep() {
  step = null;
  zoom(false);
  compare(false);
  document.body.dataset.images = "loading";
  drawReady();
}

function answer(response) {
  const options = [...$("options").children];
  const option = options.find((button) => button.dataset.response === response);
  if (screen() !== "rating" || $("help").open || !option || !usable(response)) return;
  stopClock();
  const { item, question } = step;
  const started_at = step.started_at || new Date().toISOString();
  if (item.answers[question.name] !== response) {
    const ms = Math.round(step.ms);
    queue.add({ item: item.id, question: question.name, response, started_at, ms });
  }
  item.answers[question.name] = response;
  said = `${option.querySelector(".words").innerText}. `;
  note = "";
  overlay();
  advance();
  send();
}

const usable = (response) => step?.steady && (!step.broken || response === "cannot_tell");

// --- Time: from the moment that all images are visible, without pauses and hidden tabs.

function runClock() {
  const visible = !document.hidden && screen() === "rating" && !$("help").open;
  if (!step || !visible || document.body.dataset.images === "loading") return stopClock();
  step.started_at ||= new Date().toISOString();
  step.since ??= performance.now();
}

function stopClock() {
  if (step?.since != null) step.ms += performance.now() - step.since;
  if (step) step.since = null;
}

// --- Drawing.

function go(name, focus) {
  if (screen() === name) return;
  document.body.dataset.screen = name;
  $(focus).focus({ preventScroll: true });
  scrollTo(0, 0);
  runClock();
}

function stop(sentence) { // nothing is lost: the queue stays for the same link
  const count = queue?.votes.length;
  leaveStep();
  $("sentence").textContent = sentence + (count
    ? ` Answers kept in this browser: ${count}. They are sent when your link works again.` : "");
  go("trouble", "trouble-title");
}

function announce() {
  const { item, question, broken } = step;
  const given = $("options").querySelector("[aria-pressed=true] .words")?.innerText;
  $("live").textContent = `${said}Item ${item.position} of ${progress.total}. ${item.prompt}. `
    + question.text + (given ? ` Your answer: ${given}.` : "")
    + (broken ? " An image did not load." : "");
  said = "";
}

function drawBanner() {
  const count = queue?.votes.length;
  const kept = count === 1 ? "1 answer is kept" : `${count} answers are kept`;
  $("banner").textContent = navigator.onLine && !failures ? note
    : `${navigator.onLine ? fault : "You are offline."} `
      + (count ? `${kept} in this browser and sent when the connection is back.` : "");
}

function drawReady() {
  for (const button of $("options").children) {
    button.setAttribute("aria-disabled", !usable(button.dataset.response));
  }
  document.body.dataset.ready = Boolean(step?.steady);
}

function drawStep(images) {
  const { item, question, changing } = step;
  $("prompt").textContent = item.prompt;
  $("prompt").classList.toggle("long", item.prompt.length > 160);
  $("prompt").tabIndex = $("prompt").scrollHeight > $("prompt").clientHeight + 1 ? 0 : -1;
  frames().forEach((frame, at) => {
    frame.hidden = !images[at];
    frame.classList.remove("failed");
    if (images[at] && views()[at].firstElementChild !== images[at]) {
      views()[at].replaceChildren(images[at]);
    }
  });
  const count = study.questions.length;
  const part = count > 1 ? `${study.questions.indexOf(question) + 1} of ${count}` : "";
  $("step").textContent = changing ? `Item ${item.position}${part && `, ${part}`}`
    : part && `Question ${part}`;
  $("question").textContent = question.text;
  drawOptions(question, item.answers[question.name]);
  document.body.classList.toggle("changing", changing);
}

function drawOptions(question, given) {
  const options = study.mode === "pairwise" ? PAIRWISE : study.mode === "checklist"
    ? [["yes", "Yes", "y"], ["no", "No", "n"], CANNOT_TELL]
    : [...question.anchors.map((words, at) => [`${at + 1}`, words, `${at + 1}`]), CANNOT_TELL];
  const list = $("options");
  while (list.children.length > options.length) list.lastChild.remove();
  options.forEach(([response, words, key, sign = key.toUpperCase()], at) => {
    if (!list.children[at]) list.append($("option").content.cloneNode(true));
    const button = list.children[at];
    Object.assign(button.dataset, { response, key });
    button.setAttribute("aria-keyshortcuts", key.length === 1 ? key.toUpperCase() : key);
    button.setAttribute("aria-pressed", response === given);
    button.querySelector(".words").textContent = words;
    button.querySelector("kbd").textContent = sign;
  });
  nameSides();
}

function nameSides() { // stacked on a phone, "left" would be wrong
  const pair = stacked.matches ? ["Top image", "Bottom image"] : ["Left image", "Right image"];
  const names = study?.mode === "pairwise" ? pair : ["Image"];
  frames().forEach((frame, at) => {
    const image = views()[at].firstElementChild;
    if (image) image.alt = names[at];
    frame.querySelector("figcaption").textContent = names[at];
  });
  for (const [at, side] of ["left", "right"].entries()) {
    const words = $("options").querySelector(`[data-response=${side}] .words`);
    if (words) words.textContent = pair[at];
  }
}

function compare(on) { // both images in one place: the other one each time
  const shown = on ? ($("frames").dataset.shown === "0" ? 1 : 0) : "";
  $("frames").dataset.shown = shown;
  $("compare").setAttribute("aria-pressed", on);
  if (on) $("live").textContent = frames()[shown].querySelector("figcaption").textContent;
}

// --- Keys and buttons.

function pause() {
  if (screen() === "rating") go("paused", "resume");
}

function resume() { // after the instructions, or after a pause
  if (screen() === "start") return advance();
  if (screen() === "paused") go("rating", "prompt");
  leaveAnswered();
}

function escape() {
  if (zoomed()) zoom(false);
  else if ($("frames").dataset.shown) compare(false);
  else if (step?.changing) advance();
}

function help() {
  if ($("help").open) return $("help").close();
  $("help").showModal();
  runClock();
}

function retry() {
  if (step?.broken) show(step.item, step.question, false);
}

const toggleZoom = () => step?.steady && screen() === "rating" && zoom(!zoomed());
const nextImage = () => step?.steady && screen() === "rating" && compare(true);
const KEYS = {
  u: undo, z: toggleZoom, " ": nextImage, "?": help, r: retry, Escape: escape, Enter: resume,
  p: () => (screen() === "paused" ? resume() : pause()),
};
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
const CLICKS = {
  undo, pause, ask: help, zoom: toggleZoom, compare: nextImage, begin: resume, resume, again: send,
  keep: escape, change: undo, reload: () => location.reload(),
  copy: () => getSelection().selectAllChildren($("code")) || document.execCommand("copy"),
};

addEventListener("keydown", (event) => {
  const { key, code } = event;
  if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
  if ([" ", "Enter"].includes(key) && event.target.closest("button, input")) return; // its own keys
  // On another keyboard layout: the key in the same place.
  const known = key.length > 1 || /^[a-z0-9? ]$/i.test(key);
  const pressed = known ? key : code.replace(/^(Key|Digit|Numpad)/, "");
  const name = pressed.length === 1 ? pressed.toLowerCase() : pressed;
  if (name.length === 1 && name !== " " && !$("letters").checked) return;
  if ($("help").open) return name === "?" ? help() : undefined;
  const options = [...$("options").children];
  const option = options.find((button) => button.dataset.key === name)
    ?? (study?.mode === "checklist" ? options[Number(name) - 1] : null);
  if (zoomed() && ARROWS[name]) panBy(...ARROWS[name]);
  else if (event.repeat) return; // a key that is held down answers once
  else if (KEYS[name] && (name !== " " || study?.mode === "pairwise")) KEYS[name]();
  else if (option && zoomed()) $("live").textContent = "Press Escape to end the zoom, then answer.";
  else if (option) answer(option.dataset.response);
  else return;
  event.preventDefault();
});
addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (button?.classList.contains("retry")) retry();
  else if (button?.dataset.response) answer(button.dataset.response);
  else if (button) CLICKS[button.id]?.();
  else if (event.target.closest(".view img")) toggleZoom();
});
addEventListener("mousedown", (event) => { // no focus by mouse: Space would press the button again
  if (event.target.closest("#options button, .tools button")) event.preventDefault();
});
$("frames").addEventListener("pointermove", panWith);
$("help").addEventListener("close", runClock);
$("letters").checked = store.getItem("evalkit:letters") !== "off";
$("letters").addEventListener("change", () => {
  store.setItem("evalkit:letters", $("letters").checked ? "on" : "off");
});
stacked.addEventListener("change", nameSides);
addEventListener("popstate", ({ state }) => {
  const item = items.get(state?.item);
  const question = study?.questions.find(({ name }) => name === state?.question);
  if (item && question && ["rating", "finish"].includes(screen())) show(item, question, false);
});
addEventListener("storage", (event) => { // another tab has answered, or sent an answer
  if (!queue || !event.key?.startsWith(queue.prefix)) return;
  // The other tab may have removed the answer again: the server has stored it.
  overlay(...(event.newValue ? [JSON.parse(event.newValue)] : []));
  leaveAnswered();
  drawBanner();
});
addEventListener("online", () => { retry(); send(); });
addEventListener("offline", drawBanner);
document.addEventListener("visibilitychange", () => {
  runClock();
  if (!document.hidden) send({ fresh: true }); // other devices may have answered meanwhile
});
addEventListener("beforeunload", (event) => {
  if (failures && queue?.votes.length) event.preventDefault(); // unsent for a while
});

history.replaceState(null, "");
send();
