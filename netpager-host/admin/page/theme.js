// Light, dark, or as the system has it. The choice is kept where the browser lets us.

import { say } from "./dom.js";

const CHOICES = ["auto", "light", "dark"];
const dark = matchMedia("(prefers-color-scheme: dark)");
let choice = "auto";

function stored() {
  try {
    return localStorage.getItem("theme");
  } catch {
    return null;
  }
}

function apply(button, changed) {
  const theme = choice === "auto" ? (dark.matches ? "dark" : "light") : choice;
  document.documentElement.dataset.theme = theme;
  say(button, choice === "auto" ? "Auto" : choice === "dark" ? "Dark" : "Light");
  button.setAttribute("aria-label", `Colours: ${choice}. Change`);
  changed();
}

/** Makes `button` change the theme; `changed` is called when colours are others. */
export function themes(button, changed) {
  choice = CHOICES.includes(stored()) ? stored() : "auto";
  button.addEventListener("click", () => {
    choice = CHOICES[(CHOICES.indexOf(choice) + 1) % CHOICES.length];
    try {
      localStorage.setItem("theme", choice);
    } catch {
      // Then it is chosen for this page only.
    }
    apply(button, changed);
  });
  dark.addEventListener("change", () => apply(button, changed));
  apply(button, changed);
}
