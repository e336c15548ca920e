// The page of `dcfs view`: code shared by its scripts, the state in the address, and the grid. Texts of a catalog are set as text,
// never as markup. #of=...&where=...&row=...&with=...&part=...&graph=1&about=1
"use strict";

const $ = (id) => document.getElementById(id);
const SIDE = 180; // Pixels of a cell's picture.
const HEIGHT = SIDE + 28;
const PAGE = 200; // Rows per request.
const TALLEST = 15_000_000; // The greatest height in pixels that browsers can scroll.
const PICTURES = /\.(jpe?g|png|gif|webp|bmp)$/i;
const SHOWN = /\.(jpe?g|png|gif|webp|bmp|avif)$/i;
const FILMS = /\.(mp4|m4v|webm|ogv)$/i;
const SOUNDS = /\.(mp3|wav|flac|ogg|oga|opus|m4a)$/i;
const TEXTS = /\.(txt|md|csv|tsv|json|jsonl|ndjson|log|py|ya?ml|toml|xml|html?|svg)$/i;

let about = null; // Facts about the version that is shown.
let columns = []; // From the statistics of all rows.
let total = 0;
let where = "";
let pages = new Map(); // For the filter that is shown: number of a page -> its rows, or a promise.
let places = new Map(); // For the same: id of a row that was loaded -> its position.
let serial = 0; // Number of the last filter that was requested: answers to older ones are dropped.
let asked = null; // That filter, valid or not.
let version = null; // The version that is shown, as in the address; empty for the first.

const made = (tag, props = {}, ...inside) => {
  const node = Object.assign(document.createElement(tag), props);
  node.append(...inside);
  return node;
};

// The address of a request, about the version that is shown unless `of` names another.
const at = (path, query = {}) => {
  const all = version ? { of: version, ...query } : { ...query };
  if (all.of === "") delete all.of;
  return `${path}?${new URLSearchParams(all).toString().replaceAll("+", "%20")}`;
};

let waiting = null; // Cancels the requests of a state that is no longer shown.

const ask = async (path, query = {}, signal = undefined) => {
  const answer = await fetch(at(path, query), { signal });
  if (!answer.ok) throw new Error(await answer.text());
  return answer.json();
};

// ---- State

const state = () => new URLSearchParams(location.hash.slice(1));
const go = (changes) => {
  const next = state();
  for (const [name, value] of Object.entries(changes)) value === null || value === "" ? next.delete(name) : next.set(name, value);
  location.hash = next.toString();
};

// Applies states in order; requests for outdated ones are cancelled.
let isShowing = false;
let isStale = false;
const show = async () => {
  isStale = true;
  waiting?.abort();
  if (isShowing) return;
  isShowing = true;
  while (isStale) {
    isStale = false;
    waiting = new AbortController();
    await once(state());
  }
  isShowing = false;
};

const once = async (now) => {
  const filter = now.get("where") ?? "";
  try {
    if ((now.get("of") ?? "") !== version) await turned(now.get("of") ?? "");
    if (filter !== asked) await filtered(filter);
    await compared(now.get("with"), now.get("part") ?? "changed");
  } catch (error) {
    if (!isStale) wrong(error.message);
  }
  if (isStale) return;
  const dialog = $("row");
  dialog.dataset.shows = ["graph", "about", "row"].find((name) => now.has(name)) ?? "";
  if (now.has("graph")) lineage();
  else if (now.has("about")) overview().catch((error) => wrong(error.message));
  else if (now.has("row")) opened(now.get("row"));
  else if (dialog.open) dialog.close();
};

// Switches to another version, or at the start to the first.
const turned = async (name) => {
  const told = await ask("about", { of: name }, waiting?.signal);
  version = name;
  about = told;
  asked = null;
  columns = [];
  const title = `${about.name}@${about.version}`;
  document.title = `${title} – dcfs`;
  $("name").textContent = title;
  versions();
};

const wrong = (text) => {
  $("wrong").hidden = !text;
  $("wrong").textContent = text ?? "";
};

