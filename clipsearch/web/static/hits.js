// The cards of a search: picture or text, score, weak mark, what can be done with it.

import { button, foreign, make, plain } from "./dom.js";

export const title = (hit) => hit.title || hit.id;
const share = (hit, best) => (best > 0 ? Math.max(0, Math.min(1, hit.score / best)) : 0);

/** A bar from 0 to 1 with its number; the bar itself says nothing that the number does not. */
export function bar(part, text, kind = "") {
  const fill = make("span", { class: "fill" });
  fill.style.setProperty("--part", `${(part * 100).toFixed(1)}%`);
  return make("span", { class: `measure ${kind}` }, make("span", { class: "track", "aria-hidden": "true" }, fill), make("span", { class: "number" }, text));
}

export function thumb(hit, size) {
  if (!hit.thumb) return null;
  const image = make("img", { src: size ? `${hit.thumb}&size=${size}` : hit.thumb, alt: "", loading: "lazy", decoding: "async" });
  image.addEventListener("error", () => image.replaceWith(make("span", { class: "no-picture" }, "no preview")));
  return image;
}

/** What a hit looks like: its picture, else its text, else its id. */
export function face(hit, size) {
  return thumb(hit, size) ?? make("span", { class: "as-text", dir: "auto" }, plain(hit.text || title(hit)));
}

/** A card. `best`: the score of the first hit; `on.open(hit, card)`, `on.like(hit)`. */
export function card(hit, best, rank, on) {
  const name = title(hit);
  const open = button([make("span", { class: "face" }, face(hit)), make("span", { class: "name" }, foreign(name))],
    () => on.open(hit), { class: "open", "aria-haspopup": "dialog", "aria-label": `${rank}. ${plain(name)}: details` });
  return make("li", { class: hit.weak ? "hit weak" : "hit", "data-id": hit.id },
    open,
    make("div", { class: "under" },
      bar(share(hit, best), hit.score.toFixed(3)),
      hit.weak ? make("span", { class: "mark" }, "weak match") : null,
      make("span", { class: "side" }, hit.matched === "text" ? "text" : "picture")),
    make("div", { class: "do" },
      button("More like this", () => on.like(hit), { class: "quiet", "aria-label": `More like ${plain(name)}` })));
}

export const skeletons = (number) =>
  Array.from({ length: number }, () => make("li", { class: "hit skeleton", "aria-hidden": "true" }, make("span", { class: "face" }), make("span", { class: "line" }), make("span", { class: "line short" })));
