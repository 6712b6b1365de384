// The right side of the page: what is selected, be it one export or all together.

import { AllocationMap } from "./map.js";
import { Chart, Past } from "./chart.js";
import { bar } from "./bar.js";
import { bytes, count, latency, name, rate, text } from "./format.js";
import { clientTable, memberTable } from "./clients.js";
import { h, say } from "./dom.js";
import { get } from "./server.js";

const DASHED = [5, 4];
const DOTTED = [2, 3];

const asText = (format) => (value) => (value === null || value === undefined ? "–" : text(format(value)));

function charts() {
  return [
    new Chart({
      title: "Throughput",
      base: 1024,
      least: 4096,
      format: asText(rate),
      series: [
        { column: "read_bytes", label: "read", key: "read", fill: true },
        { column: "write_bytes", label: "write", key: "write", dash: DASHED },
      ],
    }),
    new Chart({
      title: "Requests per second",
      least: 10,
      format: asText(count),
      series: [
        { column: "read_ops", label: "read", key: "read", fill: true },
        { column: "write_ops", label: "write", key: "write", dash: DASHED },
        { column: "other_ops", label: "other", key: "other", dash: DOTTED },
      ],
    }),
    new Chart({
      title: "Latency of reads and writes",
      log: true,
      format: asText(latency),
      series: [
        { column: "p50_us", label: "p50", key: "p50" },
        { column: "p99_us", label: "p99", key: "p99", dash: DASHED },
        { column: "p999_us", label: "p99.9", key: "p999", dash: DOTTED },
      ],
    }),
    new Chart({
      title: "Kept",
      base: 1024,
      stack: true,
      numbers: false,
      least: 65536,
      format: asText(bytes),
      series: [
        { column: "resident", label: "RAM", key: "resident" },
        { column: "compressed", label: "compressed", key: "compressed" },
        { column: "file", label: "files", key: "file" },
        { column: "remote", label: "network", key: "remote" },
      ],
    }),
  ];
}

/** A sample's numbers as a row of a past. */
export function row(sample, rates, memory) {
  return { time: sample.time_ms, ...rates, resident: memory.resident, compressed: memory.compressed, file: memory.file, remote: memory.remote };
}

const LIFETIMES = {
  fixed: () => "in the configuration",
  keep: () => "kept until removed",
  "last-close": () => "until its last client leaves",
  idle: (seconds) => `until idle for ${seconds} s`,
};

function chips(state) {
  const found = [state.store, text(bytes(state.size)), LIFETIMES[state.lifetime.until]?.(state.lifetime.idle_seconds)];
  if (state.quota !== undefined) found.push(`quota ${text(bytes(state.quota))}`);
  if (state.read_only) found.push("read only");
  if (state.exclusive) found.push("exclusive");
  if (state.owner) found.push(`made by ${state.owner}`);
  if (state.memory.reserved > 0) found.push(`${text(bytes(state.memory.reserved))} reserved`);
  if (state.memory.compressed > 0) found.push(`compressed ${(state.memory.compressed_original / state.memory.compressed).toFixed(1)} times`);
  return found.filter(Boolean);
}

/** What is selected, from now on: `wanted` is a name, or undefined for all. `act` has check, remove and disconnect. */
export class Detail {
  constructor(wanted, act) {
    this.wanted = wanted;
    this.past = new Past();
    this.charts = charts();
    this.clients = clientTable(act.disconnect);
    this.bar = bar({ legend: true, tall: true });
    this.title = h("h2", { class: "title" });
    this.chips = h("div", { class: "chips" });
    this.text = h("p", { class: "text" });
    this.job = h("p", { class: "text", role: "status" });
    const one = wanted !== undefined;
    const actions = one && [
      h("button", { type: "button", id: "check", onclick: () => act.check(wanted) }, "Check"),
      h("button", { type: "button", id: "remove", class: "danger", onclick: () => act.remove(wanted) }, "Remove"),
    ];
    const head = h("article", { class: "panel head" }, this.title, h("div", { class: "actions" }, actions), this.text, this.chips, h("div", { class: "wide-bar" }, this.bar.element), this.job);
    this.map = one ? new AllocationMap(wanted) : undefined;
    this.members = memberTable();
    this.parts = [head, h("div", { class: "charts" }, this.charts.map((chart) => chart.element)), this.map?.element, this.members.element, this.clients.element];
    this.parts = this.parts.filter(Boolean);
    this.members.element.hidden = true;
    this.load();
  }

