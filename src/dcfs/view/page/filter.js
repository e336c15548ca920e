// Filters: their language, the columns with their statistics, the box with its completions, and saving.
"use strict";

// ---- Filters

const RESERVED = /^(and|or|not|in|between|like|ilike|glob|regexp|is|null|true|false|order|by|limit|offset)$/i;
const quoted = (name) => name.split(".").map((part) => (/^[A-Za-z_]\w*$/.test(part) && !RESERVED.test(part) ? part : "`" + part.replaceAll("`", "``") + "`")).join(".");
// `\u0041` in a filter is an escape for a character, so a literal backslash before a `u` is written as `\u005c`.
const literal = (value) => (typeof value === "number" || typeof value === "boolean" ? String(value) : "'" + String(value).replaceAll("'", "''").replaceAll("\\u", "\\u005cu") + "'");

// Splits a filter into condition and order, so that a click can narrow the first and keep the second.
const parted = (filter) => {
  const order = filter.match(/(^|\s)(order\s+by|limit|offset)\s(?=(?:[^'"]|'[^']*'|"[^"]*")*$)/i);
  return order ? [filter.slice(0, order.index).trim(), filter.slice(order.index).trim()] : [filter.trim(), ""];
};
const narrowed = (condition) => {
  const [before, order] = parted(where);
  const both = before ? `${/\bor\b/i.test(before) ? `(${before})` : before} and ${condition}` : condition;
  return `${both} ${order}`.trim();
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
  const body = made("div", {}, /list/.test(type) ? "" : sorting(name));
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

// Sorts what is shown by a column.
const sorting = (name) => made("p", { className: "sorting" }, "sort ", ...[["↑", ""], ["↓", " desc"]].map(([sign, way]) => {
  const order = `order by ${quoted(name)}${way}`;
  const button = made("button", { type: "button", title: order, textContent: sign });
  button.setAttribute("aria-pressed", parted(where)[1] === order);
  button.onclick = () => go({ where: `${parted(where)[0]} ${order}`.trim(), row: null });
  return button;
}));

// Labels, and histograms of numbers; for texts and lists, histograms of their lengths.
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

// ---- The box

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

// ---- Saving

const SAVED = "Saves these rows as a dataset:";
$("save").onclick = () => {
  const shell = (text) => `'${text.replaceAll("'", "'\\''")}'`;
  const command = (name) => `dcfs save ${shell(`${about.name}@${about.version}`)}${where ? ` --where ${shell(where)}` : ""} --as ${name}`;
  const text = made("pre", { textContent: command("NAME") });
  const copy = made("button", { type: "button", textContent: "Copy" });
  copy.onclick = () => navigator.clipboard?.writeText(text.textContent);
  if (!about.write) return told(SAVED, text, made("p", {}, copy));
  const name = made("input", { required: true, autofocus: true, autocomplete: "off", placeholder: "name", ariaLabel: "Name of the dataset" });
  name.oninput = () => { text.textContent = command(name.value.trim() ? shell(name.value.trim()) : "NAME"); };
  const said = made("p", { role: "status" });
  const form = made("form", {}, name, " ", made("button", { textContent: "Save" }), " ", copy);
  form.onsubmit = async (event) => {
    event.preventDefault();
    const answer = await fetch(at("save"), { method: "POST", body: JSON.stringify({ where, name: name.value }) });
    const body = await answer.text();
    const saved = answer.ok && JSON.parse(body);
    said.textContent = saved ? `saved ${saved.saved}: ${saved.rows.toLocaleString("en")} rows` : body;
    said.className = saved ? "" : "bad";
  };
  told(SAVED, form, said, text);
};
