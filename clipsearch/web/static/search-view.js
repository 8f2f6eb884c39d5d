// The search: query, filters beside it, hits, and more of them.

import * as api from "./api.js";
import { find, foreignModel, picker } from "./collections.js";
import { details } from "./details.js";
import { button, count, foreign, make, number, plain, refill, say } from "./dom.js";
import { filterBox } from "./filters.js";
import { bars, card, skeletons, title } from "./hits.js";
import { failure, notice } from "./notice.js";
import { chooser } from "./images.js";
import { PAGE, counted, forServer, hybrid, label, spoken, ZONE } from "./query.js";

const ORDERED = {
  calibrated: ", ordered by how far each is above what unrelated queries find",
  hybrid: ", ordered by their ranks in words and in meaning",
};
const EXAMPLES = ["a cat", "a cup of coffee", "something that flies"];

/** `app`: {state(), query(), change(patch), like(hit, ...), ...} of main.js. */
export function searchView(app, editor) {
  const root = document.getElementById("view-search");
  const only = api.latest();
  const wide = matchMedia("(min-width: 56rem)");
  const where = make("div", { class: "where" });
  const filters = filterBox({ open: wide.matches });
  wide.addEventListener("change", () => { filters.root.open = wide.matches; });
  const about = make("div", { class: "about" });
  const heading = make("h2", { tabindex: "-1", class: "found" });
  const list = make("ol", { class: "hits" });
  const foot = make("div", { class: "foot" });
  const results = make("section", { class: "results", "aria-labelledby": "found" }, heading, about, list, foot);
  heading.id = "found";
  const place = make("div", { class: "place" });
  root.append(place, make("div", { class: "beside" }, make("aside", { "aria-label": "Collection and filters" }, where, filters.root), results));

  let hits = [];
  let fused = null; // what made the scores of several rankings, if anything did
  let measure = null;

  const wanted = (query, limit, offset) => ({
    side: query.side, collection: query.collection, terms: counted(query.terms).map(forServer), target: query.target, only_matches: query.only,
    hybrid: hybrid(query, find(app.state(), query.side, query.collection)),
    filter: query.filter, time_zone: ZONE, limit, offset, group_by: query.group || null,
  });

  function show(query) {
    if (editor.form.parentElement !== place) place.append(editor.form); // moved only if need be: moving takes the focus away
    const collection = find(app.state(), query.side, query.collection);
    refill(where, make("label", { class: "collection" }, make("span", {}, "Collection"),
      picker(app.state(), query, "Collection", (chosen) => app.change({ ...chosen, filter: [], group: "", shown: PAGE }))),
      grouping(collection, query),
      collection && foreignModel(app.state(), query.side, collection)
        ? make("p", { class: "mark" }, `Filled by another model (${plain(collection.model || "unknown")}) than the encoder runs.`)
        : null);
    filters.show(query.side, collection, query.filter, (filter) => app.change({ filter, shown: PAGE }));
  }

  function grouping(collection, query) {
    const fields = Object.entries(collection?.indexes ?? {}).filter(([, type]) => ["keyword", "tenant", "integer"].includes(type)).map(([field]) => field);
    if (query.group && !fields.includes(query.group)) fields.push(query.group);
    if (!fields.length) return null;
    const select = make("select", { "data-focus": "group" }, make("option", { value: "" }, "nothing"), fields.map((field) => make("option", { value: field }, plain(field))));
    select.value = query.group;
    select.addEventListener("change", () => app.change({ group: select.value, shown: PAGE }));
    return make("label", { class: "collection" }, make("span", {}, "Group by"), select);
  }

  async function run(query) {
    show(query);
    foot.replaceChildren();
    if (!counted(query.terms).length) return start(query);
    results.setAttribute("aria-busy", "true");
    if (!hits.length) {
      heading.textContent = "Searching…";
      about.replaceChildren();
      list.replaceChildren(...skeletons(8));
    }
    let result;
    try {
      result = await only((signal) => api.search(wanted(query, query.shown, 0), signal));
    } catch (error) {
      results.removeAttribute("aria-busy");
      failed(error, () => run(query));
      return;
    }
    results.removeAttribute("aria-busy");
    hits = result.hits;
    fused = result.fusion;
    measure = bars(hits);
    const inside = list.contains(document.activeElement);
    list.replaceChildren(...(result.groups ? grouped(result.groups) : hits.map((hit, at) => shown(hit, at))));
    if (inside) heading.focus(); // what had the focus is gone
    heading.textContent = hits.length ? plain(spoken(counted(query.terms))) : "Nothing found";
    about.replaceChildren(...told(query, result));
    more(query, result.more);
    say(hits.length ? `${count(hits.length, "hit", "hits")}. First: ${plain(title(hits[0]))}` : "Nothing found");
  }

  function start(query) {
    only(async () => {}); // ends what is under way
    hits = [];
    results.removeAttribute("aria-busy");
    list.replaceChildren();
    heading.textContent = "What are you looking for?";
    const collection = find(app.state(), query.side, query.collection);
    about.replaceChildren(make("div", { class: "start" },
      make("p", {}, collection ? `${count(collection.image_vectors, "image", "images")} and ${count(collection.text_vectors, "text", "texts")} are in ` : "", collection ? foreign(collection.name) : null,
        ". Type words, or give an image. Several terms can be weighed against one another; those with a minus push away."),
      make("div", { class: "zone" }, make("p", {}, "Drop an image here, or paste one"), ...chooser("Choose an image…", (file) => app.image(file))),
      make("p", { class: "examples" }, "For example ", EXAMPLES.map((words) => button(words, () => app.change({ terms: [{ kind: "text", text: words, weight: 1 }], shown: PAGE }), { class: "chip" }))),
      query.lost ? make("p", { class: "mark" }, "The image of this search is gone with the page that had it; give it again.") : null));
  }

  function failed(error, retry) {
    if (app.refused(error)) return;
    hits = [];
    list.replaceChildren();
    foot.replaceChildren();
    heading.textContent = "No results";
    about.replaceChildren(app.known(error) ? make("p", { class: "dim" }, "They come as soon as the service is back.") : failure(error, retry));
    app.trouble(error);
  }

  function told(query, { took_ms: took, tokens_dropped: dropped, weak_match_below: below }) {
    const weak = hits.filter((hit) => hit.weak).length;
    const bound = below || app.state().sides[query.side]?.encoder.model?.weak_match_below;
    const terms = counted(query.terms);
    return [
      make("p", { class: "dim numbers" }, `${count(hits.length, "hit", "hits")} shown${ORDERED[fused] ?? ""}; ${Math.round(took.total)} ms (encoder ${Math.round(took.encode)}, store ${Math.round(took.store)}). Numbers are cosines.`),
      ...Object.entries(dropped ?? {}).map(([at, tokens]) => make("p", { class: "mark" }, `“${plain(label(terms[at] ?? terms[0])).slice(0, 40)}…” is too long for the model: its last ${count(tokens, "token was", "tokens were")} cut off.`)),
      hits.length && weak === hits.length
        ? notice("warning", "Nothing matches well", make("p", {}, fused ? "None of these is better than what unrelated queries find." : `All of these lie below ${bound ? number(bound, 2) : "the bound"}, where this model's matches are mostly chance.`))
        : weak ? make("p", { class: "dim" }, fused ? "“Weak match”: no better than unrelated queries find." : `“Weak match”: below ${bound ? number(bound, 2) : "the model's bound"}, where this model's matches are mostly chance.`) : null,
      hits.length ? null : make("p", {}, query.only ? "Nothing here matches better than chance." : query.filter.length || query.target !== "any" ? "No point passes the filters and the choice of images or texts." : "The collection is empty."),
      !hits.length && query.only ? button("Show weak matches too", () => app.change({ only: false })) : null,
      !hits.length && query.filter.length ? button("Remove the filters", () => app.change({ filter: [] })) : null,
    ].filter(Boolean);
  }

  function grouped(groups) {
    let at = 0;
    return groups.flatMap((group) => {
      const own = hits.slice(at, at + group.hits).map((hit, rank) => shown(hit, at + rank));
      at += group.hits;
      return [make("li", { class: "group" }, make("h3", {}, foreign(group.value))), ...own];
    });
  }

  const shown = (hit, at) => card(hit, at + 1, measure, {
    like: (one) => app.like(one),
    open: (one) => details(hits, hits.indexOf(one), fused, {
      like: (next) => app.like(next),
      add: (next, weight) => app.add(next, weight),
      classify: (next) => app.classify(next),
      closed: (last) => list.querySelector(`[data-id="${CSS.escape(last.id)}"] .open`)?.focus(),
    }),
  });

  function more(query, exists) {
    if (!exists) {
      foot.replaceChildren(...(hits.length > PAGE ? [make("p", { class: "dim" }, "That is all.")] : []));
      return;
    }
    const load = button("Show more", async () => {
      load.disabled = true;
      const from = hits.length;
      let result;
      try {
        result = await only((signal) => api.search(wanted(query, PAGE, from), signal));
      } catch (error) {
        load.disabled = false;
        if (!app.refused(error)) foot.replaceChildren(failure(error, () => more(query, true)), load);
        return;
      }
      hits = [...hits, ...result.hits];
      list.append(...result.hits.map((hit, at) => shown(hit, from + at)));
      about.querySelector(".numbers").textContent = `${count(hits.length, "hit", "hits")} shown`;
      list.children[from]?.querySelector(".open").focus(); // reading goes on with the first new one
      app.note({ shown: hits.length });
      more(query, result.more);
      say(`${count(result.hits.length, "more hit", "more hits")}, ${hits.length} in all`);
    }, { class: "strong" });
    foot.replaceChildren(load);
  }

  return { run, heading };
}
