// Which of some labels an image shows: probabilities from the encoder, without a collection.

import * as api from "./api.js";
import { foreign, make, number, plain, say } from "./dom.js";
import { bar, thumb, title } from "./hits.js";
import { failure } from "./notice.js";
import { chooser } from "./images.js";

const LABELS = "cat, dog, bird, car, motorcycle, flower, food, person, building, sky";
const TEMPLATE = "a photo of a {}";

export function classifyView(app) {
  const root = document.getElementById("view-classify");
  const only = api.latest();
  let shown = null; // {image} or {hit, side, collection}

  const stage = make("div", { class: "stage" });
  const labels = make("textarea", { id: "labels", rows: "3", spellcheck: "false", required: true }, LABELS);
  const template = make("input", { id: "template", type: "text", spellcheck: "false" });
  template.value = TEMPLATE;
  const results = make("section", { "aria-label": "Probabilities" });
  const form = make("form", { class: "classify" },
    make("div", { class: "given" }, stage,
      make("p", {}, ...chooser("Choose an image…", (file) => app.image(file)), make("span", { class: "dim" }, " or drop, or paste"))),
    make("div", { class: "asked" },
      make("label", { for: "labels" }, "Labels", make("span", { class: "dim" }, " separated by commas or lines")), labels,
      make("label", { for: "template" }, "Prompt", make("span", { class: "dim" }, " {} stands for the label")), template,
      make("p", {}, make("button", { type: "submit", class: "strong" }, "Classify")),
      results));
  root.append(make("h2", { class: "unseen" }, "Classify an image"), form);

  form.addEventListener("submit", (event) => {
    event.preventDefault();
    classify();
  });

  function draw() {
    if (!shown) stage.replaceChildren(make("p", { class: "dim" }, "No image yet. Drop one here."));
    else if (shown.image) stage.replaceChildren(make("img", { src: shown.image.url, alt: "" }), make("p", {}, foreign(shown.image.name)));
    else stage.replaceChildren(thumb(shown.hit, 640), make("p", {}, foreign(title(shown.hit))));
  }

  async function classify() {
    const named = [...new Set(labels.value.split(/[,\n]/).map((one) => one.trim()).filter(Boolean))];
    if (!shown) return results.replaceChildren(make("p", { class: "mark", role: "alert" }, "Give an image first."));
    if (!named.length) return results.replaceChildren(make("p", { class: "mark", role: "alert" }, "Name a label at least."));
    results.setAttribute("aria-busy", "true");
    try {
      const body = {
        side: shown.side ?? "a", image: shown.image?.base64 ?? null,
        point: shown.hit ? { collection: shown.collection, id: shown.hit.id } : null,
        labels: named, template: template.value.trim() || "{}",
      };
      const { scores } = await only((signal) => api.classify(body, signal));
      results.replaceChildren(make("table", { class: "probabilities" },
        make("caption", {}, "What it shows, of these labels"),
        make("thead", {}, make("tr", {}, ["label", "probability", "cosine"].map((name) => make("th", { scope: "col" }, name)))),
        make("tbody", {}, scores.map(({ label, probability, cosine }) => make("tr", {},
          make("th", { scope: "row" }, foreign(label)), make("td", {}, bar(probability, `${(probability * 100).toFixed(1)}%`)), make("td", {}, number(cosine, 3)))))));
      if (scores.length) say(`${plain(scores[0].label)}, ${(scores[0].probability * 100).toFixed(0)} percent`);
    } catch (error) {
      if (app.refused(error)) return;
      results.replaceChildren(failure(error, classify));
      app.trouble(error);
    } finally {
      results.removeAttribute("aria-busy");
    }
  }

  draw();
  return {
    run() {},
    /** Classifies at once what is given: {image}, or {hit, side, collection}. */
    take(given) {
      shown = given;
      draw();
      classify();
    },
  };
}
