// Calls of the page's own server. Each returns what the server said, or throws an ApiError.

export class ApiError extends Error {
  constructor(status, error) {
    super(error.message);
    this.status = status;
    this.reason = error.reason;
    this.field = error.field ?? null;
    this.side = error.side ?? null;
    this.service = error.service ?? null;
    this.retryAfter = error.retry_after_s ?? null; // seconds
  }
}

async function call(path, { body, method = body === undefined ? "GET" : "POST", signal } = {}) {
  let response;
  try {
    const headers = body === undefined ? {} : { "Content-Type": "application/json" };
    response = await fetch(path, { method, headers, body: body === undefined ? undefined : JSON.stringify(body), signal });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError(0, { reason: "WEB_UNREACHABLE", message: "The page's own server does not answer." });
  }
  if (response.ok) return response.status === 204 ? null : await response.json();
  let told = null;
  try {
    told = (await response.json()).error;
  } catch (error) {
    if (error.name === "AbortError") throw error; // else no JSON: told stays null
  }
  throw new ApiError(response.status, told ?? { reason: "HTTP", message: `The server answered ${response.status}.` });
}

/** What there is; `named` are collections to tell of even if the token may not list any. */
export const state = (named) => call(`/api/state?${new URLSearchParams(named.map((name) => ["collection", name]))}`);
export const search = (body, signal) => call("/api/search", { body, signal });
export const classify = (body, signal) => call("/api/classify", { body, signal });
export const values = (side, collection, field, signal) =>
  call(`/api/values?${new URLSearchParams({ side, collection, field })}`, { signal });
export const signIn = (token) => call("/session", { body: { token } });
export const signOut = () => call("/session", { method: "DELETE" });

/** Runs one call at a time: a newer one cancels the one before, whose promise never settles. */
export function latest() {
  let running = null;
  return async (work) => {
    running?.abort();
    const own = (running = new AbortController());
    try {
      const result = await work(own.signal);
      return own.signal.aborted ? new Promise(() => {}) : result;
    } catch (error) {
      if (own.signal.aborted) return new Promise(() => {});
      throw error;
    }
  };
}
