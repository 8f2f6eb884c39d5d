// Filters out of a collection's payload indexes: choices for keywords, bounds for numbers and times, words for texts.

import { button, foreign, make, plain, refill } from "./dom.js";
import * as api from "./api.js";

const FREE = ["=", "!=", "<", "<=", ">", ">=", "~", "~~", "@"];
const SHOWN = 8; // choices before "more"

/** Whether a value is one that was typed: the server reads those, by the grammar of docs/filters.md. */
const typed = (value) => typeof value === "object" && !Array.isArray(value);
const written = (value) => (typed(value) ? String(value.typed) : [value].flat().join(" or "));

/** How a condition reads. */
export function sentence({ field, op, value }) {
  const said = { "~": "has", "~~": "has the phrase", "@": "within", "!=": "is not", "=": "is", "<": "<", "<=": "≤", ">": ">", ">=": "≥" }[op] ?? op;
  return `${plain(field)} ${said} ${plain(written(value))}`;
}

/** A box that folds. `show` fills it for one collection; `change(filter)` gets all conditions, old and new. */
export function filterBox(attributes) {
  const title = make("summary", {}, "Filters");
  const fields = make("div", { class: "fields" });
  return {
    root: make("details", { class: "filters", ...attributes }, title, fields),
    /** `bare` is said where the collection has no payload index. */
    show(side, collection, filter, change, bare = "This collection has no payload indexes.") {
      title.textContent = filter.length ? `Filters (${filter.length})` : "Filters";
      const inside = fields.contains(document.activeElement);
      refill(fields, collection ? panel(side, collection, filter, change, bare) : []);
      if (inside && document.activeElement === document.body) title.focus(); // a chip that is gone now
    },
  };
}

function panel(side, collection, filter, change, bare) {
  const fields = Object.entries(collection.indexes).sort(([a], [b]) => a.localeCompare(b));
  // What a control has made, and so can show and change; what was typed below stays as it is.
  const made = (field, type) => (one) => one.field === field && (type === "datetime" ? [">=", "<="].includes(one.op) : !typed(one.value));
  const set = (field, type, conditions) => change([...filter.filter((one) => !made(field, type)(one)), ...conditions]);
  const active = filter.map((one, at) => button(
    [foreign(sentence(one)), make("span", { "aria-hidden": "true" }, " ×")],
    () => change(filter.filter((_, other) => other !== at)),
    { class: "chip", "aria-label": `Remove the filter ${sentence(one)}` }));
  const groups = fields.map(([field, type]) => {
    const control = CONTROLS[type]?.({ side, collection: collection.name, field, type, own: filter.filter(made(field, type)), set: (conditions) => set(field, type, conditions) });
    return control && make("fieldset", { class: "facet" }, make("legend", {}, foreign(field), make("span", { class: "dim" }, ` ${type}`)), control);
  });
  const chips = active.length ? make("div", { class: "chips" }, active, active.length > 1 ? button("Clear all", () => change([]), { class: "quiet" }) : null) : null;
  const none = fields.length ? null : make("p", { class: "dim" }, `${bare} Any field of the payload can be filtered by its name:`);
  return [chips, none, groups, free(fields.length === 0, (made) => change([...filter, made]))].flat().filter(Boolean);
}

const CONTROLS = {
  keyword: choices,
  tenant: choices,
  bool: choices,
  integer: (about) => bounds(about, "number", Number),
  float: (about) => bounds(about, "number", Number),
  datetime: (about) => bounds(about, "date", (text) => ({ typed: text })), // the day that is named counts whole
  text: words,
};

