// The tabs of the views: arrow keys, Home and End move between them.

/** `select(name)` is called when another tab is chosen; the result shows one: `show(name)`. */
export function tabs(names, select) {
  const tab = (name) => document.getElementById(`tab-${name}`);
  const show = (name) => {
    for (const one of names) {
      tab(one).setAttribute("aria-selected", String(one === name));
      tab(one).tabIndex = one === name ? 0 : -1;
      document.getElementById(`view-${one}`).hidden = one !== name;
    }
  };
  for (const [at, name] of names.entries()) {
    tab(name).addEventListener("click", () => select(name));
    tab(name).addEventListener("keydown", (event) => {
      const to = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: names.length - 1 }[event.key];
      if (to === undefined) return;
      event.preventDefault();
      const next = names[(to + names.length) % names.length];
      tab(next).focus();
      select(next);
    });
  }
  return show;
}
