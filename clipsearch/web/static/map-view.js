// The maps that the server was started with, each a page of its own in a frame.

import { foreign, make, plain } from "./dom.js";
import { command, notice } from "./notice.js";

export function mapView(app) {
  const root = document.getElementById("view-map");
  let framed = null;

  function run(query) {
    const { maps } = app.state();
    if (!maps.length) {
      framed = null;
      root.replaceChildren(notice("plain", "No map yet",
        make("p", {}, "A map shows a collection's images and texts as one plane, near each other where they mean the same. Draw one, and start this page with it:"),
        command("clipsearch map images --query \"a pet\"\nclipsearch web --map images-map")));
      return;
    }
    const map = maps[Math.min(query.map, maps.length - 1)];
    if (framed === map.url) return; // the frame keeps what was chosen in it
    framed = map.url;
    const choose = make("select", { "aria-label": "Map" }, maps.map(({ name }, at) => {
      const option = make("option", { value: String(at) }, plain(name));
      option.selected = maps[at] === map;
      return option;
    }));
    choose.addEventListener("change", () => app.change({ map: Number(choose.value) }));
    root.replaceChildren(
      make("p", { class: "map-tools" }, maps.length > 1 ? choose : foreign(map.name), " ",
        make("a", { href: map.url, target: "_blank", rel: "noopener" }, "Open in a tab of its own")),
      make("iframe", { src: map.url, title: `Map of ${plain(map.name)}`, class: "map" }));
  }

  return { run };
}
