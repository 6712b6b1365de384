// The status page: follows the samples and shows each where it belongs.

import { ALL, exportList } from "./exports.js";
import { Chart, Past, redrawAll } from "./chart.js";
import { Detail, row } from "./detail.js";
import { askToken, complain, disconnectClient, newExport, removeExport } from "./dialogs.js";
import { bar } from "./bar.js";
import { bytes, clock, count, duration, latency, rate, text } from "./format.js";
import { figure, h, say } from "./dom.js";
import { follow, get, post, remove, setToken } from "./server.js";
import { themes } from "./theme.js";

const part = (id) => document.getElementById(id);
const body = document.body;

/** What is selected: an export's name, or ALL. It stands in the address, so that it survives a reload. */
let selected = fromAddress();
let detail;
let latest;

function fromAddress() {
  const found = new URLSearchParams(location.hash.slice(1)).get("export");
  return found === null ? ALL : found;
}

function select(name) {
  selected = name;
  const address = name === ALL ? "#" : `#${new URLSearchParams({ export: name })}`;
  if (location.hash !== address) history.replaceState(null, "", address);
  show();
}

// --- the tiles --------------------------------------------------------------------------------------------------------

const total = new Past();
const none = () => "";

function tile(id, figures) {
  part(id).append(...figures.map((one) => one.element));
  return figures;
}

const [readRate, writeRate] = tile("tile-throughput", [figure("read", "read"), figure("write", "write")]);
const [iops, inFlight, errors] = tile("tile-requests", [figure("per second"), figure("in flight"), figure("errors/s")]);
const [p99, p50] = tile("tile-latency", [figure("p99", "p99"), figure("p50", "p50")]);
const [ram, beside] = tile("tile-memory", [figure("RAM for pages"), figure("elsewhere")]);
const [cpu, resident] = tile("tile-process", [figure("processor"), figure("memory")]);
const memoryBar = bar({ tall: true, only: ["resident", "compressed", "overhead"] });
const memoryText = h("p", { class: "small" });
part("bar-memory").append(memoryBar.element, memoryText);

const spark = (id, series, extra = {}) => {
  const chart = new Chart({ title: "", series, format: none, spark: true, ...extra });
  part(id).append(chart.element);
  return chart;
};
const sparks = [
  spark("spark-throughput", [{ column: "read_bytes", key: "read", fill: true }, { column: "write_bytes", key: "write" }], { base: 1024, least: 4096 }),
  spark("spark-requests", [{ column: "ops", key: "accent", fill: true }], { least: 10 }),
  spark("spark-latency", [{ column: "p50_us", key: "p50" }, { column: "p99_us", key: "p99" }], { log: true }),
];

function tiles(sample) {
  const { total: rates, memory, process, service } = sample;
  readRate.set(rate(rates.read_bytes));
  writeRate.set(rate(rates.write_bytes));
  const operations = rates.read_ops + rates.write_ops + rates.other_ops;
  iops.set(count(operations));
  inFlight.set(count(rates.in_flight));
  errors.set(count(rates.error_ops));
  p99.set(latency(rates.p99_us));
  p50.set(latency(rates.p50_us));
  const used = memory.resident + memory.compressed + memory.overhead;
  ram.set(bytes(used));
  beside.set(bytes(memory.file + memory.remote));
  const limit = service.ram_limit;
  memoryBar.update(memory, limit ?? used);
  say(memoryText, limit === undefined ? "no limit" : `${Math.round((100 * used) / Math.max(1, limit))} % of ${text(bytes(limit))} used`);
  cpu.set([sample.cpu_percent.toFixed(0), "%"]);
  resident.set(bytes(process.resident_bytes));
  const clients = sample.clients_total === 1 ? "1 client" : `${sample.clients_total} clients`;
  say(part("tile-process-more"), `${clients}, ${process.open_files} of ${process.open_files_max} files, ${process.threads} threads`);
  total.add({ ...row(sample, rates, memory), ops: operations });
  sparks.forEach((chart) => chart.show(total, sample.time_ms));
}

async function loadTotal() {
  const past = await get("/history").catch(() => undefined);
  if (!past) return;
  const since = total.rows;
  total.load(past);
  total.rows.forEach((one) => (one.ops = one.read_ops + one.write_ops + one.other_ops));
  since.forEach((one) => total.add(one));
}

// --- the rest ---------------------------------------------------------------------------------------------------------

const list = exportList(part("exports"), select);

const act = {
  check: async (name) => {
    await post("/export/check", { name }, null).catch((error) => complain("No check", error.message));
  },
  remove: async (name) => {
    if (await removeExport(name, (force) => remove("/export", { name, force }))) select(ALL);
  },
  disconnect: (client) => disconnectClient(client, () => remove("/client", { id: client.id })),
};

function show() {
  const wanted = selected === ALL ? undefined : selected;
  if (!detail || detail.wanted !== wanted || detail.nothing) {
    detail?.close();
    detail = new Detail(wanted, act);
    part("detail").replaceChildren(...detail.parts);
  }
  if (!latest) return;
  list.update(latest, selected);
  if (latest.exports.length === 0) nothing();
  else if (!detail.update(latest)) gone(wanted);
}

function empty(title, text, more) {
  detail.nothing = true;
  part("detail").replaceChildren(h("article", { class: "panel empty large" }, h("strong", {}, title), text, more));
}

function nothing() {
  empty("No exports yet", "An export is what a guest keeps its pages in. Make one here or in a terminal:", h("div", {}, h("code", {}, "netpager-host export create guest-1 4GiB")));
}

function gone(name) {
  empty("This export is gone", `There is no export “${name}” any more.`, h("div", {}, h("br"), h("button", { type: "button", onclick: () => select(ALL) }, "Show all exports")));
}

function listeners(service) {
  const told = service.listeners.map(({ uri, protection }) => `${uri}\n${protection}`).join("\n");
  if (part("listeners").dataset.told === told) return;
  part("listeners").dataset.told = told;
  part("listeners").replaceChildren(...service.listeners.map(({ uri, protection }) => h("span", {}, h("code", {}, uri), ` ${protection}`)));
}

function state(link, words) {
  body.dataset.link = link;
  say(part("link-text"), words);
  part("lost").hidden = link !== "lost";
}

function sampled(sample) {
  latest = sample;
  const { service } = sample;
  state(service.not_ready ? "unready" : "live", service.not_ready ? "not ready" : "live");
  part("link").title = service.not_ready ?? "";
  say(part("about"), `version ${service.version}, up ${duration(Math.max(0, sample.time_ms - service.started_ms) / 1000)}`);
  say(part("exports-count"), String(sample.exports_total));
  listeners(service);
  tiles(sample);
  show();
}

function lost(seconds) {
  const since = latest ? ` What you see is from ${clock(latest.time_ms)}.` : "";
  state("lost", "no connection");
  say(part("lost"), `The service does not answer.${since} Trying again in ${seconds} s.`);
}

async function unauthorized() {
  state("connecting", "token needed");
  await askToken(async (token) => {
    setToken(token);
    await get("/status");
  });
  loadTotal();
}

themes(part("theme"), () => {
  redrawAll();
  detail?.map?.draw();
});
part("new-export").addEventListener("click", async () => {
  let made;
  if (await newExport(async (wanted) => (made = await post("/exports", {}, wanted)))) select(made.name);
});
addEventListener("hashchange", () => select(fromAddress()));
loadTotal();
follow({ sample: sampled, lost, unauthorized });
