// The same query on two collections, side by side: what both find, and how ranks moved.

import * as api from "./api.js";
import { all, find, foreignModel, picker, shared } from "./collections.js";
import { details } from "./details.js";
import { button, foreign, make, plain, refill, say } from "./dom.js";
import { filterBox, sentence } from "./filters.js";
import { bar, bars, thumb, title } from "./hits.js";
import { command, failure, notice } from "./notice.js";
import { counted, forServer, hybrid, ZONE } from "./query.js";

const TEN = 10;
const MISFITS = ["FILTER_FIELD_UNKNOWN", "FILTER_TYPE_MISMATCH"]; // a filter that this collection cannot have

export function compareView(app, editor) {
  const root = document.getElementById("view-compare");
  const only = api.latest();
  const place = make("div", { class: "place" });
  const filters = filterBox({ class: "filters across" });
  const summary = make("div", { class: "overlap", tabindex: "-1" });
  const columns = ["Left", "Right"].map((name) => {
    const head = make("div", { class: "where" });
    const body = make("div", { class: "body" });
    return { name, head, body, root: make("section", { class: "column", "aria-label": `${name} results` }, head, body) };
  });
  root.append(place, filters.root, summary, make("div", { class: "columns" }, columns.map((column) => column.root)));

  function show(query) {
    if (editor.form.parentElement !== place) place.append(editor.form); // moved only if need be: moving takes the focus away
    const ends = [{ side: query.side, collection: query.collection }, query.right];
    const changes = [(chosen) => app.change(chosen), (right) => app.change({ right })];
    const found = ends.map((end) => end && find(app.state(), end.side, end.collection));
    columns.forEach((column, at) => {
      const [end, collection] = [ends[at], found[at]];
      refill(column.head,
        make("label", { class: "collection" }, make("span", {}, column.name), picker(app.state(), end ?? {}, `${column.name} collection`, changes[at])),
        collection ? told(end.side, collection) : null);
    });
    const common = found[0] && found[1] && shared(...found);
    filters.root.hidden = !common;
    filters.show(query.side, common, query.filter, (filter) => app.change({ filter }), "The two collections have no payload index in common.");
    return ends;
  }

  function told(side, collection) {
    const odd = foreignModel(app.state(), side, collection);
    return make("p", { class: odd ? "mark" : "dim" }, "model ", foreign(collection.model || "unknown"), odd ? ", not the one that the encoder runs" : null);
  }

  async function run(query) {
    if (all(app.state()).length < 2) return alone();
    const ends = show(query);
    const terms = counted(query.terms);
    if (!terms.length || !query.right) {
      only(async () => {});
      summary.replaceChildren(make("p", { class: "dim" }, "Type words or give an image: both collections are searched by the same query, and the first ten are compared."));
      for (const column of columns) column.body.replaceChildren();
      return;
    }
    for (const column of columns) column.root.setAttribute("aria-busy", "true");
    const answers = await only((signal) => Promise.all(ends.map((end) =>
      api.search({ side: end.side, collection: end.collection, terms: terms.map(forServer), target: query.target, only_matches: query.only, hybrid: hybrid(query, find(app.state(), end.side, end.collection)), filter: query.filter, time_zone: ZONE, limit: TEN, offset: 0 }, signal)
        .then((result) => ({ result }), (error) => ({ error })))));
    for (const column of columns) column.root.removeAttribute("aria-busy");
    if (answers.some(({ error }) => error && app.refused(error))) return;
    const inside = columns.some(({ body }) => body.contains(document.activeElement));
    answers.forEach(({ result, error }, at) => {
      if (error) {
        columns[at].body.replaceChildren(failed(error, query));
        app.trouble(error);
      } else columns[at].body.replaceChildren(column(result, answers[1 - at].result, at));
    });
    tell(answers, query.filter);
    if (inside) summary.focus(); // what had the focus is gone
  }

  function failed(error, query) {
    if (app.known(error)) return make("p", { class: "dim" }, "No results while the service is down.");
    if (!MISFITS.includes(error.reason)) return failure(error, () => run(query));
    say("The filter does not fit one of the collections");
    const condition = query.filter[/^filter\[(\d+)\]/.exec(error.field ?? "")?.[1]];
    const unknown = condition && error.reason === "FILTER_FIELD_UNKNOWN";
    return notice("plain", "The filter does not fit this collection",
      make("p", {}, unknown ? ["No point here has the field ", foreign(condition.field), ", so none passes “", foreign(sentence(condition)), "”."] : plain(error.message)));
  }

  function tell([left, right], filter) {
    if (left.error || right.error) return summary.replaceChildren();
    const there = new Set(right.result.hits.map((hit) => hit.id));
    const both = left.result.hits.filter((hit) => there.has(hit.id)).length;
    const of = Math.max(left.result.hits.length, right.result.hits.length);
    const share = of ? `${both} of the first ${of} are in both` : "Neither finds anything";
    summary.replaceChildren(make("p", { class: "share" }, bar(of ? both / of : 0, share)),
      make("p", { class: "dim" }, "By id. ▲ and ▼ tell how many ranks higher or lower a hit stands here than on the other side.",
        filter.length ? [" Both are filtered: ", foreign(filter.map(sentence).join("; ")), "."] : null));
    say(share);
  }

  function column(result, opposite, at) {
    const ranks = new Map((opposite?.hits ?? []).map((hit, rank) => [hit.id, rank]));
    const { hits } = result;
    const measure = bars(hits);
    if (!hits.length) return notice("plain", "Nothing found");
    return make("ol", { class: "ranked" }, hits.map((hit, rank) => make("li", { class: hit.weak ? "weak" : null },
      button([make("span", { class: "face" }, thumb(hit, 160) ?? make("span", { class: "no-image" }, "text")), make("span", { class: "name" }, foreign(title(hit)))], () => details(hits, rank, result.fusion, {
        like: (one) => app.like(one, at), add: (one, weight) => app.add(one, weight, at), classify: at === 0 ? (one) => app.classify(one) : null,
      }), { class: "open", "aria-haspopup": "dialog", "aria-label": `${rank + 1}. ${plain(title(hit))}: details` }),
      measure(hit),
      make("span", { class: "marks" }, hit.weak ? make("span", { class: "mark" }, "weak match") : null, opposite ? shift(ranks.get(hit.id), rank) : null))));
  }

  function shift(there, here) {
    if (there === undefined) return make("span", { class: "shift only" }, "only here");
    if (there === here) return make("span", { class: "shift" }, "same rank");
    const by = Math.abs(there - here);
    return there > here
      ? make("span", { class: "shift up" }, make("span", { "aria-hidden": "true" }, `▲ ${by}`), make("span", { class: "unseen" }, `${by} higher than on the other side`))
      : make("span", { class: "shift down" }, make("span", { "aria-hidden": "true" }, `▼ ${by}`), make("span", { class: "unseen" }, `${by} lower than on the other side`));
  }

  function alone() {
    place.replaceChildren();
    filters.root.hidden = true;
    for (const column of columns) {
      column.head.replaceChildren();
      column.body.replaceChildren();
    }
    summary.replaceChildren(notice("plain", "Nothing to compare with yet",
      make("p", {}, "Two collections are compared: of one service, or of two. Make another collection:"),
      command("clipsearch index ~/Pictures --collection other"),
      make("p", {}, "Or let this page reach another pair of services, with another model say:"),
      command("clipsearch web --compare-server HOST:PORT --compare-encoder HOST:PORT")));
  }

  return { run };
}
