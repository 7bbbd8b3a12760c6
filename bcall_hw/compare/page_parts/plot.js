// A canvas with axes that can be zoomed and panned by wheel, drag, box and keys; and the one tooltip of the page.

function showTip(text, event) {
  const tip = document.getElementById("tip");
  tip.textContent = text;
  tip.hidden = false;
  const { width, height } = tip.getBoundingClientRect();
  const left = event.clientX + 14 + width > innerWidth ? event.clientX - 14 - width : event.clientX + 14;
  const top = event.clientY + 14 + height > innerHeight ? event.clientY - 10 - height : event.clientY + 14;
  tip.style.left = `${Math.max(2, left)}px`;
  tip.style.top = `${Math.max(2, top)}px`;
}

function hideTip() {
  document.getElementById("tip").hidden = true;
}

// A hidden canvas has no width of its own; it is drawn only for paper.
const PAPER_WIDTH = 680;
const widthFor = (canvas) => canvas.parentElement.clientWidth || PAPER_WIDTH;

// Canvas in CSS pixels.
function sized(canvas, height, widest = Infinity) {
  const ratio = devicePixelRatio || 1;
  const width = Math.min(widest, widthFor(canvas));
  const tall = typeof height === "function" ? height(width) : height;
  canvas.style.width = `${width}px`;
  canvas.style.height = `${tall}px`;
  canvas.width = Math.round(width * ratio);
  canvas.height = Math.round(tall * ratio);
  const pen = canvas.getContext("2d");
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  pen.font = "12px system-ui, sans-serif";
  return { pen, width, height: tall, ratio };
}

function pointIn(canvas, event) {
  const box = canvas.getBoundingClientRect();
  return [event.clientX - box.left - canvas.clientLeft, event.clientY - box.top - canvas.clientTop];
}

function niceStep(span, most) {
  const rough = span / Math.max(1, most), power = 10 ** Math.floor(Math.log10(rough));
  return power * [1, 2, 5, 10].find((factor) => factor * power >= rough * 0.999);
}

function linearTicks([low, high], most) {
  const step = niceStep(high - low, most), ticks = [];
  const digits = Math.max(0, Math.min(12, -Math.floor(Math.log10(step) + 1e-9)));
  for (let k = Math.ceil(low / step - 1e-9); k * step <= high + step * 1e-9; k++) {
    ticks.push([k * step, (k * step + 0).toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits })]);
  }
  return ticks;
}

// Of an axis that holds logarithms to base 10.
function logTicks([low, high], most) {
  const steps = high - low > most / 2 ? [1] : high - low > most / 4 ? [1, 3] : [1, 2, 5], ticks = [];
  for (let decade = Math.floor(low); decade <= high; decade++) {
    for (const step of steps) {
      const at = decade + Math.log10(step);
      if (at >= low && at <= high) ticks.push([at, numberText(step * 10 ** decade, 2)]);
    }
  }
  return ticks.length > 1 ? ticks : linearTicks([low, high], most).map(([at]) => [at, numberText(10 ** at, 4)]);
}

function zoomedRange([low, high], centre, factor, full, least) {
  const span = Math.min(full[1] - full[0], Math.max(least, (high - low) * factor));
  const start = centre - (centre - low) / (high - low) * span;
  return shiftedInto(start, span, full);
}

function shiftedInto(start, span, full) {
  const low = Math.max(full[0], Math.min(full[1] - span, start));
  return [low, low + span];
}

const MARGIN = { left: 84, right: 16, top: 12, bottom: 46 };
const KEY_HELP = "Wheel zooms, drag moves, Shift and drag zooms into a box, double click or 0 resets; keys + \u2212 and arrows.";

class Plot {
  // parts: label, height, widest, full() -> {x, y}, least {x, y}, xAxis() and yAxis() -> {title, ticks(range, most)},
  // panes() -> titles, paint(plot, area, number), probe(plot, area, number, x, y) -> text, wheelAxes(event), moved()
  constructor(host, parts) {
    this.parts = parts;
    this.canvas = element("canvas", { tabindex: "0", role: "img", class: "moves", "aria-label": `${parts.label}. ${KEY_HELP}` });
    host.append(element("div", { class: "plot" }, this.canvas));
    this.boxMode = false;
    this.drag = null;
    this.listen();
    this.reset();
  }

  listen() {
    const on = (name, does, options) => this.canvas.addEventListener(name, does, options);
    on("wheel", (event) => this.wheel(event), { passive: false });
    on("pointerdown", (event) => this.press(event));
    on("pointermove", (event) => this.move(event));
    on("pointerup", (event) => this.release(event));
    on("pointercancel", () => this.endDrag());
    on("pointerleave", hideTip);
    on("dblclick", () => this.reset());
    on("keydown", (event) => this.key(event));
  }

