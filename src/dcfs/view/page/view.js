// The page of `dcfs view`. Texts of a catalog are set as texts, never as markup. The address holds the state: #where=...&row=...
"use strict";

const $ = (id) => document.getElementById(id);
const SIDE = 180; // Pixels of a cell's picture.
const HEIGHT = SIDE + 28;
const PAGE = 200; // Rows that are asked for at a time.
const TALLEST = 15_000_000; // Pixels that browsers can scroll over.
const PICTURES = /\.(jpe?g|png|gif|webp|bmp)$/i;
const SHOWN = /\.(jpe?g|png|gif|webp|bmp|avif)$/i;
const FILMS = /\.(mp4|m4v|webm|ogv)$/i;
const SOUNDS = /\.(mp3|wav|flac|ogg|oga|opus|m4a)$/i;
const TEXTS = /\.(txt|md|csv|tsv|json|jsonl|ndjson|log|py|ya?ml|toml|xml|html?|svg)$/i;

let about = null;
let columns = []; // As the statistics of all rows tell them.
let total = 0;
let where = "";
let pages = new Map(); // Of the filter that is shown: number of a page -> its rows, or a promise.
let serial = 0; // Number of the last filter that was asked for: answers to older ones are dropped.
let asked = null; // That filter, right or wrong.

const made = (tag, props = {}, ...inside) => {
  const node = Object.assign(document.createElement(tag), props);
  node.append(...inside);
  return node;
};

const ask = async (path, query = {}) => {
  const answer = await fetch(`${path}?${new URLSearchParams(query).toString().replaceAll("+", "%20")}`);
  if (!answer.ok) throw new Error(await answer.text());
  return answer.json();
};

// ---- Filters

const RESERVED = /^(and|or|not|in|between|like|ilike|glob|regexp|is|null|true|false|order|by|limit|offset)$/i;
const quoted = (name) => name.split(".").map((part) => (/^[A-Za-z_]\w*$/.test(part) && !RESERVED.test(part) ? part : "`" + part.replaceAll("`", "``") + "`")).join(".");
// A `\\u0041` in a filter is a character: a backslash before a `u` is written as one.
const literal = (value) => (typeof value === "number" || typeof value === "boolean" ? String(value) : "'" + String(value).replaceAll("'", "''").replaceAll("\\u", "\\u005cu") + "'");

