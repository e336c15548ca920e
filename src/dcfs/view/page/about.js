// The dataset that is shown: what it is, its columns with what they hold, its script; and why a row is in it.
"use strict";

const origin = () => made("details", {}, made("summary", { textContent: `${about.name}@${about.version}` }), ...described());

const described = () => [
  about.description ? made("p", { textContent: about.description }) : "",
  made("p", { textContent: about.parents.length ? `made of ${about.parents.join(", ")}` : "made of nothing that is recorded" }),
  about.script ? made("pre", { textContent: about.script }) : "",
];

// ---- The page of the dataset

const NUMBERS = new Intl.NumberFormat("en", { maximumSignificantDigits: 6 });
const said = (value) => (typeof value === "number" ? NUMBERS.format(value) : String(value ?? ""));

const overview = async () => {
  const title = `${about.name}@${about.version}`;
  told(title, made("p", { textContent: "…" }));
  const all = columns.length ? columns : (await ask("stats", { where: "" })).statistics;
  if (!state().has("about")) return;
  const head = ["column", "type", "no value", "different", "least", "greatest", "mean"];
  const lines = all.map(({ column_name: name, column_type: type, column_statistics: of }) => {
    const most = Object.entries(of.frequencies ?? {}).sort((one, other) => other[1] - one[1]).slice(0, 3).map(([label]) => label).join(", ");
    const lengths = /text|list/.test(type) && of.max !== undefined ? `${said(of.min)} to ${said(of.max)} long` : "";
    const words = most ? `most often ${most}` : lengths;
    const cells = [type.replace("string_", ""), of.nan_count, of.n_unique ?? of.approx_unique, ...(words ? [] : [of.min, of.max, of.mean])];
    return made("tr", {}, made("th", { textContent: name }), ...cells.map((cell) => made("td", { textContent: said(cell) })),
      words ? made("td", { colSpan: 3, textContent: words }) : "");
  });
  const versions = about.versions.map((one) => {
    const link = made("a", { href: `#${new URLSearchParams({ of: `${about.name}@${one.version}` })}`, textContent: one.version });
    return made("li", {}, link, one.rows === null ? "" : ` ${one.rows.toLocaleString("en")} rows`);
  });
  told(title, made("p", { textContent: `${about.rows.toLocaleString("en")} rows` }), ...described(),
    made("div", { className: "wide" }, made("table", {}, made("thead", {}, made("tr", {}, ...head.map((name) => made("th", { textContent: name })))), made("tbody", {}, ...lines))),
    made("h3", { textContent: "Versions" }), made("ul", {}, ...versions));
};
$("name").onclick = () => go({ about: 1, row: null, graph: null });

// ---- Why a row is there: asked for when it is opened, for it may take packing its parents.

const reasons = (id) => {
  const text = made("pre", { textContent: "…" });
  const node = made("details", { className: "why" }, made("summary", { textContent: "Why is this row here?" }), text);
  node.ontoggle = () => {
    if (!node.open || node.dataset.asked) return;
    node.dataset.asked = "1";
    ask("why", { id }).then((told) => { text.textContent = told.text; }).catch((error) => { text.textContent = error.message; });
  };
  return node;
};
