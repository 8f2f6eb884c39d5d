// Images that people give: chosen, dropped or pasted. They stay in this page and travel with each query.

import { make } from "./dom.js";

const MOST_BYTES = 20 * 2 ** 20; // the encoder's own limit; its answer would come only after the upload
const MOST_KEPT = 16; // images that the back button can bring again
const images = new Map();

export const kept = (key) => images.get(key);

/** {key, name, url, base64} of a file. Throws an Error with a sentence for people. */
export async function take(file) {
  const name = file.name || "pasted image";
  if (file.size === 0) throw new Error(`${name} is empty.`);
  if (file.size > MOST_BYTES) throw new Error(`${name} has ${(file.size / 2 ** 20).toFixed(1)} MiB; at most 20 MiB can be searched by.`);
  if (file.type && !file.type.startsWith("image/")) throw new Error(`${name} is no image (${file.type}).`);
  const base64 = await new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result.slice(reader.result.indexOf(",") + 1));
    reader.onerror = () => reject(new Error(`${name} cannot be read.`));
    reader.readAsDataURL(file);
  });
  const key = crypto.getRandomValues(new Uint32Array(2)).join("-");
  const image = { key, name, url: URL.createObjectURL(file), base64 };
  images.set(key, image);
  if (images.size > MOST_KEPT) images.delete(images.keys().next().value);
  return image;
}

/** A button that opens the file chooser. */
export function chooser(label, onFile, attributes = {}) {
  const input = make("input", { type: "file", accept: "image/*", hidden: true, tabindex: "-1", "aria-label": label });
  input.addEventListener("change", () => {
    if (input.files[0]) onFile(input.files[0]);
    input.value = ""; // the same file can be chosen again
  });
  const open = make("button", { type: "button", ...attributes, onclick: () => input.click() }, label);
  return [open, input];
}

/** Takes what is dropped on the page or pasted into it. */
export function listen(onFile, onNothing) {
  const cover = document.getElementById("drop");
  const holdsFiles = (event) => [...(event.dataTransfer?.types ?? [])].includes("Files");
  let depth = 0;
  const leave = () => {
    depth = 0;
    cover.hidden = true;
  };
  addEventListener("dragenter", (event) => {
    if (!holdsFiles(event)) return;
    event.preventDefault();
    depth += 1;
    cover.hidden = false;
  });
  addEventListener("dragleave", () => {
    depth -= 1;
    if (depth <= 0) leave();
  });
  addEventListener("dragover", (event) => holdsFiles(event) && event.preventDefault());
  addEventListener("drop", (event) => {
    leave();
    if (!holdsFiles(event)) return;
    event.preventDefault();
    const files = [...event.dataTransfer.files];
    const file = files.find((one) => one.type.startsWith("image/")) ?? files[0];
    if (file) onFile(file);
    else onNothing();
  });
  addEventListener("paste", (event) => {
    const file = [...(event.clipboardData?.files ?? [])].find((one) => one.type.startsWith("image/"));
    if (!file) return; // text goes where the caret is
    event.preventDefault();
    onFile(file);
  });
}