const filtered = async (filter) => {
  const own = ++serial;
  $("where").value = filter;
  const told = await ask("count", { where: filter }, waiting?.signal);
  asked = filter;
  wrong(told.error);
  if (told.error) return;
  where = filter;
  total = told.rows;
  pages = new Map();
  places = new Map();
  $("count").textContent = `${total.toLocaleString("en")} of ${about.rows.toLocaleString("en")} rows`;
  $("grid").scrollTop = 0;
  laid();
  facets(own).catch((error) => own === serial && wrong(error.message));
};

// ---- Grid

const drawn = new Map(); // Position of a row -> its cell.

const laid = () => {
  for (const cell of drawn.values()) cell.remove();
  drawn.clear();
  draw();
};

const geometry = () => {
  const grid = $("grid");
  // Two even on a telephone.
  const across = Math.max(grid.clientWidth >= 320 ? 2 : 1, Math.floor(grid.clientWidth / (SIDE + 8)));
  const lines = Math.ceil(total / across);
  const height = Math.min(lines * HEIGHT, TALLEST);
  // Above the greatest height that browsers can scroll, one pixel of the bar stands for several of the grid.
  const scale = lines * HEIGHT > TALLEST ? (lines * HEIGHT - grid.clientHeight) / (TALLEST - grid.clientHeight) : 1;
  return { grid, across, lines, height, scale };
};

const draw = () => {
  const { grid, across, lines, height, scale } = geometry();
  $("canvas").style.height = `${height}px`;
  const top = grid.scrollTop * scale;
  const first = Math.max(0, Math.floor(top / HEIGHT) - 1);
  const last = Math.min(lines, Math.ceil((top + grid.clientHeight) / HEIGHT) + 1);
  const width = grid.clientWidth / across;
  const wanted = new Set();
  for (let place = first * across; place < Math.min(last * across, total); place++) {
    wanted.add(place);
    const cell = drawn.get(place) ?? cellOf(place);
    cell.style.transform = `translate(${(place % across) * width}px, ${Math.floor(place / across) * HEIGHT - top + grid.scrollTop}px)`;
    cell.style.width = `${width}px`;
    cell.style.height = `${HEIGHT}px`;
  }
  for (const [place, cell] of drawn) {
    if (!wanted.has(place)) { cell.remove(); drawn.delete(place); }
  }
};

const cellOf = (place) => {
  const picture = made("span", { className: "picture" });
  picture.style.height = `${SIDE}px`;
  const cell = made("button", { type: "button", className: "cell" }, picture, made("span", { className: "name" }));
  cell.dataset.place = place;
  cell.onclick = () => rowAt(place).then((row) => { places.set(String(idOf(row)), place); go({ row: idOf(row) }); }).catch((error) => wrong(error.message));
  drawn.set(place, cell);
  $("canvas").append(cell);
  const own = pages;
  rowAt(place).then((row) => own === pages && row && fill(cell, row)).catch((error) => { cell.lastChild.textContent = error.message; });
  return cell;
};

const rowAt = async (place) => {
  const page = Math.floor(place / PAGE);
  if (!pages.has(page)) {
    if (pages.size > 60) pages.delete(pages.keys().next().value);
    const own = pages;
    pages.set(page, ask("rows", { where, from: page * PAGE, most: PAGE }).catch((error) => { own.delete(page); throw error; }));
  }
  return (await pages.get(page))[place % PAGE];
};

const idOf = (row) => row[Object.keys(row).filter((name) => /^_*sys__id$/.test(name)).pop()];
const pathsOf = (row) => {
  const path = row[Object.keys(row).find((name) => /^_*path$/.test(name))];
  return path && typeof path === "object" ? Object.values(path) : [path];
};

const fill = (cell, row) => {
  const id = idOf(row);
  const path = String(pathsOf(row)[0] ?? `row ${id}`);
  places.set(String(id), Number(cell.dataset.place));
  cell.title = path;
  cell.lastChild.textContent = path.split("/").pop();
  cell.firstChild.replaceChildren(small(path, id));
};