  /** What was before the page was opened. */
  async load() {
    const query = this.wanted === undefined ? {} : { name: this.wanted };
    const past = await get("/history", query).catch(() => undefined);
    if (!past) return;
    const since = this.past.rows;
    this.past.load(past);
    since.forEach((row) => this.past.add(row));
    if (this.last) this.update(this.last);
  }

  close() {
    this.charts.forEach((chart) => chart.close());
    this.map?.close();
  }

  /** Shows a sample; false if what is selected is not in it. */
  update(sample) {
    this.last = sample;
    const found = this.wanted === undefined ? undefined : sample.exports.find((item) => item.name === this.wanted);
    if (this.wanted !== undefined && !found) return false;
    const { rates, memory } = found ?? { rates: sample.total, memory: sample.memory };
    this.past.add(row(sample, rates, memory));
    this.charts.forEach((chart) => chart.show(this.past, sample.time_ms));
    if (found) this.about(found, sample);
    else this.aboutAll(sample);
    return true;
  }

  about(state, sample) {
    say(this.title, name(state.name));
    this.title.title = state.name;
    say(this.text, state.description);
    this.text.hidden = state.description === "";
    const told = chips(state);
    if (this.told !== told.join("\n")) {
      this.told = told.join("\n");
      this.chips.replaceChildren(...told.map((chip) => h("span", { class: "chip", title: chip }, chip)));
    }
    this.bar.update(state.memory, state.quota ?? state.size, state.quota === undefined ? "free" : "left of the quota");
    this.members.element.hidden = state.members.length === 0;
    this.members.update(state.members.map((member) => ({ member })));
    const clients = sample.clients.filter((client) => client.export === state.name);
    this.clients.update(clients, state.connections, sample.time_ms);
    this.jobs(sample.jobs.filter((job) => job.export === state.name));
  }

  aboutAll(sample) {
    this.chips.hidden = true;
    say(this.title, "All exports");
    say(this.text, "Throughput, latency and memory of all exports together, for the last five minutes.");
    const { memory } = sample;
    const used = memory.resident + memory.compressed + memory.overhead + memory.file + memory.remote;
    const limit = sample.service.ram_limit;
    this.bar.update(memory, limit === undefined ? used : limit + memory.file + memory.remote, limit === undefined ? undefined : "RAM left");
    const all = sample.exports.flatMap((state) => state.members.map((member) => ({ member, of: state.name })));
    const members = all.filter(({ member }) => member.health !== "healthy");
    this.members.element.hidden = members.length === 0;
    this.members.update(members);
    this.clients.update(sample.clients, sample.clients_total, sample.time_ms);
    this.jobs(sample.jobs);
  }

  jobs(jobs) {
    const job = jobs.findLast((found) => found.state === "running") ?? jobs.at(-1);
    this.job.hidden = !job;
    if (!job) return;
    const percent = Math.floor((100 * job.done_bytes) / Math.max(1, job.total_bytes));
    const faults = job.fault_count === 1 ? "1 fault" : `${job.fault_count} faults`;
    const told = { running: `${percent} %, ${faults} so far`, done: "done, no fault found", faulty: `done: ${faults}. ${job.faults[0] ?? ""}`, cancelled: "cancelled" };
    say(this.job, `${job.kind === "check" ? "Check" : "Resynchronisation"} of ${name(job.export)}: ${told[job.state] ?? job.state}`);
  }
}
