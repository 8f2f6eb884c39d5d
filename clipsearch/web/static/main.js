// The page: reads the address, asks the services what there is, and hands each view its query.

import * as api from "./api.js";
import { classifyView } from "./classify-view.js";
import { find, first, other } from "./collections.js";
import { compareView } from "./compare-view.js";
import { plain, refill, say } from "./dom.js";
import { forget } from "./filters.js";
import { title } from "./hits.js";
import { mapView } from "./map-view.js";
import { notice } from "./notice.js";
import { listen, take } from "./images.js";
import { PAGE, address, blank, counted, read, remembered, spoken } from "./query.js";
import { searchView } from "./search-view.js";
import { banners, down, empty, line, unlisted } from "./services.js";
import { signInForm } from "./sign-in.js";
import { tabs } from "./tabs.js";
import { editor } from "./terms.js";

const VIEWS = ["search", "compare", "classify", "map"];
const LOOK_AGAIN_MS = 4000; // while a service is down
const trouble = document.getElementById("trouble");
let state = null;
let query = read(location.search, history.state);
let timer = 0;
let locked = false; // while the form that asks for a token is shown
const seen = new Map(); // title and thumbnail of points by id, for terms that an address names

const app = {
  state: () => state,
  /** A new query by the user's hand: a new entry in the history, or the one before in a new version. */
  change(patch, again = false) {
    query = { ...query, ...patch, lost: false };
    if (again) history.replaceState(remembered(query), "", address(query));
    else history.pushState(remembered(query), "", address(query));
    render();
  },
  /** A change that is not worth an entry of its own. */
  note(patch) {
    query = { ...query, ...patch };
    history.replaceState(remembered(query), "", address(query));
  },
  like: (hit, column = 0) => app.change({ ...place(column), view: query.view === "compare" ? "compare" : "search", terms: [point(hit)], filter: query.filter, shown: PAGE }),
  add: (hit, weight) => app.change({ terms: [...query.terms.filter((term) => term.id !== hit.id), { ...point(hit), weight }], shown: PAGE }),
  classify(hit) {
    const from = { hit, side: query.side, collection: query.collection };
    app.change({ view: "classify" });
    views.classify.take(from);
  },
  /** Takes a file: into the classify view, or among the terms of the query. */
  async image(file, add = false) {
    if (locked) return;
    let image;
    try {
      image = await take(file);
    } catch (error) {
      trouble.replaceChildren(notice("error", "This image cannot be used", document.createTextNode(plain(error.message))));
      return;
    }
    if (query.view === "classify") return views.classify.take({ image });
    const kept = add ? query.terms : query.terms.filter((term) => term.kind === "text");
    app.change({ view: query.view === "map" ? "search" : query.view, terms: [...kept, { kind: "image", image, weight: 1 }], shown: PAGE });
  },
  /** True if the error means that a token is wanted; then the form is shown. */
  refused(error) {
    if (error.status === 401) askForToken(error.reason === "TOKEN_UNKNOWN" ? "The token is not accepted any more." : "");
    return error.status === 401;
  },
  /** True for what a banner tells already. */
  known: (error) => error.status === 503 && down(state).some(({ side, name }) => side === (error.side ?? "a") && name === error.service),
  /** A call failed: asks the services how they are. */
  trouble(error) {
    if (error.status >= 502 || error.status === 0) look();
  },
};

/** Left and right change places, if a hit of the right column is the one that is asked about. */
const place = (column) =>
  column === 1 ? { ...query.right, right: { side: query.side, collection: query.collection } } : {};

function point(hit) {
  seen.set(hit.id, { title: title(hit), thumb: hit.thumb });
  return { kind: "point", id: hit.id, title: title(hit), thumb: hit.thumb, weight: 1 };
}

