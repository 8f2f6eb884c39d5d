// All about one hit, in a dialog: scores, ranks, payload, and what to do with it next.

import { button, foreign, make, number, plain, say } from "./dom.js";
import { bar, face, title } from "./hits.js";

const dialog = document.getElementById("details");
dialog.addEventListener("click", (event) => {
  if (event.target === dialog) dialog.close(); // the backdrop
});

const BOOKKEEPING = new Set(["content_hash", "indexed_from"]); // for later runs of `clipsearch index`

function value(given) {
  if (given !== null && typeof given === "object") return make("pre", {}, plain(JSON.stringify(given, null, 2)));
  return foreign(given === null ? "null" : given);
}

function table(caption, rows) {
  return make("table", {}, make("caption", {}, caption),
    make("tbody", {}, rows.map(([name, cell]) => make("tr", {}, make("th", { scope: "row" }, name), make("td", {}, cell)))));
}

/**
 * Opens the dialog on `hits[at]`. `on`: {like(hit), add(hit, weight), classify(hit) or null, closed(hit)}.
 * Arrow keys go to the neighbours.
 */
export function details(hits, at, fused, on) {
  let opened = at;
  const act = (work) => () => {
    dialog.close();
    work(hits[opened]);
  };

  function draw() {
    const hit = hits[opened];
    const name = title(hit);
    const scores = [
      ["cosine", bar(hit.cosine, number(hit.cosine, 4))],
      [fused === "calibrated" ? "score, in spreads above what unrelated queries find" : "score", number(hit.score, 2 + 2 * !fused)],
      ["matched by its", plain(hit.matched)],
      ...(fused ? [["rank among images", hit.image_rank ?? "none"], ["rank among texts", hit.text_rank ?? "none"]] : []),
      ...(hit.words_rank ? [["rank by words", hit.words_rank], ["score of the words", number(hit.words_score, 2)]] : []),
    ];
    const payload = Object.entries(hit.payload ?? {}).filter(([key]) => !BOOKKEEPING.has(key));
    const step = (by, label, sign) => button(sign, () => go(by), { class: "icon", "aria-label": label, disabled: opened + by < 0 || opened + by >= hits.length, "data-step": String(by) });
    dialog.replaceChildren(
      make("header", {},
        make("h2", { id: "details-title" }, foreign(name)),
        make("div", { class: "steps" }, step(-1, "Hit before", "‹"), make("span", { class: "dim" }, `${opened + 1} of ${hits.length}`), step(1, "Next hit", "›"),
          button("×", () => dialog.close(), { class: "icon", "aria-label": "Close" }))),
      make("div", { class: "inside", tabindex: "0", role: "group", "aria-label": "Details" },
        make("div", { class: "show" }, face(hit, 640)),
        make("div", { class: "facts" },
          hit.weak ? make("p", { class: "mark" }, fused ? "A weak match: no better than unrelated queries find." : "A weak match: below where this model's matches are mostly chance.") : null,
          hit.thumb && hit.text ? make("p", { dir: "auto" }, plain(hit.text)) : null,
          make("div", { class: "do" },
            button("More like this", act(on.like), { class: "strong", autofocus: true }),
            button("Add to the query", act((one) => on.add(one, 1))),
            button("Push away", act((one) => on.add(one, -0.5)), { title: "Adds it with a weight of −0.5" }),
            on.classify && hit.thumb ? button("Classify", act(on.classify)) : null),
          table("Measures", [["id", make("span", { class: "id" }, foreign(hit.id))], ...scores]),
          payload.length ? table("Payload", payload.map(([key, given]) => [foreign(key), value(given)])) : make("p", { class: "dim" }, "No payload."))));
  }

  function go(by) {
    if (opened + by < 0 || opened + by >= hits.length) return;
    opened += by;
    draw();
    const step = dialog.querySelector(`[data-step="${by}"]`);
    (step.disabled ? dialog.querySelector(".strong") : step).focus();
    say(`${opened + 1} of ${hits.length}: ${plain(title(hits[opened]))}`);
  }

  dialog.onkeydown = (event) => {
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    if (event.key === "ArrowRight") go(1);
    else if (event.key === "ArrowLeft") go(-1);
  };
  dialog.onclose = () => on.closed?.(hits[opened]);
  draw();
  dialog.showModal();
}
