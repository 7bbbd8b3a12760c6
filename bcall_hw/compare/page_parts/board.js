// The board: each neuron in its seat, coloured by how much its rate differs.

// Of B's colour where B fires more, of A's where A does.
const DIVERGING = [[166, 60, 0], [240, 170, 110], [250, 250, 250], [120, 185, 225], [0, 82, 140]];
const Z_END = 6, NOT_COMPARED = "#ccd2d8";

function boardLayout(width) {
  const [chips, cores, neurons] = PICTURES.geometry, columns = Math.max(1, Math.min(chips, PICTURES.chip_columns));
  const coreColumns = Math.ceil(Math.sqrt(cores)), seats = Math.ceil(Math.sqrt(neurons));
  const coreRows = Math.ceil(cores / coreColumns), chipRows = Math.ceil(chips / columns);
  const gap = 10, title = 20, space = 26, pad = 2;
  const fits = (width - 2 * pad - space * (columns - 1) - columns * gap * (coreColumns - 1)) / (columns * coreColumns);
  const core = Math.max(24, Math.min(150, fits));
  const chipWide = coreColumns * core + (coreColumns - 1) * gap, chipTall = coreRows * (core + 16) + (coreRows - 1) * 4;
  const corner = (chip, number) => [
    pad + (chip % columns) * (chipWide + space) + (number % coreColumns) * (core + gap),
    Math.floor(chip / columns) * (chipTall + space + title) + title + 16 + Math.floor(number / coreColumns) * (core + 20),
  ];
  return { chips, cores, neurons, seats, core, corner, cell: core / seats, height: chipRows * (chipTall + space + title) };
}

// (chip, core, neuron) -> [population, index]
function boardSeats() {
  const [chips, cores, neurons] = PICTURES.geometry, seats = new Map();
  let outside = 0;
  for (const population of POPULATIONS) {
    const addresses = addressesOf(population);
    for (let index = 0; index < population.size; index++) {
      const [chip, core, neuron] = addresses.subarray(3 * index, 3 * index + 3);
      if (chip < chips && core < cores && neuron < neurons) seats.set(seatKey(chip, core, neuron), [population, index]);
      else outside++;
    }
  }
  return { seats, outside };
}

const seatKey = (chip, core, neuron) => (chip * PICTURES.geometry[1] + core) * PICTURES.geometry[2] + neuron;

function seatColour(population, index) {
  const a = ratesOf(population, 0)[index], b = ratesOf(population, 1)[index], z = differencesOf(population)[index];
  if (!Number.isFinite(a) || !Number.isFinite(b)) return NOT_COMPARED;
  // Without spread there is no z: equal rates do not differ, and others differ for certain.
  const shown = Number.isNaN(z) ? Math.sign(a - b) * Z_END : z;
  return mixed(DIVERGING, (shown + Z_END) / (2 * Z_END));
}

function paintBoard(canvas, seats) {
  const { pen } = sized(canvas, (width) => boardLayout(width).height);
  const layout = boardLayout(widthFor(canvas));
  pen.textBaseline = "alphabetic";
  for (let chip = 0; chip < layout.chips; chip++) {
    const [left, top] = layout.corner(chip, 0);
    pen.fillStyle = INK;
    pen.font = "600 13px system-ui, sans-serif";
    pen.fillText(`chip ${chip}`, left, top - 20);
    for (let core = 0; core < layout.cores; core++) paintCore(pen, layout, seats, chip, core);
  }
  return layout;
}

function paintCore(pen, layout, seats, chip, core) {
  const [left, top] = layout.corner(chip, core), edge = (k) => Math.round(k * layout.cell);
  pen.fillStyle = SOFT;
  pen.font = "11px system-ui, sans-serif";
  pen.fillText(layout.core > 45 ? `core ${core}` : String(core), left, top - 4);
  for (let neuron = 0; neuron < layout.neurons; neuron++) {
    const column = neuron % layout.seats, row = Math.floor(neuron / layout.seats);
    const seat = seats.get(seatKey(chip, core, neuron));
    pen.fillStyle = seat ? seatColour(...seat) : NOT_COMPARED;
    pen.fillRect(left + edge(column), top + edge(row), edge(column + 1) - edge(column), edge(row + 1) - edge(row));
  }
  pen.strokeStyle = "#9aa6b2";
  pen.lineWidth = 1;
  pen.strokeRect(left - 0.5, top - 0.5, edge(layout.seats) + 1, edge(layout.seats) + 1);
}

