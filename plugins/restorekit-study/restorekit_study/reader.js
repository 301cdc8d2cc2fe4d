"use strict";
// One query at a time. A choice is shown as made only once it is stored; until then it is sent again, under one number.

const $ = id => document.getElementById(id);
const SETTLE = 400;  // ms after a query is displayed in which nothing is taken: the second half of a double click
const RETRY = 1000;
const ZOOM_MOST = 16;
const PRACTICE = "Try it: drag an image to change the window, turn the wheel or pinch to zoom. “Keys” lists the keys.";

let state = null;
let at = -1;            // the query that is shown
let changing = false;   // it has a choice already, which is to be replaced
let columns = [];       // {canvas, picture: {width, height, values, drawn}}
let view = null;        // {low, high, zoom, x, y}: x and y are the centre, as shares of the image
let shownAt = 0, hiddenFor = 0, hiddenAt = 0;
let busy = true;
let mode = "window";

// ---------------------------------------------------------------- where choices are stored

const token = decodeURIComponent((location.hash.match(/token=([^&]+)/) || [])[1] || "");

class Refused extends Error {
  constructor(message, status, body) { super(message); this.status = status; this.body = body; }
}

const server = {
  pendingName: "restorekit-study-pending-" + token.slice(0, 8),
  async call(path, body) {
    const got = await fetch(path, {
      method: body === undefined ? "GET" : "POST",
      headers: {Authorization: "Bearer " + token, "Content-Type": "application/json"},
      body: body === undefined ? undefined : JSON.stringify(body),
    });
    if (path.startsWith("image/") && got.ok) return got.blob();
    const found = await got.json();
    if (!got.ok) throw new Refused(found.error || got.statusText, got.status, found);
    return found;
  },
  state() { return this.call("state"); },
  consent() { return this.call("consent", {}); },
  choose(choice) { return this.call("choice", choice); },
  image(name) { return this.call("image/" + name); },
};

const file = {
  pendingName: OFFLINE && "restorekit-study-pending-" + OFFLINE.study.slice(0, 16) + "-" + OFFLINE.reader,
  name: OFFLINE && "restorekit-study-" + OFFLINE.study.slice(0, 16) + "-" + OFFLINE.reader,
  kept() { return JSON.parse(localStorage.getItem(this.name) || '{"consented": false, "choices": [], "changes": []}'); },
  keep(kept) { localStorage.setItem(this.name, JSON.stringify(kept)); return this.stored(kept); },
  stored(kept) {
    const choices = Object.fromEntries(kept.choices.map(one => [one.query, one.value]));
    return {consented: kept.consented, choices, receipt: ""};
  },
  async state() { return {...OFFLINE, images: undefined, ...this.stored(this.kept())}; },
  async consent() { const kept = this.kept(); kept.consented = new Date().toISOString(); return this.keep(kept); },
  async choose(choice) {
    const kept = this.kept();
    const there = kept.choices.findIndex(one => one.query === choice.query);
    const one = {...choice, at: new Date().toISOString()};
    if (there < 0) kept.choices.push(one);
    else if (kept.choices[there].number !== choice.number) {
      if (!choice.change) throw new Refused("it has a choice already", 409, this.stored(kept));
      kept.changes.push(kept.choices[there]);
      kept.choices[there] = one;
    }
    return this.keep(kept);
  },
  async image(name) {
    const bytes = Uint8Array.from(atob(OFFLINE.images[name]), c => c.charCodeAt(0));
    return new Blob([bytes], {type: "image/png"});
  },
};

const place = OFFLINE ? file : server;

// ---------------------------------------------------------------- images of 16 bits

const pictures = new Map();

function picture(name) {
  if (!pictures.has(name)) {
    const found = place.image(name).then(decoded);
    found.catch(() => pictures.delete(name));
    pictures.set(name, found);
    const most = 2 * state.queries[0].columns.length + 2;  // those shown and those that come next
    if (pictures.size > most) pictures.delete(pictures.keys().next().value);
  }
  return pictures.get(name);
}

