// Making and changing elements. Text goes in as text only: names come from whoever connects, and may try to be markup.

/** An element with properties and children (elements, strings, or nothing). */
export function h(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "class") element.className = value;
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat().filter((child) => child !== undefined && child !== null && child !== false));
  return element;
}

/** Changes an element's text, if it is another. */
export function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** A drawing from paths in a 16 by 16 box. */
export function icon(path) {
  const space = "http://www.w3.org/2000/svg";
  const drawing = document.createElementNS(space, "svg");
  drawing.setAttribute("viewBox", "0 0 16 16");
  drawing.setAttribute("aria-hidden", "true");
  const line = document.createElementNS(space, "path");
  line.setAttribute("d", path);
  line.setAttribute("fill", "currentColor");
  line.setAttribute("fill-rule", "evenodd");
  drawing.append(line);
  return drawing;
}

/**
 * Makes the children of `parent` those of `items`, in order: one that was there before stays the same element, so that focus,
 * selection and scrolling do. `make(item)` makes {element, update}.
 */
export function keyed(parent, items, key, make) {
  const before = parent.keyedParts ?? new Map();
  const now = new Map();
  let place = parent.firstElementChild;
  for (const item of items) {
    const name = key(item);
    const part = before.get(name) ?? make(item);
    before.delete(name);
    now.set(name, part);
    part.update(item);
    if (part.element === place) place = place.nextElementSibling;
    else parent.insertBefore(part.element, place);
  }
  for (const part of before.values()) part.element.remove();
  parent.keyedParts = now;
}

/** The value of a colour of the style sheet. */
export function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}

/** A figure: a large number with its unit, and what it is below. */
export function figure(label, key) {
  const number = document.createTextNode("–");
  const unit = h("small");
  const element = h("span", { class: "figure" }, h("b", {}, number, unit), h("span", {}, key && h("i", { class: `key line is-${key}`, "aria-hidden": "true" }), label));
  const set = ([value, name]) => {
    if (number.data !== value) number.data = value;
    say(unit, name);
  };
  return { element, set };
}
