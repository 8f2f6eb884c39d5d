// What is asked for, as a plain value, and how it is written into the page's address.
//
// {view, side, collection, terms, target, only, words, filter, group, shown, right: {side, collection}, map}
// A term is {kind: "text", text}, {kind: "point", id, title} or {kind: "image", image}, each with a weight.
// Images are not in the address: the history entry keeps their keys, and they live as long as the page does.

import { kept } from "./images.js";

export const PAGE = 24; // hits that are asked for at once
const MOST = 96; // hits that an address can ask for
export const WEIGHT = 2; // greatest weight, either way
const VIEWS = ["search", "compare", "classify", "map"];
const TARGETS = ["any", "image", "text"];
const OPERATOR = /^((?:"[^"]+"|[^=!<>~"])+)(!=|<=|>=|[=<>~])(.*)$/s;

/** Where the browser is: whose days the filters mean. */
export const ZONE = Intl.DateTimeFormat().resolvedOptions().timeZone ?? "";

export function blank() {
  return { view: "search", side: "a", collection: "", terms: [], target: "any", only: false, words: false, filter: [], group: "", shown: PAGE, right: null, map: 0 };
}

/** The terms that count: a blank text, or a weight of 0, is left out. */
export const counted = (terms) => terms.filter((term) => term.weight !== 0 && (term.kind !== "text" || term.text.trim()));

export const forServer = (term) => ({
  weight: term.weight,
  ...(term.kind === "text" ? { text: term.text.trim() } : term.kind === "point" ? { point_id: term.id } : { image: term.image.base64 }),
});

/** Whether words are looked up too: if that is wanted, there are any, and the collection keeps them. */
export const hybrid = (query, collection) =>
  query.words && Boolean(collection?.bm25_field) && counted(query.terms).some((term) => term.kind === "text" && term.weight > 0);

export function label(term) {
  if (term.kind === "text") return term.text.trim() || "words";
  return term.kind === "point" ? `more like ${term.title ?? term.id}` : `image ${term.image.name}`;
}

/** The whole query in a line: a minus stands before what pushes away. */
export const spoken = (terms) =>
  terms.map((term, at) => `${term.weight < 0 ? (at ? " − " : "− ") : at ? " + " : ""}${label(term)}`).join("");

export function address(query) {
  const parts = new URLSearchParams();
  if (query.view !== "search") parts.append("view", query.view);
  if (query.side !== "a") parts.append("side", query.side);
  if (query.collection) parts.append("collection", query.collection);
  for (const term of query.terms) {
    if (term.kind === "text" && term.text.trim()) parts.append("q", term.text.trim());
    else if (term.kind === "point") parts.append("like", term.id);
    else continue;
    if (term.weight !== 1) parts.append("w", String(term.weight)); // of the term before it
  }
  if (query.target !== "any") parts.append("target", query.target);
  if (query.words) parts.append("words", "too");
  if (query.only) parts.append("only", "matches");
  for (const { field, op, value } of query.filter) parts.append("filter", `${field}${op}${JSON.stringify(value)}`);
  if (query.group) parts.append("group", query.group);
  if (query.shown !== PAGE) parts.append("shown", String(query.shown));
  if (query.right) {
    if (query.right.side !== "a") parts.append("right-side", query.right.side);
    parts.append("right", query.right.collection);
  }
  if (query.map) parts.append("map", String(query.map));
  return parts.size ? `?${parts}` : "/";
}

/** What a history entry keeps beside the address: where the images stand among the terms. */
export const remembered = (query) => ({
  images: query.terms.flatMap((term, at) => (term.kind === "image" ? [{ at, key: term.image.key, weight: term.weight }] : [])),
});

/** Reads what `address` and `remembered` wrote; whatever makes no sense is left out. */
export function read(search, memory) {
  const parts = new URLSearchParams(search);
  const query = blank();
  query.view = VIEWS.includes(parts.get("view")) ? parts.get("view") : "search";
  query.side = parts.get("side") === "b" ? "b" : "a";
  query.collection = parts.get("collection") ?? "";
  query.target = TARGETS.includes(parts.get("target")) ? parts.get("target") : "any";
  query.words = parts.get("words") === "too";
  query.only = parts.get("only") === "matches";
  for (const [key, value] of parts) {
    if (key === "q") query.terms.push({ kind: "text", text: value, weight: 1 });
    else if (key === "like") query.terms.push({ kind: "point", id: value, weight: 1 });
    else if (key === "w" && query.terms.length) query.terms.at(-1).weight = weight(Number(value));
    else if (key === "filter") query.filter.push(...condition(value));
  }
  for (const { at, key, weight } of memory?.images ?? []) {
    const image = kept(key);
    if (image) query.terms.splice(at, 0, { kind: "image", image, weight });
    else query.lost = true;
  }
  query.group = parts.get("group") ?? "";
  const shown = Number(parts.get("shown"));
  if (shown > PAGE) query.shown = Math.min(MOST, Math.ceil(shown / PAGE) * PAGE);
  if (parts.get("right")) query.right = { side: parts.get("right-side") === "b" ? "b" : "a", collection: parts.get("right") };
  query.map = Math.max(0, Math.trunc(Number(parts.get("map"))) || 0);
  return query;
}

function weight(given) {
  return Number.isFinite(given) ? Math.max(-WEIGHT, Math.min(WEIGHT, Math.round(given * 10) / 10)) : 1;
}

function condition(text) {
  const found = OPERATOR.exec(text);
  if (!found) return [];
  try {
    return [{ field: found[1], op: found[2], value: JSON.parse(found[3]) }];
  } catch {
    return [];
  }
}
