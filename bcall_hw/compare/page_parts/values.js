// Values, numbers in words, and the elements that hold them. Text only ever enters the page as a text node.

const DATA = JSON.parse(document.getElementById("data").textContent);
const COMPARISON = DATA.comparison;
const PICTURES = DATA.pictures;
const POPULATIONS = PICTURES.populations;
const DASH = "\u2013";
const SIDE_RGB = [[0, 114, 178], [213, 94, 0]];
const INK = "#1b2733", SOFT = "#51606e", LINE = "#d5dce3", GREY = "#dde2e7";

// Okabe and Ito's colours, which colour-blind people tell apart.
const POPULATION_COLOURS = ["#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#6b4c00", "#000000", "#8a8f00"];
const populationColour = (number) => POPULATION_COLOURS[number % POPULATION_COLOURS.length];

const TYPES = { f4: Float32Array, u4: Uint32Array, u2: Uint16Array };

function unpack(text, type) {
  const raw = atob(text);
  const bytes = new Uint8Array(raw.length);
  for (let i = 0; i < raw.length; i++) bytes[i] = raw.charCodeAt(i);
  return new TYPES[type](bytes.buffer);
}

// Arrays are unpacked when they are first looked at, so that the page opens at once.
const unpacked = new Map();
function arrayOf(population, key, type, text) {
  const name = `${POPULATIONS.indexOf(population)}/${key}`;
  if (!unpacked.has(name)) unpacked.set(name, unpack(text, type));
  return unpacked.get(name);
}
const addressesOf = (p) => arrayOf(p, "addresses", "u4", p.addresses);
const ratesOf = (p, side) => arrayOf(p, `rate${side}`, "f4", p.rate_hz[side]);
const intervalsOf = (p, side) => arrayOf(p, `isi${side}`, "f4", p.isi_s[side]);
const differencesOf = (p) => arrayOf(p, "z", "f4", p.z);
const shownOf = (p) => arrayOf(p, "shown", "u4", p.shown);
const matrixOf = (p, quantity) => arrayOf(p, `matrix/${quantity}`, "f4", p.matrices[quantity].values);

function addressText(population, index) {
  const [chip, core, neuron] = addressesOf(population).subarray(3 * index, 3 * index + 3);
  return `chip ${chip} core ${core} neuron ${neuron}`;
}

function addressShort(population, index) {
  return addressesOf(population).subarray(3 * index, 3 * index + 3).join("/");
}

const known = (value) => typeof value === "number" && Number.isFinite(value);

function numberText(value, digits = 4) {
  if (value === "infinity" || value === Infinity) return "\u221e";
  if (value === "-infinity" || value === -Infinity) return "\u2212\u221e";
  if (!known(value)) return DASH;
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (Number.isInteger(value) && size < 1e15) return value.toLocaleString("en");
  if (size >= 1e6 || size < 1e-3) {
    const [mantissa, power] = value.toExponential(digits - 2).split("e");
    return `${String(Number(mantissa))}e${Number(power)}`.replace(/-/g, "\u2212");
  }
  const shown = Number(value.toPrecision(digits));
  return shown.toLocaleString("en", { maximumFractionDigits: 12 }).replace("-", "\u2212");
}

function withUnit(value, unit) {
  const text = numberText(value);
  return unit && text !== DASH ? `${text} ${unit}` : text;
}

function timeText(seconds) {
  const size = Math.abs(seconds);
  if (size === 0 || size >= 1) return `${numberText(seconds, 7)} s`;
  if (size >= 1e-3) return `${numberText(seconds * 1e3, 6)} ms`;
  return `${numberText(seconds * 1e6, 5)} \u00b5s`;
}

function probabilityText(value) {
  if (!known(value)) return DASH;
  return value > 0 && value < 1e-4 ? "< 0.0001" : numberText(value, 3);
}

const plainName = (name) => name.replace(/_/g, " ");
// The name of a setting or a column, with its unit: bin_s is "bin (s)".
const UNITS = { s: "s", hz: "Hz", us: "\u00b5s", ms: "ms" };
function nameWithUnit(key) {
  const [, name, unit] = /^(.+)_(s|hz|us|ms)$/.exec(key) || [null, key, null];
  return unit ? `${plainName(name)} (${UNITS[unit]})` : plainName(key);
}

const slug = (text) => text.replace(/ /g, "-");

// element("td", {class: "x", title: "y"}, child, ...): a child is a node or a text.
function element(tag, attributes, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes || {})) {
    if (typeof value === "function") made.addEventListener(name, value);
    else if (value === true) made.setAttribute(name, "");
    else if (value !== null && value !== undefined && value !== false) made.setAttribute(name, value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

function drawing(tag, attributes, ...children) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

const VERDICT_SIGNS = { "equivalent": "=", "different": "\u2260", "not enough data": "?" };

function verdictMark(verdict) {
  return element("span", { class: `verdict ${slug(verdict)}` }, `${VERDICT_SIGNS[verdict]} ${verdict}`);
}

function chooser(label, options, changed, id) {
  const select = element("select", { id, change: () => changed(select.value) });
  for (const [value, text] of options) select.append(element("option", { value }, text));
  return element("label", {}, label, select);
}

const populationOptions = () => POPULATIONS.map((p, number) => [String(number), p.name]);
