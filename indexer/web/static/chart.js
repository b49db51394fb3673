"use strict";
// Smoke graphs: the median, bands of percentiles around it, what was lost from below, and a dashed
// line where link or address changed. Below it, for HTTP, the phases stacked.

const PHASES = { resolve: "DNS", connect: "connect", tls: "TLS", ttfb: "first byte", transfer: "transfer" };
const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
const ms = (value) =>
  value == null ? "no answer"
  : value > 0 && value < 0.1 ? "<0.1 ms"
  : value >= 1000 ? `${(value / 1000).toFixed(1)} s`
  : `${value.toFixed(value >= 10 ? 0 : 1)} ms`;
const when = (seconds) =>
  new Date(seconds * 1000).toLocaleString([], { month: "short", day: "numeric", hour: "2-digit", minute: "2-digit" });

// The hour of each tick; the day too at the first one and where it becomes another.
function dates(ticks, step) {
  let before = "";
  return ticks.map((tick) => {
    const at = new Date(tick * 1000);
    const day = at.toLocaleDateString([], { month: "short", day: "numeric" });
    const hour = at.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
    const shown = step >= 86400 ? day : day === before ? hour : `${hour}\n${day}`;
    before = day;
    return shown;
  });
}

// As wide as the longest label needs.
const room = (_, labels) => Math.max(58, 24 + 8 * Math.max(0, ...(labels ?? []).map((one) => one.length)));

function axes() {
  const line = { stroke: colour("quiet"), grid: { stroke: colour("line"), width: 1 }, ticks: { stroke: colour("line"), width: 1 } };
  return [{ ...line, space: 80, values: (_, ticks, __, ___, step) => dates(ticks, step) }, { ...line, size: room, values: (_, ticks) => ticks.map((tick) => (tick >= 1000 ? `${tick / 1000} s` : `${tick} ms`)) }];
}

function options(box, chart, series, bands, hooks, read) {
  const output = box.nextElementSibling;
  const say = (plot) => {
    const at = plot.cursor.idx;
    output.textContent = at == null || chart.columns.probes[at] === 0 ? "" : `${when(chart.columns.x[at])}: ${read(at)}`;
  };
  return {
    width: box.clientWidth, height: box.clientHeight, legend: { show: false }, series, bands, axes: axes(),
    scales: { x: { time: true, range: () => [chart.since_s, chart.until_s] }, y: { range: (_, low, high) => [0, Math.max(1, (high || 1) * 1.15)] } },
    cursor: { y: false, drag: { x: false, y: false }, points: { show: false } },
    hooks: { ...hooks, setCursor: [say] },
  };
}

// A point stands in the middle of the time that it sums up.
const middles = (chart) => chart.columns.x.map((x) => Math.min(x + chart.step_s / 2, chart.until_s));

// What a line does not reach is a point of its own; with few of them, all are.
function alone(plot, number, all) {
  const values = plot.data[number];
  return all ? null : [...values.keys()].filter((at) => values[at] != null && values[at - 1] == null && values[at + 1] == null);
}

function smoke(box, chart) {
  const { columns } = chart;
  const series = [{}];
  for (const name of ["p90", "p75", "median", "p25", "p10"]) {
    const stroke = name === "median" ? colour("median") : "transparent";
    series.push({ label: name, stroke, width: name === "median" ? 2 : 0, points: name === "median" ? { size: 4, filter: alone } : { show: false } });
  }
  const bands = [{ series: [1, 5], fill: colour("outer") }, { series: [2, 4], fill: colour("inner") }];
  const read = (at) =>
    `median ${ms(columns.median[at])}, 10–90 % ${ms(columns.p10[at])} to ${ms(columns.p90[at])}, ` +
    `${columns.loss_pct[at] ?? 0} % lost, ${columns.probes[at]} probes` +
    (columns.error[at] ? ` (${columns.error[at]})` : "");
  const hooks = { draw: [(plot) => losses(plot, chart), (plot) => marks(plot, chart)] };
  const data = [middles(chart), columns.p90, columns.p75, columns.median, columns.p25, columns.p10];
  return new uPlot(options(box, chart, series, bands, hooks, read), data, box);
}

function losses(plot, chart) {
  const { left, top, width, height } = plot.bbox;
  const bar = Math.max(2, (chart.step_s / (chart.until_s - chart.since_s)) * width - 1);
  plot.ctx.save();
  plot.ctx.fillStyle = colour("lost");
  chart.columns.x.forEach((x, at) => {
    const lost = chart.columns.loss_pct[at];
    if (!lost) return;
    const from = Math.max(left, plot.valToPos(x, "x", true));
    const tall = Math.max(3, (height * lost) / 100);
    plot.ctx.globalAlpha = 0.8;
    plot.ctx.fillRect(from, top + height - tall, Math.min(bar, left + width - from), tall);
  });
  plot.ctx.restore();
}

