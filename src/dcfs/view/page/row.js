// One row: its files (pictures, sound, video, text), boxes and masks over its picture, all its values, and its location.
"use strict";

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
  if (state().get("row") !== String(id)) return; // Another one was opened meanwhile, or it was closed.
  const dialog = $("row");
  const files = told.files.map((file, number) => media(file, at("file", { id, column: number }), number === 0 ? shapesOf(told.row) : []));
  const over = overlays(told.files, files, id);
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
  dialog.replaceChildren(made("p", {}, close, " ", ...near), told.error ? made("pre", { textContent: told.error }) : "", made("div", { className: "files" }, ...files), over, ...places, table, reasons(id), origin());
  if (!dialog.open) dialog.showModal();
};

// Annotations of a picture: boxes of four numbers, like DataChain's BBox; outlines and key points as lists `x` and `y`; only outlines have a title.
const isNumbers = (list) => Array.isArray(list) && list.length > 0 && list.every((x) => typeof x === "number");
const shapesOf = (value, name = "") => {
  if (!value || typeof value !== "object") return [];
  const label = (of) => [of.title, of.name, of.label, of.class_name].find((one) => typeof one === "string") ?? "";
  if (Array.isArray(value)) {
    if (value.length === 4 && isNumbers(value)) return /(^|\.)(coords|bbox|box|boxes)$/.test(name) ? [{ box: value, label: "" }] : [];
    return value.length > 500 ? [] : value.flatMap((one) => shapesOf(one, name));
  }
  if (isNumbers(value.x) && isNumbers(value.y) && value.x.length === value.y.length && value.x.length > 2) {
    return [{ points: value.x.map((x, at) => [x, value.y[at]]), isPose: !("title" in value), label: label(value) }];
  }
  return Object.entries(value).flatMap(([key, inner]) => shapesOf(inner, name ? `${name}.${key}` : key).map((shape) => ({ ...shape, label: shape.label || label(value) })));
};

const media = (file, src, shapes) => {
  const name = file.uri ?? "";
  if (SHOWN.test(name)) {
    const image = made("img", { src, alt: "" });
    const stage = made("span", { className: "stage" }, image);
    if (shapes.length > 0) image.addEventListener("load", () => stage.append(drawnShapes(shapes, image.naturalWidth, image.naturalHeight)));
    return stage;
  }
  if (FILMS.test(name)) return made("video", { src, controls: true });
  if (SOUNDS.test(name)) return made("audio", { src, controls: true });
  if (TEXTS.test(name) && (file.size ?? 0) < 1 << 20) {
    const text = made("pre");
    fetch(src).then((answer) => answer.text()).catch((error) => error.message).then((told) => { text.textContent = (/\.json$/i.test(name) ? indented(told) : told).slice(0, 100_000); });
    return text;
  }
  return made("a", { href: src, download: name.split("/").pop(), textContent: "Download" });
};

const indented = (text) => {
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
};

const SVG = "http://www.w3.org/2000/svg";
const svg = (tag, attributes = {}, ...inside) => {
  const node = document.createElementNS(SVG, tag);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  node.append(...inside);
  return node;
};

const drawnShapes = (shapes, width, height) => {
  const drawing = svg("svg", { viewBox: `0 0 ${width} ${height}`, role: "img" });
  const size = Math.max(10, width / 40);
  for (const { box, points, isPose, label } of shapes) {
    const [x, y] = box ?? points[0];
    if (box) drawing.append(svg("rect", { x, y, width: Math.max(0, box[2] - x), height: Math.max(0, box[3] - y) }));
    else if (isPose) points.forEach(([cx, cy]) => drawing.append(svg("circle", { cx, cy, r: size / 4 })));
    else drawing.append(svg("polygon", { points: points.map((point) => point.join(",")).join(" ") }));
    if (label) drawing.append(svg("text", { x, y: Math.max(size, y - size / 4), "font-size": size }, label));
  }
  return drawing;
};

// ---- Masks over their picture

const MASKS = /mask|seg|trimap|label|annot/i;
const overlays = (files, stages, id) => {
  const base = stages[0]?.querySelector?.("img");
  if (!base) return "";
  const over = files.map((file, number) => ({ file, number })).filter(({ file, number }) => number > 0 && SHOWN.test(file.uri ?? ""));
  return made("p", { className: "over" }, ...over.map(({ file, number }) => {
    const box = made("input", { type: "checkbox", checked: MASKS.test(file.column) || MASKS.test(file.uri) });
    const canvas = made("canvas");
    stages[0].append(canvas);
    const painted = () => {
      canvas.hidden = !box.checked;
      if (box.checked && !canvas.dataset.painted) paint(canvas, base, at("file", { id, column: number })).catch((error) => wrong(error.message));
    };
    box.onchange = painted;
    base.complete && base.naturalWidth ? painted() : base.addEventListener("load", painted);
    return made("label", {}, box, ` ${file.column} over the picture`);
  }));
};

// Colours for classes: 0 is transparent, every other value has a colour of its own. A mask of colours keeps them.
const paint = async (canvas, base, src) => {
  canvas.dataset.painted = "1";
  const mask = made("img", { src });
  await mask.decode();
  const scale = Math.min(1, 2048 / Math.max(base.naturalWidth, base.naturalHeight, 1));
  canvas.width = Math.max(1, Math.round(base.naturalWidth * scale));
  canvas.height = Math.max(1, Math.round(base.naturalHeight * scale));
  const area = canvas.getContext("2d");
  area.imageSmoothingEnabled = false;
  area.drawImage(mask, 0, 0, canvas.width, canvas.height);
  const pixels = area.getImageData(0, 0, canvas.width, canvas.height);
  const { data } = pixels;
  const colour = (value) => {
    const hue = (value * 137.508) % 360;
    const part = (shift) => { const k = (shift + hue / 30) % 12; return Math.round(255 * (0.5 - 0.5 * Math.max(-1, Math.min(k - 3, 9 - k, 1)))); };
    return [part(0), part(8), part(4)];
  };
  const known = new Map();
  for (let from = 0; from < data.length; from += 4) {
    const [red, green, blue] = [data[from], data[from + 1], data[from + 2]];
    const isGrey = red === green && green === blue;
    if (isGrey && red > 0) {
      if (!known.has(red)) known.set(red, colour(red));
      [data[from], data[from + 1], data[from + 2]] = known.get(red);
    }
    data[from + 3] = isGrey && red === 0 ? 0 : Math.min(data[from + 3], 128);
  }
  area.putImageData(pixels, 0, 0);
};