async function decoded(blob) {
  const bitmap = await createImageBitmap(blob, {colorSpaceConversion: "none", premultiplyAlpha: "none"});
  const canvas = document.createElement("canvas");
  canvas.width = bitmap.width;
  canvas.height = bitmap.height;
  const context = canvas.getContext("2d", {willReadFrequently: true});
  context.drawImage(bitmap, 0, 0);
  bitmap.close();
  const bytes = context.getImageData(0, 0, canvas.width, canvas.height).data;
  const values = new Uint16Array(canvas.width * canvas.height);
  let blue = 0;
  for (let i = 0; i < values.length; i++) {
    values[i] = bytes[4 * i] << 8 | bytes[4 * i + 1];
    blue |= bytes[4 * i + 2];
  }
  if (blue) throw new Refused("This browser changes the pixels that a page reads, as some do for privacy. " +
    "Allow it for this page, or use another browser.", 0);
  return {width: canvas.width, height: canvas.height, values, drawn: canvas, window: ""};
}

function applyWindow(one) {
  const window = view.low + " " + view.high;
  if (one.window === window) return;
  one.window = window;
  const low = (view.low + 1) / 2 * 65535, scale = 255 / Math.max(1, (view.high - view.low) / 2 * 65535);
  const levels = new Uint8ClampedArray(65536);
  for (let i = 0; i < 65536; i++) levels[i] = Math.round((i - low) * scale);
  const context = one.drawn.getContext("2d", {willReadFrequently: true});
  const image = context.createImageData(one.width, one.height);
  const pixels = new Uint32Array(image.data.buffer);
  for (let i = 0; i < pixels.length; i++) pixels[i] = 0xff000000 | levels[one.values[i]] * 0x010101;
  context.putImageData(image, 0, 0);
}

let scheduled = false;
function draw() {
  if (scheduled) return;
  scheduled = true;
  requestAnimationFrame(() => {
    scheduled = false;
    if (!view) return;
    for (const {canvas, picture: one} of columns) {
      const ratio = devicePixelRatio || 1;
      const width = Math.round(canvas.clientWidth * ratio), height = Math.round(canvas.clientHeight * ratio);
      if (canvas.width !== width || canvas.height !== height) { canvas.width = width; canvas.height = height; }
      applyWindow(one);
      const scale = Math.min(width / one.width, height / one.height) * view.zoom;
      const context = canvas.getContext("2d");
      context.fillRect(0, 0, width, height);
      context.imageSmoothingEnabled = scale < 3;
      context.imageSmoothingQuality = "high";
      context.drawImage(one.drawn, width / 2 - view.x * one.width * scale, height / 2 - view.y * one.height * scale,
        one.width * scale, one.height * scale);
    }
    const percent = value => Math.round((value + 1) * 50) + " %";
    $("view").textContent = `black at ${percent(view.low)}, white at ${percent(view.high)}, zoom ${view.zoom.toFixed(1)}`;
  });
}

// ---------------------------------------------------------------- window, zoom and place, the same in all columns

function reset() {
  const [low, high] = state.queries[at].window;
  view = {low, high, zoom: 1, x: .5, y: .5};
  draw();
}

function changeWindow(contrast, brightness) {
  const centre = (view.low + view.high) / 2 - brightness * (view.high - view.low);
  const half = Math.min(2, Math.max(.005, (view.high - view.low) / 2 * Math.exp(-contrast)));
  view.low = Math.max(-3, centre - half);
  view.high = Math.min(3, centre + half);
  draw();
}

function zoomBy(factor, dx = 0, dy = 0) {  // dx, dy: the fixed point, in shares of the unzoomed image from its centre
  const zoom = Math.min(ZOOM_MOST, Math.max(1, view.zoom * factor));
  const before = view.zoom;
  view.zoom = zoom;
  move(dx / before - dx / zoom, dy / before - dy / zoom);
}

function move(dx, dy) {
  const room = .5 - .5 / Math.max(1, view.zoom);
  view.x = Math.min(.5 + room, Math.max(.5 - room, view.x + dx));
  view.y = Math.min(.5 + room, Math.max(.5 - room, view.y + dy));
  draw();
}

