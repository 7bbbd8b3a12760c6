// Distances between all repeats, as a square of colours.

// Stops of viridis: even in lightness, so that it reads without colour too.
const VIRIDIS = [[68, 1, 84], [59, 82, 139], [33, 145, 140], [94, 201, 98], [253, 231, 37]];

function mixed(stops, part) {
  const at = Math.max(0, Math.min(1, part)) * (stops.length - 1), low = Math.min(stops.length - 2, Math.floor(at));
  return `rgb(${stops[low].map((channel, k) => Math.round(channel + (stops[low + 1][k] - channel) * (at - low))).join(",")})`;
}

function offDiagonal(values, side) {
  let low = Infinity, high = -Infinity;
  for (let k = 0; k < values.length; k++) {
    if (k % (side + 1) === 0 || !Number.isFinite(values[k])) continue;
    low = Math.min(low, values[k]);
    high = Math.max(high, values[k]);
  }
  return low > high ? null : [low, high];
}

function repeatName(index, ofA, side) {
  if (ofA > side) return `repeat ${index + 1}`;
  return index < ofA ? `A repeat ${index + 1}` : `B repeat ${index - ofA + 1}`;
}

const matrixSize = (width) => Math.max(60, Math.min(width - 140, 480));

function paintMatrix(canvas, population, quantity, unit) {
  const { side } = population.matrices[quantity], values = matrixOf(population, quantity), range = offDiagonal(values, side);
  const { pen, width } = sized(canvas, (wide) => matrixSize(wide) + 48, 640);
  const square = { left: 44, top: 34, size: matrixSize(width), side }, ofA = COMPARISON.sides[0].repeats;
  square.cell = square.size / Math.max(1, side);
  const edge = (k) => Math.round(k * square.cell);
  for (let row = 0; row < side; row++) {
    for (let column = 0; column < side; column++) {
      const value = values[row * side + column];
      pen.fillStyle = row === column ? "#fff" : !Number.isFinite(value) ? GREY
        : mixed(VIRIDIS, range[1] > range[0] ? (value - range[0]) / (range[1] - range[0]) : 0.5);
      pen.fillRect(square.left + edge(column), square.top + edge(row), edge(column + 1) - edge(column), edge(row + 1) - edge(row));
    }
  }
  pen.strokeStyle = INK;
  pen.lineWidth = 1;
  pen.strokeRect(square.left - 0.5, square.top - 0.5, square.size + 1, square.size + 1);
  if (ofA < side) paintBlocks(pen, square, ofA);
  if (range) paintScale(pen, { left: square.left + square.size + 18, top: square.top, height: square.size }, range, unit);
  return square;
}

function paintBlocks(pen, { left, top, size, cell, side }, ofA) {
  const split = Math.round(ofA * cell);
  for (const [colour, wide] of [["#fff", 5], [INK, 2]]) {
    pen.strokeStyle = colour;
    pen.lineWidth = wide;
    pen.beginPath();
    pen.moveTo(left + split, top);
    pen.lineTo(left + split, top + size);
    pen.moveTo(left, top + split);
    pen.lineTo(left + size, top + split);
    pen.stroke();
  }
  pen.textAlign = "center";
  pen.textBaseline = "middle";
  pen.font = "600 14px system-ui, sans-serif";
  for (const [name, number, from, to] of [["A", 0, 0, ofA], ["B", 1, ofA, side]]) {
    const middle = (from + to) / 2 * cell, length = (to - from) * cell;
    pen.fillStyle = `rgb(${SIDE_RGB[number].join(",")})`;
    pen.fillRect(left + from * cell + 2, top - 8, length - 4, 4);
    pen.fillRect(left - 8, top + from * cell + 2, 4, length - 4);
    pen.fillText(name, left + middle, top - 20);
    pen.fillText(name, left - 22, top + middle);
  }
}

