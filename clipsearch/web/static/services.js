// What the services say of themselves: a line in the header, and a banner where one is down.

import { button, foreign, make, plain } from "./dom.js";
import { advice, command, notice, spelt } from "./notice.js";

const SIDES = { a: "", b: "second " };

export const down = (state) =>
  Object.entries(state.sides).flatMap(([side, about]) => ["search", "encoder"].filter((name) => !about[name].ok).map((name) => ({ side, name, reason: about[name].reason, message: about[name].message })));

/** The header's line: the model, and whether all is well. */
export function line(state, signOut) {
  const model = state.sides.a.encoder.model;
  const troubles = down(state);
  const word = troubles.length ? troubles.map(({ side, name }) => `${SIDES[side]}${name} down`).join(", ") : "ready";
  return [
    make("span", { class: troubles.length ? "state bad" : "state good" }, word),
    model ? make("span", { class: "dim" }, "model ", foreign(model.name), `, ${model.dimension} dimensions`) : null,
    state.signed_in ? button("Sign out", signOut, { class: "quiet" }) : null,
  ].filter(Boolean);
}

/** A notice for each service that is down, and one for random weights. */
export function banners(state, retry) {
  const made = down(state).map(({ side, name, reason, message }) => notice("error", `The ${SIDES[side]}${name} service is not available`,
    make("p", {}, spelt(message), ". ", make("span", { class: "dim" }, "Reason: ", make("code", {}, plain(reason)))),
    name === "encoder" ? make("p", {}, "Words and images cannot be searched by until it is back; “more like this” can.") : null,
    advice(side, name, reason),
    make("p", {}, "This page looks again every few seconds."),
    button("Look again", retry, { class: "strong" })));
  for (const { collections } of Object.values(state.sides)) {
    for (const { name, damage } of collections ?? []) {
      if (damage) made.push(notice("warning", "A collection is damaged", make("p", {}, foreign(name), ": ", foreign(damage), ". The others can be searched.")));
    }
  }
  for (const { encoder } of Object.values(state.sides)) {
    if (encoder.model && !encoder.model.pretrained) made.push(notice("warning", "Random weights", make("p", {}, "The weights of ", foreign(encoder.model.name), " are random: what it finds means nothing.")));
  }
  return made;
}

/** A token that is for some collections may not list them: the form asks for the name of one. */
export function unlisted(message, open) {
  const name = make("input", { id: "named", type: "text", required: true, autocomplete: "off", spellcheck: "false" });
  const form = make("form", { class: "ask" }, make("label", { for: "named" }, "Collection"), name, make("button", { type: "submit", class: "strong" }, "Open"));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    open(name.value.trim());
  });
  return notice("plain", "Which collection?", make("p", {}, plain(message)), form);
}

/** What to do where there is no collection at all. */
export const empty = (retry) => notice("plain", "No collection yet",
  make("p", {}, "Index a folder of images, or a list of texts; then they can be searched here."),
  command("clipsearch index ~/Pictures\nclipsearch index catalogue.csv --text title --collection shop"),
  button("Look again", retry, { class: "strong" }));
