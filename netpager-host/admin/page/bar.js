// A bar of parts: where bytes are, of how many there may be.

import { bytes, text } from "./format.js";
import { h, say } from "./dom.js";

const PARTS = [
  ["resident", "in RAM", (memory) => memory.resident],
  ["compressed", "compressed", (memory) => memory.compressed],
  ["file", "in files", (memory) => memory.file],
  ["remote", "on the network", (memory) => memory.remote],
  ["overhead", "tables", (memory) => memory.overhead],
];

/**
 * A bar. With `legend`, what the colours mean and how much it is stands below; those parts that are never used are left out.
 * `update(memory, whole, rest)`: `whole` is the length of the bar in bytes, `rest` what its empty end is called.
 */
export function bar({ legend = false, tall = false, only = PARTS.map(([part]) => part) } = {}) {
  const parts = PARTS.filter(([part]) => only.includes(part)).map(([part, label, find]) => ({
    label,
    find,
    piece: h("span", { class: `is-${part}` }),
    number: h("b"),
    line: h("span", { hidden: true }, h("i", { class: `key is-${part}`, "aria-hidden": "true" }), `${label} `),
  }));
  for (const part of parts) part.line.append(part.number);
  const restNumber = h("b");
  const restLabel = document.createTextNode("");
  const rest = h("span", {}, h("i", { class: "key is-empty", "aria-hidden": "true" }), restLabel, restNumber);
  const strip = h("div", { class: `filled${tall ? " tall" : ""}`, role: "img" }, parts.map((part) => part.piece));
  const element = legend ? h("div", {}, strip, h("div", { class: "legend" }, parts.map((part) => part.line), rest)) : strip;

  function update(memory, whole, restName) {
    let used = 0;
    const told = [];
    for (const part of parts) {
      const amount = part.find(memory);
      used += amount;
      part.piece.style.width = `${whole > 0 ? Math.min(100, (amount / whole) * 100) : 0}%`;
      if (amount > 0) {
        part.line.hidden = false;
        told.push(`${text(bytes(amount))} ${part.label}`);
      }
      say(part.number, text(bytes(amount)));
    }
    rest.hidden = !restName;
    if (restName) {
      restLabel.data = `${restName} `;
      say(restNumber, text(bytes(Math.max(0, whole - used))));
    }
    strip.setAttribute("aria-label", `${told.join(", ") || "nothing kept"}, of ${text(bytes(whole))}`);
  }

  return { element, update };
}