function shares(canvas, one, x, y) {  // pixels of the page to shares of the unzoomed image
  const scale = Math.min(canvas.clientWidth / one.width, canvas.clientHeight / one.height);
  return [x / (one.width * scale), y / (one.height * scale)];
}

function listen(canvas, one) {
  const down = new Map();
  canvas.addEventListener("pointerdown", event => {
    canvas.setPointerCapture(event.pointerId);
    down.set(event.pointerId, event);
  });
  canvas.addEventListener("pointermove", event => {
    const before = down.get(event.pointerId);
    if (!before || !view) return;
    const dx = event.clientX - before.clientX, dy = event.clientY - before.clientY;
    if (down.size === 2) {
      const other = [...down.values()].find(one => one.pointerId !== event.pointerId);
      const gap = e => Math.hypot(e.clientX - other.clientX, e.clientY - other.clientY);
      zoomBy(gap(event) / Math.max(1, gap(before)));
    } else if (mode === "pan" || before.shiftKey || before.button === 2) {
      const [sx, sy] = shares(canvas, one, dx, dy);
      move(-sx / view.zoom, -sy / view.zoom);
    } else changeWindow(-dx / 200, -dy / 300);
    down.set(event.pointerId, {
      clientX: event.clientX, clientY: event.clientY, pointerId: event.pointerId,
      shiftKey: before.shiftKey, button: before.button,
    });
  });
  for (const name of ["pointerup", "pointercancel"]) canvas.addEventListener(name, event => down.delete(event.pointerId));
  canvas.addEventListener("contextmenu", event => event.preventDefault());
  canvas.addEventListener("wheel", event => {
    event.preventDefault();
    const box = canvas.getBoundingClientRect();
    const [dx, dy] = shares(canvas, one,
      event.clientX - box.left - box.width / 2, event.clientY - box.top - box.height / 2);
    zoomBy(Math.exp(-event.deltaY / 400), dx, dy);
  }, {passive: false});
}

function arrange() {  // the number of columns a row in which the images are largest
  if (!columns.length || !view) return;
  const box = $("columns"), phone = matchMedia("(max-width: 34rem)").matches;
  const {width, height} = columns[0].picture;
  let best = 1, size = 0;
  for (let n = 1; n <= columns.length; n++) {
    const rows = Math.ceil(columns.length / n);
    const scale = Math.min(box.clientWidth / n / width, (box.clientHeight / rows - 52) / height);
    if (scale > size) { size = scale; best = n; }
  }
  if (phone) best = columns.length > 1 ? 2 : 1;
  box.style.gridTemplateColumns = `repeat(${best}, minmax(0, 1fr))`;
  box.style.gridAutoRows = phone ? "auto" : "minmax(0, 1fr)";
  draw();
}

// ---------------------------------------------------------------- the order of things

function show(name) {
  for (const one of ["first", "reading", "last", "problem"]) $(one).hidden = one !== name;
}

function say(text) { $("message").textContent = text; }

function fail(error) {
  $("why").textContent = error instanceof Refused || OFFLINE ? error.message : "The server does not respond. " + error.message;
  show("problem");
}

async function begin() {
  busy = true;
  try {
    state = await place.state();
    const pending = remembered();
    if (pending && !await send(pending)) return;  // it was chosen before the page was loaded anew, and may not be stored
  } catch (error) {
    fail(error);
    return;
  }
  if (!state.consented) first();
  else next();
}

function first() {
  const counted = state.queries.filter(query => !query.practice).length, practice = state.queries.length - counted;
  const what = state.task === "prefer" ? `${counted} queries, each with ${state.queries[0].columns.length} images side by side`
    : `${counted} queries, each with one image`;
  $("who").textContent = "Reader: " + state.reader;
  $("what").textContent = state.question;
  $("how-many").textContent = what;
  $("practice-note").hidden = !practice;
  $("practice-note").textContent = `${practice} for practice come before them and do not count.`;
  $("how").textContent = state.task === "prefer"
    ? "Choose with a click or the keys 1, 2, 3. Window, zoom and place change in all images at once."
    : "Rate with a click or the keys 1 to 5. You may change window, zoom and place.";
  $("display").textContent = state.display;
  $("consent").textContent = state.consent;
  show("first");
  busy = false;
}