function paintScale(pen, { left, top, height }, [low, high], unit, stops = VIRIDIS) {
  for (let y = 0; y < height; y++) {
    pen.fillStyle = mixed(stops, 1 - y / height);
    pen.fillRect(left, top + y, 14, 1.5);
  }
  pen.fillStyle = INK;
  pen.font = "12px system-ui, sans-serif";
  pen.textAlign = "left";
  pen.textBaseline = "middle";
  for (const part of high > low ? [0, 0.25, 0.5, 0.75, 1] : [0.5]) {
    pen.fillText(numberText(low + part * (high - low), 3), left + 20, top + (1 - part) * height, 74);
  }
  if (unit) pen.fillText(unit, left, top - 14);
}

const MATRIX_HELP = "The squares A-A and B-B are repeats of one side; A-B is across. " +
  "Where the sides are alike, all look the same.";

function matrixPanel(panel) {
  const drawn = POPULATIONS.filter((population) => Object.keys(population.matrices).length);
  if (!drawn.length) {
    panel.append(element("p", {}, "There are no distances between repeats to draw."));
    return null;
  }
  let population = drawn[0], quantity = Object.keys(population.matrices)[0], square = null;
  const canvas = element("canvas", { id: "matrix-map", role: "img" }), status = element("p", { class: "small", id: "matrix-status" });
  const unit = () => (COMPARISON.quantities.find((row) => row.name === quantity) || { unit: "" }).unit;
  const draw = () => {
    square = paintMatrix(canvas, population, quantity, unit());
    canvas.setAttribute("aria-label", `Distances between all repeats: ${plainName(quantity)} of ${population.name}`);
    status.textContent = matrixStatus(population, quantity, unit());
  };
  const quantities = chooser("quantity", [], (value) => { quantity = value; draw(); }, "matrix-quantity");
  const offer = () => {
    const names = Object.keys(population.matrices);
    if (!names.includes(quantity)) quantity = names[0];
    const select = quantities.querySelector("select");
    select.replaceChildren(...names.map((name) => element("option", { value: name }, plainName(name))));
    select.value = quantity;
  };
  const populations = drawn.map((p, number) => [String(number), p.name]);
  const host = element("div", { class: "plot" }, canvas);
  panel.append(element("div", { class: "choices" },
    chooser("population", populations, (value) => { population = drawn[Number(value)]; offer(); draw(); }, "matrix-population"), quantities),
    element("p", { class: "small" }, MATRIX_HELP), host, status);
  offer();
  hoverCells(canvas, (px, py) => matrixCell(square, px, py), (at) => matrixTip(population, quantity, at, unit()));
  return draw;
}

function matrixCell(square, px, py) {
  const column = Math.floor((px - square.left) / square.cell), row = Math.floor((py - square.top) / square.cell);
  const inside = column >= 0 && row >= 0 && column < square.side && row < square.side;
  return inside ? { row, column } : null;
}

function matrixTip(population, quantity, { row, column }, unit) {
  const { side } = population.matrices[quantity], ofA = COMPARISON.sides[0].repeats;
  const names = `${repeatName(row, ofA, side)}, ${repeatName(column, ofA, side)}`;
  if (row === column) return `${repeatName(row, ofA, side)} and itself`;
  const value = matrixOf(population, quantity)[row * side + column];
  return `${names}\n${Number.isFinite(value) ? withUnit(value, unit) : "undefined: too few spikes"}`;
}

function matrixStatus(population, quantity, unit) {
  const { side } = population.matrices[quantity], range = offDiagonal(matrixOf(population, quantity), side);
  if (!range) return `${plainName(quantity)} of ${population.name}: no distance is defined (too few spikes).`;
  const [low, high] = range.map((value) => withUnit(value, unit));
  return `${plainName(quantity)} of ${population.name}: ${side} repeats, distances from ${low} to ${high}. Grey: undefined.`;
}

// A tooltip for whatever `find` sees at a point.
function hoverCells(canvas, find, text) {
  canvas.addEventListener("pointermove", (event) => {
    const found = find(...pointIn(canvas, event));
    if (found) showTip(text(found), event);
    else hideTip();
  });
  canvas.addEventListener("pointerleave", hideTip);
}
