// The query editor: words in the first line, further terms below, each with a weight from -2 to 2.

import { button, foreign, make, plain, refill, say } from "./dom.js";
import { chooser } from "./images.js";
import { WEIGHT, counted, label } from "./query.js";

const TARGETS = [["any", "Anything"], ["image", "Images"], ["text", "Texts"]];
const signed = (weight) => (weight > 0 ? `+${weight.toFixed(1)}` : weight < 0 ? `−${(-weight).toFixed(1)}` : "off");

/**
 * `on.change(terms, again)`: search by these; `again`: they are what was searched by, weighed anew. `on.target(target)`. `on.only(only)`: only matches, or weak ones too. `on.words(words)`: look words up as well. `on.image(file, add)`: a file was chosen,
 * to be added to the terms, or in place of the images and points among them.
 */
export function editor(on) {
  let terms = [];
  const words = make("input", {
    id: "words", type: "search", placeholder: "Describe what you are looking for", autocomplete: "off", enterkeyhint: "search",
    "aria-label": "Words to search by", "aria-keyshortcuts": "/", dir: "auto",
  });
  const first = make("div", { class: "first" });
  const list = make("ul", { class: "terms", "aria-label": "Terms of the query" });
  const targets = TARGETS.map(([value, name]) => {
    const radio = make("input", { type: "radio", name: "target", value, onchange: () => on.target(value) });
    return make("label", {}, radio, make("span", {}, name));
  });
  const only = make("input", { type: "checkbox", onchange: () => on.only(only.checked) });
  const look = make("input", { type: "checkbox", onchange: () => on.words(look.checked) });
  const looking = make("label", { class: "switch", title: "Look the words up too, beside their meaning" }, look, "Exact words too");
  const clear = button("Clear", () => { on.change([]); words.focus(); }, { class: "quiet" });
  const form = make("form", { class: "query", role: "search", "aria-label": "Query" },
    make("div", { class: "ask" },
      make("div", { class: "box" }, words, make("kbd", { "aria-hidden": "true" }, "/")),
      first,
      ...chooser("Image…", (file) => on.image(file, false), { class: "by-image", title: "Search by an image; you can also drop or paste one" }),
      make("button", { type: "submit", class: "strong" }, "Search")),
    list,
    make("div", { class: "tools" },
      button("+ Words", () => addWords(), { class: "quiet" }),
      ...chooser("+ Image", (file) => on.image(file, true), { class: "quiet" }),
      clear,
      make("label", { class: "switch", title: "Leave out what is no better than chance" }, only, "Only matches"),
      looking,
      make("fieldset", { class: "segments" }, make("legend", {}, "Find"), targets)));

  const main = () => terms.find((term) => term.kind === "text");
  const commit = (again = false) => on.change(terms.filter((term) => term.kind !== "text" || term.text.trim()), again);

  words.addEventListener("input", () => {
    if (main()) main().text = words.value;
    else terms.unshift({ kind: "text", text: words.value, weight: 1 });
  });
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    commit();
  });

  function addWords() {
    if (!main()) return words.focus();
    terms.push({ kind: "text", text: "", weight: 1 });
    draw();
    list.querySelector("li:last-child input[type=text]").focus();
  }

  function weightOf(term, at) {
    const range = make("input", {
      type: "range", min: String(-WEIGHT), max: String(WEIGHT), step: "0.1", "data-focus": `weight-${at}`,
      "aria-label": `Weight of ${plain(label(term))}`,
    });
    range.value = String(term.weight);
    const shown = make("output", {}, signed(term.weight));
    const tell = () => {
      term.weight = Number(range.value);
      shown.textContent = signed(term.weight);
      range.setAttribute("aria-valuetext", term.weight === 0 ? "off" : String(term.weight));
      shown.classList.toggle("minus", term.weight < 0);
    };
    tell();
    range.addEventListener("input", tell);
    range.addEventListener("change", () => counted(terms).length && commit(true));
    const turn = button("±", () => {
      range.value = String(-term.weight || 1);
      tell();
      commit();
    }, { class: "icon", title: "Turn the sign: push away instead of pull", "aria-label": `Turn the sign of ${plain(label(term))}`, "data-focus": `sign-${at}` });
    return make("span", { class: "weight" }, range, shown, turn);
  }

  function body(term) {
    if (term.kind === "text") {
      const input = make("input", { type: "text", placeholder: "More words", "aria-label": "Further words", autocomplete: "off", dir: "auto" });
      input.value = term.text;
      input.addEventListener("input", () => { term.text = input.value; });
      return [make("span", { class: "kind" }, "words"), input];
    }
    if (term.kind === "image") {
      return [make("img", { src: term.image.url, alt: "" }), make("span", { class: "what" }, make("span", { class: "kind" }, "image "), foreign(term.image.name))];
    }
    return [
      term.thumb ? make("img", { src: term.thumb, alt: "" }) : null,
      make("span", { class: "what" }, make("span", { class: "kind" }, "more like "), foreign(term.title ?? term.id)),
    ];
  }

  function draw() {
    const several = terms.length > 1 || terms.some((term) => term.weight !== 1);
    if (words.value !== (main()?.text ?? "")) words.value = main()?.text ?? "";
    refill(first, main() && several ? weightOf(main(), "main") : null);
    const rows = terms.map((term, at) => {
      if (term === main()) return null;
      const remove = button("×", () => {
        terms.splice(at, 1);
        say(`${plain(label(term))} removed`);
        words.focus();
        commit();
      }, { class: "icon", "aria-label": `Remove ${plain(label(term))}` });
      return make("li", { class: term.weight < 0 ? "term minus" : "term" }, body(term), weightOf(term, at), remove);
    });
    refill(list, rows);
    list.hidden = list.children.length === 0;
    clear.hidden = terms.length === 0;
  }

  return {
    form,
    words,
    /** `words`: whether there are words to look up. */
    show(query, words) {
      terms = query.terms.map((term) => ({ ...term }));
      for (const label of targets) label.firstChild.checked = label.firstChild.value === query.target;
      only.checked = query.only;
      look.checked = query.words;
      looking.hidden = !words;
      draw();
    },
  };
}
