// A form for each call of openapi.json. Text only ever becomes text nodes: nothing is parsed as HTML.

function make(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (typeof value === "function") made.addEventListener(key, value);
    else made.setAttribute(key, value);
  }
  made.append(...children);
  return made;
}

/** The bytes of a file as base64, which is what bytes are in JSON. */
async function base64(file) {
  const url = await new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result);
    reader.onerror = () => reject(reader.error);
    reader.readAsDataURL(file);
  });
  return url.slice(url.indexOf(",") + 1);
}

async function send(verb, path, body) {
  const headers = {};
  const token = document.getElementById("token").value;
  if (token) headers.authorization = `Bearer ${token}`;
  if (body !== undefined) headers["content-type"] = "application/json";
  const begun = performance.now();
  const answer = await fetch(path, { method: verb.toUpperCase(), headers, body });
  const text = await answer.text();
  const id = answer.headers.get("x-request-id");
  const took = `${answer.status} in ${Math.round(performance.now() - begun)} ms${id ? `, request ${id}` : ""}`;
  return { ok: answer.ok, took, text };
}

function indented(text) {
  try {
    return JSON.stringify(JSON.parse(text), null, 1);
  } catch {
    return text;
  }
}

function form(verb, path, operation) {
  const inputs = operation.parameters.map((one) => {
    const value = one.in === "path" ? "shop" : "";
    return { ...one, input: make("input", { name: one.name, value, ...(one.required ? { required: "" } : {}) }) };
  });
  const example = operation.requestBody?.content["application/json"].example;
  const body = example && make("textarea", { name: "body", spellcheck: "false" });
  if (body) body.value = JSON.stringify(example, null, 1);
  const file = body?.value.includes("<base64>") && make("input", {
    type: "file",
    change: async () => { body.value = body.value.replace("<base64>", await base64(file.files[0])); },
  });
  const took = make("p", { role: "status" });
  const shown = make("pre", { hidden: "" });

  async function submit(event) {
    event.preventDefault();
    const query = new URLSearchParams();
    let address = path;
    for (const { name, input, ...one } of inputs) {
      if (one.in === "path") address = address.replace(`{${name}}`, encodeURIComponent(input.value));
      else if (input.value) for (const value of one.schema.type === "array" ? input.value.split(",") : [input.value]) query.append(name, value);
    }
    took.textContent = "…";
    try {
      const answer = await send(verb, query.size ? `${address}?${query}` : address, body?.value);
      took.textContent = answer.took;
      took.className = answer.ok ? "" : "bad";
      shown.textContent = indented(answer.text);
      shown.hidden = false;
    } catch (error) {
      took.textContent = String(error);
      took.className = "bad";
    }
  }

  return make("form", { submit },
    ...inputs.map((one) => make("label", {}, `${one.name} `, one.input)),
    ...(body ? [make("label", {}, "Body ", body)] : []),
    ...(file ? [make("label", {}, "An image for <base64> ", file)] : []),
    make("button", {}, "Send"), took, shown);
}

function call(verb, path, operation) {
  const made = make("details", { id: operation.operationId },
    make("summary", {}, make("b", {}, verb.toUpperCase()), " ", make("code", {}, path), " ", make("span", {}, operation.summary)));
  made.addEventListener("toggle", () => {
    if (made.open && made.children.length === 1) made.append(make("p", {}, operation.description), form(verb, path, operation));
  });
  return made;
}

async function main() {
  const api = await (await fetch("/openapi.json")).json();
  document.getElementById("about").textContent = api.info.description;
  const calls = Object.entries(api.paths).flatMap(([path, verbs]) =>
    Object.entries(verbs).map(([verb, operation]) => ({ tag: operation.tags[0], shown: call(verb, path, operation) })));
  for (const { name, description } of api.tags) {
    document.getElementById("calls").append(make("section", {},
      make("h2", {}, name), make("p", {}, description), ...calls.filter((one) => one.tag === name).map((one) => one.shown)));
  }
}

main();