function boardSeatAt(layout, px, py) {
  for (let chip = 0; chip < layout.chips; chip++) {
    for (let core = 0; core < layout.cores; core++) {
      const [left, top] = layout.corner(chip, core);
      const column = Math.floor((px - left) / layout.cell), row = Math.floor((py - top) / layout.cell);
      const neuron = row * layout.seats + column;
      const inside = column >= 0 && row >= 0 && column < layout.seats && row < layout.seats && neuron < layout.neurons;
      if (inside) return { chip, core, neuron };
    }
  }
  return null;
}

function boardTip(seats, { chip, core, neuron }) {
  const address = `chip ${chip} core ${core} neuron ${neuron}`, seat = seats.get(seatKey(chip, core, neuron));
  if (!seat) return `${address}\nnot compared`;
  const [population, index] = seat, z = differencesOf(population)[index];
  const told = Number.isNaN(z) ? "z \u2013 (no spread between repeats)" : `z ${numberText(z, 3)}`;
  const [a, b] = [0, 1].map((side) => withUnit(ratesOf(population, side)[index], "Hz"));
  return `${population.name}\n${address}\nrate A ${a}, rate B ${b}\n${told}`;
}

function boardKey() {
  const canvas = element("canvas", { width: "200", height: "12", role: "img", "aria-label": "colours of z" });
  const pen = canvas.getContext("2d");
  for (let x = 0; x < 200; x++) {
    pen.fillStyle = mixed(DIVERGING, x / 199);
    pen.fillRect(x, 0, 1, 12);
  }
  return element("div", { class: "key" },
    element("span", {}, `z \u2264 \u2212${Z_END}: B fires more `, canvas, ` z \u2265 ${Z_END}: A fires more`),
    element("span", {}, swatch(NOT_COMPARED), "not compared"));
}

function coresTable() {
  const number = (title, key, help, text = numberText) => ({
    title, number: true, help, key: (row) => row[key],
    cell: (row) => valueCell(row[key], text(row[key]), "no spread between repeats"),
  });
  const columns = [
    { title: "core", key: (row) => row.chip * 1e6 + row.core, cell: (row) => element("td", {}, `chip ${row.chip} core ${row.core}`) },
    number("neurons compared", "neurons"),
    number("that differ", "differ", "rates that differ (corrected after Holm, over all neurons)"),
    number("rate A", "rate_a_hz", "mean over the neurons", (value) => withUnit(value, "Hz")),
    number("rate B", "rate_b_hz", "mean over the neurons", (value) => withUnit(value, "Hz")),
    number("rms z", "rms_z", "root mean square of z: about 1 where nothing differs"),
  ];
  return scrolling(sortedTable(columns, COMPARISON.cores, "cores-table").table, "Cores, the worst first");
}

function boardPanel(panel) {
  const { seats, outside } = boardSeats();
  const canvas = element("canvas", { id: "board-map", role: "img", "aria-label": "The board: z of each neuron's rate" });
  let layout = null;
  const told = "Each square is a neuron; its colour is z, the difference of its rates (A \u2212 B) over the standard error.";
  panel.append(element("p", { class: "small" }, told),
    boardKey(), element("div", { class: "plot" }, canvas));
  if (outside) {
    const lost = `${numberText(outside)} neurons have addresses beyond this board and are not drawn.`;
    panel.append(element("p", { class: "warning" }, lost));
  }
  if (COMPARISON.cores.length) panel.append(element("h3", {}, "Cores, the worst first"), coresTable());
  hoverCells(canvas, (px, py) => boardSeatAt(layout, px, py), (at) => boardTip(seats, at));
  return () => { layout = paintBoard(canvas, seats); };
}
