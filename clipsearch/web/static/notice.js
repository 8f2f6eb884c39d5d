// What went wrong, which service it was, and what to do about it.

import { button, make, plain } from "./dom.js";

const OPTIONS = { a: { search: "server", encoder: "encoder" }, b: { search: "compare-server", encoder: "compare-encoder" } };

const AGAIN_MS = 4000; // at least, until a search that a service was not there for is made again

/** A server's sentence, as one begins on a page. */
export const spelt = (message) => plain(message.charAt(0).toUpperCase() + message.slice(1));

export const command = (text) => make("pre", { class: "command" }, make("code", {}, text));

/** A box with a title, sentences and buttons. `kind`: "error", "warning" or "plain". */
export function notice(kind, title, ...children) {
  return make("div", { class: `notice ${kind}`, role: kind === "error" ? "alert" : null }, make("h2", {}, title), ...children);
}

/** What an operator can do about it; null where the message says all there is. */
export function advice(side, name, reason) {
  switch (reason) {
    case "CONNECTION_REFUSED":
    case "SERVER_UNREACHABLE":
    case "ENCODER_UNAVAILABLE":
      return [make("p", {}, "If it is not running, start it:"), command(`clipsearch serve ${name}`)];
    case "NAME_UNKNOWN":
    case "UNIMPLEMENTED":
      return [make("p", {}, "Its address is given where this page is started:"), command(`clipsearch web --${OPTIONS[side][name]} HOST:PORT`)];
    case "TLS_FAILED":
    case "CONNECTION_CLOSED":
      return make("p", {}, "The page's server calls with TLS if CLIPSEARCH_TLS_CA, _CERT and _KEY name files where it is started.");
    case "DEADLINE_EXCEEDED":
      return make("p", {}, "It may be starting, or have more work than it can do; its log tells.");
    case "TOKEN_MISSING":
    case "TOKEN_UNKNOWN":
    case "UNAUTHENTICATED":
      return make("p", {}, "It wants a token that it knows: CLIPSEARCH_TOKEN where this page is started, or one to sign in with.");
    default:
      return null;
  }
}

/**
 * An ApiError, or any other, as a notice; `retry()` is offered where it can help. Where a service was not there it is
 * called as long as the notice is shown.
 */
export function failure(error, retry) {
  const parts = [make("p", {}, spelt(error.message))];
  const again = retry ? button("Try again", retry, { class: "strong" }) : null;
  let title = "That did not work";
  let wait = null;
  if (error.status === 0) {
    title = "The page's server is gone";
    parts.push(make("p", {}, "Start it again, then try again:"), command("clipsearch web"), again);
  } else if (error.status === 429 || (error.retryAfter !== null && !error.service)) {
    title = "Too much at once";
    parts.push(countdown(error.retryAfter ?? 1, retry));
  } else if (error.status === 503 || error.status === 504) {
    const service = error.service ?? "search";
    title = error.status === 503 ? `The ${service} service is not available` : `The ${service} service did not answer in time`;
    parts.push(advice(error.side ?? "a", service, error.reason), error.retryAfter === null ? again : countdown(error.retryAfter, retry));
    // No banner tells when it is back: the search service hears of its encoder a moment later than this page.
    if (error.status === 503 && retry) wait = Math.max(AGAIN_MS, 1000 * (error.retryAfter ?? 0));
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
  const made = notice("error", title, ...parts);
  if (wait !== null) setTimeout(() => made.isConnected && retry(), wait);
  return made;
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
