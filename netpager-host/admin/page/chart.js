// A line chart of the last minutes on a canvas. No library: two axes, a few lines, a crosshair for mouse and keyboard.

import { clock } from "./format.js";
import { colour, h, say } from "./dom.js";

/** Samples that are kept, one a second. */
export const KEPT = 300;
const WINDOW_MS = KEPT * 1000;
const MARGIN = { left: 70, right: 6, top: 8, bottom: 20 };
const NO_MARGIN = { left: 4, right: 4, top: 3, bottom: 2 };
/** Samples further apart than this are not joined: nobody knows what was between them. */
const GAP_MS = 3500;

const all = new Set();

/** Draws every chart again, in new colours. */
export const redrawAll = () => all.forEach((chart) => chart.schedule());

/** The past of some columns. */
export class Past {
  constructor() {
    this.rows = [];
  }

  /** Takes what the service remembers. */
  load(past) {
    const names = Object.keys(past.columns);
    this.rows = past.times_ms.map((time, index) => ({ time, ...Object.fromEntries(names.map((name) => [name, past.columns[name][index]])) }));
  }

  add(row) {
    const last = this.rows.at(-1);
    if (last && row.time <= last.time) return;
    this.rows.push(row);
    if (this.rows.length > KEPT) this.rows.shift();
  }
}

/** A round step that makes about four of them: a power of two for bytes, else 1, 2 or 5 times a power of ten. */
function niceStep(most, base) {
  const raw = most / 4;
  if (base === 1024) return 2 ** Math.ceil(Math.log2(raw));
  const power = 10 ** Math.floor(Math.log10(raw));
  return ([1, 2, 5].find((candidate) => candidate * power >= raw) ?? 10) * power;
}

/** How values become heights. */
function linear(most, base) {
  const step = niceStep(Math.max(most, 1e-9), base);
  const top = Math.ceil(Math.max(most, step) / step - 1e-9) * step;
  const ticks = Array.from({ length: Math.round(top / step) + 1 }, (_, index) => index * step);
  return { ticks, at: (value) => Math.max(0, value) / top };
}

function logarithmic(least, most) {
  const low = Math.floor(Math.log10(Math.max(least, 0.1)));
  const high = Math.max(low + 1, Math.ceil(Math.log10(Math.max(most, 1))));
  const ticks = Array.from({ length: high - low + 1 }, (_, index) => 10 ** (low + index));
  return { ticks, at: (value) => (Math.log10(Math.max(value, 10 ** low)) - low) / (high - low) };
}

/**
 * A chart. `series`: [{column, label, key (a colour), dash, fill}]; `format(value)` gives text; `spark` leaves out everything
 * but the lines.
 */
export class Chart {
  constructor({ title, series, format, log = false, base = 1000, stack = false, spark = false, numbers = true, least = 1 }) {
    Object.assign(this, { title, series, format, log, base, stack, spark, least });
    this.past = new Past();
    this.now = 0;
    this.cursor = undefined;
    this.canvas = h("canvas", spark ? { "aria-hidden": "true" } : { tabindex: "0", role: "img", "aria-label": title });
    this.tip = h("div", { class: "tip", hidden: true, "aria-live": "polite" });
    this.numbers = series.map(() => numbers && h("b", {}, "–"));
    this.element = spark ? h("div", { class: "chart spark-chart" }, this.canvas) : this.figure();
    this.resizer = new ResizeObserver(() => this.schedule());
    this.resizer.observe(this.canvas);
    if (!spark) this.listen();
    all.add(this);
  }

  figure() {
    const legend = this.series.map((line, index) =>
      h("span", {}, h("i", { class: `key line is-${line.key}`, "aria-hidden": "true" }), `${line.label} `, this.numbers[index] || ""),
    );
    const head = h("div", { class: "chart-head" }, h("h3", {}, this.title), h("div", { class: "legend" }, legend));
    return h("article", { class: "panel" }, head, h("div", { class: "chart" }, this.canvas, this.tip));
  }

  close() {
    this.resizer.disconnect();
    all.delete(this);
  }

