// Each neuron as a point: A to the right, B upwards.

const SCATTER_KINDS = {
  rate: { title: "mean rate", unit: "Hz", of: ratesOf, text: (value) => withUnit(value, "Hz") },
  isi: { title: "mean interval", unit: "s", of: intervalsOf, text: (value) => (known(value) ? timeText(value) : DASH) },
};

function scatterPoints(kind, only, logarithmic) {
  const points = [];
  let left = 0;
  POPULATIONS.forEach((population, number) => {
    if (only !== "" && Number(only) !== number) return;
    const [a, b] = [0, 1].map((side) => SCATTER_KINDS[kind].of(population, side)), z = differencesOf(population);
    for (let index = 0; index < population.size; index++) {
      const fits = logarithmic ? a[index] > 0 && b[index] > 0 : true;
      if (!fits || !Number.isFinite(a[index]) || !Number.isFinite(b[index])) left++;
      else points.push({ population, number, index, a: a[index], b: b[index], z: z[index] });
    }
  });
  const place = logarithmic ? Math.log10 : (value) => value;
  for (const point of points) Object.assign(point, { x: place(point.a), y: place(point.b) });
  return { points, left };
}

function scatterRange(points, logarithmic) {
  let low = Infinity, high = -Infinity;
  for (const { x, y } of points) {
    low = Math.min(low, x, y);
    high = Math.max(high, x, y);
  }
  if (low > high) return logarithmic ? [-1, 1] : [0, 1];
  const room = Math.max((high - low) * 0.05, logarithmic ? 0.05 : Math.abs(high) * 0.02, 1e-9);
  return logarithmic ? [low - room, high + room] : [Math.min(0, low), high + room];
}

function paintPoints(plot, area, points, cut) {
  const { pen } = plot, size = points.length > 2000 ? 2 : 3;
  pen.save();
  pen.beginPath();
  pen.rect(area.left, area.top, area.width, area.height);
  pen.clip();
  pen.strokeStyle = "#9aa6b2";
  pen.setLineDash([5, 4]);
  pen.beginPath();
  pen.moveTo(plot.toX(area, plot.x[0]), plot.toY(area, plot.x[0]));
  pen.lineTo(plot.toX(area, plot.x[1]), plot.toY(area, plot.x[1]));
  pen.stroke();
  pen.setLineDash([]);
  const ring = (point, radius) => {
    const x = plot.toX(area, point.x), y = plot.toY(area, point.y);
    pen.moveTo(x + radius, y);
    pen.arc(x, y, radius, 0, 7);
  };
  POPULATIONS.forEach((_, number) => {
    pen.fillStyle = populationColour(number);
    pen.globalAlpha = 0.65;
    pen.beginPath();
    for (const point of points) if (point.number === number) ring(point, size);
    pen.fill();
  });
  pen.globalAlpha = 1;
  pen.strokeStyle = INK;
  pen.lineWidth = 1.3;
  pen.beginPath();
  for (const point of points) if (Math.abs(point.z) >= cut) ring(point, size + 2.5);
  pen.stroke();
  pen.restore();
}

function nearestPoint(plot, area, points, px, py) {
  let best = null, least = 100;
  for (const point of points) {
    const dx = plot.toX(area, point.x) - px, dy = plot.toY(area, point.y) - py;
    if (dx * dx + dy * dy < least) {
      least = dx * dx + dy * dy;
      best = point;
    }
  }
  return best;
}

function scatterPanel(panel) {
  let kind = "rate", only = "", logarithmic = false, cut = 4;
  let found = scatterPoints(kind, only, logarithmic);
  const status = element("p", { class: "small", id: "scatter-status" }), key = element("div", { class: "key" });
  const renew = () => {
    found = scatterPoints(kind, only, logarithmic);
    tell();
    plot.reset();
  };
  const tell = () => {
    const marked = found.points.filter((point) => Math.abs(point.z) >= cut).length;
    const why = `have no value${logarithmic ? " above zero" : ""} on both sides and are not drawn`;
    const left = found.left ? ` ${numberText(found.left)} neurons ${why}.` : "";
    const [all, ringed] = [found.points.length, marked].map((count) => numberText(count));
    status.textContent = `${all} neurons; ${ringed} ringed, with |z| of at least ${numberText(cut)}.${left}`;
  };
  const logBox = element("input", { type: "checkbox", id: "scatter-log", change: () => { logarithmic = logBox.checked; renew(); } });
  const cutBox = element("input", { type: "number", min: "0", step: "0.5", value: String(cut), id: "scatter-cut", change: () => {
    cut = Math.max(0, Number(cutBox.value) || 0);
    tell();
    plot.draw();
  } });
  const axis = (side) => () => ({
    title: `${SCATTER_KINDS[kind].title} of ${side} (${SCATTER_KINDS[kind].unit})`, ticks: logarithmic ? logTicks : linearTicks,
  });
  const kinds = [["rate", "mean rate"], ["isi", "mean interval between spikes"]];
  const choices = element("div", { class: "choices" },
    chooser("show", kinds, (value) => { kind = value; renew(); }, "scatter-kind"),
    chooser("population", [["", "all"], ...populationOptions()], (value) => { only = value; renew(); }, "scatter-population"),
    element("label", {}, logBox, "logarithmic"),
    element("label", { title: "z: difference of the rates over its standard error" }, "ring |z| \u2265", cutBox));
  POPULATIONS.forEach((population, number) => key.append(element("span", {}, swatch(populationColour(number)), population.name)));
  key.append(element("span", {}, "dashed: A and B equal"));
  panel.append(choices, key);
  const plot = new Plot(panel, {
    label: "Each neuron: A against B", height: (width) => width * 0.9, widest: 640,
    full: () => ({ x: scatterRange(found.points, logarithmic), y: scatterRange(found.points, logarithmic) }),
    least: () => {
      const [low, high] = scatterRange(found.points, logarithmic);
      return { x: (high - low) / 1000, y: (high - low) / 1000 };
    },
    xAxis: axis("A"), yAxis: axis("B"), paint: (made, area) => paintPoints(made, area, found.points, cut),
    probe: (made, area, _, x, y) => scatterTip(nearestPoint(made, area, found.points, x, y), kind),
  });
  plot.canvas.id = "scatter-plot";
  choices.append(boxButton(plot), resetButton(plot));
  panel.append(status, element("p", { class: "small hint" }, KEY_HELP));
  tell();
  return () => plot.draw();
}

function scatterTip(point, kind) {
  if (!point) return null;
  const { text } = SCATTER_KINDS[kind];
  const place = `${point.population.name}\n${addressText(point.population, point.index)}`;
  return `${place}\nA ${text(point.a)}, B ${text(point.b)}, z ${numberText(point.z, 3)}`;
}