  reset() {
    const { x, y } = this.parts.full();
    this.look(x, y);
  }

  look(x, y) {
    this.x = x;
    this.y = y;
    Object.assign(this.canvas.dataset, { x0: x[0], x1: x[1], y0: y[0], y1: y[1] });
    if (this.parts.moved) this.parts.moved(this);
    if (this.waiting) return;
    this.waiting = true;
    requestAnimationFrame(() => { this.waiting = false; this.draw(); });
  }

  areas() {
    const titles = this.parts.panes ? this.parts.panes() : [""];
    const gap = 22, top = MARGIN.top + (titles[0] ? 12 : 0);
    const tall = (this.tall - top - MARGIN.bottom - gap * (titles.length - 1)) / titles.length;
    return titles.map((title, number) => ({
      title, left: MARGIN.left, top: top + number * (tall + gap), width: this.wide - MARGIN.left - MARGIN.right, height: tall,
    }));
  }

  areaAt(x, y) {
    const areas = this.areas();
    const number = areas.findIndex((a) => x >= a.left && x <= a.left + a.width && y >= a.top && y <= a.top + a.height);
    return [areas[number], number];
  }

  toX(area, value) { return area.left + (value - this.x[0]) / (this.x[1] - this.x[0]) * area.width; }
  toY(area, value) { return area.top + area.height - (value - this.y[0]) / (this.y[1] - this.y[0]) * area.height; }
  fromX(area, pixel) { return this.x[0] + (pixel - area.left) / area.width * (this.x[1] - this.x[0]); }
  fromY(area, pixel) { return this.y[0] + (area.top + area.height - pixel) / area.height * (this.y[1] - this.y[0]); }

  draw() {
    if (this.canvas.closest("[hidden]") && !onPaper) return;
    const { pen, width, height, ratio } = sized(this.canvas, this.parts.height, this.parts.widest);
    Object.assign(this, { pen, wide: width, tall: height, ratio });
    const areas = this.areas();
    areas.forEach((area, number) => {
      this.parts.paint(this, area, number);
      this.frame(area, number === areas.length - 1);
    });
    if (this.drag && this.drag.box) this.drawBox();
  }

  frame(area, lowest) {
    const { pen } = this, xAxis = this.parts.xAxis(), yAxis = this.parts.yAxis();
    pen.strokeStyle = "#9aa6b2";
    pen.lineWidth = 1;
    pen.strokeRect(area.left - 0.5, area.top - 0.5, area.width + 1, area.height + 1);
    pen.fillStyle = INK;
    pen.textBaseline = "middle";
    pen.textAlign = "right";
    for (const [value, text] of yAxis.ticks(this.y, Math.max(2, area.height / 32))) {
      const y = this.toY(area, value);
      pen.fillText(text, area.left - 8, y, MARGIN.left - 26);
      pen.fillRect(area.left - 5, y - 0.5, 4, 1);
    }
    pen.textAlign = "center";
    for (const [value, text] of xAxis.ticks(this.x, Math.max(2, area.width / 90))) {
      const x = this.toX(area, value);
      pen.fillRect(x - 0.5, area.top + area.height + 1, 1, 4);
      if (lowest) pen.fillText(text, x, area.top + area.height + 15);
    }
    this.titles(area, lowest, xAxis.title, yAxis.title);
  }

  titles(area, lowest, xTitle, yTitle) {
    const { pen } = this;
    pen.fillStyle = SOFT;
    if (lowest) pen.fillText(xTitle, area.left + area.width / 2, area.top + area.height + 35);
    if (area.title) {
      pen.textAlign = "left";
      pen.fillText(area.title, area.left, area.top - 9);
      pen.textAlign = "center";
    }
    pen.save();
    pen.translate(11, area.top + area.height / 2);
    pen.rotate(-Math.PI / 2);
    pen.fillText(yTitle, 0, 0, area.height);
    pen.restore();
  }

  drawBox() {
    const { from, to } = this.drag;
    this.pen.fillStyle = "#0b539422";
    this.pen.strokeStyle = "#0b5394";
    const box = [Math.min(from[0], to[0]), Math.min(from[1], to[1]), Math.abs(from[0] - to[0]), Math.abs(from[1] - to[1])];
    this.pen.fillRect(...box);
    this.pen.strokeRect(...box);
  }

  zoom(factor, [x, y], { x: alongX = true, y: alongY = true } = {}) {
    const full = this.parts.full(), least = this.parts.least();
    this.look(alongX ? zoomedRange(this.x, x, factor, full.x, least.x) : this.x,
      alongY ? zoomedRange(this.y, y, factor, full.y, least.y) : this.y);
  }