function marks(plot, chart) {
  const { left, top, width, height } = plot.bbox;
  plot.ctx.save();
  plot.ctx.strokeStyle = plot.ctx.fillStyle = colour("mark");
  plot.ctx.setLineDash([4, 4]);
  plot.ctx.font = `${11 * devicePixelRatio}px system-ui, sans-serif`;
  chart.marks.forEach((mark, number) => {
    const x = plot.valToPos(mark.at_s, "x", true);
    if (x < left) return;
    plot.ctx.beginPath();
    plot.ctx.moveTo(x, top);
    plot.ctx.lineTo(x, top + height);
    plot.ctx.stroke();
    const fits = x + 4 + plot.ctx.measureText(mark.text).width < left + width;
    plot.ctx.textAlign = fits ? "left" : "right";
    plot.ctx.fillText(mark.text, fits ? x + 4 : x - 4, top + (12 + 13 * (number % 3)) * devicePixelRatio);
  });
  plot.ctx.restore();
}

function stacked(box, chart) {
  const names = Object.keys(PHASES);
  const sums = [];
  let below = chart.columns.x.map(() => 0);
  for (const name of names) {
    below = below.map((sum, at) => (chart.phases[name][at] == null ? null : (sum ?? 0) + chart.phases[name][at]));
    sums.push(below);
  }
  // Drawn from the top down, so that each lower one covers what is not its own.
  const order = names.map((_, at) => names.length - 1 - at);
  const series = [{}, ...order.map((at) => ({
    label: names[at], stroke: colour(`phase-${at}`), fill: colour(`phase-${at}`), width: 1, points: { show: false },
  }))];
  const read = (at) => names.map((name) => `${PHASES[name]} ${ms(chart.phases[name][at])}`).join(", ");
  return new uPlot(options(box, chart, series, [], {}, read), [middles(chart), ...order.map((at) => sums[at])], box);
}

function keyOf(figure) {
  if (figure.querySelector(".key")) return;
  const list = document.createElement("ul");
  list.className = "key";
  Object.values(PHASES).forEach((name, at) => {
    const item = document.createElement("li");
    const swatch = document.createElement("span");
    swatch.className = `swatch phase-${at}`;
    item.append(swatch, ` ${name}`);
    list.append(item);
  });
  figure.querySelector(".phases").before(list);
}

function arrows(box) {
  box.addEventListener("keydown", (event) => {
    const steps = { ArrowLeft: -1, ArrowRight: 1, Home: -Infinity, End: Infinity };
    const plot = box.plot;
    if (!(event.key in steps) || !plot) return;
    event.preventDefault();
    const last = plot.data[0].length - 1;
    const from = box.at ?? (event.key === "ArrowLeft" ? last + 1 : -1);
    box.at = Math.min(last, Math.max(0, from + steps[event.key]));
    plot.setCursor({ left: plot.valToPos(plot.data[0][box.at], "x"), top: 0 });
  });
}

function draw(box, chart, how) {
  if (box.plot) box.plot.destroy();
  box.plot = how(box, chart);
  box.redraw = () => draw(box, chart, how);
}

const figures = [...document.querySelectorAll("[data-chart]")];
const range = document.getElementById("charts").dataset.range;

async function load(target, agent) {
  const query = new URLSearchParams({ target, agent, range });
  const answer = await fetch(`/api/chart?${query}`);
  if (!answer.ok) return;
  const { charts } = await answer.json();
  for (const figure of figures) {
    const chart = charts.find((one) => one.agent === figure.dataset.agent && one.kind === figure.dataset.kind);
    if (!chart) continue;
    const [first, second] = figure.querySelectorAll(".plot");
    draw(first, chart, smoke);
    if (second) {
      keyOf(figure);
      draw(second, chart, stacked);
    }
    figure.querySelector("figcaption p").textContent = chart.sentence;
    figure.dataset.drawn = "yes";
  }
}

function loadAll() {
  const pairs = new Map(figures.map((one) => [`${one.dataset.target} ${one.dataset.agent}`, one.dataset]));
  return Promise.all([...pairs.values()].map((one) => load(one.target, one.agent)));
}

for (const box of document.querySelectorAll(".plot")) {
  arrows(box);
  new ResizeObserver(() => {
    if (box.plot && Math.abs(box.plot.width - box.clientWidth) > 1) box.plot.setSize({ width: box.clientWidth, height: box.clientHeight });
  }).observe(box);
}
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
  for (const box of document.querySelectorAll(".plot")) if (box.redraw) box.redraw();
});
loadAll().catch(() => {});
document.addEventListener("swarming:looked", () => loadAll().catch(() => {}));
