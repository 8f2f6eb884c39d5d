// The cards of a search: image or text, score, weak mark, what can be done with it.

import { button, foreign, make, number, plain } from "./dom.js";

export const title = (hit) => hit.title || hit.id;
const isText = (hit) => !hit.thumb && Boolean(hit.text);

/** A bar from 0 to 1 with its number; the bar itself says nothing that the number does not. */
export function bar(part, text) {
  const fill = make("span", { class: "fill" });
  fill.style.setProperty("--part", `${(Math.max(0, Math.min(1, part)) * 100).toFixed(1)}%`);
  return make("span", { class: "measure" }, make("span", { class: "track", "aria-hidden": "true" }, fill), make("span", { class: "number" }, text));
}

/**
 * Bars for these hits. Cosines of words to images and of words to texts have ranges of their own, and a
 * score of both has no end: so the bar shows the cosine, against the best one of the same side, and of what
 * words have matched their own score.
 */
export function bars(hits) {
  const best = {};
  const own = (hit) => (hit.matched === "words" ? hit.words_score : hit.cosine);
  for (const hit of hits) best[hit.matched] = Math.max(best[hit.matched] ?? 0, own(hit));
  return (hit) => bar(best[hit.matched] > 0 ? own(hit) / best[hit.matched] : 0, number(own(hit), 3));
}

const sized = (url, size) => url.replace(/size=\d+$/, `size=${size}`); // the server makes 160, 320 and 640

export function thumb(hit, size) {
  if (!hit.thumb) return null;
  const image = make("img", { src: sized(hit.thumb, size), alt: "", loading: "lazy", decoding: "async" });
  image.addEventListener("error", () => image.replaceWith(make("span", { class: "no-image" }, "no preview")));
  return image;
}

/** What a hit looks like: its image, else its text, else its id. */
export function face(hit, size) {
  return thumb(hit, size) ?? make("span", { class: "as-text", dir: "auto" }, plain(hit.text || title(hit)));
}

/** What a hit is called under its face: a text is there already, so its id. */
export const caption = (hit) => foreign(isText(hit) && title(hit) === hit.text ? hit.id : title(hit));

/** A card. `measure(hit)` draws its bar; `on`: {open(hit), like(hit)}. */
export function card(hit, rank, measure, on) {
  const name = plain(title(hit));
  const open = button(
    [make("span", { class: "face" }, face(hit, 320)), hit.weak ? make("span", { class: "mark" }, "weak match") : null, make("span", { class: "name" }, caption(hit))].filter(Boolean),
    () => on.open(hit), { class: "open", "aria-haspopup": "dialog", "aria-label": `${rank}. ${name}${hit.weak ? ", weak match" : ""}: details` });
  return make("li", { class: hit.weak ? "hit weak" : "hit", "data-id": hit.id },
    open,
    make("div", { class: "under" }, measure(hit)),
    make("div", { class: "do" },
      button("More like this", () => on.like(hit), { class: "quiet", "aria-label": `More like this: ${name}` }),
      make("span", { class: "dim" }, plain(hit.matched))));
}

export const skeletons = (many) =>
  Array.from({ length: many }, () => make("li", { class: "hit skeleton", "aria-hidden": "true" }, make("span", { class: "face" }), make("span", { class: "line" }), make("span", { class: "line short" })));