const terms = editor({
  change: (given, again) => app.change({ terms: given, shown: PAGE }, again),
  target: (target) => app.change({ target, shown: PAGE }),
  words: (words) => app.change({ words, shown: PAGE }),
  only: (only) => app.change({ only, shown: PAGE }),
  image: (file, add) => app.image(file, add),
});
const views = { search: searchView(app, terms), compare: compareView(app, terms), classify: classifyView(app), map: mapView(app) };
const showTab = tabs(VIEWS, (view) => app.change({ view }));

/** Draws all of the page for the query as it is, and runs it. */
function render() {
  if (!state || locked) return;
  const begin = first(state);
  if (!query.collection && begin) query = { ...query, side: begin.side, collection: begin.collection.name };
  if (query.view === "compare" && !query.right && begin) {
    const against = other(state, query.side, query.collection);
    if (against) query = { ...query, right: { side: against.side, collection: against.collection.name } };
  }
  query.terms = query.terms.map((term) => (term.kind === "point" && !term.title ? { ...term, ...seen.get(term.id) } : term));
  showTab(query.view);
  const asked = spoken(counted(query.terms));
  document.title = `${asked ? `${plain(asked).slice(0, 60)} – ` : ""}clipsearch${query.view === "search" ? "" : ` ${query.view}`}`;
  const usable = begin || query.view === "map" || query.view === "classify";
  document.getElementById(`view-${query.view}`).hidden = !usable;
  const lookNow = () => look(true);
  refill(trouble, banners(state, lookNow), begin || down(state).some(({ name }) => name === "search") ? null : nothing(lookNow));
  if (!usable) return;
  terms.show(query, [query, query.view === "compare" ? query.right : null].some((end) => end && find(state, end.side, end.collection)?.bm25_field));
  views[query.view].run(query);
}

function nothing(lookNow) {
  const { message } = state.sides.a.search;
  if (!message) return empty(lookNow);
  return unlisted(message, (collection) => {
    app.change({ collection });
    lookNow();
  });
}

function header() {
  refill(document.getElementById("services"), line(state, async () => {
    await api.signOut();
    location.replace("/"); // nothing of what was seen stays in the page
  }));
}

function askForToken(wrong) {
  clearTimeout(timer);
  locked = true;
  for (const view of VIEWS) document.getElementById(`view-${view}`).hidden = true;
  trouble.replaceChildren(signInForm(start, wrong));
  document.getElementById("token").focus();
}

/** Asks the services how they are; whatever changed is drawn anew. `all`: draw even if nothing did. */
async function look(all = false) {
  clearTimeout(timer);
  const before = state && JSON.stringify([down(state), state.sides.a.collections?.length]);
  try {
    state = await api.state([query.collection, query.right?.collection].filter(Boolean));
  } catch (error) {
    timer = setTimeout(look, LOOK_AGAIN_MS);
    return;
  }
  header();
  if (state.token_needed && !state.signed_in) return askForToken("");
  if (down(state).length) timer = setTimeout(look, LOOK_AGAIN_MS);
  const now = JSON.stringify([down(state), state.sides.a.collections?.length]);
  if (before === now && !all) return;
  forget();
  if (before !== now && !down(state).length) say("All services are ready");
  render();
}

async function start() {
  state = null;
  locked = false;
  trouble.replaceChildren();
  await look(true);
  if (state) return;
  trouble.replaceChildren(notice("error", "The page's server does not answer", document.createTextNode("Start it again: clipsearch web. This page looks again every few seconds.")));
}

listen((file) => app.image(file), () => say("No image was in what was dropped"));
addEventListener("popstate", (event) => {
  query = read(location.search, event.state);
  render();
});
addEventListener("keydown", (event) => {
  const typing = event.target.closest("input, textarea, select, dialog[open]");
  if (event.key !== "/" || typing || event.ctrlKey || event.metaKey || event.altKey) return;
  if (document.querySelector("dialog[open]") || !terms.words.checkVisibility()) return;
  event.preventDefault();
  terms.words.focus();
});
document.querySelector("h1 a").addEventListener("click", (event) => {
  if (event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  app.change({ ...blank(), side: query.side, collection: query.collection });
  terms.words.focus();
});
start();
