// What went wrong, which service it was, and what to do about it.

import { button, make, plain } from "./dom.js";

const START = {
  search: "clipsearch serve search",
  encoder: "clipsearch serve encoder",
};

export const command = (text) => make("pre", { class: "command" }, make("code", {}, text));

/** A box with a title, sentences and buttons. `kind`: "error", "warning" or "plain". */
export function notice(kind, title, ...children) {
  return make("div", { class: `notice ${kind}`, role: kind === "error" ? "alert" : null }, make("h2", {}, title), ...children);
}

/** An ApiError, or any other, as a notice; `retry()` is offered where it can help. */
export function failure(error, retry) {
  const parts = [make("p", {}, plain(error.message))];
  const again = retry ? button("Try again", retry, { class: "strong" }) : null;
  let title = "That did not work";
  if (error.status === 0) {
    title = "The page's server is gone";
    parts.push(make("p", {}, "Start it again, then try again:"), command("clipsearch web"), again);
  } else if (error.status === 429 || error.retryAfter !== null) {
    title = "Too much at once";
    parts.push(countdown(error.retryAfter ?? 1, retry));
  } else if (error.status === 503 || error.status === 504) {
    const service = error.service ?? "search";
    title = error.status === 503 ? `The ${service} service cannot be reached` : `The ${service} service did not answer in time`;
    parts.push(make("p", {}, "If it is not running, start it:"), command(START[service]), again);
  } else if (error.status === 403) {
    title = "Your token may not do this";
  } else if (error.status === 404) {
    title = "Not there";
    parts.push(again);
  } else if (error.status >= 500) {
    title = "A service failed";
    parts.push(again);
  } else if (error.status >= 400) {
    title = "This cannot be searched";
  }
  if (error.field) parts.push(make("p", { class: "dim" }, `Field: ${plain(error.field)}`));
  return notice("error", title, parts);
}

/** Says when it is worth trying again, and then lets. */
function countdown(seconds, retry) {
  let left = Math.max(1, Math.ceil(seconds));
  const said = make("span", {}, `It can be tried again in ${left} s. `);
  const again = button("Try again", retry, { class: "strong", disabled: true });
  const timer = setInterval(() => {
    left -= 1;
    said.textContent = left > 0 ? `It can be tried again in ${left} s. ` : "";
    if (left > 0) return;
    clearInterval(timer);
    again.disabled = false;
  }, 1000);
  return make("p", {}, said, again);
}