  /** Shows a past up to `now`. */
  show(past, now) {
    this.past = past;
    this.now = now;
    if (!this.spark) {
      const last = past.rows.at(-1);
      const told = this.series.map((line, index) => {
        const value = last ? this.format(last[line.column]) : "–";
        if (this.numbers[index]) say(this.numbers[index], value);
        return `${line.label} ${value}`;
      });
      this.canvas.setAttribute("aria-label", `${this.title}: ${told.join(", ")}. Arrow keys look back in time.`);
    }
    this.schedule();
  }

  schedule() {
    if (this.scheduled) return;
    this.scheduled = true;
    requestAnimationFrame(() => {
      this.scheduled = false;
      this.draw();
    });
  }

  /** Canvas, its size, and how things become places. */
  prepare() {
    const ratio = window.devicePixelRatio || 1;
    const { clientWidth: width, clientHeight: height } = this.canvas;
    if (width === 0) return undefined;
    if (this.canvas.width !== Math.round(width * ratio) || this.canvas.height !== Math.round(height * ratio)) {
      this.canvas.width = Math.round(width * ratio);
      this.canvas.height = Math.round(height * ratio);
    }
    const pen = this.canvas.getContext("2d");
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    pen.clearRect(0, 0, width, height);
    const margin = this.spark ? NO_MARGIN : MARGIN;
    const box = { left: margin.left, top: margin.top, width: width - margin.left - margin.right, height: height - margin.top - margin.bottom };
    const x = (time) => box.left + box.width * (1 - (this.now - time) / WINDOW_MS);
    return { pen, box, x };
  }

  /** What is drawn for a line at a row: its own value, or with those below it. */
  value(row, index) {
    if (!this.stack) return row[this.series[index].column];
    let sum = 0;
    for (let below = 0; below <= index; below += 1) sum += row[this.series[below].column] ?? 0;
    return sum;
  }

  scale(rows) {
    let [least, most] = [Infinity, 0];
    for (const row of rows) {
      for (let index = 0; index < this.series.length; index += 1) {
        const value = this.value(row, index);
        if (value === null || value === undefined) continue;
        least = Math.min(least, value);
        most = Math.max(most, value);
      }
    }
    return this.log ? logarithmic(least === Infinity ? 1 : least, most) : linear(Math.max(most, this.least), this.base);
  }

  draw() {
    const prepared = this.prepare();
    if (!prepared) return;
    const { pen, box, x } = prepared;
    const rows = this.past.rows.filter((row) => this.now - row.time <= WINDOW_MS + 2000);
    const scale = this.scale(rows);
    const y = (value) => box.top + box.height * (1 - scale.at(value));
    if (!this.spark) this.axes(pen, box, scale, y);
    if (!this.spark && !rows.some((row) => this.series.some(({ column }) => Number.isFinite(row[column])))) this.nothing(pen, box);
    pen.save();
    pen.beginPath();
    pen.rect(box.left, 0, box.width, box.top + box.height + 1);
    pen.clip();
    for (let index = this.series.length - 1; index >= 0; index -= 1) this.line(pen, rows, index, x, y);
    pen.restore();
    if (this.cursor !== undefined) this.crosshair(pen, box, rows, x, y);
  }

  axes(pen, box, scale, y) {
    pen.font = `11px ${getComputedStyle(this.canvas).fontFamily}`;
    pen.textBaseline = "middle";
    pen.lineWidth = 1;
    for (const tick of scale.ticks) {
      const height = Math.round(y(tick)) + 0.5;
      pen.strokeStyle = colour(tick === scale.ticks[0] ? "line" : "line-2");
      pen.beginPath();
      pen.moveTo(box.left, height);
      pen.lineTo(box.left + box.width, height);
      pen.stroke();
      pen.fillStyle = colour("ink-3");
      pen.textAlign = "right";
      pen.fillText(this.format(tick).replace(/\.0+(?= )/, ""), box.left - 8, height);
    }
    pen.textBaseline = "alphabetic";
    for (let minutes = 0; minutes <= 5; minutes += 1) {
      const place = box.left + box.width * (1 - minutes / 5);
      pen.textAlign = minutes === 0 ? "right" : "center";
      pen.fillText(minutes === 0 ? "now" : `−${minutes} min`, place, box.top + box.height + 15);
    }
  }

