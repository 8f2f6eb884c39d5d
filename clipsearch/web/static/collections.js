// Collections by side: which there are, which one to begin with, and a picker of one.

import { make, plain } from "./dom.js";

/** True for a collection that another model filled; unknown while the encoder is down. */
export const foreignModel = (state, side, collection) => !collection.fits_encoder && Boolean(state.sides[side].encoder.model);

export const all = (state) =>
  Object.entries(state.sides).flatMap(([side, { collections }]) => (collections ?? []).map((collection) => ({ side, collection })));

const usable = ({ collection }) => !collection.damage;

/** The collection of this name or alias on that side, or undefined. */
export const find = (state, side, name) =>
  state.sides[side]?.collections?.find((one) => one.name === name || one.aliases.includes(name));

/** Where to begin: a collection that the encoder fits, the largest of them; undefined where there is none. */
export function first(state) {
  const fit = ({ collection }) => (collection.fits_encoder ? 1 : 0);
  return all(state).filter(usable).sort((a, b) => fit(b) - fit(a) || b.collection.points - a.collection.points)[0];
}

/** Another than this one, to compare it with; the same model is no bar. */
export const other = (state, side, name) =>
  all(state).filter(usable).find((one) => one.side !== side || one.collection.name !== name);

/** The left collection with those of its payload indexes that the right one has too, of the same type. */
export const shared = (left, right) =>
  ({ ...left, indexes: Object.fromEntries(Object.entries(left.indexes).filter(([field, type]) => right.indexes[field] === type)) });

const SIDE_NAMES = { a: "first services", b: "second services" };

export function picker(state, chosen, label, change) {
  const option = ({ side, collection }) => {
    const made = make("option", { value: JSON.stringify([side, collection.name]) },
      `${plain(collection.name)} (${collection.damage ? "damaged" : collection.points.toLocaleString("en")})`);
    made.disabled = !usable({ collection });
    made.selected = side === chosen.side && (collection.name === chosen.collection || collection.aliases.includes(chosen.collection));
    return made;
  };
  const listed = all(state);
  const groups = state.sides.b
    ? Object.keys(state.sides).map((side) => make("optgroup", { label: SIDE_NAMES[side] }, listed.filter((one) => one.side === side).map(option)))
    : listed.map(option);
  const select = make("select", { "aria-label": label, "data-focus": label }, groups);
  select.addEventListener("change", () => {
    const [side, collection] = JSON.parse(select.value);
    change({ side, collection });
  });
  return select;
}
