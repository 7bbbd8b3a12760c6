// Spikes of both sides, painted pixel by pixel: hundreds of thousands in one frame.

const TICKS = 2 ** 32 - 1;
const RASTER_MODES = [["over", "A and B overlaid"], ["apart", "A above B"], ["a", "A only"], ["b", "B only"]];

function spikesOf(population, side) {
  const packed = population.raster[side];
  return {
    times: arrayOf(population, `times${side}`, "u4", packed.times),
    rows: arrayOf(population, `rows${side}`, packed.row_bytes === 2 ? "u2" : "u4", packed.rows),
  };
}

// Index of the first spike at or after a tick.
function firstAt(times, tick) {
  let low = 0, high = times.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (times[middle] < tick) low = middle + 1;
    else high = middle;
  }
  return low;
}

const rasterSpan = () => Math.max(1e-12, PICTURES.raster_s[1] - PICTURES.raster_s[0]);
const toTick = (seconds) => (seconds - PICTURES.raster_s[0]) / rasterSpan() * TICKS;
const fromTick = (tick) => PICTURES.raster_s[0] + tick / TICKS * rasterSpan();

const secondsText = (seconds) => `${numberText(Number(seconds.toFixed(6)), 12)} s`;

// Spikes of the time and the rows that are in view.
function countInView({ times, rows }, { x, y }) {
  const end = toTick(x[1]);
  let count = 0;
  for (let k = firstAt(times, toTick(x[0])); k < times.length && times[k] <= end; k++) {
    if (rows[k] + 1 > y[0] && rows[k] < y[1]) count++;
  }
  return count;
}

// How often each pixel of an area is hit by a mark; one buffer for each side. Tells how many pixels all marks have together.
function hits(spikes, view, size, buffer) {
  const { times, rows } = spikes, { wide, tall } = size;
  const start = toTick(view.x[0]), scale = wide / (toTick(view.x[1]) - start);
  const rowTall = tall / (view.y[1] - view.y[0]), markTall = Math.max(1, Math.min(size.tallest, Math.floor(rowTall * 0.8)));
  const from = firstAt(times, start), to = firstAt(times, Math.ceil(toTick(view.x[1])) + 1);
  const markWide = to - from < 4000 ? 2 * size.unit : size.unit;
  const [lowest, highest] = [view.y[0] - 1, view.y[1]];
  let drawn = 0;
  for (let k = from; k < to; k++) {
    const row = rows[k];
    if (row < lowest || row > highest) continue;
    drawn++;
    const x = ((times[k] - start) * scale) | 0;
    const top = Math.floor(tall - (row + 0.5 - view.y[0]) * rowTall - markTall / 2 + 0.5);
    const right = Math.min(wide, x + markWide), bottom = Math.min(tall, top + markTall);
    for (let y = Math.max(0, top); y < bottom; y++) {
      for (let column = x; column < right; column++) buffer[y * wide + column]++;
    }
  }
  return drawn * markTall * markWide;
}

// Two inks on white: where both sides fire, the paper is dark. A colour for each (hits of one ink, hits of the other) up to 15.
function inkTable(sides, strength) {
  const table = new Uint32Array(256), paper = (side, count, channel) =>
    1 - (1 - Math.exp(-strength * count)) * (1 - SIDE_RGB[side][channel] / 255);
  const bytes = new Uint8ClampedArray(table.buffer);
  for (let k = 0; k < 256; k++) {
    for (let channel = 0; channel < 3; channel++) {
      const other = sides.length > 1 ? paper(sides[1], k & 15, channel) : 1;
      bytes[4 * k + channel] = 255 * paper(sides[0], k >> 4, channel) * other;
    }
    bytes[4 * k + 3] = 255;
  }
  return table;
}

function inked(image, buffers, table) {
  const [one, two] = buffers, pixels = new Uint32Array(image.data.buffer);
  for (let k = 0; k < pixels.length; k++) {
    const a = one[k], b = two ? two[k] : 0;
    pixels[k] = table[((a > 15 ? 15 : a) << 4) | (b > 15 ? 15 : b)];
  }
}

// Buffers that the next frame uses again.
const spareBuffers = [];
function cleanBuffer(number, length) {
  if (!spareBuffers[number] || spareBuffers[number].length !== length) spareBuffers[number] = new Uint16Array(length);
  else spareBuffers[number].fill(0);
  return spareBuffers[number];
}

function paintRaster(plot, area, population, sides) {
  const ratio = plot.ratio, left = Math.round(area.left * ratio), top = Math.round(area.top * ratio);
  const size = {
    wide: Math.max(1, Math.round(area.width * ratio)), tall: Math.max(1, Math.round(area.height * ratio)),
    tallest: Math.round(16 * ratio), unit: Math.max(1, Math.round(ratio)),
  };
  const image = plot.pen.createImageData(size.wide, size.tall);
  const buffers = sides.map((_, number) => cleanBuffer(number, size.wide * size.tall));
  const marked = sides.map((side, k) => hits(spikesOf(population, side), plot, size, buffers[k]));
  const crowd = Math.max(...marked) / (size.wide * size.tall);
  inked(image, buffers, inkTable(sides, Math.min(3, Math.max(0.15, 0.9 / Math.max(1e-9, crowd)))));
  plot.pen.putImageData(image, left, top);
}