  nothing(pen, box) {
    pen.fillStyle = colour("ink-3");
    pen.textAlign = "center";
    pen.font = `12.5px ${getComputedStyle(this.canvas).fontFamily}`;
    pen.fillText("nothing in the last five minutes", box.left + box.width / 2, box.top + box.height / 2);
  }

  line(pen, rows, index, x, y) {
    const { key, dash = [], fill = false } = this.series[index];
    pen.strokeStyle = pen.fillStyle = colour(key);
    pen.lineWidth = this.spark ? 1.4 : 1.7;
    pen.lineJoin = "round";
    for (const run of runs(rows, (row) => this.value(row, index))) {
      const points = run.map(([time, value]) => [x(time), y(value)]);
      if (fill || this.stack) {
        pen.globalAlpha = this.stack ? 0.85 : 0.12;
        pen.beginPath();
        points.forEach(([across, up]) => pen.lineTo(across, up));
        pen.lineTo(points.at(-1)[0], y(0));
        pen.lineTo(points[0][0], y(0));
        pen.fill();
        pen.globalAlpha = 1;
      }
      pen.setLineDash(dash);
      pen.beginPath();
      points.forEach(([across, up]) => pen.lineTo(across, up));
      if (points.length === 1) pen.lineTo(points[0][0] + 1, points[0][1]);
      pen.stroke();
      pen.setLineDash([]);
    }
  }

  crosshair(pen, box, rows, x, y) {
    const wanted = this.now - this.cursor;
    const row = rows.reduce((best, row) => (!best || Math.abs(row.time - wanted) < Math.abs(best.time - wanted) ? row : best), undefined);
    this.tip.hidden = !row;
    if (!row) return;
    const place = x(row.time);
    pen.strokeStyle = colour("ink-3");
    pen.lineWidth = 1;
    pen.beginPath();
    pen.moveTo(place, box.top);
    pen.lineTo(place, box.top + box.height);
    pen.stroke();
    this.series.forEach((line, index) => {
      const value = this.value(row, index);
      if (value === null || value === undefined) return;
      pen.fillStyle = colour(line.key);
      pen.beginPath();
      pen.arc(place, y(value), 3.2, 0, 2 * Math.PI);
      pen.fill();
    });
    const lines = this.series.map((line) =>
      h("div", {}, h("i", { class: `key line is-${line.key}` }), line.label, h("b", {}, this.format(row[line.column]))),
    );
    this.tip.replaceChildren(h("div", {}, clock(row.time)), ...lines);
    const left = place < box.left + box.width / 2;
    this.tip.style.left = left ? `${place + 12}px` : "auto";
    this.tip.style.right = left ? "auto" : `${this.canvas.clientWidth - place + 12}px`;
  }

  listen() {
    const point = (age) => {
      this.cursor = age === undefined ? undefined : Math.max(0, Math.min(WINDOW_MS, age));
      if (age === undefined) this.tip.hidden = true;
      this.schedule();
    };
    this.canvas.addEventListener("pointermove", (event) => {
      const width = this.canvas.clientWidth - MARGIN.left - MARGIN.right;
      point((1 - (event.offsetX - MARGIN.left) / width) * WINDOW_MS);
    });
    this.canvas.addEventListener("pointerleave", () => point(undefined));
    this.canvas.addEventListener("blur", () => point(undefined));
    this.canvas.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: 1, ArrowRight: -1, PageUp: 30, PageDown: -30 }[event.key];
      if (event.key === "Escape") point(undefined);
      if (step === undefined) return;
      event.preventDefault();
      point((this.cursor ?? 0) + step * 1000);
    });
  }
}

/** Stretches without gaps, as [time, value]. */
function* runs(rows, value) {
  let run = [];
  for (const row of rows) {
    const found = value(row);
    const absent = found === null || found === undefined;
    if (run.length > 0 && (absent || row.time - run.at(-1)[0] > GAP_MS)) {
      yield run;
      run = [];
    }
    if (!absent) run.push([row.time, found]);
  }
  if (run.length > 0) yield run;
}