async function next() {
  at = state.queries.findIndex(query => !(query.id in state.choices));
  changing = false;
  if (at < 0) { done(); return; }
  await display();
}

async function display() {
  busy = true;
  const query = state.queries[at], mine = at, isPrefer = state.task === "prefer";
  show("reading");
  let found;
  try {
    found = await Promise.all(query.columns.map(picture));
  } catch (error) {
    fail(error);
    return;
  }
  if (mine !== at) return;
  const practice = state.queries.filter(one => one.practice).length;
  $("question").textContent = state.question;
  $("practice").hidden = !query.practice;
  $("caption").textContent = query.caption;
  $("count").textContent = query.practice ? `Practice ${at + 1} of ${practice}`
    : `${at - practice + 1} of ${state.queries.length - practice}`;
  $("bar").max = state.queries.length;
  $("bar").value = Object.keys(state.choices).length;
  $("ratings").hidden = isPrefer;
  $("undo").disabled = at === 0 || changing;
  const box = $("columns");
  box.replaceChildren();
  columns = found.map((one, column) => {
    const figure = document.createElement("figure"), canvas = document.createElement("canvas");
    canvas.setAttribute("role", "img");
    canvas.setAttribute("aria-label", isPrefer ? `Image ${column + 1}` : "Image");
    figure.append(canvas);
    if (isPrefer) {
      const caption = document.createElement("figcaption"), button = document.createElement("button");
      const key = document.createElement("kbd");
      key.textContent = column + 1;
      button.append(key, " Choose");
      button.dataset.value = column;
      button.addEventListener("click", () => choose(column));
      caption.append(button);
      figure.append(caption);
    }
    box.append(figure);
    listen(canvas, one);
    return {canvas, picture: one};
  });
  reset();
  arrange();
  say(changing ? "You change your last choice." : query.practice ? PRACTICE : "");
  mark(changing ? state.choices[query.id] : null);
  requestAnimationFrame(() => setTimeout(() => {
    shownAt = performance.now();
    hiddenFor = 0;
    setTimeout(() => { busy = false; document.body.dataset.query = query.id; }, SETTLE);
  }));
  const after = state.queries[at + 1];
  if (after) after.columns.forEach(name => picture(name).catch(() => {}));
}

function mark(value) {
  for (const button of document.querySelectorAll("[data-value]"))
    button.setAttribute("aria-pressed", String(value !== null && Number(button.dataset.value) === value));
}

async function choose(value) {
  if (busy || at < 0) return;
  busy = true;
  delete document.body.dataset.query;
  const number = Array.from(crypto.getRandomValues(new Uint8Array(12)), b => b.toString(16).padStart(2, "0")).join("");
  mark(value);
  const choice = {
    query: state.queries[at].id, value, number, change: changing,
    seconds: (performance.now() - shownAt - hiddenFor) / 1000,
    view: {low: +view.low.toFixed(3), high: +view.high.toFixed(3), zoom: +view.zoom.toFixed(2)},
  };
  remember(choice);
  if (await send(choice)) next();
}

async function send(choice) {  // returns whether the page may go on
  for (;;) {
    try {
      Object.assign(state, await place.choose(choice));
    } catch (error) {
      const known = error instanceof Refused && error.status < 500;
      if (OFFLINE && !known || known && error.status !== 409) {  // no room in the browser, or a wrong token
        fail(error);
        return false;
      }
      if (!known) {
        say("Not stored yet: the server does not respond. Trying again; do not close this page.");
        await new Promise(resolve => setTimeout(resolve, RETRY));
        continue;
      }
      Object.assign(state, error.body);  // another page of this reader was faster
    }
    remember(null);
    return true;
  }
}

