// What stands above the tabs, and the tabs that are tables.

function showAlerts() {
  const blind = COMPARISON.controls.filter((control) => control.passed === false);
  if (!blind.length) return;
  const names = blind.map((control) => control.name).join(", ");
  const text = `\u26a0 ${blind.length} of ${COMPARISON.controls.length} controls found no difference where there is one (${names}): ` +
    "this data cannot show a difference of that kind.";
  document.getElementById("alerts").append(element("p", { class: "warning" }, text));
}

const SIDE_ROWS = [
  ["source", "source"], ["backend", "backend"], ["board", "board"], ["seed", "board seed"], ["version", "version"],
  ["repeats", "repeats"], ["duration_s", "duration of a repeat"], ["spikes", "spikes, all repeats"],
  ["config_sha256", "configuration"], ["stimulus_sha256", "stimulus"], ["calibration_sha256", "calibration"],
];

function sideCell(side, key) {
  const value = side[key];
  if (key.endsWith("sha256")) {
    if (!value) return element("td", { class: "none", title: "the file does not say" }, DASH);
    return element("td", {}, element("abbr", { title: value }, value.slice(0, 12)));
  }
  if (value === null || value === "") return element("td", { class: "none", title: "not known, or it has none" }, DASH);
  if (key === "duration_s") return element("td", {}, `${numberText(value)} s`);
  // A seed is a name, so its digits stay together.
  return element("td", {}, typeof value === "number" && key !== "seed" ? numberText(value) : String(value));
}

function sameMark([one, two], key) {
  if (!key.endsWith("sha256") || !one[key] || !two[key]) return element("td", {});
  return one[key] === two[key] ? element("td", { class: "good" }, "= the same") : element("td", { class: "bad" }, "\u2260 not the same");
}

function showSides() {
  const sides = COMPARISON.sides;
  const head = element("tr", {}, element("th", {}, ""), element("th", { class: "a", scope: "col" }, sides[0].label),
    element("th", { class: "b", scope: "col" }, sides[1].label), element("th", {}, ""));
  const lines = SIDE_ROWS.map(([key, title]) =>
    element("tr", {}, element("th", { scope: "row" }, title), ...sides.map((side) => sideCell(side, key)), sameMark(sides, key)));
  if (sides.some((side) => side.notes.length)) lines.push(notesLine(sides));
  const table = element("table", {}, element("thead", {}, head), element("tbody", {}, ...lines));
  document.getElementById("sides").append(scrolling(table, "The two sides"));
  if (COMPARISON.bit_identical) {
    document.getElementById("sides").append(element("p", {}, "The spikes of both sides are the same, repeat by repeat."));
  }
}

function notesLine(sides) {
  const notes = (side) => element("td", {}, ...side.notes.map((note) => element("div", {}, note)));
  return element("tr", {}, element("th", { scope: "row" }, "notes"), ...sides.map(notes), element("td", {}));
}

function showNext() {
  if (!COMPARISON.next.length) return;
  const section = document.getElementById("next");
  section.append(element("ul", {}, ...COMPARISON.next.map((text) => element("li", {}, text))));
  section.hidden = false;
}

const NO_VALUE = "undefined: too few spikes or repeats";

function ratioOf(row) {
  if (row.ratio !== null) return row.ratio;
  return row.within === 0 && row.distance > 0 ? Infinity : null;
}

function valueCell(value, text, why = NO_VALUE) {
  if (value === null) return element("td", { class: "number none", title: why }, DASH);
  return element("td", { class: "number", title: String(value) }, text);
}

function ratioCell(row) {
  const ratio = ratioOf(row);
  if (ratio === Infinity) return element("td", { class: "number", title: "two repeats of one side are all the same" }, "\u221e");
  return valueCell(ratio, numberText(ratio, 3));
}