function choices({ side, collection, field, type, own, set }) {
  const holder = make("div", { class: "choices", "aria-busy": "true" }, make("p", { class: "dim" }, "…"));
  const not = own[0]?.op === "!=";
  const chosen = new Set(own.flatMap((one) => one.value));
  const tell = (negative) => set(chosen.size ? [{ field, op: negative ? "!=" : "=", value: chosen.size > 1 ? [...chosen] : [...chosen][0] }] : []);
  const fill = (values, more) => {
    const listed = [...values, ...[...chosen].filter((value) => !values.some((one) => one.value === value)).map((value) => ({ value }))];
    const rows = listed.map(({ value, count }, at) => {
      const box = make("input", { type: "checkbox", "data-focus": `${field}=${value}` });
      box.checked = chosen.has(value);
      box.addEventListener("change", () => {
        if (box.checked) chosen.add(value);
        else chosen.delete(value);
        tell(not);
      });
      return make("label", { hidden: at >= SHOWN && !chosen.has(value) }, box, foreign(value), count === undefined ? null : make("span", { class: "dim" }, ` ${count}`));
    });
    const hidden = rows.filter((row) => row.hidden).length;
    const reveal = hidden ? button(`${hidden} more`, () => {
      for (const row of rows) row.hidden = false;
      rows[SHOWN].querySelector("input").focus();
      reveal.remove();
    }, { class: "quiet" }) : null;
    const exclude = make("input", { type: "checkbox", "data-focus": `${field}-not` });
    exclude.checked = not;
    exclude.addEventListener("change", () => tell(exclude.checked));
    holder.removeAttribute("aria-busy");
    holder.replaceChildren(...[
      ...rows,
      reveal,
      more ? make("p", { class: "dim" }, "Further values exist; name them below.") : null,
      listed.length ? null : make("p", { class: "dim" }, "no values"),
      chosen.size && type === "keyword" ? make("label", { class: "not" }, exclude, "all but these") : null,
    ].filter(Boolean));
  };
  const key = `${side} ${collection} ${field}`;
  if (remembered.has(key)) fill(...remembered.get(key));
  else {
    api.values(side, collection, field).then(({ values, more }) => {
      remembered.set(key, [values, more]);
      fill(values, more);
    }, () => fill([], false));
  }
  return holder;
}

const remembered = new Map(); // choices once fetched, until the page is loaded again or the services are asked again
export const forget = () => remembered.clear();

function bounds({ field, own, set }, kind, parse) {
  const at = (op) => own.find((one) => one.op === op)?.value;
  const input = (op, name) => {
    const made = make("input", { type: kind, step: kind === "number" ? "any" : null, "aria-label": `${plain(field)} ${name}`, placeholder: name, "data-focus": `${field}${op}` });
    const value = at(op);
    if (value !== undefined) made.value = kind === "date" ? written(value).slice(0, 10) : String(value);
    return made;
  };
  const low = input(">=", "from");
  const high = input("<=", "to");
  const tell = () => set([
    ...(low.value === "" ? [] : [{ field, op: ">=", value: parse(low.value) }]),
    ...(high.value === "" ? [] : [{ field, op: "<=", value: parse(high.value) }]),
  ]);
  low.addEventListener("change", tell);
  high.addEventListener("change", tell);
  return make("div", { class: "bounds" }, low, make("span", { "aria-hidden": "true" }, "–"), high);
}

function words({ field, own, set }) {
  const input = make("input", { type: "search", "aria-label": `${plain(field)} has the words`, placeholder: "has the words", "data-focus": `${field}~` });
  input.value = own.find((one) => one.op === "~")?.value ?? "";
  input.addEventListener("change", () => set(input.value.trim() ? [{ field, op: "~", value: input.value.trim() }] : []));
  return input;
}

function free(open, add) {
  const field = make("input", { type: "text", "aria-label": "Field", placeholder: "field", autocomplete: "off", required: true, pattern: '(?:"[^"]+"|[^=!<>~"])+' });
  const op = make("select", { "aria-label": "Operator" }, FREE.map((one) => make("option", {}, one)));
  const value = make("input", { type: "text", "aria-label": "Value", placeholder: "value", autocomplete: "off", required: true });
  const form = make("form", { class: "free" }, field, op, value, make("button", { type: "submit" }, "Add"));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    add({ field: field.value.trim(), op: op.value, value: { typed: value.value.trim() } });
  });
  return make("details", { open }, make("summary", {}, "Another field"), form, make("p", { class: "dim" }, "~ asks for words of a text, | separates alternatives. Quotes make a word of a number: \"0042\". A day is your own, and the whole of it."));
}
