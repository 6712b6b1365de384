// The list of exports. The first row is all of them together.

import { bar } from "./bar.js";
import { bytes, latency, name, rate, text } from "./format.js";
import { h, keyed, say } from "./dom.js";

/** The selection that means all exports. */
export const ALL = Symbol("all exports");

const unhealthy = (state) => state.members.filter((member) => member.health !== "healthy").length;

function row(select) {
  const title = h("span", { class: "name" });
  const throughput = h("span", { class: "number" });
  const p99 = h("span", { class: "number" });
  const sub = h("span", { class: "sub" });
  const size = h("span", { class: "number" });
  const clients = h("span", { class: "number" });
  const strip = bar();
  const button = h("button", { class: "row", type: "button", onclick: () => select() }, title, throughput, p99, sub, size, clients, strip.element);
  return { element: h("li", {}, button), button, title, throughput, p99, sub, size, clients, strip };
}

function exportRow(select) {
  let current;
  const parts = row(() => select(current));
  function update({ item, selected }) {
    current = item.name;
    const { rates } = item;
    say(parts.title, name(item.name));
    parts.title.classList.toggle("unnamed", item.name === "");
    parts.button.title = item.name;
    say(parts.throughput, text(rate(rates.read_bytes + rates.write_bytes)));
    say(parts.p99, text(latency(rates.p99_us)));
    const trouble = unhealthy(item);
    say(parts.sub, trouble > 0 ? `${trouble} ${trouble === 1 ? "store" : "stores"} unhealthy` : item.store);
    parts.sub.classList.toggle("alarm", trouble > 0);
    say(parts.size, text(bytes(item.size)));
    say(parts.clients, item.connections === 1 ? "1 client" : `${item.connections} clients`);
    parts.strip.update(item.memory, item.quota ?? item.size);
    parts.button.setAttribute("aria-current", String(selected === item.name));
  }
  return { element: parts.element, update };
}

function allRow(select) {
  const parts = row(() => select(ALL));
  say(parts.title, "All exports");
  function update({ sample, selected }) {
    const { total, memory } = sample;
    say(parts.throughput, text(rate(total.read_bytes + total.write_bytes)));
    say(parts.p99, text(latency(total.p99_us)));
    say(parts.sub, "all together");
    say(parts.size, "");
    say(parts.clients, sample.clients_total === 1 ? "1 client" : `${sample.clients_total} clients`);
    const ram = memory.resident + memory.compressed + memory.overhead;
    parts.strip.update(memory, Math.max(sample.service.ram_limit ?? 0, ram + memory.file + memory.remote));
    parts.button.setAttribute("aria-current", String(selected === ALL));
  }
  return { element: parts.element, update };
}

/** The list in `parent`; `select(name)` is called with a name or `ALL`. */
export function exportList(parent, select) {
  const rows = h("ul", { class: "rows" });
  const none = h("p", { class: "empty", hidden: true });
  parent.append(rows, none);

  function update(sample, selected) {
    const items = sample.exports.map((item) => ({ item, selected }));
    const list = items.length > 0 ? [{ sample, selected }, ...items] : [];
    // Numbers cannot be names, so the first row has a key of its own.
    keyed(rows, list, (entry) => (entry.item ? entry.item.name : 0), (entry) => (entry.item ? exportRow(select) : allRow(select)));
    const hidden = sample.exports_total - sample.exports.length;
    none.hidden = items.length > 0 && hidden === 0;
    say(none, items.length === 0 ? "No exports yet." : `… and ${hidden} more; the API and /metrics have all of them.`);
  }

  return { update };
}