// The preview of a file: a small picture, the first lines of a text, a symbol for other files.
const small = (path, id, query = {}) => {
  if (PICTURES.test(path)) {
    const image = made("img", { loading: "lazy", alt: "", src: at("thumb", { ...query, id, column: 0 }) });
    image.onerror = () => image.replaceWith(path.split(".").pop());
    return image;
  }
  if (TEXTS.test(path)) {
    const text = made("code", { className: "beginning" });
    fetch(at("file", { ...query, id, column: 0 }), { headers: { Range: "bytes=0-399" } })
      .then((answer) => (answer.ok ? answer.text() : ""))
      .then((told) => { text.textContent = told; })
      .catch(() => {});
    return text;
  }
  return made("span", { textContent: FILMS.test(path) ? "▶" : SOUNDS.test(path) ? "♪" : path.includes(".") ? path.split(".").pop() : "·" });
};

// ---- Keys and start

$("grid").onscroll = () => requestAnimationFrame(draw);
$("grid").onkeydown = (event) => {
  const cell = event.target.closest(".cell");
  const { across } = geometry();
  const step = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: across, ArrowUp: -across, PageDown: 3 * across, PageUp: -3 * across }[event.key];
  if (!cell || !step) return;
  event.preventDefault();
  const place = Math.max(0, Math.min(total - 1, Number(cell.dataset.place) + step));
  const { grid, scale } = geometry();
  const top = Math.floor(place / across) * HEIGHT;
  const seen = grid.scrollTop * scale;
  if (top < seen || top + HEIGHT > seen + grid.clientHeight) {
    grid.scrollTop = (top < seen ? top : top + HEIGHT - grid.clientHeight) / scale;
    draw();
  }
  drawn.get(place)?.focus();
};
$("row").onclose = () => {
  // A key may have asked for something else since it was closed.
  const { shows } = $("row").dataset;
  if (shows && !$("row").open && state().has(shows)) go({ [shows]: null });
};

const KEYS = [["/", "the filter"], ["arrows", "from row to row, in the grid and in a row"], ["Enter", "opens a row"], ["Esc", "closes it"], ["g", "the lineage"], ["i", "what the dataset is"], ["s", "saves these rows"], ["?", "these keys"]];
const told = (title, ...inside) => {
  const close = made("button", { type: "button", textContent: "Close" });
  close.onclick = () => $("row").close();
  $("row").replaceChildren(made("p", {}, close), made("h2", { textContent: title }), ...inside);
  if (!$("row").open) $("row").showModal();
};
document.onkeydown = (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || /^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName)) return;
  if ($("row").open) {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    const place = places.get(state().get("row"));
    // A player uses the arrow keys itself.
    if (!step || place === undefined || /^(AUDIO|VIDEO)$/.test(event.target.tagName)) return;
    event.preventDefault();
    if (place + step >= 0 && place + step < total) {
      rowAt(place + step).then((row) => { places.set(String(idOf(row)), place + step); go({ row: idOf(row) }); }).catch((error) => wrong(error.message));
    }
    return;
  }
  const act = {
    "/": () => $("where").focus(),
    g: () => go({ graph: 1, about: null, row: null }),
    i: () => go({ about: 1, graph: null, row: null }),
    s: () => $("save").click(),
    "?": () => told("Keys", made("table", {}, ...KEYS.map(([key, does]) => made("tr", {}, made("th", { textContent: key }), made("td", { textContent: does }))))),
  }[event.key];
  if (!act) return;
  event.preventDefault();
  act();
};
window.onresize = laid;
window.onhashchange = show;

const begin = async () => {
  await turned(state().get("of") ?? "");
  if (about.filter && !state().has("where")) {
    const next = state();
    next.set("where", about.filter);
    history.replaceState(null, "", `#${next}`);
  }
  await show();
  if (where !== "") columns = (await ask("stats", { where: "" })).statistics;
};
addEventListener("DOMContentLoaded", () => begin().catch((error) => wrong(error.message)));
