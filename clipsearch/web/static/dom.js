// Elements out of plain values. Text only ever becomes text nodes and attributes: nothing is parsed as HTML.

// Letters that draw nothing and turn the order of others around (bidi), or that steer: shown as what they are.
const HIDDEN = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u061c\u200b\u200e\u200f\u202a-\u202e\u2028\u2029\u2066-\u2069\ufeff]/g;

export const plain = (text) =>
  String(text).replace(HIDDEN, (letter) => `⟨U+${letter.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}⟩`);

/** An element; attributes that start with "on" are listeners, null and false ones are left out. */
export function make(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (typeof value === "function") made.addEventListener(key.slice(2), value);
    else made.setAttribute(key, value === true ? "" : value);
  }
  made.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return made;
}

/** Foreign text, set apart so that its direction changes nothing around it. */
export const foreign = (text) => make("bdi", {}, plain(text));

export const button = (label, onclick, attributes = {}) => make("button", { type: "button", onclick, ...attributes }, label);

/** Puts new children into `parent`; what had focus, by its data-focus, has it again. */
export function refill(parent, ...children) {
  const focused = parent.contains(document.activeElement) ? document.activeElement.dataset.focus : undefined;
  parent.replaceChildren(...children.flat().filter(Boolean));
  if (focused === undefined) return;
  const again = [...parent.querySelectorAll("[data-focus]")].find((one) => one.dataset.focus === focused);
  if (again) again.focus();
}

let spoken = 0;
/** Tells people who cannot see the page what happened. */
export function say(text) {
  const said = document.getElementById("said");
  spoken += 1;
  const turn = spoken;
  said.textContent = "";
  setTimeout(() => { if (turn === spoken) said.textContent = text; }, 60); // a change is read out, the same text again is not
}

/** A number with so many digits after the point, and a minus that is one. */
export const number = (value, digits) => (Number.isFinite(value) ? value.toFixed(digits).replace("-", "−") : "–");

export const count = (many, singular, plural) => `${many.toLocaleString("en")} ${many === 1 ? singular : plural}`;