function nearestSpike(plot, area, population, sides, px, py) {
  const reach = 8, shown = shownOf(population);
  let best = null, least = reach * reach;
  for (const side of sides) {
    const { times, rows } = spikesOf(population, side);
    const to = toTick(plot.fromX(area, px + reach));
    for (let k = firstAt(times, toTick(plot.fromX(area, px - reach))); k < times.length && times[k] <= to; k++) {
      const dx = plot.toX(area, fromTick(times[k])) - px, dy = plot.toY(area, rows[k] + 0.5) - py;
      if (dx * dx + dy * dy < least) {
        least = dx * dx + dy * dy;
        best = { side, at: fromTick(times[k]), index: shown[rows[k]] };
      }
    }
  }
  return best;
}

function rasterTip(plot, area, population, sides, px, py) {
  const spike = nearestSpike(plot, area, population, sides, px, py);
  if (spike) return `${addressText(population, spike.index)}\nspike of ${"AB"[spike.side]} at ${secondsText(spike.at)}`;
  const shown = shownOf(population), row = Math.floor(plot.fromY(area, py));
  if (row < 0 || row >= shown.length) return null;
  return `${addressText(population, shown[row])}\n${secondsText(plot.fromX(area, px))}`;
}

function rasterPanel(panel) {
  if (!POPULATIONS.length) {
    panel.append(element("p", {}, "No population was compared."));
    return null;
  }
  let population = POPULATIONS[0], mode = "over";
  const sides = (number) => ({ over: [0, 1], apart: [number], a: [0], b: [1] })[mode];
  const status = element("p", { class: "small", id: "raster-status" });
  const rowTicks = ([low, high], most) => {
    const step = Math.max(1, niceStep(high - low, most)), shown = shownOf(population), ticks = [];
    for (let row = Math.ceil(low / step) * step; row < Math.min(high, shown.length); row += step) {
      ticks.push([row + 0.5, addressShort(population, shown[row])]);
    }
    return ticks.filter(([at]) => at <= high);
  };
  const both = element("span", {}, "dark: both at once");
  const choosePopulation = (value) => {
    population = POPULATIONS[Number(value)];
    plot.reset();
  };
  const chooseMode = (value) => {
    mode = value;
    both.hidden = value !== "over";
    plot.draw();
  };
  const choices = element("div", { class: "choices" },
    chooser("population", populationOptions(), choosePopulation, "raster-population"),
    chooser("show", RASTER_MODES, chooseMode, "raster-mode"));
  const key = element("div", { class: "key" }, element("span", { class: "key-a" }, "A"), element("span", { class: "key-b" }, "B"),
    both);
  panel.append(choices, key);
  const plot = new Plot(panel, {
    label: "Spikes of A and B over time", height: (width) => Math.max(360, Math.min(560, width * 0.5)),
    full: () => ({ x: [PICTURES.raster_s[0], PICTURES.raster_s[0] + rasterSpan()], y: [0, Math.max(1, shownOf(population).length)] }),
    least: () => ({ x: Math.min(rasterSpan(), 1e-4), y: Math.min(3, Math.max(1, shownOf(population).length)) }),
    xAxis: () => ({ title: "time (s)", ticks: linearTicks }), yAxis: () => ({ title: "neuron (chip/core/neuron)", ticks: rowTicks }),
    panes: () => (mode === "apart" ? ["A", "B"] : [""]),
    paint: (made, area, number) => paintRaster(made, area, population, sides(number)),
    probe: (made, area, number, x, y) => rasterTip(made, area, population, sides(number), x, y),
    wheelAxes: (event) => ({ x: !event.shiftKey, y: event.shiftKey }), keyAxes: { x: true, y: false },
    moved: (made) => { status.textContent = rasterStatus(population, made); },
  });
  plot.canvas.id = "raster-plot";
  choices.append(boxButton(plot), resetButton(plot));
  panel.append(status, element("p", { class: "small hint" }, `${KEY_HELP} Wheel and keys zoom time; Shift and wheel zooms neurons.`));
  return () => plot.draw();
}

function rasterStatus(population, { x, y }) {
  const shown = shownOf(population).length, total = population.size;
  const neurons = shown === total ? `all ${numberText(total)} neurons`
    : `a sample of ${numberText(shown)} of ${numberText(total)} neurons`;
  const [from, to] = PICTURES.raster_s;
  const inView = [0, 1].map((side) => countInView(spikesOf(population, side), { x, y }));
  const counts = population.raster.map((side) => side.count);
  const [a, b, seenA, seenB] = [...counts, ...inView].map((count) => numberText(count));
  return `${population.name}: ${neurons}, one repeat, ${secondsText(from)} to ${secondsText(to)}: ${a} spikes of A, ${b} of B. ` +
    `In view: ${secondsText(x[0])} to ${secondsText(x[1])}, ${seenA} of A, ${seenB} of B.`;
}
