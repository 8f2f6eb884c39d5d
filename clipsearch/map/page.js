// The map's page: draws window.MAP with Plotly. Text from the collection only ever becomes textContent.
"use strict";
(() => {
  const map = window.MAP;
  const element = (id) => document.getElementById(id);
  const bytes = (packed) => Uint8Array.from(atob(packed), (c) => c.charCodeAt(0)).buffer;
  const item = new Int32Array(bytes(map.item));
  const side = new Uint8Array(bytes(map.side));
  const rows = item.length;
  const views = map.views.map((view) => ({
    ...view,
    x: new Float32Array(bytes(view.x)),
    y: new Float32Array(bytes(view.y)),
    neighbours: view.neighbours ? new Int32Array(bytes(view.neighbours)) : null,
  }));
  const ways = map.ways.map((way) => ({ ...way, codes: new Int16Array(bytes(way.codes)) }));
  const SPACES = { raw: "as it is", centred: "each modality centred" };
  // Okabe and Ito's colours, which all eyes can tell apart; further groups get hues a golden angle apart.
  const COLOURS = ["#0072b2", "#e69f00", "#009e73", "#cc79a7", "#d55e00", "#56b4e9", "#b8a800"];
  const colour = (i) => (i < 0 ? "#9a9fa8" : COLOURS[i] || `hsl(${Math.round(i * 137.5) % 360} 60% 50%)`);
  const MANY = 3000; // dots from which on WebGL draws them
  const LABELLED = 60; // texts up to which each is written into the plot
  const state = { view: views[views.length - 1], way: ways.find((w) => w.name === map.colour_by), chosen: null };

  function node(name, text, attributes = {}) {
    const made = document.createElement(name);
    if (text !== undefined && text !== null) made.textContent = text;
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    return made;
  }

  function ink() {
    const style = getComputedStyle(document.documentElement);
    return { ink: style.getPropertyValue("--ink"), dim: style.getPropertyValue("--dim"), accent: style.getPropertyValue("--accent") };
  }

  // Plotly reads a little HTML in legends and labels: what comes from the collection must be plain.
  const plain = (text) => text.replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
  const short = (text, most) => (text.length > most ? text.slice(0, most - 1) + "…" : text);

  function traces() {
    const { view, way } = state;
    const kind = rows > MANY ? "scattergl" : "scatter";
    const members = new Map();
    for (let row = 0; row < rows; row++) {
      const group = way.codes[row];
      if (!members.has(group)) members.set(group, []);
      members.get(group).push(row);
    }
    const drawn = [...members.keys()].sort((a, b) => (a < 0) - (b < 0) || a - b).map((group) => {
      const own = members.get(group);
      return {
        type: kind,
        mode: "markers",
        name: group < 0 ? "none" : plain(short(way.groups[group], 32)),
        x: own.map((row) => view.x[row]),
        y: own.map((row) => view.y[row]),
        customdata: own,
        hoverinfo: "none",
        marker: {
          color: colour(group),
          size: rows > 20000 ? 4 : rows > MANY ? 5 : 9,
          opacity: group < 0 ? 0.5 : 0.85,
          symbol: own.map((row) => (side[row] ? "diamond" : "circle")),
        },
      };
    });
    const texts = [];
    for (let row = 0; row < rows && texts.length <= LABELLED; row++) if (side[row]) texts.push(row);
    if (texts.length && texts.length <= LABELLED) {
      drawn.push({
        type: "scatter",
        mode: "markers+text",
        marker: { size: 12, opacity: 0 }, // not seen: it keeps the text off the dot
        x: texts.map((row) => view.x[row]),
        y: texts.map((row) => view.y[row]),
        text: texts.map((row) => plain(short(map.captions[item[row]], 24))),
        textposition: "top center",
        textfont: { size: 11, color: ink().ink },
        hoverinfo: "skip",
        showlegend: false,
      });
    }
    return drawn.concat(chosenTraces());
  }

  // What is chosen: {title, x, y, near: [rows], cosines}, or {row, near}.
  function chosenTraces() {
    const { view, chosen } = state;
    if (!chosen) return [];
    const { x, y, near } = placeOf(chosen);
    const lines = { x: [], y: [] };
    for (const row of near) {
      lines.x.push(x, view.x[row], null);
      lines.y.push(y, view.y[row], null);
    }
    const accent = ink().accent;
    return [
      { type: "scatter", mode: "lines", ...lines, line: { color: accent, width: 1.5 }, hoverinfo: "skip", showlegend: false },
      {
        type: "scatter", mode: "markers", x: [x], y: [y], hoverinfo: "skip", showlegend: false,
        marker: { symbol: chosen.question === undefined ? "circle-open" : "star", size: 16, color: accent, line: { width: 2, color: accent } },
      },
    ];
  }

  function placeOf(chosen) {
    const { view } = state;
    if (chosen.question !== undefined) {
      const asked = view.questions[chosen.question];
      return { x: asked.x, y: asked.y, near: asked.rows, cosines: asked.cosines };
    }
    const k = view.neighbours_each;
    const near = view.neighbours ? [...view.neighbours.slice(chosen.row * k, (chosen.row + 1) * k)] : [];
    return { x: view.x[chosen.row], y: view.y[chosen.row], near };
  }

  function annotations() {
    const { view, way } = state;
    if (way.name !== "cluster") return [];
    return way.groups.slice(0, 40).map((name, group) => {
      const own = [];
      for (let row = 0; row < rows; row++) if (way.codes[row] === group) own.push(row);
      const middle = (axis) => own.map((row) => axis[row]).sort((a, b) => a - b)[own.length >> 1];
      const low = Math.min(...own.slice(0, 5000).map((row) => view.y[row]));
      return {
        x: middle(view.x), y: low, yanchor: "top", text: `<b>${plain(short(name, 28))}</b>`, showarrow: false,
        font: { size: 12, color: ink().dim },
      };
    });
  }

  /** The range of the values and a share of it more at either end. */
  function spread(values, share) {
    let low = Infinity;
    let high = -Infinity;
    for (const value of values) {
      low = Math.min(low, value);
      high = Math.max(high, value);
    }
    const more = (high - low || 1) * share;
    return [low - more, high + more];
  }

  function draw() {
    const { view } = state;
    const narrow = element("plot").clientWidth < 480;
    Plotly.react("plot", traces(), {
      margin: { l: 8, r: 8, t: 8, b: 8 },
      paper_bgcolor: "rgba(0,0,0,0)",
      plot_bgcolor: "rgba(0,0,0,0)",
      font: { color: ink().ink, family: "system-ui, sans-serif" },
      xaxis: { visible: false, range: spread(view.x, narrow ? 0.2 : 0.08) }, // room for the texts at the edges
      yaxis: { visible: false, range: spread(view.y, 0.08) },
      legend: { orientation: "h", y: -0.02, yanchor: "top", itemsizing: "constant", font: { size: 11 } },
      modebar: { bgcolor: "rgba(0,0,0,0)", color: ink().dim, activecolor: ink().accent },
      annotations: annotations(),
      hovermode: "closest",
      dragmode: "pan",
      uirevision: state.view.name,
    }, { responsive: true, scrollZoom: true, displaylogo: false, modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d"] });
  }

  function show(row) {
    const panel = element("panel");
    const i = item[row];
    const parts = [node("h2", map.captions[i])];
    if (map.images[i]) parts.push(node("img", null, { src: map.images[i], alt: `image of ${map.captions[i]}` }));
    parts.push(node("p", `${side[row] ? "text" : "image"} vector of point ${map.ids[i]}`, { class: "dim" }));
    const list = node("dl");
    for (const way of ways) {
      if (way.name === "cluster" && way.codes[row] >= 0) list.append(node("dt", "cluster"), node("dd", way.groups[way.codes[row]]));
    }
    for (const [key, value] of Object.entries(map.payloads[i])) list.append(node("dt", key), node("dd", value));
    parts.push(list);
    panel.replaceChildren(...parts);
    panel.dataset.row = row;
  }

  function showNearest(title) {
    const { near, cosines } = placeOf(state.chosen);
    if (!near.length) return;
    const list = node("ol");
    near.forEach((row, place) => {
      const score = cosines ? `${cosines[place].toFixed(3)} ` : "";
      list.append(node("li", `${score}${map.captions[item[row]]} (${side[row] ? "text" : "image"})`));
    });
    if (title !== undefined) element("panel").replaceChildren(node("h2", title));
    element("panel").append(node("h2", "Nearest"), list);
  }

  function choose(chosen) {
    state.chosen = chosen;
    for (const button of document.querySelectorAll("#questions button")) {
      button.setAttribute("aria-pressed", String(chosen !== null && Number(button.value) === chosen.question));
    }
    draw();
    if (chosen === null) return;
    if (chosen.row !== undefined) show(chosen.row);
    showNearest(chosen.question === undefined ? undefined : state.view.questions[chosen.question].title);
  }

  function fillNumbers() {
    const body = node("tbody");
    const spaces = map.summary.spaces;
    const names = Object.keys(spaces);
    const number = (value) => (value === null || value === undefined ? "–" : value.toFixed(3).replace("-", "−"));
    const line = (title, of) => {
      const cells = names.map((name) => of(spaces[name]));
      if (cells.every((cell) => cell === "–")) return;
      const tr = node("tr");
      tr.append(node("th", title, { scope: "row" }), ...cells.map((cell) => node("td", cell)));
      body.append(tr);
    };
    const head = node("tr");
    head.append(node("td"), ...names.map((name) => node("th", SPACES[name], { scope: "col" })));
    const thead = node("thead");
    thead.append(head);
    line("modality gap", (s) => number(s.gap));
    line("alignment", (s) => number(s.alignment));
    line("uniformity", (s) => number(s.uniformity));
    line("uniformity of images", (s) => number(s.uniformity_image));
    line("uniformity of texts", (s) => number(s.uniformity_text));
    for (const field of Object.keys(spaces[names[0]].fields)) {
      const group = node("tr", null, { class: "group" });
      group.append(node("th", `by ${field}`, { colspan: names.length + 1, scope: "rowgroup" }));
      body.append(group);
      const of = (read) => (s) => read(s.fields[field]);
      line("silhouette", of((f) => number(f.silhouette)));
      line("purity", of((f) => (f.purity === null ? "–" : `${number(f.purity)} (${number(f.purity_by_chance)})`)));
      line("text to own images", of((f) => number(f.alike && f.alike.own)));
      line("text to others", of((f) => number(f.alike && f.alike.others)));
      line("own nearer", of((f) => number(f.alike && f.alike.nearer)));
      line("own first", of((f) => number(f.alike && f.alike.first)));
    }
    element("numbers").append(thead, body);
  }

  function fillTools() {
    const s = map.summary;
    element("name").textContent = s.collection;
    const all = s.points_shown < s.points ? `${s.points_shown.toLocaleString("en")} of ${s.points.toLocaleString("en")}` : s.points.toLocaleString("en");
    element("about").textContent =
      `${all} points: ${s.image_vectors.toLocaleString("en")} image and ${s.text_vectors.toLocaleString("en")} text vectors` +
      `, model ${s.model || "unknown"}, fingerprint ${s.fingerprint}`;
    element("spaces").hidden = views.length < 2;
    for (const view of views) {
      const label = node("label");
      const radio = node("input", null, { type: "radio", name: "space", value: view.name });
      radio.checked = view === state.view;
      radio.addEventListener("change", () => {
        state.view = view;
        choose(state.chosen);
      });
      label.append(radio, ` ${SPACES[view.name]}`);
      element("spaces").append(label);
    }
    for (const way of ways) element("colour").append(node("option", way.name, { value: way.name }));
    element("colour").value = state.way.name;
    element("colour").addEventListener("change", (event) => {
      state.way = ways.find((way) => way.name === event.target.value);
      draw();
    });
    // No form: in the frame of `clipsearch web` none may be sent.
    element("wanted").addEventListener("keydown", (event) => {
      if (event.key !== "Enter") return;
      const wanted = element("wanted").value.trim().toLowerCase();
      const found = item.findIndex((i) => map.captions[i].toLowerCase().includes(wanted) || map.ids[i].toLowerCase() === wanted);
      if (wanted && found >= 0) choose({ row: found });
      else element("panel").replaceChildren(node("h2", "Point"), node("p", wanted ? `Nothing is called ${wanted}.` : "Nothing is chosen.", { class: "dim" }));
    });
    element("questions").hidden = views[0].questions.length === 0;
    views[0].questions.forEach((question, number) => {
      const button = node("button", question.title, { type: "button", value: number, "aria-pressed": "false" });
      button.addEventListener("click", () => choose(state.chosen && state.chosen.question === number ? null : { question: number }));
      element("questions").append(button);
    });
  }

  fillTools();
  fillNumbers();
  draw();
  element("plot").on("plotly_hover", (event) => {
    const row = event.points[0].customdata;
    if (row !== undefined) show(row);
  });
  element("plot").on("plotly_click", (event) => {
    const row = event.points[0].customdata;
    if (row !== undefined) choose({ row });
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
})();
