// Tables of clients and of the stores an export depends on.

import { bytes, count, duration, latency, name, rate, text } from "./format.js";
import { h, icon, keyed, say } from "./dom.js";

function cell(numeric) {
  return h("td", numeric ? { class: "number" } : {});
}

function table(kind, title, headings, label) {
  const body = h("tbody");
  const cells = headings.map(([heading, width, numeric]) => {
    const element = h("th", { scope: "col", class: numeric && "number" }, heading);
    element.style.width = width;
    return element;
  });
  const scroll = h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": label }, h("table", {}, h("thead", {}, h("tr", {}, cells)), body));
  const more = h("p", { class: "empty" });
  const counted = h("span", { class: "count" });
  const head = h("div", { class: "chart-head" }, h("h3", {}, title, counted));
  return { element: h("article", { class: `panel ${kind}` }, head, scroll, more), body, more, counted, scroll };
}

function clientRow(disconnect) {
  const cells = [cell(), cell(), cell(), cell(true), cell(true), cell(true), cell(true), cell(true)];
  const [who, how, since, throughput, operations, p50, p99, flight] = cells;
  let current;
  const button = h("button", { class: "tiny danger", type: "button", onclick: () => disconnect(current) }, "Disconnect");
  const end = h("td", { class: "number" }, button);
  const identity = h("div");
  const peer = h("div", { class: "sub" });
  who.append(identity, peer);
  function update({ client, now }) {
    current = client;
    const { rates } = client;
    say(identity, client.identity ?? client.peer);
    say(peer, client.identity ? client.peer : "");
    peer.hidden = !client.identity;
    who.title = `client ${client.id}, export ${name(client.export)}`;
    say(how, `${client.transport}, ${client.protocol}`);
    how.title = how.textContent;
    say(since, duration(Math.max(0, now - client.since_ms) / 1000));
    say(throughput, text(rate(rates.read_bytes + rates.write_bytes)));
    say(operations, text(count(rates.read_ops + rates.write_ops + rates.other_ops)));
    say(p50, text(latency(rates.p50_us)));
    say(p99, text(latency(rates.p99_us)));
    say(flight, String(rates.in_flight));
    button.setAttribute("aria-label", `Disconnect ${client.identity ?? client.peer}`);
  }
  return { element: h("tr", {}, cells, end), update };
}

/** The table of clients. `disconnect(client)` is called when somebody wants that. */
export function clientTable(disconnect) {
  const headings = [["Client", "20%"], ["How", "17%"], ["For", "10%"], ["Throughput", "12%", true], ["IOPS", "8%", true], ["p50", "8%", true], ["p99", "8%", true], ["Open", "6%", true], ["", "11%"]];
  const { element, body, more, counted, scroll } = table("clients", "Clients ", headings, "Clients");
  function update(clients, all, now) {
    keyed(body, clients.map((client) => ({ client, now })), ({ client }) => client.id, () => clientRow(disconnect));
    say(counted, String(all));
    scroll.hidden = clients.length === 0;
    more.hidden = clients.length > 0 && all <= clients.length;
    say(more, clients.length === 0 ? "Nobody is connected." : `The busiest ${clients.length} of ${all}.`);
  }
  return { element, update };
}

/** A form for each state, not only a colour. */
const HEALTH = {
  healthy: "M8 1a7 7 0 1 1 0 14A7 7 0 0 1 8 1Zm3.3 4.2L7.2 9.4 5 7.3 3.9 8.4l3.3 3.2 5.2-5.3Z",
  resyncing: "M8 2a6 6 0 0 1 5.6 3.9l1.6-.6V10h-4.7l1.8-1.9A4.4 4.4 0 0 0 3.7 7L2.2 6.5A6 6 0 0 1 8 2Zm-7.2 4h4.7L3.7 7.9a4.4 4.4 0 0 0 8.6 1.1l1.5.5A6 6 0 0 1 2.4 10.1l-1.6.6Z",
  stale: "M8 1a7 7 0 1 1 0 14A7 7 0 0 1 8 1Zm-.8 3v4.6l3.4 2 .8-1.3-2.6-1.5V4Z",
  unreachable: "M8 1 15.5 14.5H.5ZM7.2 6v4.5h1.6V6ZM7.2 11.5V13h1.6v-1.5Z",
};

function memberRow() {
  const [store, health, progress, delay] = [cell(), cell(), cell(), cell(true)];
  const word = document.createTextNode("");
  const mark = h("span", { class: "health" });
  const trouble = h("div", { class: "sub" });
  health.append(mark, trouble);
  const done = h("span");
  const told = h("span", { class: "sub" });
  const strip = h("div", { class: "bar-text" }, h("div", { class: "filled", role: "progressbar", "aria-valuemin": "0", "aria-valuemax": "100", "aria-label": "Resynchronised" }, done), told);
  progress.append(strip);
  let shown;
  function update({ member, of }) {
    say(store, member.name);
    store.title = of === undefined ? member.name : `${member.name}, for ${name(of)}`;
    if (shown !== member.health) {
      shown = member.health;
      mark.className = `health ${member.health}`;
      mark.replaceChildren(icon(HEALTH[member.health] ?? HEALTH.stale), word);
    }
    word.data = member.health;
    const said = member.health === "healthy" ? "" : (member.trouble ?? "");
    say(trouble, said);
    trouble.hidden = said === "";
    health.title = said;
    const started = member.behind_at_start_bytes;
    const percent = started > 0 ? Math.min(100, (100 * (started - member.behind_bytes)) / started) : 100;
    done.style.width = `${percent}%`;
    strip.firstChild.setAttribute("aria-valuenow", percent.toFixed(0));
    strip.firstChild.style.visibility = started > 0 && member.health === "resyncing" ? "visible" : "hidden";
    say(told, member.behind_bytes > 0 ? `${percent.toFixed(0)} %, ${text(bytes(member.behind_bytes))} behind` : "");
    say(delay, text(latency(member.latency_us)));
  }
  return { element: h("tr", {}, store, health, progress, delay), update };
}

/** The table of the stores an export depends on. */
export function memberTable() {
  const { element, body, more } = table("stores", "Depends on ", [["Store", "30%"], ["Health", "26%"], ["Resynchronised", "32%"], ["Latency", "12%", true]], "Stores");
  more.hidden = true;
  /** `members`: [{member, of}], `of` being the export, if that isn't clear. */
  const update = (members) => keyed(body, members, ({ member, of }) => JSON.stringify([of, member.name]), memberRow);
  return { element, update };
}
