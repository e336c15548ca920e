// Related versions: their list, the differences between two, and the lineage in both directions.
"use strict";

// ---- Versions

const versions = () => {
  const others = about.versions.filter((one) => one.version !== about.version);
  const option = (value, text) => made("option", { value, textContent: text });
  const rows = (one) => (one.rows === null ? "" : `, ${one.rows.toLocaleString("en")} rows`);
  $("version").replaceChildren(...about.versions.map((one) => option(one.version, `${one.version}${rows(one)}`)));
  $("version").value = about.version;
  $("with").replaceChildren(option("", "Compare with…"), ...others.map((one) => option(one.version, one.version)));
  $("version").hidden = $("with").hidden = others.length === 0;
};
$("version").onchange = () => go({ of: `${about.name}@${$("version").value}`, row: null, with: null, part: null });
$("with").onchange = () => go({ with: $("with").value, part: null, row: null });

// ---- Differences, side by side

let pairing = ""; // The part of the comparison that is shown.

const compared = async (other, part) => {
  const pairs = $("pairs");
  const isShown = Boolean(other);
  pairs.hidden = !isShown;
  $("grid").hidden = $("facets").hidden = isShown;
  $("with").value = other ?? "";
  const own = `${version} ${other} ${part}`;
  if (!isShown) {
    if (pairing) laid();
    pairing = "";
    return;
  }
  if (own === pairing) return;
  pairing = own;
  pairs.replaceChildren(made("p", { textContent: "comparing…" }));
  const before = `${about.name}@${other}`;
  let told;
  try {
    told = await ask("diff", { with: before, part, from: 0 }, waiting?.signal);
  } catch (error) {
    pairing = "";
    throw error;
  }
  const parts = ["changed", "added", "removed"].map((name) => {
    const button = made("button", { type: "button", textContent: `${told.counts[name].toLocaleString("en")} ${name}` });
    button.setAttribute("aria-pressed", name === part);
    button.onclick = () => go({ part: name });
    return button;
  });
  const close = made("button", { type: "button", textContent: "Close" });
  close.onclick = () => go({ with: null, part: null });
  const list = made("div", { className: "pairs" });
  const more = made("button", { type: "button", textContent: "More" });
  let shown = 0;
  const add = (rows) => {
    list.append(...rows.map((pair) => pairOf(pair, before)));
    shown += rows.length;
    more.hidden = shown >= Math.min(told.counts[part], told.most);
  };
  more.onclick = () => ask("diff", { with: before, part, from: shown }).then((next) => add(next.rows)).catch((error) => wrong(error.message));
  pairs.replaceChildren(made("p", {}, ...parts.flatMap((button) => [button, " "]), close), made("p", { textContent: `${told.before} on the left, ${told.after} on the right` }), list, more);
  add(told.rows);
};

const pairOf = ({ before, after, columns }, other) => {
  const side = (row, query) => {
    if (!row) return made("span", { className: "none", textContent: "–" });
    const path = String(pathsOf(row)[0] ?? `row ${row.id}`);
    const button = made("button", { type: "button", className: "side", title: path }, small(path, row.id, query));
    button.onclick = () => go(query.of ? { of: query.of, row: row.id, with: null, part: null } : { row: row.id });
    return button;
  };
  const path = String(pathsOf(after ?? before)[0] ?? "");
  return made("figure", {}, made("div", { className: "two" }, side(before, { of: other }), side(after, {})),
    made("figcaption", {}, made("span", { textContent: path.split("/").pop() }), columns.length ? made("small", { textContent: columns.join(", ") }) : ""));
};

// ---- Lineage

const WIDE = 230;
const TALL = 64;

const lineage = async () => {
  told("Lineage", made("p", { textContent: "…" }));
  let graph;
  try {
    graph = await ask("graph");
  } catch (error) {
    graph = { nodes: [], edges: [] };
    wrong(error.message);
  }
  if (!state().has("graph")) return;
  told("Lineage", made("div", { className: "graph" }, drawnGraph(graph)));
};

const drawnGraph = ({ nodes, edges }) => {
  const first = Math.min(0, ...nodes.map((node) => node.level));
  const filled = new Map();
  const spots = nodes.map((node) => {
    const line = filled.get(node.level) ?? 0;
    filled.set(node.level, line + 1);
    return { x: (node.level - first) * WIDE + 8, y: line * TALL + 8 };
  });
  const width = (Math.max(0, ...nodes.map((node) => node.level)) - first + 1) * WIDE;
  const height = Math.max(1, ...filled.values()) * TALL;
  const drawing = svg("svg", { viewBox: `0 0 ${width} ${height}`, width, height });
  for (const [child, parent] of edges) {
    const from = { x: spots[parent].x + WIDE - 40, y: spots[parent].y + 22 };
    const to = { x: spots[child].x, y: spots[child].y + 22 };
    drawing.append(svg("path", { class: "edge", d: `M${from.x} ${from.y} C${from.x + 20} ${from.y} ${to.x - 20} ${to.y} ${to.x} ${to.y}` }));
  }
  nodes.forEach((node, number) => {
    const { x, y } = spots[number];
    const isHere = node.name === `${about.name}@${about.version}`;
    const short = node.name.length > 30 ? `${node.name.slice(0, 29)}…` : node.name;
    const rows = node.rows === null ? node.kind : `${node.rows.toLocaleString("en")} rows`;
    const group = svg("g", { class: `node ${node.kind}${isHere ? " here" : ""}`, transform: `translate(${x} ${y})` },
      svg("title", {}, node.name), svg("rect", { width: WIDE - 40, height: 44, rx: 4 }), svg("text", { x: 8, y: 18 }, short), svg("text", { x: 8, y: 35, class: "dim" }, rows));
    if (node.kind === "version") {
      group.setAttribute("tabindex", 0);
      group.setAttribute("role", "link");
      const follow = () => go({ of: node.name, graph: null, row: null, where: null, with: null, part: null });
      group.onclick = follow;
      group.onkeydown = (event) => event.key === "Enter" && follow();
    }
    drawing.append(group);
  });
  return drawing;
};
$("graph").onclick = () => go({ graph: 1, row: null, about: null });