// The scale that all bars share: logarithmic, and wide enough for most of them.
function barScale(rows) {
  const margin = known(COMPARISON.settings.margin) ? COMPARISON.settings.margin : null;
  const values = rows.flatMap((row) => [row.ratio, row.ratio_upper]).filter((value) => known(value) && value > 0);
  const low = Math.max(0.25, Math.min(0.9, ...values) * 0.95);
  const high = Math.min(10, Math.max(1.15 * (margin || 1.2), ...values) * 1.1);
  const at = (ratio) => 4 + 192 * Math.log(Math.min(high, Math.max(low, ratio)) / low) / Math.log(high / low);
  return { margin, low, high, at };
}

// A line of no length with round ends stays round, however the picture is stretched.
function dot(x, colour) {
  const round = { "stroke-width": 8, "stroke-linecap": "round", "vector-effect": "non-scaling-stroke" };
  return drawing("path", { d: `M ${x} 10 h 0.001`, stroke: colour, ...round });
}

function ratioBar(row, scale) {
  const ratio = ratioOf(row);
  if (ratio === null) return element("td", { class: "bar none", title: NO_VALUE });
  const { at, margin, high } = scale;
  const upper = row.ratio_upper === null ? ratio : Math.max(row.ratio_upper, ratio);
  const colour = { "equivalent": "#1b6e3c", "different": "#9b1c1c", "not enough data": "#b07a00" }[row.verdict];
  const marks = [drawing("line", { x1: at(1), x2: at(1), y1: 1, y2: 19, stroke: "#9aa6b2", "stroke-dasharray": "2 2" })];
  if (margin) marks.push(drawing("line", { x1: at(margin), x2: at(margin), y1: 1, y2: 19, stroke: INK, "stroke-width": 2 }));
  marks.push(drawing("line", { x1: at(ratio), x2: at(upper), y1: 10, y2: 10, stroke: colour, "stroke-width": 3 }));
  marks.push(upper > high
    ? drawing("path", { d: "M 192 5 L 199 10 L 192 15 z", fill: colour })
    : drawing("line", { x1: at(upper), x2: at(upper), y1: 6, y2: 14, stroke: colour, "stroke-width": 2 }));
  marks.push(dot(at(ratio), colour));
  const limit = margin ? `, margin ${numberText(margin)}` : "";
  const told = `ratio ${numberText(ratio, 3)}, at most ${numberText(row.ratio_upper, 3)}${limit}`;
  const svg = drawing("svg", { viewBox: "0 0 200 20", preserveAspectRatio: "none", role: "img", "aria-label": told },
    drawing("title", {}, told), ...marks);
  return element("td", { class: "bar" }, svg);
}

function quantityColumns(rows) {
  const scale = barScale(rows), meaning = COMPARISON.settings.meaning || {};
  return [
    { title: "population", key: (row) => row.population, cell: (row) => element("td", { class: "name" }, row.population) },
    { title: "quantity", key: (row) => row.name, cell: (row) => element("td", { title: meaning[row.name] }, plainName(row.name)) },
    { title: "A to B", number: true, key: (row) => row.distance, help: "mean distance between a repeat of A and a repeat of B",
      cell: (row) => valueCell(row.distance, withUnit(row.distance, row.unit)) },
    { title: "within", number: true, key: (row) => row.within, help: "mean distance between two repeats of one side",
      cell: (row) => valueCell(row.within, withUnit(row.within, row.unit)) },
    { title: "ratio", number: true, key: ratioOf, help: "A to B over within: 1 where the sides are alike", cell: ratioCell },
    { title: "ratio and its bound", key: (row) => row.ratio_upper, cell: (row) => ratioBar(row, scale),
      help: "dot: ratio; line: up to its one-sided 95 % bound; dashed: 1; solid: margin" },
    { title: "p", number: true, key: (row) => row.p, help: "of no difference at all (corrected after Holm)",
      cell: (row) => valueCell(row.p, probabilityText(row.p)) },
    { title: "p equiv.", number: true, key: (row) => row.p_equivalence, help: "of a ratio of at least the margin (corrected after Holm)",
      cell: (row) => valueCell(row.p_equivalence, probabilityText(row.p_equivalence)) },
    { title: "verdict and why", key: (row) => row.verdict,
      cell: (row) => element("td", {}, verdictMark(row.verdict), element("span", { class: "reason" }, row.reason)) },
  ];
}