function remember(choice) {  // for a page that is loaded anew before its choice is stored
  try {
    if (choice) localStorage.setItem(place.pendingName, JSON.stringify(choice));
    else localStorage.removeItem(place.pendingName);
  } catch { /* a browser that keeps nothing: the choice is sent as long as the page is open */ }
}

function remembered() {
  try {
    return JSON.parse(localStorage.getItem(place.pendingName) || "null");
  } catch {
    return null;
  }
}

async function undo() {
  const last = state.queries.filter(query => query.id in state.choices).length - 1;
  if (busy || last < 0) return;
  at = last;
  changing = true;
  await display();
}

function done() {
  const many = Object.keys(state.choices).length;
  $("saved").textContent = OFFLINE ? `${many} choices are kept in this browser. Save them as a file and send it to who runs the study.`
    : `${many} choices are stored.`;
  $("receipt").textContent = state.receipt;
  $("receipt-note").hidden = Boolean(OFFLINE);  // the saved file is what is kept
  $("download").hidden = !OFFLINE;
  show("last");
  busy = false;
}

function saveFile() {
  const kept = {format: 1, study: OFFLINE.study, reader: OFFLINE.reader, ...file.kept()};
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([JSON.stringify(kept, null, 1)], {type: "application/json"}));
  link.download = OFFLINE.reader + ".choices.json";
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

// ---------------------------------------------------------------- what readers do

$("agree").addEventListener("change", () => { $("start").disabled = !$("agree").checked; });
$("start").addEventListener("click", async () => {
  if (busy) return;
  busy = true;
  try {
    Object.assign(state, await place.consent());
    await next();
  } catch (error) { fail(error); }
});
$("again").addEventListener("click", begin);
$("undo").addEventListener("click", undo);
$("undo-last").addEventListener("click", undo);
$("save-file").addEventListener("click", saveFile);
$("reset").addEventListener("click", reset);
$("zoom-in").addEventListener("click", () => zoomBy(1.25));
$("zoom-out").addEventListener("click", () => zoomBy(.8));
$("help-open").addEventListener("click", () => $("help").showModal());
for (const name of ["window", "pan"]) $("mode-" + name).addEventListener("click", () => {
  mode = name;
  for (const one of ["window", "pan"]) $("mode-" + one).setAttribute("aria-pressed", String(one === mode));
});
for (const button of $("ratings").querySelectorAll("button"))
  button.addEventListener("click", () => choose(Number(button.dataset.value)));

const KEYS = {
  "[": () => changeWindow(.1, 0), "]": () => changeWindow(-.1, 0),
  ",": () => changeWindow(0, .05), ".": () => changeWindow(0, -.05),
  "+": () => zoomBy(1.25), "=": () => zoomBy(1.25), "-": () => zoomBy(.8), "0": reset,
  ArrowLeft: () => move(-.05 / view.zoom, 0), ArrowRight: () => move(.05 / view.zoom, 0),
  ArrowUp: () => move(0, -.05 / view.zoom), ArrowDown: () => move(0, .05 / view.zoom),
  u: undo, U: undo, "?": () => $("help").showModal(),
};

addEventListener("keydown", event => {
  if ($("reading").hidden || $("help").open || event.ctrlKey || event.metaKey || event.altKey || !view) return;
  const isPrefer = state.task === "prefer", digit = /^[1-9]$/.test(event.key) ? Number(event.key) : 0;
  if (digit && digit <= (isPrefer ? columns.length : 5)) {
    event.preventDefault();
    if (!event.repeat) choose(isPrefer ? digit - 1 : digit);
  } else if (KEYS[event.key]) {
    event.preventDefault();
    KEYS[event.key]();
  }
});
addEventListener("resize", arrange);
addEventListener("pageshow", event => { if (event.persisted) location.reload(); });  // by the back button
addEventListener("hashchange", () => location.reload());
document.addEventListener("visibilitychange", () => {
  if (document.hidden) hiddenAt = performance.now();
  else if (hiddenAt) { hiddenFor += performance.now() - Math.max(hiddenAt, shownAt); hiddenAt = 0; }
});

begin();