  wheel(event) {
    const [px, py] = pointIn(this.canvas, event), [area] = this.areaAt(px, py);
    const turned = event.deltaY || event.deltaX;
    if (!area || !turned) return;
    const before = [...this.x, ...this.y].join();
    const lines = event.deltaMode === 1 ? 33 : 1;
    const factor = Math.exp(Math.max(-1, Math.min(1, turned * lines * 0.002)));
    this.zoom(factor, [this.fromX(area, px), this.fromY(area, py)], this.parts.wheelAxes ? this.parts.wheelAxes(event) : {});
    // A wheel that can zoom out no further scrolls the page.
    if (before !== [...this.x, ...this.y].join()) event.preventDefault();
    hideTip();
  }

  press(event) {
    const at = pointIn(this.canvas, event), [area] = this.areaAt(...at);
    if (event.button !== 0 || !area) return;
    this.canvas.setPointerCapture(event.pointerId);
    const box = this.boxMode || event.shiftKey;
    this.drag = { from: at, to: at, box, area, x: this.x, y: this.y };
    this.canvas.classList.toggle("moving", !box);
    hideTip();
  }

  move(event) {
    const at = pointIn(this.canvas, event);
    if (!this.drag) {
      const [area, number] = this.areaAt(...at);
      const text = area ? this.parts.probe(this, area, number, ...at) : null;
      return text ? showTip(text, event) : hideTip();
    }
    this.drag.to = at;
    if (this.drag.box) return this.look(this.x, this.y);
    const { from, area, x, y } = this.drag, full = this.parts.full(), spans = [x[1] - x[0], y[1] - y[0]];
    this.look(shiftedInto(x[0] - (at[0] - from[0]) / area.width * spans[0], spans[0], full.x),
      shiftedInto(y[0] + (at[1] - from[1]) / area.height * spans[1], spans[1], full.y));
  }

  release(event) {
    if (!this.drag) return;
    const { from, box, area } = this.drag, to = pointIn(this.canvas, event);
    this.endDrag();
    if (!box || Math.abs(to[0] - from[0]) < 5 || Math.abs(to[1] - from[1]) < 5) return;
    const range = (one, two, [low, high], least) => {
      const start = Math.max(low, Math.min(one, two)), end = Math.min(high, Math.max(one, two));
      return shiftedInto(start, Math.min(high - low, Math.max(least, end - start)), [low, high]);
    };
    const full = this.parts.full(), least = this.parts.least();
    this.look(range(this.fromX(area, from[0]), this.fromX(area, to[0]), full.x, least.x),
      range(this.fromY(area, from[1]), this.fromY(area, to[1]), full.y, least.y));
  }

  endDrag() {
    this.drag = null;
    this.canvas.classList.remove("moving");
    this.look(this.x, this.y);
  }

  key(event) {
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    const middle = [(this.x[0] + this.x[1]) / 2, (this.y[0] + this.y[1]) / 2];
    const axes = this.parts.wheelAxes ? this.parts.wheelAxes(event) : {};
    const does = {
      "+": () => this.zoom(0.7, middle, this.parts.keyAxes || axes), "-": () => this.zoom(1 / 0.7, middle, this.parts.keyAxes || axes),
      "0": () => this.reset(), "ArrowLeft": () => this.shift(-0.2, 0), "ArrowRight": () => this.shift(0.2, 0),
      "ArrowUp": () => this.shift(0, 0.2), "ArrowDown": () => this.shift(0, -0.2), "Escape": hideTip,
    }[event.key === "=" ? "+" : event.key];
    if (!does) return;
    event.preventDefault();
    does();
  }

  shift(right, up) {
    const full = this.parts.full(), spans = [this.x[1] - this.x[0], this.y[1] - this.y[0]];
    this.look(shiftedInto(this.x[0] + right * spans[0], spans[0], full.x), shiftedInto(this.y[0] + up * spans[1], spans[1], full.y));
  }
}

function boxButton(plot) {
  const button = element("button", { type: "button", "aria-pressed": "false", title: "drag then zooms into a box" }, "Box zoom");
  button.addEventListener("click", () => {
    plot.boxMode = !plot.boxMode;
    plot.canvas.classList.toggle("box", plot.boxMode);
    button.setAttribute("aria-pressed", String(plot.boxMode));
  });
  return button;
}

function resetButton(plot) {
  return element("button", { type: "button", click: () => plot.reset() }, "Reset view");
}

const swatch = (colour) => {
  const made = element("span", { class: "swatch" });
  made.style.background = colour;
  return made;
};