function quantitiesPanel(panel) {
  const rows = COMPARISON.quantities;
  if (!rows.length) {
    panel.append(element("p", {}, "No quantity was compared."));
  } else {
    const { table, filter } = sortedTable(quantityColumns(rows), rows, "quantities-table");
    const wanted = { population: "", verdict: "" };
    const count = element("span", { id: "quantity-count", "aria-live": "polite" });
    const apply = () => {
      const left = filter((row) => (!wanted.population || `=${row.population}` === wanted.population)
        && (!wanted.verdict || row.verdict === wanted.verdict));
      count.textContent = left === rows.length ? `${rows.length} rows` : `${left} of ${rows.length} rows`;
    };
    // "=" before a name: a population may be called "".
    const names = [...new Set(rows.map((row) => row.population))].map((name) => [`=${name}`, name]);
    const verdicts = Object.keys(VERDICT_SIGNS).map((verdict) => [verdict, verdict]);
    panel.append(
      element("div", { class: "choices" },
        chooser("population", [["", "all"], ...names], (value) => { wanted.population = value; apply(); }, "quantity-population"),
        chooser("verdict", [["", "all"], ...verdicts], (value) => { wanted.verdict = value; apply(); }, "quantity-verdict"), count),
      barKey(), scrolling(table, "Quantities"));
    apply();
  }
  controlsPart(panel);
}

function barKey() {
  const margin = COMPARISON.settings.margin;
  const told = known(margin) ? `; solid line: margin ${numberText(margin)}` : "";
  return element("p", { class: "small" }, "Distances between A and B, held against distances between repeats of one side. " +
    `Bars (logarithmic): dot, ratio; line, up to its 95 % bound; dashed, 1${told}.`);
}

function controlsPart(panel) {
  panel.append(element("h3", {}, "Controls"));
  if (!COMPARISON.controls.length) {
    panel.append(element("p", { class: "warning" }, "No controls were run: it is not known what this data could have shown."));
    return;
  }
  panel.append(element("p", { class: "small" }, "Each control compares things that do differ, and must come out as different. " +
    "One that does not says that this data could not have shown such a difference."));
  const head = ["control", "what was compared", "found to differ", "outcome"].map((title) => element("th", { scope: "col" }, title));
  const lines = COMPARISON.controls.map((control) => element("tr", {}, element("td", { class: "name" }, control.name),
    element("td", {}, control.what), element("td", {}, control.compared ? `${control.different} of ${control.compared}` : DASH),
    controlOutcome(control)));
  panel.append(scrolling(element("table", { id: "controls-table" }, element("thead", {}, element("tr", {}, ...head)),
    element("tbody", {}, ...lines)), "Controls"));
}

function controlOutcome(control) {
  const why = control.reason ? element("span", { class: "reason" }, control.reason) : null;
  if (control.passed === null) return element("td", {}, element("span", { class: "open" }, "? not run"), why);
  if (control.passed) return element("td", {}, element("span", { class: "good" }, "\u2713 found the difference, as it should"), why);
  return element("td", {}, element("strong", { class: "bad" }, "\u26a0 found no difference, but there is one"),
    element("span", { class: "reason" }, "The verdict says little about differences of this kind."), why);
}

function settingsPanel(panel) {
  const lines = Object.entries(COMPARISON.settings).map(([key, value]) =>
    element("tr", {}, element("th", { scope: "row" }, nameWithUnit(key)), settingCell(value)));
  if (!lines.length) panel.append(element("p", {}, "No settings were told."));
  else panel.append(scrolling(element("table", { id: "settings-table" }, element("tbody", {}, ...lines)), "Settings"));
}

function settingCell(value) {
  const made = cell(value);
  made.classList.remove("number", "name");
  return made;
}
