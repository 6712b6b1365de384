// The allocation map: an export as a grid of cells, each in the colour of what most of it is, the stronger the fuller.

import { bytes, text } from "./format.js";
import { colour, h, say } from "./dom.js";
import { get } from "./server.js";

const STATES = {
  R: ["resident", "in RAM"],
  C: ["compressed", "compressed in RAM"],
  F: ["file", "in a file"],
  N: ["remote", "on the network"],
  V: ["reserved", "reserved"],
  ".": ["empty", "nothing kept"],
};
const CELL = 11;
const ROWS = 16;
const REFRESH_MS = 4000;

/** A map of one export, which refreshes itself until it is closed. */
export class AllocationMap {
  constructor(name) {
    this.name = name;
    this.canvas = h("canvas", { tabindex: "0", role: "img" });
    this.said = h("p", { class: "said", "aria-live": "polite" });
    const legend = Object.values(STATES).map(([key, label]) => h("span", {}, h("i", { class: `key is-${key}`, "aria-hidden": "true" }), label));
    legend.push(h("span", {}, h("i", { class: "key is-dirty", "aria-hidden": "true" }), "not yet durable"));
    const head = h("div", { class: "chart-head" }, h("h3", {}, "Allocation map"), h("div", { class: "legend" }, legend));
    this.element = h("article", { class: "panel map" }, head, this.canvas, this.said);
    this.resizer = new ResizeObserver(() => this.resized());
    this.resizer.observe(this.canvas);
    this.timer = setInterval(() => this.refresh(), REFRESH_MS);
    this.listen();
  }

  close() {
    this.closed = true;
    clearInterval(this.timer);
    this.resizer.disconnect();
  }

  columns() {
    return Math.max(8, Math.min(250, Math.floor(this.canvas.clientWidth / CELL)));
  }

  resized() {
    if (this.columns() !== this.asked) this.refresh();
    else this.draw();
  }

  async refresh() {
    if (document.hidden || this.busy || this.closed || this.canvas.clientWidth === 0) return;
    this.busy = true;
    this.asked = this.columns();
    try {
      const map = await get("/export/map", { name: this.name, cells: this.asked * ROWS });
      this.across = this.asked;
      this.map = map;
    } catch (error) {
      // The stream says when the service is lost; a map that only cannot be had now is the old one.
      if (!this.map) say(this.said, error.message);
    } finally {
      this.busy = false;
    }
    if (!this.closed) this.draw();
  }

  draw() {
    if (!this.map || this.canvas.clientWidth === 0) return;
    const ratio = window.devicePixelRatio || 1;
    const { clientWidth: width, clientHeight: height } = this.canvas;
    this.canvas.width = Math.round(width * ratio);
    this.canvas.height = Math.round(height * ratio);
    const pen = this.canvas.getContext("2d");
    pen.scale(ratio, ratio);
    this.cellWidth = width / this.across;
    this.cellHeight = height / ROWS;
    const colours = Object.fromEntries(Object.entries(STATES).map(([letter, [key]]) => [letter, colour(key)]));
    const [empty, ink] = [colour("empty"), colour("ink")];
    for (let index = 0; index < this.map.states.length; index += 1) {
      const [x, y] = [(index % this.across) * this.cellWidth, Math.floor(index / this.across) * this.cellHeight];
      const [w, high] = [this.cellWidth - 1.5, this.cellHeight - 1.5];
      pen.globalAlpha = 1;
      pen.fillStyle = empty;
      pen.fillRect(x, y, w, high);
      const letter = this.map.states[index];
      if (letter !== ".") {
        pen.fillStyle = colours[letter];
        pen.globalAlpha = 0.25 + 0.0075 * this.map.filled[index];
        if (letter === "V") pen.fillRect(x, y + high / 2, w, high / 2);
        else pen.fillRect(x, y, w, high);
      }
      if (this.map.dirty[index] > 0) {
        pen.globalAlpha = 1;
        pen.fillStyle = ink;
        pen.fillRect(x + w / 2 - 1.25, y + high / 2 - 1.25, 2.5, 2.5);
      }
    }
    pen.globalAlpha = 1;
    if (this.cell !== undefined && this.cell < this.map.states.length) this.mark(pen, ink);
    this.describe();
  }

  mark(pen, ink) {
    pen.strokeStyle = ink;
    pen.lineWidth = 2;
    const [x, y] = [(this.cell % this.across) * this.cellWidth, Math.floor(this.cell / this.across) * this.cellHeight];
    pen.strokeRect(x, y, this.cellWidth - 1.5, this.cellHeight - 1.5);
  }

  describe() {
    const { states, filled, dirty, cell_bytes: size, offset, length } = this.map;
    const kept = [...states].filter((letter) => letter !== ".").length;
    this.canvas.setAttribute("aria-label", `Allocation map: something is kept in ${kept} of ${states.length} cells. Arrow keys move over them.`);
    if (this.cell === undefined || this.cell >= states.length) {
      say(this.said, `${states.length} cells of ${text(bytes(size))}; point at one, or use the arrow keys.`);
      return;
    }
    const start = offset + this.cell * size;
    const end = Math.min(start + size, offset + length);
    const [, label] = STATES[states[this.cell]];
    const parts = [label];
    if (states[this.cell] !== ".") parts.push(`${filled[this.cell]} % full`);
    if (dirty[this.cell] > 0) parts.push(`${dirty[this.cell]} % not yet durable`);
    say(this.said, `${text(bytes(start))} to ${text(bytes(end))}: ${parts.join(", ")}`);
  }

  listen() {
    const point = (cell) => {
      this.cell = cell;
      this.draw();
    };
    this.canvas.addEventListener("pointermove", (event) => {
      if (!this.map) return;
      const column = Math.min(this.across - 1, Math.max(0, Math.floor(event.offsetX / this.cellWidth)));
      point(Math.max(0, Math.floor(event.offsetY / this.cellHeight)) * this.across + column);
    });
    this.canvas.addEventListener("pointerleave", () => point(undefined));
    this.canvas.addEventListener("blur", () => point(undefined));
    this.canvas.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -this.across, ArrowDown: this.across }[event.key];
      if (step === undefined || !this.map) return;
      event.preventDefault();
      point(Math.max(0, Math.min(this.map.states.length - 1, (this.cell ?? -step) + step)));
    });
  }
}
