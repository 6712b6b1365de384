// Dialogs: making and removing exports, disconnecting clients, asking for the token.

import { h, say } from "./dom.js";
import { name, parseSize } from "./format.js";
import { Refused } from "./server.js";

const place = () => document.getElementById("dialogs");

/**
 * Shows a dialog until it is closed. `submit()` does what it is for and may throw an Error for the person to read. Returns
 * whether it was done.
 */
function ask({ title, text, fields = [], button, danger = false, cancel = true, submit }) {
  const wrong = h("p", { class: "wrong", role: "alert" });
  const action = h("button", { type: "submit", class: `main${danger ? " danger" : ""}` }, button);
  const away = cancel && h("button", { type: "button", onclick: () => dialog.close() }, "Cancel");
  const form = h("form", { method: "dialog" }, h("h2", { id: "dialog-title" }, title), text && h("p", {}, text), fields, wrong, h("div", { class: "buttons" }, away, action));
  const dialog = h("dialog", { "aria-labelledby": "dialog-title" }, form);
  place().append(dialog);
  return new Promise((resolve) => {
    let done = false;
    form.addEventListener("submit", async (event) => {
      event.preventDefault();
      action.disabled = true;
      say(wrong, "");
      try {
        await submit();
        done = true;
        dialog.close();
      } catch (error) {
        say(wrong, error instanceof TypeError ? "The service does not answer." : error.message);
      } finally {
        action.disabled = false;
      }
    });
    if (!cancel) dialog.addEventListener("cancel", (event) => event.preventDefault());
    dialog.addEventListener("close", () => {
      dialog.remove();
      resolve(done);
    });
    dialog.showModal();
  });
}

function size(text, what) {
  const found = parseSize(text);
  if (found === undefined) throw new Error(`${what}: expected a size such as 256M or 4GiB`);
  return found;
}

/** Asks for a new export; `make(wanted)` makes it. */
export function newExport(make) {
  const input = (id, placeholder, required = false) => h("input", { id, placeholder, required, autocomplete: "off", spellcheck: "false" });
  const [title, length, quota, store] = [input("new-name", "np1/lab/guest-7"), input("new-size", "4GiB", true), input("new-quota", "no limit"), input("new-store", "as the service prefers")];
  const readOnly = h("input", { type: "checkbox", id: "new-read-only" });
  const fields = [
    h("label", {}, "Name", title),
    h("div", { class: "pair" }, h("label", {}, "Size", length), h("label", {}, "Quota", quota)),
    h("label", {}, h("span", {}, "Store ", h("small", {}, "ram, compressed, file:PATH, …")), store),
    h("label", { class: "check" }, readOnly, "Read only"),
  ];
  const submit = () => {
    const wanted = { name: title.value, size: size(length.value, "Size"), read_only: readOnly.checked, lifetime: { until: "keep" } };
    if (quota.value.trim()) wanted.quota = size(quota.value, "Quota");
    if (store.value.trim()) wanted.store = store.value.trim();
    return make(wanted);
  };
  return ask({ title: "New export", fields, button: "Create", submit });
}

/** Asks whether to remove an export; the second time, whether in spite of its clients. */
export async function removeExport(given, remove) {
  let conflict;
  const title = `Remove ${name(given)}?`;
  const first = async () => {
    try {
      await remove(false);
    } catch (error) {
      if (!(error instanceof Refused && error.status === 409)) throw error;
      conflict = error.message;
    }
  };
  const text = "Everything in it is lost. This cannot be undone.";
  if (!(await ask({ title, text, button: "Remove", danger: true, submit: first }))) return false;
  if (conflict === undefined) return true;
  return ask({ title, text: `${conflict}.`, button: "Disconnect and remove", danger: true, submit: () => remove(true) });
}

/** Asks whether to disconnect a client. */
export function disconnectClient(client, disconnect) {
  const text = `It uses ${name(client.export)}, and may come back at once.`;
  return ask({ title: `Disconnect ${client.identity ?? client.peer}?`, text, button: "Disconnect", danger: true, submit: disconnect });
}

/** Says that something did not work. */
export function complain(title, text) {
  return ask({ title, text, button: "Close", cancel: false, submit: () => undefined });
}

/** Asks for the token until there is one. */
export function askToken(use) {
  const input = h("input", { type: "password", id: "token", required: true, autocomplete: "off" });
  const text = "This service wants to know who operates it. The token is in the file named by its admin configuration.";
  return ask({ title: "Token", text, fields: [h("label", {}, "Token", input)], button: "Continue", cancel: false, submit: () => use(input.value.trim()) });
}