// The condition and the order of a filter, so that a click can narrow the one and keep the other.
const parted = (filter) => {
  const order = filter.match(/(^|\s)(order\s+by|limit|offset)\s(?=(?:[^'"]|'[^']*'|"[^"]*")*$)/i);
  return order ? [filter.slice(0, order.index).trim(), filter.slice(order.index).trim()] : [filter.trim(), ""];
};
const narrowed = (condition) => {
  const [before, order] = parted(where);
  const both = before ? `${/\bor\b/i.test(before) ? `(${before})` : before} and ${condition}` : condition;
  return `${both} ${order}`.trim();
};

// ---- State

const state = () => new URLSearchParams(location.hash.slice(1));
const go = (changes) => {
  const next = state();
  for (const [name, value] of Object.entries(changes)) value === null || value === "" ? next.delete(name) : next.set(name, value);
  location.hash = next.toString();
};

const show = async () => {
  const now = state();
  const filter = now.get("where") ?? "";
  try {
    if (filter !== asked) await filtered(filter);
  } catch (error) {
    wrong(error.message);
  }
  now.has("row") ? opened(now.get("row")) : $("row").open && $("row").close();
};

const wrong = (text) => {
  $("wrong").hidden = !text;
  $("wrong").textContent = text ?? "";
};

const filtered = async (filter) => {
  const own = ++serial;
  asked = filter;
  $("where").value = filter;
  const told = await ask("count", { where: filter });
  if (own !== serial) return;
  wrong(told.error);
  if (told.error) return;
  where = filter;
  total = told.rows;
  pages = new Map();
  $("count").textContent = `${total.toLocaleString("en")} of ${about.rows.toLocaleString("en")} rows`;
  $("grid").scrollTop = 0;
  laid();
  facets(own).catch((error) => wrong(error.message));
};

// ---- Grid

const drawn = new Map(); // Place of a row -> its cell.

const laid = () => {
  for (const cell of drawn.values()) cell.remove();
  drawn.clear();
  draw();
};

const geometry = () => {
  const grid = $("grid");
  const across = Math.max(1, Math.floor(grid.clientWidth / (SIDE + 8)));
  const lines = Math.ceil(total / across);
  const height = Math.min(lines * HEIGHT, TALLEST);
  // Beyond what a browser scrolls over, a pixel of the bar stands for more than one of the grid.
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
  cell.title = path;
  cell.lastChild.textContent = path.split("/").pop();
  cell.onclick = () => go({ row: id });
  if (PICTURES.test(path)) {
    const image = made("img", { loading: "lazy", alt: "", src: `thumb?id=${id}&column=0` });
    image.onerror = () => image.replaceWith(path.split(".").pop());
    cell.firstChild.replaceChildren(image);
  } else {
    cell.firstChild.textContent = FILMS.test(path) ? "▶" : SOUNDS.test(path) ? "♪" : path.includes(".") ? path.split(".").pop() : "·";
  }
};

// ---- Columns

const facets = async (own) => {
  const stats = await ask("stats", { where });
  if (own !== serial) return;
  if (where === "") columns = stats.statistics;
  const isOpen = new Set([...$("facets").querySelectorAll("details[open]")].map((node) => node.dataset.name));
  $("facets").replaceChildren(...stats.statistics.map((column) => facet(column, isOpen)));
};

const facet = ({ column_name: name, column_type: type, column_statistics: told }, isOpen) => {
  const body = made("div");
  const bars = barsOf(name, type, told);
  const most = Math.max(1, ...bars.map((bar) => bar.count));
  for (const { label, count, condition } of bars) {
    const length = made("i");
    length.style.width = `${(100 * count) / most}%`;
    const bar = made("button", { type: "button", className: "bar", title: condition },
      length, made("span", { textContent: label }), made("span", { textContent: count.toLocaleString("en") }));
    bar.onclick = () => go({ where: narrowed(condition), row: null });
    body.append(bar);
  }
  if (told.nan_count) {
    const none = made("button", { type: "button", className: "bar" }, made("span", { textContent: "no value" }), made("span", { textContent: told.nan_count.toLocaleString("en") }));
    none.onclick = () => go({ where: narrowed(`${quoted(name)} is null`), row: null });
    body.append(none);
  }
  const node = made("details", { open: isOpen.has(name) || (isOpen.size === 0 && bars.length > 1 && !/text|list/.test(type)) },
    made("summary", {}, name, " ", made("small", { textContent: type.replace("string_", "") })), body);
  node.dataset.name = name;
  return node;
};

// Labels, and histograms of numbers; of texts and lists it is their lengths that are counted.
const barsOf = (name, type, told) => {
  if (told.frequencies) {
    const most = Object.entries(told.frequencies).sort((one, other) => other[1] - one[1]);
    return most.slice(0, 30).map(([label, count]) => {
      const value = type === "bool" ? label.toLowerCase() : literal(label);
      return { label, count, condition: `${quoted(name)} = ${value}` };
    });
  }
  const { hist, bin_edges: edges } = told.histogram ?? {};
  if (!hist || typeof edges?.[0] !== "number") return [];
  const isLength = /text|list/.test(type);
  const value = isLength ? `length(${quoted(name)})` : quoted(name);
  return hist.map((count, at) => {
    const isLast = at === hist.length - 1;
    const short = (x) => Number(x.toPrecision(4));
    return {
      label: (isLength ? "length " : "") + (edges.length > at + 1 ? `${short(edges[at])} – ${short(edges[at + 1])}` : String(short(edges[at]))),
      count,
      condition: edges.length > at + 1
        ? `${value} >= ${edges[at]} and ${value} ${isLast ? "<=" : "<"} ${edges[at + 1]}`
        : `${value} = ${edges[at]}`,
    };
  }).filter((bar) => bar.count > 0);
};

// ---- One row

const leaves = (value, name = "") =>
  value && typeof value === "object" && !Array.isArray(value)
    ? Object.entries(value).flatMap(([key, inner]) => leaves(inner, name ? `${name}.${key}` : key))
    : [[name, value]];

const opened = async (id) => {
  let told;
  try {
    told = await ask("row", { id });
  } catch (error) {
    told = { row: {}, files: [], error: error.message };
  }
  if (state().get("row") !== String(id)) return; // Another one was opened meanwhile, or none.
  const dialog = $("row");
  const files = told.files.map((file, number) => media(file, `file?id=${id}&column=${number}`, boxesOf(told.row)));
  const table = made("table", {}, ...leaves(told.row).map(([name, value]) => {
    const text = typeof value === "string" ? value : JSON.stringify(value);
    return made("tr", {}, made("th", { textContent: name }), made("td", { textContent: text.length > 2000 ? text.slice(0, 2000) + "…" : text }));
  }));
  const places = told.files.map((file) => made("p", {}, made("code", { textContent: file.uri ?? "no file" }), file.etag ? ` etag ${file.etag}` : "", file.version ? ` version ${file.version}` : ""));
  const vectors = leaves(told.row).filter(([, value]) => Array.isArray(value) && value.length > 7 && value.every((x) => typeof x === "number"));
  const near = vectors.map(([name]) => {
    const button = made("button", { type: "button", textContent: `Nearest by ${name}` });
    button.onclick = () => go({ where: `${parted(where)[0]} order by cosine_distance(${quoted(name)}, row(${id})) limit 200`.trim(), row: null });
    return button;
  });
  const close = made("button", { type: "button", textContent: "Close", autofocus: true });
  close.onclick = () => go({ row: null });
  dialog.replaceChildren(made("p", {}, close, " ", ...near), told.error ? made("pre", { textContent: told.error }) : "", made("div", { className: "files" }, ...files), ...places, table, lineage());
  if (!dialog.open) dialog.showModal();
};

// Boxes of four numbers, as DataChain's BBox has them: `coords` of a model, or a list of such.
const boxesOf = (row) => leaves(row).filter(([name, value]) => /(^|\.)(coords|bbox|box)$/.test(name) && Array.isArray(value))
  .flatMap(([, value]) => (Array.isArray(value[0]) ? value : [value])).filter((box) => Array.isArray(box) && box.length === 4 && box.every((x) => typeof x === "number"));

const media = (file, src, boxes) => {
  const name = file.uri ?? "";
  if (SHOWN.test(name)) {
    const image = made("img", { src, alt: "" });
    const stage = made("span", { className: "stage" }, image);
    if (boxes.length > 0) image.onload = () => stage.append(drawnBoxes(boxes, image.naturalWidth, image.naturalHeight));
    return stage;
  }
  if (FILMS.test(name)) return made("video", { src, controls: true });
  if (SOUNDS.test(name)) return made("audio", { src, controls: true });
  if (TEXTS.test(name) && (file.size ?? 0) < 1 << 20) {
    const text = made("pre");
    fetch(src).then((answer) => answer.text()).catch((error) => error.message).then((told) => { text.textContent = told.slice(0, 100_000); });
    return text;
  }
  return made("a", { href: src, download: name.split("/").pop(), textContent: "Download" });
};

const drawnBoxes = (boxes, width, height) => {
  const own = "http://www.w3.org/2000/svg";
  const svg = document.createElementNS(own, "svg");
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  for (const [x1, y1, x2, y2] of boxes) {
    const box = document.createElementNS(own, "rect");
    for (const [key, value] of Object.entries({ x: x1, y: y1, width: Math.max(0, x2 - x1), height: Math.max(0, y2 - y1) })) box.setAttribute(key, value);
    svg.append(box);
  }
  return svg;
};

const lineage = () => made("details", {}, made("summary", { textContent: `${about.name}@${about.version}` }),
  about.description ? made("p", { textContent: about.description }) : "",
  made("p", { textContent: about.parents.length ? `made of ${about.parents.join(", ")}` : "made of nothing that is recorded" }),
  about.script ? made("pre", { textContent: about.script }) : "");

// ---- Filter box

const words = () => {
  const before = $("where").value.slice(0, $("where").selectionStart);
  const value = before.match(/([\w.`]+)\s*(=|!=|in\s*\()\s*['"]?([^'"()]*)$/);
  const column = value && columns.find((one) => one.column_name === value[1].replaceAll("`", ""));
  if (column?.column_statistics.frequencies) {
    const typed = value[3].toLowerCase();
    const start = before.length - value[3].length - (/['"]/.test(before[before.length - value[3].length - 1] ?? "") ? 1 : 0);
    return Object.entries(column.column_statistics.frequencies).filter(([label]) => label.toLowerCase().startsWith(typed)).slice(0, 20)
      .map(([label, count]) => ({ text: literal(label), hint: count.toLocaleString("en"), start }));
  }
  const typed = before.match(/[\w.]*$/)[0];
  if (typed.length === 0) return [];
  return columns.filter((one) => one.column_name.toLowerCase().includes(typed.toLowerCase())).slice(0, 20)
    .map((one) => ({ text: quoted(one.column_name), hint: one.column_type, start: before.length - typed.length }));
};

let chosen = -1;
const offer = () => {
  const offers = words();
  chosen = -1;
  $("offers").replaceChildren(...offers.map((one) => {
    const item = made("li", { role: "option" }, made("span", { textContent: one.text }), made("small", { textContent: one.hint }));
    item.onmousedown = (event) => { event.preventDefault(); take(one); };
    item.take = () => take(one);
    return item;
  }));
  $("offers").hidden = offers.length === 0;
};
const take = ({ text, start }) => {
  const box = $("where");
  const end = box.selectionStart;
  box.setRangeText(text, start, end, "end");
  $("offers").hidden = true;
  box.focus();
};

$("where").oninput = offer;
$("where").onblur = () => { $("offers").hidden = true; };
$("where").onkeydown = (event) => {
  const items = [...$("offers").children];
  if ($("offers").hidden || items.length === 0) return;
  if (event.key === "ArrowDown" || event.key === "ArrowUp") {
    event.preventDefault();
    chosen = (chosen + (event.key === "ArrowDown" ? 1 : -1) + items.length) % items.length;
    items.forEach((item, at) => item.setAttribute("aria-selected", at === chosen));
    items[chosen].scrollIntoView({ block: "nearest" });
  } else if (event.key === "Escape") {
    $("offers").hidden = true;
  } else if ((event.key === "Enter" || event.key === "Tab") && chosen >= 0) {
    event.preventDefault();
    items[chosen].take();
  }
};
$("filter").onsubmit = (event) => {
  event.preventDefault();
  $("offers").hidden = true;
  go({ where: $("where").value.trim(), row: null });
};

$("save").onclick = () => {
  const shell = (text) => `'${text.replaceAll("'", "'\\''")}'`;
  const command = `dcfs save ${shell(`${about.name}@${about.version}`)}${where ? ` --where ${shell(where)}` : ""} --as NAME`;
  const close = made("button", { type: "button", textContent: "Close" });
  close.onclick = () => $("row").close();
  const copy = made("button", { type: "button", textContent: "Copy" });
  copy.onclick = () => navigator.clipboard?.writeText(command);
  $("row").replaceChildren(made("p", { textContent: "Saves these rows as a dataset:" }), made("pre", { textContent: command }), made("p", {}, copy, " ", close));
  $("row").showModal();
};

$("grid").onscroll = () => requestAnimationFrame(draw);
$("grid").onkeydown = (event) => {
  const cell = event.target.closest(".cell");
  const { across } = geometry();
  const step = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: across, ArrowUp: -across }[event.key];
  if (!cell || !step) return;
  event.preventDefault();
  drawn.get(Number(cell.dataset.place) + step)?.focus();
};
$("row").onclose = () => state().has("row") && go({ row: null });
window.onresize = laid;
window.onhashchange = show;

const begin = async () => {
  about = await ask("about");
  document.title = `${about.name}@${about.version} – dcfs`;
  $("name").textContent = `${about.name}@${about.version}`;
  if (about.filter && !state().has("where")) {
    history.replaceState(null, "", `#${new URLSearchParams({ where: about.filter })}`);
  }
  await show();
  if (where !== "") columns = (await ask("stats", { where: "" })).statistics;
};
begin().catch((error) => wrong(error.message));
